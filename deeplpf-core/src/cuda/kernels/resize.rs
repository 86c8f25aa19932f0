//! Bilinear resize (align_corners = false, no antialiasing) and its transpose, of an image and of its
//! 3x3 patches. The transposes gather: every source pixel looks for the results it went into.

use super::*;
use crate::cuda::span::Activation;

pub(super) const SOURCE: module::Source = module::Source {
    name: "resize.cu",
    text: include_str!("resize.cu"),
    kernels: &[
        "resize_f32",
        "resize_bf16",
        "resize_backward_f32",
        "resize_backward_bf16",
        "resized_patches_f32",
        "resized_patches_bf16",
        "resized_patches_backward_f32",
        "resized_patches_backward_bf16",
    ],
};

/// Taps of a 3x3 kernel.
const TAPS: usize = 9;

#[repr(C)]
#[derive(Clone, Copy)]
struct Resize {
    input: RawPlanes,
    out: RawPlanes,
    /// Input pixels per output pixel, as PyTorch rounds it.
    row_scale: f32,
    column_scale: f32,
    strip: u64,
    level: u32,
    accumulate: u32,
}

/// That an image is a level of some rows of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StripRows {
    /// Four whole numbers: rows of the picture, the first that is there, the first and the end of those
    /// that are resized; where those of the strip begin, multiples of two to the power of the level.
    pub rows: Span<f32>,
    /// How often its rows were halved.
    pub level: u32,
}

// SAFETY: numbers and such structures, as `Resize` in resize.cu.
unsafe impl Argument for Resize {}

/// The argument for a resize from `fine` to `coarse`; `[input, out]` in the kernel's order.
fn argument<S, T>(
    fine: Planes<S>,
    coarse: Planes<T>,
    [input, out]: [RawPlanes; 2],
    accumulate: bool,
) -> Resize {
    Resize {
        input,
        out,
        row_scale: fine.height as f32 / coarse.height as f32,
        column_scale: fine.width as f32 / coarse.width as f32,
        strip: 0,
        level: 0,
        accumulate: accumulate.into(),
    }
}

fn grid<T>(out: Planes<T>, planes: usize) -> [u32; 3] {
    [blocks(out.width, 32), blocks(out.height, 8), planes as u32]
}

impl Kernels {
    /// `image` (N, C, H, W) resized to the size of `out` (N, C, h, w), which has no border. Of a `strip`
    /// the rows of `out` that lie in it; the row below its end must be there too, if the picture has
    /// one.
    pub fn resize<T: Activation>(
        &self,
        stream: &CudaStream,
        image: Planes<T>,
        out: Planes<T>,
        strip: Option<StripRows>,
    ) -> Result<(), CudaError> {
        let [batch, channels, height, width] = out.shape();
        let expected = [image.batch, image.channels, height, width];
        same_shape("resized image", [batch, channels, height, width], expected)?;
        let mut argument = argument(image, out, [image.into(), out.into()], false);
        if let Some(strip) = strip {
            enough("rows of a strip", strip.rows, 4)?;
            (argument.strip, argument.level) = (strip.rows.address(), strip.level);
        }
        let kernel = T::kernel(["resize_f32", "resize_bf16"]);
        self.resize.launch(stream, kernel, grid(out, batch * channels), [32, 8], argument)
    }

    /// The transpose of [`Self::resize`] of a whole image: its gradient from that of the resized one,
    /// written or added to `out`, whose border, if there is one, stays as it is.
    pub fn resize_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        gradient: Planes<T>,
        out: Planes<T>,
        accumulate: bool,
    ) -> Result<(), CudaError> {
        let [batch, channels, ..] = out.shape();
        let expected = [batch, channels, gradient.height, gradient.width];
        same_shape("gradient of the resized image", gradient.shape(), expected)?;
        let argument = argument(out, gradient, [gradient.into(), out.into()], accumulate);
        let kernel = T::kernel(["resize_backward_f32", "resize_backward_bf16"]);
        self.resize.launch(stream, kernel, grid(out, batch * channels), [32, 8], argument)
    }

    /// The 3x3 patches of `image` (N, C, H, W), sides at least 2, resized: (N, 9 C + 1, h, w), as
    /// [`crate::ops::patches::resized_patches`]: channel 9 c + 3 i + j is channel c shifted by
    /// (i - 1, j - 1), mirrored at the border; the last one is 1 everywhere.
    pub fn resized_patches<T: Activation>(
        &self,
        stream: &CudaStream,
        image: Planes<f32>,
        out: Planes<T>,
    ) -> Result<(), CudaError> {
        patches(image, out)?;
        let argument = argument(image, out, [image.into(), out.into()], false);
        let kernel = T::kernel(["resized_patches_f32", "resized_patches_bf16"]);
        let planes = out.batch * (image.channels + 1);
        self.resize.launch(stream, kernel, grid(out, planes), [32, 8], argument)
    }

    /// The transpose of [`Self::resized_patches`], written or added to `out` (N, C, H, W).
    pub fn resized_patches_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        gradient: Planes<T>,
        out: Planes<f32>,
        accumulate: bool,
    ) -> Result<(), CudaError> {
        patches(out, gradient)?;
        let argument = argument(out, gradient, [gradient.into(), out.into()], accumulate);
        let kernel = T::kernel(["resized_patches_backward_f32", "resized_patches_backward_bf16"]);
        self.resize.launch(stream, kernel, grid(out, out.batch * out.channels), [32, 8], argument)
    }
}

/// That `patches` has the channels of the patches of `image`.
fn patches<S, T>(image: Planes<S>, patches: Planes<T>) -> Result<(), CudaError> {
    let [_, _, height, width] = patches.shape();
    let expected = [image.batch, TAPS * image.channels + 1, height, width];
    same_shape("resized patches", patches.shape(), expected)?;
    require(
        image.height.min(image.width) >= 2,
        "image of patches",
        || format!("{}x{}", image.width, image.height),
        || "at least 2x2 pixels".into(),
    )
}
