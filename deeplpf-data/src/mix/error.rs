//! What can go wrong when sets are mixed.

use std::path::PathBuf;

use crate::DataError;

/// Errors of [`mix`](super::mix()).
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// A set or a picture.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A plan that cannot be followed.
    #[error("the plan: {reason}")]
    Plan {
        /// Which part, and why.
        reason: String,
    },
    /// An id of the plan that the set does not have.
    #[error(
        "the plan names `{id}`, which {folder} has not; an id is a file's name without extension, or FiveK's, like a0001"
    )]
    UnknownId {
        /// The source's folder.
        folder: String,
        /// The id.
        id: String,
    },
    /// Two pairs of the mixed set with one name.
    #[error("two pairs would be called `{id}`; give one of the sources a prefix")]
    SameId {
        /// The name.
        id: String,
    },
    /// More pairs asked for than there are to train on.
    #[error("{folder}: {asked} {what} pairs are asked for, but it has {there} to train on")]
    TooFew {
        /// The source's folder.
        folder: String,
        /// `unchanged`, `grey`, `over-exposed` or `under-exposed`.
        what: &'static str,
        /// How many the plan wants.
        asked: usize,
        /// How many training pairs there are.
        there: usize,
    },
    /// The result could not be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
