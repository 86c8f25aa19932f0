//! Checkpoints that others have published, fetched from where they publish them and checked.

#[cfg(feature = "hub")]
mod fetch;

use std::path::{Path, PathBuf};

#[cfg(feature = "hub")]
pub(crate) use fetch::blob_id;

/// A published checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedWeights {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// Owner and name of its repository on GitHub.
    pub repository: &'static str,
    /// The SHA-1 by which git knows the file's content.
    pub blob: &'static str,
}

/// All that are known.
pub const PUBLISHED_WEIGHTS: &[PublishedWeights] = &[PublishedWeights {
    name: "release-dpe",
    description: "the authors' DeepLPF for FiveK under the DPE protocol, a PyTorch state dict",
    repository: "sjmoran/DeepLPF",
    blob: "dab59ab2cc7145ebe5c97e4abf637cebbcd3257e",
}];

/// Why a checkpoint could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// A name nobody knows.
    #[error("there are no published weights `{name}`; known: {known}")]
    Unknown {
        /// As given.
        name: String,
        /// Those that are known.
        known: String,
    },
    /// A program without the feature.
    #[error(
        "this program was built without the network: build it with `cargo build --release \
         --features hub`, or fetch the file from {page} and check that `git hash-object FILE` prints \
         {blob}"
    )]
    NotBuilt {
        /// The repository's page.
        page: String,
        /// The content's id.
        blob: &'static str,
    },
    /// The network or the server.
    #[error(
        "cannot fetch {url}: {reason}; the file is in {page} too, where `git hash-object FILE` must \
         print {blob}"
    )]
    Fetch {
        /// The address.
        url: String,
        /// The repository's page.
        page: String,
        /// The content's id.
        blob: &'static str,
        /// Why not.
        reason: String,
    },
    /// Another content than was asked for; nothing is written.
    #[error(
        "{url} gave another file: its git blob id is {found}, not {expected}; nothing was written"
    )]
    OtherFile {
        /// The address.
        url: String,
        /// As known.
        expected: &'static str,
        /// As found.
        found: String,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl PublishedWeights {
    /// The checkpoint of that name.
    ///
    /// # Errors
    /// [`PublishedError::Unknown`].
    pub fn find(name: &str) -> Result<&'static Self, PublishedError> {
        PUBLISHED_WEIGHTS.iter().find(|weights| weights.name == name).ok_or_else(|| {
            let known: Vec<&str> = PUBLISHED_WEIGHTS.iter().map(|weights| weights.name).collect();
            PublishedError::Unknown { name: name.into(), known: known.join(", ") }
        })
    }

    /// Where a reader finds it.
    pub fn page(&self) -> String {
        format!("https://github.com/{}", self.repository)
    }

    /// Fetches it into `out`, which appears whole or not at all; its size in bytes. GitHub is asked for
    /// the content by its id (`GET /repos/OWNER/NAME/git/blobs/ID`), so that it is found wherever it has
    /// been moved to, and what comes must have that id. The environment's `DEEPLPF_GITHUB_API` names
    /// another server of that interface.
    ///
    /// # Errors
    /// A program without feature `hub`, the network, another content, a place that cannot be written.
    pub fn fetch(&self, out: &Path) -> Result<u64, PublishedError> {
        #[cfg(feature = "hub")]
        return fetch::fetch(self, out);
        #[cfg(not(feature = "hub"))]
        {
            let _ = out;
            Err(PublishedError::NotBuilt { page: self.page(), blob: self.blob })
        }
    }
}
