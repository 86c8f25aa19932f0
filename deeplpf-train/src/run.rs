//! A whole run: data, epochs, validation, checkpoints, resume.

use std::{collections::BTreeSet, path::Path, time::Instant};

use deeplpf_core::{
    Checkpoint, Compute, DType, Device, Model,
    checkpoint::write_safetensors,
    random::{Generator, Purpose},
};
use deeplpf_data::{Pair, PairPaths, sample, split::select};

use crate::{
    Alone, Average, Communicator, DataConfig, EpochRecord, FilterHealth, Health, PairSource,
    Result, RunFolder, TrainConfig, TrainError, Trainer, Unwatched, Watch, cache, disk,
    distribution::Together,
    engine::Engine,
    epoch::{EpochLength, Epochs},
    origin::Origin,
    run_folder::write_json,
    run_lock::RunLock,
    source::open_pairs,
    state::{self, Partial, Progress},
    telemetry::{Seen, Telemetry},
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
    /// Whether the run was stopped before its end; it goes on with `resume`.
    pub interrupted: bool,
}

impl TrainingData {
    /// The pairs of a run's configuration, photographs or exposures of See-in-the-Dark.
    ///
    /// # Errors
    /// As [`TrainingData::from_config`] and [`TrainingData::sid`].
    pub fn of(config: &TrainConfig) -> Result<Self> {
        match config.sid_protocol()? {
            Some(protocol) => Self::sid(&config.data, protocol),
            None => Self::from_config(&config.data, config.seed),
        }
    }

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

/// [`train_watched`] without anybody looking on.
///
/// # Errors
/// As there.
pub fn train(config: &TrainConfig, resume: bool) -> Result<RunSummary> {
    train_watched(config, resume, &mut Unwatched)
}

/// Trains as configured into the run folder, from the start or, with `resume`, from its last
/// state. A resumed run that is already finished returns at once; one that `watch` stops is saved
/// between two steps and goes on from there.
///
/// # Errors
/// See [`TrainError`]; whatever happens, the last saved state stays usable.
pub fn train_watched(
    config: &TrainConfig,
    resume: bool,
    watch: &mut dyn Watch,
) -> Result<RunSummary> {
    train_together(config, resume, watch, &Alone)
}

/// [`train_watched`] by all ranks of `communicator` together, each of which calls this with the same
/// configuration. Of every step's batches each rank computes a share (see [`crate::distribution`]);
/// the run is the same on any number of ranks. Rank 0 alone touches the run folder, and `watch` is
/// told the same on all ranks but for notes and epochs, which rank 0's is told; one that says stop
/// stops all.
///
/// # Errors
/// As there; [`TrainError::Ranks`] for ranks that do not fit together and
/// [`TrainError::OtherRank`] for what went wrong on another one. All ranks have an error then.
pub fn train_together(
    config: &TrainConfig,
    resume: bool,
    watch: &mut dyn Watch,
    communicator: &dyn Communicator,
) -> Result<RunSummary> {
    let together = Together::new(communicator);
    together.end(train_as_rank(config, resume, watch, &together))
}

fn train_as_rank(
    config: &TrainConfig,
    resume: bool,
    watch: &mut dyn Watch,
    together: &Together<'_>,
) -> Result<RunSummary> {
    let local_rank = together.communicator().local_rank();
    let (compute, data) = together.agree(open(config, local_rank))?;
    together.require_same(config, &data)?;
    let length = EpochLength::new(config, data.train.len());
    let fits = together.require_fit(config, &compute, length.batches);
    let mut notes: Vec<String> = fits?.into_iter().collect();
    let folder = RunFolder::new(&config.run);
    let start = match together.is_first() {
        true => Start::load(config, resume, &folder, length, &data, watch),
        false => Start::empty(config, length),
    };
    let mut start = together.agree(start)?;
    start.pass_on(config, &folder, together)?;
    let cached = match cache::folder(config) {
        Ok(Some((folder, note))) => data.cached(&folder).map(|(data, made)| {
            notes.extend(note.into_iter().chain(made));
            data
        }),
        Ok(None) => Ok(data),
        Err(error) => Err(error),
    };
    let data = together.agree(cached)?;
    let Start { mut trainer, mut progress, _lock } = start;
    let step = progress.epoch * length.steps + progress.partial.taken;
    let telemetry = match together.is_first() {
        true => {
            let ids = |source: &PairSource| {
                (0..source.len()).map(|index| source.id(index).to_string()).collect::<Vec<_>>()
            };
            folder
                .create(config, &ids(&data.train), &ids(&data.valid))
                .and_then(|()| folder.truncate_records(progress.epoch))
                .and_then(|()| Telemetry::start(config, &folder.tensorboard(), step))
        }
        false => Ok(Telemetry::off()),
    };
    let mut telemetry = together.agree(telemetry)?;
    let engine = Engine::start(&compute, config, &trainer, data.train, &progress, together);
    let (mut engine, note) = together.agree(engine)?;
    engine.join(together)?;
    notes.extend(note);
    if together.is_first() {
        notes.iter().for_each(|note| watch.note(note));
    }
    let running = Running { config, folder: &folder, length, valid: data.valid, together };
    running.run_epochs(engine, &mut trainer, &mut progress, &mut telemetry, watch)
}

/// Where to compute, and the pairs.
fn open(config: &TrainConfig, local_rank: usize) -> Result<(Compute, TrainingData)> {
    config.validate("configuration")?;
    let compute = Compute::select_for(&config.device, local_rank)?.compute;
    let data = TrainingData::of(config)?;
    if data.train.is_empty() {
        return Err(TrainError::NoPairs(format!(
            "`{}` has none left to train on",
            config.data.source
        )));
    }
    Ok((compute, data))
}

/// What a run goes on from.
struct Start {
    trainer: Trainer,
    progress: Progress,
    /// Of the run folder, on rank 0.
    _lock: Option<RunLock>,
}

impl Start {
    /// Takes hold of the run folder and reads what is there.
    fn load(
        config: &TrainConfig,
        resume: bool,
        folder: &RunFolder,
        length: EpochLength,
        data: &TrainingData,
        watch: &mut dyn Watch,
    ) -> Result<Self> {
        forgotten_test_list(&config.data).iter().for_each(|note| watch.note(note));
        // A picture that cannot be read should not cost an epoch.
        for index in 0..data.valid.len() {
            data.valid.load(index)?;
        }
        let lock = RunLock::new(&config.run)?;
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
        let mut trainer = new_trainer(config, config.epochs * length.steps)?;
        let mut progress = Progress::default();
        if resuming {
            let (saved, note) = state::load(folder, &mut trainer, config.adam)?;
            progress = saved;
            note.iter().for_each(|note| watch.note(note));
        }
        let origin = Origin::of(data)?;
        if resuming {
            let note = origin.follow(progress.origin.as_ref(), folder, data)?;
            note.iter().for_each(|note| watch.note(note));
        }
        progress.origin = Some(origin);
        if progress.epoch > config.epochs {
            return Err(TrainError::Shortened {
                path: config.run.clone(),
                done: progress.epoch,
                asked: config.epochs,
            });
        }
        Ok(Self { trainer, progress, _lock: Some(lock) })
    }

