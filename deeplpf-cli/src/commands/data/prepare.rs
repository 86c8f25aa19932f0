//! `deeplpf data prepare`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use deeplpf_data::prepare::{MANIFEST, Manifest, Plan, Request};
use deeplpf_data::protocol::{Expert, Protocol, ProtocolName};

use super::bar_of_pairs;
use crate::console;

/// Make a set that follows a protocol of FiveK: sizes, colours, names, lists.
///
/// Reads the pictures the protocol lists from a folder of any known layout, converts them to sRGB by
/// their profiles, makes them as small as the protocol has them and writes 8-bit PNGs, the protocol's
/// lists and a manifest with the SHA-256 of every source and every file. What was done by an earlier
/// run is not done again; an interrupted run goes on where it was.
///
/// Exit status 0: every pair of the protocol is there; 1: some are missing or could not be made.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The protocol: dpe, dpe-id-order, upe or lut480.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: ProtocolName,

    /// The pictures: a folder with input/ and a target folder, the 480p tree of
    /// Image-Adaptive-3DLUT, or FiveK's own archive; or the URL of one (file://; s3://, gs://,
    /// http://, https:// in a build with `--features remote`).
    #[arg(long, value_name = "DIR|URL")]
    from: String,

    /// The folder of the set, which is made if it is missing.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// A folder of inputs in place of those in --from, e.g. pictures exported from Lightroom beside
    /// the archive's targets.
    #[arg(long, value_name = "DIR")]
    inputs: Option<PathBuf>,

    /// Whose version is the target: a, b, c, d or e.
    #[arg(long, value_name = "EXPERT", default_value = "c")]
    expert: Expert,

    /// Pictures that are worked on at a time, by default one for each core. A photograph of 24
    /// megapixels takes 300 MB meanwhile.
    #[arg(long, visible_alias = "jobs", value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,

    /// Say what would be done and which ids are missing, and stop.
    #[arg(long)]
    dry_run: bool,

    /// Pairs of the protocol that are missing in --from are no failure.
    #[arg(long)]
    allow_missing: bool,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf data prepare --protocol dpe --from fivek_dataset --to fivek-dpe --dry-run
  deeplpf data prepare --protocol dpe --from fivek_dataset --inputs lightroom-export --to fivek-dpe
  deeplpf data prepare --protocol lut480 --from s3://bucket/fivek --to fivek-480p --expert a

The inputs' rendering is not changed: `dpe` wants them as shot and zeroed, `upe` and `lut480` as shot. \
`deeplpf data verify DIR --protocol P` says afterwards whether they look like it.";

/// Prepares and says what came of it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&Request {
        protocol: Protocol::new(args.protocol).with_target(args.expert),
        from: &args.from,
        inputs: args.inputs.as_deref(),
    })?;
    let missing = plan.missing.len();
    let whole = missing == 0 || args.allow_missing;
    if args.dry_run {
        console::print(&plan.to_string())?;
        return Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    console::exit_cleanly_when_interrupted()?;
    for problem in &plan.problems {
        console::note(problem);
    }
    if !plan.surplus.is_empty() {
        let (surplus, name) = (plan.surplus.len(), plan.protocol.name);
        console::note(&format!("{surplus} ids are in no list of {name} and are left out"));
    }
    let bar = bar_of_pairs()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    let summary = plan.run(&args.to, threads, &|progress| {
        bar.set_length(progress.pairs as u64);
        bar.set_position(progress.done as u64);
    });
    bar.finish_and_clear();
    let summary = summary?;
    tell_renderings(&args.to, plan.protocol)?;
    let failed = summary.failures.len();
    for (id, error) in summary.failures {
        console::error(&anyhow!(error).context(format!("{id} is left out")));
    }
    if !whole {
        console::error(&anyhow!(
            "{missing} of the {} pairs of {} are not in {}; --dry-run lists them, --allow-missing \
             makes do with the others",
            missing + plan.pairs.len(),
            plan.protocol.name,
            args.from
        ));
    }
    console::print(&format!(
        "{} prepared, {} already there, {failed} failed, {missing} missing: {}\n",
        summary.prepared,
        summary.kept,
        args.to.join(MANIFEST).display()
    ))?;
    Ok(if whole && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says where the inputs' rendering is known and not the protocol's.
fn tell_renderings(to: &Path, protocol: Protocol) -> anyhow::Result<()> {
    let path = to.join(MANIFEST);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        // Nothing could be prepared, which is told elsewhere.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let manifest = Manifest::parse(&bytes, &path)?;
    let wanted = protocol.input().to_string();
    let wanted = wanted.trim_start_matches("input ");
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for rendering in manifest.entries.iter().filter_map(|e| e.input.rendering.as_deref()) {
        if rendering.strip_prefix("Lightroom, ") != Some(wanted) {
            *others.entry(rendering).or_default() += 1;
        }
    }
    for (rendering, count) in others {
        let inputs = if count == 1 { "1 input was" } else { &format!("{count} inputs were") };
        console::note(&format!(
            "{inputs} rendered by {rendering}; {} wants them {wanted}, so that scores are not \
             comparable with published ones",
            protocol.name
        ));
    }
    Ok(())
}
