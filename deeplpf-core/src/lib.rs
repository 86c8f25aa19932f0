//! The DeepLPF network on [candle](https://docs.rs/candle-core): a U-Net backbone, three heads
//! that predict filter parameters, the filters of [`deeplpf_filters`] as differentiable
//! operations, the training loss, and checkpoints.
//!
//! Tensors are NCHW; images are RGB in [0, 1]. Everything runs in `f32` and in `f64`, so that a
//! deviation can be told from rounding.
//!
//! ```
//! use deeplpf_core::{Device, DType, Initialisation, Mode, Model, ModelConfig};
//! use candle_core::Tensor;
//!
//! let config = ModelConfig::small();
//! let model = Model::new(&config, Initialisation::Identity, 7, DType::F32, &Device::Cpu)?;
//! let photograph = Tensor::full(0.25f32, (1, 3, 48, 64), &Device::Cpu)?;
//! let prediction = model.forward(&photograph, Mode::Evaluate)?;
//! assert_eq!(prediction.output.dims(), &[1, 3, 48, 64]);
//! # Ok::<(), deeplpf_core::CoreError>(())
//! ```
#![deny(missing_docs)]

pub mod checkpoint;
mod compute;
pub mod config;
#[cfg(feature = "cuda")]
pub mod cuda;
mod edit;
mod engine;
mod enhance;
mod error;
mod highlights;
pub mod loss;
pub mod model;
pub mod ops;
mod parameters;
mod precision;
pub mod random;
mod simd;
pub mod training;

pub use candle_core::{DType, Device};
pub use checkpoint::Checkpoint;
pub use compute::{Compute, Selection, select_device};
pub use config::{BackboneKind, Fix, Fixes, Initialisation, Input, ModelConfig};
pub use edit::{GivenParameters, MAX_STRENGTH};
pub use enhance::{EnhanceOptions, Enhancement, Enhancer, PredictedParameters, RowSource};
pub use error::CoreError;
pub use loss::{LossConfig, LossValue, loss};
pub use model::{MIN_SIDE, Mode, Model, Prediction};
pub use parameters::Parameters;
pub use precision::Precision;
pub use training::{StepLoss, StepSettings, TrainingStep};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, CoreError>;
