//! Compiling a source file of kernels, and launching them.

use std::{collections::BTreeMap, sync::Arc};

use cudarc::{
    driver::{CudaFunction, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg},
    nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts},
};

use super::{CudaError, Device};
use crate::cuda::error::Doing;

/// What every source file begins with.
const PRELUDE: &str = include_str!("prelude.cuh");

/// A file of kernels.
#[derive(Debug)]
pub(super) struct Source {
    /// The file's name, for messages.
    pub name: &'static str,
    /// Its text, after the prelude.
    pub text: &'static str,
    /// All kernels in it.
    pub kernels: &'static [&'static str],
}

/// The one argument every kernel takes: a C structure.
///
/// # Safety
/// `repr(C)`, of numbers, addresses and other such structures without padding between them, laid out
/// as the kernel's own.
pub(super) unsafe trait Argument: Copy {}

/// An [`Argument`] for the driver.
struct Passed<A>(A);

// SAFETY: the driver copies the bytes of a C structure.
unsafe impl<A: Argument> DeviceRepr for Passed<A> {}

/// Compiled kernels. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Module {
    name: &'static str,
    kernels: Arc<BTreeMap<&'static str, CudaFunction>>,
}

impl Module {
    /// Compiles `source` after the prelude, for `device`.
    pub fn compile(device: &Device, source: &Source) -> Result<Self, CudaError> {
        let text = [PRELUDE, source.text].concat();
        Self::load(device, source, translate(source.name, &text, &[], device.capability())?)
    }

    /// Compiles `source` without the prelude but with macros defined, for `device`.
    pub fn compile_bare(
        device: &Device,
        source: &Source,
        defines: &[(&str, String)],
    ) -> Result<Self, CudaError> {
        let ptx = translate(source.name, source.text, defines, device.capability())?;
        Self::load(device, source, ptx)
    }

    fn load(device: &Device, source: &Source, ptx: Ptx) -> Result<Self, CudaError> {
        let context = device.context();
        let module = context.load_module(ptx).doing("load the kernels")?;
        let mut kernels = BTreeMap::new();
        for &kernel in source.kernels {
            let function = module.load_function(kernel).map_err(|error| CudaError::Kernel {
                module: source.name,
                kernel,
                reason: format!("{error:?}"),
            })?;
            kernels.insert(kernel, function);
        }
        Ok(Self { name: source.name, kernels: Arc::new(kernels) })
    }

    /// Queues a kernel.
    pub fn launch<A: Argument>(
        &self,
        stream: &CudaStream,
        kernel: &'static str,
        grid: [u32; 3],
        block: [u32; 2],
        argument: A,
    ) -> Result<(), CudaError> {
        let function = self.kernels.get(kernel).ok_or(CudaError::Kernel {
            module: self.name,
            kernel,
            reason: "it is not among those that were loaded".into(),
        })?;
        let config = LaunchConfig {
            grid_dim: grid.into(),
            block_dim: (block[0], block[1], 1),
            shared_mem_bytes: 0,
        };
        let argument = Passed(argument);
        let mut launch = stream.launch_builder(function);
        launch.arg(&argument);
        // SAFETY: the launcher has checked that the kernel stays within the memory it is given, and
        // the structure is the kernel's own.
        unsafe { launch.launch(config) }.doing("launch a kernel")?;
        Ok(())
    }
}

/// PTX of a text for a compute capability.
fn translate(
    name: &'static str,
    text: &str,
    defines: &[(&str, String)],
    (major, minor): (i32, i32),
) -> Result<Ptx, CudaError> {
    let mut options =
        vec![format!("--gpu-architecture=compute_{major}{minor}"), "--std=c++17".into()];
    options.extend(defines.iter().map(|(name, value)| format!("--define-macro={name}={value}")));
    let options = CompileOptions { options, name: Some(name.into()), ..Default::default() };
    compile_ptx_with_opts(text, options).map_err(|error| {
        let log = match error {
            CompileError::CompileError { log, .. } => log.to_string_lossy().trim().to_string(),
            other => format!("{other:?}"),
        };
        CudaError::Compile { module: name, log }
    })
}
