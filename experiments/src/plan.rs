//! What a recipe would do, before it does it: runs, time and disk.
//!
//! Times are measured: a few optimiser steps of every kind of run, one enhancement and one scoring,
//! on pictures of the size the data have.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use candle_core::{DType, Device};
use deeplpf_core::{Compute, Model, ModelConfig, Precision};
use deeplpf_data::Pair;
use deeplpf_eval::{metrics::metrics_by_key, published::published_results, score_image};
use deeplpf_train::{Batch, RunFolder, TrainConfig, Trainer, TrainingData};
use ndarray::Array3;

use crate::{
    Recipe, ReportedStatus, ReproduceRequest, Result,
    evaluation::METRICS,
    fingerprint::{Fingerprint, hash_pairs},
    placement::place_predictor,
    scale::DataDefinition,
    start::starting_hash,
    test_pairs::named_test_pairs,
    words::counted,
};

/// Bytes of the record of one tested photograph: four pictures of at most 800 pixels a side, and its
/// numbers. Of 78 photographs of 321 x 481 to 341 x 512 it was 272 KB.
const RECORD_BYTES: u64 = 300_000;
/// Measured after a first step, which allocates.
const MEASURED_STEPS: u32 = 4;

/// What a recipe would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its title and scale.
    pub title: String,
    /// What data must be there, and where they are looked for; of those that are missing, why.
    pub data: Vec<String>,
    /// What the paper reports, with source and status.
    pub reported: Vec<String>,
    /// One for each training, in order.
    pub runs: Vec<PlannedRun>,
    /// The folder of the results.
    pub out: PathBuf,
    /// On what the times were measured.
    pub measured: String,
    /// Bytes free on the disk of the results, where that can be told.
    pub free: Option<u64>,
}

/// One training of a plan.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// Name of its folder.
    pub folder: String,
    /// Numbers in its model.
    pub parameters: u64,
    /// Epochs in all.
    pub epochs: u64,
    /// Optimiser steps in all.
    pub steps: u64,
    /// Seconds of one step.
    pub step_seconds: f64,
    /// Seconds of all steps that are still to be made.
    pub train_seconds: f64,
    /// Seconds of all validations that are still to be made, and of the evaluation.
    pub evaluation_seconds: f64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// What there is of it.
    pub state: PlannedState,
}

/// What there is of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedState {
    /// Nothing.
    New,
    /// So many epochs.
    Begun(u64),
    /// All of it: it would be skipped.
    Trained,
    /// A run of another configuration, code or data, which would be refused without `redo`.
    Changed(String),
}

impl fmt::Display for PlannedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("to be trained"),
            Self::Begun(epoch) => write!(f, "begun, {} done", counted(*epoch, "epoch")),
            Self::Trained => f.write_str("trained already"),
            Self::Changed(what) => write!(f, "{what} changed: --redo trains it again"),
        }
    }
}

