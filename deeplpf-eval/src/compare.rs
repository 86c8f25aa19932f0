//! Predictions and targets on disk, matched by file stem.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deeplpf_data::Image;
use rayon::prelude::*;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::atomic_file;
use crate::error::{EvalError, Result, Role, Size};
use crate::metrics::ImageMetric;
use crate::scores::{ImageScores, Scores, score_image};

/// Pairs decoded and scored at a time: enough to keep the cores busy while files decode, few
/// enough that a folder of large photographs fits in memory.
const PAIRS_AT_A_TIME: usize = 4;

/// What came of comparing two folders or two files.
#[derive(Debug)]
pub struct Comparison {
    /// The pairs that could be scored.
    pub scores: Scores,
    /// Sizes of the targets that could be scored, in the order of their names.
    pub sizes: Vec<Size>,
    /// The pairs that could not: unequal sizes, damaged files, images below a metric's window.
    pub failures: Vec<Failure>,
    /// Predictions no target has the stem of. They take no part.
    pub predictions_without_target: Vec<String>,
    /// Scored pairs of an 8-bit file and a 16-bit file: rounding to 8 bits alone keeps the two
    /// from being equal.
    pub mixed_depths: Vec<String>,
}

/// A pair that could not be scored.
#[derive(Debug)]
pub struct Failure {
    /// Stem of the target.
    pub id: String,
    /// Why.
    pub error: EvalError,
}

impl Comparison {
    /// The mean of each metric over all targets; `None` if any pair failed, because a mean over
    /// fewer images is another number under the same name.
    pub fn mean(&self) -> Option<Vec<f64>> {
        if self.failures.is_empty() { self.scores.mean() } else { None }
    }

    /// The JSON of [`Scores`], with `failures` (`{"<stem>": "reason"}`) where there are any, and
    /// `mean` null in that case.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub fn write_json(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, self.to_json()?.as_bytes())
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.failures.is_empty() {
            return self.scores.serialize(serializer);
        }
        let failures: BTreeMap<&str, String> = self
            .failures
            .iter()
            .map(|failure| (failure.id.as_str(), failure.error.to_string()))
            .collect();
        let mut map = serializer.serialize_map(None)?;
        let scores = serde_json::to_value(&self.scores).map_err(serde::ser::Error::custom)?;
        for key in ["metrics", "images"] {
            map.serialize_entry(key, &scores[key])?;
        }
        map.serialize_entry("mean", &None::<()>)?;
        map.serialize_entry("failures", &failures)?;
        map.end()
    }
}

/// Scores every target against the prediction of its stem: two folders (the pictures directly in
/// them), or two files, whatever their stems (named after the target).
///
/// A pair that cannot be scored does not stop the others; it is in [`Comparison::failures`].
///
/// # Errors
/// [`EvalError::NoSuchPath`], [`EvalError::FolderAndFile`], [`EvalError::MissingPredictions`]
/// naming the targets without a prediction, [`EvalError::Data`] for a folder without pictures or
/// with two of one stem.
pub fn compare_folders(
    predictions: &Path,
    targets: &Path,
    metrics: &[Box<dyn ImageMetric>],
) -> Result<Comparison> {
    let mut comparison = Comparison {
        scores: Scores::new(metrics.iter().map(|metric| metric.metric()).collect()),
        sizes: Vec::new(),
        failures: Vec::new(),
        predictions_without_target: Vec::new(),
        mixed_depths: Vec::new(),
    };
    let pairs = match (is_folder(predictions)?, is_folder(targets)?) {
        (false, false) => vec![(stem(targets), predictions.to_owned(), targets.to_owned())],
        (true, true) => {
            let (pairs, left_over) = match_by_stem(predictions, targets)?;
            comparison.predictions_without_target = left_over;
            pairs
        }
        (true, false) => {
            let (folder, file) = (predictions.to_owned(), targets.to_owned());
            return Err(EvalError::FolderAndFile { folder, file });
        }
        (false, true) => {
            let (folder, file) = (targets.to_owned(), predictions.to_owned());
            return Err(EvalError::FolderAndFile { folder, file });
        }
    };
    for some in pairs.chunks(PAIRS_AT_A_TIME) {
        let results: Vec<Result<Scored>> = some
            .par_iter()
            .map(|(id, prediction, target)| score_files(metrics, id, prediction, target))
            .collect();
        for ((id, _, _), result) in some.iter().zip(results) {
            match result {
                Ok(scored) => {
                    comparison.scores.insert(scored.image)?;
                    comparison.sizes.push(scored.size);
                    if scored.mixed_depths {
                        comparison.mixed_depths.push(id.clone());
                    }
                }
                Err(error) => comparison.failures.push(Failure { id: id.clone(), error }),
            }
        }
    }
    Ok(comparison)
}

/// `(stem, prediction, target)` of every target, and the stems only predictions have.
type Matched = (Vec<(String, PathBuf, PathBuf)>, Vec<String>);

fn match_by_stem(predictions: &Path, targets: &Path) -> Result<Matched> {
    let targets = deeplpf_data::find_images(&[targets])?;
    let folder = predictions;
    let mut predictions: BTreeMap<String, PathBuf> = deeplpf_data::find_images(&[predictions])?
        .into_iter()
        .map(|path| (stem(&path), path))
        .collect();
    let (mut pairs, mut missing) = (Vec::new(), Vec::new());
    for target in &targets {
        let id = stem(target);
        match predictions.remove(&id) {
            Some(prediction) => pairs.push((id, prediction, target.clone())),
            None => missing.push(id),
        }
    }
    if missing.is_empty() {
        return Ok((pairs, predictions.into_keys().collect()));
    }
    Err(EvalError::MissingPredictions {
        predictions: folder.to_owned(),
        targets: targets.len(),
        stems: missing,
    })
}

/// What came of one pair of files.
struct Scored {
    image: ImageScores,
    size: Size,
    mixed_depths: bool,
}

fn score_files(
    metrics: &[Box<dyn ImageMetric>],
    id: &str,
    prediction: &Path,
    target: &Path,
) -> Result<Scored> {
    let prediction = decode_opaque(prediction, Role::Prediction)?;
    let target = decode_opaque(target, Role::Target)?;
    let (_, height, width) = target.pixels.dim();
    Ok(Scored {
        image: score_image(metrics, id, prediction.pixels.view(), target.pixels.view())?,
        size: Size { width, height },
        mixed_depths: prediction.info.bit_depth != target.info.bit_depth,
    })
}

/// Decodes a picture of which every pixel is opaque; an alpha channel that says so is no harm.
fn decode_opaque(path: &Path, role: Role) -> Result<Image> {
    let image = deeplpf_data::decode(path)?;
    match image.info.transparent_pixels {
        0 => Ok(image),
        pixels => Err(EvalError::Transparent { role, path: path.to_owned(), pixels }),
    }
}

fn is_folder(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(EvalError::NoSuchPath(path.to_owned()))
        }
        Err(source) => Err(EvalError::Read { path: path.to_owned(), source }),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