    /// A trainer for the state of rank 0, whose weights' file only that one needs.
    fn empty(config: &TrainConfig, length: EpochLength) -> Result<Self> {
        let config = TrainConfig { weights: Default::default(), ..config.clone() };
        let trainer = new_trainer(&config, config.epochs * length.steps)?;
        Ok(Self { trainer, progress: Progress::default(), _lock: None })
    }

    /// All ranks begin with the state of rank 0, wherever it is from.
    fn pass_on(
        &mut self,
        config: &TrainConfig,
        folder: &RunFolder,
        together: &Together<'_>,
    ) -> Result<()> {
        if together.is_alone() {
            return Ok(());
        }
        let path = folder.state();
        let bytes = match together.is_first() {
            true => state::serialize(&self.trainer, &self.progress, &path),
            false => Ok(Vec::new()),
        };
        let mut bytes = together.agree(bytes)?;
        together.communicator().broadcast(0, &mut bytes)?;
        if together.is_first() {
            return together.agree(Ok(()));
        }
        let restored = Checkpoint::from_bytes(&bytes, &path)
            .map_err(TrainError::from)
            .and_then(|state| state::restore(state, &path, &mut self.trainer, config.adam));
        self.progress = together.agree(restored)?;
        Ok(())
    }
}

/// A sentence where a set has its own list of test pairs and the configuration says nothing of it.
fn forgotten_test_list(data: &DataConfig) -> Option<String> {
    let list = Path::new(&data.source).join("test.txt");
    let unnamed = data.train.as_os_str().is_empty() && data.exclude.as_os_str().is_empty();
    (data.source != "sample" && data.protocol.is_empty() && unnamed && list.is_file()).then(|| {
        format!(
            "{} lists pairs for a test, but they are trained on: set data.exclude to it, or data.train \
             to a list of your own",
            list.display()
        )
    })
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
        engine: config.engine,
        ..Trainer::new(model, config.adam, config.loss, config.seed)
    })
}

