//! `deeplpf eval`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_core::{Checkpoint, Precision};
use deeplpf_experiments::{EvaluationRequest, evaluate};

use crate::console;
use crate::model_options::ModelOptions;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Trained weights: a .safetensors file of `deeplpf train`, or the authors' .pt file.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,

    /// The pairs: a folder with input/ and a target folder, matched by file stem, or `sample` for
    /// the test part of the set inside the program (`./sample` for a folder of that name).
    #[arg(long, value_name = "DIR")]
    data: String,

    /// Name of the target folder inside DIR, where there are several, e.g. `expertC`.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,

    /// List of the ids (file stems) to evaluate, one per line; by default all pairs.
    #[arg(long, value_name = "FILE")]
    split: Option<PathBuf>,

    /// The folder of the results, which is made if it is missing.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// Numbers of the convolutions on a GPU: fp32, tf32 or bf16; the CPU computes in fp32.
    #[arg(long, value_name = "PRECISION", default_value_t)]
    precision: Precision,

    /// The protocol the data follow, for the caption: FiveK's `dpe`, `dpe-id-order`, `upe` or
    /// `lut480`, which is written out there, or words of your own. Without it, a folder of `data
    /// prepare` says what it follows. Results published under the protocol stand below those of its
    /// whole test list. With `sid-sony` or `sid-fuji` DIR is a
    /// folder of See-in-the-Dark, and its test list is evaluated.
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,

    #[command(flatten)]
    model: ModelOptions,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf eval --weights best.safetensors --data sample -o evaluation
  deeplpf eval --weights best.safetensors --data my-pairs --split test.txt -o evaluation
  deeplpf eval --weights deeplpf.pt --fixes none --data fivek --target expertC --split test.txt \
--protocol dpe-id-order -o evaluation
  deeplpf eval --weights sony.safetensors --data dataset --protocol sid-sony -o evaluation

The folder gets metrics.json, per_image.csv, the table as .md, .csv, .tex and .json, a contact sheet of input, \
prediction and target, and report.html, which shows them all.";

/// Evaluates and prints the table.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::read(&args.weights)?;
    let request = EvaluationRequest {
        weights: args.weights.clone(),
        data: args.data.clone(),
        target: args.target.clone(),
        split: args.split.clone(),
        out: args.out.clone(),
        device: args.device.clone(),
        precision: args.precision,
        model: args.model.configuration(&checkpoint),
        protocol: args.protocol.clone(),
    };
    let summary = evaluate(&request, &mut |text| console::note(text))?;
    console::print(&format!("{summary}\n"))?;
    Ok(ExitCode::SUCCESS)
}
