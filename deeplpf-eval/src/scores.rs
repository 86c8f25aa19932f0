//! Values of metrics per image, their mean, and their form in JSON.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::ArrayView3;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::atomic_file;
use crate::error::{EvalError, Result};
use crate::metrics::{ImageMetric, ImagePair, Metric};

/// Keys of the metrics that are a logarithm of a mean squared error.
const POOLED: [&str; 2] = ["psnr", "psnr_8bit"];

/// The values of one image, in the order of the metrics they were computed with.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageScores {
    /// Name of the image: the file's stem.
    pub id: String,
    /// One value per metric. May be infinite (PSNR of identical images), never NaN.
    pub values: Vec<f64>,
}

/// Values per image for a list of metrics, ordered by image name.
///
/// In JSON: `{"metrics": [...], "images": {"<stem>": {"psnr": 23.4, ...}}, "mean": {"psnr": ...}}`.
/// JSON has no infinity: an infinite value is the string `"inf"` or `"-inf"`. The mean of a
/// column that holds an infinity is infinite; it is never taken over fewer images. For every PSNR,
/// `pooled` has that of the pooled squared error ([`Scores::pooled`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    metrics: Vec<Metric>,
    images: BTreeMap<String, Vec<f64>>,
}

impl Scores {
    /// No images yet.
    pub fn new(metrics: Vec<Metric>) -> Self {
        Self { metrics, images: BTreeMap::new() }
    }

    /// Adds an image.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`], [`EvalError::DuplicateImage`], [`EvalError::NotANumber`].
    pub fn insert(&mut self, image: ImageScores) -> Result<()> {
        let ImageScores { id, values } = image;
        if values.len() != self.metrics.len() {
            return Err(EvalError::LengthMismatch {
                what: format!("scores of image `{id}`"),
                expected: self.metrics.len(),
                found: values.len(),
            });
        }
        if let Some(index) = values.iter().position(|value| value.is_nan()) {
            let metric = self.metrics[index].key.to_string();
            return Err(EvalError::NotANumber { id, metric });
        }
        if self.images.contains_key(&id) {
            return Err(EvalError::DuplicateImage { id });
        }
        self.images.insert(id, values);
        Ok(())
    }

    /// The metrics, in the order of the values.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Every image with its values, ordered by name.
    pub fn images(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.images.iter().map(|(id, values)| (id.as_str(), values.as_slice()))
    }

    /// The value of one metric for one image.
    pub fn get(&self, id: &str, key: &str) -> Option<f64> {
        Some(self.images.get(id)?[self.index(key)?])
    }

    /// The values of one metric, ordered by image name.
    pub fn column(&self, key: &str) -> Option<Vec<f64>> {
        let index = self.index(key)?;
        Some(self.images.values().map(|values| values[index]).collect())
    }

    /// The mean of each metric over all images, in the order of the metrics; `None` for no images.
    pub fn mean(&self) -> Option<Vec<f64>> {
        let count = self.images.len() as f64;
        (!self.images.is_empty()).then(|| {
            (0..self.metrics.len())
                .map(|index| self.images.values().map(|values| values[index]).sum::<f64>() / count)
                .collect()
        })
    }

    /// The mean of one metric; `None` for no images or an unknown key.
    pub fn mean_of(&self, key: &str) -> Option<f64> {
        Some(self.mean()?[self.index(key)?])
    }

    /// The PSNR of the pooled squared error, for a metric that is a PSNR: `10 log10(1 / mean of
    /// MSE)` over the images, each counting once whatever its size, so that on images of one size
    /// it is the PSNR over all their pixels. Never above the mean of the images' PSNRs, and far
    /// below it where a few images are bad. +infinity where every image equals its target; `None`
    /// for no images and for other metrics.
    pub fn pooled(&self, key: &str) -> Option<f64> {
        Self::pooled_over(std::slice::from_ref(self), key)
    }

    /// [`Scores::pooled`] over the images of several seeds together.
    pub(crate) fn pooled_over(seeds: &[Self], key: &str) -> Option<f64> {
        if !POOLED.contains(&key) {
            return None;
        }
        let columns: Vec<Vec<f64>> =
            seeds.iter().map(|scores| scores.column(key)).collect::<Option<_>>()?;
        let count = columns.iter().map(Vec::len).sum::<usize>();
        let squares: f64 =
            columns.iter().flatten().map(|decibels| 10f64.powf(-decibels / 10.0)).sum();
        (count > 0).then(|| -10.0 * (squares / count as f64).log10())
    }

