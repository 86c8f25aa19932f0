//! The steps of an epoch on the CPU, from where a saved state left off.

use std::sync::{Arc, Mutex, PoisonError};

use deeplpf_data::feed::{PlanarBatch, Prefetch};

use crate::{
    Batch, PairSource, Result, TrainConfig, TrainError, Trainer,
    batch::{epoch_order, prepare},
    config::OnFailure,
    failure,
    state::{Partial, Progress},
    watch::{StepLine, Watch},
};

/// How many batches and steps an epoch has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpochLength {
    /// Batches.
    pub batches: u64,
    /// Optimiser steps, each over `data.accumulate` batches; the last one over what is left.
    pub steps: u64,
}

impl EpochLength {
    /// Of `pairs` training pairs.
    pub fn new(config: &TrainConfig, pairs: usize) -> Self {
        let batches = pairs.div_ceil(config.data.batch) as u64;
        Self { batches, steps: batches.div_ceil(config.data.accumulate as u64) }
    }
}

/// The batches of the run from where `progress` stands. They are made ahead of their use; which ones
/// they are depends on the seed and their number alone, also where steps were skipped.
pub(crate) fn feed(
    config: &TrainConfig,
    pairs: PairSource,
    progress: &Progress,
) -> Result<Prefetch<Result<PlanarBatch>>> {
    let (seed, data) = (config.seed, config.data.clone());
    let EpochLength { batches, .. } = EpochLength::new(config, pairs.len());
    let done = (progress.partial.taken * data.accumulate as u64).min(batches);
    let begin = progress.epoch * batches + done;
    let end = config.epochs * batches;
    // The order of the epoch that is being fed, so that it is not drawn again for every batch.
    let first = progress.epoch;
    let drawn = Mutex::new((first, Arc::new(epoch_order(seed, first, pairs.len()))));
    let order = move |epoch: u64, count: usize| {
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.0 != epoch {
            *drawn = (epoch, Arc::new(epoch_order(seed, epoch, count)));
        }
        drawn.1.clone()
    };
    Prefetch::new(config.data.threads, move |number| {
        let number = begin + number;
        (number < end).then(|| {
            let order = order(number / batches, pairs.len());
            let first = (number % batches) as usize * data.batch;
            let indices = &order[first..order.len().min(first + data.batch)];
            prepare(&pairs, indices, &data, seed, number)
        })
    })
    .map_err(TrainError::io("start threads for", &config.run))
}

/// Steps of the epoch that `progress` stands in, until `until` of them are taken or `watch` stops the
/// run. Counts them in `progress`.
pub(crate) fn run_steps(
    config: &TrainConfig,
    length: EpochLength,
    until: u64,
    feed: &mut Prefetch<Result<PlanarBatch>>,
    trainer: &mut Trainer,
    progress: &mut Progress,
    watch: &mut dyn Watch,
) -> Result<()> {
    let parameters = trainer.model.parameters();
    let (dtype, device) = (parameters.dtype(), parameters.device().clone());
    let accumulate = config.data.accumulate as u64;
    while progress.partial.taken < until && !watch.stop() {
        let left = length.batches - progress.partial.taken * accumulate;
        let batches = feed
            .take(accumulate.min(left) as usize)
            .map(|batch| Batch::from_planes(batch?, dtype, &device))
            .collect::<Result<Vec<_>>>()?;
        let mut last = None;
        match trainer.step_over(&batches, progress.epoch) {
            Ok(report) => {
                last = Some(report.loss);
                let partial = &mut progress.partial;
                partial.loss += report.loss;
                partial.lab += report.lab;
                partial.ms_ssim += report.ms_ssim;
                partial.steps += 1;
            }
            Err(error @ (TrainError::NotFinite { .. } | TrainError::Exploding { .. })) => {
                if config.guard.on_failure == OnFailure::Stop {
                    failure::write(config, &error, &batches, trainer)?;
                    return Err(error);
                }
                progress.partial.skipped += 1;
                progress.partial.reason = error.to_string();
            }
            Err(error) => return Err(error),
        }
        progress.partial.taken += 1;
        progress.step = trainer.adam.steps();
        watch.step(&line(config, length, progress, last));
    }
    Ok(())
}

/// What a step's line says. `last` is the loss of the step, if it was not skipped.
pub(crate) fn line(
    config: &TrainConfig,
    length: EpochLength,
    progress: &Progress,
    last: Option<f64>,
) -> StepLine {
    let Partial { taken, loss, steps, .. } = progress.partial;
    StepLine {
        epoch: progress.epoch + 1,
        step: progress.epoch * length.steps + taken,
        steps: config.epochs * length.steps,
        last,
        loss: loss / steps as f64,
        best_psnr: progress.best_psnr,
    }
}
