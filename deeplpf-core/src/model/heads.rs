//! The heads that turn features and an image into filter parameters.

use candle_core::Tensor;

use super::{
    Mode,
    layers::{Convolution, Linear, STRIDED_LEAKY},
    unet::{Backbone, BackboneOutput},
};
use crate::{
    ModelConfig, Result,
    ops::{max_pool::max_pool2, resize::bilinear_resize},
    parameters::Builder,
    random::{Generator, Purpose},
};

/// The part of the heads' input they share, resized once: the features (and the encoder
/// projections of the fix `wiring`). Resizing is done per channel, so it commutes with the
/// concatenation the release does before it.
pub(super) struct HeadInput {
    features: Tensor,
    wired: Option<Tensor>,
    size: usize,
}

impl HeadInput {
    pub fn new(
        config: &ModelConfig,
        out: &BackboneOutput,
        backbone: &Backbone,
        mode: Mode,
    ) -> Result<Self> {
        let size = config.head_size;
        let wired = backbone.wired(out, size, mode)?;
        Ok(Self {
            features: bilinear_resize(&backbone.features(out, mode)?, size, size)?,
            wired,
            size,
        })
    }

    /// The input of one head: (N, features, size, size).
    pub fn with_image(&self, image: &Tensor) -> Result<Tensor> {
        let image = bilinear_resize(image, self.size, self.size)?;
        let input = Tensor::cat(&[&self.features, &image], 1)?;
        Ok(match &self.wired {
            Some(wired) => (input + wired)?,
            None => input,
        })
    }
}

/// Four strided convolutions with pooling between them, a global mean, dropout and a linear layer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    convolutions: [Convolution; 4],
    output: Linear,
    gates: Option<Linear>,
    dropout: f64,
}

impl Head {
    /// The head `name` ("cubic", "graduated", "elliptical", "colour") with that many outputs and
    /// gates.
    pub fn new(
        config: &ModelConfig,
        builder: &mut Builder<'_>,
        name: &str,
        outputs: usize,
        gates: usize,
    ) -> Result<Self> {
        let mut builder = builder.pp(&format!("{name}_filter"));
        let width = config.head_width;
        let mut convolution = |layer: usize, inputs: usize| {
            let mut builder = builder.pp(&format!("{name}_layer{layer}"));
            Convolution::new(&mut builder, "conv", (inputs, width), 3, STRIDED_LEAKY)
        };
        let convolutions = [
            convolution(1, config.features)?,
            convolution(3, width)?,
            convolution(5, width)?,
            convolution(7, width)?,
        ];
        let output = Linear::new(&mut builder, &format!("fc_{name}"), (width, outputs))?;
        let gates = (gates > 0)
            .then(|| Linear::new(&mut builder, "fc_gates", (width, gates)))
            .transpose()?;
        Ok(Self { convolutions, output, gates, dropout: config.dropout })
    }

    /// Raw parameters (N, outputs) and, if the head has them, raw gates (N, gates). `stream` keeps
    /// the heads' dropout masks apart.
    pub fn forward(
        &self,
        input: &Tensor,
        mode: Mode,
        stream: u64,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mut x = self.convolutions[0].forward(input, mode)?;
        for convolution in &self.convolutions[1..] {
            x = convolution.forward(&max_pool2(&x)?, mode)?;
        }
        let mut pooled = x.mean((2, 3))?;
        if let Mode::Train { seed, step } = mode
            && self.dropout > 0.0
        {
            pooled = dropout(&pooled, self.dropout, seed, step * 4 + stream)?;
        }
        let gates = self.gates.as_ref().map(|gates| gates.forward(&pooled, mode)).transpose()?;
        Ok((self.output.forward(&pooled, mode)?, gates))
    }

    pub fn zero_output(&self) -> Result<()> {
        self.output.zero()
    }

    /// Zeroes the output but for the biases of its first numbers.
    pub fn start_with(&self, first: &[f64]) -> Result<()> {
        self.output.zero()?;
        let bias = &self.output.bias;
        let mut values = first.to_vec();
        values.resize(bias.elem_count(), 0.0);
        bias.set(&Tensor::from_vec(values, bias.shape(), bias.device())?.to_dtype(bias.dtype())?)?;
        Ok(())
    }

    pub fn zero_gates(&self) -> Result<()> {
        self.gates.as_ref().map_or(Ok(()), Linear::zero)
    }
}

/// Zeroes entries with the given probability and scales the rest by 1 / (1 - probability).
fn dropout(x: &Tensor, probability: f64, seed: u64, stream: u64) -> Result<Tensor> {
    let mut generator = Generator::new(seed, Purpose::Dropout, stream);
    let keep = 1.0 / (1.0 - probability);
    let mask: Vec<f64> = (0..x.elem_count())
        .map(|_| if generator.bernoulli(probability) { 0.0 } else { keep })
        .collect();
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    Ok((x * mask)?)
}
