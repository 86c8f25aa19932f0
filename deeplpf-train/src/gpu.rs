//! Training on a GPU: the same epochs as on the CPU, with every step queued ahead of its result.
//!
//! Pairs of 8 bits that fit are uploaded once and cut and mirrored there; others are prepared on the
//! CPU and uploaded while the step before runs. The draws, and so the steps, are the same.
//!
//! On several ranks (feature `nccl`) each computes one batch of a step.

use std::{collections::VecDeque, ops::Range};

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
    distribution::Together,
    epoch::{Epochs, feed, line},
    state::Progress,
    trainer::GATE_WEIGHT,
    validation::{Validated, psnr},
};

/// Most bytes of pairs kept in GPU memory: FiveK at 512 pixels is 2.3 GB, and they pass through this
/// machine's memory.
const MOST_RESIDENT_BYTES: usize = 16 << 30;
/// Steps of several ranks after which the result of one is waited for: on every rank the same number, so
/// that all know the same of the past, and enough to keep the GPU at work.
const AHEAD: u64 = 8;
/// Pairs decoded side by side on their way to the GPU.
const DECODED_TOGETHER: usize = 64;

/// A run's steps on a GPU.
pub(crate) struct GpuTraining {
    training: cuda::Training,
    source: Source,
    order: Order,
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
    seed: u64,
    data: DataConfig,
}

/// Which pairs are in which batch.
struct Order {
    ids: Vec<String>,
    seed: u64,
    batch: usize,
    /// The epoch `order` is of.
    epoch: Option<u64>,
    order: Vec<usize>,
}

/// What a step computes on this rank.
enum Share {
    /// Nothing: there are fewer batches left than ranks.
    Idle,
    Prepared(PlanarBatch),
    /// Cut from the resident pairs, to one size.
    Picked(Vec<cuda::PairPick>, (usize, usize)),
}

impl GpuTraining {
    /// Copies weights, moments and counters of `trainer` to the GPU.
    pub fn start(
        device: &cuda::Device,
        config: &TrainConfig,
        trainer: &Trainer,
        pairs: PairSource,
        progress: &Progress,
        together: &Together<'_>,
    ) -> Result<(Self, Option<String>)> {
        require_supported(config, together.ranks())?;
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
        let order = Order::new(config, &pairs);
        let (source, note) = match Resident::upload(device, config, &pairs)? {
            Ok(resident) => (Source::Resident(Box::new(resident)), None),
            Err(reason) => {
                let note = format!("photographs are prepared on the CPU, because {reason}");
                let share = (together.rank(), together.ranks());
                (Source::Feed(feed(config, pairs, progress, share)?), Some(note))
            }
        };
        let learning_rate = config.adam.learning_rate;
        let queued = VecDeque::new();
        Ok((Self { training, source, order, learning_rate, updates, queued }, note))
    }

    /// Connects the GPUs of all ranks, whose weights and moments are the same.
    #[cfg(feature = "nccl")]
    pub fn join(&mut self, together: &Together<'_>) -> Result<()> {
        let library = cuda::Ranks::require_library();
        together.agree(library.map_err(|error| CoreError::from(error).into()))?;
        let id = together.first(|| Ok(cuda::Ranks::new_id().map_err(CoreError::from)?.to_vec()))?;
        let mut bytes = [0; 128];
        bytes.iter_mut().zip(id).for_each(|(byte, sent)| *byte = sent);
        let (rank, ranks) = (together.rank(), together.ranks());
        let connected = cuda::Ranks::connect(self.training.device(), bytes, rank, ranks);
        // Where one fails the others wait for it inside NCCL, so it cannot tell them.
        let connected = connected.map_err(CoreError::from)?;
        together.agree(self.training.join(connected).map_err(TrainError::from))
    }

