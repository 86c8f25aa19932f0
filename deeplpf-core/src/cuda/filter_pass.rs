//! The filters alone, on images that stay in GPU memory.

use deeplpf_filters::StackConfig;

use cudarc::driver::result;

use super::{
    Device,
    error::{CudaError, Doing},
    kernels::FilterKernels,
    memory::Buffer,
    span::{Planes, Span},
};

/// The filters of one configuration on images, cotangents and raw parameters in GPU memory: the fused
/// passes without a network, to use and to measure.
///
/// Work is queued and methods return at once, but for those that say that they wait.
pub struct FilterPass {
    kernels: FilterKernels,
    raw: Buffer,
    raw_gradient: Buffer,
    constants: Buffer,
    workspace: Buffer,
    image: Buffer,
    cotangent: Buffer,
    output: Buffer,
    image_gradient: Buffer,
    shape: [usize; 4],
    device: Device,
}

impl FilterPass {
    /// Copies to `device`: raw parameters (N, raw_len), images Y1 and cotangents of the result, both
    /// (N, 3, H, W), with `shape` = [N, H, W].
    ///
    /// # Errors
    /// Wrong sizes, not enough memory, or the GPU refuses.
    pub fn new(
        device: &Device,
        config: &StackConfig,
        raw: &[f32],
        (image, cotangent): (&[f32], &[f32]),
        [batch, height, width]: [usize; 3],
    ) -> Result<Self, CudaError> {
        let shape = [batch, 3, height, width];
        let numbers = shape.iter().product::<usize>();
        for (what, found, expected) in [
            ("raw parameters", raw.len(), batch * config.raw_len()),
            ("images of the filters", image.len(), numbers),
            ("cotangents of the filters", cotangent.len(), numbers),
        ] {
            if found != expected || expected == 0 {
                let (found, expected) = (format!("{found} numbers"), format!("{expected}"));
                return Err(CudaError::Argument { what, found, expected });
            }
        }
        let kernels = FilterKernels::new(device, config)?;
        let floats = |what, count: usize| Buffer::zeros(device, what, count * size_of::<f32>());
        Ok(Self {
            raw: Buffer::holding(device, "raw parameters", raw)?,
            raw_gradient: floats("gradients of the raw parameters", raw.len())?,
            constants: Buffer::zeros(device, "the filters", kernels.constants_len(batch))?,
            workspace: floats("sums of the filters", kernels.workspace_len(shape))?,
            image: Buffer::holding(device, "images", image)?,
            cotangent: Buffer::holding(device, "cotangents", cotangent)?,
            output: floats("filtered images", numbers)?,
            image_gradient: floats("gradients of images", numbers)?,
            shape,
            device: device.clone(),
            kernels,
        })
    }

    fn planes(&self, buffer: &Buffer) -> Result<Planes<f32>, CudaError> {
        Planes::new(
            Span::new(buffer.pointer(), Planes::<f32>::len_of(self.shape, 0)),
            self.shape,
            0,
        )
    }

    fn raw_span(&self, buffer: &Buffer) -> Span<f32> {
        Span::new(buffer.pointer(), buffer.len() / size_of::<f32>())
    }

    fn constants_span(&self) -> Span<u8> {
        Span::new(self.constants.pointer(), self.constants.len())
    }

    /// Queues raw parameters to filters, and Y from Y1: 24 bytes a pixel are read or written.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn apply(&self) -> Result<(), CudaError> {
        self.device.bind()?;
        let (stream, raw) = (self.device.stream(), self.raw_span(&self.raw));
        self.kernels.prepare(stream, raw, self.shape[0], self.constants_span())?;
        let (image, output) = (self.planes(&self.image)?, self.planes(&self.output)?);
        self.kernels.apply(stream, self.constants_span(), image, output, None)
    }

    /// Queues the cotangent of Y to the gradients of Y1 and of the raw parameters, after
    /// [`FilterPass::apply`]: 36 bytes a pixel are read or written.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn vjp(&self) -> Result<(), CudaError> {
        self.device.bind()?;
        self.kernels.vjp(
            self.device.stream(),
            self.raw_span(&self.raw),
            self.constants_span(),
            self.planes(&self.image)?,
            self.planes(&self.cotangent)?,
            self.planes(&self.image_gradient)?,
            self.raw_span(&self.raw_gradient),
            self.raw_span(&self.workspace),
        )
    }

    /// Queues the driver's copy of the images over the filtered ones: 24 bytes a pixel are read or
    /// written, what [`FilterPass::apply`] moves.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn copy(&self) -> Result<(), CudaError> {
        self.device.bind()?;
        let bytes = self.image.len().min(self.output.len());
        let (to, from) = (self.output.pointer(), self.image.pointer());
        // SAFETY: both buffers are as large, and live as long as their stream's work: `drop` waits.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.device.stream().cu_stream()) }
            .doing("copy within its memory")
    }

    /// Y, (N, 3, H, W), or the images after [`FilterPass::copy`]. Waits.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn output(&self) -> Result<Vec<f32>, CudaError> {
        self.read(&self.output, self.shape.iter().product())
    }

    /// Gradients of Y1, (N, 3, H, W), and of the raw parameters, (N, raw_len). Waits.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn gradients(&self) -> Result<(Vec<f32>, Vec<f32>), CudaError> {
        let raw = self.shape[0] * self.kernels.raw_len();
        let image = self.read(&self.image_gradient, self.shape.iter().product())?;
        Ok((image, self.read(&self.raw_gradient, raw)?))
    }

    fn read(&self, buffer: &Buffer, count: usize) -> Result<Vec<f32>, CudaError> {
        let mut values = vec![0.0; count];
        buffer.read(0, &mut values)?;
        Ok(values)
    }
}

impl Drop for FilterPass {
    fn drop(&mut self) {
        // Queued work names the buffers. An error at the end has nobody to go to.
        let _ = self.device.synchronize();
    }
}
