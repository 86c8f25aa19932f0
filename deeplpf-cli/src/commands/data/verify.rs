//! `deeplpf data verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_data::verify::{self, Options};
use deeplpf_data::{Protocol, ProtocolName};

use super::bar_of_pairs;
use crate::console;

/// Say what is wrong with a folder of pairs.
///
/// Reads every picture and reports files without partner, unequal sizes, targets that are
/// shifted or show something else, inputs equal to their targets, profiles and bit depths, inputs
/// of another rendering than the protocol's, and what the folder's lists (train.txt, test.txt,
/// ...) have in common with the published splits of FiveK. Files of a folder that `data prepare` made
/// are compared with its manifest. Exit status 0: usable, 1: not usable.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The pairs: a folder with input/ and a target folder, the 480p tree of
    /// Image-Adaptive-3DLUT, or FiveK's own archive.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The FiveK protocol it should follow: dpe, dpe-id-order, upe or lut480. Without one, pairs
    /// and lists are judged by themselves.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<ProtocolName>,

    /// Write whether the set is usable, and every problem, as JSON. Counts, notes and what lists share
    /// with known splits are printed only.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Name of the target folder inside DIR, where there are several, e.g. `expertC`.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf data verify my-pairs
  deeplpf data verify fivek --protocol dpe --json report.json

The JSON is {\"usable\": ..., \"problems\": [{\"kind\": ..., \"id\": ..., \"detail\": ...}]}. Kinds: \
missing-target, missing-input, unequal-size, misregistered, identical, profile, bit-depth, \
unknown-id, missing-id, duplicate-id, unreadable, brightness.";

/// Verifies and prints the report.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options =
        Options { protocol: args.protocol.map(Protocol::new), target: args.target.as_deref() };
    let bar = bar_of_pairs()?;
    let report = verify::verify(&args.folder, &options, &|done, pairs| {
        bar.set_length(pairs as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    console::print(&report.to_string())?;
    Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
