//! Runs on the Hugging Face hub: a run folder as a model repository, and back.
//!
//! A repository holds a run under the names of its folder: `config.toml`,
//! `checkpoints/best.safetensors`, `metrics.jsonl`, where there are any `health.json`,
//! `evaluation.json` and `record/record.json`, and a model card, `README.md`. Photographs never leave
//! the machine: the pictures of a record have their own terms.

#[cfg(feature = "hub")]
mod card;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "hub")]
mod push;
#[cfg(all(test, feature = "hub"))]
mod stand_in;
#[cfg(all(test, feature = "hub"))]
mod tests;

use std::{fmt, path::PathBuf, str::FromStr};

/// Largest file of weights that is sent or fetched: the paper's network has 7 MB.
#[cfg(feature = "hub")]
const MOST_WEIGHT_BYTES: u64 = 256 << 20;
/// Largest of the other files: a record of 5000 photographs has 11 MB.
#[cfg(feature = "hub")]
const MOST_TEXT_BYTES: u64 = 64 << 20;
/// Files of a run that are text, in the order they are sent.
#[cfg(feature = "hub")]
const TEXTS: [&str; 5] =
    ["config.toml", "metrics.jsonl", "health.json", "evaluation.json", "record/record.json"];
/// The weights of a run.
#[cfg(feature = "hub")]
const WEIGHTS: &str = "checkpoints/best.safetensors";
/// The model card.
#[cfg(feature = "hub")]
const CARD: &str = "README.md";

/// Owner and name of a model repository, as in `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRepository {
    owner: String,
    name: String,
}

impl HubRepository {
    /// The name without the owner.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for HubRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Of `owner/name`, each of ASCII letters, digits, `-`, `_` and `.`, neither beginning nor ending with
/// one of `-` and `.`, at most 96 characters: the hub's rules.
impl FromStr for HubRepository {
    type Err = HubRunError;

