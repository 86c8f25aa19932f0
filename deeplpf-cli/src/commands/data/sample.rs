//! `deeplpf data sample`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_data::sample;

use crate::console;

/// Write the sample set that is inside the program as a paired folder.
///
/// 16 pairs from CC0 and public-domain photographs, whose targets were made by known filters:
/// input/, target/, the lists train.txt, valid.txt and test.txt, truth.json with the filters,
/// and CREDITS.md.
#[derive(clap::Args)]
#[command(after_long_help = "Example:\n  deeplpf data sample -o sample")]
pub struct Args {
    /// The folder, which is made if it is missing. Files of the set's names are replaced.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes the set.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    sample::write_to(&args.out)?;
    let pairs = sample::truth()?.pictures.len();
    console::print(&format!("{pairs} pairs: {}\n", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
