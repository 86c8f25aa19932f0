//! The line of JSON a measurement prints. `peers/measuring/record.py` prints the same.

use deeplpf_filters::Instructions;
use serde::Serialize;

use crate::machine;
use crate::photograph::Size;
use crate::timing::{Timings, quantile};

/// What a measurement found.
pub enum Measured {
    /// Times.
    Times {
        /// Resident memory just before the first run, in bytes, where the system tells.
        start_bytes: Option<u64>,
        /// The work's times.
        work: Timings,
        /// Times of copying the image, taken in turn with the work.
        copy: Option<Timings>,
    },
    /// Nothing, for this reason.
    Skipped(String),
}

/// One line of JSON.
#[derive(Serialize)]
pub struct Record {
    side: &'static str,
    what: String,
    height: usize,
    width: usize,
    threads: usize,
    instruction_set: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(flatten)]
    times: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<Times>,
}

/// Seconds of every repetition and their summary.
#[derive(Serialize)]
struct Times {
    warmed: bool,
    repeats: usize,
    median_s: f64,
    min_s: f64,
    q1_s: f64,
    q3_s: f64,
    seconds: Vec<f64>,
}

impl Record {
    /// The record of `measured`; asks for the process's peak memory now.
    ///
    /// # Errors
    /// `DEEPLPF_SIMD` names instructions that the processor does not have.
    pub fn new(what: &str, size: Size, measured: Measured) -> anyhow::Result<Self> {
        let mut record = Self {
            side: "deeplpf",
            what: what.to_owned(),
            height: size.height,
            width: size.width,
            threads: rayon::current_num_threads(),
            instruction_set: Instructions::selected()?.name(),
            skipped: None,
            times: None,
            start_bytes: None,
            peak_bytes: None,
            copy: None,
        };
        match measured {
            Measured::Skipped(reason) => record.skipped = Some(reason),
            Measured::Times { start_bytes, work, copy } => {
                record.times = Some(work.into());
                record.copy = copy.map(Times::from);
                record.start_bytes = start_bytes;
                record.peak_bytes = machine::peak_bytes();
            }
        }
        Ok(record)
    }
}

impl From<Timings> for Times {
    fn from(timings: Timings) -> Self {
        let seconds = timings.seconds;
        Self {
            warmed: timings.warmed,
            repeats: seconds.len(),
            median_s: quantile(&seconds, 0.5),
            min_s: quantile(&seconds, 0.0),
            q1_s: quantile(&seconds, 0.25),
            q3_s: quantile(&seconds, 0.75),
            seconds,
        }
    }
}
