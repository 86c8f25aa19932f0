//! `<stem>.params.json`: what was done to a picture.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::Context;
use deeplpf_core::{Fixes, ModelConfig, PredictedParameters};
use deeplpf_data::atomic_file;
use deeplpf_filters::Dialect;
use serde::Serialize;

/// Where the parameters come from.
pub struct Origin {
    /// The weights' file.
    pub weights: PathBuf,
    /// The model's configuration.
    pub config: ModelConfig,
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
    #[serde(flatten)]
    parameters: &'a PredictedParameters,
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
