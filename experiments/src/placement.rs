//! A checkpoint's model on the device that was asked for.

use std::path::Path;

use deeplpf_core::{
    Checkpoint, Compute, DType, Device, Enhancer, Input, Model, ModelConfig, Precision,
    select_device,
};

use crate::{Result, predictor::Predictor};

/// Something that computes, and the words for where: `CPU` or `cuda:0 (NVIDIA H200) in fp32`.
pub(crate) struct Placed<T> {
    pub computes: T,
    pub place: String,
}

fn load_model(weights: &Path, model: Option<&ModelConfig>) -> Result<Model> {
    Ok(Checkpoint::read(weights)?.model(model, DType::F32, &Device::Cpu)?)
}

/// On the chosen device. What `auto` comes to is announced, also where its GPU cannot take this model;
/// a device chosen by name is never exchanged for another.
fn place(
    model: Model,
    device: &str,
    precision: Precision,
    announce: &mut dyn FnMut(&str),
) -> Result<Placed<Enhancer>> {
    let selection = Compute::select(device)?;
    let place = match &selection.compute {
        Compute::Cpu => Compute::Cpu.describe(),
        gpu => format!("{} in {precision}", gpu.describe()),
    };
    let Some(note) = selection.note else {
        let computes = Enhancer::on(model, &selection.compute, precision)?;
        return Ok(Placed { computes, place });
    };
    match Enhancer::on(model.clone(), &selection.compute, precision) {
        Ok(computes) => {
            announce(&note);
            Ok(Placed { computes, place })
        }
        Err(error) => {
            announce(&format!("device auto: the CPU, because {error}"));
            Ok(Placed { computes: Enhancer::new(model)?, place: Compute::Cpu.describe() })
        }
    }
}

/// The model of a checkpoint, ready to enhance photographs.
pub(crate) fn place_enhancer(
    weights: &Checkpoint,
    model: Option<&ModelConfig>,
    device: &str,
    precision: Precision,
    announce: &mut dyn FnMut(&str),
) -> Result<Placed<Enhancer>> {
    place(weights.model(model, DType::F32, &Device::Cpu)?, device, precision, announce)
}

/// The model of a checkpoint, ready to be evaluated. One of packed mosaics computes on the CPU only.
pub(crate) fn load_predictor(
    weights: &Path,
    model: Option<&ModelConfig>,
    device: &str,
    precision: Precision,
    announce: &mut dyn FnMut(&str),
) -> Result<Placed<Predictor>> {
    place_predictor(load_model(weights, model)?, device, precision, announce)
}

/// Any model, ready to be evaluated: see [`load_predictor`].
pub(crate) fn place_predictor(
    model: Model,
    device: &str,
    precision: Precision,
    announce: &mut dyn FnMut(&str),
) -> Result<Placed<Predictor>> {
    match model.config().input {
        Input::Rgb => {
            let Placed { computes, place } = place(model, device, precision, announce)?;
            Ok(Placed { computes: Predictor::Photographs(Box::new(computes)), place })
        }
        Input::Bayer | Input::Xtrans => {
            select_device(device)?;
            let computes = Predictor::Mosaics(Box::new(model));
            Ok(Placed { computes, place: Compute::Cpu.describe() })
        }
    }
}
