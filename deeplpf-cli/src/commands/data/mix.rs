//! `deeplpf data mix`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use deeplpf_data::mix::{MixPlan, mix};
use deeplpf_train::config::parse;

use crate::console;

/// Make one set to train on of parts of several.
///
/// A plan says which sets, what of them is held out for validation and test, how large the pictures
/// become, and what is added: copies of what is rare, targets that stay as they are, pairs in black
/// and white. DIR gets input/, target/, train.txt, valid.txt, test.txt and mix.json.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The plan, a .toml file.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// The folder that the plan's folders are in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    from: PathBuf,

    /// The folder of the set: new or empty.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Example:
  deeplpf data mix default-weights-data.toml --from data -o mixed

A plan:
  short_edge = 176          # px; 0, the default, keeps every size
  multiple_of = 8
  [[source]]
  folder = \"fivek-pairs\"    # input/ with target/, expertC/, ... in it, or another known layout
  prefix = \"fivek-\"         # before its ids
  test = [\"a4514\"]          # ids, or { every = 10, first = 0 }
  valid = { every = 20, first = 5 }
  copies = 4                # of each training pair
  unchanged = 20            # so many targets that are their own input as well
  grey = 20                 # so many pairs in black and white as well";

/// The largest plan that is read.
const MOST_BYTES: u64 = 16 << 20;

/// Makes the set.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let place = args.plan.display();
    let size = std::fs::metadata(&args.plan).with_context(|| place.to_string())?.len();
    anyhow::ensure!(size <= MOST_BYTES, "{place}: {size} bytes are too many for a plan");
    let text = std::fs::read_to_string(&args.plan).with_context(|| place.to_string())?;
    let plan: MixPlan = parse(&text, &place.to_string(), &[])?;
    console::exit_cleanly_when_interrupted()?;
    let bar = super::bar_of_pairs()?;
    let made = mix(&plan, &args.from, &args.out, &|done, pairs| {
        bar.set_length(pairs as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let made = made?;
    console::print(&format!(
        "{} pairs to train on, {} for validation, {} for the test: {}\n",
        made.train,
        made.valid,
        made.test,
        args.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
