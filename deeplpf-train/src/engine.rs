//! What computes the steps of a run: the CPU's trainer itself, or a GPU that the trainer's numbers are
//! copied to and from.

use deeplpf_core::Compute;
use deeplpf_data::feed::{PlanarBatch, Prefetch};

#[cfg(feature = "cuda")]
use crate::gpu::GpuTraining;
use crate::{
    PairSource, Result, TrainConfig, TrainError, Trainer, Watch,
    distribution::Together,
    epoch::{Epochs, feed, run_steps},
    state::Progress,
    validation::{Validated, validate},
};

/// See the module.
pub(crate) enum Engine {
    /// The trainer computes, from these batches.
    Cpu(Prefetch<Result<PlanarBatch>>),
    /// A GPU computes.
    #[cfg(feature = "cuda")]
    Gpu(Box<GpuTraining>),
}

impl Engine {
    /// Goes on from what `trainer` holds. The second value is a sentence for the user, if there is
    /// something to know.
    ///
    /// # Errors
    /// A setting that the device does not have, or the device's own.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "what a GPU starts from"))]
    pub fn start(
        compute: &Compute,
        config: &TrainConfig,
        trainer: &Trainer,
        pairs: PairSource,
        progress: &Progress,
        together: &Together<'_>,
    ) -> Result<(Self, Option<String>)> {
        match compute {
            #[cfg(feature = "cuda")]
            Compute::Cuda(device) => {
                let (training, note) =
                    GpuTraining::start(device, config, trainer, pairs, progress, together)?;
                Ok((Self::Gpu(Box::new(training)), note))
            }
            _ => {
                let precision = config.precision;
                if precision != deeplpf_core::Precision::Fp32 {
                    return Err(TrainError::Device {
                        reason: format!(
                            "precision = \"{precision}\" is for a GPU, the CPU computes in fp32; \
                             drop it, or set device = \"cuda:0\""
                        ),
                    });
                }
                let share = (together.rank(), together.ranks());
                Ok((Self::Cpu(feed(config, pairs, progress, share)?), None))
            }
        }
    }

    /// Connects the engines of several ranks, which all have started theirs.
    ///
    /// # Errors
    /// A GPU that cannot be connected. All ranks have one then.
    #[cfg_attr(not(feature = "nccl"), expect(unused_variables, reason = "who is connected"))]
    pub fn join(&mut self, together: &Together<'_>) -> Result<()> {
        match self {
            #[cfg(feature = "nccl")]
            Self::Gpu(training) if !together.is_alone() => training.join(together),
            _ => Ok(()),
        }
    }

    /// Steps of the epoch that `progress` stands in, until `until` of them are taken or `watch` stops
    /// the run. Counts them in `progress`.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn run_steps(
        &mut self,
        epochs: Epochs<'_>,
        until: u64,
        trainer: &mut Trainer,
        progress: &mut Progress,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        match self {
            Self::Cpu(feed) => run_steps(epochs, until, feed, trainer, progress, watch),
            #[cfg(feature = "cuda")]
            Self::Gpu(training) => training.run_steps(epochs, until, trainer, progress, watch),
        }
    }

    /// Mean PSNR of the weights as they are, over the pairs. `see` is shown every photograph, on the
    /// CPU with its filters.
    ///
    /// # Errors
    /// A pair that cannot be loaded, the device's own, or those of `see`.
    pub fn validate(
        &mut self,
        trainer: &Trainer,
        pairs: &PairSource,
        see: &mut dyn FnMut(&Validated<'_>) -> Result<()>,
    ) -> Result<f64> {
        match self {
            Self::Cpu(_) => validate(trainer.best_model(), pairs, see),
            #[cfg(feature = "cuda")]
            Self::Gpu(training) => training.validate(pairs, see),
        }
    }

    /// Brings weights and moments back into `trainer`, to be saved.
    ///
    /// # Errors
    /// The device's own.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "what a GPU writes to"))]
    pub fn store(&self, config: &TrainConfig, trainer: &mut Trainer) -> Result<()> {
        match self {
            Self::Cpu(_) => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Gpu(training) => training.store(config, trainer),
        }
    }
}
