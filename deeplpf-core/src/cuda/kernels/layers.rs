//! What lies between two convolutions of the backbone and of the heads.
//!
//! A convolution's raw output has no bias yet; the kernels here add it, activate, pool and write the
//! result where the next convolution reads it, border included, in one pass; and one pass goes back,
//! which also yields the bias' gradient.

use super::*;
use crate::cuda::span::Activation;

pub(super) const SOURCE: module::Source = module::Source {
    name: "layers.cu",
    text: include_str!("layers.cu"),
    kernels: &[
        "activate_f32",
        "activate_bf16",
        "activate_backward_f32",
        "activate_backward_bf16",
        "activate_pool_f32",
        "activate_pool_bf16",
        "activate_pool_backward_f32",
        "activate_pool_backward_bf16",
        "join_upsampled_f32",
        "join_upsampled_bf16",
        "join_upsampled_backward_f32",
        "join_upsampled_backward_bf16",
        "residual_f32",
        "residual_bf16",
        "residual_backward_f32",
        "residual_backward_bf16",
        "convert_f32_f32",
        "convert_f32_bf16",
        "convert_bf16_f32",
        "convert_bf16_bf16",
        "round_to_bf16",
        "widen_from_bf16",
    ],
};

/// Slope of the activation for negative numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Slope {
    /// LeakyReLU with the release's 0.01.
    Leaky,
    /// No activation.
    Identity,
}

impl Slope {
    pub(super) fn number(self) -> f32 {
        match self {
            Self::Leaky => crate::ops::conv::LEAKY_SLOPE as f32,
            Self::Identity => 1.0,
        }
    }
}

/// Rows that one thread of the kernels without sums handles.
const ROWS_PER_THREAD: usize = 4;
/// Threads of a block: columns and rows.
const BLOCK: [u32; 2] = [32, 8];

/// Blocks of 32 columns by `8 * rows` rows.
fn tiles(height: usize, width: usize, rows: usize) -> [u32; 2] {
    [blocks(width, BLOCK[0] as usize), blocks(height, BLOCK[1] as usize * rows)]
}

/// Grid and rows per thread of a kernel that sums over all pixels of a channel: as many blocks as
/// there is scratch memory for at most.
fn summed_tiles(
    [batch, channels, height, width]: [usize; 4],
) -> Result<([u32; 3], u32), CudaError> {
    let mut rows = ROWS_PER_THREAD;
    loop {
        let [x, y] = tiles(height, width, rows);
        let count = (x as usize * y as usize).saturating_mul(batch * channels);
        if count <= SCRATCH_SUMS {
            return Ok(([x * y, channels as u32, batch as u32], rows as u32));
        }
        require(
            y > 1,
            "gradient of a bias",
            || format!("{batch}x{channels}x{height}x{width}"),
            || "a smaller batch or image".into(),
        )?;
        rows *= 2;
    }
}

/// Where a kernel adds up a bias' gradient.
#[repr(C)]
#[derive(Clone, Copy)]
struct BiasGradient {
    /// One number per channel, overwritten.
    gradient: u64,
    sums: u64,
    counters: u64,
    rows_per_thread: u32,
    padding: u32,
}