/// Plans what [`crate::reproduce()`] would do with the request, and measures how long it would take;
/// nothing is written.
///
/// # Errors
/// A recipe that is not valid. Data that are not there are no error: the plan says so, and counts as
/// many pairs as the data definition says.
pub fn plan(request: &ReproduceRequest) -> Result<Plan> {
    let name = request.recipe.as_str();
    request.owner().require(&request.folder())?;
    let written = Recipe::find(name)?;
    let recipe = written.at_scale(request.scale, name)?;
    let definition = match request.scale {
        Some(scale) => written.definition(scale, name)?,
        None => DataDefinition::default(),
    };
    // Lists that come with the program are written somewhere else than into the results.
    let scratch = tempfile::tempdir()
        .map_err(crate::ExperimentError::io("create", Path::new("a temporary folder")))?;
    let mut places = request.places();
    places.lists = scratch.path().to_path_buf();
    let mut data = Vec::new();
    if !definition.needs.is_empty() {
        data.push(format!("{} (in {})", definition.needs, request.data_root.display()));
    }
    let mut trainings = Vec::new();
    for run in &recipe.run {
        trainings.extend(recipe.trainings(run, name)?);
    }
    let tests: Vec<_> = std::iter::once(&recipe.test).chain(&recipe.also_test).collect();
    places.write_lists(&crate::reproduce::named_lists(&tests, trainings.iter()))?;
    let mut test_pairs = 0;
    for test in tests {
        match named_test_pairs(test, &places) {
            Ok(pairs) => test_pairs += pairs.pairs.len() as u64,
            Err(error) => {
                data.push(format!("not there: {error}"));
                test_pairs = definition.test_pairs;
                break;
            }
        }
    }
    let mut costs = Costs::default();
    let mut runs = Vec::new();
    for training in &trainings {
        let config = places.resolve_config(&training.config);
        let folder = request.folder().join("runs").join(&training.folder);
        // Weights that an earlier run has still to make are nobody's yet.
        let start = starting_hash(&config).ok();
        let (counts, hash, size) = match TrainingData::of(&config) {
            Ok(pairs) => {
                let counts = (pairs.train.len() as u64, pairs.valid.len() as u64);
                let folder_begun = RunFolder::new(&folder).metrics().exists();
                let hash = if folder_begun {
                    Some(hash_pairs(&[&pairs.train, &pairs.valid])?)
                } else {
                    None
                };
                let first = pairs.train.load(0)?;
                (counts, hash, (first.input.dim().1, first.input.dim().2))
            }
            Err(error) => {
                let missing = format!("not there: {error}");
                if !data.contains(&missing) {
                    data.push(missing);
                }
                let [rows, columns] = definition.size;
                let counts = (definition.train_pairs, definition.valid_pairs);
                (counts, None, (rows as usize, columns as usize))
            }
        };
        let cost = costs.of(&config, size)?;
        runs.push(planned(
            &training.folder,
            (&training.config, &config),
            &folder,
            counts,
            hash.zip(start),
            test_pairs,
            &cost,
        )?);
    }
    let device = trainings.first().map_or("auto", |training| training.config.device.as_str());
    let on_gpu = !matches!(Compute::select(device).map(|s| s.compute), Ok(Compute::Cpu) | Err(_));
    Ok(Plan {
        title: match request.scale {
            Some(scale) => format!("{}, scale {scale}", recipe.title),
            None => recipe.title.clone(),
        },
        data,
        reported: reported(&recipe)?,
        runs,
        out: request.folder(),
        measured: format!(
            "the quickest of {} steps of each kind of run on this machine's processor, {} threads{}{}",
            MEASURED_STEPS,
            std::thread::available_parallelism().map_or(1, usize::from),
            load().map_or(String::new(), |load| format!(", load {load} before")),
            if on_gpu { "; the runs would train on a GPU, faster than that" } else { "" }
        ),
        free: free_space(&request.folder()),
    })
}

/// Free bytes where `folder` is or would be.
fn free_space(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir());
    fs4::available_space(there.unwrap_or(Path::new("."))).ok()
}

/// What the paper says of the recipe's runs; numbers only of those that were read in their source.
fn reported(recipe: &Recipe) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if !recipe.paper.what.is_empty() {
        lines.push(format!("{}.", recipe.paper.what.trim_end_matches('.')));
    }
    let published = published_results(&recipe.paper.protocol)?;
    for run in &recipe.run {
        let method = &run.paper.method;
        match run.paper.status {
            ReportedStatus::Absent => {}
            ReportedStatus::Recalled => lines.push(format!(
                "{method}: a number is commonly quoted, but its source is not at hand, so it is not printed"
            )),
            ReportedStatus::Seen => {
                for result in published.iter().filter(|result| result.method == *method) {
                    let psnr = result.psnr.map_or(String::new(), |v| format!("{v:.2} dB"));
                    let ssim = result.ssim.map_or(String::new(), |v| format!(", SSIM {v:.3}"));
                    let source = result.source.as_deref().unwrap_or_default();
                    lines.push(format!(
                        "{method}: {psnr}{ssim} on {} (seen in: {source})",
                        result.protocol
                    ));
                }
            }
        }
    }
    Ok(lines)
}

