//! Nearest-neighbour upsampling by two, padded to the size of a skip connection and concatenated
//! with it: the joint of the U-Net's two arms.
//!
//! Where the skip is one pixel larger, the upsampled image gets a row of zeros at the bottom and a
//! column of zeros at the left, as in the release.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{Element, by_dtype, by_element, elements, produced, with_elements};

struct UpsampleConcat;

/// (N, C, h, w) and skip (N, D, H, W), H in {2h, 2h + 1}, W in {2w, 2w + 1} -> (N, C + D, H, W).
pub fn upsample_concat(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&skip.contiguous()?, UpsampleConcat)
}

#[derive(Clone, Copy)]
struct Geometry {
    batch: usize,
    channels: usize,
    skip_channels: usize,
    small: (usize, usize),
    large: (usize, usize),
    /// Columns of zeros at the left.
    left: usize,
}

fn geometry(x: &Shape, skip: &Shape) -> Result<Geometry> {
    let (batch, channels, h, w) = x.dims4()?;
    let (skip_batch, skip_channels, height, width) = skip.dims4()?;
    if skip_batch != batch
        || !(2 * h..=2 * h + 1).contains(&height)
        || !(2 * w..=2 * w + 1).contains(&width)
    {
        bail!("upsampled {x:?} does not meet the skip connection {skip:?}");
    }
    Ok(Geometry {
        batch,
        channels,
        skip_channels,
        small: (h, w),
        large: (height, width),
        left: width - 2 * w,
    })
}

fn forward<T: Element>(
    g: &Geometry,
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (x, skip) = (elements::<T>(s1, l1)?, elements::<T>(s2, l2)?);
    let ((h, w), (height, width)) = (g.small, g.large);
    let all = g.channels + g.skip_channels;
    let mut out = vec![T::zero(); g.batch * all * height * width];
    out.par_chunks_mut(height * width).enumerate().for_each(|(plane, out)| {
        let (image, channel) = (plane / all, plane % all);
        if channel >= g.channels {
            let from = image * g.skip_channels + channel - g.channels;
            out.copy_from_slice(&skip[from * height * width..][..height * width]);
            return;
        }
        let source = &x[(image * g.channels + channel) * h * w..][..h * w];
        for (y, line) in out.chunks_exact_mut(width).take(2 * h).enumerate() {
            let pairs = line[g.left..].chunks_exact_mut(2);
            pairs.zip(&source[y / 2 * w..][..w]).for_each(|(pair, &value)| pair.fill(value));
        }
    });
    produced(out, (g.batch, all, height, width))
}

fn backward<T: Element>(
    g: &Geometry,
    x: &Tensor,
    skip: &Tensor,
    grad_out: &Tensor,
) -> Result<[Tensor; 2]> {
    let ((h, w), (height, width)) = (g.small, g.large);
    let all = g.channels + g.skip_channels;
    let mut grad = vec![T::zero(); g.batch * g.channels * h * w];
    with_elements::<T, _>(grad_out, |grad_out| {
        grad.par_chunks_mut(h * w).enumerate().for_each(|(plane, grad)| {
            let from = plane / g.channels * all + plane % g.channels;
            let source = &grad_out[from * height * width..][..height * width];
            for (y, line) in source.chunks_exact(width).take(2 * h).enumerate() {
                let target = &mut grad[y / 2 * w..][..w];
                for (to, pair) in target.iter_mut().zip(line[g.left..].chunks_exact(2)) {
                    *to += pair[0] + pair[1];
                }
            }
        });
        Ok(())
    })?;
    let grad = Tensor::from_vec(grad, x.shape(), x.device())?;
    Ok([grad, grad_out.narrow(1, g.channels, skip.dim(1)?)?.contiguous()?])
}

impl CustomOp2 for UpsampleConcat {
    fn name(&self) -> &'static str {
        "upsample-concat"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = geometry(l1.shape(), l2.shape())?;
        by_element!(s1, forward(&g, (s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        skip: &Tensor,
        _: &Tensor,
        grad_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = geometry(x.shape(), skip.shape())?;
        let [x, skip] = by_dtype!(x, backward(&g, x, skip, grad_out))?;
        Ok((Some(x), Some(skip)))
    }
}
