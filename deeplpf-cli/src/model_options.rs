//! The options that say under which configuration weights are read.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use deeplpf_core::{Checkpoint, Fixes, ModelConfig};
use deeplpf_filters::Dialect;

/// `--fixes` and `--dialect`.
#[derive(clap::Args)]
pub struct ModelOptions {
    /// Corrections of the authors' release: `all`, `none`, or a list with commas of `ellipse`,
    /// `fusion`, `ste`, `blend`, `msssim`, `wiring`.
    ///
    /// Weights in a .pt file carry no configuration: the option sets it (default: none). Weights
    /// in a .safetensors file carry theirs, and the option must agree with it.
    #[arg(long, value_name = "LIST")]
    fixes: Option<Fixes>,

    /// Whose formulas: those of the authors' program (`release`) or of the paper (`paper`).
    ///
    /// Sets the configuration of a .pt file (default: release); must agree with that of a
    /// .safetensors file.
    #[arg(long, value_parser = dialect_parser())]
    dialect: Option<Dialect>,
}

impl ModelOptions {
    /// The configuration asked for: what the file carries, or the release's where it carries
    /// none, changed by the options; `None` where no option was given.
    pub fn configuration(&self, checkpoint: &Checkpoint) -> Option<ModelConfig> {
        if self.fixes.is_none() && self.dialect.is_none() {
            return None;
        }
        let mut config = checkpoint.config.clone().unwrap_or_default();
        config.fixes = self.fixes.unwrap_or(config.fixes);
        config.dialect = self.dialect.unwrap_or(config.dialect);
        Some(config)
    }
}

fn dialect_parser() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(["release", "paper"])
        .map(|name| if name == "paper" { Dialect::Paper } else { Dialect::Release })
}
