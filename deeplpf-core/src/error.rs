//! What can go wrong, with the file, tensor or value that caused it.

use std::path::PathBuf;

/// The first problems, and how many more there are.
fn summary(problems: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = problems[..problems.len().min(SHOWN)].join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}

fn gibibytes(bytes: &u64) -> f64 {
    *bytes as f64 / (1024.0 * 1024.0 * 1024.0)
}

/// Errors of the network, its loss and its checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// A tensor operation failed inside candle.
    #[error("tensor operation failed: {0}")]
    Candle(#[source] candle_core::Error),
    /// A GPU or its libraries refused.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaError),
    /// The filters refused their input.
    #[error(transparent)]
    Filters(#[from] deeplpf_filters::Error),
    /// A model configuration that cannot be built.
    #[error("model configuration: {0}")]
    Config(String),
    /// A name that is not one of a closed list.
    #[error("unknown {what} `{given}`; did you mean `{nearest}`? (known: {known})")]
    UnknownName {
        /// What kind of thing was named.
        what: &'static str,
        /// The name as given.
        given: String,
        /// The closest known name.
        nearest: String,
        /// All known names.
        known: String,
    },
    /// An image the network cannot take.
    #[error(
        "image of {width}x{height} pixels (width x height): the network needs at least {least} on each side; enlarge it first"
    )]
    ImageTooSmall {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Least side.
        least: usize,
    },
    /// A photograph that needs more memory than there is.
    #[error(
        "photograph of {:.1} megapixels needs about {:.1} GiB of memory, {:.1} GiB are free; make it \
         smaller first, or use a machine with more",
        *pixels as f64 / 1e6, gibibytes(needed), gibibytes(available)
    )]
    OutOfMemory {
        /// Rows times columns.
        pixels: usize,
        /// Bytes needed, about.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// Filter parameters that are NaN or infinite: weights that have run away.
    #[error(
        "the network predicts filter parameters that are not finite numbers; use other weights"
    )]
    NotFinite,
    /// A strength of the enhancement that cannot be used.
    #[error(
        "strength {given} is not between 0 (the photograph as it is) and {most}; 1 is the network's own result"
    )]
    Strength {
        /// As given.
        given: f32,
        /// The most there can be.
        most: f32,
    },
    /// Filters given for a model whose colour stage differs from theirs.
    #[error(
        "the given parameters have {given} numbers of a colour stage, the model has {expected}; use those of the same model"
    )]
    GivenColour {
        /// Numbers given.
        given: usize,
        /// Numbers of the model.
        expected: usize,
    },
    /// An input tensor of the wrong shape.
    #[error("{what} has shape {found:?}, expected {expected}")]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected, in words.
        expected: String,
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
    /// A checkpoint whose bytes are damaged or of another format.
    #[error("{path} is not a usable checkpoint: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// A pickle that names code to run; nothing was executed.
    #[error(
        "{path} refused: its pickle asks to call `{callable}`, which is not part of a state dict; nothing was run. Save plain weights with torch.save(model.state_dict(), FILE)"
    )]
    UnsafePickle {
        /// The file.
        path: PathBuf,
        /// The callable's dotted name.
        callable: String,
    },
    /// Tensor names and shapes that do not match the configured model.
    #[error("{path} does not fit the model: {}", summary(.problems))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One clause per tensor.
        problems: Vec<String>,
    },
    /// A checkpoint trained under another configuration than the one asked for.
    #[error(
        "{path} was made with another configuration: {difference}. Drop the option, or use weights trained with it"
    )]
    OtherConfig {
        /// The file.
        path: PathBuf,
        /// Field and both values.
        difference: String,
    },
    /// A device that is not there or not built in.
    #[error("device `{given}`: {reason}")]
    Device {
        /// As given.
        given: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl From<candle_core::Error> for CoreError {
    /// Leaves out candle's backtrace (there where `RUST_BACKTRACE` is set), which its message
    /// would carry into a user's sentence.
    fn from(error: candle_core::Error) -> Self {
        match error {
            candle_core::Error::WithBacktrace { inner, .. } => (*inner).into(),
            other => Self::Candle(other),
        }
    }
}

impl CoreError {
    /// An unknown `given` among `known` names of a `what`.
    pub fn unknown_name(what: &'static str, given: &str, known: &[&str]) -> Self {
        let nearest = known
            .iter()
            .min_by_key(|name| strsim::damerau_levenshtein(name, given))
            .map_or(String::new(), |name| name.to_string());
        Self::UnknownName { what, given: given.into(), nearest, known: known.join(", ") }
    }

    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_round_numbers() {
        let error =
            CoreError::OutOfMemory { pixels: 24_000_000, needed: 13 << 30, available: 3 << 30 };
        let text = error.to_string();
        assert!(text.contains("24.0 megapixels needs about 13.0 GiB"), "{text}");
    }
}
