//! What can go wrong on a GPU, each with its remedy.

use cudarc::{cudnn::result::CudnnError, driver::DriverError};

/// Driver version this program asks for, as `cuDriverGetVersion` counts: CUDA 12.0, the first whose
/// graphs and memory pools behave as this crate uses them.
pub(super) const LEAST_DRIVER: i32 = 12_000;
/// The major version of cuDNN this program is written for.
pub(super) const CUDNN_MAJOR: usize = 9;

/// In the unit that shows the size.
fn in_words(bytes: &usize) -> String {
    let mebibytes = *bytes as f64 / (1 << 20) as f64;
    if mebibytes < 1024.0 {
        format!("{mebibytes:.1} MiB")
    } else {
        format!("{:.2} GiB", mebibytes / 1024.0)
    }
}

/// What the driver says, without the debugging form of cudarc's error.
fn driver_words(error: &DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    }
}

/// Errors of training and inference on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// `libcuda` is not there, or cannot be initialised.
    #[error(
        "no NVIDIA driver was found ({reason}); install the driver (nvidia-smi must list a GPU), or \
         use --device cpu"
    )]
    NoDriver {
        /// What was looked for or what the driver said.
        reason: String,
    },
    /// The driver is older than this program needs.
    #[error(
        "the NVIDIA driver supports CUDA {}.{}, at least {}.0 is needed; install a newer driver, or \
         use --device cpu", found / 1000, found % 1000 / 10, LEAST_DRIVER / 1000
    )]
    OldDriver {
        /// As `cuDriverGetVersion` counts: 1000 major + 10 minor.
        found: i32,
    },
    /// No GPU has that number.
    #[error(
        "there is no GPU number {index}: {}; choose another, or use --device cpu", available(*count)
    )]
    NoDevice {
        /// As asked for.
        index: usize,
        /// GPUs the driver lists.
        count: usize,
    },
    /// `libcudnn` is not there.
    #[error(
        "cuDNN {CUDNN_MAJOR} was not found (libcudnn.so.{CUDNN_MAJOR}); install it (for instance \
         `pip install nvidia-cudnn-cu13`) and name its folder in LD_LIBRARY_PATH, or use --device cpu"
    )]
    NoCudnn,
    /// Another major version of cuDNN.
    #[error(
        "cuDNN {found} was found, version {CUDNN_MAJOR} is needed; put the folder of \
         libcudnn.so.{CUDNN_MAJOR} first in LD_LIBRARY_PATH, or use --device cpu"
    )]
    OtherCudnn {
        /// The version found, like 8.9.7.
        found: String,
    },
    /// `libnvrtc` is not there.
    #[error(
        "nvrtc, the run-time compiler of CUDA, was not found (libnvrtc.so.13 or libnvrtc.so.12); \
         install it (for instance `pip install nvidia-cuda-nvrtc`) and name its folder in \
         LD_LIBRARY_PATH, or use --device cpu"
    )]
    NoNvrtc,
    /// `libnccl` is not there.
    #[cfg(feature = "nccl")]
    #[error(
        "NCCL, which several GPUs need, was not found ({reason}); install it (for instance `pip install \
         nvidia-nccl-cu13`) and name its folder in LD_LIBRARY_PATH, or start one process"
    )]
    NoNccl {
        /// What the system said.
        reason: String,
    },
    /// NCCL refused a call.
    #[cfg(feature = "nccl")]
    #[error("NCCL failed to {doing}: {reason}")]
    Nccl {
        /// What was asked of it.
        doing: &'static str,
        /// Its words.
        reason: String,
    },
    /// A kernel that nvrtc refuses.
    #[error("the kernels of {module} do not compile on this GPU: {log}")]
    Compile {
        /// Which source file.
        module: &'static str,
        /// The compiler's words.
        log: String,
    },
    /// A kernel that is not in its module.
    #[error("kernel {kernel} is not in the compiled kernels of {module}: {reason}")]
    Kernel {
        /// Which source file.
        module: &'static str,
        /// The kernel's name.
        kernel: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// Not enough GPU memory.
    #[error(
        "{what} needs {} of GPU memory, {} are free; use smaller images, a smaller \
         batch or --precision bf16, or close other programs on this GPU",
        in_words(wanted),
        in_words(free)
    )]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// Bytes asked for.
        wanted: usize,
        /// Bytes free when it was asked.
        free: usize,
    },
    /// A model option that only the CPU has.
    #[error("{option} is not available on CUDA yet; use --device cpu, or a model without it")]
    Unsupported {
        /// The option with its value, like `gates = true`.
        option: String,
    },
    /// An argument of the wrong size or out of range.
    #[error("{what}: {found}, expected {expected}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// Its size or value.
        found: String,
        /// What was expected, in words.
        expected: String,
    },
    /// The driver refused a call.
    #[error("the GPU failed to {doing}: {}", driver_words(source))]
    Driver {
        /// What was asked of it.
        doing: &'static str,
        /// The driver's code.
        source: DriverError,
    },
    /// A part of the network's program could not be queued.
    #[error("{operation}: {source}")]
    Operation {
        /// Which part.
        operation: &'static str,
        /// Why.
        source: Box<CudaError>,
    },
    /// cuDNN refused a call.
    #[error("cuDNN failed to {doing}: {source:?}")]
    Cudnn {
        /// What was asked of it.
        doing: &'static str,
        /// cuDNN's code.
        source: CudnnError,
    },
}

fn available(count: usize) -> String {
    match count {
        0 => "the driver lists none".into(),
        1 => "there is one, cuda:0".into(),
        _ => format!("there are {count}, cuda:0 to cuda:{}", count - 1),
    }
}

/// Names what was asked of the driver or of cuDNN.
pub(crate) trait Doing<T> {
    /// "... failed to `doing`".
    fn doing(self, doing: &'static str) -> Result<T, CudaError>;
}

impl<T> Doing<T> for Result<T, DriverError> {
    fn doing(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { doing, source })
    }
}

impl<T> Doing<T> for Result<T, CudnnError> {
    fn doing(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Cudnn { doing, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_value_and_remedy() {
        let text = CudaError::NoDevice { index: 7, count: 2 }.to_string();
        assert!(text.contains("number 7") && text.contains("cuda:0 to cuda:1"), "{text}");
        let text = CudaError::NoDevice { index: 0, count: 0 }.to_string();
        assert!(text.contains("lists none"), "{text}");
        let text = CudaError::OutOfMemory { what: "a step".into(), wanted: 3 << 30, free: 1 << 29 }
            .to_string();
        assert!(text.contains("3.00 GiB") && text.contains("512.0 MiB"), "{text}");
        let text = CudaError::OldDriver { found: 11_080 }.to_string();
        assert!(text.contains("CUDA 11.8") && text.contains("12.0"), "{text}");
    }
}
