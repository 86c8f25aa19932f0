//! Gradient of a convolution to its input: the transposed convolution of the output's gradient,
//! with the gradient of the border folded back to the pixels it mirrors.
//!
//! With stride s, padded row p = s q + r of the input is read by the taps k = r, r + s, ... of the
//! output rows q - floor(k / s); columns likewise. Each pair of residues (row, column) is a
//! correlation of the output's gradient with its own taps.

use rayon::prelude::*;

use super::{
    Geometry, OutputGradient, Padding,
    block::{BlockLayout, LANES, split_rows},
    forward::Correlation,
    packing::Packed,
    planes::{PlaneGradients, Planes},
};
use crate::ops::scratch::with_scratch;
use crate::simd::{Instructions, Lanes};

/// The taps of one pair of residues.
struct Phase<T> {
    row: usize,
    column: usize,
    weights: Packed<T>,
    /// (output channel, row tap, column tap) by offset.
    taps: Vec<(usize, usize, usize)>,
}

/// Gradients of the parts of `planes`.
pub(super) fn input_gradient<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    planes: &Planes<'_, T>,
    weight: &[T],
    gradient: &OutputGradient<'_, T>,
) -> Vec<Vec<T>> {
    let mut values: Vec<Vec<T>> =
        planes.parts.iter().map(|part| Vec::with_capacity(part.values.len())).collect();
    let phases = phases(instructions, g, weight);
    let blocks = split_rows(g.height, g.channels_out * (g.width_out + LANES));
    let target = PlaneGradients::new(planes, &mut values);
    (0..g.batch * blocks.len()).into_par_iter().for_each(|job| {
        let (image, rows) = (job / blocks.len(), &blocks[job % blocks.len()]);
        Job { instructions, g, phases: &phases, gradient, target: &target, image }.run(rows);
    });
    for (values, part) in values.iter_mut().zip(&planes.parts) {
        // SAFETY: every row of every channel has been stored.
        unsafe { values.set_len(part.values.len()) };
    }
    values
}

fn phases<T: Lanes>(instructions: Instructions, g: &Geometry, weight: &[T]) -> Vec<Phase<T>> {
    let (kernel, stride) = (g.kernel, g.conv.stride);
    let mut phases = Vec::new();
    for row in 0..stride {
        for column in 0..stride {
            let mut taps = Vec::new();
            for output in 0..g.channels_out {
                for ky in (row..kernel).step_by(stride) {
                    taps.extend((column..kernel).step_by(stride).map(|kx| (output, ky, kx)));
                }
            }
            let weights = Packed::new(instructions, g.channels_in, taps.len(), |channel, k| {
                let (output, ky, kx) = taps[k];
                weight[((output * g.channels_in + channel) * kernel + ky) * kernel + kx]
            });
            phases.push(Phase { row, column, weights, taps });
        }
    }
    phases
}

struct Job<'a, T> {
    instructions: Instructions,
    g: &'a Geometry,
    phases: &'a [Phase<T>],
    gradient: &'a OutputGradient<'a, T>,
    target: &'a PlaneGradients<T>,
    image: usize,
}

