//! 2-D convolution with padding, bias and LeakyReLU in one operation, and its gradients.
//!
//! out = act(W * pad(x) + b), cross-correlation as in PyTorch. The gradient through the activation
//! is taken from the sign of the output (the slope is positive, so the sign survives).
//!
//! Nothing is unfolded: blocks of rows are copied once, with their border, into scratch memory that
//! fits the second-level cache, and the inner loops (`kernels`) read it shifted by the taps.
//! Blocks depend on shapes only and partial sums are added in a fixed order, so the result does not
//! depend on the number of threads.

mod block;
mod forward;
mod input_gradient;
mod joint;
mod kernels;
mod packing;
mod planes;
mod weight_gradient;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{Element, by_dtype, by_element, elements, produced, with_elements};
use crate::simd::Lanes;
pub(crate) use forward::forward_into;
pub(crate) use input_gradient::input_gradient_into;
use joint::Joint;
pub(crate) use planes::{Part, PartGradient, PlaneGradients, Planes};
pub(crate) use weight_gradient::{weight_gradient_into, weight_gradient_room};

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
pub(crate) struct Geometry {
    pub conv: Conv2d,
    pub batch: usize,
    pub channels_in: usize,
    pub channels_out: usize,
    pub kernel: usize,
    pub height: usize,
    pub width: usize,
    pub height_out: usize,
    pub width_out: usize,
}

impl Conv2d {
    /// x: (N, C, H, W), weight: (O, C, K, K) with K = 1 or 3, bias: (O) -> (N, O, H', W') with
    /// H' = floor((H - 1) / stride) + 1.
    pub fn apply(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, *self)
    }

    /// The same for x = [`coarse` with every pixel doubled in both directions, `skip`]: the joint of
    /// a U-Net's two arms, without making x.
    ///
    /// coarse: (N, C, h, w), skip: (N, D, H, W), H in {2h, 2h + 1}, W in {2w, 2w + 1}, weight:
    /// (O, C + D, K, K). Where the skip is one pixel larger, the doubled image gets a row of zeros at
    /// the bottom and a column of zeros at the left, as in the release.
    pub fn apply_upsampled(
        &self,
        (coarse, skip): (&Tensor, &Tensor),
        weight: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor> {
        self.apply_joint((coarse, skip), weight, bias, true)
    }

    /// The same for x = [`first`, `second`], without making x.
    ///
    /// first: (N, C, H, W), second: (N, D, H, W), weight: (O, C + D, K, K).
    pub fn apply_pair(
        &self,
        (first, second): (&Tensor, &Tensor),
        weight: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor> {
        self.apply_joint((first, second), weight, bias, false)
    }

    fn apply_joint(
        &self,
        (first, second): (&Tensor, &Tensor),
        weight: &Tensor,
        bias: &Tensor,
        doubled: bool,
    ) -> Result<Tensor> {
        let (outputs, inputs, kernel, _) = weight.dims4()?;
        // An operation has three arguments at most: the bias becomes the weights' last column.
        let columns = weight.reshape((outputs, inputs * kernel * kernel))?;
        let parameters = Tensor::cat(&[&columns, &bias.reshape((outputs, 1))?], 1)?;
        let joint = Joint { conv: *self, kernel, doubled };
        first.contiguous()?.apply_op3(&second.contiguous()?, &parameters, joint)
    }

    /// Sizes for x, weight and bias of these shapes.
    pub(crate) fn geometry(
        &self,
        x: &[usize],
        weight: &[usize],
        bias: &[usize],
    ) -> Result<Geometry> {
        let (&[batch, channels_in, height, width], &[channels_out, weight_in, kernel, kernel_w]) =
            (x, weight)
        else {
            bail!("convolution of {x:?} with weight {weight:?}");
        };
        if weight_in != channels_in || kernel != kernel_w || bias != [channels_out] {
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
        let geometry = Geometry {
            conv: *self,
            batch,
            channels_in,
            channels_out,
            kernel,
            height,
            width,
            height_out: (height - 1) / self.stride + 1,
            width_out: (width - 1) / self.stride + 1,
        };
        // Positions inside a block of a few rows are 32-bit.
        let row = geometry.block_row().max(channels_out * (width + 2 * block::LANES));
        if row.saturating_mul(16) > u32::MAX as usize {
            bail!("convolution of {x:?}: rows are too long");
        }
        Ok(geometry)
    }
}

impl Geometry {
    fn pad(&self) -> usize {
        self.kernel / 2
    }

    pub(crate) fn plane_out(&self) -> usize {
        self.height_out * self.width_out
    }
}

/// The gradient to the sum before the activation, made row by row: channels side by side from several
/// tensors.
pub(crate) struct OutputGradient<'a, T> {
    pub parts: Vec<GradientPart<'a, T>>,
    pub height: usize,
    pub width: usize,
}

/// Some channels of the gradient to a convolution's output.
pub(crate) struct GradientPart<'a, T> {
    /// (N, `of`, H', W').
    pub values: &'a [T],
    /// The convolution's output of the same shape, where an activation followed.
    pub activated: Option<&'a [T]>,
    /// The first `channels` of each image's `of`.
    pub channels: usize,
    pub of: usize,
}

