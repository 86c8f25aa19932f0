//! `deeplpf enhance`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use deeplpf_core::{Checkpoint, DType, Enhancer, Fixes, select_device};
use deeplpf_data::{OutputFormat, atomic_file, decode, encode, find_each};
use deeplpf_filters::Dialect;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::exit_code;
use crate::console;
use crate::destination::{Destination, Inputs, Job};
use crate::model_options::ModelOptions;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Photographs, or folders of photographs (PNG, JPEG, TIFF, WebP; 8 or 16 bit).
    ///
    /// A folder stands for the pictures directly in it. Colour profile and EXIF orientation are
    /// applied. Results are named after their input's stem; inputs that share one all fail.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where the result goes: a file (.png, .jpg, .tif, .npy) for one input file, else a folder,
    /// which is made if it is missing.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,

    /// Trained weights: a .safetensors file of `deeplpf train`, or the authors' .pt file.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    #[command(flatten)]
    model: ModelOptions,

    /// The format of the results; by default that of OUT's extension, and png in a folder.
    ///
    /// png and jpeg have 8 bits per channel, png16 and tiff16 have 16, all rounded to the
    /// nearest; npy holds float32 values, height x width x 3, neither clamped nor rounded.
    #[arg(long, value_parser = format_parser())]
    format: Option<OutputFormat>,

    /// Also write `<stem>.params.json` beside each result: every parameter of every filter, as
    /// the network's raw numbers and as named geometry.
    #[arg(long)]
    save_params: bool,
}

const EXAMPLES: &str = "\
Examples:
  One photograph:
    deeplpf enhance photo.jpg -o better.png --weights best.safetensors
  A folder, as 16 bit TIFF, with the filters' parameters beside each:
    deeplpf enhance photos -o results --format tiff16 --save-params --weights best.safetensors
  The authors' published weights, with all corrections of their program:
    deeplpf enhance photo.jpg -o better.png --weights deeplpf.pt --fixes all

A photograph that cannot be enhanced is named on stderr, the others are still processed, and the \
exit status is 1. A result replaces an older file of its name.";

const NO_WEIGHTS: &str = "no weights were given: train some with `deeplpf train` or \
    `deeplpf reproduce sample`, or fetch the authors' .pt file, and name them with --weights FILE";

fn format_parser() -> impl TypedValueParser<Value = OutputFormat> {
    PossibleValuesParser::new(OutputFormat::ALL.map(OutputFormat::name))
        .try_map(|name| name.parse::<OutputFormat>())
}

/// Enhances every input.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let weights = args.weights.as_deref().context(NO_WEIGHTS)?;
    let mut found = find_each(&args.inputs);
    if args.inputs.len() == 1 && found.images.is_empty() && found.problems.len() == 1 {
        return Err(found.problems.remove(0).into());
    }
    let inputs = match &args.inputs[..] {
        [one] if !one.is_dir() => Inputs::One,
        _ => Inputs::Many,
    };
    let destination = Destination::new(&args.out, args.format, inputs)?;
    let jobs = destination.jobs(found.images)?;

    let checkpoint = Checkpoint::read(weights)?;
    let asked = args.model.configuration(&checkpoint);
    let model = checkpoint.model(asked.as_ref(), DType::F32, &select_device(&args.device)?)?;
    let enhancer = Enhancer::new(model);
    destination.prepare()?;

    let mut failed = found.problems.len();
    for problem in found.problems {
        console::error(&problem.into());
    }
    let bar = progress_bar(jobs.len());
    let mut enhanced = 0;
    for job in &jobs {
        bar.set_message(job.input.display().to_string());
        match enhance(&enhancer, job, destination.format, args.save_params.then_some(weights)) {
            Ok(()) => enhanced += 1,
            Err(error) => {
                failed += 1;
                bar.suspend(|| console::error(&error));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if inputs == Inputs::Many || failed == 0 {
        let place = destination.path().display();
        console::print(&format!("{enhanced} enhanced, {failed} failed: {place}\n"))?;
    }
    Ok(exit_code(failed))
}

/// Makes one picture and, with `parameters_of` the weights' file, the list of its parameters after
/// it: parameters without their picture would only mislead.
fn enhance(
    enhancer: &Enhancer,
    job: &Job,
    format: OutputFormat,
    parameters_of: Option<&Path>,
) -> anyhow::Result<()> {
    let image = decode(&job.input)?;
    let enhancement =
        enhancer.enhance(image.pixels.view()).with_context(|| job.input.display().to_string())?;
    encode(&job.output, enhancement.image.view(), format, Some(&image.info))?;
    let Some(weights) = parameters_of else { return Ok(()) };
    let config = enhancer.model().config();
    let file = ParametersFile {
        input: name(&job.input),
        width: image.width(),
        height: image.height(),
        weights: name(weights),
        dialect: config.dialect,
        fixes: config.fixes,
        parameters: &enhancement.parameters,
    };
    let text = serde_json::to_string_pretty(&file)? + "\n";
    let path = parameters_path(&job.output);
    atomic_file::write(&path, text.as_bytes()).with_context(|| {
        format!("{} was written, but {} cannot be", job.output.display(), path.display())
    })
}

fn parameters_path(output: &Path) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(".params.json");
    output.with_file_name(name)
}

/// What `<stem>.params.json` holds. Names of files, not their places, so that it can be shared.
#[derive(Serialize)]
struct ParametersFile<'a, P> {
    input: Option<Cow<'a, str>>,
    width: usize,
    height: usize,
    weights: Option<Cow<'a, str>>,
    dialect: Dialect,
    fixes: Fixes,
    #[serde(flatten)]
    parameters: &'a P,
}

fn name(path: &Path) -> Option<Cow<'_, str>> {
    path.file_name().map(|name| name.to_string_lossy())
}

/// Drawn on a terminal only, and not for a single picture.
fn progress_bar(pictures: usize) -> ProgressBar {
    if pictures < 2 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left, {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(pictures as u64).with_style(style)
}
