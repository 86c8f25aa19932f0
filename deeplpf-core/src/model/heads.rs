//! The heads that turn features and an image into filter parameters.

use candle_core::Tensor;

use super::{
    Mode,
    backbone::{Backbone, BackboneOutput},
    layers::{Convolution, Linear, REFLECT_LINEAR, STRIDED_LEAKY},
};
use crate::{
    ModelConfig, Result,
    ops::{max_pool::max_pool2, resize::bilinear_resize},
    parameters::Builder,
    random::{Generator, Purpose},
};

/// What all heads see, at the heads' size.
///
/// The release resizes 61 features and an image. Both Y1 and the features are one 3x3 convolution
/// of the backbone's image, so they are linear in its resized patches, and a head's first convolution
/// of them is a convolution of the 28 patch channels with the product of the two layers' weights.
/// The features themselves are made only for the fix `wiring`, which adds to them.
pub(super) struct HeadInput {
    patches: Tensor,
    /// (features, 28).
    weights: Tensor,
    /// Y1, the features and what `wiring` adds: (N, features, size, size) each.
    wired: Option<[Tensor; 2]>,
    size: usize,
}

/// What one head sees beside the features.
pub(super) struct HeadView<'a> {
    input: &'a HeadInput,
    /// The resized image; `None` for Y1.
    image: Option<Tensor>,
}

impl HeadInput {
    pub fn new(
        config: &ModelConfig,
        out: &BackboneOutput,
        backbone: &Backbone,
        mode: Mode,
    ) -> Result<Self> {
        let size = config.head_size;
        let patches = backbone.patches(out, size)?;
        let weights = backbone.feature_weights(mode)?;
        let wired = match backbone.wired(out, size, mode)? {
            None => None,
            Some(wired) => {
                let pointwise = weights.unsqueeze(2)?.unsqueeze(3)?;
                let none = Tensor::zeros(weights.dim(0)?, weights.dtype(), weights.device())?;
                Some([REFLECT_LINEAR.apply(&patches, &pointwise, &none)?, wired])
            }
        };
        Ok(Self { patches, weights, wired, size })
    }

    /// With Y1.
    pub fn with_backbone_image(&self) -> HeadView<'_> {
        HeadView { input: self, image: None }
    }

    /// With another image (N, 3, H, W).
    pub fn with_image(&self, image: &Tensor) -> Result<HeadView<'_>> {
        let image = bilinear_resize(image, self.size, self.size)?;
        Ok(HeadView { input: self, image: Some(image) })
    }
}

impl HeadView<'_> {
    /// A head's first layer.
    fn convolve(&self, layer: &Convolution, mode: Mode) -> Result<Tensor> {
        let (weight, bias) = (mode.of(&layer.weight), mode.of(&layer.bias));
        let channels = self.input.weights.dim(0)?;
        if let Some([features, wired]) = &self.input.wired {
            let image = match &self.image {
                Some(image) => image.clone(),
                None => features.narrow(1, 0, 3)?,
            };
            let input = Tensor::cat(&[&features.narrow(1, 3, channels - 3)?, &image], 1)?;
            return Ok(layer.kind.apply(&(input + wired)?, &weight, &bias)?);
        }
        // The head reads the features first and the image last.
        let rows = |first, count| self.input.weights.narrow(0, first, count);
        let patches = &self.input.patches;
        match &self.image {
            None => {
                let rows = Tensor::cat(&[rows(3, channels - 3)?, rows(0, 3)?], 0)?;
                Ok(layer.kind.apply(patches, &compose(&weight, &rows)?, &bias)?)
            }
            Some(image) => {
                let features = weight.narrow(1, 0, channels - 3)?;
                let composed = compose(&features, &rows(3, channels - 3)?)?;
                let weight = Tensor::cat(&[composed, weight.narrow(1, channels - 3, 3)?], 1)?;
                Ok(layer.kind.apply_pair((patches, image), &weight, &bias)?)
            }
        }
    }
}

/// Weights (O, C, K, K) of a convolution after the pointwise product with `rows` (C, D):
/// (O, D, K, K), sum over c of weight[o, c, i, j] rows[c, d].
fn compose(weight: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let (outputs, channels, kernel, _) = weight.dims4()?;
    let flat = weight.permute((0, 2, 3, 1))?.contiguous()?;
    let product = flat.reshape((outputs * kernel * kernel, channels))?.matmul(rows)?;
    let product = product.reshape((outputs, kernel, kernel, rows.dim(1)?))?;
    Ok(product.permute((0, 3, 1, 2))?.contiguous()?)
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
        input: &HeadView<'_>,
        mode: Mode,
        stream: u64,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mut x = input.convolve(&self.convolutions[0], mode)?;
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
