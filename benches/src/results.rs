//! What deeplpf computes for the measured inputs, for `peers/check.py` to compare with: a peer
//! that computes something else is no peer.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use candle_core::{Device, Tensor};
use deeplpf_core::checkpoint::serialize_tensors;
use deeplpf_core::{DType, EnhanceOptions, Enhancer, Mode, Model, ModelConfig};
use deeplpf_train::Trainer;
use ndarray::{Array3, s};

use crate::photograph::{Photograph, Size};
use crate::{filters, inference, training};

/// Training steps whose losses are written: the second and third see what Adam did.
const STEPS: usize = 3;

/// Writes `inference.output`, `inference.raw`, `model.output`, `filters.output`,
/// `filters.gradient.image`, `filters.gradient.raw` and `training.losses` (dropout 0).
///
/// # Errors
/// Unusable weights, or a file that cannot be written.
pub fn write(path: &Path, weights: &Path, size: Size) -> anyhow::Result<()> {
    let photograph = Photograph::new(size);
    let image = photograph.to_floats();
    let mut tensors = BTreeMap::new();
    let mut keep = |name: &str, tensor| tensors.insert(name.to_owned(), tensor);

    let model = inference::read_model(weights)?;
    let prediction = model.forward(&photograph.to_tensor()?, Mode::Evaluate)?;
    keep("model.output", prediction.output);
    let enhancer = Enhancer::new(model.clone())?;
    let mut output = Array3::zeros(image.raw_dim());
    let parameters = enhancer.enhance_rows(
        &image.view(),
        &EnhanceOptions::default(),
        &mut |_| {},
        &mut |first, band| {
            output.slice_mut(s![.., first..first + band.dim().1, ..]).assign(&band);
        },
    )?;
    keep("inference.output", tensor(output)?);
    keep("inference.raw", vector(parameters.raw)?);

    let stack = filters::stack()?;
    let gradients = stack.vjp(image.view(), image.mapv(|value| value - 0.5).view())?;
    keep("filters.output", tensor(stack.apply(image.view())?)?);
    keep("filters.gradient.image", tensor(gradients.image)?);
    keep("filters.gradient.raw", vector(gradients.raw.context("no gradient of raw numbers")?)?);

    let config = ModelConfig { dropout: 0.0, ..model.config().clone() };
    let named = model.parameters().frozen();
    let model = Model::from_tensors(&config, &named, weights, DType::F32, &Device::Cpu)?;
    let mut trainer = Trainer { model, ..training::trainer(weights)? };
    let batch = training::batch(size)?;
    let losses = (0..STEPS)
        .map(|_| Ok(trainer.step(&batch, 0)?.loss as f32))
        .collect::<anyhow::Result<Vec<_>>>()?;
    keep("training.losses", vector(losses)?);

    let bytes = serialize_tensors(&tensors, HashMap::new(), path)?;
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn tensor(values: Array3<f32>) -> anyhow::Result<Tensor> {
    let dims = values.dim();
    Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape(dims)?)
}

fn vector(values: Vec<f32>) -> anyhow::Result<Tensor> {
    Ok(Tensor::new(values, &Device::Cpu)?)
}
