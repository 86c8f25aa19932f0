//! What one sees of a training: a line a step on a terminal, a row an epoch, and how to end it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use deeplpf_train::{EpochRecord, StepLine, Watch};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// Looks on while a run goes.
pub struct TrainingProgress {
    /// Hidden where stderr is no terminal.
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
    /// Whether the table's head was printed.
    headed: bool,
    /// How the library's sentences are printed.
    say: fn(&str),
}

impl TrainingProgress {
    /// From now on an interruption ends the run after the step it is at. `say` prints the sentences
    /// that the library has for the user.
    ///
    /// # Errors
    /// The system's.
    pub fn new(say: fn(&str)) -> anyhow::Result<Self> {
        let interrupted = console::remember_interruptions(true)?;
        Ok(Self { bar: ProgressBar::hidden(), interrupted, headed: false, say })
    }

    fn row(&mut self, row: &str) {
        self.bar.suspend(|| {
            if !self.headed {
                console::progress("epoch   step     loss  MS-SSIM  PSNR (dB)  seconds");
            }
            console::progress(row);
        });
        self.headed = true;
    }
}

/// The row of an epoch.
fn row(record: &EpochRecord) -> String {
    let EpochRecord { epoch, step, loss, ms_ssim, valid_psnr, skipped, seconds, .. } = record;
    let psnr = valid_psnr.map_or("-".into(), |psnr| format!("{psnr:.2}"));
    let skipped = match skipped {
        0 => String::new(),
        skipped => format!("  {skipped} steps skipped"),
    };
    format!("{epoch:>5} {step:>6} {loss:>8.5} {ms_ssim:>8.5} {psnr:>10} {seconds:>8.1}{skipped}")
}

impl Watch for TrainingProgress {
    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn step(&mut self, line: &StepLine) {
        if self.bar.length() != Some(line.steps) || self.bar.is_finished() {
            let style = ProgressStyle::with_template(
                "{bar:30} step {pos}/{len}, {per_sec}, {eta} left, {msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = ProgressBar::new(line.steps).with_position(line.step).with_style(style);
        }
        let best = line.best_psnr.map_or(String::new(), |psnr| format!(", best {psnr:.2} dB"));
        self.bar.set_message(format!("epoch {}, loss {:.4}{best}", line.epoch, line.loss));
        self.bar.set_position(line.step);
        if line.step == line.steps {
            self.bar.finish_and_clear();
        }
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.row(&row(record));
    }

    fn note(&mut self, sentence: &str) {
        self.headed = false;
        let say = self.say;
        self.bar.suspend(|| say(sentence));
    }
}

impl Drop for TrainingProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Looks on in a process whose training another one tells of: only an interruption matters.
pub struct Silent {
    interrupted: Arc<AtomicBool>,
}

impl Silent {
    /// From now on an interruption ends the run, as with [`TrainingProgress::new`].
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupted: console::remember_interruptions(false)? })
    }
}

impl Watch for Silent {
    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_head() {
        let record = EpochRecord {
            epoch: 12,
            step: 5280,
            loss: 0.04463,
            lab: 0.04461,
            ms_ssim: 0.97681,
            valid_psnr: Some(22.0941),
            skipped: 2,
            seconds: 69.73,
        };
        assert_eq!(
            row(&record),
            "   12   5280  0.04463  0.97681      22.09     69.7  2 steps skipped"
        );
        let unvalidated = EpochRecord { valid_psnr: None, skipped: 0, ..record };
        assert_eq!(row(&unvalidated), "   12   5280  0.04463  0.97681          -     69.7");
    }
}
