//! Convolution on the CPU: blocks of rows are unfolded into columns and multiplied.
//!
//! Blocks and channel groups have sizes that depend on the shapes only, and partial sums are added
//! in a fixed order, so the result does not depend on the number of threads.

use rayon::prelude::*;

use super::super::Element;
use super::matmul::{Matrix, multiply, multiply_into};
use super::{Activation, Geometry, LEAKY_SLOPE, Padding};

/// Elements of unfolded input held at once: half a megabyte to a megabyte, inside the second-level
/// cache beside the product's own packing.
const BLOCK_ELEMENTS: usize = 1 << 17;
/// Fewer columns than this make the product inefficient.
const LEAST_COLUMNS: usize = 192;
/// Input channels are split in this many groups for the gradients, the unit of parallel work.
const CHANNEL_GROUPS: usize = 4;

/// Which gradients to compute.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub image: bool,
    pub weight: bool,
}

/// Gradients of one convolution; `None` where not wanted.
pub(super) struct Gradients<T> {
    pub image: Option<Vec<T>>,
    pub weight: Option<Vec<T>>,
    pub bias: Option<Vec<T>>,
}

impl Geometry {
    fn pad(&self) -> usize {
        self.kernel / 2
    }

    fn plane_in(&self) -> usize {
        self.height * self.width
    }

    fn plane_out(&self) -> usize {
        self.height_out * self.width_out
    }

    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.conv.stride == 1
    }

    /// Output rows per block when `channels` input channels are unfolded.
    fn rows_per_block(&self, channels: usize) -> usize {
        let columns = (BLOCK_ELEMENTS / (channels * self.kernel * self.kernel)).max(LEAST_COLUMNS);
        columns.div_ceil(self.width_out).min(self.height_out)
    }

    /// Where row or column `output * stride + tap - pad` of the padded image comes from.
    fn source(&self, output: usize, tap: usize, size: usize) -> Option<usize> {
        let position = (output * self.conv.stride + tap) as isize - self.pad() as isize;
        if (0..size as isize).contains(&position) {
            return Some(position as usize);
        }
        match self.conv.padding {
            Padding::Zero => None,
            Padding::Reflect if position < 0 => Some(-position as usize),
            Padding::Reflect => Some(2 * size - 2 - position as usize),
        }
    }

    /// Output columns whose source column lies inside the image for horizontal tap `tap`.
    fn interior(&self, tap: usize) -> std::ops::Range<usize> {
        let first = self.pad().saturating_sub(tap).div_ceil(self.conv.stride);
        let end = (self.width + self.pad() - tap).div_ceil(self.conv.stride);
        first.min(self.width_out)..end.min(self.width_out)
    }
}

/// Unfolds `channels` planes into `channels * K * K` rows, one column per output pixel of `rows`.
fn unfold<T: Element>(
    g: &Geometry,
    planes: &[T],
    channels: usize,
    rows: &std::ops::Range<usize>,
    columns: &mut Vec<T>,
) {
    let block = rows.len() * g.width_out;
    columns.resize(channels * g.kernel * g.kernel * block, T::zero());
    let stride = g.conv.stride;
    let mut chunks = columns.chunks_exact_mut(block);
    for plane in planes.chunks_exact(g.plane_in()).take(channels) {
        for tap_y in 0..g.kernel {
            for tap_x in 0..g.kernel {
                let Some(chunk) = chunks.next() else { return };
                let interior = g.interior(tap_x);
                for (line, y) in chunk.chunks_exact_mut(g.width_out).zip(rows.clone()) {
                    let Some(source_y) = g.source(y, tap_y, g.height) else {
                        line.fill(T::zero());
                        continue;
                    };
                    let source = &plane[source_y * g.width..][..g.width];
                    let first = interior.start * stride + tap_x - g.pad();
                    if stride == 1 {
                        line[interior.clone()]
                            .copy_from_slice(&source[first..first + interior.len()]);
                    } else {
                        let taken = source[first..].iter().step_by(stride);
                        line[interior.clone()].iter_mut().zip(taken).for_each(|(to, &v)| *to = v);
                    }
                    for x in (0..interior.start).chain(interior.end..g.width_out) {
                        line[x] =
                            g.source(x, tap_x, g.width).map_or(T::zero(), |from| source[from]);
                    }
                }
            }
        }
    }
}

