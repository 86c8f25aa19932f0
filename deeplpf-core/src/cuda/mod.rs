//! Training and inference on an NVIDIA GPU (feature `cuda`).
//!
//! The driver, nvrtc and cuDNN are looked up when the program runs: a build with this feature starts
//! on a machine without them and says in one sentence what is missing.

mod device;
mod error;
mod kernels;
mod span;

pub use device::{Device, device_count};
pub use error::CudaError;
