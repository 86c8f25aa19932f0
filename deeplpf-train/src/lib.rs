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
//! | `health.json` | of the last validation: filters that are stuck, parameters without a gradient ([`Health`]) |
//! | `failure/` | of a step that stopped the run: its pictures, their statistics and the weights' |
//! | `tensorboard/` | event files, with `tensorboard` above 0 |
//! | `lock` | held by the process that trains, which wrote its number and machine there |
//!
//! Every random draw is a function of the seed and of a counter (epoch, step), so a resumed run
//! repeats the uninterrupted one bit for bit on a CPU, wherever it was interrupted.
#![deny(missing_docs)]

mod adam;
mod average;
mod batch;
mod cache;
pub mod config;
mod disk;
pub mod distribution;
mod engine;
mod epoch;
mod error;
mod failure;
#[cfg(feature = "cuda")]
mod gpu;
mod health;
mod origin;
mod run;
mod run_folder;
mod run_lock;
mod schedule;
mod sid;
mod source;
mod state;
mod telemetry;
mod trainer;
mod validation;
mod watch;

pub use adam::{Adam, AdamConfig};
pub use average::Average;
pub use batch::{Batch, PairSource};
pub use config::{DataConfig, GuardConfig, OnFailure, StepEngine, TrainConfig};
pub use distribution::{Alone, Communicator};
pub use error::TrainError;
pub use health::{FilterHealth, Health, InstanceHealth};
pub use run::{RunSummary, TrainingData, train, train_together, train_watched};
pub use run_folder::{EpochRecord, RunFolder};
pub use schedule::{ScheduleConfig, ScheduleKind};
pub use source::open_pairs;
pub use trainer::{StepReport, Trainer};
pub use validation::{mean_psnr, psnr};
pub use watch::{StepLine, Unwatched, Watch};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, TrainError>;
