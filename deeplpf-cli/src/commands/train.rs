//! `deeplpf train`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_core::{Compute, Precision};
use deeplpf_train::{RunFolder, StepEngine, TrainConfig, config, train_watched};

use crate::{console, training_progress::TrainingProgress};

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The configuration: TOML; every key has a default (see --print-config).
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    config: Option<PathBuf>,

    /// Change a key of the configuration, e.g. `--set adam.learning_rate=3e-4`. Can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// Where to compute: `auto`, `cpu` or `cuda:N`; short for `--set device=...`.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,

    /// Numbers of the convolutions on a GPU: fp32, tf32 or bf16; short for `--set precision=...`.
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,

    /// Continue the run in the run folder from its last saved state.
    ///
    /// On a CPU the result has the same bits as an uninterrupted run. A run that is finished
    /// already stays as it is; `--set epochs=N` makes it longer.
    #[arg(long)]
    resume: bool,

    /// Print the configuration (the defaults, or --config with every --set applied) and stop.
    #[arg(long)]
    print_config: bool,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf train --print-config > train.toml
  deeplpf train --config train.toml
  deeplpf train --config train.toml --set run=runs/b --set data.source=my-pairs
  deeplpf train --config train.toml --resume

A data folder holds input/ and a target folder (target/, gt/, expertC/, ...), matched by file stem; \
`data.source = \"sample\"` is the set inside the program, \"./sample\" a folder of that name. The run folder holds config.toml, \
metrics.jsonl, checkpoints/best.safetensors and last.safetensors, and state/ to resume from.";

/// Trains and prints what came of it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut settings = args.settings.clone();
    settings.extend(args.device.iter().map(|device| format!("device={device}")));
    settings.extend(args.precision.iter().map(|precision| format!("precision={precision}")));
    let config = match &args.config {
        Some(path) => TrainConfig::read(path, &settings)?,
        None => config::parse("", "the defaults", &settings)?,
    };
    if args.print_config {
        console::print(&config.to_toml())?;
        return Ok(ExitCode::SUCCESS);
    }
    // Held until the end, so that a GPU is opened once.
    let selection = Compute::select(&config.device)?;
    if let Some(note) = &selection.note {
        console::note(note);
    }
    if matches!(selection.compute, Compute::Cpu) && config.engine == StepEngine::Graph {
        console::note(
            "engine = \"graph\": steps are computed by candle's graph, not by the faster `direct`",
        );
    }
    let mut progress = TrainingProgress::new(console::note)?;
    let summary = train_watched(&config, args.resume, &mut progress)?;
    drop(progress);
    let folder = RunFolder::new(&config.run);
    if summary.interrupted {
        console::print(&format!(
            "stopped after {} epochs, {} steps; go on with --resume: {}\n",
            summary.epochs,
            summary.steps,
            folder.state().display()
        ))?;
        return Ok(ExitCode::from(console::INTERRUPTED));
    }
    let best = summary.best.map_or(String::new(), |(psnr, epoch)| {
        format!(", best validation PSNR {psnr:.2} dB in epoch {epoch}")
    });
    console::print(&format!(
        "{} epochs, {} steps, loss {:.5}{best}: {} and {}\n",
        summary.epochs,
        summary.steps,
        summary.loss,
        folder.best().display(),
        folder.last().display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
