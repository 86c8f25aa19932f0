//! The pictures among the files and folders a user names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::natural_order::compare;
use crate::picture::SourceFormat;

/// The pictures meant by a list of files and folders, in natural order of their stems.
///
/// A folder stands for the files directly in it that have a picture's extension
/// ([`SourceFormat::EXTENSIONS`]) and do not begin with a dot. A file that is named itself is taken
/// whatever its extension; decoding it will tell what it is. A file named twice counts once.
///
/// # Errors
/// [`DataError::Read`] for what does not exist, [`DataError::NoImages`] for a folder without
/// pictures, [`DataError::SameStem`] for two pictures whose results would have one name.
pub fn find_images<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>, DataError> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|e| DataError::read(path, e))?;
        if metadata.is_dir() {
            let in_folder = images_in(path)?;
            if in_folder.is_empty() {
                return Err(DataError::NoImages { path: path.to_path_buf() });
            }
            found.extend(in_folder);
        } else {
            found.push((stem(path)?, path.to_path_buf()));
        }
    }
    let mut seen: HashMap<String, PathBuf> = HashMap::new();
    let mut distinct = Vec::new();
    for (stem, path) in found {
        match seen.get(&stem) {
            None => {
                seen.insert(stem.clone(), path.clone());
                distinct.push((stem, path));
            }
            Some(first) if same_file(first, &path) => {}
            Some(first) => {
                return Err(DataError::SameStem { stem, first: first.clone(), second: path });
            }
        }
    }
    distinct.sort_by(|a, b| compare(&a.0, &b.0));
    Ok(distinct.into_iter().map(|(_, path)| path).collect())
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// The pictures directly in a folder with their stems, in natural order; possibly none.
pub(crate) fn images_in(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let failed = |e| DataError::read(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && has_picture_extension(&path) && path.is_file() {
            found.push((stem(&path)?, path));
        }
    }
    // By path as well, so that two files of one stem always come in the same order.
    found.sort_by(|a, b| compare(&a.0, &b.0).then_with(|| a.1.cmp(&b.1)));
    Ok(found)
}

fn has_picture_extension(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|extension| {
        SourceFormat::EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

fn stem(path: &Path) -> Result<String, DataError> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .map(str::to_owned)
        .ok_or_else(|| DataError::NotUnicode { path: path.to_path_buf() })
}