    fn from_str(text: &str) -> Result<Self, HubRunError> {
        let is_name = |part: &str| {
            (1..=96).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !part.contains("..")
                && !part.contains("--")
        };
        match text.split_once('/') {
            Some((owner, name)) if is_name(owner) && is_name(name) => {
                Ok(Self { owner: owner.into(), name: name.into() })
            }
            _ => Err(HubRunError::Name { text: text.into() }),
        }
    }
}

/// A run to send.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The run folder.
    pub run: PathBuf,
    /// Where to; made if it is missing.
    pub to: HubRepository,
    /// The branch; made if it is missing. `main` is every repository's first.
    pub revision: String,
    /// Whether a repository that is made, or is there, must be private.
    pub private: bool,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSummary {
    /// The page of the commit, or of the repository.
    pub page: String,
    /// The commit's id.
    pub commit: String,
    /// Names of the files.
    pub files: Vec<String>,
    /// Bytes of all files.
    pub bytes: u64,
}

/// A repository to fetch.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Which.
    pub from: HubRepository,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The folder to make; it must not be there, or be empty.
    pub out: PathBuf,
    /// Of a repository that is no run: which of its files of weights. The only one without it.
    pub file: Option<String>,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSummary {
    /// The folder.
    pub out: PathBuf,
    /// The commit it is of.
    pub commit: String,
    /// Whether it is a run; else weights alone.
    pub is_run: bool,
    /// The weights, to be given to `--weights`.
    pub weights: PathBuf,
    /// Names of the files.
    pub files: Vec<String>,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Sends a run to the hub, in one commit at the end: whatever fails before it, the repository stays as
/// it was. Paths in `config.toml` are shortened to their last names. The endpoint is that of the
/// environment's `HF_ENDPOINT`; the token is `HF_TOKEN`, or in the file `HF_TOKEN_PATH`, or in `token` of
/// `HF_HOME` (`~/.cache/huggingface`).
///
/// # Errors
/// A folder that is no run or has no weights, no or a wrong token, the network, the server.
pub fn push_run(request: &PushRequest) -> Result<PushSummary, HubRunError> {
    #[cfg(feature = "hub")]
    return push::push(request, &client::Settings::from_environment());
    #[cfg(not(feature = "hub"))]
    {
        let _ = request;
        Err(HubRunError::NotBuilt)
    }
}

/// Fetches a run, or weights alone, from the hub. Every file is checked against the hash the hub lists
/// (SHA-256, or git's id) and read as what it should be before the folder appears, whole or not at all.
/// Endpoint and token as of [`push_run`]; public repositories need no token.
///
/// # Errors
/// A repository that is absent or holds no weights, files that are too large or other than listed, the
/// network, the server, a place that cannot be written.
pub fn pull_run(request: &PullRequest) -> Result<PullSummary, HubRunError> {
    #[cfg(feature = "hub")]
    return pull::pull(request, &client::Settings::from_environment());
    #[cfg(not(feature = "hub"))]
    {
        let _ = request;
        Err(HubRunError::NotBuilt)
    }
}

/// Why a run could not be sent or fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubRunError {
    /// No name of a repository.
    #[error(
        "`{text}` is no repository on the hub; the form is OWNER/NAME, of letters, digits, -, _ and ."
    )]
    Name {
        /// As given.
        text: String,
    },
    /// No name of a revision.
    #[error(
        "`{text}` is no revision; give a branch, a tag or a commit, of letters, digits, -, _, . and /"
    )]
    Revision {
        /// As given.
        text: String,
    },
    /// A program without the feature.
    #[error(
        "this program was built without the hub: build it with `cargo build --release --features hub`"
    )]
    NotBuilt,
    /// A folder that is no run.
    #[error("{} is no run folder: {reason}; give the folder that `deeplpf train` wrote", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A run without weights.
    #[error(
        "{} has no checkpoints/best.safetensors yet; train until its first validation, then push it",
        path.display()
    )]
    NoWeights {
        /// The run folder.
        path: PathBuf,
    },
    /// Nothing to say who pushes.
    #[error(
        "pushing needs a token with the right to write, and there is none: set HF_TOKEN, or write it to \
         {} (huggingface.co/settings/tokens makes one)",
        file.display()
    )]
    NoToken {
        /// Where one was looked for.
        file: PathBuf,
    },
    /// The hub knows no such token.
    #[error(
        "the hub refuses the token (401) for {repository}; it is wrong or was withdrawn: make another at huggingface.co/settings/tokens"
    )]
    WrongToken {
        /// The repository.
        repository: HubRepository,
    },
    /// The token's owner may not.
    #[error(
        "the hub forbids this in {repository} (403){reason}; use a token with the right to write there"
    )]
    Forbidden {
        /// The repository.
        repository: HubRepository,
        /// `: ` and the server's words, if it gave any.
        reason: String,
    },
    /// No such repository, or a hidden one.
    #[error(
        "the hub has no {repository} at revision {revision}, or shows it to its owners only; check the name, or set HF_TOKEN"
    )]
    Absent {
        /// The repository.
        repository: HubRepository,
        /// The revision.
        revision: String,
    },
    /// `--private`, and everybody can read it.
    #[error(
        "{repository} is there and public, so nothing was sent; make it private in its settings, or leave --private out"
    )]
    Public {
        /// The repository.
        repository: HubRepository,
    },
    /// More bytes than a run has.
    #[error(
        "{file} has {bytes} bytes, and at most {most} are sent or fetched; is it the right file?"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// Its size, as far as it is known.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// Other bytes than the hub lists.
    #[error(
        "{file} of {repository} came with the hash {found}, and the hub lists {expected}: it was damaged on the way; nothing was written, try again"
    )]
    OtherFile {
        /// The repository.
        repository: HubRepository,
        /// The file.
        file: String,
        /// As listed.
        expected: String,
        /// As found.
        found: String,
    },
    /// A file that is not what its name says.
    #[error("{file} of {repository} cannot be used: {reason}; nothing was written")]
    Unusable {
        /// The repository.
        repository: HubRepository,
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// Neither a run nor weights.
    #[error(
        "{repository} holds neither a run (config.toml and checkpoints/best.safetensors) nor a .safetensors or .pt file"
    )]
    NoRun {
        /// The repository.
        repository: HubRepository,
    },
    /// Several files of weights, or not the one asked for.
    #[error("{repository} holds these files of weights: {files}; choose one of them with --file")]
    Choose {
        /// The repository.
        repository: HubRepository,
        /// Their names.
        files: String,
    },
    /// A folder in the way.
    #[error("{} is there already; remove it, or name another folder with --out", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The network or the server.
    #[error("cannot {what}: {reason}; {state}")]
    Exchange {
        /// What was to be done, with the address.
        what: String,
        /// Why not.
        reason: String,
        /// What holds now, and what to do.
        state: &'static str,
    },
    /// A file of this machine.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// Read or write.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
