//! Our checkpoint file: safetensors whose metadata holds the model's configuration as JSON.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{CoreError, Model, ModelConfig, Result};

/// The one metadata entry: a second one would be written in random order, and the file's bytes
/// would differ from run to run.
const CONFIG_KEY: &str = "config";

/// What a safetensors file holds.
pub(super) struct Contents {
    pub config: Option<ModelConfig>,
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: HashMap<String, String>,
}

/// Configuration (if any) and tensors of a safetensors file.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let malformed = |reason: String| CoreError::Malformed { path: path.into(), reason };
    let unreadable = |error: safetensors::SafeTensorError| {
        malformed(format!(
            "neither safetensors nor a PyTorch archive, or cut short ({error}); fetch or copy it again"
        ))
    };
    let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let config = match metadata.get(CONFIG_KEY) {
        None => None,
        Some(json) => Some(serde_json::from_str::<ModelConfig>(json).map_err(|error| {
            malformed(format!("the configuration in its metadata cannot be read: {error}"))
        })?),
    };
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let dtype = match view.dtype() {
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => return Err(malformed(format!("tensor {name} holds {other:?}, not floats"))),
        };
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        require_finite(path, &name, &tensor)?;
        tensors.insert(name, tensor);
    }
    Ok(Contents { config, tensors, metadata })
}

/// Refuses weights that are NaN or infinite.
pub(super) fn require_finite(path: &Path, name: &str, tensor: &Tensor) -> Result<()> {
    let sum = tensor.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
    if sum.is_finite() {
        return Ok(());
    }
    Err(CoreError::Malformed {
        path: path.into(),
        reason: format!("tensor {name} holds NaN or infinite numbers; use an earlier checkpoint"),
    })
}

/// Writes the model's parameters in their own numeric type, with its configuration. The file
/// appears whole or not at all.
///
/// # Errors
/// An unwritable place or a full disk.
pub fn write(model: &Model, path: &Path) -> Result<()> {
    write_tensors(model, &model.parameters().frozen(), path)
}

fn write_tensors(model: &Model, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let config = serde_json::to_string(model.config())
        .map_err(|error| CoreError::Config(error.to_string()))?;
    let metadata = HashMap::from([(CONFIG_KEY.to_string(), config)]);
    write_whole(path, &serialize_tensors(tensors, metadata, path)?)
}

/// As [`write()`], in half precision: half the size, each weight rounded to 11 significant bits. The
/// parameters nothing depends on (see [`Model::unused_parameters`]) are written as zeros, which
/// compress away.
///
/// # Errors
/// As [`write()`], or a weight beyond 65504, the largest half-precision number.
pub fn write_half(model: &Model, path: &Path) -> Result<()> {
    let unused: Vec<&str> = model.unused_parameters().collect();
    let mut tensors = model.parameters().frozen();
    for (name, tensor) in &mut tensors {
        let half = tensor.to_dtype(DType::F16)?;
        *tensor = if unused.contains(&name.as_str()) { half.zeros_like()? } else { half };
        require_finite(path, name, tensor)?;
    }
    write_tensors(model, &tensors, path)
}

/// A safetensors file of named tensors (f64 and f16 as they are, everything else as f32) in the order of their
/// names; `path` is only named in errors.
///
/// # Errors
/// Tensors that cannot be brought to the CPU.
pub fn serialize_tensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
    path: &Path,
) -> Result<Vec<u8>> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
        let (dtype, bytes): (Dtype, Vec<u8>) = match tensor.dtype() {
            DType::F64 => {
                let values = flat.to_vec1::<f64>()?;
                (Dtype::F64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            DType::F16 => {
                let values = flat.to_vec1::<half::f16>()?;
                (Dtype::F16, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            _ => {
                let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        };
        buffers.push((name, dtype, tensor.dims().to_vec(), bytes));
    }
    let malformed = |error: safetensors::SafeTensorError| CoreError::Malformed {
        path: path.into(),
        reason: error.to_string(),
    };
    let views = buffers
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((*name, TensorView::new(*dtype, shape.clone(), bytes).map_err(malformed)?))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some(metadata)).map_err(malformed)
}

/// Writes through a temporary file in the same folder, synced and renamed.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if std::fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
        // Renaming over a device or a pipe would replace it.
        let reason = std::io::Error::other("it is not a regular file; choose another name");
        return Err(CoreError::io("write", path)(reason));
    }
    let mut builder = tempfile::Builder::new();
    // Temporaries are private by default; a checkpoint should be as readable as any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Errors that name the temporary mean nothing to a user: its part of the message is dropped,
    // and the file is then written in parts.
    let file = builder.tempfile_in(folder).map_err(|error| {
        let message = error.to_string();
        let words = message.split(" at path ").next().unwrap_or(&message).to_string();
        CoreError::io("write", path)(std::io::Error::new(error.kind(), words))
    })?;
    let (mut file, name) = file.into_parts();
    file.write_all(bytes).map_err(CoreError::io("write", path))?;
    file.sync_all().map_err(CoreError::io("write", path))?;
    name.persist(path).map_err(|error| CoreError::io("write", path)(error.error))
}
