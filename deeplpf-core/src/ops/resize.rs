//! Bilinear resize (PyTorch's `interpolate` with align_corners = false and no antialiasing) and
//! its transpose.
//!
//! Output pixel j samples the input at max((j + 1/2) * size_in / size_out - 1/2, 0), between the
//! two nearest pixels; at the far edge the last pixel is used twice. The operation is linear and
//! separable, out = R x C^T, so its gradient is R^T g C.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{Element, by_dtype, by_element, elements, produced, with_elements};

struct BilinearResize {
    height: usize,
    width: usize,
}

/// (N, C, H, W) -> (N, C, height, width).
pub fn bilinear_resize(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, _, from_height, from_width) = x.dims4()?;
    if (from_height, from_width) == (height, width) {
        return Ok(x.clone());
    }
    x.contiguous()?.apply_op1(BilinearResize { height, width })
}

/// Where one output pixel reads along one axis.
#[derive(Clone, Copy)]
pub(crate) struct Tap<T> {
    pub low: usize,
    pub high: usize,
    /// Weight of `high`; `low` has the rest.
    pub weight: T,
}

/// Where every output pixel reads along one axis.
pub(crate) fn taps<T: Element>(size_in: usize, size_out: usize) -> Vec<Tap<T>> {
    // In the element's own precision, as PyTorch computes its f32 coordinates.
    let scale = T::of(size_in as f64) / T::of(size_out as f64);
    let half = T::of(0.5);
    (0..size_out)
        .map(|output| {
            let position = (T::of(output as f64) + half) * scale - half;
            let position = if position > T::zero() { position } else { T::zero() };
            let low = position.to_usize().unwrap_or(0).min(size_in - 1);
            let weight = (position - T::of(low as f64)).bounded(T::zero(), T::one());
            Tap { low, high: (low + 1).min(size_in - 1), weight }
        })
        .collect()
}

fn forward<T: Element>(
    op: &BilinearResize,
    storage: &CpuStorage,
    layout: &Layout,
) -> Result<(CpuStorage, Shape)> {
    let (batch, channels, height, width) = layout.shape().dims4()?;
    let x = elements::<T>(storage, layout)?;
    let (rows, columns) = (taps::<T>(height, op.height), taps::<T>(width, op.width));
    let mut out = vec![T::zero(); batch * channels * op.height * op.width];
    out.par_chunks_mut(op.height * op.width).zip(x.par_chunks(height * width)).for_each(
        |(out, plane)| {
            for (line, row) in out.chunks_exact_mut(op.width).zip(&rows) {
                let low = &plane[row.low * width..][..width];
                let high = &plane[row.high * width..][..width];
                let (row_high, row_low) = (row.weight, T::one() - row.weight);
                for (value, column) in line.iter_mut().zip(&columns) {
                    let (right, left) = (column.weight, T::one() - column.weight);
                    *value = row_low * (left * low[column.low] + right * low[column.high])
                        + row_high * (left * high[column.low] + right * high[column.high]);
                }
            }
        },
    );
    produced(out, (batch, channels, op.height, op.width))
}

fn backward<T: Element>(op: &BilinearResize, x: &Tensor, grad_out: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (rows, columns) = (taps::<T>(height, op.height), taps::<T>(width, op.width));
    let mut grad = vec![T::zero(); batch * channels * height * width];
    with_elements::<T, _>(grad_out, |grad_out| {
        grad.par_chunks_mut(height * width)
            .zip(grad_out.par_chunks(op.height * op.width))
            .for_each_init(
                || vec![T::zero(); width],
                |folded, (grad, grad_out)| {
                    for (line, row) in grad_out.chunks_exact(op.width).zip(&rows) {
                        folded.fill(T::zero());
                        for (&gradient, column) in line.iter().zip(&columns) {
                            let right = column.weight * gradient;
                            folded[column.low] += gradient - right;
                            folded[column.high] += right;
                        }
                        for (y, weight) in
                            [(row.low, T::one() - row.weight), (row.high, row.weight)]
                        {
                            let target = &mut grad[y * width..][..width];
                            target
                                .iter_mut()
                                .zip(folded.iter())
                                .for_each(|(to, &from)| *to += weight * from);
                        }
                    }
                },
            );
        Ok(())
    })?;
    Tensor::from_vec(grad, x.shape(), x.device())
}

impl CustomOp1 for BilinearResize {
    fn name(&self) -> &'static str {
        "bilinear-resize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(storage, forward(self, storage, layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad_out: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x, backward(self, x, grad_out)).map(Some)
    }
}
