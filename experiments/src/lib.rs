//! Recipes that repeat tables and ablations: several training runs, their evaluation on the same
//! pairs, and the table, plots and report that lay them side by side.
//!
//! A recipe is a TOML file (see [`Recipe`]); those of this crate are built in ([`recipes`]).
//! [`reproduce`] expands one into runs, skips what is finished and can be interrupted and called
//! again. [`evaluate`] does the last part for one checkpoint. Both leave a record of every evaluation,
//! from which [`report`] makes one page over several of them; [`inspect`] shows what a checkpoint
//! does to one photograph.
#![deny(missing_docs)]

mod compare;
mod departures;
mod error;
mod evaluation;
mod filter_health;
mod fingerprint;
mod fivek;
mod hub_runs;
mod inspection;
mod lpips_weights;
mod methods;
mod outputs;
mod pair_files;
mod placement;
mod plan;
mod predictor;
mod published_weights;
mod recipe;
mod record;
mod recovery;
mod report;
mod reproduce;
mod runs;
mod scale;
mod start;
mod submit;
mod test_pairs;
mod words;

pub use compare::{CompareRequest, CompareSummary, INPUT_BASELINE, compare};
pub use error::ExperimentError;
pub use evaluation::{EvaluationRequest, EvaluationSummary, evaluate};
pub use filter_health::{FilterHealthReport, FilterHealthRequest, filter_health};
pub use hub_runs::{
    HubRepository, HubRunError, PullRequest, PullSummary, PushRequest, PushSummary, pull_run,
    push_run,
};
pub use inspection::{InspectionRequest, InspectionSummary, inspect};
pub use lpips_weights::{HubError, read_lpips_vgg};
pub use plan::{Plan, PlannedRun, PlannedState, plan};
pub use published_weights::{PUBLISHED_WEIGHTS, PublishedError, PublishedWeights};
pub use recipe::{
    BuiltIn, PaperSpec, Recipe, ReportedSpec, ReportedStatus, RunSpec, TestSpec, Training, recipes,
};
pub use report::{ReportRequest, ReportSummary, report};
pub use reproduce::{ReproduceRequest, ReproduceSummary, reproduce, reproduce_only};
pub use scale::{Scale, Scales};
pub use submit::{
    SlurmJob, SlurmOptions, SweepTask, local::LocalSweep, slurm::submit_slurm, tasks_left,
};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, ExperimentError>;
