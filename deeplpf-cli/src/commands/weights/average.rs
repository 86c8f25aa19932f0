//! `deeplpf weights average`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use deeplpf_core::checkpoint::{between, write_safetensors};
use deeplpf_core::{Checkpoint, DType, Device};
use deeplpf_data::atomic_file;

use crate::console;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The weights that training went on from.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The weights it led to.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// The file to write; must end in .safetensors.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// How far to go from BEFORE (0) to AFTER (1).
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    share: f64,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf weights average general.safetensors adapted.safetensors both.safetensors
  deeplpf weights average first.safetensors second.safetensors mixed.safetensors --share 0.7

Every weight becomes (1 - SHARE) BEFORE + SHARE AFTER. Weights that were trained further on other \
photographs keep, part of the way, most of what both can do. Two models that were not trained one from the \
other have nothing useful between them.";

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { before, after, out, share } = args;
    if out.extension().is_none_or(|extension| extension != "safetensors") {
        bail!("{} does not end in .safetensors, the only format written", out.display());
    }
    if out.exists() {
        bail!("{} is there already; remove it, or choose another name", out.display());
    }
    let place =
        atomic_file::resolve(out).with_context(|| format!("cannot write {}", out.display()))?;
    let read = |path: &Path| -> anyhow::Result<_> {
        Ok(Checkpoint::read(path)?.model(None, DType::F32, &Device::Cpu)?)
    };
    let model = between(&read(before)?, &read(after)?, *share)?;
    write_safetensors(&model, &place)?;
    console::print(&format!("{} parameters: {}\n", model.parameters().count(), out.display()))?;
    Ok(ExitCode::SUCCESS)
}
