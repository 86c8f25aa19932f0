//! Output of a convolution.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Activation, Geometry, LEAKY_SLOPE,
    block::split_rows,
    kernels::{Outputs, Row, correlate_row},
    packing::Packed,
    planes::Planes,
};
use crate::ops::scratch::with_scratch;
use crate::simd::{Instructions, Lanes};

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
        for y in 0..self.rows {
            // SAFETY: `fill_block` made the block for these rows, offsets and whole vectors.
            let source = unsafe { self.source.as_ptr().add(y * self.source_step) };
            let row = Row { source, offsets: self.offsets, width: self.width, slope: self.slope };
            for (block, weights) in self.weights.blocks() {
                let outputs = Outputs {
                    weights,
                    bias: self.bias.get(block.outputs.clone()).unwrap_or_default(),
                    // SAFETY: inside the outputs' rows.
                    out: unsafe {
                        self.out.add(block.outputs.start * self.plane + y * self.out_step)
                    },
                    plane: self.plane,
                    count: block.outputs.len(),
                    roomy: self.roomy,
                };
                // SAFETY: as above; the rows written belong to the caller.
                unsafe {
                    if block.width == 8 {
                        correlate_row::<T, S, 8>(simd, &row, &outputs);
                    } else {
                        correlate_row::<T, S, 4>(simd, &row, &outputs);
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
    let taps = g.channels_in * g.kernel * g.kernel;
    let packed =
        Packed::new(instructions, g.channels_out, taps, |output, k| weight[output * taps + k]);
    let slope = T::of(if g.conv.activation == Activation::LeakyRelu { LEAKY_SLOPE } else { 1.0 });
    let blocks = split_rows(g.height_out, g.block_row());
    let shared = DisjointRows(out.as_mut_ptr());
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
    // SAFETY: the blocks cover all rows of all images and outputs.
    unsafe { out.set_len(length) };
    out
}
