//! The training loss and its gradient to the prediction, in four launches, always in `f32` with sums
//! in `f64`.

use super::*;
use crate::{Fix, Fixes, LossConfig};

pub(super) const SOURCE: module::Source = module::Source {
    name: "loss.cu",
    text: include_str!("loss.cu"),
    kernels: &["loss_lab", "loss_similarity", "loss_coarse_gradient", "loss_gradient"],
};

/// Scales of MS-SSIM.
const SCALES: usize = 5;
/// Least side of an image: four halvings leave one pixel.
const LEAST_SIDE: usize = 16;
/// Side of a block's pixels, in the first launch of the finest scale, in the others of any scale.
const TILE: usize = 32;

/// A loss and its parts, means over the batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LossTerms {
    /// Weighted sum of both terms.
    pub total: f32,
    /// Mean absolute difference in scaled CIELAB.
    pub lab: f32,
    /// MS-SSIM of the luminance.
    pub ms_ssim: f32,
}

/// How the loss is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossSettings {
    /// Weights of the terms.
    pub weights: LossConfig,
    /// Exponent of the last scale's SSIM, over its weight: 4 in the release, 1 under `msssim`.
    pub last_exponent: f64,
}

impl LossSettings {
    /// Of a training configuration.
    pub fn new(weights: LossConfig, fixes: Fixes) -> Self {
        let last_exponent = if fixes.contains(Fix::Msssim) { 1.0 } else { 4.0 };
        Self { weights, last_exponent }
    }
}

/// One scale, as kernels get it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawScale {
    height: u32,
    width: u32,
    /// Blocks before this scale's, of one image.
    first_block: u32,
    padding: u32,
    /// Where its planes begin, in pixels of one image.
    first_pixel: u64,
}

/// Sizes of all scales: pixels and blocks of one image.
struct Scales {
    scales: [RawScale; SCALES],
    pixels: usize,
    blocks: usize,
}

impl Scales {
    fn new(height: usize, width: usize) -> Result<Self, CudaError> {
        require(
            height.min(width) >= LEAST_SIDE,
            "image of the loss",
            || format!("{width}x{height}"),
            || format!("at least {LEAST_SIDE}x{LEAST_SIDE} pixels"),
        )?;
        let mut scales = [RawScale::default(); SCALES];
        let (mut pixels, mut blocks) = (0, 0);
        for (level, scale) in scales.iter_mut().enumerate() {
            let (height, width) = (height >> level, width >> level);
            *scale = RawScale {
                height: height as u32,
                width: width as u32,
                first_block: blocks as u32,
                padding: 0,
                first_pixel: pixels as u64,
            };
            pixels += height * width;
            blocks += height.div_ceil(TILE) * width.div_ceil(TILE);
        }
        Ok(Self { scales, pixels, blocks })
    }
}

/// Bytes of the workspace that [`Kernels::loss`] needs for images of this size.
///
/// # Errors
/// An image below 16x16 pixels.
pub(crate) fn loss_workspace(
    batch: usize,
    height: usize,
    width: usize,
) -> Result<usize, CudaError> {
    Ok(Layout::new(batch, height, width)?.bytes)
}

/// Where the parts of the workspace begin, in bytes.
struct Layout {
    scales: Scales,
    /// f64: per image and block of the finest scale, the sum of absolute Lab differences.
    lab_sums: usize,
    /// f64: per image and block of any scale, the sum of the compared quantity.
    similarity_sums: usize,
    /// f32: per image and scale, the weight of its gradient.
    weights: usize,
    /// f32 planes of all scales, image by image: L of both images, three maps; on the way back the
    /// coarser scales' gradients take the place of their target's L.
    planes: usize,
    /// u8: per image and pixel, the signs of the three Lab differences.
    signs: usize,
    /// u32: one.
    counter: usize,
    bytes: usize,
}

