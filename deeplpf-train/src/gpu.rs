//! Training on a GPU: the same epochs as on the CPU, with every step queued ahead of its result.
//!
//! Pairs of 8 bits that fit are uploaded once and cut and mirrored there; others are prepared on the
//! CPU and uploaded while the step before runs. The draws, and so the steps, are the same.

use std::collections::VecDeque;

use deeplpf_core::{
    CoreError, cuda,
    random::{Generator, Purpose},
};
use deeplpf_data::{
    Pair,
    augment::{ColourAugmentation, Crop, Flip},
    feed::{PlanarBatch, Prefetch},
};
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

use crate::{
    Adam, DataConfig, OnFailure, PairSource, Result, TrainConfig, TrainError, Trainer, Watch,
    adam::Moments,
    batch::{draw_side, epoch_order},
    epoch::{EpochLength, feed, line},
    state::Progress,
    trainer::GATE_WEIGHT,
    validation::{Validated, psnr},
};

/// Most bytes of pairs kept in GPU memory: FiveK at 512 pixels is 2.3 GB, and they pass through this
/// machine's memory.
const MOST_RESIDENT_BYTES: usize = 16 << 30;
/// Pairs decoded side by side on their way to the GPU.
const DECODED_TOGETHER: usize = 64;

/// A run's steps on a GPU.
pub(crate) struct GpuTraining {
    training: cuda::Training,
    source: Source,
    learning_rate: f64,
    /// Updates made by the steps that are known to be done, and by those queued if all go well.
    updates: u64,
    /// The ids of queued steps, oldest first.
    queued: VecDeque<String>,
}

enum Source {
    /// Prepared on the CPU.
    Feed(Prefetch<Result<PlanarBatch>>),
    /// In GPU memory.
    Resident(Box<Resident>),
}

/// Pairs in GPU memory and what draws from them.
struct Resident {
    pairs: cuda::ResidentPairs,
    ids: Vec<String>,
    seed: u64,
    data: DataConfig,
    /// The epoch `order` is of.
    epoch: Option<u64>,
    order: Vec<usize>,
}

/// What a step takes from the resident pairs.
struct Picked {
    picks: Vec<cuda::PairPick>,
    size: (usize, usize),
    ids: String,
}

impl GpuTraining {
    /// Copies weights, moments and counters of `trainer` to the GPU.
    pub fn start(
        device: &cuda::Device,
        config: &TrainConfig,
        trainer: &Trainer,
        pairs: PairSource,
        progress: &Progress,
    ) -> Result<(Self, Option<String>)> {
        require_supported(config)?;
        let options = cuda::TrainingOptions {
            loss: config.loss,
            gate: GATE_WEIGHT,
            learning_rate: config.adam.learning_rate,
            beta1: config.adam.beta1,
            beta2: config.adam.beta2,
            epsilon: config.adam.epsilon,
            clip_norm: config.adam.clip_norm,
            backbone_rate: config.adam.backbone_rate,
            heads_rate: config.adam.heads_rate,
            max_loss: trainer.max_loss,
            average: config.average,
            seed: config.seed,
            precision: config.precision,
            execution: cuda::Execution::Graph,
        };
        let mut training = cuda::Training::new(device, &trainer.model, &options)?;
        if let Some(average) = &trainer.average {
            training.load_average(average.model())?;
        }
        let updates = trainer.adam.steps();
        if updates > 0 {
            let moments = trainer.adam.moments();
            let part = |of: fn(&Moments) -> &candle_core::Tensor| {
                moments.iter().map(|(name, m)| (name.clone(), of(m).clone())).collect()
            };
            let moments =
                cuda::Moments { updates, first: part(|m| &m.first), second: part(|m| &m.second) };
            let skipped = progress.skipped + progress.partial.skipped;
            training.restore(updates + skipped, &moments)?;
        }
        let (source, note) = match Resident::upload(device, config, &pairs)? {
            Ok(resident) => (Source::Resident(Box::new(resident)), None),
            Err(reason) => {
                let note = format!("photographs are prepared on the CPU, because {reason}");
                (Source::Feed(feed(config, pairs, progress, (0, 1))?), Some(note))
            }
        };
        let learning_rate = config.adam.learning_rate;
        Ok((Self { training, source, learning_rate, updates, queued: VecDeque::new() }, note))
    }

