//! The filters of [`deeplpf_filters`] as differentiable operations, one fused pass per image.

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor, bail};
use deeplpf_filters::{FilterStack, Real, StackConfig};
use ndarray::{ArrayView3, ArrayViewMut3};

use super::{Element, elements, produced, with_elements};

/// All filters and their fusion.
///
/// image Y1: (N, 3, H, W), raw: (N, [`StackConfig::raw_len`]) -> output Y: (N, 3, H, W).
pub fn filter_stack(config: &StackConfig, image: &Tensor, raw: &Tensor) -> Result<Tensor> {
    let stage = Stage { config: config.clone(), part: Part::Whole };
    image.contiguous()?.apply_op2(&raw.contiguous()?, stage)
}

/// The polynomial filter alone: Y2, which the graduated and elliptical heads see.
///
/// `raw` is the same whole vector as in [`filter_stack`]; only its polynomial part is used.
pub fn polynomial(config: &StackConfig, image: &Tensor, raw: &Tensor) -> Result<Tensor> {
    let stage = Stage { config: config.clone(), part: Part::Polynomial };
    image.contiguous()?.apply_op2(&raw.contiguous()?, stage)
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Whole,
    Polynomial,
}

struct Stage {
    config: StackConfig,
    part: Part,
}

impl Stage {
    fn sizes(&self, image: &Shape, raw: &Shape) -> Result<(usize, usize)> {
        let (batch, channels, height, width) = image.dims4()?;
        if channels != 3 || raw.dims() != [batch, self.config.raw_len()] {
            bail!(
                "filters with {} parameters on {image:?} with raw parameters {raw:?}",
                self.config.raw_len()
            );
        }
        Ok((height, width))
    }
}

fn view<T>(values: &[T], (height, width): (usize, usize)) -> Result<ArrayView3<'_, T>> {
    ArrayView3::from_shape((3, height, width), values).map_err(Error::wrap)
}

fn view_mut<T>(values: &mut [T], (height, width): (usize, usize)) -> Result<ArrayViewMut3<'_, T>> {
    ArrayViewMut3::from_shape((3, height, width), values).map_err(Error::wrap)
}

fn forward<T: Element + Real>(
    stage: &Stage,
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let sizes = stage.sizes(l1.shape(), l2.shape())?;
    let (image, raw) = (elements::<T>(s1, l1)?, elements::<T>(s2, l2)?);
    let pixels = 3 * sizes.0 * sizes.1;
    let mut out = vec![T::zero(); image.len()];
    let raw_len = stage.config.raw_len();
    for (n, (image, out)) in
        image.chunks_exact(pixels).zip(out.chunks_exact_mut(pixels)).enumerate()
    {
        let raw = &raw[n * raw_len..][..raw_len];
        let stack = FilterStack::from_raw(&stage.config, raw).map_err(Error::wrap)?;
        let (image, out) = (view(image, sizes)?, view_mut(out, sizes)?);
        match stage.part {
            Part::Whole => stack.apply_into(image, out),
            Part::Polynomial => stack.apply_polynomial_into(image, out),
        }
        .map_err(Error::wrap)?;
    }
    produced(out, l1.shape())
}

fn backward<T: Element + Real>(
    stage: &Stage,
    image: &Tensor,
    raw: &Tensor,
    grad_out: &Tensor,
) -> Result<[Tensor; 2]> {
    let sizes = stage.sizes(image.shape(), raw.shape())?;
    let pixels = 3 * sizes.0 * sizes.1;
    let mut grad_image = vec![T::zero(); image.elem_count()];
    let mut grad_raw = Vec::with_capacity(raw.elem_count());
    with_elements::<T, _>(image, |image| {
        with_elements::<T, _>(raw, |raw| {
            with_elements::<T, _>(grad_out, |grad_out| {
                let raw_len = stage.config.raw_len();
                for (n, ((image, grad_out), grad)) in image
                    .chunks_exact(pixels)
                    .zip(grad_out.chunks_exact(pixels))
                    .zip(grad_image.chunks_exact_mut(pixels))
                    .enumerate()
                {
                    let raw = &raw[n * raw_len..][..raw_len];
                    let stack = FilterStack::from_raw(&stage.config, raw).map_err(Error::wrap)?;
                    let (image, grad_out) = (view(image, sizes)?, view(grad_out, sizes)?);
                    let grad = view_mut(grad, sizes)?;
                    let gradients = match stage.part {
                        Part::Whole => stack.vjp_into(image, grad_out, grad),
                        Part::Polynomial => stack.vjp_polynomial_into(image, grad_out, grad),
                    }
                    .map_err(Error::wrap)?;
                    grad_raw.extend(gradients.raw.unwrap_or_default());
                }
                Ok(())
            })
        })
    })?;
    Ok([
        Tensor::from_vec(grad_image, image.shape(), image.device())?,
        Tensor::from_vec(grad_raw, raw.shape(), raw.device())?,
    ])
}

impl CustomOp2 for Stage {
    fn name(&self) -> &'static str {
        "filter-stack"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        super::by_element!(s1, forward(self, (s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        image: &Tensor,
        raw: &Tensor,
        _: &Tensor,
        grad_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [image, raw] = super::by_dtype!(image, backward(self, image, raw, grad_out))?;
        Ok((Some(image), Some(raw)))
    }
}
