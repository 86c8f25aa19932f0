//! What is left of a step that stopped a run: the numbers and the pictures that made it fail.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use candle_core::{DType, Tensor};
use deeplpf_core::checkpoint::serialize_tensors;
use serde::Serialize;

use crate::{
    Batch, Result, TrainConfig, TrainError, Trainer,
    run_folder::{write_json, write_whole},
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
/// folder.
///
/// # Errors
/// Files that cannot be written.
pub(crate) fn write(
    config: &TrainConfig,
    error: &TrainError,
    batches: &[Batch],
    trainer: &Trainer,
) -> Result<()> {
    let folder = config.run.join("failure");
    fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
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
    let path = folder.join(format!("step-{}.safetensors", failure.step));
    write_whole(&path, &serialize_tensors(&tensors, HashMap::new(), &path)?)?;
    let path = path.with_extension("json");
    write_json(&path, &failure)
}
