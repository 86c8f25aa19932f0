//! CUDA C++ source of the filters: apply, the polynomial alone at another size, and the gradients of
//! both, in `f32` with every constant formed in `f64` as on the CPU.
//!
//! This crate only holds the text, so it needs no CUDA: compile [`SOURCE`] with nvrtc (or nvcc) and the
//! macros of [`defines`], which fix the configuration so that all loops over instances are unrolled.
//! `deeplpf_core::cuda` does that and launches it; anybody else needs this:
//!
//! Every kernel is `extern "C" __global__` and takes one structure by value, [`Argument`] (all images
//! planar, contiguous `f32`; fields a kernel does not use may be zero), with blocks of
//! [`BLOCK_COLUMNS`] threads:
//!
//! | kernel | grid | does |
//! |---|---|---|
//! | `prepare_filters` | (batch, 1, 1), 32 threads | raw parameters -> constants |
//! | `apply_filters` | (columns, rows, batch) | image, constants -> result |
//! | `polynomial_resized_f32`, `_bf16` | (out columns, out rows, batch) | image, raw -> Y2, bilinearly resized; no constants needed |
//! | `filters_vjp` | (columns, rows, batch) | image, cotangent, constants -> image gradient, sums |
//! | `polynomial_resized_vjp_f32`, `_bf16` | (columns, rows, batch) | image, raw, cotangent of the resized Y2 -> added to the image gradient, sums |
//! | `finish_filters_vjp` | ([`sums_per_block`], batch, 1) | raw, sums -> raw gradient, overwritten |
//! | `finish_polynomial_vjp` | (3 times the polynomial's terms, batch, 1) | sums -> added to the raw gradient |
//!
//! with columns = ceil(width / [`BLOCK_COLUMNS`]), rows = ceil(height / `rows_per_block`); for
//! `polynomial_resized` those of the result with one row per block. [`rows_per_block`] is a good choice
//! for any GPU; the results depend on it in the last bits only.

use crate::{Dialect, FusionRule, StackConfig};

/// The kernels' text. Self-contained: no header, no other file.
pub const SOURCE: &str = concat!(
    include_str!("parameters.cu"),
    include_str!("masks.cu"),
    include_str!("apply.cu"),
    include_str!("vjp.cu"),
);

/// All kernels in [`SOURCE`].
pub const KERNELS: [&str; 9] = [
    "prepare_filters",
    "apply_filters",
    "polynomial_resized_f32",
    "polynomial_resized_bf16",
    "filters_vjp",
    "polynomial_resized_vjp_f32",
    "polynomial_resized_vjp_bf16",
    "finish_filters_vjp",
    "finish_polynomial_vjp",
];

/// Columns, and threads, of a block of the kernels that go over pixels.
pub const BLOCK_COLUMNS: usize = 128;

/// Instances of each local filter the kernels are written for: registers are finite.
pub const MOST_INSTANCES: usize = 8;

/// What every kernel takes, by value. Addresses are on the GPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Argument {
    /// Y1: (N, 3, height, width).
    pub image: u64,
    /// The result: (N, 3, height, width), or (N, 3, `resized_height`, `resized_width`).
    pub out: u64,
    /// Cotangent of the result, of its shape.
    pub cotangent: u64,
    /// Gradient of the image.
    pub image_gradient: u64,
    /// Raw parameters: (N, [`StackConfig::raw_len`]).
    pub raw: u64,
    /// Gradient of the raw parameters.
    pub raw_gradient: u64,
    /// [`constants_len`] bytes for each image, aligned to 8.
    pub constants: u64,
    /// [`sums_len`] numbers (f32), aligned to 8 bytes.
    pub sums: u64,
    /// Elements between images of `image`.
    pub image_stride: u64,
    /// Of `out`.
    pub out_stride: u64,
    /// Of `cotangent`.
    pub cotangent_stride: u64,
    /// Of `image_gradient`.
    pub image_gradient_stride: u64,
    /// Rows of the image (or of the strip of it that is given).
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Row of the whole picture that the image's first row is; 0 unless it is a strip.
    pub first_row: u32,
    /// Rows of the whole picture.
    pub full_height: u32,
    /// Rows of the resized result.
    pub resized_height: u32,
    /// Columns of the resized result.
    pub resized_width: u32,
    /// Rows that a block goes over.
    pub rows_per_block: u32,
    /// Blocks of one image of the kernel that wrote the sums: columns times rows of its grid.
    pub blocks: u32,
}

