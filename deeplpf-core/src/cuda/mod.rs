//! Training and inference on an NVIDIA GPU (feature `cuda`).
//!
//! The driver, nvrtc and cuDNN are looked up when the program runs: a build with this feature starts
//! on a machine without them and says in one sentence what is missing.
//!
//! A model lives in the CPU's memory as everywhere; [`Training`] and [`Enhancer`] copy its parameters.
//! What they queue is a static program for one shape of images: every tensor has its place in one
//! arena, convolutions are cuDNN's with algorithms chosen once, everything between them is our own
//! kernels, and the whole runs as one CUDA graph. Not supported: `backbone = "resnet"`, `colour`,
//! inputs other than RGB ([`CudaError::Unsupported`] names the option).
//!
//! With feature `nccl` the GPUs of several processes make steps together: `Training::join`.
//!
//! ```no_run
//! use deeplpf_core::{DType, Initialisation, Model, ModelConfig, cuda};
//!
//! let config = ModelConfig::default();
//! let model = Model::new(
//!     &config, Initialisation::Release, 7, DType::F32, &deeplpf_core::Device::Cpu,
//! )?;
//! let device = cuda::Device::open(0)?;
//! let mut training = cuda::Training::new(&device, &model, &cuda::TrainingOptions::default())?;
//! let (input, target) = (vec![0.25; 3 * 341 * 512], vec![0.5; 3 * 341 * 512]);
//! for _ in 0..10 {
//!     // Queued: returns before the GPU is done.
//!     training.step(&input, &target, [1, 341, 512])?;
//! }
//! for report in training.finish()? {
//!     println!("step {}: {}", report.step, report.loss);
//! }
//! training.store(&model)?;
//! # Ok::<(), deeplpf_core::CoreError>(())
//! ```

mod conv;
mod device;
mod enhancer;
mod error;
mod filter_pass;
mod gpu;
mod kernels;
mod memory;
#[cfg_attr(not(feature = "nccl"), path = "no_nccl.rs")]
mod nccl;
mod network;
mod pairs;
mod parameters;
mod prediction;
mod span;
mod staging;
mod tape;
mod training;

pub use crate::Precision;
pub use device::{Device, Versions, device_count};
pub use enhancer::Enhancer;
pub use error::CudaError;
pub use filter_pass::FilterPass;
#[cfg(feature = "nccl")]
pub use nccl::Ranks;
pub use pairs::{BytePair, PairPick, ResidentPairs};
pub use tape::Execution;
pub use training::{Moments, StepReport, Training, TrainingOptions};
