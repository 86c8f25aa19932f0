//! What can go wrong in an experiment.

use std::path::PathBuf;

/// Errors of recipes and evaluation.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The network or a checkpoint.
    #[error(transparent)]
    Core(#[from] deeplpf_core::CoreError),
    /// The photographs.
    #[error(transparent)]
    Data(#[from] deeplpf_data::DataError),
    /// Training.
    #[error(transparent)]
    Train(#[from] deeplpf_train::TrainError),
    /// Metrics, tables or plots.
    #[error(transparent)]
    Eval(#[from] deeplpf_eval::EvalError),
    /// A run of a recipe that failed; finished runs are kept.
    #[error("run `{run}`: {source}")]
    Run {
        /// The run's name.
        run: String,
        /// Why.
        source: Box<ExperimentError>,
    },
    /// A recipe that neither is built in nor exists as a file.
    #[error(
        "no recipe `{name}`; did you mean `{nearest}`? Built in: {known}. Or give the path of a TOML file"
    )]
    UnknownRecipe {
        /// As given.
        name: String,
        /// The closest built-in name.
        nearest: String,
        /// All built-in names.
        known: String,
    },
    /// A recipe that cannot be used.
    #[error("recipe {recipe}: {reason}")]
    Recipe {
        /// Name or path.
        recipe: String,
        /// What is wrong.
        reason: String,
    },
    /// A run folder of other settings, another program or other data.
    #[error(
        "{}: {change} changed since it was trained, so it is neither reused nor continued; give \
         --redo to train it again (the old run is kept beside it), or choose another folder with --out",
        path.display()
    )]
    Changed {
        /// The run folder.
        path: PathBuf,
        /// What is different.
        change: String,
    },
    /// A folder with another recipe's results.
    #[error(
        "{} holds the results of the recipe {before}, whose tables those of {now} would replace; choose \
         another folder with --out",
        path.display()
    )]
    OtherRecipe {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        before: String,
        /// Who wants it.
        now: String,
    },
    /// Stopped by the user; what there is is saved.
    #[error("stopped in run `{run}`; what is done is saved, and the same command goes on")]
    Interrupted {
        /// The run that was being trained.
        run: String,
    },
    /// A split or target folder asked of the embedded set.
    #[error(
        "`sample` is the embedded set, which has its own targets and test split; a list or a target \
         folder goes with a folder (write ./sample for a folder of that name)"
    )]
    SampleHasItsOwnSplit,
    /// A list or target folder asked of See-in-the-Dark.
    #[error(
        "{protocol} has its own test list and targets; a list or a target folder does not go with it"
    )]
    SidHasItsOwnSplit {
        /// `sid-sony` or `sid-fuji`.
        protocol: &'static str,
    },
    /// A model of one sensor and files of the other.
    #[error(
        "these weights take input = \"{model}\", which does not fit --protocol {protocol}; use the other camera's"
    )]
    OtherSensor {
        /// The model's input.
        model: &'static str,
        /// `sid-sony` or `sid-fuji`.
        protocol: &'static str,
    },
    /// A folder of `data prepare`, evaluated under another protocol.
    #[error(
        "{data} was prepared for the protocol {prepared}, not {asked}; leave --protocol out, or prepare the originals for {asked}"
    )]
    OtherProtocol {
        /// The folder.
        data: PathBuf,
        /// What its manifest says.
        prepared: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// A model of mosaics and pairs of photographs.
    #[error(
        "these weights take input = \"{model}\", packed raw mosaics: evaluate them on a folder of \
         See-in-the-Dark with --protocol sid-sony or sid-fuji"
    )]
    NeedsRawFiles {
        /// The model's input.
        model: &'static str,
    },
    /// A scheduler that is not there or says no.
    #[error("{0}")]
    Submit(String),
    /// The record of an evaluation that cannot be used.
    #[error("{} is not a usable record of an evaluation: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A folder without anything to report on.
    #[error("{} cannot be reported on: {reason}", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Runs that were judged on different pairs.
    #[error(
        "{first} and {second} cannot stand in one report: {reason}; evaluate them on the same \
         pairs, or make a report of each"
    )]
    NotComparable {
        /// Label of one run.
        first: String,
        /// Label of the other.
        second: String,
        /// Where they differ.
        reason: String,
    },
    /// Filters that cannot be applied.
    #[error(transparent)]
    Filters(#[from] deeplpf_filters::Error),
    /// Nothing to evaluate on.
    #[error("{data} holds no pairs to evaluate on; check the folder and the list")]
    NoPairs {
        /// The folder.
        data: String,
    },
    /// Filters to be looked at, of a model without local ones.
    #[error(
        "{} has neither graduated nor elliptical filters, the kinds that can be stuck; there is nothing to \
         look at",
        path.display()
    )]
    NoLocalFilters {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Photographs for a model of packed mosaics.
    #[error(
        "{} takes packed raw mosaics, not photographs; the health of its filters is in health.json of its \
         run folder",
        path.display()
    )]
    NotOfPhotographs {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A picture with pixels that are not wholly opaque: what they look like depends on a background.
    #[error(
        "{} has {pixels} pixels that are not wholly opaque, whose colours depend on a background: save \
         it without an alpha channel",
        path.display()
    )]
    Transparent {
        /// The file.
        path: PathBuf,
        /// How many pixels.
        pixels: usize,
    },
    /// Photographs of an evaluation that could not be used; no average is taken over the others.
    #[error("{} of {total} photographs could not be evaluated: {}", .failures.len(), .failures.join("; "))]
    Photographs {
        /// How many there are.
        total: usize,
        /// One sentence per failure.
        failures: Vec<String>,
    },
    /// A path without scores.
    #[error(
        "{} holds no scores; give a folder of `deeplpf eval` (metrics.json), of `deeplpf \
         reproduce` (runs/*/evaluation.json) or one of its runs, or a .json file of scores",
        path.display()
    )]
    NoScores {
        /// The path.
        path: PathBuf,
    },
    /// Fewer than two methods to compare.
    #[error(
        "there is only one method, `{method}`, and nothing to compare it with; give another run, \
         or another label where runs are seeds of different methods"
    )]
    OneMethod {
        /// Its name.
        method: String,
    },
    /// A comparison with the inputs of runs that recorded none.
    #[error(
        "the scores of the unchanged inputs are not known: they are recorded by `deeplpf eval` and \
         `deeplpf reproduce`; give one of their folders rather than a .json file of scores"
    )]
    NoInputScores,
    /// Runs that were judged on different ground.
    #[error(
        "`{method}` was measured under other conditions than `{first}` ({what}: `{found}`, not \
         `{expected}`), so their numbers cannot be compared; evaluate them alike"
    )]
    OtherConditions {
        /// The run.
        method: String,
        /// The run it was to be compared with.
        first: String,
        /// Protocol, split or resolution.
        what: &'static str,
        /// What the run says.
        found: String,
        /// What the first run says.
        expected: String,
    },
    /// Weights of LPIPS that cannot be converted.
    #[error("cannot read tensor `{tensor}` of {}: {reason}", path.display())]
    LpipsTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Why.
        reason: String,
    },
    /// Weights of LPIPS that cannot be had from the hub.
    #[error(transparent)]
    Hub(#[from] crate::lpips_weights::HubError),
    /// A file that cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// "read", "create", ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl ExperimentError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }
}
