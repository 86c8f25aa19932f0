//! Convolutions through cuDNN: descriptors and algorithms chosen once per shape.
//!
//! Algorithms come from cuDNN's own ranking (`cudnnGet...Algorithm_v7`), not from timings, so that a
//! run repeated on the same GPU and cuDNN chooses the same ones. Deterministic algorithms are
//! preferred; where cuDNN offers none for a shape, the fastest one is taken and
//! [`Convolution::is_deterministic`] says so.

use std::{ffi::c_void, sync::Arc};

use cudarc::cudnn::{
    result::{self, CudnnError},
    sys,
};

use super::{
    Device, Precision,
    error::{CudaError, Doing},
};

/// Most scratch memory one convolution may ask for: enough for every algorithm at training sizes,
/// and bounded for photographs.
const MOST_WORKSPACE: usize = 512 << 20;

/// A cuDNN handle bound to the device's stream.
pub(super) struct Handle {
    handle: sys::cudnnHandle_t,
    /// Keeps context and stream alive.
    _device: Device,
}

// SAFETY: cuDNN's handles may be used from any thread, one at a time. A handle belongs to one model on
// one GPU, whose work is queued through `&mut`.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub fn new(device: &Device) -> Result<Arc<Self>, CudaError> {
        device.context().bind_to_thread().doing("bind its context")?;
        let handle = result::create_handle().doing("start")?;
        let owned = Arc::new(Self { handle, _device: device.clone() });
        // SAFETY: handle and stream are alive.
        unsafe { result::set_stream(handle, device.stream().cu_stream() as *mut _) }
            .doing("take a stream")?;
        Ok(owned)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once. An error at the end has nobody to go to.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// A descriptor that destroys itself.
struct Owned<T: Copy> {
    raw: T,
    destroy: unsafe fn(T) -> Result<(), CudnnError>,
}

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: created by cuDNN, destroyed once. An error at the end has nobody to go to.
        let _ = unsafe { (self.destroy)(self.raw) };
    }
}

/// Sizes of one side of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// Channels.
    pub channels: usize,
    /// Rows as they lie in memory, padding included.
    pub height: usize,
    /// Columns as they lie in memory, padding included.
    pub width: usize,
    /// Numbers from one image of the batch to the next.
    pub batch_stride: usize,
}

/// One convolution (cross-correlation) of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub batch: usize,
    pub input: Side,
    pub output: Side,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Zeros around the input.
    pub padding: usize,
    pub stride: usize,
}

/// A direction's choice.
struct Plan<A> {
    descriptor: Owned<sys::cudnnConvolutionDescriptor_t>,
    algorithm: A,
    workspace: usize,
    deterministic: bool,
}

/// A convolution of one shape with its gradients.
pub(super) struct Convolution {
    handle: Arc<Handle>,
    x: Owned<sys::cudnnTensorDescriptor_t>,
    y: Owned<sys::cudnnTensorDescriptor_t>,
    w: Owned<sys::cudnnFilterDescriptor_t>,
    forward: Plan<sys::cudnnConvolutionFwdAlgo_t>,
    data: Option<Plan<sys::cudnnConvolutionBwdDataAlgo_t>>,
    filter: Option<Plan<sys::cudnnConvolutionBwdFilterAlgo_t>>,
}

// SAFETY: descriptors are constant after `new`; the handle's own promise covers the rest.
unsafe impl Send for Convolution {}
// SAFETY: as above.
unsafe impl Sync for Convolution {}

/// Which gradients of a convolution are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gradients {
    /// None: inference.
    None,
    /// Of the weights: a layer whose input is the photograph.
    Filter,
    /// Of the weights and of the input.
    Both,
}

/// Number of a size as cuDNN takes it.
fn int(value: usize) -> Result<i32, CudaError> {
    i32::try_from(value).map_err(|_| CudaError::Argument {
        what: "size of a convolution",
        found: value.to_string(),
        expected: "at most 2147483647; use smaller images or a smaller batch".into(),
    })
}

fn data_type(precision: Precision) -> sys::cudnnDataType_t {
    match precision {
        Precision::Fp32 | Precision::Tf32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Precision::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    }
}

