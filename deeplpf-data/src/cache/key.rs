//! What a cache was made from.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::CacheError;
use super::format::VERSION;
use crate::pairs::PairPaths;

/// Size and time of change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    /// Nanoseconds since 1970, negative before it.
    changed: i128,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Result<Self, CacheError> {
        let read = |metadata: Metadata| {
            let changed = match metadata.modified()?.duration_since(UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i128,
                Err(before) => -(before.duration().as_nanos() as i128),
            };
            Ok(Self { bytes: metadata.len(), changed })
        };
        std::fs::metadata(path).and_then(read).map_err(|e| CacheError::read(path, e))
    }
}

/// The files of a set of pairs, as they were when the cache was asked for.
#[derive(Debug)]
pub(super) struct Sources {
    stamps: Vec<[Stamp; 2]>,
    name: [u8; 32],
    key: [u8; 32],
}

impl Sources {
    pub(super) fn of(pairs: &[PairPaths]) -> Result<Self, CacheError> {
        let mut name = Sha256::new();
        let mut key = Sha256::new();
        // Another version may decode another value.
        put(&mut key, env!("CARGO_PKG_VERSION").as_bytes());
        put(&mut key, &VERSION.to_le_bytes());
        let mut stamps = Vec::with_capacity(pairs.len());
        for pair in pairs {
            put(&mut name, pair.id.as_bytes());
            let mut side = |path: &PathBuf| {
                let place = std::path::absolute(path).map_err(|e| CacheError::read(path, e))?;
                put(&mut name, place.as_os_str().as_encoded_bytes());
                let stamp = Stamp::of(path)?;
                put(&mut key, &stamp.bytes.to_le_bytes());
                put(&mut key, &stamp.changed.to_le_bytes());
                Ok::<_, CacheError>(stamp)
            };
            stamps.push([side(&pair.input)?, side(&pair.target)?]);
        }
        let name: [u8; 32] = name.finalize().into();
        put(&mut key, &name);
        Ok(Self { stamps, name, key: key.finalize().into() })
    }

    /// The cache's file name: it depends on the ids and paths, so that a set whose pictures have
    /// changed replaces its cache.
    pub(super) fn file_name(&self) -> String {
        let hex: String = self.name[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("pairs-{hex}.cache")
    }

    /// A hash of everything that a cache must have been made from.
    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether the files of pair `index` still are as they were.
    ///
    /// # Errors
    /// [`CacheError::Changed`], or what reading the time of change says.
    pub(super) fn still(&self, index: usize, pair: &PairPaths) -> Result<(), CacheError> {
        for (path, stamp) in [&pair.input, &pair.target].into_iter().zip(self.stamps[index]) {
            if Stamp::of(path)? != stamp {
                return Err(CacheError::Changed { path: path.clone() });
            }
        }
        Ok(())
    }
}

/// With its length before it, so that no two lists give the same bytes.
fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
