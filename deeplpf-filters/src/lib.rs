#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]
// Loops over pixels walk several arrays of one fixed length together: by index they read like the
// formulas and compile to vectors.
#![allow(clippy::needless_range_loop)]

mod config;
pub mod cuda;
mod elliptical;
mod error;
mod fusion;
mod graduated;
mod mask;
mod params;
mod polynomial;
mod real;
pub mod reference;
mod simd;
mod squash;
mod stack;
mod tile;

pub use config::{Dialect, FilterFixes, FusionRule, LOCAL_RAW_LEN, PolynomialKind, StackConfig};
pub use elliptical::EllipticalParams;
pub use error::{Error, Result};
pub use graduated::GraduatedParams;
pub use params::{GateParams, StackParams};
pub use polynomial::PolynomialParams;
pub use real::Real;
pub use simd::Instructions;
pub use stack::{FilterStack, GateMean, ParamGradients, ScaleMaps, Vjp};
