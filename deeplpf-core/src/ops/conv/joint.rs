//! The convolution over two tensors side by side, the first of them upsampled or not, as one
//! operation.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{
    Conv2d, Geometry, Gradients, forward,
    planes::{Part, Planes},
};
use crate::ops::{by_dtype, by_element, elements, produced, with_elements};
use crate::simd::Lanes;

/// Arguments: the two tensors, and (O, (C + D) K K + 1), the weights with the bias as last column.
pub(super) struct Joint {
    pub conv: Conv2d,
    pub kernel: usize,
    /// Whether every pixel of the first tensor is doubled in both directions.
    pub doubled: bool,
}

impl Joint {
    fn geometry(&self, coarse: &Shape, skip: &Shape, parameters: &Shape) -> Result<Geometry> {
        let (batch, channels, h, w) = coarse.dims4()?;
        let (skip_batch, skip_channels, height, width) = skip.dims4()?;
        let all = channels + skip_channels;
        let (outputs, columns) = parameters.dims2()?;
        let meets = |small: usize, large: usize| match self.doubled {
            true => (2 * small..=2 * small + 1).contains(&large),
            false => small == large,
        };
        if skip_batch != batch
            || !meets(h, height)
            || !meets(w, width)
            || columns != all * self.kernel * self.kernel + 1
        {
            let doubled = if self.doubled { "upsampled " } else { "" };
            bail!("{doubled}{coarse:?} does not meet {skip:?} with parameters {parameters:?}");
        }
        let weight = [outputs, all, self.kernel, self.kernel];
        self.conv.geometry(&[batch, all, height, width], &weight, &[outputs])
    }
}

fn planes<'a, T>(joint: &Joint, g: &Geometry, coarse: &'a [T], skip: &'a [T]) -> Planes<'a, T> {
    let skip_channels = skip.len() / (g.batch * g.height * g.width);
    let coarse = Part::whole(coarse, g.channels_in - skip_channels);
    let parts = vec![Part { doubled: joint.doubled, ..coarse }, Part::whole(skip, skip_channels)];
    Planes { parts, height: g.height, width: g.width }
}

/// Weights and bias of rows that hold both.
fn split<T: Lanes>(parameters: &[T], outputs: usize) -> (Vec<T>, Vec<T>) {
    let columns = parameters.len() / outputs - 1;
    let rows = parameters.chunks_exact(columns + 1);
    (
        rows.clone().flat_map(|row| &row[..columns]).copied().collect(),
        rows.map(|row| row[columns]).collect(),
    )
}

fn joint_forward<T: Lanes>(
    joint: &Joint,
    g: &Geometry,
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
    (s3, l3): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (weight, bias) = split(elements::<T>(s3, l3)?, g.channels_out);
    let planes = planes(joint, g, elements::<T>(s1, l1)?, elements::<T>(s2, l2)?);
    let out = forward::forward(crate::ops::selected_instructions()?, g, &planes, &weight, &bias);
    produced(out, (g.batch, g.channels_out, g.height_out, g.width_out))
}

fn backward<T: Lanes>(
    joint: &Joint,
    g: &Geometry,
    [coarse, skip, parameters, out, grad_out]: [&Tensor; 5],
) -> Result<[Option<Tensor>; 3]> {
    let wanted = (coarse.track_op() || skip.track_op(), parameters.track_op());
    let gradients = with_elements::<T, _>(coarse, |coarse| {
        with_elements::<T, _>(skip, |skip| {
            with_elements::<T, _>(parameters, |parameters| {
                let weight = split(parameters, g.channels_out).0;
                Gradients::new(g, wanted, &planes(joint, g, coarse, skip), &weight, (out, grad_out))
            })
        })
    })?;
    let mut results = [None, None, None];
    for ((result, values), like) in
        results.iter_mut().zip(gradients.parts.into_iter().flatten()).zip([coarse, skip])
    {
        *result = Some(Tensor::from_vec(values, like.shape(), like.device())?);
    }
    if let Some((weight, bias)) = gradients.parameters {
        let columns = weight.len() / g.channels_out;
        let rows = weight.chunks_exact(columns).zip(&bias);
        let values: Vec<T> =
            rows.flat_map(|(row, bias)| row.iter().chain([bias])).copied().collect();
        results[2] = Some(Tensor::from_vec(values, parameters.shape(), parameters.device())?);
    }
    Ok(results)
}

impl CustomOp3 for Joint {
    fn name(&self) -> &'static str {
        "joint-conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = self.geometry(l1.shape(), l2.shape(), l3.shape())?;
        by_element!(s1, joint_forward(self, &g, (s1, l1), (s2, l2), (s3, l3)))
    }

    fn bwd(
        &self,
        coarse: &Tensor,
        skip: &Tensor,
        parameters: &Tensor,
        out: &Tensor,
        grad_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = self.geometry(coarse.shape(), skip.shape(), parameters.shape())?;
        let [coarse, skip, parameters] =
            by_dtype!(coarse, backward(self, &g, [coarse, skip, parameters, out, grad_out]))?;
        Ok((coarse, skip, parameters))
    }
}