    /// Steps of the epoch that `progress` stands in, until `until` of them are taken or `watch` stops
    /// the run. Counts them in `progress`.
    pub fn run_steps(
        &mut self,
        config: &TrainConfig,
        length: EpochLength,
        until: u64,
        trainer: &Trainer,
        progress: &mut Progress,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let mut number = progress.partial.taken;
        while number < until && !watch.stop() {
            let share = trainer.schedule.share(self.updates, trainer.steps);
            self.training.set_learning_rate(self.learning_rate * share);
            let ids = match &mut self.source {
                Source::Feed(feed) => {
                    let Some(batch) = feed.next() else { break };
                    let PlanarBatch { ids, shape: [count, _, height, width], input, target } =
                        batch?;
                    self.training.step(&input, &target, [count, height, width])?;
                    ids.join(", ")
                }
                Source::Resident(resident) => {
                    let picked = resident.pick(progress.epoch, number, length.batches)?;
                    self.training.step_resident(&resident.pairs, &picked.picks, picked.size)?;
                    picked.ids
                }
            };
            number += 1;
            self.queued.push_back(ids);
            self.updates += 1;
            let reports = self.training.reports()?;
            self.take(reports, config, length, progress, watch)?;
        }
        let reports = self.training.finish()?;
        self.take(reports, config, length, progress, watch)
    }

    fn take(
        &mut self,
        reports: Vec<cuda::StepReport>,
        config: &TrainConfig,
        length: EpochLength,
        progress: &mut Progress,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        for report in reports {
            let ids = self.queued.pop_front().unwrap_or_default();
            let last = report.finite.then(|| f64::from(report.loss));
            if report.finite {
                let partial = &mut progress.partial;
                partial.loss += f64::from(report.loss);
                partial.lab += f64::from(report.lab);
                partial.ms_ssim += f64::from(report.ms_ssim);
                partial.steps += 1;
            } else {
                self.updates -= 1;
                let (step, epoch, loss) = (report.step, progress.epoch + 1, f64::from(report.loss));
                let limit = config.guard.max_loss;
                let error = if loss.is_finite() && limit > 0.0 && loss > limit {
                    TrainError::Exploding { step, epoch, ids, loss, limit }
                } else {
                    let what = "loss or its gradient".into();
                    TrainError::NotFinite { step, epoch, ids, what, value: loss }
                };
                if config.guard.on_failure == OnFailure::Stop {
                    return Err(error);
                }
                progress.partial.skipped += 1;
                progress.partial.reason = error.to_string();
            }
            progress.partial.taken += 1;
            watch.step(&line(config, length, progress, last));
        }
        // Those that are queued are not known to change the weights yet.
        progress.step = self.updates - self.queued.len() as u64;
        Ok(())
    }

    /// Mean PSNR of the weights as they are. `see` is shown every photograph, without its filters.
    pub fn validate(
        &mut self,
        pairs: &PairSource,
        see: &mut dyn FnMut(&Validated<'_>) -> Result<()>,
    ) -> Result<f64> {
        let mut sum = 0.0;
        for index in 0..pairs.len() {
            let pair = pairs.load(index)?;
            let (channels, height, width) = pair.input.dim();
            let input: Vec<f32> = pair.input.iter().copied().collect();
            let output = self.training.predict(&input, [1, height, width])?;
            let output = ArrayView3::from_shape((channels, height, width), &output)
                .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
            sum += psnr(output, pair.target.view());
            see(&Validated { pair: &pair, output, filters: None })?;
        }
        Ok(sum / pairs.len() as f64)
    }

    /// Copies weights, moments and counters back.
    pub fn store(&self, config: &TrainConfig, trainer: &mut Trainer) -> Result<()> {
        self.training.store(&trainer.model)?;
        if let Some(average) = &trainer.average {
            self.training.store_average(average.model())?;
        }
        let cuda::Moments { updates, first, mut second } = self.training.moments()?;
        let moments = first.into_iter().filter_map(|(name, first)| {
            let second = second.remove(&name)?;
            // As on the CPU, what is frozen has no moments.
            trainer.adam.trains(&name).then_some(())?;
            Some((name, Moments { first, second }))
        });
        trainer.adam = Adam::restore(config.adam, updates, moments.collect());
        Ok(())
    }
}

/// Refuses what only the CPU's trainer does.
fn require_supported(config: &TrainConfig) -> Result<()> {
    if config.data.accumulate != 1 {
        let option = "data.accumulate".to_string();
        return Err(CoreError::from(cuda::CudaError::Unsupported { option }).into());
    }
    Ok(())
}

impl Resident {
    /// Uploads the pairs, or says why they stay where they are.
    fn upload(
        device: &cuda::Device,
        config: &TrainConfig,
        pairs: &PairSource,
    ) -> Result<std::result::Result<Self, String>> {
        if config.data.augment != ColourAugmentation::default() {
            return Ok(Err("data.augment changes their colours there".into()));
        }
        // Half of what is free: activations want the rest.
        let free = device.memory().map_err(CoreError::from)?.0;
        let room = MOST_RESIDENT_BYTES.min(free / 2);
        let mut bytes = Vec::with_capacity(pairs.len());
        let mut total = 0;
        let numbers: Vec<usize> = (0..pairs.len()).collect();
        for numbers in numbers.chunks(DECODED_TOGETHER) {
            let decoded: Vec<_> = numbers
                .par_iter()
                .map(|&n| Ok(Bytes::of(&pairs.load(n)?)))
                .collect::<Result<_>>()?;
            for (pair, &number) in decoded.into_iter().zip(numbers) {
                let Some(pair) = pair else {
                    return Ok(Err(format!("`{}` has more than 8 bits", pairs.id(number))));
                };
                total += 2 * pair.input.len();
                if total > room {
                    let gigabytes = room as f64 / 1e9;
                    return Ok(Err(format!("they need more than {gigabytes:.1} GB of GPU memory")));
                }
                bytes.push(pair);
            }
        }
        let sizes: Vec<_> = bytes.iter().map(|pair| (pair.height, pair.width)).collect();
        let resident = cuda::ResidentPairs::upload::<CoreError>(device, &sizes, |number, put| {
            let Bytes { input, target, height, width } = &bytes[number];
            let (height, width) = (*height, *width);
            Ok(put(cuda::BytePair { input, target, height, width })?)
        })?;
        Ok(Ok(Self {
            pairs: resident,
            ids: (0..pairs.len()).map(|number| pairs.id(number).to_string()).collect(),
            seed: config.seed,
            data: config.data.clone(),
            epoch: None,
            order: Vec::new(),
        }))
    }

