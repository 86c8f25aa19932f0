//! The filters' kernels: the source is [`deeplpf_filters::cuda`]'s, compiled for one configuration.

use deeplpf_filters::{
    StackConfig,
    cuda::{self as source, MOST_INSTANCES},
};

use super::*;
use crate::cuda::span::Activation;

const SOURCE: module::Source =
    module::Source { name: "filters", text: source::SOURCE, kernels: &source::KERNELS };

// SAFETY: a C structure of numbers and addresses, the kernels' own.
unsafe impl Argument for source::Argument {}

/// The filters of one configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FilterKernels {
    module: Module,
    config: StackConfig,
}

impl FilterKernels {
    /// Compiles them.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`] for more than 8 instances of a filter, [`CudaError::Compile`].
    pub fn new(device: &Device, config: &StackConfig) -> Result<Self, CudaError> {
        for (name, count) in [("graduated", config.graduated), ("elliptical", config.elliptical)] {
            if count > MOST_INSTANCES {
                let option = format!("{name} = {count} (more than {MOST_INSTANCES})");
                return Err(CudaError::Unsupported { option });
            }
        }
        let defines = source::defines(config);
        let defines: Vec<_> =
            defines.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        let module = Module::compile_bare(device, &SOURCE, &defines)?;
        Ok(Self { module, config: config.clone() })
    }

    /// Raw parameters of one image.
    pub fn raw_len(&self) -> usize {
        self.config.raw_len()
    }

    /// Bytes of [`Self::prepare`]'s result for a batch, aligned to 8.
    pub fn constants_len(&self, batch: usize) -> usize {
        batch * source::constants_len(&self.config)
    }

    /// Numbers of the ways' back workspace for images of this size.
    pub fn workspace_len(&self, [batch, _, height, width]: [usize; 4]) -> usize {
        source::sums_len(&self.config, batch, height, width)
    }

    /// From raw parameters (N, raw_len) to what the other kernels read.
    pub fn prepare(
        &self,
        stream: &CudaStream,
        raw: Span<f32>,
        batch: usize,
        constants: Span<u8>,
    ) -> Result<(), CudaError> {
        enough("raw parameters", raw, batch * self.config.raw_len())?;
        enough("constants of the filters", constants, self.constants_len(batch))?;
        let argument = source::Argument {
            raw: raw.address(),
            constants: constants.address(),
            ..Default::default()
        };
        self.module.launch(stream, "prepare_filters", [batch as u32, 1, 1], [32, 1], argument)
    }

    /// Y from Y1 (N, 3, H, W) without border. `out` may be `image`. `strip`: where `image` is only
    /// some rows of a picture, its first row and the rows of the whole.
    pub fn apply(
        &self,
        stream: &CudaStream,
        constants: Span<u8>,
        image: Planes<f32>,
        out: Planes<f32>,
        strip: Option<[usize; 2]>,
    ) -> Result<(), CudaError> {
        let (mut argument, grid) = self.over(image)?;
        same("filtered image", out, image.shape())?;
        enough("constants of the filters", constants, self.constants_len(image.batch))?;
        if let Some([first, of]) = strip {
            require(
                first + image.height <= of && of <= u32::MAX as usize,
                "strip of a picture",
                || format!("{} rows from {first} on", image.height),
                || format!("some of {of}"),
            )?;
            (argument.first_row, argument.full_height) = (first as u32, of as u32);
        }
        argument.constants = constants.address();
        argument.out = out.data().address();
        argument.out_stride = out.image_stride() as u64;
        self.launch(stream, "apply_filters", grid, argument)
    }

    /// Y2, the polynomial's result alone, bilinearly resized to the size of `out` (N, 3, h, w): what
    /// the local filters' heads see. Reads `raw`'s polynomial part only.
    pub fn polynomial_resized<T: Activation>(
        &self,
        stream: &CudaStream,
        raw: Span<f32>,
        image: Planes<f32>,
        out: Planes<T>,
    ) -> Result<(), CudaError> {
        let (mut argument, _) = self.over(image)?;
        enough("raw parameters", raw, image.batch * self.config.raw_len())?;
        same("resized image", out, [image.batch, 3, out.height, out.width])?;
        argument.raw = raw.address();
        argument.out = out.data().address();
        argument.out_stride = out.image_stride() as u64;
        argument.resized_height = out.height as u32;
        argument.resized_width = out.width as u32;
        let kernel = T::kernel(["polynomial_resized_f32", "polynomial_resized_bf16"]);
        let columns = blocks(out.width, source::BLOCK_COLUMNS);
        self.launch(stream, kernel, [columns, out.height as u32, image.batch as u32], argument)
    }

