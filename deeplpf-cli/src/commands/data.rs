//! `deeplpf data`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use deeplpf_data::verify::{self, Options};
use deeplpf_data::{Protocol, ProtocolName, sample};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// The arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write the sample set that is inside the program as a paired folder.
    ///
    /// 16 pairs from CC0 and public-domain photographs, whose targets were made by known filters:
    /// input/, target/, the lists train.txt, valid.txt and test.txt, truth.json with the filters,
    /// and CREDITS.md.
    #[command(after_long_help = "Example:\n  deeplpf data sample -o sample")]
    Sample {
        /// The folder, which is made if it is missing. Files of the set's names are replaced.
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Say what is wrong with a folder of pairs.
    ///
    /// Reads every picture and reports files without partner, unequal sizes, targets that are
    /// shifted or show something else, inputs equal to their targets, profiles and bit depths, inputs
    /// of another rendering than the protocol's, and what the folder's lists (train.txt, test.txt,
    /// ...) have in common with the published splits of FiveK. Exit status 0: usable, 1: not usable.
    #[command(after_long_help = VERIFY_EXAMPLES)]
    Verify {
        /// The pairs: a folder with input/ and a target folder, the 480p tree of
        /// Image-Adaptive-3DLUT, or FiveK's own archive.
        #[arg(value_name = "DIR")]
        folder: PathBuf,

        /// The FiveK protocol it should follow: dpe, dpe-id-order, upe or lut480. Without one, pairs
        /// and lists are judged by themselves.
        #[arg(long, value_name = "PROTOCOL")]
        protocol: Option<ProtocolName>,

        /// Write the report as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,

        /// Name of the target folder inside DIR, where there are several, e.g. `expertC`.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  deeplpf data verify my-pairs
  deeplpf data verify fivek --protocol dpe --json report.json

The JSON is {\"usable\": ..., \"problems\": [{\"kind\": ..., \"id\": ..., \"detail\": ...}], ...}. Kinds: \
missing-target, missing-input, unequal-size, misregistered, identical, profile, bit-depth, \
unknown-id, missing-id, duplicate-id, unreadable, brightness.";

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Sample { out } => {
            sample::write_to(out)?;
            let pairs = sample::truth()?.pictures.len();
            console::print(&format!("{pairs} pairs: {}\n", out.display()))?;
        }
        Command::Verify { folder, protocol, json, target } => {
            let options =
                Options { protocol: protocol.map(Protocol::new), target: target.as_deref() };
            return verify_folder(folder, &options, json.as_deref());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verify_folder(
    folder: &Path,
    options: &Options<'_>,
    json: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    // On a terminal only; elsewhere the bar draws nothing.
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} pairs, {eta} left")
            .context("the progress bar's template")?,
    );
    let report = verify::verify(folder, options, &|done, pairs| {
        bar.set_length(pairs as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = json {
        report.write_json(path)?;
    }
    console::print(&report.to_string())?;
    Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
