//! `deeplpf inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_core::Precision;
use deeplpf_experiments::{InspectionRequest, inspect};

use crate::console;
use crate::default_weights;
use crate::model_options::ModelOptions;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The photograph (PNG, JPEG, TIFF, WebP; 8 or 16 bit).
    photo: PathBuf,

    /// Trained weights: a .safetensors file of `deeplpf train`, or the authors' .pt file
    /// [default: those built into the program]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// The folder of the results, which is made if it is missing.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// Numbers of the convolutions on a GPU: fp32, tf32 or bf16; the CPU computes in fp32.
    #[arg(long, value_name = "PRECISION", default_value_t)]
    precision: Precision,

    #[command(flatten)]
    model: ModelOptions,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf inspect photo.jpg -o inspection
  deeplpf inspect photo.jpg --weights best.safetensors -o inspection
  deeplpf inspect photo.jpg --weights deeplpf.pt --fixes none -o inspection

The folder gets filters.png, the result with the predicted graduated and elliptical filters drawn \
over it; polynomial, graduated and elliptical as .png and .svg, what each filter changes where, \
for the filters the model has; and params.json, every parameter.";

/// Writes the pictures and prints their names.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checkpoint = default_weights::read(args.weights.as_deref())?;
    let model = args.model.configuration(&checkpoint);
    let request = InspectionRequest {
        photograph: args.photo.clone(),
        weights: checkpoint,
        out: args.out.clone(),
        device: args.device.clone(),
        precision: args.precision,
        model,
    };
    let summary = inspect(&request, &mut |text| console::note(text))?;
    console::print(&format!("{summary}\n"))?;
    Ok(ExitCode::SUCCESS)
}