impl BiasGradient {
    fn new(
        gradient: Span<f32>,
        scratch: Scratch,
        channels: usize,
        rows_per_thread: u32,
    ) -> Result<Self, CudaError> {
        scratch.check()?;
        enough("gradient of a bias", gradient, channels)?;
        require(
            channels <= SCRATCH_COUNTERS,
            "channels",
            || channels.to_string(),
            || format!("at most {SCRATCH_COUNTERS}"),
        )?;
        Ok(Self {
            gradient: gradient.address(),
            sums: scratch.sums.address(),
            counters: scratch.counters.address(),
            rows_per_thread,
            padding: 0,
        })
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Activate {
    input: RawPlanes,
    out: RawPlanes,
    bias: u64,
    slope: f32,
    rows_per_thread: u32,
}

// SAFETY: numbers, addresses and such structures, as `Activate` in layers.cu.
unsafe impl Argument for Activate {}

#[repr(C)]
#[derive(Clone, Copy)]
struct ActivateBackward {
    activated: RawPlanes,
    gradient: RawPlanes,
    out: RawPlanes,
    bias: BiasGradient,
    slope: f32,
    padding: u32,
}

// SAFETY: as above.
unsafe impl Argument for ActivateBackward {}

#[repr(C)]
#[derive(Clone, Copy)]
struct ActivatePool {
    input: RawPlanes,
    full: RawPlanes,
    pooled: RawPlanes,
    bias: u64,
    slope: f32,
    padding: u32,
}

// SAFETY: as above.
unsafe impl Argument for ActivatePool {}

#[repr(C)]
#[derive(Clone, Copy)]
struct ActivatePoolBackward {
    values: RawPlanes,
    pooled_gradient: RawPlanes,
    full_gradient: RawPlanes,
    out: RawPlanes,
    /// Null where the values are activated already.
    value_bias: u64,
    bias: BiasGradient,
    slope: f32,
    padding: u32,
}

// SAFETY: as above.
unsafe impl Argument for ActivatePoolBackward {}

#[repr(C)]
#[derive(Clone, Copy)]
struct JoinUpsampled {
    coarse: RawPlanes,
    out: RawPlanes,
    bias: u64,
}

// SAFETY: as above.
unsafe impl Argument for JoinUpsampled {}

#[repr(C)]
#[derive(Clone, Copy)]
struct JoinUpsampledBackward {
    gradient: RawPlanes,
    out: RawPlanes,
    bias: BiasGradient,
}

// SAFETY: as above.
unsafe impl Argument for JoinUpsampledBackward {}

#[repr(C)]
#[derive(Clone, Copy)]
struct Residual {
    activated: RawPlanes,
    image: RawPlanes,
    out: RawPlanes,
    bias: u64,
    slope: f32,
    padding: u32,
}

// SAFETY: as above.
unsafe impl Argument for Residual {}

#[repr(C)]
#[derive(Clone, Copy)]
struct ResidualBackward {
    activated: RawPlanes,
    gradient: RawPlanes,
    plus: RawPlanes,
    out: RawPlanes,
    bias: BiasGradient,
    slope: f32,
    padding: u32,
}

// SAFETY: as above.
unsafe impl Argument for ResidualBackward {}

#[repr(C)]
#[derive(Clone, Copy)]
struct Convert {
    input: RawPlanes,
    out: RawPlanes,
}

// SAFETY: as above.
unsafe impl Argument for Convert {}

#[repr(C)]
#[derive(Clone, Copy)]
struct Round {
    input: u64,
    out: u64,
    count: u64,
}

// SAFETY: as above.
unsafe impl Argument for Round {}

impl Kernels {
    /// out = act(input + bias).
    ///
    /// `input`: a convolution's raw output without a border; `bias`: one number per channel. A border
    /// of `out` is filled with the reflection. `out` may be `input` if it has no border.
    pub fn activate<T: Activation>(
        &self,
        stream: &CudaStream,
        input: Planes<T>,
        bias: Span<f32>,
        slope: Slope,
        out: Planes<T>,
    ) -> Result<(), CudaError> {
        same_shape("activated planes", out.shape(), input.shape())?;
        enough("bias", bias, input.channels)?;
        let [batch, channels, height, width] = out.shape();
        let border = 2 * out.border;
        let [x, y] = tiles(height + border, width + border, ROWS_PER_THREAD);
        let argument = Activate {
            input: input.into(),
            out: out.into(),
            bias: bias.address(),
            slope: slope.number(),
            rows_per_thread: ROWS_PER_THREAD as u32,
        };
        let kernel = T::kernel(["activate_f32", "activate_bf16"]);
        self.layers.launch(stream, kernel, [x * y, channels as u32, batch as u32], BLOCK, argument)
    }

    /// The way back of [`Self::activate`]: from the gradient of its result to that of its input, and
    /// of the bias.
    ///
    /// `activated`: its result, with or without border (the sign decides the slope; a zero counts as
    /// negative, as in PyTorch). `gradient`: with a border, that is folded into the inside. `out`:
    /// without border; may be `gradient` if that has none. `bias_gradient` is overwritten.
    #[allow(clippy::too_many_arguments)]
    pub fn activate_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        activated: Planes<T>,
        gradient: Planes<T>,
        slope: Slope,
        out: Planes<T>,
        bias_gradient: Span<f32>,
        scratch: Scratch,
    ) -> Result<(), CudaError> {
        same_shape("activated planes", activated.shape(), out.shape())?;
        same_shape("gradient", gradient.shape(), out.shape())?;
        let (grid, rows) = summed_tiles(out.shape())?;
        let argument = ActivateBackward {
            activated: activated.into(),
            gradient: gradient.into(),
            out: out.into(),
            bias: BiasGradient::new(bias_gradient, scratch, out.channels, rows)?,
            slope: slope.number(),
            padding: 0,
        };
        let kernel = T::kernel(["activate_backward_f32", "activate_backward_bf16"]);
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// pooled = 2x2 max-pool of leaky(input + bias), and full = leaky(input + bias) where it is asked
    /// for.
    ///
    /// `input`: raw, without border, at least 2x2. `pooled`: floor of half the sides. Both results'
    /// borders are filled with the reflection. `full` may be `input` if it has no border.
    pub fn activate_pool<T: Activation>(
        &self,
        stream: &CudaStream,
        input: Planes<T>,
        bias: Span<f32>,
        full: Option<Planes<T>>,
        pooled: Planes<T>,
    ) -> Result<(), CudaError> {
        let [batch, channels, height, width] = input.shape();
        same_shape("pooled planes", pooled.shape(), [batch, channels, height / 2, width / 2])?;
        if let Some(full) = full {
            same_shape("activated planes", full.shape(), input.shape())?;
        }
        enough("bias", bias, channels)?;
        let grid = [blocks(width.div_ceil(2), 32), blocks(height.div_ceil(2), 8)];
        let argument = ActivatePool {
            input: input.into(),
            full: full.map_or(RawPlanes::NONE, RawPlanes::from),
            pooled: pooled.into(),
            bias: bias.address(),
            slope: Slope::Leaky.number(),
            padding: 0,
        };
        let kernel = T::kernel(["activate_pool_f32", "activate_pool_bf16"]);
        let grid = [grid[0] * grid[1], channels as u32, batch as u32];
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// The way back of [`Self::activate_pool`] to its input and bias.
    ///
    /// `values`: its input with `value_bias`, or its `full` result without. `pooled_gradient`: of the
    /// pooled planes, a border folded; goes to the first maximum of each window (a NaN wins).
    /// `full_gradient`: of the full result where that is used too, a border folded. `out`: without
    /// border; may be `values` if that has none. `bias_gradient` is overwritten.
    #[allow(clippy::too_many_arguments)]
    pub fn activate_pool_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        (values, value_bias): (Planes<T>, Option<Span<f32>>),
        pooled_gradient: Planes<T>,
        full_gradient: Option<Planes<T>>,
        out: Planes<T>,
        bias_gradient: Span<f32>,
        scratch: Scratch,
    ) -> Result<(), CudaError> {
        let [batch, channels, height, width] = out.shape();
        same_shape("values", values.shape(), out.shape())?;
        let half = [batch, channels, height / 2, width / 2];
        same_shape("gradient of the pooled planes", pooled_gradient.shape(), half)?;
        if let Some(gradient) = full_gradient {
            same_shape("gradient of the activated planes", gradient.shape(), out.shape())?;
        }
        if let Some(bias) = value_bias {
            enough("bias", bias, channels)?;
        }
        let windows = [batch, channels, height.div_ceil(2), width.div_ceil(2)];
        let (grid, rows) = summed_tiles(windows)?;
        let argument = ActivatePoolBackward {
            values: values.into(),
            pooled_gradient: pooled_gradient.into(),
            full_gradient: full_gradient.map_or(RawPlanes::NONE, RawPlanes::from),
            out: out.into(),
            value_bias: value_bias.map_or(0, Span::address),
            bias: BiasGradient::new(bias_gradient, scratch, channels, rows)?,
            slope: Slope::Leaky.number(),
            padding: 0,
        };
        let kernel = T::kernel(["activate_pool_backward_f32", "activate_pool_backward_bf16"]);
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// out = coarse + bias with every pixel doubled in both directions.
    ///
    /// `coarse`: raw output of the 1x1 convolution at the coarse level, (N, C, h, w), no border.
    /// `out`: C channels of the joint, H in {2h, 2h + 1}, W in {2w, 2w + 1}: where the joint is one
    /// larger it gets a row of zeros at the bottom and a column of zeros at the left, as in the
    /// release; a border is filled with the reflection of that.
    pub fn join_upsampled<T: Activation>(
        &self,
        stream: &CudaStream,
        coarse: Planes<T>,
        bias: Span<f32>,
        out: Planes<T>,
    ) -> Result<(), CudaError> {
        doubled(coarse, out)?;
        enough("bias", bias, coarse.channels)?;
        let border = 2 * out.border;
        let [x, y] = tiles(out.height + border, out.width + border, 1);
        let argument =
            JoinUpsampled { coarse: coarse.into(), out: out.into(), bias: bias.address() };
        let kernel = T::kernel(["join_upsampled_f32", "join_upsampled_bf16"]);
        let grid = [x * y, out.channels as u32, out.batch as u32];
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// The way back of [`Self::join_upsampled`]: `gradient` of its result, a border folded; `out`:
    /// of the coarse planes, no border. `bias_gradient` is overwritten.
    pub fn join_upsampled_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        gradient: Planes<T>,
        out: Planes<T>,
        bias_gradient: Span<f32>,
        scratch: Scratch,
    ) -> Result<(), CudaError> {
        doubled(out, gradient)?;
        let (grid, rows) = summed_tiles(out.shape())?;
        let argument = JoinUpsampledBackward {
            gradient: gradient.into(),
            out: out.into(),
            bias: BiasGradient::new(bias_gradient, scratch, out.channels, rows)?,
        };
        let kernel = T::kernel(["join_upsampled_backward_f32", "join_upsampled_backward_bf16"]);
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// activated = leaky(activated + bias) in place; out = activated + image: the U-Net's end.
    ///
    /// `activated`: raw output of the last convolution, without border. `image`: the network's input,
    /// with or without border. A border of `out` is filled with the reflection.
    pub fn residual<T: Activation>(
        &self,
        stream: &CudaStream,
        activated: Planes<T>,
        bias: Span<f32>,
        image: Planes<f32>,
        out: Planes<f32>,
    ) -> Result<(), CudaError> {
        same_shape("image", image.shape(), out.shape())?;
        same_shape("last convolution", activated.shape(), out.shape())?;
        enough("bias", bias, out.channels)?;
        let [x, y] = tiles(out.height, out.width, 1);
        let argument = Residual {
            activated: activated.into(),
            image: image.into(),
            out: out.into(),
            bias: bias.address(),
            slope: Slope::Leaky.number(),
            padding: 0,
        };
        let kernel = T::kernel(["residual_f32", "residual_bf16"]);
        let grid = [x * y, out.channels as u32, out.batch as u32];
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// The way back of [`Self::residual`] to the last convolution and its bias.
    ///
    /// `gradient`: of its `out`, a border folded; `plus`: further gradient of the same, added. `out`:
    /// no border; may be `activated` if both have the same type.
    #[allow(clippy::too_many_arguments)]
    pub fn residual_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        activated: Planes<T>,
        gradient: Planes<f32>,
        plus: Option<Planes<f32>>,
        out: Planes<T>,
        bias_gradient: Span<f32>,
        scratch: Scratch,
    ) -> Result<(), CudaError> {
        same_shape("last convolution", activated.shape(), out.shape())?;
        same_shape("gradient", gradient.shape(), out.shape())?;
        if let Some(plus) = plus {
            same_shape("further gradient", plus.shape(), out.shape())?;
        }
        let (grid, rows) = summed_tiles(out.shape())?;
        let argument = ResidualBackward {
            activated: activated.into(),
            gradient: gradient.into(),
            plus: plus.map_or(RawPlanes::NONE, RawPlanes::from),
            out: out.into(),
            bias: BiasGradient::new(bias_gradient, scratch, out.channels, rows)?,
            slope: Slope::Leaky.number(),
            padding: 0,
        };
        let kernel = T::kernel(["residual_backward_f32", "residual_backward_bf16"]);
        self.layers.launch(stream, kernel, grid, BLOCK, argument)
    }

    /// out = input, converted; a border of `out` is filled with the reflection of the inside.
    pub fn convert<S: Activation, T: Activation>(
        &self,
        stream: &CudaStream,
        input: Planes<S>,
        out: Planes<T>,
    ) -> Result<(), CudaError> {
        same_shape("converted planes", input.shape(), out.shape())?;
        let border = 2 * out.border;
        let [x, y] = tiles(out.height + border, out.width + border, 1);
        let argument = Convert { input: input.into(), out: out.into() };
        let from_f32 = T::kernel(["convert_f32_f32", "convert_f32_bf16"]);
        let from_bf16 = T::kernel(["convert_bf16_f32", "convert_bf16_bf16"]);
        let grid = [x * y, out.channels as u32, out.batch as u32];
        self.layers.launch(stream, S::kernel([from_f32, from_bf16]), grid, BLOCK, argument)
    }

    /// `input` rounded to bfloat16 (to nearest, ties to even), one number behind the other.
    pub fn round_to_bf16(
        &self,
        stream: &CudaStream,
        input: Span<f32>,
        out: Span<half::bf16>,
    ) -> Result<(), CudaError> {
        enough("rounded numbers", out, input.len())?;
        let argument =
            Round { input: input.address(), out: out.address(), count: input.len() as u64 };
        let grid = [blocks(input.len().max(1), 1024), 1, 1];
        self.layers.launch(stream, "round_to_bf16", grid, [256, 1], argument)
    }

    /// `input` as single-precision numbers, one behind the other.
    pub fn widen_from_bf16(
        &self,
        stream: &CudaStream,
        input: Span<half::bf16>,
        out: Span<f32>,
    ) -> Result<(), CudaError> {
        enough("widened numbers", out, input.len())?;
        let argument =
            Round { input: input.address(), out: out.address(), count: input.len() as u64 };
        let grid = [blocks(input.len().max(1), 1024), 1, 1];
        self.layers.launch(stream, "widen_from_bf16", grid, [256, 1], argument)
    }
}

/// That `fine` is `coarse` doubled, or one larger.
fn doubled<T>(coarse: Planes<T>, fine: Planes<T>) -> Result<(), CudaError> {
    let fits = |coarse: usize, fine: usize| fine == 2 * coarse || fine == 2 * coarse + 1;
    require(
        fits(coarse.height, fine.height)
            && fits(coarse.width, fine.width)
            && coarse.channels == fine.channels
            && coarse.batch == fine.batch,
        "upsampled planes",
        || format!("{:?}", fine.shape()),
        || format!("twice {:?}", coarse.shape()),
    )
}
