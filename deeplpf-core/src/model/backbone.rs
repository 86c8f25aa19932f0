//! The backbone: a U-Net or a residual network with a long skip from its input, then one convolution
//! that yields the image Y1 and the features the heads read.
//!
//! A packed mosaic of 4 or 9 channels goes through it at its own size. The last layer then has
//! 3 s^2 channels, which a pixel shuffle (Shi et al., CVPR 2016; PyTorch's order: channel c s^2 + i s +
//! j is row i, column j of colour c) turns into three at s times the size, and the long skip carries
//! the mean of each colour's channels, every pixel repeated s x s times. From there on all is as for
//! a photograph. Neither the paper nor the release says how they do this: see `docs/src/math`.

use candle_core::Tensor;
use candle_nn::ops::pixel_shuffle;

use super::{
    Mode,
    layers::{Convolution, Double, REFLECT_LINEAR, set_zero},
    resnet::ResNet,
    unet::{Encoder, Unet},
};
use crate::{
    BackboneKind, Input, ModelConfig, Result, ops::patches::resized_patches, parameters::Builder,
};

/// What the backbone hands on.
pub(super) struct BackboneOutput {
    /// Y1: (N, 3, H, W).
    pub image: Tensor,
    /// The body's image, (N, 3, H, W), which the features are a convolution of.
    residual: Tensor,
    /// What the fix `wiring` reads.
    encoder: Option<Encoder>,
}

/// What makes the finest feature map.
#[expect(clippy::large_enum_variant, reason = "a model has one")]
#[derive(Clone, Debug)]
enum Body {
    Unet(Unet),
    ResNet(ResNet),
}

/// Body, last layers and final convolution.
#[derive(Clone, Debug)]
pub(super) struct Backbone {
    input: Input,
    body: Body,
    last: Double,
    final_conv: Convolution,
}

impl Backbone {
    pub fn new(config: &ModelConfig, builder: &mut Builder<'_>) -> Result<Self> {
        let mut names = builder.pp(config.backbone.name());
        let (body, width) = match config.backbone {
            BackboneKind::Unet => (Body::Unet(Unet::new(config, &mut names)?), config.widths[0]),
            BackboneKind::ResNet => {
                (Body::ResNet(ResNet::new(config, &mut names)?), config.block_width)
            }
        };
        let last = Double::new(&mut names, "conv_last", (width, config.input.shuffled_channels()))?;
        let features = (3, config.features);
        let final_conv = Convolution::new(builder, "final_conv", features, 3, REFLECT_LINEAR)?;
        Ok(Self { input: config.input, body, last, final_conv })
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<BackboneOutput> {
        let (finest, encoder) = match &self.body {
            Body::Unet(unet) => unet.forward(x, mode)?,
            Body::ResNet(resnet) => (resnet.forward(x, mode)?, None),
        };
        let last = self.last.forward(&finest, mode)?;
        let residual = match self.input {
            Input::Rgb => (last + x)?,
            packed => (pixel_shuffle(&last, packed.scale())? + picture_of(x, packed)?)?,
        };
        let image = self.final_conv.forward_outputs(&residual, 0..3, mode)?;
        Ok(BackboneOutput { image, residual, encoder })
    }

    /// The 3x3 patches of the body's image at `size` x `size` and a channel of ones: (N, 28, size,
    /// size). Y1 and the features, resized, are [`Backbone::feature_weights`] times them.
    pub fn patches(&self, out: &BackboneOutput, size: usize) -> Result<Tensor> {
        Ok(resized_patches(&out.residual, size, size)?)
    }

    /// The final convolution as a matrix, bias last: (features, 28), rows 0..3 for Y1.
    pub fn feature_weights(&self, mode: Mode) -> Result<Tensor> {
        let (weight, bias) = (mode.of(&self.final_conv.weight), mode.of(&self.final_conv.bias));
        Ok(Tensor::cat(&[&weight.flatten_from(1)?, &bias.unsqueeze(1)?], 1)?)
    }

    /// See [`Unet::wired`]; `None` for other bodies.
    pub fn wired(&self, out: &BackboneOutput, size: usize, mode: Mode) -> Result<Option<Tensor>> {
        match (&self.body, &out.encoder) {
            (Body::Unet(unet), Some(encoder)) => unet.wired(encoder, size, mode),
            _ => Ok(None),
        }
    }

    /// Y1 = `gain` x at the start.
    pub fn start_at_identity(&self, gain: f64) -> Result<()> {
        set_zero(&self.last.conv2.weight)?;
        set_zero(&self.last.conv2.bias)?;
        let (weight, bias) = (&self.final_conv.weight, &self.final_conv.bias);
        let features = weight.dim(0)?;
        let mut image = vec![0.0f64; 3 * 3 * 9];
        for channel in 0..3 {
            // Centre of the 3x3 kernel from input channel to the same output channel.
            image[(channel * 3 + channel) * 9 + 4] = gain;
        }
        let image =
            Tensor::from_vec(image, (3, 3, 3, 3), weight.device())?.to_dtype(weight.dtype())?;
        let rest = weight.narrow(0, 3, features - 3)?;
        weight.set(&Tensor::cat(&[image, rest.copy()?], 0)?)?;
        let zeros = bias.narrow(0, 0, 3)?.zeros_like()?;
        bias.set(&Tensor::cat(&[zeros, bias.narrow(0, 3, features - 3)?.copy()?], 0)?)?;
        Ok(())
    }
}

/// A packed mosaic x, (N, C, H, W), as a picture (N, 3, sH, sW): the mean of each colour's channels,
/// every pixel repeated s x s times.
fn picture_of(x: &Tensor, input: Input) -> Result<Tensor> {
    let (batch, _, height, width) = x.dims4()?;
    let scale = input.scale();
    let colours = input.colours().map(|channels| -> Result<Tensor> {
        let mut sum = x.narrow(1, channels[0], 1)?;
        for &channel in &channels[1..] {
            sum = (sum + x.narrow(1, channel, 1)?)?;
        }
        Ok((sum / channels.len() as f64)?)
    });
    let [red, green, blue] = colours;
    let small = Tensor::cat(&[red?, green?, blue?], 1)?;
    let repeated = small
        .reshape((batch, 3, height, 1, width, 1))?
        .broadcast_as((batch, 3, height, scale, width, scale))?;
    Ok(repeated.contiguous()?.reshape((batch, 3, scale * height, scale * width))?)
}