/// What stays the same through a run's epochs.
struct Running<'a> {
    config: &'a TrainConfig,
    folder: &'a RunFolder,
    length: EpochLength,
    valid: PairSource,
    together: &'a Together<'a>,
}

impl Running<'_> {
    /// Trains until all epochs are done, `patience` is over, or `watch` stops the run.
    fn run_epochs(
        &self,
        mut engine: Engine,
        trainer: &mut Trainer,
        progress: &mut Progress,
        telemetry: &mut Telemetry,
        watch: &mut dyn Watch,
    ) -> Result<RunSummary> {
        let Self { config, folder, length, together, .. } = self;
        let epochs = Epochs { config, length: *length, together };
        let loss = together.first(|| match progress.epoch {
            0 => Ok(None),
            _ => Ok(folder.records()?.last().map(|record| record.loss)),
        })?;
        let mut loss = loss.unwrap_or(f64::NAN);
        let stale = |progress: &Progress| config.patience > 0 && progress.stale >= config.patience;
        let mut interrupted = false;
        let mut told: Vec<String> = Vec::new();
        while progress.epoch < config.epochs && !stale(progress) {
            let started = Instant::now();
            let before = progress.partial.seconds;
            while progress.partial.taken < length.steps {
                let until = self.next_save(progress);
                let mut watch = telemetry.beside(watch);
                engine.run_steps(epochs, until, trainer, progress, &mut watch)?;
                progress.partial.seconds = before + started.elapsed().as_secs_f64();
                interrupted = progress.partial.taken < until;
                if interrupted {
                    break;
                }
                if progress.partial.taken < length.steps {
                    self.save(&engine, trainer, progress)?;
                }
            }
            if interrupted {
                self.save(&engine, trainer, progress)?;
                break;
            }
            let mut record = finish_epoch(progress).map_err(|error| together.all_have(error))?;
            loss = record.loss;
            self.require_same_weights(&engine, trainer)?;
            // The others only learn what came of it.
            let after = together.first(|| {
                let mut after = progress.clone();
                let due = self.validate(
                    &mut engine,
                    trainer,
                    &mut after,
                    &mut record,
                    telemetry,
                    &mut told,
                    watch,
                )?;
                record.seconds = before + started.elapsed().as_secs_f64();
                folder.append_record(&record)?;
                if due {
                    self.write_weights(trainer, &folder.last())?;
                    if self.valid.is_empty() {
                        // Without validation pairs the last weights are the best known.
                        self.write_weights(trainer, &folder.best())?;
                    }
                    state::save(folder, trainer, &after)?;
                }
                let step = after.epoch * length.steps;
                telemetry.epoch(step, &record, trainer.learning_rate())?;
                watch.epoch(&record);
                Ok(after)
            })?;
            *progress = after;
        }
        Ok(RunSummary {
            epochs: progress.epoch,
            steps: progress.step,
            loss,
            best: progress.best_psnr.map(|psnr| (psnr, progress.best_epoch)),
            interrupted,
        })
    }

    /// Fails where the weights of ranks have parted.
    fn require_same_weights(&self, engine: &Engine, trainer: &mut Trainer) -> Result<()> {
        if self.together.is_alone() {
            return Ok(());
        }
        self.together.agree(engine.store(self.config, trainer))?;
        self.together.require_same_weights(trainer)
    }

    /// Saves the state.
    fn save(&self, engine: &Engine, trainer: &mut Trainer, progress: &Progress) -> Result<()> {
        self.require_same_weights(engine, trainer)?;
        self.together.first(|| {
            engine.store(self.config, trainer)?;
            state::save(self.folder, trainer, progress)
        })
    }

    /// Brings the weights of an epoch in which they are due into `trainer` and validates them. Whether
    /// they were due.
    #[expect(clippy::too_many_arguments, reason = "everything that a run has is seen or changed")]
    fn validate(
        &self,
        engine: &mut Engine,
        trainer: &mut Trainer,
        progress: &mut Progress,
        record: &mut EpochRecord,
        telemetry: &mut Telemetry,
        told: &mut Vec<String>,
        watch: &mut dyn Watch,
    ) -> Result<bool> {
        let Self { config, folder, length, valid, .. } = self;
        let last = progress.epoch == config.epochs;
        if !progress.epoch.is_multiple_of(config.validate_every) && !last {
            return Ok(false);
        }
        engine.store(config, trainer)?;
        if valid.is_empty() {
            return Ok(true);
        }
        let mut filters = FilterHealth::default();
        let mut seen = Seen::default();
        let psnr = engine.validate(trainer, valid, &mut |validated| {
            validated.filters.iter().for_each(|stack| filters.take(stack));
            if telemetry.is_on() { seen.take(validated) } else { Ok(()) }
        })?;
        telemetry.validation(progress.epoch * length.steps, seen)?;
        let health = Health::of(trainer.best_model(), &trainer.adam, filters)?;
        write_json(&folder.health(), &health)?;
        let complaints = health.complaints();
        // Each is told once, not at every validation.
        complaints.iter().filter(|c| !told.contains(c)).for_each(|c| watch.note(c));
        *told = complaints;
        record.valid_psnr = Some(psnr);
        if progress.best_psnr.is_none_or(|best| psnr > best) {
            progress.best_psnr = Some(psnr);
            progress.best_epoch = progress.epoch;
            progress.stale = 0;
            self.write_weights(trainer, &folder.best())?;
        } else {
            progress.stale += 1;
        }
        Ok(true)
    }

    /// The step of the epoch after which the state is saved next.
    fn next_save(&self, progress: &Progress) -> u64 {
        let (every, steps) = (self.config.save_every, self.length.steps);
        if every == 0 {
            return steps;
        }
        let done = progress.epoch * steps + progress.partial.taken;
        let next = (done / every + 1) * every;
        (next - progress.epoch * steps).min(steps)
    }

    fn write_weights(&self, trainer: &Trainer, path: &Path) -> Result<()> {
        let model = trainer.best_model();
        // Single precision, and some room for names.
        disk::require(self.folder.path(), 4 * model.parameters().count() as u64 + (1 << 16))?;
        Ok(write_safetensors(model, path)?)
    }
}

/// Closes the epoch that `progress` stands in; the record still lacks validation and duration.
fn finish_epoch(progress: &mut Progress) -> Result<EpochRecord> {
    let Partial { steps, loss, lab, ms_ssim, skipped, reason, .. } =
        std::mem::take(&mut progress.partial);
    progress.epoch += 1;
    progress.skipped += skipped;
    if steps == 0 {
        return Err(TrainError::AllSkipped { epoch: progress.epoch, reason });
    }
    let count = steps as f64;
    Ok(EpochRecord {
        epoch: progress.epoch,
        step: progress.step,
        loss: loss / count,
        lab: lab / count,
        ms_ssim: ms_ssim / count,
        valid_psnr: None,
        skipped,
        seconds: 0.0,
    })
}
