//! A whole run: data, epochs, validation, checkpoints, resume.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use deeplpf_core::{
    Checkpoint, Compute, DType, Device, Model,
    checkpoint::write_safetensors,
    random::{Generator, Purpose},
};
use deeplpf_data::{
    Pair, PairPaths,
    feed::{PlanarBatch, Prefetch},
    sample,
    split::select,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    Average, Batch, DataConfig, EpochRecord, PairSource, Result, RunFolder, TrainConfig,
    TrainError, Trainer,
    batch::{epoch_order, prepare},
    cache,
    config::OnFailure,
    engine::Engine,
    source::open_pairs,
    state::{self, Progress},
};

/// Training and validation pairs.
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// What is trained on.
    pub train: PairSource,
    /// What the best checkpoint is chosen by; may be empty.
    pub valid: PairSource,
}

/// What a finished run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Epochs finished in all.
    pub epochs: u64,
    /// Optimiser steps in all.
    pub steps: u64,
    /// Mean training loss of the last epoch.
    pub loss: f64,
    /// Best validation PSNR in decibels and its epoch, if there are validation pairs.
    pub best: Option<(f64, u64)>,
    /// What the user should know, a sentence each: a damaged state that was passed over.
    pub notes: Vec<String>,
}

impl TrainingData {
    /// The pairs a configuration names; the sample set for `source = "sample"`. Lists may have FiveK's
    /// ids in either form: `a0001`, `a0001-jmac_DSC1459`.
    ///
    /// # Errors
    /// A folder with missing or surplus files, lists with unknown ids, or no training pairs.
    pub fn from_config(config: &DataConfig, seed: u64) -> Result<Self> {
        if config.source == "sample" {
            let split = sample::split()?;
            let pairs = sample::pairs()?;
            let part = |ids: &[String]| {
                pairs.iter().filter(|pair| ids.contains(&pair.id)).cloned().collect::<Vec<Pair>>()
            };
            return Ok(Self {
                train: PairSource::Memory(part(&split.train)),
                valid: PairSource::Memory(part(&split.valid)),
            });
        }
        let (_, folder) = open_pairs(&config.source, &config.target)?;
        let read = |list: &Path| -> Result<Vec<PairPaths>> {
            if list.as_os_str().is_empty() { Ok(Vec::new()) } else { Ok(select(&folder, list)?) }
        };
        let exclude = read(&config.exclude)?;
        let mut valid = read(&config.valid)?;
        let mut train = read(&config.train)?;
        if train.is_empty() {
            let held_out: BTreeSet<&str> =
                exclude.iter().chain(&valid).map(|pair| pair.id.as_str()).collect();
            let rest = folder.pairs.iter().filter(|pair| !held_out.contains(pair.id.as_str()));
            train = rest.cloned().collect();
            if valid.is_empty() && config.valid_fraction > 0.0 {
                Generator::new(seed, Purpose::Split, 0).shuffle(&mut train);
                let count = (train.len() as f64 * config.valid_fraction).ceil() as usize;
                valid = train.drain(..count.min(train.len())).collect();
                train.sort_by(|a, b| a.id.cmp(&b.id));
            }
        }
        if let Some(shared) =
            train.iter().find(|&pair| valid.contains(pair) || exclude.contains(pair))
        {
            return Err(TrainError::Config {
                path: config.train.display().to_string(),
                reason: format!("id `{}` is for training and also in another list", shared.id),
            });
        }
        Ok(Self { train: PairSource::Files(train), valid: PairSource::Files(valid) })
    }
}

