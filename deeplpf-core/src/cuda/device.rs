//! Opening a GPU.

use std::sync::Arc;

use cudarc::{
    cudnn, driver,
    driver::{CudaContext, CudaStream, DriverError},
    nvrtc,
};

use super::error::{CUDNN_MAJOR, CudaError, Doing, LEAST_DRIVER};

/// An NVIDIA GPU with what training and inference on it need: the driver, nvrtc and cuDNN, all looked
/// up when the program runs.
///
/// Cheap to clone; clones share the context and the stream all work is queued on.
#[derive(Clone, Debug)]
pub struct Device {
    index: usize,
    name: String,
    /// Compute capability, major and minor.
    capability: (i32, i32),
    stream: Arc<CudaStream>,
}

/// Versions of the libraries that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// CUDA of the driver, like "13.0".
    pub driver: String,
    /// nvrtc, like "13.0".
    pub nvrtc: String,
    /// cuDNN, like "9.12.0".
    pub cudnn: String,
}

/// How many GPUs the driver lists.
///
/// # Errors
/// [`CudaError::NoDriver`], [`CudaError::OldDriver`].
pub fn device_count() -> Result<usize, CudaError> {
    // SAFETY: opens the library as every program of the driver does; it has no other effect.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err(CudaError::NoDriver { reason: "libcuda.so.1 is not on this machine".into() });
    }
    let mut version = 0;
    // SAFETY: the pointer is to a live integer, which the driver fills.
    let status = unsafe { driver::sys::cuDriverGetVersion(&mut version) };
    status.result().doing("tell its version")?;
    if version < LEAST_DRIVER {
        return Err(CudaError::OldDriver { found: version });
    }
    let no_driver = |error: DriverError| {
        let words = error.error_string().map(|text| text.to_string_lossy().into_owned());
        let reason = words.unwrap_or_else(|_| format!("{:?}", error.0));
        if error.0 == driver::sys::CUresult::CUDA_ERROR_NO_DEVICE {
            return CudaError::NoDevice { index: 0, count: 0 };
        }
        CudaError::NoDriver { reason }
    };
    let count = CudaContext::device_count().map_err(no_driver)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Refuses a machine without nvrtc or without the cuDNN this program is written for.
fn require_libraries() -> Result<(), CudaError> {
    // SAFETY: opens the library; it has no other effect.
    if !unsafe { nvrtc::sys::is_culib_present() } {
        return Err(CudaError::NoNvrtc);
    }
    // SAFETY: as above.
    if !unsafe { cudnn::sys::is_culib_present() } {
        return Err(CudaError::NoCudnn);
    }
    let version = cudnn::result::get_version();
    // Counted 10000 major + 100 minor + patch since 9.0, 1000 major + 100 minor + patch before.
    let (major, minor) = if version >= 90_000 {
        (version / 10_000, version % 10_000 / 100)
    } else {
        (version / 1000, version % 1000 / 100)
    };
    if major != CUDNN_MAJOR {
        let found = format!("{major}.{minor}.{}", version % 100);
        return Err(CudaError::OtherCudnn { found });
    }
    Ok(())
}

impl Device {
    /// Opens GPU number `index`, from 0, as `nvidia-smi` lists them unless `CUDA_VISIBLE_DEVICES`
    /// says otherwise.
    ///
    /// # Errors
    /// No driver, no such GPU, no nvrtc, no cuDNN or another version of it: one sentence with the
    /// remedy each.
    pub fn open(index: usize) -> Result<Self, CudaError> {
        let count = device_count()?;
        if index >= count {
            return Err(CudaError::NoDevice { index, count });
        }
        require_libraries()?;
        let context = CudaContext::new(index).doing("open a context")?;
        // SAFETY: every buffer of this crate is used on the stream of its owner, and where two
        // streams meet they wait for each other's events explicitly.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().doing("make a stream")?;
        Ok(Self {
            index,
            name: context.name().doing("tell its name")?,
            capability: context.compute_capability().doing("tell its compute capability")?,
            stream,
        })
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// As the driver calls it, like "NVIDIA H200".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compute capability, like (9, 0).
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// Free and total memory in bytes.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.context().mem_get_info().doing("tell its free memory")
    }

    /// Versions of driver, nvrtc and cuDNN.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn versions(&self) -> Result<Versions, CudaError> {
        let mut driver = 0;
        // SAFETY: the pointer is to a live integer, which the driver fills.
        unsafe { driver::sys::cuDriverGetVersion(&mut driver) }
            .result()
            .doing("tell its version")?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: as above; `open` found the library. It fails for null pointers only.
        unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
        let cudnn = cudnn::result::get_version();
        Ok(Versions {
            driver: format!("{}.{}", driver / 1000, driver % 1000 / 10),
            nvrtc: format!("{major}.{minor}"),
            cudnn: format!("{}.{}.{}", cudnn / 10_000, cudnn % 10_000 / 100, cudnn % 100),
        })
    }

    /// Waits until everything queued is done.
    ///
    /// # Errors
    /// A queued call failed.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().doing("finish its queue")
    }

    /// Makes its context the calling thread's, for calls that go around cudarc's safe interface.
    pub(crate) fn bind(&self) -> Result<(), CudaError> {
        self.context().bind_to_thread().doing("bind its context")
    }

    /// The context all streams and buffers belong to.
    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        self.stream.context()
    }

    /// The stream training and inference queue their work on.
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// A further stream of the same context, not ordered with the first.
    pub(crate) fn new_stream(&self) -> Result<Arc<CudaStream>, CudaError> {
        self.context().new_stream().doing("make a stream")
    }
}
