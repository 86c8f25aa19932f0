//! What can go wrong in a run, with the key, file or step that caused it.

use std::path::PathBuf;

use deeplpf_core::CoreError;
use deeplpf_data::{DataError, cache::CacheError};

/// Errors of training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The network, its loss or a checkpoint.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The photographs.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The cache of decoded pairs.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A configuration key that does not exist.
    #[error("{path}{}: unknown key `{key}`; did you mean `{nearest}`?", line_suffix(.line))]
    UnknownKey {
        /// The file, or the command-line option.
        path: String,
        /// Line, where it is known.
        line: Option<usize>,
        /// The key, dotted.
        key: String,
        /// The closest existing key.
        nearest: String,
    },
    /// A configuration that is not valid TOML, or a value of the wrong kind.
    #[error("{path}: {reason}")]
    Config {
        /// The file, or the command-line option.
        path: String,
        /// The parser's sentence with line and column, or what is wrong with the value.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// "read", "write", ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A loss or gradient that is not a finite number.
    #[error(
        "step {step} (epoch {epoch}, {ids}): the {what} is not a finite number ({value}); no weight was changed by it, and what was saved before, if anything, is kept. Lower adam.learning_rate, or look at that photograph"
    )]
    NotFinite {
        /// Optimiser step, from 0.
        step: u64,
        /// Epoch, from 1.
        epoch: u64,
        /// The pairs of the batch.
        ids: String,
        /// "loss" or "gradient of" a parameter.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A loss above the limit of the configuration.
    #[error(
        "step {step} (epoch {epoch}, {ids}): the loss is {loss}, above guard.max_loss = {limit}; no weight was changed by it, and what was saved before, if anything, is kept. Lower adam.learning_rate, set adam.clip_norm, or look at that photograph"
    )]
    Exploding {
        /// Optimiser step, from 0.
        step: u64,
        /// Epoch, from 1.
        epoch: u64,
        /// The pairs of the batch.
        ids: String,
        /// The loss.
        loss: f64,
        /// The limit.
        limit: f64,
    },
    /// Every step of an epoch was skipped.
    #[error("epoch {epoch}: every step was skipped, the last because: {reason}")]
    AllSkipped {
        /// Epoch, from 1.
        epoch: u64,
        /// The last step's error.
        reason: String,
    },
    /// A setting that the chosen device does not have.
    #[error("{reason}")]
    Device {
        /// Which setting, why, and what to do.
        reason: String,
    },
    /// Nothing to train on.
    #[error("no training pairs: {0}")]
    NoPairs(String),
    /// A run folder that already holds a run.
    #[error("{path} already holds a run; continue it with --resume, or choose another `run`")]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// A run folder another process is training in.
    #[error(
        "{path} is being trained in by another process ({holder}); wait for it, or choose another `run`"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Which process on which machine, as far as the lock says.
        holder: String,
    },
    /// A disk without room for the next state or checkpoint.
    #[error(
        "{path} needs {} MB for the next state and its disk has {} MB free; free some space and go on \
         with --resume: what was saved before is whole",
        .needed / 1_000_000, .available / 1_000_000
    )]
    DiskFull {
        /// The run folder.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// A resume that asks for fewer epochs than there are.
    #[error("{path} has {done} epochs and cannot be shortened to {asked}; choose another `run`")]
    Shortened {
        /// The folder.
        path: PathBuf,
        /// Epochs finished.
        done: u64,
        /// Epochs asked for.
        asked: u64,
    },
    /// A resume from another configuration.
    #[error(
        "{path} was started with another configuration: {difference}. When a run goes on, only epochs (but not under a cosine, whose course they decide), save_every, tensorboard, data.threads and data.cache may change; choose another folder for other settings"
    )]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// Key and both values.
        difference: String,
    },
    /// A resume with other pairs.
    #[error(
        "{path} was started with other pairs: {difference}. Give it those it had, or choose another folder for these"
    )]
    OtherData {
        /// The folder.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// What another rank of this run could not do.
    #[error("{reason}")]
    OtherRank {
        /// Which one.
        rank: usize,
        /// Its error.
        reason: String,
        /// Whether it is a step of which [`crate::GuardConfig`] says what happens.
        bad_step: bool,
    },
    /// Ranks that cannot work on one run.
    #[error("{reason}")]
    Ranks {
        /// Which rank differs in what, or what a number of ranks needs, and what to do.
        reason: String,
    },
    /// The connection between ranks.
    #[error("{reason}")]
    Communication {
        /// What is wrong with it.
        reason: String,
    },
    /// A run folder whose states are both damaged.
    #[error(
        "{path} cannot go on, for neither of its states can be used: {newest}; {previous}. What was learned is in checkpoints/last.safetensors there: begin another run with it as `weights`"
    )]
    States {
        /// The folder.
        path: PathBuf,
        /// What is wrong with the newest.
        newest: Box<TrainError>,
        /// And with the one before.
        previous: Box<TrainError>,
    },
    /// A state file that is damaged or of another version.
    #[error("{path} is not a usable state: {reason}; delete it to fall back to the previous one")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn line_suffix(line: &Option<usize>) -> String {
    line.map_or(String::new(), |line| format!(":{line}"))
}

impl TrainError {
    /// Whether this is about the numbers of a step: [`crate::GuardConfig`] says what happens.
    pub(crate) fn is_bad_step(&self) -> bool {
        matches!(
            self,
            Self::NotFinite { .. }
                | Self::Exploding { .. }
                | Self::OtherRank { bad_step: true, .. }
        )
    }

    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Core(error.into())
    }
}
