//! The plain weights of a model, read once and folded in double precision.

use candle_core::DType;

use super::Heads;
use super::backbone::{BackboneWeights, BodyWeights, UnetWeights};
use super::head::{Head, Linear};
use super::head_input::Channels;
use super::packed::Weights;
use crate::{BackboneKind, CoreError, Model, Result};

/// Weights by part of the network, under the release's names.
pub(super) struct ModelWeights {
    pub backbone: BackboneWeights,
    /// From the backbone's image to Y1 and the features.
    pub features: Weights,
    colour: Option<HeadWeights>,
    polynomial: Option<HeadWeights>,
    graduated: Option<HeadWeights>,
    elliptical: Option<HeadWeights>,
    /// Encoder projections of the fix `wiring`, and the gate before them.
    projections: Vec<Weights>,
    gate: f64,
}

struct HeadWeights {
    convolutions: [Weights; 4],
    output: (Vec<f64>, Vec<f64>),
    gates: Option<(Vec<f64>, Vec<f64>)>,
}

impl ModelWeights {
    pub fn read(model: &Model) -> Result<Self> {
        let reader = Reader { model };
        let projection =
            |number: u32| reader.convolution(&format!("backbonenet.unet.conv{number}"));
        let wiring_gate = "backbonenet.unet.wiring_gate";
        let wired = model.parameters().get(wiring_gate).is_some();
        Ok(Self {
            backbone: reader.backbone()?,
            features: reader.convolution("backbonenet.final_conv")?,
            colour: reader.head("colour")?,
            polynomial: reader.head("cubic")?,
            graduated: reader.head("graduated")?,
            elliptical: reader.head("elliptical")?,
            projections: if wired {
                vec![projection(1)?, projection(2)?, projection(3)?]
            } else {
                Vec::new()
            },
            gate: if wired { reader.numbers(wiring_gate)?[0] } else { 0.0 },
        })
    }

    pub fn has_heads(&self) -> bool {
        [&self.colour, &self.polynomial, &self.graduated, &self.elliptical]
            .into_iter()
            .any(Option::is_some)
    }

    /// The heads, composed with what stands before them.
    pub(super) fn heads(&self, channels: &Channels, lanes: usize) -> Heads {
        let head = |weights: &Option<HeadWeights>| {
            let weights = weights.as_ref()?;
            let mut convolutions = weights.convolutions.clone();
            convolutions[0] =
                channels.compose(&convolutions[0], &self.features, &self.projections, self.gate);
            let linear = |(weights, bias): &(Vec<f64>, Vec<f64>)| Linear {
                weights: weights.clone(),
                bias: bias.clone(),
            };
            let gates = weights.gates.as_ref().map(linear);
            Some(Head::new(&convolutions, linear(&weights.output), gates, lanes))
        };
        Heads {
            colour: head(&self.colour),
            polynomial: head(&self.polynomial),
            graduated: head(&self.graduated),
            elliptical: head(&self.elliptical),
        }
    }
}

struct Reader<'a> {
    model: &'a Model,
}

impl Reader<'_> {
    fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let parameter = self.model.parameters().get(name).ok_or_else(|| {
            CoreError::Config(format!("the model has no parameter called {name}"))
        })?;
        Ok(parameter.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    }

    fn convolution(&self, name: &str) -> Result<Weights> {
        let weight = format!("{name}.weight");
        let values = self.numbers(&weight)?;
        let dims = self.model.parameters().get(&weight).map(|weight| weight.dims4()).transpose()?;
        let (outputs, inputs, taps_y, taps_x) = dims.unwrap_or_default();
        let bias = self.numbers(&format!("{name}.bias"))?;
        Ok(Weights { outputs, inputs, taps_y, taps_x, values, bias })
    }

    fn backbone(&self) -> Result<BackboneWeights> {
        let config = self.model.config();
        let layer = |name: &str| {
            self.convolution(&format!("backbonenet.{}.{name}", config.backbone.name()))
        };
        let double = |name: &str| -> Result<[Weights; 2]> {
            Ok([layer(&format!("{name}.conv1"))?, layer(&format!("{name}.conv2"))?])
        };
        let body = match config.backbone {
            BackboneKind::ResNet => BodyWeights::ResNet {
                first: layer("conv_first")?,
                blocks: (1..=config.blocks)
                    .map(|block| double(&format!("block{block}")))
                    .collect::<Result<_>>()?,
            },
            BackboneKind::Unet => BodyWeights::Unet(UnetWeights {
                down: [
                    double("dconv_down1")?,
                    double("dconv_down2")?,
                    double("dconv_down3")?,
                    double("dconv_down4")?,
                    double("dconv_down5")?,
                ],
                // The release numbers them from the coarsest level.
                projections: [
                    layer("up_conv1x1_4")?,
                    layer("up_conv1x1_3")?,
                    layer("up_conv1x1_2")?,
                    layer("up_conv1x1_1")?,
                ],
                up: [
                    double("dconv_up1")?,
                    double("dconv_up2")?,
                    double("dconv_up3")?,
                    double("dconv_up4")?,
                ],
            }),
        };
        Ok(BackboneWeights { body, last: double("conv_last")? })
    }

    fn linear(&self, name: &str) -> Result<(Vec<f64>, Vec<f64>)> {
        Ok((self.numbers(&format!("{name}.weight"))?, self.numbers(&format!("{name}.bias"))?))
    }

    /// The head called `name`, if the model has it.
    fn head(&self, name: &str) -> Result<Option<HeadWeights>> {
        let prefix = format!("deeplpfnet.{name}_filter");
        let has =
            |part: &str| self.model.parameters().get(&format!("{prefix}.{part}.weight")).is_some();
        if !has(&format!("fc_{name}")) {
            return Ok(None);
        }
        let convolution =
            |layer: usize| self.convolution(&format!("{prefix}.{name}_layer{layer}.conv"));
        let gates = has("fc_gates").then(|| self.linear(&format!("{prefix}.fc_gates")));
        Ok(Some(HeadWeights {
            convolutions: [convolution(1)?, convolution(3)?, convolution(5)?, convolution(7)?],
            output: self.linear(&format!("{prefix}.fc_{name}"))?,
            gates: gates.transpose()?,
        }))
    }
}
