//! What every program of one model configuration uses on a GPU.

use std::sync::Arc;

use cudarc::driver::CudaStream;
use deeplpf_filters::StackConfig;

use super::{
    Device,
    conv::Handle,
    error::CudaError,
    kernels::{FilterKernels, Kernels, SCRATCH_COUNTERS, SCRATCH_SUMS, Scratch},
    memory::Buffer,
    span::Span,
};

/// Compiled kernels, cuDNN and scratch memory.
pub(super) struct Gpu {
    pub kernels: Kernels,
    pub filters: FilterKernels,
    pub cudnn: Arc<Handle>,
    sums: Buffer,
    counters: Buffer,
    device: Device,
}

impl Gpu {
    /// Compiles the kernels for the filters of `config`.
    pub fn new(device: &Device, config: &StackConfig) -> Result<Self, CudaError> {
        let what = "scratch memory";
        Ok(Self {
            kernels: Kernels::new(device)?,
            filters: FilterKernels::new(device, config)?,
            cudnn: Handle::new(device)?,
            sums: Buffer::zeros(device, what, SCRATCH_SUMS * size_of::<f32>())?,
            counters: Buffer::zeros(device, what, SCRATCH_COUNTERS * size_of::<u32>())?,
            device: device.clone(),
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The stream all programs run on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.device.stream()
    }

    /// Memory of the kernels that sum, one launch at a time.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            sums: Span::new(self.sums.pointer(), SCRATCH_SUMS),
            counters: Span::new(self.counters.pointer(), SCRATCH_COUNTERS),
        }
    }
}
