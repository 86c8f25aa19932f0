//! One measurement of deeplpf in a process of its own, printed as one line of JSON, and what the
//! comparison with the peers in `benches/peers` needs besides: weights, photographs, results to
//! compare, plots.
//!
//! A process per measurement, because the peak memory of a process can be asked for only once, and
//! because warm caches and grown thread pools of one measurement must not help the next.
#![deny(missing_docs)]

mod cuda;
mod filters;
mod growth;
mod inference;
mod machine;
mod photograph;
mod random_weights;
mod record;
mod results;
mod timing;
mod training;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use photograph::{Photograph, Size};
use record::Record;
use timing::{COLD_LIMIT, Schedule};

/// The allocator of the `deeplpf` program, so that its memory and speed are what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures deeplpf, one thing per process.
#[derive(Parser)]
#[command(name = "measure", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure one thing and print one line of JSON.
    Run(RunArgs),
    /// Measure on an NVIDIA GPU.
    #[command(subcommand)]
    Cuda(cuda::Command),
    /// Write random weights of the release's network whose filters are strong.
    Weights {
        /// The .safetensors file to write.
        out: PathBuf,
    },
    /// Write the synthetic photograph as a JPEG of quality 95.
    Photograph {
        /// The file to write.
        out: PathBuf,
        /// Height and width, e.g. 341x512.
        #[arg(long)]
        size: Size,
    },
    /// Write what deeplpf computes for the synthetic photograph, for the peers to compare with.
    Results {
        /// The .safetensors file to write.
        out: PathBuf,
        /// Weights of the release's network.
        #[arg(long)]
        weights: PathBuf,
        /// Height and width, e.g. 341x512.
        #[arg(long)]
        size: Size,
    },
    /// Draw time and memory against pixels from files of records.
    Plot {
        /// The files, as `compare.py` writes them.
        #[arg(required = true)]
        records: Vec<PathBuf>,
        /// The folder the plots are written to, as SVG and PNG.
        #[arg(long)]
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// What to measure.
    what: What,
    /// Height and width, e.g. 341x512.
    #[arg(long)]
    size: Size,
    /// Threads that compute.
    #[arg(long)]
    threads: NonZeroUsize,
    /// Most timed repetitions.
    #[arg(long, default_value = "10")]
    repeats: NonZeroUsize,
    /// Seconds of repetitions; at least one is made.
    #[arg(long, default_value_t = 3.0)]
    budget: f64,
    /// Weights of the release's network; not needed for the filters alone.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Rows of the photograph worked on at once (`inference` and `enhance`).
    #[arg(long)]
    tile: Option<NonZeroUsize>,
}

/// What can be measured. Everything is single precision, batch 1, the release's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// `FilterStack::apply_into`, in turn with copying the image.
    FiltersApply,
    /// `FilterStack::vjp_into`, in turn with copying the image.
    FiltersVjp,
    /// `Enhancer::enhance_rows`, from floats in memory to floats in memory.
    Inference,
    /// `Model::forward`: the network that training differentiates.
    InferenceModel,
    /// `Enhancer::enhance_rows`, from 8 bits in memory to 8 bits in memory.
    Enhance,
    /// `Trainer::step`: forward, loss, backward, Adam.
    TrainingStep,
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to say where stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => run(&args),
        Command::Cuda(command) => cuda::execute(&command),
        Command::Weights { out } => random_weights::write(&out),
        Command::Photograph { out, size } => Photograph::new(size).write_jpeg(&out),
        Command::Results { out, weights, size } => results::write(&out, &weights, size),
        Command::Plot { records, folder } => growth::plot(&records, &folder),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.get())
        .build_global()
        .context("cannot start the threads")?;
    let budget = Duration::try_from_secs_f64(args.budget)
        .with_context(|| format!("--budget {}: not a length of time", args.budget))?;
    let schedule = Schedule { budget, cold_limit: COLD_LIMIT, repeats: args.repeats.get() };
    let weights = || args.weights.as_deref().context("name the weights with --weights FILE");
    let measured = match args.what {
        What::FiltersApply => filters::apply(args.size, schedule)?,
        What::FiltersVjp => filters::vjp(args.size, schedule)?,
        What::Inference => inference::floats(weights()?, args.size, args.tile, schedule)?,
        What::InferenceModel => inference::model(weights()?, args.size, schedule)?,
        What::Enhance => inference::eight_bits(weights()?, args.size, args.tile, schedule)?,
        What::TrainingStep => training::step(weights()?, args.size, schedule)?,
    };
    let what = args.what.to_possible_value().context("a measurement without a name")?;
    let record = Record::new(what.get_name(), args.size, measured)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&record)?).context("cannot write the record")
}