    /// Per image the mean over several seeds of one method. Metrics that some lack are left out.
    ///
    /// # Errors
    /// [`EvalError::OtherImages`] where the seeds are of different images.
    pub fn mean_over_seeds(method: &str, seeds: &[Self]) -> Result<Self> {
        let Some((first, others)) = seeds.split_first() else { return Ok(Self::new(Vec::new())) };
        for other in others {
            let missing = first.images.keys().find(|id| !other.images.contains_key(*id));
            let surplus = other.images.keys().find(|id| !first.images.contains_key(*id));
            if let Some(id) = missing.or(surplus) {
                let (method, id) = (method.to_owned(), id.clone());
                return Err(EvalError::OtherImages { method, id });
            }
        }
        let has = |metric: &&Metric| others.iter().all(|other| other.index(&metric.key).is_some());
        let mut mean = Self::new(first.metrics.iter().filter(has).cloned().collect());
        for id in first.images.keys() {
            let value = |metric: &Metric| {
                let values = seeds.iter().filter_map(|scores| scores.get(id, &metric.key));
                values.sum::<f64>() / seeds.len() as f64
            };
            let values = mean.metrics.iter().map(value).collect();
            mean.images.insert(id.clone(), values);
        }
        Ok(mean)
    }

    /// The documented JSON, indented.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads what [`Scores::to_json`] writes. The mean is computed anew.
    ///
    /// # Errors
    /// [`EvalError::Json`] names line and column; [`EvalError::IncompleteScores`] where the object
    /// has `failures`: its images are not all there were. Other keys are ignored.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Incomplete {
            #[serde(default)]
            failures: BTreeMap<String, String>,
        }
        let scores: Self = serde_json::from_str(json)?;
        let Incomplete { failures } = serde_json::from_str(json)?;
        match failures.into_iter().next() {
            None => Ok(scores),
            Some((id, reason)) => {
                Err(EvalError::IncompleteScores { scored: scores.len(), id, reason })
            }
        }
    }

    /// [`Scores::from_json`] of a file.
    ///
    /// # Errors
    /// As there, with the file's name; [`EvalError::Read`].
    pub fn read_json(path: &Path) -> Result<Self> {
        let read = |source| EvalError::Read { path: path.to_owned(), source };
        let json = std::fs::read_to_string(path).map_err(read)?;
        let of_file = |source| EvalError::ScoresFile { path: path.to_owned(), source };
        Self::from_json(&json).map_err(|error| of_file(Box::new(error)))
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub fn write_json(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, self.to_json()?.as_bytes())
    }

    /// The values as CSV (RFC 4180): a line per image, full precision, the mean last as `mean`.
    pub fn to_csv(&self) -> String {
        let header = std::iter::once("image").chain(self.metrics.iter().map(|m| m.key.as_ref()));
        let mut csv = crate::table::csv_line(header);
        let mean = self.mean();
        let rows = self.images().chain(mean.as_deref().map(|mean| ("mean", mean)));
        for (id, values) in rows {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            let cells = std::iter::once(id).chain(values.iter().map(String::as_str));
            csv.push_str(&crate::table::csv_line(cells));
        }
        csv
    }

    /// Writes the CSV.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, self.to_csv().as_bytes())
    }

    fn index(&self, key: &str) -> Option<usize> {
        self.metrics.iter().position(|metric| metric.key == key)
    }
}

/// Scores one pair of planar RGB images, `3 x H x W` in \[0, 1\], with every metric.
///
/// # Errors
/// [`EvalError::Image`] with the image's name and the reason.
pub fn score_image(
    metrics: &[Box<dyn ImageMetric>],
    id: &str,
    prediction: ArrayView3<'_, f32>,
    target: ArrayView3<'_, f32>,
) -> Result<ImageScores> {
    let score_all = || -> Result<Vec<f64>> {
        let pair = ImagePair::new(prediction, target)?;
        metrics.iter().map(|metric| metric.score(&pair)).collect()
    };
    match score_all() {
        Ok(values) => Ok(ImageScores { id: id.to_owned(), values }),
        Err(source) => Err(EvalError::Image { id: id.to_owned(), source: Box::new(source) }),
    }
}