    /// From the cotangent of Y to the gradients of Y1 and of the raw parameters, both overwritten, in
    /// two launches.
    ///
    /// `image_gradient` may be `cotangent`. `workspace`: [`Self::workspace_len`] numbers.
    #[allow(clippy::too_many_arguments)]
    pub fn vjp(
        &self,
        stream: &CudaStream,
        raw: Span<f32>,
        constants: Span<u8>,
        image: Planes<f32>,
        cotangent: Planes<f32>,
        image_gradient: Planes<f32>,
        raw_gradient: Span<f32>,
        workspace: Span<f32>,
    ) -> Result<(), CudaError> {
        let (mut argument, grid) = self.over(image)?;
        same("cotangent", cotangent, image.shape())?;
        enough("constants of the filters", constants, self.constants_len(image.batch))?;
        argument.constants = constants.address();
        argument.cotangent = cotangent.data().address();
        argument.cotangent_stride = cotangent.image_stride() as u64;
        self.backward(&mut argument, raw, image, image_gradient, raw_gradient, workspace)?;
        self.launch(stream, "filters_vjp", grid, argument)?;
        let sums = source::sums_per_block(&self.config);
        self.finish(stream, "finish_filters_vjp", sums, image.batch, argument)
    }

    /// From the cotangent (N, 3, h, w) of [`Self::polynomial_resized`]'s result to the gradients of Y1
    /// and of the polynomial's raw parameters, both *added*, in two launches.
    #[allow(clippy::too_many_arguments)]
    pub fn polynomial_resized_vjp<T: Activation>(
        &self,
        stream: &CudaStream,
        raw: Span<f32>,
        image: Planes<f32>,
        cotangent: Planes<T>,
        image_gradient: Planes<f32>,
        raw_gradient: Span<f32>,
        workspace: Span<f32>,
    ) -> Result<(), CudaError> {
        let (mut argument, grid) = self.over(image)?;
        let expected = [image.batch, 3, cotangent.height, cotangent.width];
        same("cotangent of the resized image", cotangent, expected)?;
        argument.cotangent = cotangent.data().address();
        argument.cotangent_stride = cotangent.image_stride() as u64;
        argument.resized_height = cotangent.height as u32;
        argument.resized_width = cotangent.width as u32;
        self.backward(&mut argument, raw, image, image_gradient, raw_gradient, workspace)?;
        let kernel = T::kernel(["polynomial_resized_vjp_f32", "polynomial_resized_vjp_bf16"]);
        self.launch(stream, kernel, grid, argument)?;
        let sums = self.config.polynomial_range().len();
        self.finish(stream, "finish_polynomial_vjp", sums, image.batch, argument)
    }

    /// What kernels over the pixels of `image` take, and their grid.
    fn over(&self, image: Planes<f32>) -> Result<(source::Argument, [u32; 3]), CudaError> {
        let [batch, _, height, width] = image.shape();
        same("image of the filters", image, [batch, 3, height, width])?;
        let rows = source::rows_per_block(batch, height, width);
        let grid = [blocks(width, source::BLOCK_COLUMNS), blocks(height, rows), batch as u32];
        let argument = source::Argument {
            image: image.data().address(),
            image_stride: image.image_stride() as u64,
            height: height as u32,
            width: width as u32,
            full_height: height as u32,
            rows_per_block: rows as u32,
            blocks: grid[0] * grid[1],
            ..Default::default()
        };
        Ok((argument, grid))
    }

    /// The part of the argument that both ways back share.
    fn backward(
        &self,
        argument: &mut source::Argument,
        raw: Span<f32>,
        image: Planes<f32>,
        image_gradient: Planes<f32>,
        raw_gradient: Span<f32>,
        workspace: Span<f32>,
    ) -> Result<(), CudaError> {
        let numbers = image.batch * self.config.raw_len();
        enough("raw parameters", raw, numbers)?;
        enough("gradient of the raw parameters", raw_gradient, numbers)?;
        enough("workspace of the filters", workspace, self.workspace_len(image.shape()))?;
        same("gradient of the image", image_gradient, image.shape())?;
        argument.raw = raw.address();
        argument.raw_gradient = raw_gradient.address();
        argument.sums = workspace.address();
        argument.image_gradient = image_gradient.data().address();
        argument.image_gradient_stride = image_gradient.image_stride() as u64;
        Ok(())
    }

    /// Adds up the blocks' sums, if there are any.
    fn finish(
        &self,
        stream: &CudaStream,
        kernel: &'static str,
        sums: usize,
        batch: usize,
        argument: source::Argument,
    ) -> Result<(), CudaError> {
        if sums == 0 {
            return Ok(());
        }
        self.launch(stream, kernel, [sums as u32, batch as u32, 1], argument)
    }

    fn launch(
        &self,
        stream: &CudaStream,
        kernel: &'static str,
        grid: [u32; 3],
        argument: source::Argument,
    ) -> Result<(), CudaError> {
        self.module.launch(stream, kernel, grid, [source::BLOCK_COLUMNS as u32, 1], argument)
    }
}

/// That planes have a shape and no border.
fn same<T>(what: &'static str, planes: Planes<T>, expected: [usize; 4]) -> Result<(), CudaError> {
    same_shape(what, planes.shape(), expected)?;
    require(
        planes.border == 0,
        what,
        || format!("a border of {}", planes.border),
        || "no border".into(),
    )
}
