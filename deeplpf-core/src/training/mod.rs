//! A training step on the CPU as one straight program: forward, loss and backward on plain memory.
//!
//! The same formulas as [`Model::forward`], [`loss()`](crate::loss()) and candle's `backward`, which
//! stay the reference and the way for everything that wants a graph. What the program spares is the
//! graph: nothing is allocated once the first step of a size is done, nothing is cleared, the first
//! gradient to reach a place is stored and not added to zeros, and heads that see the same image share
//! the first layer's pass over it.
//!
//! The bits depend on the seed, the step and the images, not on the number of threads. They differ
//! from candle's by rounding, because sums are formed in another order.

mod backbone;
mod head_input;
mod heads;
mod layers;
mod pool;
mod program;
mod resnet;
#[cfg(test)]
mod tests;
mod unet;

use std::{collections::BTreeMap, fmt};

use candle_core::{DType, Tensor};

use crate::{CoreError, LossConfig, Model, Result, ops::with_elements};
use program::Program;

/// Everything a step is computed with but parameters and images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSettings {
    /// Weights of the loss.
    pub loss: LossConfig,
    /// Weight of the mean gate in the loss; without effect in a model without gates.
    pub gate: f64,
    /// Seed of dropout.
    pub seed: u64,
    /// Number of the step, which dropout masks depend on.
    pub step: u64,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// The loss with all its terms.
    pub total: f64,
    /// Mean absolute difference in scaled CIELAB, unweighted.
    pub lab: f64,
    /// MS-SSIM of the luminance, mean over the images.
    pub ms_ssim: f64,
}

/// Loss and gradients of a model on the CPU, batch by batch.
#[derive(Clone)]
pub struct TrainingStep(Numbers);

#[derive(Clone)]
enum Numbers {
    Single(Box<Program<f32>>),
    Double(Box<Program<f64>>),
}

impl fmt::Debug for TrainingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainingStep").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl TrainingStep {
    /// A step for models of this configuration, f32 or f64.
    ///
    /// # Errors
    /// A model on another device than the CPU or of another type.
    pub fn new(model: &Model) -> Result<Self> {
        let parameters = model.parameters();
        if !parameters.device().is_cpu() {
            return Err(CoreError::Config("this training step runs on the CPU only".into()));
        }
        Ok(Self(match parameters.dtype() {
            DType::F32 => Numbers::Single(Box::new(Program::new(model)?)),
            DType::F64 => Numbers::Double(Box::new(Program::new(model)?)),
            other => {
                let reason = format!("training runs in f32 and f64, not {other:?}");
                return Err(CoreError::Config(reason));
            }
        }))
    }

    /// Whether this step is one for `model`: of its configuration and type.
    pub fn fits(&self, model: &Model) -> bool {
        let (config, dtype) = match &self.0 {
            Numbers::Single(program) => (program.config(), DType::F32),
            Numbers::Double(program) => (program.config(), DType::F64),
        };
        model.config() == config && model.parameters().dtype() == dtype
    }

    /// Loss and gradients of the parameters as they are: input (N, 3, H, W), or a packed mosaic as
    /// [`Model::forward`] takes it, target (N, 3, sH, sW); see [`TrainingStep::gradients`]. The output
    /// is clamped to [0, 1] before the loss. If the loss is not a finite number, there are no new
    /// gradients.
    ///
    /// # Errors
    /// A wrong shape, or filter parameters that are not finite ([`CoreError::NotFinite`]).
    pub fn run(
        &mut self,
        model: &Model,
        input: &Tensor,
        target: &Tensor,
        settings: &StepSettings,
    ) -> Result<StepLoss> {
        fn run<T: program::Number>(
            program: &mut Program<T>,
            model: &Model,
            input: &Tensor,
            target: &Tensor,
            settings: &StepSettings,
        ) -> Result<StepLoss> {
            let size = program.check(input.dims(), target.dims())?;
            program.read_parameters(model)?;
            let mut result = None;
            with_elements::<T, _>(input, |input| {
                with_elements::<T, _>(target, |target| {
                    // Inside the pool, so that every parallel loop starts without waking it.
                    let mut step = || program.run((input, target), size, settings);
                    result = Some(rayon::scope(|_| step()));
                    Ok(())
                })
            })?;
            result.unwrap_or(Err(CoreError::NotFinite))
        }
        match &mut self.0 {
            Numbers::Single(program) => run(program, model, input, target, settings),
            Numbers::Double(program) => run(program, model, input, target, settings),
        }
    }

    /// Name and gradient of every parameter that has one, after the last [`TrainingStep::run`].
    ///
    /// # Errors
    /// None that the gradients could cause.
    pub fn gradients(&self) -> Result<BTreeMap<String, Tensor>> {
        match &self.0 {
            Numbers::Single(program) => program.gradients(),
            Numbers::Double(program) => program.gradients(),
        }
    }

    /// Bytes held between steps: parameters, gradients and all buffers.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Numbers::Single(program) => program.memory(),
            Numbers::Double(program) => program.memory(),
        }
    }
}
