//! `deeplpf train`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_core::{Compute, Precision};
use deeplpf_train::{
    Communicator, RunFolder, StepEngine, TrainConfig, TrainError, config, distribution::agree,
    train_together,
};

use crate::{
    console, ranks,
    training_progress::{Silent, TrainingProgress},
};

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

/// What the arguments ask for.
fn configuration(args: &Args) -> deeplpf_train::Result<TrainConfig> {
    let mut settings = args.settings.clone();
    settings.extend(args.device.iter().map(|device| format!("device={device}")));
    settings.extend(args.precision.iter().map(|precision| format!("precision={precision}")));
    match &args.config {
        Some(path) => TrainConfig::read(path, &settings),
        None => config::parse("", "the defaults", &settings),
    }
}

const EXAMPLES: &str = "\
Examples:
  deeplpf train --print-config > train.toml
  deeplpf train --config train.toml
  deeplpf train --config train.toml --set run=runs/b --set data.source=my-pairs
  deeplpf train --config train.toml --resume
  mpirun -n 4 deeplpf train --config train.toml --set data.accumulate=4   (built with MPI)
  torchrun --no-python --nproc-per-node 4 deeplpf train --config train.toml --device cuda \
--set data.accumulate=4   (built with NCCL)

A data folder holds input/ and a target folder (target/, gt/, expertC/, ...), matched by file stem; \
`data.source = \"sample\"` is the set inside the program, \"./sample\" a folder of that name. The run folder holds config.toml, \
metrics.jsonl, checkpoints/best.safetensors and last.safetensors, and state/ to resume from.";

/// Trains and prints what came of it, by this process or by all that a launcher started with it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let communicator = ranks::communicator()?;
    let result = run_as_rank(args, &*communicator);
    if communicator.ranks() == 1 {
        return result;
    }
    // All ranks failed if this one did. It is said before MPI is closed, which lets the others go:
    // the first of them that ends with a failure has the launcher end the rest.
    Ok(result.unwrap_or_else(|error| {
        if communicator.rank() == 0 {
            console::error(&error);
        }
        ExitCode::FAILURE
    }))
}

fn run_as_rank(args: &Args, communicator: &dyn Communicator) -> anyhow::Result<ExitCode> {
    let is_first = communicator.rank() == 0;
    let config = agree(communicator, configuration(args))?;
    if args.print_config {
        if is_first {
            console::print(&config.to_toml())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Held until the end, so that a GPU is opened once.
    let own = Compute::select_for(&config.device, communicator.local_rank());
    let selection = agree(communicator, own.map_err(TrainError::from))?;
    if is_first {
        selection.note.iter().for_each(|note| console::note(note));
        if matches!(selection.compute, Compute::Cpu) && config.engine == StepEngine::Graph {
            console::note(
                "engine = \"graph\": steps are computed by candle's graph, not by the faster `direct`",
            );
        }
        if communicator.ranks() > 1 {
            let threads = match rayon::current_num_threads() {
                1 => "1 thread".into(),
                threads => format!("{threads} threads"),
            };
            console::note(&format!(
                "{} ranks, {threads} on this one (RAYON_NUM_THREADS and the launcher's binding set \
                 them)",
                communicator.ranks()
            ));
        }
    }
    if !is_first {
        let mut silent =
            Silent::new().unwrap_or_else(|error| communicator.abort(&error.to_string()));
        let summary = train_together(&config, args.resume, &mut silent, communicator)?;
        return Ok(match summary.interrupted {
            true => ExitCode::from(console::INTERRUPTED),
            false => ExitCode::SUCCESS,
        });
    }
    let mut progress = TrainingProgress::new(console::note)
        .unwrap_or_else(|error| communicator.abort(&error.to_string()));
    let summary = train_together(&config, args.resume, &mut progress, communicator)?;
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
