//! What a checkpoint's filters do over a set of photographs: which are stuck.

use std::path::{Path, PathBuf};

use deeplpf_core::{Checkpoint, Input, ModelConfig, Precision};
use deeplpf_data::{decode, find_images};
use deeplpf_train::{FilterHealth, PairSource, open_pairs};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::Array3;
use serde::Serialize;

use crate::{ExperimentError, Result, placement::place_enhancer, test_pairs::test_pairs};

/// A checkpoint, and the photographs to look at its filters on.
#[derive(Clone, Debug)]
pub struct FilterHealthRequest {
    /// The checkpoint.
    pub weights: Checkpoint,
    /// A folder of photographs; a folder of pairs, of which the inputs are taken; `sample` for the inputs
    /// of the embedded set's test part; the URL of a paired folder (feature `remote`).
    pub data: String,
    /// At most so many photographs, spread evenly over the set; all without it.
    pub limit: Option<usize>,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// The configuration of a checkpoint that carries none.
    pub model: Option<ModelConfig>,
}

/// What the filters did, and what is wrong with it.
#[derive(Clone, Debug, Serialize)]
pub struct FilterHealthReport {
    /// The photographs, as named in the request.
    pub data: String,
    /// How many there are; `filters.photographs` were looked at.
    pub available: usize,
    /// Scales and inversions of every filter.
    pub filters: FilterHealth,
    /// Whether the photographs were enough to judge by: 8.
    pub judged: bool,
    /// What is stuck, and what to do; a sentence each.
    pub complaints: Vec<String>,
}

/// Predicts the filters of every photograph at its own size.
///
/// # Errors
/// A model without local filters or of packed mosaics, photographs that cannot be used, no photographs.
pub fn filter_health(
    request: &FilterHealthRequest,
    announce: &mut dyn FnMut(&str),
) -> Result<FilterHealthReport> {
    let enhancer = place_enhancer(
        &request.weights,
        request.model.as_ref(),
        &request.device,
        Precision::Fp32,
        announce,
    )?
    .computes;
    let config = enhancer.model().config();
    if config.input != Input::Rgb {
        return Err(ExperimentError::NotOfPhotographs { path: request.weights.path.clone() });
    }
    if config.graduated == 0 && config.elliptical == 0 {
        return Err(ExperimentError::NoLocalFilters { path: request.weights.path.clone() });
    }
    let photographs = Photographs::find(&request.data)?;
    let available = photographs.len();
    let count = request.limit.map_or(available, |limit| limit.min(available));
    if count == 0 {
        return Err(ExperimentError::NoPairs { data: request.data.clone() });
    }
    let mut filters = FilterHealth::default();
    let bar = bar(count);
    for number in 0..count {
        let photograph = photographs.load(number * available / count)?;
        filters.take(&enhancer.enhance(photograph.view())?.parameters.filters);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(FilterHealthReport {
        data: request.data.clone(),
        available,
        judged: filters.is_judged(),
        complaints: filters.complaints(FilterHealth::inversion_trains(config)),
        filters,
    })
}

/// Drawn on a terminal only.
fn bar(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {per_sec}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}

enum Photographs {
    Files(Vec<PathBuf>),
    Pairs(PairSource),
}

impl Photographs {
    fn find(data: &str) -> Result<Self> {
        if data == "sample" {
            return Ok(Self::Pairs(test_pairs(data, None, None)?.pairs));
        }
        let folder = Path::new(data);
        // Pairs lie in folders of their own, so pictures directly in it are what is meant.
        if folder.is_dir()
            && let Ok(files) = find_images(&[folder])
        {
            return Ok(Self::Files(files));
        }
        let (_, pairs) = open_pairs(data, "")?;
        Ok(Self::Files(pairs.pairs.into_iter().map(|pair| pair.input).collect()))
    }

    fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.len(),
            Self::Pairs(pairs) => pairs.len(),
        }
    }

    fn load(&self, index: usize) -> Result<Array3<f32>> {
        Ok(match self {
            Self::Files(files) => decode(&files[index])?.pixels,
            Self::Pairs(pairs) => pairs.load(index)?.input,
        })
    }
}
