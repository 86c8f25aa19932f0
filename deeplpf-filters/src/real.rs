//! The two floating-point types the filters are computed in.

use std::fmt::{Debug, Display};

use num_traits::{Float, NumAssign};

use crate::stack::Passes;

/// A pixel type: `f32` or `f64`.
///
/// Constants of a filter and sums over pixels are always formed in `f64`; only the work per pixel
/// is done in this type. The trait is sealed.
pub trait Real:
    Float + NumAssign + Default + Debug + Display + Send + Sync + Passes + 'static
{
    /// Whether decisions at a discontinuity (the edge of the release's ellipse) are taken again
    /// in `f64` when this type is too coarse to be sure of them.
    const REDECIDES_IN_F64: bool;

    /// The nearest value of this type.
    fn narrow(value: f64) -> Self;

    /// The same value in `f64`.
    fn wide(self) -> f64;
}

impl Real for f32 {
    const REDECIDES_IN_F64: bool = true;

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const REDECIDES_IN_F64: bool = false;

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// `value` limited to `[low, high]`; NaN stays NaN. As in PyTorch, `high` wins where `low > high`.
#[inline(always)]
pub(crate) fn clamp<T: Real>(value: T, low: T, high: T) -> T {
    let raised = if value < low { low } else { value };
    if raised > high { high } else { raised }
}

/// The derivative of [`clamp`]: one where `low <= value <= high` (PyTorch's choice at the two
/// kinks), else zero.
#[inline(always)]
pub(crate) fn clamp_gate<T: Real>(value: T, low: T, high: T) -> T {
    if value >= low && value <= high { T::one() } else { T::zero() }
}
