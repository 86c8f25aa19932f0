//! Gradients of a convolution to its weights and bias: products of the output's gradient with the
//! padded input, summed over pixels.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Geometry, OutputGradient,
    block::{LEAST_BLOCKS, split_rows},
    forward::DisjointRows,
    kernels::{Products, outer_products},
    planes::Planes,
};
use crate::ops::scratch::with_scratch;
use crate::simd::{Instructions, Lanes, lanes, load, store};

/// Weights reduced per task.
const CHUNK: usize = 1 << 14;

/// The sums over one block of rows: for each output a row of the weights' and the bias'.
struct Sums<'a, T> {
    products: Products<'a, T>,
    /// Outputs, from a whole vector on.
    outputs: Range<usize>,
    out: *mut T,
}

impl<T: Lanes> WithSimd for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = &self.products;
        let taps = p.offsets.len();
        // SAFETY: `block_sums` filled both factors for these rows and offsets; the rows written
        // belong to its job.
        unsafe { outer_products::<T, S>(simd, p, self.outputs.clone(), (self.out, taps + 1)) };
        let pixels = p.rows * p.width;
        let width = lanes::<T, S>();
        for first in self.outputs.clone().step_by(width) {
            let mut sum = T::splat(simd, T::zero());
            for pixel in 0..pixels {
                // SAFETY: as above.
                let g = unsafe { load::<T, S>(p.gradient.add(first * pixels + pixel * width)) };
                sum = T::plus(simd, sum, g);
            }
            let mut line = [T::zero(); 16];
            // SAFETY: a vector has at most 16 elements.
            unsafe { store::<T, S>(line.as_mut_ptr(), sum) };
            for (output, &value) in (first..self.outputs.end).zip(&line[..width]) {
                // SAFETY: the last of the row of this output.
                unsafe {
                    self.out.add((output - self.outputs.start) * (taps + 1) + taps).write(value);
                }
            }
        }
    }
}

/// How the sums are split into jobs: images, blocks of rows and groups of outputs.
struct Split {
    blocks: Vec<Range<usize>>,
    groups: Vec<Range<usize>>,
    /// Numbers of one image's block: all outputs' weights and biases.
    length: usize,
    images: usize,
}

impl Split {
    fn new<T: Lanes>(instructions: Instructions, g: &Geometry) -> Self {
        let taps = g.channels_in * g.kernel * g.kernel;
        let pixels = g.plane_out();
        // Where weights are many and pixels few, sums over blocks would cost more than they save.
        let least = if taps * g.channels_out > 2 * pixels { 1 } else { LEAST_BLOCKS };
        let channels = g.channels_out.next_multiple_of(instructions.lanes::<T>());
        let blocks = split_rows(g.height_out, g.block_row() + channels * g.width_out, least);
        let pair = 2 * instructions.lanes::<T>();
        let wanted = LEAST_BLOCKS.div_ceil(g.batch * blocks.len());
        let step = g.channels_out.div_ceil(wanted).next_multiple_of(pair);
        let groups = (0..g.channels_out)
            .step_by(step)
            .map(|first| first..(first + step).min(g.channels_out))
            .collect();
        Self { blocks, groups, length: g.channels_out * (taps + 1), images: g.batch }
    }

    fn parts(&self) -> usize {
        self.images * self.blocks.len()
    }
}

/// Elements of working memory that [`weight_gradient_into`] needs.
pub(crate) fn weight_gradient_room<T: Lanes>(instructions: Instructions, g: &Geometry) -> usize {
    let split = Split::new::<T>(instructions, g);
    split.parts() * split.length
}

/// (O, C, K, K) and (O).
pub(super) fn weight_gradient<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    gradient: &OutputGradient<'_, T>,
) -> (Vec<T>, Vec<T>) {
    let mut room = vec![T::zero(); weight_gradient_room::<T>(instructions, g)];
    let mut weight = vec![T::zero(); g.channels_out * g.channels_in * g.kernel * g.kernel];
    let mut bias = vec![T::zero(); g.channels_out];
    let out = (&mut weight[..], &mut bias[..]);
    weight_gradient_into(instructions, g, planes, gradient, &mut room, out);
    (weight, bias)
}

