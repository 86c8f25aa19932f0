//! The pictures among the files and folders a user names.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::natural_order::compare;
use crate::picture::SourceFormat;

/// The pictures meant by a list of files and folders, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct FoundImages {
    /// Pictures with a stem of their own, in natural order of their stems.
    pub images: Vec<PathBuf>,
    /// One for each file or folder that cannot be used, in the order of the list.
    pub problems: Vec<DataError>,
}

/// The pictures meant by a list of files and folders, in natural order of their stems.
///
/// A folder stands for the files directly in it that have a picture's extension
/// ([`SourceFormat::EXTENSIONS`]) and do not begin with a dot. A file that is named itself is taken
/// whatever its extension; decoding it will tell what it is. A file named twice counts once.
///
/// # Errors
/// The first of the problems that [`find_each`] lists.
pub fn find_images<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>, DataError> {
    let found = find_each(paths);
    found.problems.into_iter().next().map_or(Ok(found.images), Err)
}

/// As [`find_images`], but what cannot be used does not stop the rest:
/// [`DataError::Read`] for what does not exist, [`DataError::NoImages`] for a folder without
/// pictures, [`DataError::NotUnicode`] for a name that gives no stem, [`DataError::DanglingLink`] and
/// [`DataError::NotRegularFile`] for what only looks like a picture in a folder, and
/// [`DataError::SameStem`] for *every* picture that shares its stem with another: none is preferred.
pub fn find_each<P: AsRef<Path>>(paths: &[P]) -> FoundImages {
    let mut problems = Vec::new();
    let mut by_stem: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        let entries = match entries(path.as_ref()) {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        for entry in entries {
            match entry {
                Ok((stem, path)) => {
                    let same = by_stem.entry(stem).or_default();
                    if !same.iter().any(|known| same_file(known, &path)) {
                        same.push(path);
                    }
                }
                Err(error) => problems.push(error),
            }
        }
    }
    let mut by_stem: Vec<_> = by_stem.into_iter().collect();
    by_stem.sort_by(|a, b| compare(&a.0, &b.0));
    let mut images = Vec::new();
    for (stem, mut same) in by_stem {
        if same.len() == 1 {
            images.append(&mut same);
            continue;
        }
        for (k, path) in same.iter().enumerate() {
            let other = same[usize::from(k == 0)].clone();
            problems.push(DataError::SameStem { stem: stem.clone(), path: path.clone(), other });
        }
    }
    FoundImages { images, problems }
}

/// A picture's stem and path, or why there is none.
pub(crate) type Entry = Result<(String, PathBuf), DataError>;

/// What one name on the list stands for.
fn entries(path: &Path) -> Result<Vec<Entry>, DataError> {
    let metadata = std::fs::metadata(path).map_err(|e| DataError::read(path, e))?;
    if !metadata.is_dir() {
        return Ok(vec![stem(path).map(|stem| (stem, path.to_path_buf()))]);
    }
    let entries = entries_of(path, has_picture_extension)?;
    if entries.is_empty() {
        return Err(DataError::NoImages { path: path.to_path_buf() });
    }
    Ok(entries)
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// The pictures directly in a folder with their stems, in natural order; possibly none.
///
/// # Errors
/// The first file that looks like a picture and cannot be used.
pub(crate) fn images_in(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut found =
        entries_of(folder, has_picture_extension)?.into_iter().collect::<Result<Vec<_>, _>>()?;
    found.sort_by(|a, b| compare(&a.0, &b.0));
    Ok(found)
}

/// Everything directly in a folder that looks like a picture, in the order of the paths.
pub(crate) fn entries_of(
    folder: &Path,
    looks_like_a_picture: impl Fn(&Path) -> bool,
) -> Result<Vec<Entry>, DataError> {
    let failed = |e| DataError::read(folder, e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && looks_like_a_picture(&path) {
            paths.push(path);
        }
    }
    // A folder's own order is not the same everywhere.
    paths.sort();
    let entry = |path: PathBuf| match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(metadata) if metadata.is_file() => Some(stem(&path).map(|stem| (stem, path))),
        Ok(_) => Some(Err(DataError::NotRegularFile { path })),
        Err(e) if e.kind() == ErrorKind::NotFound => Some(Err(DataError::DanglingLink { path })),
        Err(e) => Some(Err(DataError::read(&path, e))),
    };
    Ok(paths.into_iter().filter_map(entry).collect())
}

pub(crate) fn has_picture_extension(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|extension| {
        SourceFormat::EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

pub(crate) fn stem(path: &Path) -> Result<String, DataError> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .map(str::to_owned)
        .ok_or_else(|| DataError::NotUnicode { path: path.to_path_buf() })
}
