//! From the bytes of decoded images to the network's input.

use super::*;
use crate::cuda::span::{Activation, Scalar};

pub(super) const SOURCE: module::Source = module::Source {
    name: "images.cu",
    text: include_str!("images.cu"),
    kernels: &[
        "fetch_images_u8_f32",
        "fetch_images_u8_bf16",
        "fetch_images_u16_f32",
        "fetch_images_u16_bf16",
    ],
};

/// Which part of which image, and how it is turned; lies in GPU memory, so that a graph replayed
/// takes other images.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Number of the image's first element in the source.
    pub first: u64,
    /// Columns of the stored image.
    pub stored_width: u32,
    /// First row of the crop.
    pub top: u32,
    /// First column of the crop.
    pub left: u32,
    /// Bit 0: mirrored left to right; bit 1: upside down (after the crop).
    pub flips: u32,
}

/// Elements images are stored in.
pub(crate) trait Stored: Scalar {
    /// The kernels for `f32` and `bf16` planes.
    const KERNELS: [&'static str; 2];
}

impl Stored for u8 {
    const KERNELS: [&'static str; 2] = ["fetch_images_u8_f32", "fetch_images_u8_bf16"];
}

impl Stored for u16 {
    const KERNELS: [&'static str; 2] = ["fetch_images_u16_f32", "fetch_images_u16_bf16"];
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FetchImages {
    stored: u64,
    stored_len: u64,
    picks: u64,
    out: RawPlanes,
}

// SAFETY: numbers and addresses, as `FetchImages` in images.cu.
unsafe impl Argument for FetchImages {}

impl Kernels {
    /// Crops of stored images, as planes of [0, 1] (a byte divided by 255, 16 bits by 65535).
    ///
    /// `stored`: images one behind the other, each row by row of interleaved red, green and blue.
    /// `picks`: one per image of `out`, in GPU memory; the crop is as large as `out`. A pick that
    /// reaches beyond `stored` reads zeros. `out`: three channels; a border is filled with the
    /// reflection.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn fetch_images<S: Stored, T: Activation>(
        &self,
        stream: &CudaStream,
        stored: Span<S>,
        picks: Span<Pick>,
        out: Planes<T>,
    ) -> Result<(), CudaError> {
        enough("picked images", picks, out.batch)?;
        let [batch, channels, height, width] = out.shape();
        same_shape("fetched images", out.shape(), [batch, 3, height, width])?;
        debug_assert_eq!(channels, 3);
        let argument = FetchImages {
            stored: stored.address(),
            stored_len: stored.len() as u64,
            picks: picks.address(),
            out: out.into(),
        };
        let border = 2 * out.border;
        let grid = [blocks(width + border, 32), blocks(height + border, 8), batch as u32];
        self.images.launch(stream, T::kernel(S::KERNELS), grid, [32, 8], argument)
    }
}