/// The same into slices, with working memory of [`weight_gradient_room`] elements.
pub(crate) fn weight_gradient_into<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    gradient: &OutputGradient<'_, T>,
    room: &mut [T],
    (weight, bias): (&mut [T], &mut [T]),
) {
    let split = Split::new::<T>(instructions, g);
    let taps = g.channels_in * g.kernel * g.kernel;
    assert!(room.len() >= split.parts() * split.length);
    let shared = DisjointRows(room.as_mut_ptr());
    let shared = &shared;
    let groups = split.groups.len();
    (0..split.parts() * groups).into_par_iter().for_each(|job| {
        let (part, outputs) = (job / groups, &split.groups[job % groups]);
        let (image, rows) = (part / split.blocks.len(), &split.blocks[part % split.blocks.len()]);
        // SAFETY: the rows of these outputs of this part belong to this job alone.
        let out = unsafe { shared.0.add(part * split.length + outputs.start * (taps + 1)) };
        block_sums(instructions, g, (planes, image), rows, (gradient, outputs), out);
    });
    // In double precision and in the order of the blocks.
    let parts: Vec<&[T]> = room.chunks_exact(split.length).take(split.parts()).collect();
    let rows = (CHUNK / taps).max(1);
    weight.par_chunks_mut(rows * taps).zip(bias.par_chunks_mut(rows)).enumerate().for_each(
        |(chunk, (weight, bias))| {
            for (number, (weight, bias)) in weight.chunks_exact_mut(taps).zip(bias).enumerate() {
                let first = (chunk * rows + number) * (taps + 1);
                add_up(&parts, first, weight);
                add_up(&parts, first + taps, std::slice::from_mut(bias));
            }
        },
    );
}

/// Sums over the parts of the numbers from `first` on.
fn add_up<T: Lanes>(parts: &[&[T]], first: usize, to: &mut [T]) {
    if let [only] = parts {
        to.copy_from_slice(&only[first..first + to.len()]);
        return;
    }
    const RUN: usize = 64;
    for (number, to) in to.chunks_mut(RUN).enumerate() {
        let mut sums = [0.0f64; RUN];
        for part in parts {
            let from = &part[first + number * RUN..][..to.len()];
            sums.iter_mut().zip(from).for_each(|(sum, from)| *sum += from.wide());
        }
        to.iter_mut().zip(&sums).for_each(|(to, &sum)| *to = T::of(sum));
    }
}

fn block_sums<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    (planes, image): (&Planes<'_, T>, usize),
    rows: &Range<usize>,
    (gradient, outputs): (&OutputGradient<'_, T>, &Range<usize>),
    out: *mut T,
) {
    let layout = g.block_layout(rows.len());
    let offsets = g.offsets(&layout);
    let pixels = rows.len() * g.width_out;
    let lanes = instructions.lanes::<T>();
    let channels = outputs.len().next_multiple_of(lanes);
    with_scratch(layout.length + channels * pixels + g.width_out, |scratch| {
        let (source, rest) = scratch.split_at_mut(layout.length);
        let (pixel_major, line) = rest.split_at_mut(channels * pixels);
        g.fill_block(planes, image, rows, &layout, source);
        for (vector, to) in pixel_major.chunks_exact_mut(pixels * lanes).enumerate() {
            for (y, to) in rows.clone().zip(to.chunks_exact_mut(g.width_out * lanes)) {
                for lane in 0..lanes {
                    let channel = outputs.start + vector * lanes + lane;
                    if channel < outputs.end {
                        gradient.copy_row((image, channel), y, line);
                    } else {
                        line.fill(T::zero());
                    }
                    let to = to[lane..].iter_mut().step_by(lanes);
                    to.zip(&*line).for_each(|(to, &from)| *to = from);
                }
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
            outputs: 0..outputs.len(),
            out,
        });
    });
}
