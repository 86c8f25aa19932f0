//! Gradients of a convolution to its weights and bias: products of the output's gradient with the
//! padded input, summed over pixels.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Geometry, OutputGradient,
    block::split_rows,
    kernels::{Products, outer_products},
    planes::Planes,
};
use crate::ops::scratch::with_scratch;
use crate::simd::{Instructions, Lanes, lanes, load, store};

/// The sums over one block of rows: [offset][output], then one row of plain sums.
struct Sums<'a, T> {
    products: Products<'a, T>,
    /// Outputs, rounded up to whole vectors.
    channels: usize,
    out: &'a mut [T],
}

impl<T: Lanes> WithSimd for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = &self.products;
        let (weights, bias) = self.out.split_at_mut(p.offsets.len() * self.channels);
        // SAFETY: `block_sums` filled both factors for these rows and offsets.
        unsafe { outer_products::<T, S>(simd, p, self.channels, weights) };
        let pixels = p.rows * p.width;
        let width = lanes::<T, S>();
        for (vector, to) in bias.chunks_exact_mut(width).enumerate() {
            let mut sum = T::splat(simd, T::zero());
            for pixel in 0..pixels {
                // SAFETY: as above.
                let g = unsafe { load::<T, S>(p.gradient.add((vector * pixels + pixel) * width)) };
                sum = T::plus(simd, sum, g);
            }
            // SAFETY: `to` is one vector long.
            unsafe { store::<T, S>(to.as_mut_ptr(), sum) };
        }
    }
}

/// (O, C, K, K) and (O).
pub(super) fn weight_gradient<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    gradient: &OutputGradient<'_, T>,
) -> (Vec<T>, Vec<T>) {
    let channels = g.channels_out.next_multiple_of(instructions.lanes::<T>());
    let taps = g.channels_in * g.kernel * g.kernel;
    let blocks = split_rows(g.height_out, g.block_row() + channels * g.width_out);
    let partial: Vec<Vec<T>> = (0..g.batch * blocks.len())
        .into_par_iter()
        .map(|job| {
            let (image, rows) = (job / blocks.len(), &blocks[job % blocks.len()]);
            block_sums(instructions, g, (planes, image), rows, gradient, channels)
        })
        .collect();
    // In double precision and in the order of the blocks.
    let total = |at: usize| T::of(partial.iter().map(|partial| partial[at].wide()).sum());
    let mut weight = vec![T::zero(); g.channels_out * taps];
    weight.par_chunks_mut(taps).enumerate().for_each(|(output, weight)| {
        weight.iter_mut().enumerate().for_each(|(k, to)| *to = total(k * channels + output));
    });
    let bias = (0..g.channels_out).map(|output| total(taps * channels + output)).collect();
    (weight, bias)
}

fn block_sums<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    (planes, image): (&Planes<'_, T>, usize),
    rows: &Range<usize>,
    gradient: &OutputGradient<'_, T>,
    channels: usize,
) -> Vec<T> {
    let layout = g.block_layout(rows.len());
    let offsets = g.offsets(&layout);
    let pixels = rows.len() * g.width_out;
    let lanes = instructions.lanes::<T>();
    let mut out = vec![T::zero(); (offsets.len() + 1) * channels];
    with_scratch(layout.length + channels * pixels + g.width_out, |scratch| {
        let (source, rest) = scratch.split_at_mut(layout.length);
        let (pixel_major, line) = rest.split_at_mut(channels * pixels);
        g.fill_block(planes, image, rows, &layout, source);
        for channel in 0..channels {
            let lane = &mut pixel_major[channel / lanes * pixels * lanes + channel % lanes..];
            for (row, y) in rows.clone().enumerate() {
                if channel < g.channels_out {
                    gradient.copy_row((image, channel), y, line);
                } else {
                    line.fill(T::zero());
                }
                let to = lane[row * g.width_out * lanes..].iter_mut().step_by(lanes);
                to.zip(&*line).for_each(|(to, &from)| *to = from);
            }
        }
        instructions.run(Sums {
            products: Products {
                source: source.as_ptr(),
                row_step: g.conv.stride * layout.row,
                gradient: pixel_major.as_ptr(),
                rows: rows.len(),
                width: g.width_out,
                offsets: &offsets,
            },
            channels,
            out: &mut out,
        });
    });
    out
}