/// Trains as configured into the run folder, from the start or, with `resume`, from its last
/// state. A resumed run that is already finished returns at once.
///
/// # Errors
/// See [`TrainError`]; whatever happens, the last saved state stays usable.
pub fn train(config: &TrainConfig, resume: bool) -> Result<RunSummary> {
    config.validate("configuration")?;
    let compute = Compute::select(&config.device)?.compute;
    let data = match config.sid_protocol()? {
        Some(protocol) => TrainingData::sid(&config.data, protocol)?,
        None => TrainingData::from_config(&config.data, config.seed)?,
    };
    if data.train.is_empty() {
        return Err(TrainError::NoPairs(format!(
            "`{}` has none left to train on",
            config.data.source
        )));
    }
    // A picture that cannot be read should not cost an epoch.
    for index in 0..data.valid.len() {
        data.valid.load(index)?;
    }
    let folder = RunFolder::new(&config.run);
    let _lock = folder.lock()?;
    let resuming = folder.state().exists() || folder.previous_state().exists();
    // Without a saved state there is nothing to lose, and nothing to go on from.
    if resuming && folder.config().exists() {
        if !resume {
            return Err(TrainError::RunExists { path: config.run.clone() });
        }
        let before = TrainConfig::read(&folder.config(), &[])?;
        if let Some(difference) = before.difference(config) {
            return Err(TrainError::OtherRun { path: config.run.clone(), difference });
        }
    }
    let batches = data.train.len().div_ceil(config.data.batch) as u64;
    let mut trainer = new_trainer(config, config.epochs * batches)?;
    let mut progress =
        Progress { epoch: 0, step: 0, best_psnr: None, best_epoch: 0, stale: 0, skipped: 0 };
    let mut notes = Vec::new();
    if resuming {
        let loaded = state::load(&folder, &mut trainer, config.adam)?;
        progress = loaded.0;
        notes.extend(loaded.1);
    }
    if progress.epoch > config.epochs {
        return Err(TrainError::Shortened {
            path: config.run.clone(),
            done: progress.epoch,
            asked: config.epochs,
        });
    }
    let data = match cache::folder(config)? {
        None => data,
        Some((folder, note)) => {
            let (data, made) = data.cached(&folder)?;
            notes.extend(note.into_iter().chain(made));
            data
        }
    };
    let ids = |source: &PairSource| {
        (0..source.len()).map(|index| source.id(index).to_string()).collect::<Vec<_>>()
    };
    folder.create(config, &ids(&data.train), &ids(&data.valid))?;
    folder.truncate_records(progress.epoch)?;
    let (engine, note) = Engine::start(&compute, config, &trainer, data.train, &progress)?;
    notes.extend(note);
    let running = Running { config, folder: &folder, batches, valid: data.valid };
    let summary = running.run_epochs(engine, &mut trainer, &mut progress)?;
    Ok(RunSummary { notes, ..summary })
}

fn new_trainer(config: &TrainConfig, steps: u64) -> Result<Trainer> {
    let device = Device::Cpu;
    let model = if config.weights.as_os_str().is_empty() {
        Model::new(&config.model, config.initialisation, config.seed, DType::F32, &device)?
    } else {
        let mut checkpoint = Checkpoint::read(&config.weights)?;
        if let Some(own) = &mut checkpoint.config {
            // It has no parameters: weights may go on under any.
            own.dropout = config.model.dropout;
        }
        checkpoint.model(Some(&config.model), DType::F32, &device)?
    };
    let average =
        (config.average > 0.0).then(|| Average::new(&model, config.average)).transpose()?;
    let max_loss = match config.guard.max_loss {
        0.0 => f64::INFINITY,
        limit => limit,
    };
    Ok(Trainer {
        schedule: config.schedule,
        steps,
        average,
        max_loss,
        ..Trainer::new(model, config.adam, config.loss, config.seed)
    })
}

/// What stays the same through a run's epochs.
struct Running<'a> {
    config: &'a TrainConfig,
    folder: &'a RunFolder,
    /// Steps of an epoch.
    batches: u64,
    valid: PairSource,
}

impl Running<'_> {
    fn run_epochs(
        &self,
        mut engine: Engine,
        trainer: &mut Trainer,
        progress: &mut Progress,
    ) -> Result<RunSummary> {
        let Self { config, folder, batches, valid } = self;
        let batches = *batches;
        let bar = progress_bar(config.epochs * batches, progress.epoch * batches);
        let mut loss = match progress.epoch {
            0 => f64::NAN,
            _ => folder.records()?.last().map_or(f64::NAN, |record| record.loss),
        };
        let stale = |progress: &Progress| config.patience > 0 && progress.stale >= config.patience;
        while progress.epoch < config.epochs && !stale(progress) {
            let started = Instant::now();
            let mut record = engine.run_epoch(config, batches, trainer, progress, &bar)?;
            loss = record.loss;
            progress.epoch += 1;
            progress.step = record.step;
            progress.skipped += record.skipped;
            let last = progress.epoch == config.epochs;
            let due = progress.epoch.is_multiple_of(config.validate_every) || last;
            if due {
                engine.store(config, trainer)?;
            }
            if due && !valid.is_empty() {
                let psnr = engine.validate(trainer, valid)?;
                record.valid_psnr = Some(psnr);
                if progress.best_psnr.is_none_or(|best| psnr > best) {
                    progress.best_psnr = Some(psnr);
                    progress.best_epoch = progress.epoch;
                    progress.stale = 0;
                    write_safetensors(trainer.best_model(), &folder.best())?;
                } else {
                    progress.stale += 1;
                }
            }
            record.seconds = started.elapsed().as_secs_f64();
            folder.append_record(&record)?;
            if due {
                write_safetensors(trainer.best_model(), &folder.last())?;
                if valid.is_empty() {
                    // Without validation pairs the last weights are the best known.
                    write_safetensors(trainer.best_model(), &folder.best())?;
                }
                state::save(folder, trainer, progress)?;
            }
        }
        bar.finish_and_clear();
        Ok(RunSummary {
            epochs: progress.epoch,
            steps: progress.step,
            loss,
            best: progress.best_psnr.map(|psnr| (psnr, progress.best_epoch)),
            notes: Vec::new(),
        })
    }
}