impl Layout {
    fn new(batch: usize, height: usize, width: usize) -> Result<Self, CudaError> {
        let scales = Scales::new(height, width)?;
        let finest = height.div_ceil(TILE) * width.div_ceil(TILE);
        let mut end = 0;
        let mut place = |bytes: usize| {
            let start = end;
            end += bytes.next_multiple_of(16);
            start
        };
        let counter = place(4);
        let lab_sums = place(8 * batch * finest);
        let similarity_sums = place(8 * batch * scales.blocks);
        let weights = place(4 * batch * SCALES);
        let planes = place(4 * batch * scales.pixels * 5);
        let signs = place(batch * height * width);
        Ok(Self { scales, lab_sums, similarity_sums, weights, planes, signs, counter, bytes: end })
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Loss {
    prediction: RawPlanes,
    target: RawPlanes,
    gradient: RawPlanes,
    scales: [RawScale; SCALES],
    /// Pixels of all scales of one image.
    pixels: u64,
    lab_sums: u64,
    similarity_sums: u64,
    weights: u64,
    planes: u64,
    signs: u64,
    counter: u64,
    terms: u64,
    lab_weight: f64,
    similarity_weight: f64,
    last_exponent: f64,
    /// Blocks of all scales of one image.
    blocks: u32,
    padding: u32,
}

// SAFETY: numbers, addresses and such structures, as `Loss` in loss.cu.
unsafe impl Argument for Loss {}

impl Kernels {
    /// The loss of `prediction` against `target`, (N, 3, H, W), sides at least 16, and its gradient.
    ///
    /// The prediction is clamped to [0, 1] first, with the gradient where it was inside. `terms`: one,
    /// overwritten. `gradient`: overwritten, no border; may be `prediction` if that has none. Without
    /// it only the value is computed. `workspace`: [`loss_workspace`] bytes, aligned to 16, the first
    /// four zero before the first call; they are left zero.
    #[allow(clippy::too_many_arguments)]
    pub fn loss(
        &self,
        stream: &CudaStream,
        prediction: Planes<f32>,
        target: Planes<f32>,
        settings: LossSettings,
        terms: Span<LossTerms>,
        gradient: Option<Planes<f32>>,
        workspace: Span<u8>,
    ) -> Result<(), CudaError> {
        let [batch, channels, height, width] = prediction.shape();
        same_shape("target of the loss", target.shape(), [batch, 3, height, width])?;
        same_shape("prediction", prediction.shape(), [batch, 3, height, width])?;
        debug_assert_eq!(channels, 3);
        if let Some(gradient) = gradient {
            same_shape("gradient of the loss", gradient.shape(), prediction.shape())?;
        }
        enough("terms of the loss", terms, 1)?;
        let layout = Layout::new(batch, height, width)?;
        enough("workspace of the loss", workspace, layout.bytes)?;
        let at = |offset: usize| workspace.address() + offset as u64;
        let argument = Loss {
            prediction: prediction.into(),
            target: target.into(),
            gradient: gradient.map_or(RawPlanes::NONE, RawPlanes::from),
            scales: layout.scales.scales,
            pixels: layout.scales.pixels as u64,
            lab_sums: at(layout.lab_sums),
            similarity_sums: at(layout.similarity_sums),
            weights: at(layout.weights),
            planes: at(layout.planes),
            signs: at(layout.signs),
            counter: at(layout.counter),
            terms: terms.address(),
            lab_weight: settings.weights.lab,
            similarity_weight: settings.weights.ms_ssim,
            last_exponent: settings.last_exponent,
            blocks: layout.scales.blocks as u32,
            padding: 0,
        };
        let images = batch as u32;
        let finest = [blocks(width, TILE), blocks(height, TILE), images];
        let all = layout.scales.blocks as u32;
        let coarse = all - layout.scales.scales[1].first_block;
        let block = [32, 8];
        self.loss.launch(stream, "loss_lab", finest, block, argument)?;
        self.loss.launch(stream, "loss_similarity", [all, 1, images], block, argument)?;
        if gradient.is_some() {
            self.loss.launch(
                stream,
                "loss_coarse_gradient",
                [coarse, 1, images],
                block,
                argument,
            )?;
            self.loss.launch(stream, "loss_gradient", finest, block, argument)?;
        }
        Ok(())
    }
}