/// What cuDNN may use inside: FMA alone for fp32, so that nothing is rounded to TF32 silently.
fn math_type(precision: Precision) -> sys::cudnnMathType_t {
    match precision {
        Precision::Fp32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        Precision::Tf32 | Precision::Bf16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

fn tensor(
    precision: Precision,
    batch: usize,
    side: &Side,
) -> Result<Owned<sys::cudnnTensorDescriptor_t>, CudaError> {
    let raw = result::create_tensor_descriptor().doing("describe a tensor")?;
    let owned = Owned { raw, destroy: result::destroy_tensor_descriptor };
    let dims = [int(batch)?, int(side.channels)?, int(side.height)?, int(side.width)?];
    let plane = side.height * side.width;
    // A single image lies without gaps whatever it is a part of, which leaves cuDNN all algorithms.
    let batch_stride = if batch == 1 { side.channels * plane } else { side.batch_stride };
    let strides = [int(batch_stride)?, int(plane)?, int(side.width)?, 1];
    // SAFETY: the descriptor is alive.
    unsafe { result::set_tensor4d_descriptor_ex(raw, data_type(precision), dims, strides) }
        .doing("describe a tensor")?;
    Ok(owned)
}

fn convolution(
    geometry: &Geometry,
    precision: Precision,
) -> Result<Owned<sys::cudnnConvolutionDescriptor_t>, CudaError> {
    let raw = result::create_convolution_descriptor().doing("describe a convolution")?;
    let owned = Owned { raw, destroy: result::destroy_convolution_descriptor };
    let (padding, stride) = (int(geometry.padding)?, int(geometry.stride)?);
    // SAFETY: the descriptor is alive. Sums are in single precision whatever the storage.
    unsafe {
        result::set_convolution2d_descriptor(
            raw,
            padding,
            padding,
            stride,
            stride,
            1,
            1,
            sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
            sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        )
    }
    .doing("describe a convolution")?;
    // SAFETY: as above.
    unsafe { result::set_convolution_math_type(raw, math_type(precision)) }
        .doing("set the math of a convolution")?;
    Ok(owned)
}

/// One entry of cuDNN's ranking.
struct Ranked<A> {
    algorithm: A,
    usable: bool,
    deterministic: bool,
    math: sys::cudnnMathType_t,
}

/// cuDNN's ranking; the three directions have types of their own with the same fields.
macro_rules! ranked {
    ($ranking:expr, $count:expr) => {
        $ranking[..usize::try_from($count).unwrap_or(0).min(RANKING)]
            .iter()
            .map(|entry| Ranked {
                algorithm: entry.algo,
                usable: entry.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                    && entry.memory <= MOST_WORKSPACE,
                deterministic: entry.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC,
                math: entry.mathType,
            })
            .collect::<Vec<_>>()
    };
}

/// The first usable entry that repeats its bits, or the first usable one.
fn choose<A>(
    ranking: Vec<Ranked<A>>,
    precision: Precision,
    doing: &'static str,
) -> Result<Ranked<A>, CudaError> {
    // Under fp32 the entries for tensor cores are not for us.
    let exact = |math| {
        matches!(
            math,
            sys::cudnnMathType_t::CUDNN_FMA_MATH | sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
        )
    };
    let mut usable: Vec<Ranked<A>> = ranking
        .into_iter()
        .filter(|entry| entry.usable && (precision != Precision::Fp32 || exact(entry.math)))
        .collect();
    if usable.is_empty() {
        let status = sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED;
        return Err(CudaError::Cudnn { doing, source: CudnnError(status) });
    }
    let first = usable.iter().position(|entry| entry.deterministic).unwrap_or(0);
    Ok(usable.swap_remove(first))
}

/// Entries asked of cuDNN's ranking: every algorithm with and without tensor cores.
const RANKING: usize = 16;

impl Convolution {
    /// Chooses algorithms for `geometry`.
    pub fn new(
        handle: &Arc<Handle>,
        geometry: &Geometry,
        precision: Precision,
        gradients: Gradients,
    ) -> Result<Self, CudaError> {
        let x = tensor(precision, geometry.batch, &geometry.input)?;
        let y = tensor(precision, geometry.batch, &geometry.output)?;
        let raw = result::create_filter_descriptor().doing("describe weights")?;
        let w = Owned { raw, destroy: result::destroy_filter_descriptor };
        let kernel = int(geometry.kernel)?;
        let dims = [int(geometry.output.channels)?, int(geometry.input.channels)?, kernel, kernel];
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        // SAFETY: the descriptor is alive.
        unsafe { result::set_filter4d_descriptor(raw, data_type(precision), format, dims) }
            .doing("describe weights")?;
        let forward = plan_forward(handle, geometry, precision, (&x, &w, &y))?;
        let data = (gradients == Gradients::Both)
            .then(|| plan_data(handle, geometry, precision, (&x, &w, &y)))
            .transpose()?;
        let filter = (gradients != Gradients::None)
            .then(|| plan_filter(handle, geometry, precision, (&x, &w, &y)))
            .transpose()?;
        Ok(Self { handle: handle.clone(), x, y, w, forward, data, filter })
    }

    /// Scratch bytes of the forward pass.
    pub fn forward_workspace(&self) -> usize {
        self.forward.workspace
    }

    /// Scratch bytes of the gradient of the input.
    pub fn data_workspace(&self) -> usize {
        self.data.as_ref().map_or(0, |plan| plan.workspace)
    }

    /// Scratch bytes of the gradient of the weights.
    pub fn filter_workspace(&self) -> usize {
        self.filter.as_ref().map_or(0, |plan| plan.workspace)
    }

    /// Whether the same numbers give the same bits in every direction.
    pub fn is_deterministic(&self) -> bool {
        self.forward.deterministic
            && self.data.as_ref().is_none_or(|plan| plan.deterministic)
            && self.filter.as_ref().is_none_or(|plan| plan.deterministic)
    }

    /// Queues y = w * x.
    ///
    /// # Safety
    /// The addresses hold tensors of the geometry and `workspace` holds
    /// [`Convolution::forward_workspace`] bytes.
    pub unsafe fn forward(&self, x: u64, w: u64, y: u64, workspace: u64) -> Result<(), CudaError> {
        let (alpha, beta) = (1f32, 0f32);
        // SAFETY: descriptors and handle are alive; the rest is the caller's promise.
        unsafe {
            result::convolution_forward(
                self.handle.handle,
                (&raw const alpha).cast(),
                self.x.raw,
                x as *const c_void,
                self.w.raw,
                w as *const c_void,
                self.forward.descriptor.raw,
                self.forward.algorithm,
                workspace as *mut c_void,
                self.forward.workspace,
                (&raw const beta).cast(),
                self.y.raw,
                y as *mut c_void,
            )
        }
        .doing("convolve")
    }

    /// Queues dx = w^T * dy, added to what is there if `add`.
    ///
    /// # Safety
    /// As [`Convolution::forward`], with [`Convolution::data_workspace`] bytes.
    pub unsafe fn backward_data(
        &self,
        (w, dy, dx): (u64, u64, u64),
        add: bool,
        workspace: u64,
    ) -> Result<(), CudaError> {
        let Some(plan) = &self.data else { return Ok(()) };
        let (alpha, beta) = (1f32, if add { 1f32 } else { 0f32 });
        // SAFETY: as above.
        unsafe {
            result::convolution_backward_data(
                self.handle.handle,
                (&raw const alpha).cast(),
                self.w.raw,
                w as *const c_void,
                self.y.raw,
                dy as *const c_void,
                plan.descriptor.raw,
                plan.algorithm,
                workspace as *mut c_void,
                plan.workspace,
                (&raw const beta).cast(),
                self.x.raw,
                dx as *mut c_void,
            )
        }
        .doing("compute the gradient of a convolution's input")
    }

    /// Queues dw = the gradient of the weights, over what was there.
    ///
    /// # Safety
    /// As [`Convolution::forward`], with [`Convolution::filter_workspace`] bytes.
    pub unsafe fn backward_filter(
        &self,
        (x, dy, dw): (u64, u64, u64),
        workspace: u64,
    ) -> Result<(), CudaError> {
        let Some(plan) = &self.filter else { return Ok(()) };
        let (alpha, beta) = (1f32, 0f32);
        // SAFETY: as above.
        unsafe {
            result::convolution_backward_filter(
                self.handle.handle,
                (&raw const alpha).cast(),
                self.x.raw,
                x as *const c_void,
                self.y.raw,
                dy as *const c_void,
                plan.descriptor.raw,
                plan.algorithm,
                workspace as *mut c_void,
                plan.workspace,
                (&raw const beta).cast(),
                self.w.raw,
                dw as *mut c_void,
            )
        }
        .doing("compute the gradient of a convolution's weights")
    }
}

type Descriptors<'a> = (
    &'a Owned<sys::cudnnTensorDescriptor_t>,
    &'a Owned<sys::cudnnFilterDescriptor_t>,
    &'a Owned<sys::cudnnTensorDescriptor_t>,
);

fn plan_forward(
    handle: &Handle,
    geometry: &Geometry,
    precision: Precision,
    (x, w, y): Descriptors<'_>,
) -> Result<Plan<sys::cudnnConvolutionFwdAlgo_t>, CudaError> {
    let descriptor = convolution(geometry, precision)?;
    let mut count = 0;
    // SAFETY: plain numbers, for which all zeros are a value.
    let mut ranking =
        [unsafe { std::mem::zeroed::<sys::cudnnConvolutionFwdAlgoPerf_t>() }; RANKING];
    // SAFETY: descriptors are alive, the array has as many places as are named.
    unsafe {
        result::get_convolution_forward_algorithm(
            handle.handle,
            x.raw,
            w.raw,
            descriptor.raw,
            y.raw,
            RANKING as i32,
            &mut count,
            ranking.as_mut_ptr(),
        )
    }
    .doing("rank algorithms")?;
    let Ranked { algorithm, deterministic, math, .. } =
        choose(ranked!(ranking, count), precision, "find a convolution algorithm")?;
    set_math(&descriptor, precision, math)?;
    // SAFETY: descriptors are alive.
    let workspace = unsafe {
        result::get_convolution_forward_workspace_size(
            handle.handle,
            x.raw,
            w.raw,
            descriptor.raw,
            y.raw,
            algorithm,
        )
    }
    .doing("size its scratch memory")?;
    Ok(Plan { descriptor, algorithm, workspace, deterministic })
}

fn plan_data(
    handle: &Handle,
    geometry: &Geometry,
    precision: Precision,
    (x, w, y): Descriptors<'_>,
) -> Result<Plan<sys::cudnnConvolutionBwdDataAlgo_t>, CudaError> {
    let descriptor = convolution(geometry, precision)?;
    let mut count = 0;
    // SAFETY: plain numbers, for which all zeros are a value.
    let mut ranking =
        [unsafe { std::mem::zeroed::<sys::cudnnConvolutionBwdDataAlgoPerf_t>() }; RANKING];
    // SAFETY: descriptors are alive, the array has as many places as are named.
    unsafe {
        result::get_convolution_backward_data_algorithm(
            handle.handle,
            w.raw,
            y.raw,
            descriptor.raw,
            x.raw,
            RANKING as i32,
            &mut count,
            ranking.as_mut_ptr(),
        )
    }
    .doing("rank algorithms")?;
    let Ranked { algorithm, deterministic, math, .. } = choose(
        ranked!(ranking, count),
        precision,
        "find an algorithm for the gradient of an input",
    )?;
    set_math(&descriptor, precision, math)?;
    // SAFETY: descriptors are alive.
    let workspace = unsafe {
        result::get_convolution_backward_data_workspace_size(
            handle.handle,
            w.raw,
            y.raw,
            descriptor.raw,
            x.raw,
            algorithm,
        )
    }
    .doing("size its scratch memory")?;
    Ok(Plan { descriptor, algorithm, workspace, deterministic })
}

fn plan_filter(
    handle: &Handle,
    geometry: &Geometry,
    precision: Precision,
    (x, w, y): Descriptors<'_>,
) -> Result<Plan<sys::cudnnConvolutionBwdFilterAlgo_t>, CudaError> {
    let descriptor = convolution(geometry, precision)?;
    let mut count = 0;
    // SAFETY: plain numbers, for which all zeros are a value.
    let mut ranking =
        [unsafe { std::mem::zeroed::<sys::cudnnConvolutionBwdFilterAlgoPerf_t>() }; RANKING];
    // SAFETY: descriptors are alive, the array has as many places as are named.
    unsafe {
        result::get_convolution_backward_filter_algorithm(
            handle.handle,
            x.raw,
            y.raw,
            descriptor.raw,
            w.raw,
            RANKING as i32,
            &mut count,
            ranking.as_mut_ptr(),
        )
    }
    .doing("rank algorithms")?;
    let Ranked { algorithm, deterministic, math, .. } = choose(
        ranked!(ranking, count),
        precision,
        "find an algorithm for the gradient of weights",
    )?;
    set_math(&descriptor, precision, math)?;
    // SAFETY: descriptors are alive.
    let workspace = unsafe {
        result::get_convolution_backward_filter_workspace_size(
            handle.handle,
            x.raw,
            y.raw,
            descriptor.raw,
            w.raw,
            algorithm,
        )
    }
    .doing("size its scratch memory")?;
    Ok(Plan { descriptor, algorithm, workspace, deterministic })
}

/// The math the chosen algorithm was ranked with; fp32 stays with FMA whatever the ranking says.
fn set_math(
    descriptor: &Owned<sys::cudnnConvolutionDescriptor_t>,
    precision: Precision,
    ranked: sys::cudnnMathType_t,
) -> Result<(), CudaError> {
    let math = match precision {
        Precision::Fp32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        Precision::Tf32 | Precision::Bf16 => ranked,
    };
    // SAFETY: the descriptor is alive.
    unsafe { result::set_convolution_math_type(descriptor.raw, math) }
        .doing("set the math of a convolution")
}