/// The batches of all epochs from `epoch` on. They are made ahead of their use; which ones they are
/// depends on the seed and their number alone, also where steps were skipped.
pub(crate) fn feed(
    config: &TrainConfig,
    pairs: PairSource,
    epoch: u64,
) -> Result<Prefetch<Result<PlanarBatch>>> {
    let (seed, batch, preparation) = (config.seed, config.data.batch, config.data.preparation());
    let batches = pairs.len().div_ceil(batch) as u64;
    let count = config.epochs.saturating_sub(epoch) * batches;
    // The order of the epoch that is being fed, so that it is not drawn again for every batch.
    let drawn = Mutex::new((epoch, Arc::new(epoch_order(seed, epoch, pairs.len()))));
    let order = move |epoch: u64, count: usize| {
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.0 != epoch {
            *drawn = (epoch, Arc::new(epoch_order(seed, epoch, count)));
        }
        drawn.1.clone()
    };
    Prefetch::new(config.data.threads, move |number| {
        (number < count).then(|| {
            let order = order(epoch + number / batches, pairs.len());
            let first = (number % batches) as usize * batch;
            let indices = &order[first..order.len().min(first + batch)];
            prepare(&pairs, indices, &preparation, seed, epoch * batches + number)
        })
    })
    .map_err(TrainError::io("start threads for", &config.run))
}

/// One pass over the training pairs; the record still lacks validation and duration.
pub(crate) fn run_epoch(
    batches: u64,
    feed: &mut Prefetch<Result<PlanarBatch>>,
    trainer: &mut Trainer,
    progress: &Progress,
    bar: &ProgressBar,
    on_failure: OnFailure,
) -> Result<EpochRecord> {
    let parameters = trainer.model.parameters();
    let (dtype, device) = (parameters.dtype(), parameters.device().clone());
    let (mut loss, mut lab, mut ms_ssim, mut steps) = (0.0, 0.0, 0.0, 0.0);
    let (mut skipped, mut reason) = (0, String::new());
    for batch in feed.take(batches as usize) {
        let batch = Batch::from_planes(batch?, dtype, &device)?;
        let report = match trainer.step(&batch, progress.epoch) {
            Err(error @ (TrainError::NotFinite { .. } | TrainError::Exploding { .. }))
                if on_failure == OnFailure::Skip =>
            {
                skipped += 1;
                reason = error.to_string();
                bar.inc(1);
                continue;
            }
            report => report?,
        };
        loss += report.loss;
        lab += report.lab;
        ms_ssim += report.ms_ssim;
        steps += 1.0;
        bar.set_message(match progress.best_psnr {
            Some(psnr) => format!("loss {:.4}, best {psnr:.2} dB", loss / steps),
            None => format!("loss {:.4}", loss / steps),
        });
        bar.inc(1);
    }
    if steps == 0.0 {
        return Err(TrainError::AllSkipped { epoch: progress.epoch + 1, reason });
    }
    Ok(EpochRecord {
        epoch: progress.epoch + 1,
        step: trainer.adam.steps(),
        loss: loss / steps,
        lab: lab / steps,
        ms_ssim: ms_ssim / steps,
        valid_psnr: None,
        skipped,
        seconds: 0.0,
    })
}

/// Drawn on a terminal only.
fn progress_bar(length: u64, position: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} step {pos}/{len}, {per_sec}, {eta} left, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_position(position).with_style(style)
}
