//! Differentiable operations candle lacks or runs slowly. Each is a folder or file with its
//! forward pass and its gradients together, generic over `f32` and `f64`.

pub mod colour_stage;
pub mod conv;
pub mod filter_stack;
pub mod max_pool;
pub mod patches;
pub mod resize;
pub(crate) mod resize_sum;
mod scratch;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, WithDType, bail};
use num_traits::Float;

/// The instruction set of the inner loops.
fn selected_instructions() -> candle_core::Result<crate::simd::Instructions> {
    crate::simd::Instructions::selected().map_err(candle_core::Error::wrap)
}

/// Numeric types the operations are written for.
pub trait Element: WithDType + Float + Default + Send + Sync + 'static {
    /// Rounds from double precision.
    fn of(value: f64) -> Self;
    /// Widens to double precision.
    fn wide(self) -> f64;
    /// The value, moved into lo..=hi; NaN becomes `lo`.
    fn bounded(self, lo: Self, hi: Self) -> Self {
        Float::min(Float::max(self, lo), hi)
    }
    /// The elements of a CPU storage of this type, to be changed in place.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Element for f32 {
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
    fn of(value: f64) -> Self {
        value as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F64(values) => Some(values),
            _ => None,
        }
    }
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}

/// The elements of a contiguous CPU tensor inside an operation's forward pass.
pub(crate) fn elements<'a, T: Element>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let all = T::cpu_storage_as_slice(storage)?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("operation needs a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Runs `use_elements` on the elements of a CPU tensor, made contiguous first if need be.
pub(crate) fn with_elements<T: Element, R>(
    tensor: &Tensor,
    use_elements: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => use_elements(elements::<T>(storage, layout)?),
        _ => bail!("this operation runs on the CPU only"),
    }
}

/// Calls the generic function for the element type of a CPU storage.
macro_rules! by_element {
    ($storage:expr, $function:ident $arguments:tt) => {
        match $storage {
            candle_core::CpuStorage::F32(_) => $function::<f32> $arguments,
            candle_core::CpuStorage::F64(_) => $function::<f64> $arguments,
            _ => candle_core::bail!("operation runs in f32 and f64 only"),
        }
    };
}

/// Calls the generic function for the element type of a tensor.
macro_rules! by_dtype {
    ($tensor:expr, $function:ident $arguments:tt) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => $function::<f32> $arguments,
            candle_core::DType::F64 => $function::<f64> $arguments,
            other => candle_core::bail!("operation runs in f32 and f64 only, not {other:?}"),
        }
    };
}
pub(crate) use {by_dtype, by_element};

/// The value an operation returns.
pub(crate) fn produced<T: Element>(
    values: Vec<T>,
    shape: impl Into<Shape>,
) -> Result<(CpuStorage, Shape)> {
    Ok((T::to_cpu_storage_owned(values), shape.into()))
}

/// Whether the element type is double precision.
pub(crate) fn is_double(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F64
}
