//! A tree of files to read from: a disk's, or a listing of an object store.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::DataError;
use crate::find::{Entry, entries_of};

/// What looking for a data set and reading it need.
pub(crate) trait Tree: Send + Sync {
    /// Whether there is such a folder.
    fn is_folder(&self, path: &Path) -> bool;

    /// The folders directly in a folder, sorted.
    ///
    /// # Errors
    /// The folder cannot be listed.
    fn folders(&self, path: &Path) -> Result<Vec<PathBuf>, DataError>;

    /// The files directly in a folder that `wanted` takes, with their stems, in the order of their
    /// paths.
    ///
    /// # Errors
    /// The folder cannot be listed.
    fn entries(
        &self,
        folder: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Entry>, DataError>;

    /// A whole file.
    ///
    /// # Errors
    /// It cannot be read, or not all of it.
    fn read(&self, path: &Path) -> Result<Vec<u8>, DataError>;

    /// What changes when a file does: size and time, for a comparison without reading it.
    ///
    /// # Errors
    /// It cannot be asked.
    fn stamp(&self, path: &Path) -> Result<String, DataError>;
}

/// The file system.
pub(crate) struct Disk;

impl Tree for Disk {
    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn folders(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        let failed = |e| DataError::read(path, e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                found.push(path);
            }
        }
        // A folder's own order is not the same everywhere.
        found.sort();
        Ok(found)
    }

    fn entries(
        &self,
        folder: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Entry>, DataError> {
        entries_of(folder, wanted)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        std::fs::read(path).map_err(|e| DataError::read(path, e))
    }

    fn stamp(&self, path: &Path) -> Result<String, DataError> {
        let failed = |e| DataError::read(path, e);
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let modified = metadata.modified().map_err(failed)?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(format!("{} bytes, {}.{:09} s", metadata.len(), since.as_secs(), since.subsec_nanos()))
    }
}
