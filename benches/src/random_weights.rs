//! Weights for machines that have no trained ones.

use std::path::Path;

use candle_core::{Device, Tensor};
use deeplpf_core::checkpoint::write_safetensors;
use deeplpf_core::{DType, Initialisation, Model, ModelConfig};

/// What every weight of the heads' convolutions is multiplied by: from PyTorch's initialisation,
/// uniform on ±1/sqrt(fan-in), to He's, ±sqrt(6/fan-in), which keeps the size of the signal. With
/// PyTorch's the raw parameters would hardly depend on the photograph, and a comparison of results
/// would not notice a head that is wrong.
const HE: f64 = 2.449_489_742_783_178;

/// Writes the release's network with random weights and filters that do something, as trained ones
/// do: heads whose signal does not fade, and waves in their last biases. The polynomial's numbers
/// are smaller, so that its result is seldom clamped.
///
/// # Errors
/// A file that cannot be written.
pub fn write(path: &Path) -> anyhow::Result<()> {
    let config = ModelConfig::default();
    let model = Model::new(&config, Initialisation::Release, 1, DType::F32, &Device::Cpu)?;
    for (name, parameter) in model.parameters().iter() {
        let Some(layer) = name.strip_prefix("deeplpfnet.") else { continue };
        let size = if layer.contains(".fc_cubic.") { 0.1 } else { 0.6 };
        let values = match (layer.contains(".fc_"), layer.ends_with(".bias")) {
            (false, true) => continue,
            (false, false) => (parameter.as_tensor() * HE)?,
            (true, false) => (parameter.as_tensor() * (HE * size))?,
            (true, true) => {
                let wave: Vec<f32> = (0..parameter.elem_count())
                    .map(|i| (size * (i as f64 * 1.7 + 0.3).sin()) as f32)
                    .collect();
                Tensor::from_vec(wave, parameter.shape(), &Device::Cpu)?
            }
        };
        parameter.set(&values)?;
    }
    write_safetensors(&model, path)?;
    Ok(())
}
