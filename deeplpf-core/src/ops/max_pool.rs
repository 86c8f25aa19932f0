//! 2x2 max-pooling with stride 2; an odd last row or column is dropped (floor).
//!
//! The gradient goes to the first maximum in reading order, as in PyTorch.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{Element, by_dtype, by_element, elements, produced, with_elements};

struct MaxPool2;

/// (N, C, H, W) -> (N, C, floor(H / 2), floor(W / 2)).
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(MaxPool2)
}

fn sizes(shape: &Shape) -> Result<(usize, usize, usize)> {
    let (batch, channels, height, width) = shape.dims4()?;
    if height < 2 || width < 2 {
        bail!("2x2 pooling needs at least 2x2 pixels, got {height}x{width}");
    }
    Ok((batch * channels, height, width))
}

/// Offset of the first maximum of the 2x2 window at `corner`; a NaN wins.
fn first_maximum<T: Element>(plane: &[T], corner: usize, width: usize) -> usize {
    let mut best = corner;
    for candidate in [corner + 1, corner + width, corner + width + 1] {
        if plane[candidate] > plane[best] || plane[candidate].is_nan() {
            best = candidate;
        }
    }
    best
}

fn forward<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    let (batch, channels, _, _) = layout.shape().dims4()?;
    let (planes, height, width) = sizes(layout.shape())?;
    let x = elements::<T>(storage, layout)?;
    let mut out = vec![T::zero(); planes * (height / 2) * (width / 2)];
    pool_into(x, (height, width), &mut out);
    produced(out, (batch, channels, height / 2, width / 2))
}

/// [`max_pool2`] of planes of `height` x `width`, both at least 2.
pub(crate) fn pool_into<T: Element>(x: &[T], (height, width): (usize, usize), out: &mut [T]) {
    let (pooled_h, pooled_w) = (height / 2, width / 2);
    out.par_chunks_mut(pooled_h * pooled_w).zip(x.par_chunks(height * width)).for_each(
        |(out, plane)| {
            for (y, line) in out.chunks_exact_mut(pooled_w).enumerate() {
                for (x, value) in line.iter_mut().enumerate() {
                    *value = plane[first_maximum(plane, 2 * y * width + 2 * x, width)];
                }
            }
        },
    );
}

fn backward<T: Element>(x: &Tensor, grad_out: &Tensor) -> Result<Tensor> {
    let (planes, height, width) = sizes(x.shape())?;
    let mut grad = vec![T::zero(); planes * height * width];
    with_elements::<T, _>(x, |x| {
        with_elements::<T, _>(grad_out, |grad_out| {
            pool_gradient(x, (height, width), grad_out, &mut grad);
            Ok(())
        })
    })?;
    Tensor::from_vec(grad, x.shape(), x.device())
}

/// Adds the gradient of [`pool_into`] to `grad`.
pub(crate) fn pool_gradient<T: Element>(
    x: &[T],
    (height, width): (usize, usize),
    grad_out: &[T],
    grad: &mut [T],
) {
    let (pooled_h, pooled_w) = (height / 2, width / 2);
    grad.par_chunks_mut(height * width)
        .zip(x.par_chunks(height * width))
        .zip(grad_out.par_chunks(pooled_h * pooled_w))
        .for_each(|((grad, plane), grad_out)| {
            for (y, grad_out) in grad_out.chunks_exact(pooled_w).enumerate() {
                for (x, &gradient) in grad_out.iter().enumerate() {
                    grad[first_maximum(plane, 2 * y * width + 2 * x, width)] += gradient;
                }
            }
        });
}

impl CustomOp1 for MaxPool2 {
    fn name(&self) -> &'static str {
        "max-pool2"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(storage, forward(storage, layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad_out: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x, backward(x, grad_out)).map(Some)
    }
}
