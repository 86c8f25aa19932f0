//! What a training is given, and what it says.

use std::collections::BTreeMap;

use candle_core::Tensor as CandleTensor;

use super::super::{Execution, Precision};
use crate::LossConfig;

/// Everything a training step is computed with but the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingOptions {
    /// Weights of the loss.
    pub loss: LossConfig,
    /// Weight of the mean gate in the loss; without effect in a model without gates.
    pub gate: f64,
    /// Adam's step size; [`Training::set_learning_rate`] changes it.
    pub learning_rate: f64,
    /// Decay of Adam's first moment.
    pub beta1: f64,
    /// Decay of Adam's second moment.
    pub beta2: f64,
    /// Added to the root of Adam's second moment.
    pub epsilon: f64,
    /// Most that the L2 norm of the whole gradient may be; a larger one is scaled down to it. 0: no
    /// limit.
    pub clip_norm: f64,
    /// Times the learning rate for the backbone; 0 freezes it.
    pub backbone_rate: f64,
    /// Times the learning rate for the heads; 0 freezes them.
    pub heads_rate: f64,
    /// Largest loss; a step above it changes nothing.
    pub max_loss: f64,
    /// Decay of a moving average of the parameters, which [`Training::predict`] then uses: after update
    /// t (from 1) a <- d a + (1 - d) w with d = min(this, (1 + t) / (10 + t)). 0: none.
    pub average: f64,
    /// Seed of dropout; the masks are those of the CPU for the same seed and step.
    pub seed: u64,
    /// Numbers of the convolutions.
    pub precision: Precision,
    /// One graph or launch by launch; the bits are the same.
    pub execution: Execution,
}

impl Default for TrainingOptions {
    /// The release's.
    fn default() -> Self {
        Self {
            loss: LossConfig::default(),
            gate: 0.0,
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 0.0,
            backbone_rate: 1.0,
            heads_rate: 1.0,
            max_loss: f64::INFINITY,
            average: 0.0,
            seed: 0,
            precision: Precision::Fp32,
            execution: Execution::Graph,
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 0.
    pub step: u64,
    /// The loss before the update.
    pub loss: f32,
    /// Its mean absolute difference in scaled CIELAB.
    pub lab: f32,
    /// Its MS-SSIM.
    pub ms_ssim: f32,
    /// Whether loss and gradient were finite numbers and the loss at most
    /// [`TrainingOptions::max_loss`]; if not, parameters and moments were left as they were.
    pub finite: bool,
}

/// Adam's moments by parameter name, and how many updates made them.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Updates made.
    pub updates: u64,
    /// Running means of the gradients.
    pub first: BTreeMap<String, CandleTensor>,
    /// Running means of their squares.
    pub second: BTreeMap<String, CandleTensor>,
}
