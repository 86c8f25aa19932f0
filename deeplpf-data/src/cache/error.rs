//! What can go wrong with a cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::DataError;

/// Why there is no cache, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A picture that cannot be used, or a disk without room.
    #[error(transparent)]
    Data(#[from] Box<DataError>),
    /// The folder cannot be made or written to.
    #[error(
        "the folder for caches, {}, cannot be used: {source}; name another one with data.cache",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of the cache's name that is no cache. It is left alone.
    #[error("{} is in the place of a cache but is none; move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A picture changed while the cache was being made.
    #[error("{} was changed while it was read into a cache; start again when it stays", path.display())]
    Changed {
        /// The picture.
        path: PathBuf,
    },
    /// The file cannot be read back as it was written.
    #[error(
        "{} was written and cannot be read back ({reason}); its disk may be failing: name another \
         folder with data.cache", path.display()
    )]
    NotKept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl CacheError {
    pub(super) fn folder(path: &Path, source: io::Error) -> Self {
        Self::Folder { path: path.to_path_buf(), source }
    }

    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        DataError::read(path, source).into()
    }
}

impl From<DataError> for CacheError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}