/// Scores many pairs: `(name, prediction, target)`, images as in [`score_image`].
///
/// # Errors
/// The first failure, with the image's name; an average over fewer images is never returned.
pub fn evaluate<'a>(
    metrics: &[Box<dyn ImageMetric>],
    pairs: impl IntoIterator<Item = (&'a str, ArrayView3<'a, f32>, ArrayView3<'a, f32>)>,
) -> Result<Scores> {
    let mut scores = Scores::new(metrics.iter().map(|metric| metric.metric()).collect());
    for (id, prediction, target) in pairs {
        scores.insert(score_image(metrics, id, prediction, target)?)?;
    }
    Ok(scores)
}

/// A value as JSON has it: a number, or a string where JSON has no number.
pub(crate) struct JsonValue(pub f64);

impl Serialize for JsonValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Self(value)),
            Form::Text(text) if text == "inf" => Ok(Self(f64::INFINITY)),
            Form::Text(text) if text == "-inf" => Ok(Self(f64::NEG_INFINITY)),
            Form::Text(text) => Err(serde::de::Error::custom(format!(
                "`{text}` is neither a number nor \"inf\" nor \"-inf\""
            ))),
        }
    }
}

/// Values with their keys, in the order of the metrics.
pub(crate) struct KeyedValues<'a>(pub &'a [Metric], pub &'a [f64]);

impl Serialize for KeyedValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (metric, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(&metric.key, &JsonValue(*value))?;
        }
        map.end()
    }
}

/// All images with their keyed values.
struct Images<'a>(&'a Scores);