    /// The draws of [`PlanarBatch::push`].
    fn pick(&mut self, epoch: u64, number: u64, batches: u64) -> Result<Picked> {
        if self.epoch != Some(epoch) {
            self.order = epoch_order(self.seed, epoch, self.ids.len());
            self.epoch = Some(epoch);
        }
        let first = number as usize * self.data.batch;
        let chosen = &self.order[first..self.order.len().min(first + self.data.batch)];
        let step = epoch * batches + number;
        let mut generator = Generator::new(self.seed, Purpose::Augmentation, step);
        let side = draw_side(&self.data, &mut generator);
        let mut picks = Vec::with_capacity(chosen.len());
        let mut size = (0, 0);
        for &pair in chosen {
            let whole @ (height, width) = self.pairs.size(pair).unwrap_or_default();
            let crop = match side {
                0 => Crop { top: 0, left: 0, height, width },
                side => Crop::draw_in(&self.ids[pair], whole, (side, side), &mut generator)?,
            };
            let flip = if self.data.flips { Flip::draw(&mut generator) } else { Flip::default() };
            size = (crop.height, crop.width);
            picks.push(cuda::PairPick {
                pair,
                top: crop.top,
                left: crop.left,
                horizontal: flip.horizontal,
                vertical: flip.vertical,
            });
        }
        let ids: Vec<&str> = chosen.iter().map(|&pair| self.ids[pair].as_str()).collect();
        Ok(Picked { picks, size, ids: ids.join(", ") })
    }
}

/// A pair as interleaved bytes.
struct Bytes {
    input: Vec<u8>,
    target: Vec<u8>,
    height: usize,
    width: usize,
}

impl Bytes {
    /// `None` where a value is not a whole number of 255ths.
    fn of(pair: &Pair) -> Option<Self> {
        let (_, height, width) = pair.input.dim();
        Some(Self { input: levels(&pair.input)?, target: levels(&pair.target)?, height, width })
    }
}

/// (3, H, W) values as interleaved levels, if every value is exactly level / 255.
fn levels(image: &Array3<f32>) -> Option<Vec<u8>> {
    let interleaved = image.view().permuted_axes([1, 2, 0]);
    interleaved
        .iter()
        .map(|&value| {
            let level = (value * 255.0).round();
            ((0.0..=255.0).contains(&level) && level / 255.0 == value).then_some(level as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_255ths_are_levels() {
        let image =
            Array3::from_shape_fn((3, 2, 2), |(c, y, x)| (c * 4 + y * 2 + x) as f32 / 255.0);
        assert_eq!(levels(&image).unwrap(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        for wrong in [0.5 / 255.0, -1.0 / 255.0, 256.0 / 255.0, f32::NAN] {
            let mut image = image.clone();
            image[[1, 0, 1]] = wrong;
            assert!(levels(&image).is_none(), "{wrong}");
        }
    }
}