/// What a kind of run costs.
#[derive(Clone, Debug)]
struct Cost {
    parameters: u64,
    step: Duration,
    /// Enhancing one picture.
    predict: Duration,
    /// Scoring one picture.
    score: Duration,
}

/// Costs by what decides them: the sizes of the network and of a step.
#[derive(Default)]
struct Costs(BTreeMap<String, Cost>);

impl Costs {
    fn of(&mut self, config: &TrainConfig, size: (usize, usize)) -> Result<Cost> {
        let sides = &config.data.crops;
        let crop = match sides.len() {
            0 => config.data.crop,
            count => sides.iter().sum::<usize>() / count,
        };
        let cut = if crop == 0 { size } else { (crop, crop) };
        let model = ModelConfig { fixes: Default::default(), ..config.model.clone() };
        let key =
            format!("{model:?} {cut:?} {size:?} {} {}", config.data.batch, config.data.accumulate);
        if let Some(cost) = self.0.get(&key) {
            return Ok(cost.clone());
        }
        let cost = measure(config, cut, size)?;
        self.0.insert(key, cost.clone());
        Ok(cost)
    }
}

/// A picture of ramps, as good as any for the time it takes.
fn picture(channels: usize, (rows, columns): (usize, usize)) -> Array3<f32> {
    Array3::from_shape_fn((channels, rows, columns), |(c, y, x)| {
        ((c + 1) * (3 * y + 2 * x) % 256) as f32 / 255.0
    })
}

fn measure(config: &TrainConfig, cut: (usize, usize), size: (usize, usize)) -> Result<Cost> {
    let (channels, scale) = (config.model.input.channels(), config.model.input.scale());
    let pair = |(rows, columns): (usize, usize)| Pair {
        id: "x".into(),
        input: picture(channels, (rows, columns)),
        target: picture(3, (rows * scale, columns * scale)),
    };
    let new_model =
        || Model::new(&config.model, config.initialisation, config.seed, DType::F32, &Device::Cpu);
    let model = new_model()?;
    let parameters = model.parameters().count() as u64;
    let mut trainer = Trainer::new(model, config.adam, config.loss, config.seed);
    let pairs = vec![pair(cut); config.data.batch];
    let batch = Batch::stack(&pairs, DType::F32, &Device::Cpu)?;
    trainer.step(&batch, 0)?;
    // The quickest: what else the machine does only makes a step longer.
    let mut quickest = std::time::Duration::MAX;
    for _ in 0..MEASURED_STEPS {
        let started = Instant::now();
        trainer.step(&batch, 0)?;
        quickest = quickest.min(started.elapsed());
    }
    let step = quickest * config.data.accumulate as u32;
    let whole = pair(size);
    let predictor = place_predictor(new_model()?, "cpu", Precision::Fp32, &mut |_| {})?.computes;
    let started = Instant::now();
    let (output, _) = predictor.predict(whole.input.view())?;
    let predict = started.elapsed();
    let metrics = metrics_by_key(METRICS)?;
    let started = Instant::now();
    score_image(&metrics, "x", output.view(), whole.target.view())?;
    Ok(Cost { parameters, step, predict, score: started.elapsed() })
}

