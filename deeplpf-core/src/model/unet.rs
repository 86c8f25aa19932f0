//! The backbone: a U-Net with a long skip from its input, then one convolution that yields the
//! image Y1 and the features the heads read.
//!
//! A packed mosaic of 4 or 9 channels goes through the U-Net at its own size. The last layer then has
//! 3 s^2 channels, which a pixel shuffle (Shi et al., CVPR 2016; PyTorch's order: channel c s^2 + i s +
//! j is row i, column j of colour c) turns into three at s times the size, and the long skip carries
//! the mean of each colour's channels, every pixel repeated s x s times. From there on all is as for
//! a photograph. Neither the paper nor the release says how they do this: see `docs/src/math`.

use candle_core::{Tensor, Var};
use candle_nn::ops::pixel_shuffle;

use super::{
    Mode,
    layers::{Convolution, Double, REFLECT_LINEAR, set_zero},
};
use crate::{
    Fix, Input, ModelConfig, Result,
    ops::{max_pool::max_pool2, patches::resized_patches, resize::bilinear_resize},
    parameters::Builder,
};

/// What the backbone hands on.
pub(super) struct BackboneOutput {
    /// Y1: (N, 3, H, W).
    pub image: Tensor,
    /// The U-Net's image, (N, 3, H, W), which the features are a convolution of.
    residual: Tensor,
    /// The three finest encoder levels, kept only for the fix `wiring`.
    encoder: Option<[Tensor; 3]>,
}

/// The encoder projections of the fix `wiring` and the scalar that opens them.
#[derive(Clone, Debug)]
struct Wiring {
    projections: [Convolution; 3],
    gate: Option<Var>,
}

/// U-Net and final convolution, under the release's names.
#[derive(Clone, Debug)]
pub(super) struct Backbone {
    input: Input,
    down: [Double; 5],
    up_projections: [Convolution; 4],
    up: [Double; 4],
    last: Double,
    final_conv: Convolution,
    wiring: Wiring,
}

impl Backbone {
    pub fn new(config: &ModelConfig, builder: &mut Builder<'_>) -> Result<Self> {
        let [w1, w2, w3, w4, w5] = config.widths;
        let features = config.features;
        let mut unet = builder.pp("unet");
        let down = [
            Double::new(&mut unet, "dconv_down1", (config.input.channels(), w1))?,
            Double::new(&mut unet, "dconv_down2", (w1, w2))?,
            Double::new(&mut unet, "dconv_down3", (w2, w3))?,
            Double::new(&mut unet, "dconv_down4", (w3, w4))?,
            Double::new(&mut unet, "dconv_down5", (w4, w5))?,
        ];
        let mut projection = |name: &str, width: usize| {
            Convolution::new(&mut unet, name, (width, width), 1, REFLECT_LINEAR)
        };
        let up_projections = [
            projection("up_conv1x1_1", w5)?,
            projection("up_conv1x1_2", w4)?,
            projection("up_conv1x1_3", w3)?,
            projection("up_conv1x1_4", w2)?,
        ];
        // Named from the finest level, as in the release: dconv_up4 is the coarsest.
        let up = [
            Double::new(&mut unet, "dconv_up4", (w5 + w4, w4))?,
            Double::new(&mut unet, "dconv_up3", (w4 + w3, w3))?,
            Double::new(&mut unet, "dconv_up2", (w3 + w2, w2))?,
            Double::new(&mut unet, "dconv_up1", (w2 + w1, w1))?,
        ];
        let last = Double::new(&mut unet, "conv_last", (w1, config.input.shuffled_channels()))?;
        let mut encoder = |name: &str, width: usize| {
            Convolution::new(&mut unet, name, (width, features), 1, REFLECT_LINEAR)
        };
        let projections = [encoder("conv1", w1)?, encoder("conv2", w2)?, encoder("conv3", w3)?];
        // Stored in every checkpoint of the release and never called.
        Double::new(&mut unet, "local_net", (w1, features))?;
        let gate =
            config.fixes.contains(Fix::Wiring).then(|| unet.zeros("wiring_gate", 1)).transpose()?;
        let final_conv = Convolution::new(builder, "final_conv", (3, features), 3, REFLECT_LINEAR)?;
        let wiring = Wiring { projections, gate };
        let input = config.input;
        Ok(Self { input, down, up_projections, up, last, final_conv, wiring })
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<BackboneOutput> {
        let mut skips: Vec<Tensor> = Vec::with_capacity(4);
        let mut level = self.down[0].forward(x, mode)?;
        for down in &self.down[1..] {
            let pooled = max_pool2(&level)?;
            skips.push(level);
            level = down.forward(&pooled, mode)?;
        }
        let encoder = (self.wiring.gate.is_some())
            .then(|| [skips[0].clone(), skips[1].clone(), skips[2].clone()]);
        for ((projection, up), skip) in
            self.up_projections.iter().zip(&self.up).zip(skips.into_iter().rev())
        {
            // The release upsamples first; a 1x1 convolution commutes with copying pixels, and
            // the zero border is added after both.
            let projected = projection.forward(&level, mode)?;
            level = up.forward_joint(&projected, &skip, mode)?;
        }
        let last = self.last.forward(&level, mode)?;
        let residual = match self.input {
            Input::Rgb => (last + x)?,
            packed => (pixel_shuffle(&last, packed.scale())? + picture_of(x, packed)?)?,
        };
        let image = self.final_conv.forward_outputs(&residual, 0..3, mode)?;
        Ok(BackboneOutput { image, residual, encoder })
    }

    /// The 3x3 patches of the U-Net's image at `size` x `size` and a channel of ones: (N, 28, size,
    /// size). Y1 and the features, resized, are [`Backbone::feature_weights`] times them.
    pub fn patches(&self, out: &BackboneOutput, size: usize) -> Result<Tensor> {
        Ok(resized_patches(&out.residual, size, size)?)
    }

    /// The final convolution as a matrix, bias last: (features, 28), rows 0..3 for Y1.
    pub fn feature_weights(&self, mode: Mode) -> Result<Tensor> {
        let (weight, bias) = (mode.of(&self.final_conv.weight), mode.of(&self.final_conv.bias));
        Ok(Tensor::cat(&[&weight.flatten_from(1)?, &bias.unsqueeze(1)?], 1)?)
    }

    /// Sum of the encoder's projections, resized to `size` and times the gate: (N, features, size,
    /// size); `None` without the fix `wiring`.
    pub fn wired(&self, out: &BackboneOutput, size: usize, mode: Mode) -> Result<Option<Tensor>> {
        let (Some(gate), Some(encoder)) = (&self.wiring.gate, &out.encoder) else {
            return Ok(None);
        };
        // A 1x1 convolution commutes with the resize, whose weights sum to one.
        let project = |level: usize| {
            let resized = bilinear_resize(&encoder[level], size, size)?;
            self.wiring.projections[level].forward(&resized, mode)
        };
        let sum = ((project(0)? + project(1)?)? + project(2)?)?;
        Ok(Some(sum.broadcast_mul(&mode.of(gate).reshape((1, 1, 1, 1))?)?))
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
