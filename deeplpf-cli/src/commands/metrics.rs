//! `deeplpf metrics`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use deeplpf_eval::metrics::{metrics_by_key, standard_metrics};
use deeplpf_eval::{Caption, Comparison, Table, compare_folders};

use super::exit_code;
use crate::console;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Pictures to judge: a folder or a file.
    predictions: PathBuf,

    /// What they should look like: a folder with a file of the same stem for each, or a file.
    targets: PathBuf,

    /// Write the values of every image and their means as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the values of every image and their means as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Metrics to compute, with commas: psnr, psnr_8bit, ssim, ssim_population, ssim_release,
    /// ms_ssim, delta_e_76, delta_e_2000. Default: all but ms_ssim, which needs 161x161 pixels.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    metrics: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf metrics results expertC
  deeplpf metrics results expertC --json scores.json --csv scores.csv
  deeplpf metrics better.png target.png --metrics psnr,ssim,ms_ssim

The JSON is {\"metrics\": [...], \"images\": {\"<stem>\": {\"psnr\": 23.4, ...}}, \"mean\": {...}}; \
an infinite value (PSNR of equal pictures) is the string \"inf\". If a pair cannot be compared, the \
mean is null and \"failures\" says why: a mean over fewer images would be another number.";

/// Compares and prints a table of means.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let metrics = match &args.metrics[..] {
        [] => standard_metrics(),
        keys => metrics_by_key(keys)?,
    };
    let comparison = compare_folders(&args.predictions, &args.targets, &metrics)?;
    tell_left_over(&comparison);
    if let Some(path) = &args.json {
        comparison.write_json(path)?;
    }
    if !comparison.failures.is_empty() {
        return tell_failures(comparison, args.csv.is_some());
    }
    if let Some(path) = &args.csv {
        comparison.scores.write_csv(path)?;
    }
    console::print(&table(args, &comparison)?.to_markdown())?;
    Ok(ExitCode::SUCCESS)
}

/// Without a mean there is no table; the CSV's last line would be one too.
fn tell_failures(comparison: Comparison, csv_asked: bool) -> anyhow::Result<ExitCode> {
    let (compared, failed) = (comparison.scores.len(), comparison.failures.len());
    for failure in comparison.failures {
        console::error(&failure.error.into());
    }
    let csv = if csv_asked { " and no CSV" } else { "" };
    console::print(&format!("{compared} compared, {failed} failed: no means{csv}\n"))?;
    Ok(exit_code(failed))
}

fn tell_left_over(comparison: &Comparison) {
    let left_over = &comparison.predictions_without_target;
    if !left_over.is_empty() {
        console::note(&format!(
            "{} predictions have no target and take no part: {}",
            left_over.len(),
            left_over.join(", ")
        ));
    }
}

fn table(args: &Args, comparison: &Comparison) -> anyhow::Result<Table> {
    let name = |path: &PathBuf| path.display().to_string();
    let title = format!("{} against {}", name(&args.predictions), name(&args.targets));
    let caption = Caption { images: comparison.scores.len(), ..Caption::default() };
    let mut table = Table::new(title, caption, comparison.scores.metrics().to_vec());
    table
        .push_scores(name(&args.predictions), &comparison.scores)
        .context("the table cannot be made")?;
    Ok(table)
}