fn planned(
    name: &str,
    (written, resolved): (&TrainConfig, &TrainConfig),
    folder: &Path,
    (train, valid): (u64, u64),
    hashes: Option<(String, Option<String>)>,
    test: u64,
    cost: &Cost,
) -> Result<PlannedRun> {
    let data = &written.data;
    let steps = train.div_ceil(data.batch as u64).div_ceil(data.accumulate as u64);
    let run = RunFolder::new(folder);
    let state = match (hashes, Fingerprint::read(folder)?) {
        (Some((data, start)), Some(before)) => {
            match Fingerprint::new(written, data, start).change_from(&before, &run, resolved) {
                Some(change) => PlannedState::Changed(change),
                None => match run.records()?.len() as u64 {
                    done if done >= written.epochs => PlannedState::Trained,
                    done => PlannedState::Begun(done),
                },
            }
        }
        _ => PlannedState::New,
    };
    let left = match state {
        PlannedState::Trained => 0,
        PlannedState::Begun(done) => written.epochs - done,
        _ => written.epochs,
    };
    let validations = left.div_ceil(written.validate_every) * valid;
    // Outputs and inputs are both scored.
    let judged = test as f64 * (cost.predict + 2 * cost.score).as_secs_f64();
    // Best and last weights; two states of weights and both moments, and one that is being written.
    let weights = 4 * cost.parameters;
    let kept = if written.average > 0.0 { 4 } else { 3 };
    Ok(PlannedRun {
        folder: name.to_owned(),
        parameters: cost.parameters,
        epochs: written.epochs,
        steps: written.epochs * steps,
        step_seconds: cost.step.as_secs_f64(),
        train_seconds: (left * steps) as f64 * cost.step.as_secs_f64(),
        evaluation_seconds: validations as f64 * cost.predict.as_secs_f64() + judged,
        bytes: weights * (2 + 3 * kept) + test * RECORD_BYTES,
        state,
    })
}

/// How many programs wanted a processor in the last minute, where the system tells (Linux).
fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next().map(str::to_owned)
}

/// Seconds for people: `40 s`, `12 min`, `3.5 h`, `21 days`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1_000_000_000 => format!("{:.0} MB", b as f64 / 1e6),
        b => format!("{:.1} GB", b as f64 / 1e9),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for line in &self.data {
            writeln!(f, "data: {line}")?;
        }
        for line in &self.reported {
            writeln!(f, "published: {line}")?;
        }
        let longest = self.runs.iter().map(|run| run.folder.len()).max().unwrap_or(0).max(3);
        writeln!(
            f,
            "\n{:longest$}  parameters  epochs    steps  a step     training  evaluation     disk",
            "run"
        )?;
        for run in &self.runs {
            writeln!(
                f,
                "{:longest$}  {:>10}  {:>6}  {:>7}  {:>4.2} s  {:>11}  {:>10}  {:>7}  {}",
                run.folder,
                run.parameters,
                run.epochs,
                run.steps,
                run.step_seconds,
                duration(run.train_seconds),
                duration(run.evaluation_seconds),
                size(run.bytes),
                run.state
            )?;
        }
        let seconds: f64 = self.runs.iter().map(|r| r.train_seconds + r.evaluation_seconds).sum();
        let bytes: u64 = self.runs.iter().map(|run| run.bytes).sum();
        writeln!(
            f,
            "\n{}, {} in all, {} on disk in {}",
            counted(self.runs.len() as u64, "run"),
            duration(seconds),
            size(bytes),
            self.out.display()
        )?;
        if let Some(free) = self.free {
            let warning = if free < bytes { ": TOO LITTLE" } else { "" };
            writeln!(f, "free there: {}{warning}", size(free))?;
        }
        write!(f, "times: {}", self.measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let seconds = [40.0, 600.0, 12_600.0, 1_814_400.0];
        assert_eq!(seconds.map(duration), ["40 s", "10 min", "3.5 h", "21 days"]);
        assert_eq!([45_000_000, 2_300_000_000].map(size), ["45 MB", "2.3 GB"]);
    }

    #[test]
    fn only_numbers_that_were_read_in_their_source_are_printed() {
        let lines = reported(&Recipe::find("ablation").unwrap()).unwrap();
        assert_eq!(lines.len(), 8, "{lines:?}");
        let with_numbers: Vec<_> = lines.iter().filter(|line| line.contains("dB")).collect();
        assert!(
            matches!(&with_numbers[..], [one] if one.contains("23.93") && one.contains("poster")),
            "{with_numbers:?}"
        );
        assert!(lines[1].starts_with("U-Net: ") && lines[1].contains("not printed"));
    }
}
