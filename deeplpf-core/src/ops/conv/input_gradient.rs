//! Gradient of a convolution to its input: the transposed convolution of the output's gradient,
//! with the gradient of the border folded back to the pixels it mirrors.
//!
//! With stride s, padded row p = s q + r of the input is read by the taps k = r, r + s, ... of the
//! output rows q - floor(k / s); columns likewise. Each pair of residues (row, column) is a
//! correlation of the output's gradient with its own taps.

use rayon::prelude::*;

use super::{
    Geometry, OutputGradient, Padding,
    block::{BlockLayout, LANES, LEAST_BLOCKS, split_rows},
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
    let target = PlaneGradients::of_planes(planes, &mut values);
    input_gradient_into(instructions, g, weight, gradient, &target);
    for (values, part) in values.iter_mut().zip(&planes.parts) {
        // SAFETY: every row of every channel has been stored.
        unsafe { values.set_len(part.values.len()) };
    }
    values
}

/// The same into `target`.
pub(crate) fn input_gradient_into<T: Lanes>(
    instructions: Instructions,
    g: &Geometry,
    weight: &[T],
    gradient: &OutputGradient<'_, T>,
    target: &PlaneGradients<T>,
) {
    assert_eq!(weight.len(), g.channels_out * g.channels_in * g.kernel * g.kernel);
    let phases = phases(instructions, g, weight);
    // A row of the output's gradient and one of the input's.
    let row = g.channels_out * (g.width_out + LANES) + g.channels_in * (g.width + LANES);
    let blocks = split_rows(g.height, row, LEAST_BLOCKS);
    (0..g.batch * blocks.len()).into_par_iter().for_each(|job| {
        let (image, rows) = (job / blocks.len(), &blocks[job % blocks.len()]);
        Job { instructions, g, phases: &phases, gradient, target, image }.run(rows);
    });
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
        // The padded rows of the gradient: [channel][row][phase of columns][column].
        let phase_row = (steps + LANES).next_multiple_of(LANES);
        let line_row = stride * phase_row;
        let count = end - first;
        let plane = ((count * (line_row / LANES)) | 1) * LANES;
        with_scratch(layout.length + g.channels_in * plane, |scratch| {
            let (block, lines) = scratch.split_at_mut(layout.length);
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
            for phase in self.phases {
                // The first padded row of this residue, and how many there are.
                let start = first + (phase.row + stride - first % stride) % stride;
                if start >= end {
                    continue;
                }
                self.instructions.run(Correlation {
                    source: &block[(start / stride - first / stride) * layout.row..],
                    offsets: &phase.offsets(&layout, stride, reach),
                    weights: &phase.weights,
                    bias: &[],
                    slope: T::one(),
                    source_step: layout.row,
                    rows: (end - start).div_ceil(stride),
                    width: (columns - phase.column).div_ceil(stride),
                    out: lines[(start - first) * line_row + phase.column * phase_row..]
                        .as_mut_ptr(),
                    out_step: stride * line_row,
                    plane,
                    roomy: true,
                });
            }
            let mut folded = vec![T::zero(); g.width];
            // The border rows come last: they are added to rows that must have been stored.
            let inner = first.max(pad)..end.min(g.height + pad);
            for channel in 0..g.channels_in {
                let order = inner.clone().chain(first..inner.start).chain(inner.end..end);
                for p in order {
                    let (y, fresh) = match p.checked_sub(pad) {
                        None => (pad - p, false),
                        Some(y) if y >= g.height => (2 * g.height - 2 - y, false),
                        Some(y) => (y, true),
                    };
                    let line = &lines[channel * plane + (p - first) * line_row..][..line_row];
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
    } else if stride == 2 && pad == 1 {
        // Column x is padded column x + 1: even ones come from the odd phase.
        let (even, odd) = line.split_at(phase_row);
        for ((pair, &left), &right) in folded.chunks_mut(2).zip(odd).zip(&even[1..]) {
            pair[0] = left;
            if let Some(to) = pair.get_mut(1) {
                *to = right;
            }
        }
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
