//! 2-D convolution with padding, bias and LeakyReLU in one operation, and its gradients.
//!
//! out = act(W * pad(x) + b), cross-correlation as in PyTorch. The gradient through the activation
//! is taken from the sign of the output (the slope is positive, so the sign survives).

mod cpu;
mod matmul;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{Element, by_dtype, by_element, elements, produced, with_elements};

/// LeakyReLU slope of the release, everywhere.
pub const LEAKY_SLOPE: f64 = 0.01;

/// What surrounds the image. Padding is one pixel for 3x3 kernels and none for 1x1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Mirror without repeating the edge pixel; needs at least two pixels a side.
    Reflect,
    /// Zeros.
    Zero,
}

/// What follows the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(u, 0.01 u); at u = 0 the gradient is the slope, as in PyTorch.
    LeakyRelu,
}

/// Shape and kind of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// What surrounds the image.
    pub padding: Padding,
    /// Step between outputs, in both directions.
    pub stride: usize,
    /// What follows the sum.
    pub activation: Activation,
}

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    conv: Conv2d,
    batch: usize,
    channels_in: usize,
    channels_out: usize,
    kernel: usize,
    height: usize,
    width: usize,
    height_out: usize,
    width_out: usize,
}

impl Conv2d {
    /// x: (N, C, H, W), weight: (O, C, K, K) with K = 1 or 3, bias: (O) -> (N, O, H', W') with
    /// H' = floor((H - 1) / stride) + 1.
    pub fn apply(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, *self)
    }

    fn geometry(&self, x: &Shape, weight: &Shape, bias: &Shape) -> Result<Geometry> {
        let (batch, channels_in, height, width) = x.dims4()?;
        let (channels_out, weight_in, kernel, kernel_w) = weight.dims4()?;
        if weight_in != channels_in || kernel != kernel_w || bias.dims() != [channels_out] {
            bail!("convolution of {x:?} with weight {weight:?} and bias {bias:?}");
        }
        if kernel != 1 && kernel != 3 {
            bail!("convolution kernels are 1x1 or 3x3, not {kernel}x{kernel}");
        }
        if height == 0 || width == 0 || self.stride == 0 {
            bail!("convolution of an empty image or with stride 0");
        }
        if kernel == 3 && self.padding == Padding::Reflect && (height < 2 || width < 2) {
            bail!("reflection padding needs at least 2x2 pixels, got {height}x{width}");
        }
        Ok(Geometry {
            conv: *self,
            batch,
            channels_in,
            channels_out,
            kernel,
            height,
            width,
            height_out: (height - 1) / self.stride + 1,
            width_out: (width - 1) / self.stride + 1,
        })
    }
}

fn forward<T: Element>(
    geometry: &Geometry,
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
    (s3, l3): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (x, weight, bias) =
        (elements::<T>(s1, l1)?, elements::<T>(s2, l2)?, elements::<T>(s3, l3)?);
    let out = cpu::forward(geometry, x, weight, bias);
    let shape = (geometry.batch, geometry.channels_out, geometry.height_out, geometry.width_out);
    produced(out, shape)
}

fn backward<T: Element>(
    geometry: &Geometry,
    [x, weight, bias, out, grad_out]: [&Tensor; 5],
) -> Result<[Option<Tensor>; 3]> {
    let wanted = cpu::Wanted { image: x.track_op(), weight: weight.track_op() || bias.track_op() };
    let gradients = with_elements::<T, _>(x, |x| {
        with_elements::<T, _>(weight, |weight| {
            with_elements::<T, _>(out, |out| {
                with_elements::<T, _>(grad_out, |grad_out| {
                    Ok(cpu::backward(geometry, wanted, x, weight, out, grad_out))
                })
            })
        })
    })?;
    let tensor = |values: Option<Vec<T>>, like: &Tensor| {
        values.map(|values| Tensor::from_vec(values, like.shape(), like.device())).transpose()
    };
    Ok([
        tensor(gradients.image, x)?,
        tensor(gradients.weight, weight)?,
        tensor(gradients.bias, bias)?,
    ])
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
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
        let geometry = self.geometry(l1.shape(), l2.shape(), l3.shape())?;
        by_element!(s1, forward(&geometry, (s1, l1), (s2, l2), (s3, l3)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        grad_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let geometry = self.geometry(x.shape(), weight.shape(), bias.shape())?;
        let [x, weight, bias] =
            by_dtype!(x, backward(&geometry, [x, weight, bias, out, grad_out]))?;
        Ok((x, weight, bias))
    }
}
