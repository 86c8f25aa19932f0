//! The lines of JSON. `peers/gpu_peer.py` prints the same.

use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// "deeplpf", "pytorch" or "authors".
    pub side: String,
    /// "training-step", "inference", "filters-apply", "filters-vjp" or "copy".
    pub what: String,
    /// "eager", "graph" or "compile+graph"; empty where there is one way.
    #[serde(default)]
    pub mode: String,
    /// "fp32", "tf32" or "bf16".
    #[serde(default)]
    pub precision: String,
    /// Images at once.
    #[serde(default)]
    pub batch: usize,
    /// Rows.
    #[serde(default)]
    pub height: usize,
    /// Columns.
    #[serde(default)]
    pub width: usize,
    /// Seconds of one step or photograph, the mean of each round.
    #[serde(default)]
    pub seconds: Vec<f64>,
    /// Seconds of the CPU to queue one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_s: Option<f64>,
    /// GPU memory it took from what was free, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why there are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// Where the numbers of a side come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Whose.
    pub side: String,
    /// The GPU's name.
    pub device: String,
    /// Names and versions of libraries.
    pub versions: Vec<(String, String)>,
    /// Whether sizes were tiny, or the device no GPU: a trial of the programs, no measurement.
    pub trial: bool,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Comes first.
    Machine(Machine),
    /// A measurement.
    Record(Record),
}
