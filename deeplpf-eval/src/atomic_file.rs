//! Writing a file so that a reader sees either the old one or the whole new one.

use std::path::Path;

use crate::error::{EvalError, Result};

/// Writes `bytes` to `path` through a temporary file in the same folder and a rename. Missing
/// parent folders are made.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    try_write(path, bytes).map_err(|source| EvalError::Write { path: path.to_owned(), source })
}

fn try_write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    deeplpf_data::atomic_file::write(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_folders_replaces_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let error = write(&folder.path().join("file/inside.txt"), b"x").unwrap_err();
        assert!(error.to_string().contains("inside.txt"), "{error}");
    }
}