/// The transpose of [`unfold`]: adds every column entry to the pixel it came from.
fn fold<T: Element>(
    g: &Geometry,
    columns: &[T],
    channels: usize,
    rows: &std::ops::Range<usize>,
    planes: &mut [T],
) {
    let block = rows.len() * g.width_out;
    let stride = g.conv.stride;
    let mut chunks = columns.chunks_exact(block);
    for plane in planes.chunks_exact_mut(g.plane_in()).take(channels) {
        for tap_y in 0..g.kernel {
            for tap_x in 0..g.kernel {
                let Some(chunk) = chunks.next() else { return };
                let interior = g.interior(tap_x);
                for (line, y) in chunk.chunks_exact(g.width_out).zip(rows.clone()) {
                    let Some(source_y) = g.source(y, tap_y, g.height) else { continue };
                    let target = &mut plane[source_y * g.width..][..g.width];
                    let first = interior.start * stride + tap_x - g.pad();
                    if stride == 1 {
                        let touched = &mut target[first..first + interior.len()];
                        touched
                            .iter_mut()
                            .zip(&line[interior.clone()])
                            .for_each(|(to, &v)| *to += v);
                    } else {
                        let touched = target[first..].iter_mut().step_by(stride);
                        touched.zip(&line[interior.clone()]).for_each(|(to, &v)| *to += v);
                    }
                    for x in (0..interior.start).chain(interior.end..g.width_out) {
                        if let Some(to) = g.source(x, tap_x, g.width) {
                            target[to] += line[x];
                        }
                    }
                }
            }
        }
    }
}

/// A pointer that threads may share because each writes rows of its own.
struct DisjointRows<T>(*mut T);
// SAFETY: used below only for blocks of rows that do not overlap.
unsafe impl<T: Send> Sync for DisjointRows<T> {}

impl<T> DisjointRows<T> {
    /// # Safety
    /// `offset..offset + length` must lie inside the allocation and be touched by one thread only.
    #[allow(clippy::mut_from_ref)]
    unsafe fn slice(&self, offset: usize, length: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), length) }
    }
}

/// (N, C, H, W), (O, C, K, K), (O) -> (N, O, H', W').
pub(super) fn forward<T: Element>(g: &Geometry, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); g.batch * g.channels_out * g.plane_out()];
    let rows_per_block = g.rows_per_block(g.channels_in);
    let blocks = g.height_out.div_ceil(rows_per_block);
    let taps = g.channels_in * g.kernel * g.kernel;
    let slope = T::of(LEAKY_SLOPE);
    let shared = DisjointRows(out.as_mut_ptr());
    (0..g.batch * blocks).into_par_iter().for_each_init(Vec::new, |columns, job| {
        let (image, block) = (job / blocks, job % blocks);
        let rows = block * rows_per_block..((block + 1) * rows_per_block).min(g.height_out);
        let length = rows.len() * g.width_out;
        let planes = &x[image * g.channels_in * g.plane_in()..][..g.channels_in * g.plane_in()];
        let unfolded = if g.is_pointwise() {
            Matrix::rows(&planes[rows.start * g.width..], g.plane_in())
        } else {
            unfold(g, planes, g.channels_in, &rows, columns);
            Matrix::rows(columns, length)
        };
        let start = image * g.channels_out * g.plane_out() + rows.start * g.width_out;
        for (channel, &bias) in bias.iter().enumerate() {
            // SAFETY: these rows of this image belong to this job alone.
            unsafe { shared.slice(start + channel * g.plane_out(), length) }.fill(bias);
        }
        // SAFETY: as above, one row of the product per output channel.
        unsafe {
            multiply_into(
                (g.channels_out, length, taps),
                Matrix::rows(weight, taps),
                unfolded,
                shared.0.add(start),
                g.plane_out(),
                true,
            );
        }
        if g.conv.activation == Activation::LeakyRelu {
            for channel in 0..g.channels_out {
                // SAFETY: as above.
                let line = unsafe { shared.slice(start + channel * g.plane_out(), length) };
                // A comparison, not max: NaN stays NaN.
                line.iter_mut().for_each(|v| *v = if *v < T::zero() { *v * slope } else { *v });
            }
        }
    });
    out
}

