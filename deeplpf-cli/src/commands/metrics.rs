//! `deeplpf metrics`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use deeplpf_eval::metrics::{choose_metrics, standard_metrics};
use deeplpf_eval::{
    Caption, Comparison, EvalError, ImageMetric, Table, compare_folders, resolution,
};
use deeplpf_experiments::read_lpips_vgg;

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

    /// What to print: a table of means, or the values of every image with their means.
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Write the values of every image and their means as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the values of every image and their means as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Metrics to compute, with commas: psnr, psnr_8bit, ssim, ssim_population, ssim_release,
    /// ms_ssim, lpips_alex, lpips_vgg, delta_e_76, delta_e_2000, or all. Default: all but ms_ssim,
    /// which needs 161x161 pixels, and LPIPS, which takes longer than the others together.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    metrics: Vec<String>,

    /// The weights of lpips_vgg, which are too large to be inside the program: torchvision's
    /// vgg16, as .safetensors or as a .pth of PyTorch, or an address on the Hugging Face hub,
    /// hf://OWNER/REPOSITORY@COMMIT/FILE#sha256=HASH (in programs built with the feature `hub`).
    #[arg(long, value_name = "FILE")]
    lpips_vgg_weights: Option<String>,
}

/// What stdout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Means, as Markdown.
    Table,
    /// Every image, as JSON.
    Json,
    /// Every image, as CSV.
    Csv,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf metrics results expertC
  deeplpf metrics results expertC --metrics all --json scores.json --csv scores.csv
  deeplpf metrics better.png target.png --metrics psnr,ssim,lpips_alex --format json

The JSON is {\"metrics\": [...], \"images\": {\"<stem>\": {\"psnr\": 23.4, ...}}, \"mean\": {...}}; \
an infinite value (PSNR of equal pictures) is the string \"inf\". If a pair cannot be compared, the \
mean is null and \"failures\" says why: a mean over fewer images would be another number. \
`deeplpf compare` compares several such files image by image.";

/// Compares and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Before the weights, which may be fetched and are large.
    if let Some(path) = [&args.predictions, &args.targets].into_iter().find(|path| !path.exists()) {
        return Err(EvalError::NoSuchPath(path.clone()).into());
    }
    let comparison = compare_folders(&args.predictions, &args.targets, &metrics(args)?)?;
    tell_left_over(&comparison);
    if let Some(note) = mixed_depths(&comparison) {
        console::note(&note);
    }
    if let Some(path) = &args.json {
        comparison.write_json(path)?;
    }
    if !comparison.failures.is_empty() {
        return tell_failures(args, comparison);
    }
    if let Some(path) = &args.csv {
        comparison.scores.write_csv(path)?;
    }
    console::print(&match args.format {
        Format::Table => table(args, &comparison)?.to_markdown(),
        Format::Json => comparison.to_json()?,
        Format::Csv => comparison.scores.to_csv(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn metrics(args: &Args) -> anyhow::Result<Vec<Box<dyn ImageMetric>>> {
    let vgg = args.lpips_vgg_weights.as_deref().map(read_lpips_vgg).transpose()?;
    if args.metrics.iter().any(|key| key == "all") && vgg.is_none() {
        console::note("lpips_vgg is left out of `all`; its weights go with --lpips-vgg-weights");
    }
    Ok(match &args.metrics[..] {
        [] => standard_metrics(),
        keys => choose_metrics(keys, vgg.as_ref())?,
    })
}

/// Without a mean there is no table; the CSV's last line would be one too. The JSON has the
/// failures in it.
fn tell_failures(args: &Args, comparison: Comparison) -> anyhow::Result<ExitCode> {
    let (compared, failed) = (comparison.scores.len(), comparison.failures.len());
    if args.format == Format::Json {
        console::print(&comparison.to_json()?)?;
    }
    for failure in comparison.failures {
        console::error(&failure.error.into());
    }
    if args.format != Format::Json {
        let csv = args.csv.is_some() || args.format == Format::Csv;
        let csv = if csv { " and no CSV" } else { "" };
        console::print(&format!("{compared} compared, {failed} failed: no means{csv}\n"))?;
    }
    Ok(exit_code(failed))
}

fn tell_left_over(comparison: &Comparison) {
    let left_over = &comparison.predictions_without_target;
    if !left_over.is_empty() {
        console::note(&format!(
            "{} no target and no part in it: {}",
            match left_over.len() {
                1 => "1 prediction has".to_owned(),
                more => format!("{more} predictions have"),
            },
            left_over.join(", ")
        ));
    }
}

fn mixed_depths(comparison: &Comparison) -> Option<String> {
    let mixed = &comparison.mixed_depths;
    (!mixed.is_empty()).then(|| {
        format!(
            "{} of {} pairs have 8 bits on one side and 16 on the other, so that rounding is part \
             of their difference: {}",
            mixed.len(),
            comparison.scores.len(),
            mixed.join(", ")
        )
    })
}

fn table(args: &Args, comparison: &Comparison) -> anyhow::Result<Table> {
    let name = |path: &PathBuf| path.display().to_string();
    let title = format!("{} against {}", name(&args.predictions), name(&args.targets));
    let caption = Caption {
        images: comparison.scores.len(),
        resolution: resolution(&comparison.sizes),
        notes: mixed_depths(comparison).map(|note| format!("Note: {note}.")).into_iter().collect(),
        ..Caption::default()
    };
    let mut table = Table::new(title, caption, comparison.scores.metrics().to_vec());
    table
        .push_scores(name(&args.predictions), &comparison.scores)
        .context("the table cannot be made")?;
    Ok(table)
}