/// The macros that fix a configuration, as (name, value).
pub fn defines(config: &StackConfig) -> Vec<(&'static str, usize)> {
    let fixes = config.fixes;
    vec![
        ("PAPER", usize::from(config.dialect == Dialect::Paper)),
        ("TERMS", config.polynomial.map_or(0, |kind| kind.terms())),
        ("GRADUATED", config.graduated),
        ("ELLIPTICAL", config.elliptical),
        ("GATES", usize::from(config.gates)),
        ("FUSION_PRODUCT", usize::from(config.fusion == FusionRule::Product)),
        ("FIX_ELLIPSE", usize::from(fixes.ellipse)),
        ("FIX_FUSION", usize::from(fixes.fusion)),
        ("FIX_STE", usize::from(fixes.ste)),
        ("FIX_BLEND", usize::from(fixes.blend)),
    ]
}

/// Bytes of one image's constants; `constants_bytes` in parameters.cu.
pub fn constants_len(config: &StackConfig) -> usize {
    let terms = config.polynomial.map_or(0, |kind| kind.terms());
    8 * (1 + 3 * terms + 16 * config.graduated + 24 * config.elliptical)
}

/// Sums over pixels that the gradients of the raw parameters need; `all_sums` in vjp.cu. Where there are none
/// the finishing kernels have nothing to do.
pub fn sums_per_block(config: &StackConfig) -> usize {
    let terms = config.polynomial.map_or(0, |kind| kind.terms());
    let (graduated, elliptical) = match config.dialect {
        Dialect::Release => (8, 9),
        Dialect::Paper => (10, 8),
    };
    let gate = usize::from(config.gates);
    3 * terms + (graduated + gate) * config.graduated + (elliptical + gate) * config.elliptical
}

/// Rows for a block to go over: enough blocks to fill a large GPU twice, and at most 256 rows, over which
/// sums in `f32` lose nothing that shows.
pub fn rows_per_block(batch: usize, height: usize, width: usize) -> usize {
    const BLOCKS: usize = 1056;
    let rows = (batch * height * width.div_ceil(BLOCK_COLUMNS)).div_ceil(BLOCKS);
    rows.next_multiple_of(4).clamp(4, 256)
}

/// Numbers that [`Argument::sums`] must hold, with [`rows_per_block`] rows per block.
pub fn sums_len(config: &StackConfig, batch: usize, height: usize, width: usize) -> usize {
    let rows = height.div_ceil(rows_per_block(batch, height, width));
    let blocks = rows * width.div_ceil(BLOCK_COLUMNS);
    batch * (sums_per_block(config) * (2 + blocks) + 2).next_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_names_every_kernel_and_the_sums_are_counted() {
        for kernel in KERNELS {
            let declaration = format!("{kernel}(const Argument argument)");
            assert!(SOURCE.contains(&declaration), "{kernel}");
        }
        // 60 coefficients, 3 (3 bases, 3 gains, 2 of geometry), 3 (3 gains, 6 of geometry).
        assert_eq!(sums_per_block(&StackConfig::default()), 60 + 24 + 27);
        assert_eq!(rows_per_block(1, 341, 512), 4);
        assert_eq!(rows_per_block(1, 4000, 6000), 180);
        assert_eq!(size_of::<Argument>(), 8 * 12 + 4 * 8);
    }
}
