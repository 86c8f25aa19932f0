//! The `deeplpf` command line: parses, calls the library crates, prints.

mod commands;
mod console;
mod default_weights;
mod destination;
mod model_options;
mod ranks;
mod training_progress;

use std::process::ExitCode;

use clap::Parser;

/// Tensors of tens of megabytes come and go with every layer; the system's allocator returns each
/// to the kernel and pays for its pages anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learned photo retouching with deep local parametric filters.
///
/// DeepLPF (CVPR 2020) reads a photograph, predicts the parameters of polynomial, graduated and
/// elliptical filters, and applies them. This program enhances photographs with trained weights,
/// trains and evaluates models, and repeats whole experiments.
#[derive(Parser)]
#[command(name = "deeplpf", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 when everything was done, 1 when anything failed, 2 when the command line is wrong.
`deeplpf COMMAND --help` explains every option and shows examples.";

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Before anything is written: a wrong DEEPLPF_SIMD would otherwise be found half way.
    let instructions = deeplpf_filters::Instructions::selected().map_err(anyhow::Error::from);
    instructions.and_then(|_| command.run()).unwrap_or_else(|error| {
        console::error(&error);
        ExitCode::FAILURE
    })
}