    /// Steps of the epoch that `progress` stands in, until `until` of them are taken or `watch` stops
    /// the run. Counts them in `progress`.
    pub fn run_steps(
        &mut self,
        epochs: Epochs<'_>,
        until: u64,
        trainer: &Trainer,
        progress: &mut Progress,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let Epochs { config, length, together } = epochs;
        let mut number = progress.partial.taken;
        while number < until && !together.any(watch.stop())? {
            let share = trainer.schedule.share(self.updates, trainer.steps);
            self.training.set_learning_rate(self.learning_rate * share);
            // Once a rank has queued its step it waits for those of all others.
            let share = together.agree(self.share(epochs, progress.epoch, number))?;
            match (share, &self.source) {
                (Share::Prepared(batch), _) => {
                    let PlanarBatch { shape: [count, _, height, width], input, target, .. } = batch;
                    self.training.step(&input, &target, [count, height, width])?;
                }
                (Share::Picked(picks, size), Source::Resident(resident)) => {
                    self.training.step_resident(&resident.pairs, &picks, size)?;
                }
                _ if together.is_alone() => break,
                _ => self.training.step_idle()?,
            }
            let first = number * config.data.accumulate as u64;
            let batches = length.step(config, number).batches;
            self.queued.push_back(self.order.ids(progress.epoch, first..first + batches));
            number += 1;
            self.updates += 1;
            let reports = match together.is_alone() {
                true => self.training.reports()?,
                false => {
                    let queued = self.training.steps();
                    self.training.reports_before(queued.saturating_sub(AHEAD))?
                }
            };
            self.take(reports, epochs, progress, watch)?;
        }
        let reports = self.training.finish()?;
        self.take(reports, epochs, progress, watch)
    }

    /// This rank's part of step `number` of an epoch.
    fn share(&mut self, epochs: Epochs<'_>, epoch: u64, number: u64) -> Result<Share> {
        let Epochs { config, length, together } = epochs;
        let (rank, size) = (together.rank() as u64, length.step(config, number));
        let batch = number * config.data.accumulate as u64 + rank;
        let chosen = match rank < size.batches {
            true => self.order.pairs(epoch, batch..batch + 1),
            false => &[],
        };
        if !together.is_alone() {
            self.training.set_share(size.batches, chosen.len() as f64 / size.images as f64);
        }
        if chosen.is_empty() {
            return Ok(Share::Idle);
        }
        match &mut self.source {
            Source::Feed(feed) => match feed.next() {
                Some(batch) => Ok(Share::Prepared(batch?)),
                None => Ok(Share::Idle),
            },
            Source::Resident(resident) => {
                let chosen = chosen.to_vec();
                resident.pick(&self.order.ids, &chosen, epoch * length.batches + batch)
            }
        }
    }

    fn take(
        &mut self,
        reports: Vec<cuda::StepReport>,
        Epochs { config, length, together }: Epochs<'_>,
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
                    // Reports are the same on all ranks.
                    return Err(together.all_have(error));
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

/// Refuses what only the CPU's trainer does: more batches a step than one for each GPU.
fn require_supported(config: &TrainConfig, ranks: usize) -> Result<()> {
    if config.data.accumulate != ranks {
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
        Ok(Ok(Self { pairs: resident, seed: config.seed, data: config.data.clone() }))
    }

    /// The draws of [`PlanarBatch::push`]. `number` of the batch in the run.
    fn pick(&self, ids: &[String], chosen: &[usize], number: u64) -> Result<Share> {
        let mut generator = Generator::new(self.seed, Purpose::Augmentation, number);
        let side = draw_side(&self.data, &mut generator);
        let mut picks = Vec::with_capacity(chosen.len());
        let mut size = (0, 0);
        for &pair in chosen {
            let whole @ (height, width) = self.pairs.size(pair).unwrap_or_default();
            let crop = match side {
                0 => Crop { top: 0, left: 0, height, width },
                side => Crop::draw_in(&ids[pair], whole, (side, side), &mut generator)?,
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
        Ok(Share::Picked(picks, size))
    }
}

impl Order {
    fn new(config: &TrainConfig, pairs: &PairSource) -> Self {
        Self {
            ids: (0..pairs.len()).map(|number| pairs.id(number).to_string()).collect(),
            seed: config.seed,
            batch: config.data.batch,
            epoch: None,
            order: Vec::new(),
        }
    }

    /// The pairs of some batches of an epoch.
    fn pairs(&mut self, epoch: u64, batches: Range<u64>) -> &[usize] {
        if self.epoch != Some(epoch) {
            self.order = epoch_order(self.seed, epoch, self.ids.len());
            self.epoch = Some(epoch);
        }
        let place = |batch: u64| (batch as usize * self.batch).min(self.order.len());
        &self.order[place(batches.start)..place(batches.end)]
    }

    /// Their names.
    fn ids(&mut self, epoch: u64, batches: Range<u64>) -> String {
        let pairs = self.pairs(epoch, batches).to_vec();
        let ids: Vec<&str> = pairs.into_iter().map(|pair| self.ids[pair].as_str()).collect();
        ids.join(", ")
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
