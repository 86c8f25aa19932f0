//! What is left of a step that stopped a run: the numbers and the pictures that made it fail.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use candle_core::{DType, Tensor};
use deeplpf_core::checkpoint::serialize_tensors;
use serde::Serialize;

use crate::{
    Batch, Result, TrainConfig, TrainError, Trainer, distribution::Together,
    run_folder::write_whole,
};

#[derive(Serialize)]
struct Failure {
    /// What happened, in a sentence.
    error: String,
    /// Optimiser steps taken before.
    step: u64,
    /// The pairs.
    ids: Vec<String>,
    /// Of `input.N` and `target.N`, image by image.
    pictures: BTreeMap<String, Statistics>,
    /// Of the weights before the step, which it did not change.
    weights: BTreeMap<String, Statistics>,
}

#[derive(Serialize)]
struct Statistics {
    shape: Vec<usize>,
    min: f64,
    mean: f64,
    max: f64,
}

impl Statistics {
    fn of(tensor: &Tensor) -> Result<Self> {
        let values = tensor.to_dtype(DType::F64)?;
        Ok(Self {
            shape: tensor.dims().to_vec(),
            min: values.min_all()?.to_scalar()?,
            mean: values.mean_all()?.to_scalar()?,
            max: values.max_all()?.to_scalar()?,
        })
    }
}

/// Leaves `failure/step-N.json` and, with the exact pictures, `failure/step-N.safetensors` in the run
/// folder. With several ranks the pictures are those of the rank whose step failed, and rank 0 writes.
///
/// # Errors
/// Files that cannot be written.
pub(crate) fn write(
    config: &TrainConfig,
    error: &TrainError,
    batches: &[Batch],
    trainer: &Trainer,
    together: &Together<'_>,
) -> Result<()> {
    let folder = config.run.join("failure");
    let path = folder.join(format!("step-{}.safetensors", trainer.adam.steps()));
    let culprit = match error {
        TrainError::OtherRank { rank, .. } => *rank,
        _ => together.rank(),
    };
    let is_own = culprit == together.rank();
    let files = if is_own { files(error, batches, trainer, &path) } else { Ok(<_>::default()) };
    let [mut pictures, mut numbers] = together.agree(files)?;
    together.communicator().broadcast(culprit, &mut pictures)?;
    together.communicator().broadcast(culprit, &mut numbers)?;
    together.first(|| {
        fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        write_whole(&path, &pictures)?;
        write_whole(&path.with_extension("json"), &numbers)
    })
}

/// The bytes of both files, of which `path` is the one with the pictures.
fn files(
    error: &TrainError,
    batches: &[Batch],
    trainer: &Trainer,
    path: &Path,
) -> Result<[Vec<u8>; 2]> {
    let mut tensors = BTreeMap::new();
    for (number, batch) in batches.iter().enumerate() {
        tensors.insert(format!("input.{number}"), batch.input.clone());
        tensors.insert(format!("target.{number}"), batch.target.clone());
    }
    let mut pictures = BTreeMap::new();
    for (name, tensor) in &tensors {
        for image in 0..tensor.dim(0)? {
            pictures.insert(format!("{name}.{image}"), Statistics::of(&tensor.get(image)?)?);
        }
    }
    let mut weights = BTreeMap::new();
    for (name, parameter) in trainer.model.parameters().iter() {
        weights.insert(name.to_string(), Statistics::of(parameter.as_tensor())?);
    }
    let failure = Failure {
        error: error.to_string(),
        step: trainer.adam.steps(),
        ids: batches.iter().flat_map(|batch| batch.ids.clone()).collect(),
        pictures,
        weights,
    };
    let numbers = serde_json::to_vec_pretty(&failure)
        .map_err(|error| TrainError::io("write", path)(error.into()))?;
    Ok([serialize_tensors(&tensors, HashMap::new(), path)?, numbers])
}
