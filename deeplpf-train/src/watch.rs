//! Who looks on while a run goes, and can end it.

use crate::EpochRecord;

/// What one step came to, for a line of progress.
#[derive(Clone, Debug, PartialEq)]
pub struct StepLine {
    /// Epoch, from 1.
    pub epoch: u64,
    /// Step of the run, from 1, steps that were skipped included.
    pub step: u64,
    /// Steps of the run in all.
    pub steps: u64,
    /// Loss of this step; none if it was skipped.
    pub last: Option<f64>,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Best validation PSNR so far, in decibels.
    pub best_psnr: Option<f64>,
}

/// Looks on while a run goes. Everything has a default that does nothing.
pub trait Watch {
    /// Asked between steps; true saves the state and ends the run, which can be resumed.
    fn stop(&self) -> bool {
        false
    }

    /// A step was made.
    fn step(&mut self, line: &StepLine) {
        let _ = line;
    }

    /// An epoch is over, its record written.
    fn epoch(&mut self, record: &EpochRecord) {
        let _ = record;
    }

    /// A sentence for the user.
    fn note(&mut self, sentence: &str) {
        let _ = sentence;
    }
}

/// Nobody looks on; the run goes to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}
