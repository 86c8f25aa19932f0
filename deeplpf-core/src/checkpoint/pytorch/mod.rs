//! PyTorch state dicts: a zip archive (stored, not compressed) with `<name>/data.pkl` and one file
//! `<name>/data/<key>` of little-endian numbers per storage (torch/serialization.py, torch 1.6 and
//! later).

mod pickle;

use std::{
    collections::{BTreeMap, HashMap},
    io::{Cursor, Read},
    path::Path,
    rc::Rc,
};

use candle_core::{Device, Tensor};

use super::safetensors::require_finite;
use crate::{CoreError, Result};
use pickle::{Entry, Value};

/// Tensors of a state dict, or of the `state_dict` entry of a training checkpoint.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let malformed = |reason: String| CoreError::Malformed {
        path: path.into(),
        reason: format!("{reason}; save it again with torch.save(model.state_dict(), FILE)"),
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| malformed(format!("the archive is cut short or damaged ({error})")))?;
    let mut pickle_name = None;
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|error| malformed(format!("the archive is damaged ({error})")))?;
        let name = entry.name().map_err(|error| malformed(error.to_string()))?.into_owned();
        if name.ends_with("/data.pkl") || name == "data.pkl" {
            pickle_name = Some(name);
        }
    }
    let Some(pickle_name) = pickle_name else {
        return Err(malformed(
            "the archive holds no data.pkl, so it is not from torch.save".into(),
        ));
    };
    let folder = pickle_name.trim_end_matches("data.pkl").to_string();
    let program = read_entry(&mut archive, &pickle_name, bytes.len()).map_err(&malformed)?;
    let root = pickle::interpret(path, &program)?;

    let entries = state_dict(&root)
        .ok_or_else(|| malformed("it holds no state dict (a dict of tensors by name)".into()))?;
    let mut storages: HashMap<Rc<str>, Vec<u8>> = HashMap::new();
    let mut tensors = BTreeMap::new();
    let mut gathered = 0;
    for (name, entry) in entries {
        let key = &entry.storage.key;
        if !storages.contains_key(key) {
            let file = format!("{folder}data/{key}");
            let raw = read_entry(&mut archive, &file, bytes.len())
                .map_err(|reason| malformed(format!("tensor {name}: {reason}")))?;
            storages.insert(key.clone(), raw);
        }
        let tensor = tensor(&entry, &storages[key])
            .map_err(|reason| malformed(format!("tensor {name}: {reason}")))?;
        gathered += tensor.elem_count() * entry.storage.dtype.size_in_bytes();
        if gathered > 2 * bytes.len() {
            // Many tensors over one storage would unfold a small file into a large model.
            return Err(malformed("its tensors are larger than the file".into()));
        }
        require_finite(path, &name, &tensor)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// A stored file of the archive; it cannot be larger than the archive itself.
fn read_entry(
    archive: &mut zip::ZipArchive<Cursor<&[u8]>>,
    name: &str,
    limit: usize,
) -> std::result::Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    if entry.size() > limit as u64 {
        return Err(format!("{name} claims {} bytes, more than the file has", entry.size()));
    }
    let mut content = Vec::new();
    entry
        .take(limit as u64)
        .read_to_end(&mut content)
        .map_err(|error| format!("{name} is damaged ({error})"))?;
    Ok(content)
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
