//! The progress bar of `deeplpf enhance`: on a terminal only.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

/// Steps of the bar a picture takes.
const STEPS: u64 = 1000;

/// How far the pictures are.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    pictures: u64,
}

impl Progress {
    /// A bar for so many pictures.
    pub fn new(pictures: usize) -> Self {
        let pictures = pictures as u64;
        let template = if pictures == 1 {
            "{bar:30} {percent:>3}%, {rate}, {left} left, {wide_msg}"
        } else {
            "{bar:30} {done}/{total}, this one {share}, {left} left, {wide_msg}"
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("rate", |state: &ProgressState, to: &mut dyn Write| {
                // A single picture's steps are its pixels. There is nowhere to report an error.
                let seconds = state.elapsed().as_secs_f64().max(1e-3);
                let _ = write!(to, "{:.1} MP/s", state.pos() as f64 / 1e6 / seconds);
            })
            // From the mean since the beginning: the bar's own estimate looks at the last steps,
            // and steps take unequal times.
            .with_key("left", |state: &ProgressState, to: &mut dyn Write| {
                let (done, all) = (state.pos(), state.len().unwrap_or(0));
                let left = all.saturating_sub(done) as f64 / done.max(1) as f64;
                let left = Duration::try_from_secs_f64(state.elapsed().as_secs_f64() * left);
                let _ = match left {
                    Ok(left) if done > 0 => write!(to, "{}", HumanDuration(left)),
                    _ => write!(to, "?"),
                };
            })
            .with_key("done", |state: &ProgressState, to: &mut dyn Write| {
                let _ = write!(to, "{}", state.pos() / STEPS);
            })
            .with_key("total", |state: &ProgressState, to: &mut dyn Write| {
                let _ = write!(to, "{}", state.len().unwrap_or(0) / STEPS);
            })
            .with_key("share", |state: &ProgressState, to: &mut dyn Write| {
                let _ = write!(to, "{:>2}%", state.pos() % STEPS * 100 / STEPS);
            });
        Self { bar: ProgressBar::new(pictures * STEPS).with_style(style), pictures }
    }

    /// What is being done.
    pub fn say(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Picture `index` (from 0) of so many pixels is done to this share, in [0, 1].
    pub fn share(&self, index: usize, pixels: usize, share: f64) {
        let share = share.clamp(0.0, 1.0);
        if self.pictures == 1 {
            if self.bar.length() != Some(pixels as u64) {
                // The time of a single picture counts from here: it has been read.
                self.bar.set_length(pixels as u64);
                self.bar.reset_elapsed();
            }
            self.bar.set_position((share * pixels as f64) as u64);
        } else {
            self.bar.set_position(index as u64 * STEPS + (share * STEPS as f64) as u64);
        }
    }

    /// Prints without the bar being in the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
