//! Weights of LPIPS VGG16 from PyTorch's files: the reader lives with the network, the metric with
//! the metrics.

use std::path::Path;

use deeplpf_core::{Checkpoint, DType};
use deeplpf_eval::metrics::{Lpips, WeightTensor, WeightTensors};

use crate::{ExperimentError, Result};

/// LPIPS with VGG16 from the `features.*` tensors of torchvision's `vgg16`, as safetensors or as a
/// state dict saved by PyTorch 1.6 or later. Nothing in the file is executed.
///
/// # Errors
/// A file that cannot be read, or other weights than those LPIPS v0.1 was fitted to.
pub fn read_lpips_vgg(path: &Path) -> Result<Lpips> {
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        return Ok(Lpips::vgg16_from_safetensors(path)?);
    }
    let mut tensors = WeightTensors::new();
    for (name, tensor) in Checkpoint::read(path)?.tensors {
        // The classifier is most of the file and no part of LPIPS.
        if name.starts_with("classifier.") {
            continue;
        }
        let values = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all())
            .and_then(|tensor| tensor.to_vec1::<f32>())
            .map_err(|error| ExperimentError::LpipsTensor {
                path: path.into(),
                tensor: name.clone(),
                reason: error.to_string(),
            })?;
        tensors.insert(name, WeightTensor { shape: tensor.dims().to_vec(), values });
    }
    Ok(Lpips::vgg16(&tensors, path)?)
}
