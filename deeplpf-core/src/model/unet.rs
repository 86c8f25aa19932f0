//! The U-Net of the paper (Ronneberger et al., MICCAI 2015, arXiv 1505.04597), up to its finest
//! feature map; under the release's names.

use candle_core::{Tensor, Var};

use super::{
    Mode,
    layers::{Convolution, Double, REFLECT_LINEAR},
};
use crate::{
    Fix, ModelConfig, Result,
    ops::{max_pool::max_pool2, resize::bilinear_resize},
    parameters::Builder,
};

/// The three finest encoder levels.
pub(super) type Encoder = [Tensor; 3];

/// The encoder projections of the fix `wiring` and the scalar that opens them.
#[derive(Clone, Debug)]
struct Wiring {
    projections: [Convolution; 3],
    gate: Option<Var>,
}

/// Five levels down by pooling, four up by doubling.
#[derive(Clone, Debug)]
pub(super) struct Unet {
    down: [Double; 5],
    up_projections: [Convolution; 4],
    up: [Double; 4],
    wiring: Wiring,
}

impl Unet {
    pub fn new(config: &ModelConfig, unet: &mut Builder<'_>) -> Result<Self> {
        let [w1, w2, w3, w4, w5] = config.widths;
        let features = config.features;
        let down = [
            Double::new(unet, "dconv_down1", (config.input.channels(), w1))?,
            Double::new(unet, "dconv_down2", (w1, w2))?,
            Double::new(unet, "dconv_down3", (w2, w3))?,
            Double::new(unet, "dconv_down4", (w3, w4))?,
            Double::new(unet, "dconv_down5", (w4, w5))?,
        ];
        let mut projection = |name: &str, width: usize| {
            Convolution::new(unet, name, (width, width), 1, REFLECT_LINEAR)
        };
        let up_projections = [
            projection("up_conv1x1_1", w5)?,
            projection("up_conv1x1_2", w4)?,
            projection("up_conv1x1_3", w3)?,
            projection("up_conv1x1_4", w2)?,
        ];
        // Named from the finest level, as in the release: dconv_up4 is the coarsest.
        let up = [
            Double::new(unet, "dconv_up4", (w5 + w4, w4))?,
            Double::new(unet, "dconv_up3", (w4 + w3, w3))?,
            Double::new(unet, "dconv_up2", (w3 + w2, w2))?,
            Double::new(unet, "dconv_up1", (w2 + w1, w1))?,
        ];
        let mut encoder = |name: &str, width: usize| {
            Convolution::new(unet, name, (width, features), 1, REFLECT_LINEAR)
        };
        let projections = [encoder("conv1", w1)?, encoder("conv2", w2)?, encoder("conv3", w3)?];
        // Stored in every checkpoint of the release and never called.
        Double::new(unet, "local_net", (w1, features))?;
        let gate =
            config.fixes.contains(Fix::Wiring).then(|| unet.zeros("wiring_gate", 1)).transpose()?;
        let wiring = Wiring { projections, gate };
        Ok(Self { down, up_projections, up, wiring })
    }

    /// The finest feature map of x, (N, w1, H, W), and what the fix `wiring` reads, if it is on.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<(Tensor, Option<Encoder>)> {
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
        Ok((level, encoder))
    }

    /// Sum of the encoder's projections, resized to `size` and times the gate: (N, features, size,
    /// size); `None` without the fix `wiring`.
    pub fn wired(&self, encoder: &Encoder, size: usize, mode: Mode) -> Result<Option<Tensor>> {
        let Some(gate) = &self.wiring.gate else {
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
}