impl Serialize for Images<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metrics = &self.0.metrics;
        serializer.collect_map(self.0.images().map(|(id, v)| (id, KeyedValues(metrics, v))))
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("metrics", &self.metrics)?;
        map.serialize_entry("images", &Images(self))?;
        let mean = self.mean();
        let mean = mean.as_deref().map(|mean| KeyedValues(&self.metrics, mean));
        map.serialize_entry("mean", &mean)?;
        let pooled: BTreeMap<&str, JsonValue> = POOLED
            .into_iter()
            .filter_map(|key| Some((key, JsonValue(self.pooled(key)?))))
            .collect();
        if !pooled.is_empty() {
            map.serialize_entry("pooled", &pooled)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize)]
        struct Form {
            metrics: Vec<Metric>,
            images: BTreeMap<String, BTreeMap<String, JsonValue>>,
        }
        let Form { metrics, images } = Form::deserialize(deserializer)?;
        let mut scores = Scores::new(metrics);
        for (id, mut found) in images {
            let mut values = Vec::with_capacity(scores.metrics.len());
            for metric in &scores.metrics {
                let value = found.remove(metric.key.as_ref()).ok_or_else(|| {
                    D::Error::custom(format!("image `{id}` has no `{}`", metric.key))
                })?;
                values.push(value.0);
            }
            if let Some(key) = found.keys().next() {
                let message = format!("image `{id}` has `{key}`, which `metrics` does not list");
                return Err(D::Error::custom(message));
            }
            scores.insert(ImageScores { id, values }).map_err(D::Error::custom)?;
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::metrics_by_key;
    use ndarray::Array3;

    fn example() -> Scores {
        let metrics = metrics_by_key(&["psnr", "ssim"]).unwrap();
        let target = Array3::from_shape_fn((3, 12, 12), |(c, y, x)| (c + y + x) as f32 / 24.0);
        let darker = target.mapv(|value| value * 0.5);
        let pairs =
            [("b, \"two\"", target.view(), target.view()), ("a", darker.view(), target.view())];
        evaluate(&metrics, pairs).unwrap()
    }

    #[test]
    fn json_has_the_documented_form_and_comes_back() {
        let scores = example();
        let json = scores.to_json().unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["images"]["b, \"two\""]["psnr"], "inf");
        assert_eq!(value["images"]["a"]["psnr"].as_f64(), scores.get("a", "psnr"));
        assert_eq!(value["mean"]["psnr"], "inf");
        assert_eq!(value["mean"]["ssim"].as_f64(), scores.mean_of("ssim"));
        assert_eq!(Scores::from_json(&json).unwrap(), scores);
    }

    #[test]
    fn pooling_averages_squared_errors_and_not_decibels() {
        let metrics = metrics_by_key(&["psnr", "ssim"]).unwrap();
        let target = Array3::<f32>::from_elem((3, 12, 12), 0.5);
        let off = |by: f32| target.mapv(|value| value + by);
        let (a, b) = (off(0.125), off(0.25));
        let pairs = [("a", a.view(), target.view()), ("b", b.view(), target.view())];
        let scores = evaluate(&metrics, pairs).unwrap();
        let expected = -10.0 * ((0.125f64.powi(2) + 0.25f64.powi(2)) / 2.0).log10();
        assert!((scores.pooled("psnr").unwrap() - expected).abs() < 1e-12);
        assert!(scores.pooled("psnr") < scores.mean_of("psnr"));
        assert_eq!((scores.pooled("ssim"), scores.pooled("psnr_8bit")), (None, None));
        let json: serde_json::Value = serde_json::from_str(&scores.to_json().unwrap()).unwrap();
        assert_eq!(json["pooled"]["psnr"].as_f64(), scores.pooled("psnr"));
        // One equal image does not make the whole set perfect, as it does the mean.
        let scores = example();
        assert_eq!(scores.mean_of("psnr"), Some(f64::INFINITY));
        assert!(scores.pooled("psnr").unwrap().is_finite());
        assert_eq!(Scores::new(scores.metrics().to_vec()).pooled("psnr"), None);
    }

    #[test]
    fn seeds_are_averaged_image_by_image() {
        let metrics = vec![crate::metrics::Psnr.metric()];
        let scores = |values: &[(&str, f64)]| {
            let mut scores = Scores::new(metrics.clone());
            for &(id, value) in values {
                scores.insert(ImageScores { id: id.into(), values: vec![value] }).unwrap();
            }
            scores
        };
        let seeds = [scores(&[("a", 1.0), ("b", 2.0)]), scores(&[("a", 3.0), ("b", 5.0)])];
        let mean = Scores::mean_over_seeds("m", &seeds).unwrap();
        assert_eq!(mean.column("psnr"), Some(vec![2.0, 3.5]));
        let other = [seeds[0].clone(), scores(&[("a", 1.0)])];
        let error = Scores::mean_over_seeds("m", &other).unwrap_err().to_string();
        assert!(error.contains("`m`") && error.contains("`b`"), "{error}");
    }

    #[test]
    fn damaged_json_is_refused() {
        let json = example().to_json().unwrap();
        for (from, to, expected) in [
            ("\"inf\"", "\"many\"", "many"),
            ("\"ssim\":", "\"other\":", "ssim"),
            ("\"images\"", "\"pictures\"", "images"),
        ] {
            let error = Scores::from_json(&json.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn scores_of_fewer_images_than_there_were_are_refused() {
        let json = example().to_json().unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        value["mean"] = serde_json::Value::Null;
        value["failures"] = serde_json::json!({ "c": "damaged" });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.json");
        std::fs::write(&path, value.to_string()).unwrap();
        let error = Scores::read_json(&path).unwrap_err().to_string();
        for part in ["scores.json", "only 2 images", "`c`", "damaged"] {
            assert!(error.contains(part), "{error}");
        }
        std::fs::write(&path, json).unwrap();
        assert_eq!(Scores::read_json(&path).unwrap(), example());
    }

    #[test]
    fn csv_quotes_names_and_ends_with_the_mean() {
        let csv = example().to_csv();
        let lines: Vec<_> = csv.split("\r\n").collect();
        assert_eq!(lines[0], "image,psnr,ssim");
        assert!(lines[2].starts_with("\"b, \"\"two\"\"\",inf,1"), "{}", lines[2]);
        assert!(lines[3].starts_with("mean,inf,"), "{}", lines[3]);
    }

    #[test]
    fn an_image_is_scored_once_and_failures_are_named() {
        let metrics = metrics_by_key(&["ssim"]).unwrap();
        let small = Array3::<f32>::zeros((3, 5, 5));
        let pairs = [("tiny", small.view(), small.view())];
        let error = evaluate(&metrics, pairs).unwrap_err().to_string();
        assert!(error.contains("`tiny`") && error.contains("at least 11"), "{error}");

        let mut scores = Scores::new(vec![metrics[0].metric()]);
        assert!(scores.mean().is_none());
        let image = ImageScores { id: "x".into(), values: vec![0.5] };
        scores.insert(image.clone()).unwrap();
        assert!(matches!(scores.insert(image), Err(EvalError::DuplicateImage { .. })));
        let nan = ImageScores { id: "y".into(), values: vec![f64::NAN] };
        assert!(matches!(scores.insert(nan), Err(EvalError::NotANumber { .. })));
    }
}
