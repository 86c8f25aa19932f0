//! Room on the disk, asked before something large is written.

use std::path::Path;

use crate::{Result, TrainError};

/// Left for everything else that a run writes.
const MARGIN: u64 = 16 << 20;

/// Fails unless the disk of `folder` has room for `bytes` more.
///
/// # Errors
/// [`TrainError::DiskFull`], or the system's.
pub(crate) fn require(folder: &Path, bytes: u64) -> Result<()> {
    let available = fs4::available_space(folder)
        .map_err(TrainError::io("ask for the free space of", folder))?;
    compare(folder, bytes + MARGIN, available)
}

fn compare(folder: &Path, needed: u64, available: u64) -> Result<()> {
    if needed <= available {
        return Ok(());
    }
    Err(TrainError::DiskFull { path: folder.into(), needed, available })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_an_error_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        require(folder.path(), 0).unwrap();
        let error = require(folder.path(), u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("free"), "{error}");
        let error = compare(folder.path(), 250_000_000, 100_000_000).unwrap_err().to_string();
        assert!(error.contains("250 MB") && error.contains("100 MB"), "{error}");
    }
}
