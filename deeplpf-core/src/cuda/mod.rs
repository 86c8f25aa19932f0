//! Training and inference on an NVIDIA GPU (feature `cuda`).
//!
//! The driver, nvrtc and cuDNN are looked up when the program runs: a build with this feature starts
//! on a machine without them and says in one sentence what is missing.

mod conv;
mod device;
mod error;
mod gpu;
mod kernels;
mod memory;
mod network;
mod pairs;
mod parameters;
mod prediction;
mod span;
mod staging;
mod tape;
mod training;

pub use device::{Device, device_count};
pub use error::CudaError;
pub use pairs::{BytePair, PairPick, ResidentPairs};
pub use crate::Precision;
pub use tape::Execution;
pub use training::{Moments, StepReport, Training, TrainingOptions};
