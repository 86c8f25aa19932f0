//! What can be wrong with a preparation as a whole.

use std::path::PathBuf;

/// Why nothing more is prepared. `Display` is one sentence meant for a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// Another process works in the folder.
    #[error("{} is being prepared by another process; wait for it, or choose another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds files that no preparation made.
    #[error(
        "{} has files in it ({name}) that `data prepare` did not make; choose an empty or new folder",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        name: String,
    },
    /// The folder holds another set.
    #[error("{} holds {found}, and {asked} is asked for; choose another folder", path.display())]
    OtherSet {
        /// The folder.
        path: PathBuf,
        /// What it was prepared as.
        found: String,
        /// What is asked for.
        asked: String,
    },
    /// The source has no pair the protocol lists.
    #[error("{source_name} has no pair of the ids that {protocol} lists; {}", reason.as_deref().unwrap_or("check the folder"))]
    NothingToPrepare {
        /// The source.
        source_name: String,
        /// The protocol.
        protocol: &'static str,
        /// The first problem that was found.
        reason: Option<String>,
    },
    /// A line of a manifest that is none.
    #[error("{}:{line}: {reason}; prepare the set again", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}