impl<T: Lanes> Job<'_, T> {
    /// The gradient of the image's rows `rows`.
    fn run(&self, rows: &std::ops::Range<usize>) {
        let g = self.g;
        let (pad, stride) = (g.pad(), g.conv.stride);
        // Output rows and columns reach so far back.
        let reach = (g.kernel - 1) / stride;
        let mirrored = g.conv.padding == Padding::Reflect && pad > 0;
        let first = if mirrored && rows.start == 0 { 0 } else { rows.start + pad };
        let end = rows.end + if mirrored && rows.end == g.height { 2 * pad } else { pad };
        let columns = g.width + 2 * pad;
        let steps = columns.div_ceil(stride);
        // Block row i holds output row first / stride - reach + i.
        let block_rows = (end - 1) / stride - first / stride + 1 + reach;
        let layout = BlockLayout::new(g.channels_out, block_rows, steps + reach, 1);
        // One padded row of the gradient: [channel][phase of columns][column].
        let phase_row = (steps + LANES).next_multiple_of(LANES);
        let channel_row = stride * phase_row;
        with_scratch(layout.length + g.channels_in * channel_row, |scratch| {
            let (block, line) = scratch.split_at_mut(layout.length);
            for output in 0..g.channels_out {
                for row in 0..block_rows {
                    let to = &mut block[layout.at(output, row, 0)..][..layout.row];
                    match (first / stride + row).checked_sub(reach) {
                        Some(y) if y < g.height_out => {
                            to[..reach].fill(T::zero());
                            let end = reach + g.width_out;
                            self.gradient.copy_row((self.image, output), y, &mut to[reach..end]);
                            to[end..].fill(T::zero());
                        }
                        _ => to.fill(T::zero()),
                    }
                }
            }
            let offsets: Vec<Vec<u32>> =
                self.phases.iter().map(|phase| phase.offsets(&layout, stride, reach)).collect();
            let mut folded = vec![T::zero(); g.width];
            // The border rows come last: they are added to rows that must have been stored.
            let inner = first.max(pad)..end.min(g.height + pad);
            let order = inner.clone().chain(first..inner.start).chain(inner.end..end);
            for p in order {
                for (phase, offsets) in self.phases.iter().zip(&offsets) {
                    if phase.row != p % stride {
                        continue;
                    }
                    self.instructions.run(Correlation {
                        source: &block[(p / stride - first / stride) * layout.row..],
                        offsets,
                        weights: &phase.weights,
                        bias: &[],
                        slope: T::one(),
                        source_step: 0,
                        rows: 1,
                        width: (columns - phase.column).div_ceil(stride),
                        out: line[phase.column * phase_row..].as_mut_ptr(),
                        out_step: 0,
                        plane: channel_row,
                        roomy: true,
                    });
                }
                let (y, fresh) = match p.checked_sub(pad) {
                    None => (pad - p, false),
                    Some(y) if y >= g.height => (2 * g.height - 2 - y, false),
                    Some(y) => (y, true),
                };
                for (channel, line) in
                    line.chunks_exact(channel_row).take(g.channels_in).enumerate()
                {
                    fold_columns(g, line, phase_row, &mut folded);
                    // SAFETY: rows `rows` belong to this job alone, and doubled rows are not split
                    // because blocks start at even rows.
                    unsafe { self.target.add_row((self.image, channel), y, &folded, fresh) };
                }
            }
        });
    }
}

impl<T> Phase<T> {
    fn offsets(&self, layout: &BlockLayout, stride: usize, reach: usize) -> Vec<u32> {
        self.taps
            .iter()
            .map(|&(output, ky, kx)| {
                layout.at(output, reach - ky / stride, reach - kx / stride) as u32
            })
            .collect()
    }
}

/// Columns of a padded row, given phase by phase, to columns of the image.
fn fold_columns<T: Lanes>(g: &Geometry, line: &[T], phase_row: usize, folded: &mut [T]) {
    let (pad, stride) = (g.pad(), g.conv.stride);
    let at = |p: usize| line[p % stride * phase_row + p / stride];
    if stride == 1 {
        folded.copy_from_slice(&line[pad..pad + g.width]);
    } else {
        for phase in 0..stride {
            let first = (phase + stride - pad % stride) % stride;
            let source = &line[phase * phase_row + (first + pad) / stride..];
            folded.iter_mut().skip(first).step_by(stride).zip(source).for_each(|(to, &v)| *to = v);
        }
    }
    if g.conv.padding == Padding::Reflect {
        for p in 0..pad {
            folded[pad - p] += at(p);
            folded[g.width - 2 - p] += at(pad + g.width + p);
        }
    }
}
