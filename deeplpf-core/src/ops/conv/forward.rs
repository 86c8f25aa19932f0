//! Output of a convolution.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Activation, Geometry, LEAKY_SLOPE,
    block::{LEAST_BLOCKS, split_rows},
    kernels::{Rows, correlate_rows},
    packing::Packed,
    planes::Planes,
};
use crate::ops::scratch::with_scratch;
use crate::simd::{Instructions, Lanes, lanes};

/// A pointer that threads may share because each writes rows of its own.
pub(super) struct DisjointRows<T>(pub *mut T);
// SAFETY: used for blocks of rows that do not overlap.
unsafe impl<T: Send> Sync for DisjointRows<T> {}

/// Rows of outputs from a block of padded input.
pub(super) struct Correlation<'a, T> {
    /// The block.
    pub source: &'a [T],
    /// Where each weight reads for the first row.
    pub offsets: &'a [u32],
    pub weights: &'a Packed<T>,
    /// Empty for zeros.
    pub bias: &'a [T],
    pub slope: T,
    /// From row to row of the block.
    pub source_step: usize,
    pub rows: usize,
    pub width: usize,
    /// First row of the first output.
    pub out: *mut T,
    /// From row to row, and from output to output.
    pub out_step: usize,
    pub plane: usize,
    /// Whether rows have room for whole vectors past `width`.
    pub roomy: bool,
}

impl<T: Lanes> WithSimd for Correlation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // What is larger is read once: all weights, or the block of the source.
        let weights = self.weights.len();
        let lines = if weights > self.source.len() || self.width <= lanes::<T, S>() {
            self.rows
        } else {
            1
        };
        for y in (0..self.rows).step_by(lines) {
            for (block, weights) in self.weights.blocks() {
                let rows = Rows {
                    // SAFETY: `fill_block` made the block for these rows, offsets and whole vectors.
                    source: unsafe { self.source.as_ptr().add(y * self.source_step) },
                    source_step: self.source_step,
                    offsets: self.offsets,
                    rows: lines,
                    width: self.width,
                    slope: self.slope,
                    weights,
                    bias: self.bias.get(block.outputs.clone()).unwrap_or_default(),
                    // SAFETY: inside the outputs' rows.
                    out: unsafe {
                        self.out.add(block.outputs.start * self.plane + y * self.out_step)
                    },
                    out_step: self.out_step,
                    plane: self.plane,
                    count: block.outputs.len(),
                    roomy: self.roomy,
                };
                // SAFETY: as above; the rows written belong to the caller.
                unsafe {
                    if block.width == 8 {
                        correlate_rows::<T, S, 8>(simd, &rows);
                    } else {
                        correlate_rows::<T, S, 4>(simd, &rows);
                    }
                }
            }
        }
    }
}

/// `planes`, (O, C, K, K), (O) -> (N, O, H', W').
pub(super) fn forward<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    weight: &[T],
    bias: &[T],
) -> Vec<T> {
    let length = g.batch * g.channels_out * g.plane_out();
    let mut out: Vec<T> = Vec::with_capacity(length);
    // SAFETY: there is room for all rows of all images and outputs, and all are written.
    unsafe {
        forward_to(instructions, g, planes, (weight, bias), out.as_mut_ptr());
        out.set_len(length);
    }
    out
}

/// The same into `out`.
pub(crate) fn forward_into<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    parameters: (&[T], &[T]),
    out: &mut [T],
) {
    assert_eq!(out.len(), g.batch * g.channels_out * g.plane_out());
    // SAFETY: the length was checked.
    unsafe { forward_to(instructions, g, planes, parameters, out.as_mut_ptr()) }
}

/// # Safety
/// `out` has room for (N, O, H', W').
unsafe fn forward_to<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    (weight, bias): (&[T], &[T]),
    out: *mut T,
) {
    let taps = g.channels_in * g.kernel * g.kernel;
    assert!(weight.len() == g.channels_out * taps && bias.len() == g.channels_out);
    let packed =
        Packed::new(instructions, g.channels_out, taps, |output, k| weight[output * taps + k]);
    let slope = T::of(if g.conv.activation == Activation::LeakyRelu { LEAKY_SLOPE } else { 1.0 });
    let blocks = split_rows(g.height_out, g.block_row(), LEAST_BLOCKS);
    let shared = DisjointRows(out);
    let shared = &shared;
    (0..g.batch * blocks.len()).into_par_iter().for_each(|job| {
        let (image, rows) = (job / blocks.len(), &blocks[job % blocks.len()]);
        let layout = g.block_layout(rows.len());
        let offsets = g.offsets(&layout);
        with_scratch(layout.length, |source| {
            g.fill_block(planes, image, rows, &layout, source);
            let first = image * g.channels_out * g.plane_out() + rows.start * g.width_out;
            instructions.run(Correlation {
                source,
                offsets: &offsets,
                weights: &packed,
                bias,
                slope,
                source_step: g.conv.stride * layout.row,
                rows: rows.len(),
                width: g.width_out,
                // SAFETY: these rows of this image belong to this job alone.
                out: unsafe { shared.0.add(first) },
                out_step: g.width_out,
                plane: g.plane_out(),
                roomy: false,
            });
        });
    });
}
