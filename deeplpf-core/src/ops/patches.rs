//! The 3x3 patches of an image, resized: what a 3x3 convolution of the image, resized, is a linear
//! function of.
//!
//! Bilinear resize works channel by channel and its weights sum to one, so
//! resize(W * pad(x) + b) = W resize(patches(x)) + b: a pointwise product of 27 numbers and one.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{
    Element, by_dtype, by_element, elements, produced,
    resize::{Tap, taps},
    with_elements,
};

/// Taps of a 3x3 kernel.
const TAPS: usize = 9;

struct ResizedPatches {
    height: usize,
    width: usize,
}

/// (N, C, H, W), H and W at least 2 -> (N, 9 C + 1, height, width), bilinearly resized as
/// [`super::resize::bilinear_resize`] does.
///
/// Channel 9 c + 3 i + j holds x_c shifted by (i - 1, j - 1), mirrored at the border: the input
/// that tap (i, j) of a reflection-padded convolution sees. The last channel is 1 everywhere, the
/// input of a bias.
pub fn resized_patches(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    x.contiguous()?.apply_op1(ResizedPatches { height, width })
}

/// Position `index + tap - 1` of `size`, mirrored at the ends.
fn mirrored(index: usize, tap: usize, size: usize) -> usize {
    match (index + tap).checked_sub(1) {
        None => 1,
        Some(position) if position >= size => 2 * size - 2 - position,
        Some(position) => position,
    }
}

/// The two sources of every output position, for each shift.
fn shifted<T: Element>(size_in: usize, size_out: usize) -> [Vec<Tap<T>>; 3] {
    let taps = taps::<T>(size_in, size_out);
    std::array::from_fn(|shift| {
        let at = |index| mirrored(index, shift, size_in);
        taps.iter()
            .map(|tap| Tap { low: at(tap.low), high: at(tap.high), weight: tap.weight })
            .collect()
    })
}

fn sizes(shape: &Shape) -> Result<[usize; 4]> {
    let (batch, channels, height, width) = shape.dims4()?;
    if height < 2 || width < 2 {
        bail!("3x3 patches need at least 2x2 pixels, got {height}x{width}");
    }
    Ok([batch, channels, height, width])
}

fn forward<T: Element>(
    op: &ResizedPatches,
    storage: &CpuStorage,
    layout: &Layout,
) -> Result<(CpuStorage, Shape)> {
    let shape @ [batch, channels, _, _] = sizes(layout.shape())?;
    let x = elements::<T>(storage, layout)?;
    let all = TAPS * channels + 1;
    let mut out = vec![T::zero(); batch * all * op.height * op.width];
    patches_into(x, shape, (op.height, op.width), &mut out);
    produced(out, (batch, all, op.height, op.width))
}

/// [`resized_patches`] of x, (N, C, H, W) = `shape`, at `size` = (height, width), into `out`.
pub(crate) fn patches_into<T: Element>(
    x: &[T],
    [_, channels, height, width]: [usize; 4],
    size: (usize, usize),
    out: &mut [T],
) {
    let (rows, columns) = (shifted::<T>(height, size.0), shifted::<T>(width, size.1));
    let all = TAPS * channels + 1;
    out.par_chunks_mut(size.0 * size.1).enumerate().for_each_init(
        || vec![T::zero(); width],
        |line, (index, out)| {
            let (image, channel) = (index / all, index % all);
            if channel == all - 1 {
                out.fill(T::one());
                return;
            }
            let (source, tap) = (channel / TAPS, channel % TAPS);
            let source = &x[(image * channels + source) * height * width..][..height * width];
            for (out, row) in out.chunks_exact_mut(size.1).zip(&rows[tap / 3]) {
                let (low, high) = (&source[row.low * width..], &source[row.high * width..]);
                let (up, down) = (T::one() - row.weight, row.weight);
                for (to, (&low, &high)) in line.iter_mut().zip(low.iter().zip(high)) {
                    *to = up * low + down * high;
                }
                for (to, column) in out.iter_mut().zip(&columns[tap % 3]) {
                    let (left, right) = (T::one() - column.weight, column.weight);
                    *to = left * line[column.low] + right * line[column.high];
                }
            }
        },
    );
}

fn backward<T: Element>(op: &ResizedPatches, x: &Tensor, grad_out: &Tensor) -> Result<Tensor> {
    let shape @ [batch, channels, height, width] = sizes(x.shape())?;
    let mut grad = vec![T::zero(); batch * channels * height * width];
    with_elements::<T, _>(grad_out, |grad_out| {
        patches_gradient(grad_out, shape, (op.height, op.width), &mut grad);
        Ok(())
    })?;
    Tensor::from_vec(grad, x.shape(), x.device())
}

/// Adds the gradient of [`patches_into`] to x, (N, C, H, W) = `shape`, to `grad`.
pub(crate) fn patches_gradient<T: Element>(
    grad_out: &[T],
    [_, channels, height, width]: [usize; 4],
    size: (usize, usize),
    grad: &mut [T],
) {
    let (rows, columns) = (shifted::<T>(height, size.0), shifted::<T>(width, size.1));
    let plane = size.0 * size.1;
    grad.par_chunks_mut(height * width).enumerate().for_each(|(index, grad)| {
        let (image, channel) = (index / channels, index % channels);
        let mut line = vec![T::zero(); width];
        for (shift, rows) in rows.iter().enumerate() {
            let first = image * (TAPS * channels + 1) + TAPS * channel + 3 * shift;
            let planes = &grad_out[first * plane..][..3 * plane];
            for (y, row) in rows.iter().enumerate() {
                line.fill(T::zero());
                for (columns, plane) in columns.iter().zip(planes.chunks_exact(plane)) {
                    let gradient = &plane[y * size.1..][..size.1];
                    for (&gradient, column) in gradient.iter().zip(columns) {
                        let right = column.weight * gradient;
                        line[column.low] += gradient - right;
                        line[column.high] += right;
                    }
                }
                for (y, weight) in [(row.low, T::one() - row.weight), (row.high, row.weight)] {
                    let to = &mut grad[y * width..][..width];
                    to.iter_mut().zip(&line).for_each(|(to, &from)| *to += weight * from);
                }
            }
        }
    });
}

impl CustomOp1 for ResizedPatches {
    fn name(&self) -> &'static str {
        "resized-patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(storage, forward(self, storage, layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad_out: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x, backward(self, x, grad_out)).map(Some)
    }
}
