//! The progress bar of `deeplpf enhance`: on a terminal only.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

/// How far the pictures are.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    /// Where each picture begins on the bar of several, and where the last ends: pictures take
    /// time as their files have bytes, about.
    begins: Arc<Vec<u64>>,
}

impl Progress {
    /// A bar for files of these many bytes.
    pub fn new(bytes: impl Iterator<Item = u64>) -> Self {
        let mut begins = vec![0];
        begins.extend(bytes.scan(0, |sum: &mut u64, bytes| {
            *sum = sum.saturating_add(bytes.max(1));
            Some(*sum)
        }));
        let begins = Arc::new(begins);
        let template = if begins.len() == 2 {
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
            .with_key("done", {
                let begins = begins.clone();
                move |state: &ProgressState, to: &mut dyn Write| {
                    let _ = write!(to, "{}", current(&begins, state.pos()));
                }
            })
            .with_key("total", {
                let total = begins.len() - 1;
                move |_: &ProgressState, to: &mut dyn Write| {
                    let _ = write!(to, "{total}");
                }
            })
            .with_key("share", {
                let begins = begins.clone();
                move |state: &ProgressState, to: &mut dyn Write| {
                    let index = current(&begins, state.pos());
                    let begin = begins[index];
                    let bytes = begins.get(index + 1).map_or(1, |end| end - begin);
                    let _ = write!(to, "{:>2}%", (state.pos() - begin) * 100 / bytes);
                }
            });
        let length = begins.last().copied().unwrap_or(0);
        Self { bar: ProgressBar::new(length).with_style(style), begins }
    }

    /// What is being done.
    pub fn say(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Picture `index` (from 0) of so many pixels is done to this share, in [0, 1].
    pub fn share(&self, index: usize, pixels: usize, share: f64) {
        let share = share.clamp(0.0, 1.0);
        if self.begins.len() == 2 {
            if self.bar.length() != Some(pixels as u64) {
                // The time of a single picture counts from here: it has been read.
                self.bar.set_length(pixels as u64);
                self.bar.reset_elapsed();
            }
            self.bar.set_position((share * pixels as f64) as u64);
        } else {
            let Some(begin) = self.begins.get(index).copied() else { return };
            let bytes = self.begins.get(index + 1).map_or(0, |end| end - begin);
            let position = begin + (share * bytes as f64) as u64;
            // The step that writes lags behind the one that computes.
            self.bar.set_position(position.max(self.bar.position()));
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

/// The picture that `position` lies in; their number, at the end.
fn current(begins: &[u64], position: u64) -> usize {
    begins.partition_point(|&begin| begin <= position).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_by_their_bytes_and_the_bar_never_goes_back() {
        let progress = Progress::new([10, 0, 30].into_iter());
        assert_eq!(*progress.begins, [0, 10, 11, 41]);
        assert_eq!(
            [0, 9, 10, 11, 40, 41].map(|at| current(&progress.begins, at)),
            [0, 0, 1, 2, 2, 3]
        );
        progress.share(2, 5, 0.5);
        assert_eq!(progress.bar.position(), 26);
        progress.share(1, 5, 0.0);
        assert_eq!(progress.bar.position(), 26);
        progress.share(3, 0, 0.0);
        assert_eq!(progress.bar.position(), 41);
    }
}
