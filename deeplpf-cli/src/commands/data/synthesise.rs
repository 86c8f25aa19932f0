//! `deeplpf data synthesise`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use deeplpf_core::random::{Generator, Purpose};
use deeplpf_data::synthetic::{LookRange, SetOptions, synthesise};

use crate::console;

/// Make a paired set from photographs by random filters, which are written down.
///
/// Each photograph, made dull and dark, becomes an input; filters drawn from the seed make the target
/// from it. DIR gets input/, target/, train.txt, valid.txt and test.txt (split by photograph) and
/// truth.json with every filter's numbers, from which `eval` tells how well a model found them.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// A folder of photographs.
    #[arg(value_name = "PHOTOGRAPHS")]
    photographs: PathBuf,

    /// The folder of the set: new or empty.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Decides everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Pairs from each photograph: the first shows all of it, the others random parts.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    per_photograph: u16,

    /// Longest side of the pairs in pixels, at least 32; photographs are never enlarged.
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(32..))]
    long_edge: u32,

    /// Draw a look for each picture instead of one for all. For fitting filters: a network cannot
    /// learn looks that do not depend on the picture.
    #[arg(long)]
    look_per_picture: bool,

    /// Leave out the polynomial.
    #[arg(long)]
    no_polynomial: bool,

    /// Graduated filters that do something.
    #[arg(long, value_name = "0..3", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    graduated: u8,

    /// Elliptical filters that do something.
    #[arg(long, value_name = "0..3", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    elliptical: u8,

    /// How strong the filters may be: 1 scales by 0.5 to 1.5, 0 does nothing.
    #[arg(long, value_name = "0..1", default_value_t = 1.0)]
    strength: f64,

    /// Share of the photographs for validation.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    valid: f64,

    /// Share of the photographs for test.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    test: f64,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf data synthesise photographs -o synthetic --seed 3
  deeplpf data synthesise photographs -o fits --look-per-picture --per-photograph 4";

/// Makes the set.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for (name, share) in [("strength", args.strength), ("valid", args.valid), ("test", args.test)] {
        if !(0.0..=1.0).contains(&share) {
            bail!("--{name} must be at least 0 and at most 1");
        }
    }
    let options = SetOptions {
        range: LookRange {
            polynomial: !args.no_polynomial,
            graduated: args.graduated.into(),
            elliptical: args.elliptical.into(),
            strength: args.strength,
        },
        look_per_picture: args.look_per_picture,
        per_photograph: args.per_photograph.into(),
        long_edge: args.long_edge,
        valid: args.valid,
        test: args.test,
        ..SetOptions::default()
    };
    let generator = |stream: u64| Generator::new(args.seed, Purpose::Synthesis, stream);
    let bar = super::bar_of_pairs()?;
    let made =
        synthesise(&args.photographs, &args.out, &options, &generator, &|done, photographs| {
            bar.set_length(photographs as u64);
            bar.set_position(done as u64);
        });
    bar.finish_and_clear();
    let pairs = made?.pictures.len();
    console::print(&format!("{pairs} pairs: {}\n", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
