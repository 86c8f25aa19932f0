//! `<stem>.params.json`: what was done to a picture, and doing it again.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use deeplpf_core::{Fixes, GivenParameters, MAX_STRENGTH, ModelConfig, PredictedParameters};
use deeplpf_data::atomic_file;
use deeplpf_filters::{Dialect, FilterStack, FusionRule, StackParams};
use serde::{Deserialize, Serialize};

/// Far more than any model's parameters take.
const MOST_BYTES: u64 = 16 << 20;

/// Where the parameters come from.
pub struct Origin {
    /// The weights' file.
    pub weights: PathBuf,
    /// The model's configuration.
    pub config: ModelConfig,
    /// The strength they were applied at.
    pub strength: f32,
    /// Whether highlights were kept.
    pub keep_highlights: bool,
}

/// What a file gives.
pub struct Given {
    /// The filters.
    pub parameters: GivenParameters,
    /// The strength they are applied at.
    pub strength: f32,
    /// Whether highlights are kept, if the file says.
    pub keep_highlights: Option<bool>,
}

/// Names of files, not their places, so that it can be shared.
#[derive(Serialize)]
struct ParametersFile<'a> {
    input: Option<Cow<'a, str>>,
    width: usize,
    height: usize,
    weights: Option<Cow<'a, str>>,
    dialect: Dialect,
    fixes: Fixes,
    fusion: FusionRule,
    strength: f32,
    keep_highlights: bool,
    #[serde(flatten)]
    parameters: &'a PredictedParameters,
}

/// The same file on its way in. What only tells where it came from is not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenFile {
    #[serde(default, rename = "input")]
    _input: Option<String>,
    #[serde(default, rename = "width")]
    _width: Option<u64>,
    #[serde(default, rename = "height")]
    _height: Option<u64>,
    #[serde(default, rename = "weights")]
    _weights: Option<String>,
    #[serde(default, rename = "map_width")]
    _map_width: Option<u64>,
    #[serde(default, rename = "map_height")]
    _map_height: Option<u64>,
    /// The network's numbers: `filters` says the same in names, and is what people edit.
    #[serde(default, rename = "raw")]
    _raw: Vec<f32>,
    dialect: Dialect,
    fixes: Fixes,
    #[serde(default)]
    fusion: FusionRule,
    #[serde(default = "whole")]
    strength: f32,
    #[serde(default)]
    keep_highlights: Option<bool>,
    filters: StackParams<f32>,
    #[serde(default)]
    colour: Option<Vec<f32>>,
}

fn whole() -> f32 {
    1.0
}

/// The filters of a file for a model of `config`, and how they are applied.
///
/// # Errors
/// A file that is not one of parameters, or not of such a model.
pub fn read(path: &Path, config: &ModelConfig) -> anyhow::Result<Given> {
    let place = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("--params {place}"))?.len();
    if size > MOST_BYTES {
        bail!("--params {place}: {size} bytes are too many for a file of --save-params");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("--params {place}"))?;
    let file: GivenFile = serde_json::from_str(&text).with_context(|| {
        format!(
            "--params {place} is not a file as --save-params writes it (see there for the keys)"
        )
    })?;
    let of_file = (file.dialect, file.fixes, file.fusion);
    let of_weights = (config.dialect, config.fixes, config.fusion);
    if of_file != of_weights {
        let name = |(dialect, fixes, fusion): (Dialect, Fixes, FusionRule)| {
            format!("dialect {dialect}, fixes {fixes}, fusion by {fusion}")
        };
        bail!(
            "--params {place} is of a model with {}, the weights have {}; use its own weights",
            name(of_file),
            name(of_weights),
        );
    }
    if !(0.0..=MAX_STRENGTH).contains(&file.strength) {
        bail!("--params {place}: strength {} is not between 0 and {MAX_STRENGTH}", file.strength);
    }
    FilterStack::from_params(&config.stack(), file.filters.clone())
        .with_context(|| format!("--params {place}"))?;
    let GivenFile { filters, colour, strength, keep_highlights, .. } = file;
    let parameters = GivenParameters { filters, colour };
    Ok(Given { parameters, strength, keep_highlights })
}

impl Origin {
    /// Writes the parameters of `input`, whose result of width x height is at `output`.
    pub fn write(
        &self,
        input: &Path,
        output: &Path,
        (width, height): (usize, usize),
        parameters: &PredictedParameters,
    ) -> anyhow::Result<()> {
        let file = ParametersFile {
            input: name(input),
            width,
            height,
            weights: name(&self.weights),
            dialect: self.config.dialect,
            fixes: self.config.fixes,
            fusion: self.config.fusion,
            strength: self.strength,
            keep_highlights: self.keep_highlights,
            parameters,
        };
        let text = serde_json::to_string_pretty(&file)? + "\n";
        let path = beside(output);
        atomic_file::write(&path, text.as_bytes()).with_context(|| {
            format!("{} was written, but {} cannot be", output.display(), path.display())
        })
    }
}

fn beside(output: &Path) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(".params.json");
    output.with_file_name(name)
}

fn name(path: &Path) -> Option<Cow<'_, str>> {
    path.file_name().map(|name| name.to_string_lossy())
}
