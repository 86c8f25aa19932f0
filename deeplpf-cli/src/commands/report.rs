//! `deeplpf report`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use deeplpf_experiments::{ReportRequest, report};

use crate::console;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Folders to report on: trained runs (`deeplpf train`), evaluations (`deeplpf eval`), or the
    /// results of a recipe (`deeplpf reproduce`), which stand for all runs in them.
    ///
    /// A trained run that was never evaluated is first evaluated on its validation pairs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// The page; by default report.html in the folder of a single RUN, else in this folder.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Also write the plots, as SVG and PNG, and a contact sheet of the best, median and worst
    /// photographs into this folder.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,

    /// The metric of plots and contact sheet, one of those the runs were judged by.
    #[arg(long, value_name = "KEY", default_value = "psnr")]
    metric: String,

    /// Largest size of the page in megabytes; pictures are made as large as it allows.
    #[arg(long, value_name = "MB", default_value_t = 19.5)]
    size_limit: f64,

    /// Where to compute, if a run is evaluated: `auto`, `cpu` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

const EXAMPLES: &str = "\
Examples:
  One run, after `deeplpf train` or `deeplpf eval`:
    deeplpf report runs/train
  Several runs side by side, judged on the same pairs:
    deeplpf report runs/a runs/b -o comparison.html --plots plots
  All runs of a recipe, with plots by another metric:
    deeplpf report runs/sample --metric delta_e_2000

The page is one file that loads nothing: tables that sort, plots, and every photograph with a \
before/after slider, its target, error, predicted filters and scores, searched by name and sorted \
by any metric.";

/// Writes the page and prints where it is.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(out) = &args.out
        && out.extension().is_none_or(|extension| extension != "html" && extension != "htm")
    {
        bail!("{} is no name of a page; give one that ends in .html", out.display());
    }
    // A page of a gigabyte opens nowhere.
    if !(0.1..=1000.0).contains(&args.size_limit) {
        bail!("--size-limit {} is outside 0.1 to 1000 megabytes", args.size_limit);
    }
    let request = ReportRequest {
        runs: args.runs.clone(),
        out: args.out.clone(),
        pictures: args.plots.clone(),
        metric: args.metric.clone(),
        size_limit: Some((args.size_limit * 1e6) as usize),
        device: args.device.clone(),
    };
    let summary = report(&request, &mut |sentence| console::note(sentence))?;
    console::print(&format!("{summary}\n"))?;
    Ok(ExitCode::SUCCESS)
}
