//! Measurements on an NVIDIA GPU, all in one process, one line of JSON each; and the page that sets them
//! beside the peers' of `peers/gpu_peer.py`.

pub mod page;
mod record;
#[cfg(feature = "cuda")]
mod work;

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Print what a GPU is called and which versions were found.
    Device(DeviceArgs),
    /// Measure everything, one line of JSON each on stdout.
    Run(RunArgs),
    /// Write the page from files of such lines.
    Page(page::PageArgs),
}

/// Which GPU.
#[derive(Args)]
pub struct DeviceArgs {
    /// Number of the GPU.
    #[arg(long, default_value_t = 0)]
    pub device: usize,
}

/// What is measured.
#[derive(Args)]
pub struct RunArgs {
    /// Which GPU.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Weights of the release's network.
    #[arg(long)]
    pub weights: PathBuf,
    /// Rounds of every measurement.
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,
    /// Small sizes, one step a round: a trial of the program, on the tests' stand-in driver.
    #[arg(long)]
    pub tiny: bool,
}

/// Does it.
///
/// # Errors
/// No usable GPU, unusable weights, or a file that cannot be read or written.
pub fn execute(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Page(args) => page::write(args),
        #[cfg(feature = "cuda")]
        Command::Device(args) => work::print_device(args.device),
        #[cfg(feature = "cuda")]
        Command::Run(args) => work::run(args),
        #[cfg(not(feature = "cuda"))]
        Command::Device(_) | Command::Run(_) => anyhow::bail!(
            "this `measure` was built without CUDA; build it with `cargo build --release -p \
             deeplpf-benches --features cuda`"
        ),
    }
}