/// Gradients of sum(out * grad_out) for the wanted arguments.
pub(super) fn backward<T: Element>(
    g: &Geometry,
    wanted: Wanted,
    x: &[T],
    weight: &[T],
    out: &[T],
    grad_out: &[T],
) -> Gradients<T> {
    let masked;
    let grad_out = match g.conv.activation {
        Activation::Identity => grad_out,
        Activation::LeakyRelu => {
            let slope = T::of(LEAKY_SLOPE);
            masked = grad_out
                .par_iter()
                .zip(out)
                .with_min_len(1 << 14)
                .map(
                    |(&gradient, &value)| {
                        if value > T::zero() { gradient } else { gradient * slope }
                    },
                )
                .collect::<Vec<T>>();
            &masked
        }
    };
    let taps = g.kernel * g.kernel;
    let group = g.channels_in.div_ceil(CHANNEL_GROUPS);
    let groups = g.channels_in.div_ceil(group);
    let image_in = g.channels_in * g.plane_in();
    let image_out = g.channels_out * g.plane_out();
    let mut grad_image = vec![T::zero(); if wanted.image { g.batch * image_in } else { 0 }];
    let mut targets: Vec<&mut [T]> = if wanted.image {
        grad_image
            .chunks_mut(image_in)
            .flat_map(|image| image.chunks_mut(group * g.plane_in()))
            .collect()
    } else {
        (0..g.batch * groups).map(|_| <&mut [T]>::default()).collect()
    };
    let partial_weights: Vec<Vec<T>> = targets
        .par_iter_mut()
        .enumerate()
        .map(|(job, target)| {
            let (image, first) = (job / groups, job % groups * group);
            let channels = group.min(g.channels_in - first);
            let planes = &x[image * image_in + first * g.plane_in()..][..channels * g.plane_in()];
            let gradient = &grad_out[image * image_out..][..image_out];
            group_gradients(g, wanted, (first, channels), planes, weight, gradient, target)
        })
        .collect();

    let grad_weight = wanted.weight.then(|| {
        let mut sum = vec![T::zero(); weight.len()];
        for (job, partial) in partial_weights.iter().enumerate() {
            let first = job % groups * group * taps;
            let columns = partial.len() / g.channels_out;
            for (to, from) in
                sum.chunks_exact_mut(g.channels_in * taps).zip(partial.chunks_exact(columns))
            {
                to[first..first + columns].iter_mut().zip(from).for_each(|(to, &from)| *to += from);
            }
        }
        sum
    });
    let grad_bias = wanted.weight.then(|| {
        (0..g.channels_out)
            .into_par_iter()
            .map(|channel| {
                let sum: f64 = (0..g.batch)
                    .flat_map(|image| {
                        let start = image * image_out + channel * g.plane_out();
                        grad_out[start..start + g.plane_out()].chunks(g.width_out)
                    })
                    .map(|row| row.iter().map(|v| v.wide()).sum::<f64>())
                    .sum();
                T::of(sum)
            })
            .collect()
    });
    Gradients { image: wanted.image.then_some(grad_image), weight: grad_weight, bias: grad_bias }
}

/// The gradients that concern `channels` input channels from `first`, of one image: the image's
/// into `target`, the weight's (O x channels K K) returned.
fn group_gradients<T: Element>(
    g: &Geometry,
    wanted: Wanted,
    (first, channels): (usize, usize),
    planes: &[T],
    weight: &[T],
    gradient: &[T],
    target: &mut [T],
) -> Vec<T> {
    let taps = g.kernel * g.kernel;
    let unfolded_rows = channels * taps;
    let rows_per_block = g.rows_per_block(channels);
    let mut grad_weight =
        vec![T::zero(); if wanted.weight { g.channels_out * unfolded_rows } else { 0 }];
    let weight = Matrix::rows(&weight[first * taps..], g.channels_in * taps);
    let mut columns = Vec::new();
    let mut grad_columns = Vec::new();
    for start in (0..g.height_out).step_by(rows_per_block) {
        let rows = start..(start + rows_per_block).min(g.height_out);
        let length = rows.len() * g.width_out;
        let gradient = Matrix::rows(&gradient[rows.start * g.width_out..], g.plane_out());
        if wanted.weight {
            let unfolded = if g.is_pointwise() {
                Matrix::rows(&planes[rows.start * g.width..], g.plane_in())
            } else {
                unfold(g, planes, channels, &rows, &mut columns);
                Matrix::rows(&columns, length)
            };
            multiply(
                (g.channels_out, unfolded_rows, length),
                gradient,
                unfolded.t(),
                &mut grad_weight,
                true,
            );
        }
        if wanted.image {
            grad_columns.resize(unfolded_rows * length, T::zero());
            multiply(
                (unfolded_rows, length, g.channels_out),
                weight.t(),
                gradient,
                &mut grad_columns,
                false,
            );
            fold(g, &grad_columns, channels, &rows, target);
        }
    }
    grad_weight
}