impl<'a, T: Element> OutputGradient<'a, T> {
    /// Of the outputs `activated` with a gradient of the same shape.
    pub fn new(g: &Geometry, values: &'a [T], activated: &'a [T]) -> Self {
        let activated = (g.conv.activation == Activation::LeakyRelu).then_some(activated);
        let (channels, of) = (g.channels_out, g.channels_out);
        let parts = vec![GradientPart { values, activated, channels, of }];
        Self { parts, height: g.height_out, width: g.width_out }
    }

    /// Writes row `y` of an output channel of an image.
    fn copy_row(&self, (image, channel): (usize, usize), y: usize, to: &mut [T]) {
        let mut channel = channel;
        for part in &self.parts {
            if channel >= part.channels {
                channel -= part.channels;
                continue;
            }
            let start = ((image * part.of + channel) * self.height + y) * self.width;
            let row = &part.values[start..start + self.width];
            match part.activated {
                None => to.copy_from_slice(row),
                Some(activated) => {
                    let slope = T::of(LEAKY_SLOPE);
                    let activated = &activated[start..start + self.width];
                    for ((to, &gradient), &value) in to.iter_mut().zip(row).zip(activated) {
                        *to = if value > T::zero() { gradient } else { gradient * slope };
                    }
                }
            }
            return;
        }
    }
}

/// Gradients of one convolution; `None` where not wanted.
struct Gradients<T> {
    /// One for each part of the input.
    parts: Option<Vec<Vec<T>>>,
    /// Of weight and bias.
    parameters: Option<(Vec<T>, Vec<T>)>,
}

impl<T: Lanes> Gradients<T> {
    /// Of sum(out * grad_out), to the parts (`wanted.0`) and the parameters (`wanted.1`).
    fn new(
        g: &Geometry,
        wanted: (bool, bool),
        planes: &Planes<'_, T>,
        weight: &[T],
        (out, grad_out): (&Tensor, &Tensor),
    ) -> Result<Self> {
        let instructions = crate::ops::selected_instructions()?;
        with_elements::<T, _>(out, |out| {
            with_elements::<T, _>(grad_out, |values| {
                let gradient = OutputGradient::new(g, values, out);
                let parameters = wanted
                    .1
                    .then(|| weight_gradient::weight_gradient(instructions, g, planes, &gradient));
                let parts = wanted.0.then(|| {
                    input_gradient::input_gradient(instructions, g, planes, weight, &gradient)
                });
                Ok(Self { parts, parameters })
            })
        })
    }
}

fn single<'a, T>(g: &Geometry, values: &'a [T]) -> Planes<'a, T> {
    Planes { parts: vec![Part::whole(values, g.channels_in)], height: g.height, width: g.width }
}

fn forward<T: Lanes>(
    g: &Geometry,
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
    (s3, l3): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (x, weight, bias) =
        (elements::<T>(s1, l1)?, elements::<T>(s2, l2)?, elements::<T>(s3, l3)?);
    let out =
        forward::forward(crate::ops::selected_instructions()?, g, &single(g, x), weight, bias);
    produced(out, (g.batch, g.channels_out, g.height_out, g.width_out))
}

fn backward<T: Lanes>(
    g: &Geometry,
    [x, weight, bias, out, grad_out]: [&Tensor; 5],
) -> Result<[Option<Tensor>; 3]> {
    let wanted = (x.track_op(), weight.track_op() || bias.track_op());
    let gradients = with_elements::<T, _>(x, |x| {
        with_elements::<T, _>(weight, |weight| {
            Gradients::new(g, wanted, &single(g, x), weight, (out, grad_out))
        })
    })?;
    let mut results = [None, None, None];
    if let Some(values) = gradients.parts.and_then(|mut parts| parts.pop()) {
        results[0] = Some(Tensor::from_vec(values, x.shape(), x.device())?);
    }
    if let Some((grad_weight, grad_bias)) = gradients.parameters {
        results[1] = Some(Tensor::from_vec(grad_weight, weight.shape(), weight.device())?);
        results[2] = Some(Tensor::from_vec(grad_bias, bias.shape(), bias.device())?);
    }
    Ok(results)
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
        let geometry = self.geometry(l1.dims(), l2.dims(), l3.dims())?;
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
        let geometry = self.geometry(x.dims(), weight.dims(), bias.dims())?;
        let [x, weight, bias] =
            by_dtype!(x, backward(&geometry, [x, weight, bias, out, grad_out]))?;
        Ok((x, weight, bias))
    }
}
