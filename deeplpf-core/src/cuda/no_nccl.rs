//! Without feature `nccl` there are no other GPUs.

use super::{error::CudaError, span::Span};

/// Nobody.
pub(super) enum Ranks {}

impl Ranks {
    pub fn sum(&mut self, _: &[Span<f32>]) -> Result<(), CudaError> {
        match *self {}
    }
}
