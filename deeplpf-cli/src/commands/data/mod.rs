//! `deeplpf data`: one file per subcommand.

mod mix;
mod prepare;
mod sample;
mod synthesise;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// The arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write the sample set that is inside the program as a paired folder.
    Sample(sample::Args),
    /// Make a set that follows a protocol of FiveK: sizes, colours, names, lists.
    Prepare(prepare::Args),
    /// Make one set to train on of parts of several.
    Mix(mix::Args),
    /// Make a paired set from photographs by random filters, which are written down.
    Synthesise(synthesise::Args),
    /// Say what is wrong with a folder of pairs.
    Verify(verify::Args),
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Sample(args) => sample::run(args),
        Command::Prepare(args) => prepare::run(args),
        Command::Mix(args) => mix::run(args),
        Command::Synthesise(args) => synthesise::run(args),
        Command::Verify(args) => verify::run(args),
    }
}

/// A bar over pairs. Drawn on a terminal only.
fn bar_of_pairs() -> anyhow::Result<ProgressBar> {
    let template = "{bar:30} {pos}/{len} pairs, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).context("the progress bar's template")?;
    Ok(ProgressBar::new(0).with_style(style))
}
