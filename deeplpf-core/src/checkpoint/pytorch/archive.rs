//! PyTorch 1.6 and later: a zip archive (stored, not compressed) with `<name>/data.pkl` and one file
//! `<name>/data/<key>` of little-endian numbers per storage (torch/serialization.py).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{Cursor, Read},
    path::Path,
};

use candle_core::Tensor;

use super::{gather, malformed, pickle};
use crate::Result;

pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let malformed = |reason: String| malformed(path, reason);
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
    gather(path, &root, bytes.len(), |storage| {
        let file = format!("{folder}data/{}", storage.key);
        read_entry(&mut archive, &file, bytes.len()).map(Cow::Owned)
    })
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
