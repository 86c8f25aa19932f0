//! The steps of an epoch on the CPU, from where a saved state left off.

use std::sync::{Arc, Mutex, PoisonError};

use deeplpf_data::feed::{PlanarBatch, Prefetch};

use crate::{
    Batch, DataConfig, PairSource, Result, TrainConfig, TrainError, Trainer,
    batch::{epoch_order, prepare},
    config::OnFailure,
    distribution::Together,
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
    /// Training pairs.
    pairs: u64,
}

/// What the steps of all epochs have in common.
#[derive(Clone, Copy)]
pub(crate) struct Epochs<'a> {
    /// The run's.
    pub config: &'a TrainConfig,
    /// Of each.
    pub length: EpochLength,
    /// Who computes them.
    pub together: &'a Together<'a>,
}

/// What a step is over, on all ranks together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepSize {
    /// Batches.
    pub batches: u64,
    /// Their images.
    pub images: u64,
}

impl EpochLength {
    /// Of `pairs` training pairs.
    pub fn new(config: &TrainConfig, pairs: usize) -> Self {
        let batches = pairs.div_ceil(config.data.batch) as u64;
        let steps = batches.div_ceil(config.data.accumulate as u64);
        Self { batches, steps, pairs: pairs as u64 }
    }

    /// Step `taken` of an epoch, from 0.
    pub fn step(&self, config: &TrainConfig, taken: u64) -> StepSize {
        let DataConfig { batch, accumulate, .. } = config.data;
        let first = taken * accumulate as u64;
        let batches = (self.batches - first).min(accumulate as u64);
        let image = |number: u64| (number * batch as u64).min(self.pairs);
        StepSize { batches, images: image(first + batches) - image(first) }
    }
}

/// Which batches of an epoch, in their order, are computed by `rank` of `ranks`: of each step those at
/// places rank, rank + ranks, ...
fn own_batches(batches: u64, accumulate: u64, rank: usize, ranks: usize) -> Vec<u64> {
    let own = |&batch: &u64| (batch % accumulate) % ranks as u64 == rank as u64;
    (0..batches).filter(own).collect()
}

/// The batches of the run from where `progress` stands, as far as `rank` of `ranks` computes them. They
/// are made ahead of their use; which ones they are depends on the seed and their number alone, also
/// where steps were skipped.
pub(crate) fn feed(
    config: &TrainConfig,
    pairs: PairSource,
    progress: &Progress,
    (rank, ranks): (usize, usize),
) -> Result<Prefetch<Result<PlanarBatch>>> {
    let (seed, data) = (config.seed, config.data.clone());
    let EpochLength { batches, .. } = EpochLength::new(config, pairs.len());
    let own = own_batches(batches, data.accumulate as u64, rank, ranks);
    let done = progress.partial.taken * data.accumulate as u64;
    let done = own.partition_point(|&batch| batch < done);
    let begin = progress.epoch * own.len() as u64 + done as u64;
    let end = config.epochs * own.len() as u64;
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
            let (epoch, place) = (number / own.len() as u64, number % own.len() as u64);
            let batch = own[place as usize];
            let order = order(epoch, pairs.len());
            let first = batch as usize * data.batch;
            let indices = &order[first..order.len().min(first + data.batch)];
            prepare(&pairs, indices, &data, seed, epoch * batches + batch)
        })
    })
    .map_err(TrainError::io("start threads for", &config.run))
}

/// Steps of the epoch that `progress` stands in, until `until` of them are taken or `watch` stops the
/// run. Counts them in `progress`.
pub(crate) fn run_steps(
    Epochs { config, length, together }: Epochs<'_>,
    until: u64,
    feed: &mut Prefetch<Result<PlanarBatch>>,
    trainer: &mut Trainer,
    progress: &mut Progress,
    watch: &mut dyn Watch,
) -> Result<()> {
    let parameters = trainer.model.parameters();
    let (dtype, device) = (parameters.dtype(), parameters.device().clone());
    let (rank, ranks) = (together.rank() as u64, together.ranks() as u64);
    while progress.partial.taken < until && !together.any(watch.stop())? {
        let size = length.step(config, progress.partial.taken);
        let own = (size.batches + ranks - 1 - rank) / ranks;
        let batches = feed
            .take(own as usize)
            .map(|batch| Batch::from_planes(batch?, dtype, &device))
            .collect::<Result<Vec<_>>>();
        let batches = together.agree(batches)?;
        let stepped = match together.is_alone() {
            true => trainer.step_over(&batches, progress.epoch),
            false => together.step(trainer, &batches, size, progress.epoch),
        };
        let mut last = None;
        match stepped {
            Ok(report) => {
                last = Some(report.loss);
                let partial = &mut progress.partial;
                partial.loss += report.loss;
                partial.lab += report.lab;
                partial.ms_ssim += report.ms_ssim;
                partial.steps += 1;
            }
            Err(error) if error.is_bad_step() => {
                if config.guard.on_failure == OnFailure::Stop {
                    failure::write(config, &error, &batches, trainer, together)?;
                    return Err(error);
                }
                together.go_on();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every batch of a step is somebody's, and in the rounds of a step rank r has the r-th.
    #[test]
    fn ranks_share_every_step_out() {
        for (batches, accumulate) in [(23, 6), (7, 7), (5, 8), (8, 1)] {
            for ranks in 1..5 {
                let own: Vec<_> =
                    (0..ranks).map(|rank| own_batches(batches, accumulate, rank, ranks)).collect();
                let mut all: Vec<u64> = own.concat();
                all.sort_unstable();
                assert_eq!(all, (0..batches).collect::<Vec<_>>());
                for (rank, own) in own.iter().enumerate() {
                    let of_first_step = own.iter().filter(|&&batch| batch < accumulate);
                    let expected: Vec<u64> =
                        (rank as u64..accumulate.min(batches)).step_by(ranks).collect();
                    assert_eq!(of_first_step.copied().collect::<Vec<_>>(), expected);
                }
            }
        }
    }

    #[test]
    fn the_last_step_and_its_last_batch_are_shorter() {
        let mut config = TrainConfig::default();
        (config.data.batch, config.data.accumulate) = (4, 3);
        // 26 pairs: batches of 4, 4, ..., 2; steps of 3, 3 and 1 batches.
        let length = EpochLength::new(&config, 26);
        let sizes: Vec<_> = (0..length.steps).map(|taken| length.step(&config, taken)).collect();
        let sizes: Vec<_> = sizes.iter().map(|size| (size.batches, size.images)).collect();
        assert_eq!(sizes, [(3, 12), (3, 12), (1, 2)]);
    }
}
