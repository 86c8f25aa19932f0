//! PyTorch's files of tensors, read without running anything: a pickle that describes tensors,
//! and their numbers, in a zip archive ([`archive`]) or, before PyTorch 1.6, one behind the other
//! ([`legacy`]).

mod archive;
mod legacy;
mod pickle;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::Path,
    rc::Rc,
};

use candle_core::{Device, Tensor};

use super::safetensors::require_finite;
use crate::{CoreError, Result};
use pickle::{Entry, Storage, Value};

/// Whether the file begins as PyTorch's do.
pub(super) fn begins(bytes: &[u8]) -> bool {
    archive::begins(bytes) || legacy::begins(bytes)
}

/// Tensors of a state dict, or of the `state_dict` entry of a training checkpoint.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    if archive::begins(bytes) { archive::read(path, bytes) } else { legacy::read(path, bytes) }
}

fn malformed(path: &Path, reason: impl std::fmt::Display) -> CoreError {
    CoreError::Malformed {
        path: path.into(),
        reason: format!("{reason}; save it again with torch.save(model.state_dict(), FILE)"),
    }
}

/// The tensors that the pickle's value describes, with the bytes that `storage` finds; `length` is
/// the file's.
fn gather<'a>(
    path: &Path,
    root: &Value,
    length: usize,
    mut storage: impl FnMut(&Storage) -> std::result::Result<Cow<'a, [u8]>, String>,
) -> Result<BTreeMap<String, Tensor>> {
    let entries = state_dict(root)
        .ok_or_else(|| malformed(path, "it holds no state dict (a dict of tensors by name)"))?;
    let mut storages: HashMap<Rc<str>, Cow<'a, [u8]>> = HashMap::new();
    let mut tensors = BTreeMap::new();
    let mut gathered = 0;
    for (name, entry) in entries {
        let of_tensor = |reason: String| malformed(path, format!("tensor {name}: {reason}"));
        let key = &entry.storage.key;
        if !storages.contains_key(key) {
            storages.insert(key.clone(), storage(&entry.storage).map_err(of_tensor)?);
        }
        let tensor = tensor(&entry, &storages[key]).map_err(of_tensor)?;
        gathered += tensor.elem_count() * entry.storage.dtype.size_in_bytes();
        if gathered > 2 * length {
            // Many tensors over one storage would unfold a small file into a large model.
            return Err(malformed(path, "its tensors are larger than the file"));
        }
        require_finite(path, &name, &tensor)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn state_dict(root: &Value) -> Option<Vec<(String, Rc<Entry>)>> {
    let Value::Dict(items) = root else { return None };
    let items = items.items.borrow();
    for (key, value) in items.iter() {
        if let (Value::Text(key), Value::Dict(_)) = (key, value)
            && ["state_dict", "model_state_dict", "model"].contains(&&**key)
        {
            return state_dict(value);
        }
    }
    let tensors: Vec<_> = items
        .iter()
        .filter_map(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Tensor(entry)) => Some((name.to_string(), entry.clone())),
            _ => None,
        })
        .collect();
    (!tensors.is_empty()).then_some(tensors)
}

fn tensor(entry: &Entry, raw: &[u8]) -> std::result::Result<Tensor, String> {
    let size = entry.storage.dtype.size_in_bytes();
    let available = raw.len() / size;
    let count = entry.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let Some(count) = count.filter(|&count| count <= available) else {
        return Err(format!("shape {:?} needs more numbers than the file has", entry.shape));
    };
    let mut gathered = Vec::with_capacity(count * size);
    let mut index = vec![0usize; entry.shape.len()];
    for _ in 0..count {
        let position = index
            .iter()
            .zip(&entry.strides)
            .try_fold(entry.offset, |sum, (&i, &stride)| i.checked_mul(stride)?.checked_add(sum))
            .filter(|&position| position < available)
            .ok_or("it reaches past its storage")?;
        gathered.extend_from_slice(&raw[position * size..][..size]);
        for (i, &n) in index.iter_mut().zip(&entry.shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    Tensor::from_raw_buffer(&gathered, entry.storage.dtype, &entry.shape, &Device::Cpu)
        .map_err(|error| error.to_string())
}
