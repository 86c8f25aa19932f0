//! `deeplpf compare`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use deeplpf_experiments::{CompareRequest, compare};

use crate::console;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// What to compare: folders of `deeplpf eval` or `deeplpf reproduce`, one of the latter's runs,
    /// or .json files of `deeplpf metrics`. LABEL=RUN names it; runs of one label, and a recipe's
    /// trainings of one run, are seeds of one method.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,

    /// Compare every method with this one only, or with the unchanged inputs (`input`); by default
    /// every pair is compared.
    #[arg(long, value_name = "LABEL")]
    baseline: Option<String>,

    /// Metrics to compare, with commas; by default those that all runs have.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    metrics: Vec<String>,

    /// Show published numbers under other protocols too, labelled not comparable.
    #[arg(long)]
    published: bool,

    /// Write table and differences as .md, .csv, .tex and .json into this folder, which is made if
    /// it is missing.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// What to print: both tables as Markdown, or the differences alone.
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What stdout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Means and differences, as Markdown.
    Table,
    /// Differences, as JSON.
    Json,
    /// Differences, as CSV.
    Csv,
    /// Differences, as LaTeX (booktabs).
    Latex,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf compare evaluation-a evaluation-b
  deeplpf compare runs/sample --baseline unet --metrics psnr,lpips_alex
  deeplpf compare evaluation --baseline input
  deeplpf compare full=seed1 full=seed2 full=seed3 unet=unet1 unet=unet2 unet=unet3 -o comparison

Every difference comes with its 95% paired bootstrap interval over the images, with wins and \
losses, and with two p values (paired bootstrap, Wilcoxon's signed-rank test), both after Holm's \
correction over the comparisons of its metric. It is called better or worse only where both are \
below 0.05. The runs must be of the same images, protocol and split.";

/// Compares and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let summary = compare(&CompareRequest {
        runs: args.runs.clone(),
        metrics: args.metrics.clone(),
        baseline: args.baseline.clone(),
        all_published: args.published,
    })?;
    if let Some(out) = &args.out {
        summary.write(out).context("the comparison cannot be written")?;
    }
    let differences = &summary.differences;
    console::print(&match args.format {
        Format::Table => format!("{}\n{}", summary.table.to_markdown(), differences.to_markdown()),
        Format::Json => differences.to_json()?,
        Format::Csv => differences.to_csv(),
        Format::Latex => differences.to_latex(),
    })?;
    Ok(ExitCode::SUCCESS)
}
