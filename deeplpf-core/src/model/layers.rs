//! Layers with parameters.

use candle_core::{Module, Tensor, Var};

use super::Mode;
use crate::{
    Result,
    ops::conv::{Activation, Conv2d, Padding},
    parameters::Builder,
};

/// Overwrites a variable with zeros.
pub(super) fn set_zero(variable: &Var) -> Result<()> {
    Ok(variable.set(&variable.zeros_like()?)?)
}

/// A convolution with bias, PyTorch's default initialisation.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub weight: Var,
    pub bias: Var,
    pub kind: Conv2d,
}

impl Convolution {
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        kind: Conv2d,
    ) -> Result<Self> {
        let mut builder = builder.pp(name);
        let bound = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        let weight = builder.uniform("weight", (outputs, inputs, kernel, kernel), bound)?;
        let bias = builder.uniform("bias", outputs, bound)?;
        Ok(Self { weight, bias, kind })
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(self.kind.apply(x, &mode.of(&self.weight), &mode.of(&self.bias))?)
    }
}

impl Convolution {
    /// Only the output channels in `outputs`.
    pub fn forward_outputs(
        &self,
        x: &Tensor,
        outputs: std::ops::Range<usize>,
        mode: Mode,
    ) -> Result<Tensor> {
        let part = |parameter: &Tensor| parameter.narrow(0, outputs.start, outputs.len());
        Ok(self.kind.apply(x, &part(&mode.of(&self.weight))?, &part(&mode.of(&self.bias))?)?)
    }
}

/// [reflect-pad, 3x3 convolution, LeakyReLU] twice.
#[derive(Clone, Debug)]
pub(super) struct Double {
    pub conv1: Convolution,
    pub conv2: Convolution,
}

/// 3x3 with reflection padding and LeakyReLU.
pub(super) const REFLECT_LEAKY: Conv2d =
    Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::LeakyRelu };
/// Without activation.
pub(super) const REFLECT_LINEAR: Conv2d =
    Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::Identity };
/// The heads' convolution.
pub(super) const STRIDED_LEAKY: Conv2d =
    Conv2d { padding: Padding::Zero, stride: 2, activation: Activation::LeakyRelu };

impl Double {
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let mut builder = builder.pp(name);
        Ok(Self {
            conv1: Convolution::new(&mut builder, "conv1", (inputs, outputs), 3, REFLECT_LEAKY)?,
            conv2: Convolution::new(&mut builder, "conv2", (outputs, outputs), 3, REFLECT_LEAKY)?,
        })
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.conv2.forward(&self.conv1.forward(x, mode)?, mode)
    }

    /// Of `coarse`, upsampled by two, beside `skip`.
    pub fn forward_joint(&self, coarse: &Tensor, skip: &Tensor, mode: Mode) -> Result<Tensor> {
        let Convolution { weight, bias, kind } = &self.conv1;
        let joint = kind.apply_upsampled((coarse, skip), &mode.of(weight), &mode.of(bias))?;
        self.conv2.forward(&joint, mode)
    }
}

/// y = x W^T + b.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub weight: Var,
    pub bias: Var,
}

impl Linear {
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let mut builder = builder.pp(name);
        let bound = 1.0 / (inputs as f64).sqrt();
        Ok(Self {
            weight: builder.uniform("weight", (outputs, inputs), bound)?,
            bias: builder.uniform("bias", outputs, bound)?,
        })
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let layer = candle_nn::Linear::new(mode.of(&self.weight), Some(mode.of(&self.bias)));
        Ok(layer.forward(x)?)
    }

    pub fn zero(&self) -> Result<()> {
        set_zero(&self.weight)?;
        set_zero(&self.bias)
    }
}
