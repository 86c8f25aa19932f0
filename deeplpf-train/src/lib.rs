//! Training DeepLPF: Adam with named moments, a trainer that resumes to the bit, and its run
//! folder.
//!
//! A run folder describes itself:
//!
//! | path | what |
//! |---|---|
//! | `config.toml` | the whole [`TrainConfig`] |
//! | `metrics.jsonl` | one line per epoch: [`EpochRecord`] |
//! | `checkpoints/best.safetensors`, `last.safetensors` | weights with their model configuration |
//! | `state/state.safetensors` | everything a resume needs; `state/previous.safetensors` the one before |
//! | `splits/train.txt`, `valid.txt` | the ids that were used |
//! | `lock` | held by the process that trains |
//!
//! Every random draw is a function of the seed and of a counter (epoch, step), so a resumed run
//! repeats the uninterrupted one bit for bit on a CPU.
#![deny(missing_docs)]

mod adam;
mod average;
mod batch;
mod cache;
pub mod config;
mod engine;
mod error;
#[cfg(feature = "cuda")]
mod gpu;
mod run;
mod run_folder;
mod schedule;
mod sid;
mod source;
mod state;
mod trainer;
mod validation;

pub use adam::{Adam, AdamConfig};
pub use average::Average;
pub use batch::{Batch, PairSource};
pub use config::{DataConfig, GuardConfig, OnFailure, TrainConfig};
pub use error::TrainError;
pub use run::{RunSummary, TrainingData, train};
pub use run_folder::{EpochRecord, RunFolder};
pub use schedule::{ScheduleConfig, ScheduleKind};
pub use source::open_pairs;
pub use trainer::{StepReport, Trainer};
pub use validation::{mean_psnr, psnr};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, TrainError>;
