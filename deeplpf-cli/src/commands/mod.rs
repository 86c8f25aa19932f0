//! One file per command.

mod compare;
mod data;
mod enhance;
mod eval;
mod inspect;
mod metrics;
mod report;
mod reproduce;
mod submit;
mod train;
mod weights;

use std::process::ExitCode;

/// The commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Enhance photographs with trained weights.
    Enhance(enhance::Args),
    /// Compare predictions with targets: PSNR, SSIM, MS-SSIM, LPIPS, ΔE.
    Metrics(metrics::Args),
    /// Train a model as a configuration file says.
    Train(train::Args),
    /// Enhance the inputs of a paired data set, score them and write a report.
    Eval(eval::Args),
    /// Compare finished evaluations image by image: differences, intervals, tests.
    Compare(compare::Args),
    /// Run a recipe: several trainings, their evaluation, a table, plots and a report.
    Reproduce(reproduce::Args),
    /// Make one page over trained runs and evaluations, to look at and to compare.
    Report(report::Args),
    /// Show what weights do to one photograph: its filters, drawn, mapped and in numbers.
    Inspect(inspect::Args),
    /// Look into files of weights, or convert them.
    Weights(weights::Args),
    /// Make data sets.
    Data(data::Args),
}

impl Command {
    /// Runs the command. A failure of some of several inputs is printed where it happens and
    /// gives a failing exit code; an `Err` is still to be printed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Enhance(args) => enhance::run(&args),
            Command::Metrics(args) => metrics::run(&args),
            Command::Train(args) => train::run(&args),
            Command::Eval(args) => eval::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Reproduce(args) => reproduce::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Weights(args) => weights::run(&args),
            Command::Data(args) => data::run(&args),
        }
    }
}

/// The exit code where `failed` of several inputs could not be processed.
fn exit_code(failed: usize) -> ExitCode {
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
