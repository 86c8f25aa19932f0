//! Our own kernels: compiled by nvrtc when a device is opened, one typed launcher each.
//!
//! Launchers check sizes, queue on the given stream and return at once. The memory of a [`Span`] or
//! [`Planes`] must stay alive until the work is done, and two arguments may only be the same memory
//! where a launcher says so. Every kernel is deterministic: sums over pixels go through partial sums
//! in a fixed order, never through floating-point atomics.

mod composition;
mod filters;
mod heads;
mod images;
mod layers;
mod loss;
mod module;
mod optimizer;
mod resize;

use cudarc::driver::CudaStream;

use super::{
    CudaError, Device,
    span::{Planes, Span},
};
use module::{Argument, Module};

pub(crate) use composition::{HeadWeights, Projection, Wiring};
pub(crate) use filters::FilterKernels;
pub(crate) use heads::{Dropout, HeadOutput, HeadOutputGradient, Linear};
pub(crate) use images::Pick;
pub(crate) use layers::Slope;
pub(crate) use loss::{LossSettings, LossTerms, loss_workspace};
pub(crate) use optimizer::StepState;
pub(crate) use resize::StripRows;

/// Sums that [`Scratch::sums`] must hold.
pub(crate) const SCRATCH_SUMS: usize = 1 << 18;
/// Counters that [`Scratch::counters`] must hold.
pub(crate) const SCRATCH_COUNTERS: usize = 1 << 10;

/// Memory for sums over blocks; one for each stream, shared by all launches on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch {
    /// [`SCRATCH_SUMS`] numbers of any content.
    pub sums: Span<f32>,
    /// [`SCRATCH_COUNTERS`] zeros; every kernel leaves them zero.
    pub counters: Span<u32>,
}

impl Scratch {
    fn check(&self) -> Result<(), CudaError> {
        require(
            self.sums.len() >= SCRATCH_SUMS && self.counters.len() >= SCRATCH_COUNTERS,
            "scratch memory",
            || format!("{} sums, {} counters", self.sums.len(), self.counters.len()),
            || format!("{SCRATCH_SUMS} and {SCRATCH_COUNTERS}"),
        )
    }
}

/// The kernels that do not depend on the filters' configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Kernels {
    images: Module,
    layers: Module,
    resize: Module,
    composition: Module,
    heads: Module,
    loss: Module,
    optimizer: Module,
}

impl Kernels {
    /// Compiles them for `device`, side by side.
    ///
    /// # Errors
    /// [`CudaError::Compile`] with nvrtc's words.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let load = |source| move || Module::compile(device, source);
        let (images, layers, resize, composition, heads, loss, optimizer) =
            std::thread::scope(|scope| {
                let others = [
                    scope.spawn(load(&images::SOURCE)),
                    scope.spawn(load(&resize::SOURCE)),
                    scope.spawn(load(&composition::SOURCE)),
                    scope.spawn(load(&heads::SOURCE)),
                    scope.spawn(load(&loss::SOURCE)),
                    scope.spawn(load(&optimizer::SOURCE)),
                ];
                let layers = load(&layers::SOURCE)();
                let [images, resize, composition, heads, loss, optimizer] =
                    others.map(|thread| match thread.join() {
                        Ok(module) => module,
                        Err(panic) => std::panic::resume_unwind(panic),
                    });
                (images, layers, resize, composition, heads, loss, optimizer)
            });
        Ok(Self {
            images: images?,
            layers: layers?,
            resize: resize?,
            composition: composition?,
            heads: heads?,
            loss: loss?,
            optimizer: optimizer?,
        })
    }
}

/// [`Planes`] as kernels get them; `Planes` in `prelude.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct RawPlanes {
    address: u64,
    /// Elements from one image to the next.
    image_stride: u64,
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    border: u32,
    padding: u32,
}

impl<T> From<Planes<T>> for RawPlanes {
    fn from(planes: Planes<T>) -> Self {
        Self {
            address: planes.data().address(),
            image_stride: planes.image_stride() as u64,
            // At most a few thousand, and sides of a million: checked when the planes were made.
            batch: planes.batch as u32,
            channels: planes.channels as u32,
            height: planes.height as u32,
            width: planes.width as u32,
            border: planes.border as u32,
            padding: 0,
        }
    }
}

impl RawPlanes {
    /// Stands for an argument that is not there.
    const NONE: Self = Self {
        address: 0,
        image_stride: 0,
        batch: 0,
        channels: 0,
        height: 0,
        width: 0,
        border: 0,
        padding: 0,
    };
}

/// `condition`, or what was found instead.
fn require(
    condition: bool,
    what: &'static str,
    found: impl FnOnce() -> String,
    expected: impl FnOnce() -> String,
) -> Result<(), CudaError> {
    if condition {
        return Ok(());
    }
    Err(CudaError::Argument { what, found: found(), expected: expected() })
}

/// That two shapes are equal.
fn same_shape(
    what: &'static str,
    found: [usize; 4],
    expected: [usize; 4],
) -> Result<(), CudaError> {
    require(found == expected, what, || format!("{found:?}"), || format!("{expected:?}"))
}

/// That a span has at least so many elements.
fn enough<T>(what: &'static str, span: Span<T>, least: usize) -> Result<(), CudaError> {
    require(
        span.len() >= least && span.address() != 0,
        what,
        || format!("{} numbers", span.len()),
        || format!("at least {least}"),
    )
}

/// `count` split into blocks of `size`.
fn blocks(count: usize, size: usize) -> u32 {
    count.div_ceil(size) as u32
}

#[cfg(test)]
mod tests;
