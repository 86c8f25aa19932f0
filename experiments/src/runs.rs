//! Finding the runs that folders hold, and whether they can be compared.

use std::{
    fs,
    path::{Path, PathBuf},
};

use deeplpf_core::Precision;
use deeplpf_eval::Scores;
use deeplpf_train::{EpochRecord, RunFolder, TrainConfig, TrainingData};

use crate::{
    ExperimentError, Result,
    evaluation::record_evaluation,
    placement::load_predictor,
    record::{RunRecord, has_record},
    test_pairs::TestPairs,
};

/// A run or an evaluation with its record.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its name in tables.
    pub label: String,
    pub folder: PathBuf,
    pub record: RunRecord,
    /// Its training, if it was trained in this folder.
    pub training: Option<Training>,
}

/// The training of a run.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub config: TrainConfig,
    pub epochs: Vec<EpochRecord>,
}

impl Training {
    /// Runs that differ in their seed only have the same.
    pub fn without_seed(&self) -> String {
        let mut config = self.config.clone();
        config.seed = 0;
        config.run = PathBuf::new();
        config.device = String::new();
        config.to_toml()
    }
}

/// The run in `folder`, which must have a record.
pub(crate) fn read_run(folder: &Path) -> Result<Run> {
    let record = RunRecord::read(folder)?;
    let training_folder = RunFolder::new(folder);
    let training = if training_folder.config().is_file() && training_folder.metrics().is_file() {
        let config = TrainConfig::read(&training_folder.config(), &[])?;
        Some(Training { config, epochs: training_folder.records()? })
    } else {
        None
    };
    Ok(Run { label: record.label.clone(), folder: folder.to_owned(), record, training })
}

/// All runs that the folders hold: a run or an evaluation each, or those in `runs/` of a recipe's
/// results. A trained run that was never evaluated is evaluated on its validation pairs, and its
/// record is kept in its folder.
pub(crate) fn find_runs(
    folders: &[PathBuf],
    device: &str,
    announce: &mut dyn FnMut(&str),
) -> Result<Vec<Run>> {
    let mut found: Vec<Run> = Vec::new();
    for folder in folders {
        if !folder.is_dir() {
            return Err(ExperimentError::NoRun {
                path: folder.clone(),
                reason: "there is no such folder".into(),
            });
        }
        if has_record(folder) {
            found.push(read_run(folder)?);
        } else if is_trained(folder) {
            evaluate_validation(folder, device, announce)?;
            found.push(read_run(folder)?);
        } else {
            let inner = inner_runs(folder)?;
            if inner.is_empty() {
                return Err(ExperimentError::NoRun {
                    path: folder.clone(),
                    reason: "it holds neither a trained run nor an evaluation".into(),
                });
            }
            for folder in inner {
                if !has_record(&folder) {
                    evaluate_validation(&folder, device, announce)?;
                }
                found.push(read_run(&folder)?);
            }
        }
    }
    Ok(found)
}

fn is_trained(folder: &Path) -> bool {
    let run = RunFolder::new(folder);
    run.config().is_file() && run.best().is_file()
}

/// The folders in `runs/` that hold a run, by name.
fn inner_runs(folder: &Path) -> Result<Vec<PathBuf>> {
    let runs = folder.join("runs");
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let mut inner = Vec::new();
    for entry in fs::read_dir(&runs).map_err(ExperimentError::io("read", &runs))? {
        let path = entry.map_err(ExperimentError::io("read", &runs))?.path();
        if has_record(&path) || is_trained(&path) {
            inner.push(path);
        }
    }
    inner.sort();
    Ok(inner)
}

fn evaluate_validation(folder: &Path, device: &str, announce: &mut dyn FnMut(&str)) -> Result<()> {
    let config = TrainConfig::read(&RunFolder::new(folder).config(), &[])?;
    let sid = config.sid_protocol()?;
    let data = match sid {
        Some(protocol) => TrainingData::sid(&config.data, protocol)?,
        None => TrainingData::from_config(&config.data, config.seed)?,
    };
    let pairs = data.valid;
    if pairs.is_empty() {
        return Err(ExperimentError::NoRun {
            path: folder.to_owned(),
            reason:
                "the run was never evaluated and has no validation pairs; evaluate its weights \
                     with `deeplpf eval -o DIR` and report DIR"
                    .into(),
        });
    }
    announce(&format!(
        "{} was never evaluated: evaluating its best weights on its {} validation pairs",
        folder.display(),
        pairs.len()
    ));
    let data = Path::new(&config.data.source);
    let name = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy();
    let tested = TestPairs {
        pairs,
        protocol: match (sid, config.data.source.as_str()) {
            (Some(protocol), _) => protocol.to_string(),
            (None, "sample") => "embedded sample set (one known look, synthetic targets)".into(),
            _ => format!("paired folder {name}"),
        },
        split: "validation".into(),
        folder: (config.data.source != "sample").then(|| data.to_path_buf()),
    };
    let weights = RunFolder::new(folder).best();
    let predictor = load_predictor(&weights, None, device, Precision::Fp32, announce)?.computes;
    let label = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    record_evaluation(&predictor, &tested, label, &weights, folder, announce)?;
    Ok(())
}

/// Fails unless all runs were judged on the same pairs: the same names, and the same scores of the
/// unchanged inputs, which are the same only for the same pictures.
pub(crate) fn require_same_pairs(runs: &[Run]) -> Result<()> {
    let Some((first, others)) = runs.split_first() else { return Ok(()) };
    for other in others {
        let refuse = |reason: String| ExperimentError::NotComparable {
            first: first.label.clone(),
            second: other.label.clone(),
            reason,
        };
        let (a, b) = (&first.record, &other.record);
        let missing = a.photographs.keys().find(|id| !b.photographs.contains_key(*id));
        let surplus = b.photographs.keys().find(|id| !a.photographs.contains_key(*id));
        if let Some(id) = missing.or(surplus) {
            return Err(refuse(format!(
                "{} photographs against {}; `{id}` is in one of them only",
                a.photographs.len(),
                b.photographs.len()
            )));
        }
        if let Some(reason) = other_inputs(&a.input_scores, &b.input_scores) {
            return Err(refuse(reason));
        }
    }
    Ok(())
}

/// Where the scores of unchanged inputs differ, which those of the same pairs do not.
pub(crate) fn other_inputs(a: &Scores, b: &Scores) -> Option<String> {
    for metric in a.metrics() {
        for (id, _) in a.images() {
            let [Some(one), Some(two)] = [a, b].map(|scores| scores.get(id, &metric.key)) else {
                continue;
            };
            // Other processors may round the last digits of a sum differently.
            if one != two && (one - two).abs() > 1e-6 * one.abs().max(1.0) {
                return Some(format!(
                    "photograph `{id}` is not the same pair: its input has {} {} against {}",
                    metric.label,
                    metric.format(one),
                    metric.format(two)
                ));
            }
        }
    }
    None
}
