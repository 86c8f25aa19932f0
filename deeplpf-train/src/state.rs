//! Exact resume: weights, moments and counters in one file.
//!
//! Random draws are functions of the seed and the counters, so no generator state is needed.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use candle_core::{Device, Tensor};
use deeplpf_core::{Checkpoint, checkpoint::serialize_tensors};
use serde::{Deserialize, Serialize};

use crate::{
    Adam, AdamConfig, Result, RunFolder, TrainError, Trainer, adam::Moments, disk, origin::Origin,
    run_folder::write_whole,
};

/// Counters of a run between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Epochs finished.
    pub epoch: u64,
    /// Optimiser steps taken.
    pub step: u64,
    /// Best validation PSNR so far.
    pub best_psnr: Option<f64>,
    /// Its epoch.
    pub best_epoch: u64,
    /// Validations since then.
    #[serde(default)]
    pub stale: u64,
    /// Steps skipped because their numbers were not finite.
    #[serde(default)]
    pub skipped: u64,
    /// What there is of the epoch that has begun.
    #[serde(default)]
    pub partial: Partial,
    /// What the run is made from.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Sums over the steps of an epoch so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partial {
    /// Steps that are done, those that were skipped included.
    pub taken: u64,
    /// Steps that changed the weights.
    pub steps: u64,
    /// Sum of their losses.
    pub loss: f64,
    /// Sum of their mean absolute Lab differences.
    pub lab: f64,
    /// Sum of their MS-SSIM.
    pub ms_ssim: f64,
    /// Steps that were skipped.
    pub skipped: u64,
    /// Why the last of them was.
    pub reason: String,
    /// Seconds so far.
    pub seconds: f64,
}

const PROGRESS_KEY: &str = "progress";

/// The bytes of a state file, which `path` will be.
pub(crate) fn serialize(trainer: &Trainer, progress: &Progress, path: &Path) -> Result<Vec<u8>> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, parameter) in trainer.model.parameters().iter() {
        tensors.insert(format!("weight.{name}"), parameter.as_detached_tensor());
    }
    for (name, parameter) in trainer.average.iter().flat_map(|a| a.model().parameters().iter()) {
        tensors.insert(format!("average.{name}"), parameter.as_detached_tensor());
    }
    for (name, moments) in trainer.adam.moments() {
        tensors.insert(format!("first.{name}"), moments.first.clone());
        tensors.insert(format!("second.{name}"), moments.second.clone());
    }
    let progress = serde_json::to_string(progress).map_err(|error| damaged(path, error))?;
    let metadata = HashMap::from([(PROGRESS_KEY.to_string(), progress)]);
    Ok(serialize_tensors(&tensors, metadata, path)?)
}

/// Saves the state; the one before is kept.
pub(crate) fn save(folder: &RunFolder, trainer: &Trainer, progress: &Progress) -> Result<()> {
    let path = folder.state();
    let bytes = serialize(trainer, progress, &path)?;
    disk::require(folder.path(), bytes.len() as u64)?;
    if path.exists() {
        let previous = folder.previous_state();
        fs::rename(&path, &previous).map_err(TrainError::io("rename", &path))?;
    }
    write_whole(&path, &bytes)
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> TrainError {
    TrainError::State { path: path.into(), reason: reason.to_string() }
}

/// Loads the newest usable state into the trainer: the one before if a crash left none or a damaged
/// one, which the returned sentence then says.
pub(crate) fn load(
    folder: &RunFolder,
    trainer: &mut Trainer,
    adam: AdamConfig,
) -> Result<(Progress, Option<String>)> {
    let (newest, previous) = (folder.state(), folder.previous_state());
    if !newest.exists() {
        return Ok((load_file(&previous, trainer, adam)?, None));
    }
    match load_file(&newest, trainer, adam) {
        Err(error) if previous.exists() => match load_file(&previous, trainer, adam) {
            Ok(progress) => {
                let note = format!("{error}; went on from {} instead", previous.display());
                Ok((progress, Some(note)))
            }
            Err(second) => Err(TrainError::States {
                path: folder.path().into(),
                newest: Box::new(error),
                previous: Box::new(second),
            }),
        },
        result => Ok((result?, None)),
    }
}

fn load_file(path: &Path, trainer: &mut Trainer, adam: AdamConfig) -> Result<Progress> {
    restore(Checkpoint::read(path)?, path, trainer, adam)
}

/// Puts what [`serialize`] wrote into the trainer.
pub(crate) fn restore(
    checkpoint: Checkpoint,
    path: &Path,
    trainer: &mut Trainer,
    adam: AdamConfig,
) -> Result<Progress> {
    let progress: Progress = checkpoint
        .metadata
        .get(PROGRESS_KEY)
        .ok_or_else(|| damaged(path, "it holds no progress"))
        .and_then(|json| serde_json::from_str(json).map_err(|error| damaged(path, error)))?;
    let mut weights = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    let mut seconds = BTreeMap::new();
    let mut averages = BTreeMap::new();
    for (name, tensor) in checkpoint.tensors {
        let (kind, name) = name.split_once('.').ok_or_else(|| damaged(path, &name))?;
        match kind {
            "weight" => weights.insert(name.to_string(), tensor),
            "first" => firsts.insert(name.to_string(), tensor),
            "average" => averages.insert(name.to_string(), tensor),
            "second" => seconds.insert(name.to_string(), tensor),
            _ => return Err(damaged(path, format!("unknown tensor {kind}.{name}"))),
        };
    }
    trainer.model.assign(&weights, path)?;
    if let Some(average) = &trainer.average {
        average.model().assign(&averages, path)?;
    }
    let moments = moments(trainer, firsts, seconds, path)?;
    trainer.adam = Adam::restore(adam, progress.step, moments);
    Ok(progress)
}

fn moments(
    trainer: &Trainer,
    firsts: BTreeMap<String, Tensor>,
    mut seconds: BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<BTreeMap<String, Moments>> {
    let mut moments = BTreeMap::new();
    for (name, first) in firsts {
        let fits = |tensor: &Tensor| {
            trainer.model.parameters().get(&name).is_some_and(|p| p.dims() == tensor.dims())
        };
        match seconds.remove(&name) {
            Some(second) if fits(&first) && fits(&second) => {
                let device: &Device = trainer.model.parameters().device();
                let place = |tensor: Tensor| tensor.to_device(device);
                let pair = Moments { first: place(first)?, second: place(second)? };
                moments.insert(name, pair);
            }
            _ => return Err(damaged(path, format!("the moments of {name} do not fit"))),
        }
    }
    Ok(moments)
}
