//! Full-reference image metrics, one per file.
//!
//! Every metric reads two images as planar RGB, `3 x H x W`, sRGB-encoded, and computes in `f64`
//! on values clamped to \[0, 1\]: what a file or a screen can hold. NaN, infinities, unequal sizes
//! and images smaller than a metric's window are errors, never a number.
//!
//! A metric is a type with its parameters ([`ImageMetric`]) and a description as data
//! ([`Metric`]), so that metrics with state (learned ones with their weights) fit beside the
//! closed-form ones.

mod cielab;
mod delta_e_2000;
mod delta_e_76;
mod image_pair;
mod lpips;
mod ms_ssim;
mod psnr;
mod psnr_8bit;
mod ssim;
mod structural_similarity;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use delta_e_76::{DeltaE76, delta_e_76};
pub use delta_e_2000::{DeltaE2000, delta_e_2000};
pub use image_pair::ImagePair;
pub use lpips::{Lpips, WeightTensor, WeightTensors};
pub use ms_ssim::{MS_SSIM_MINIMUM_SIDE, MsSsim, ms_ssim};
pub use psnr::{Psnr, psnr};
pub use psnr_8bit::{Psnr8Bit, psnr_8bit};
pub use ssim::{
    Covariance, DataRange, Precision, SSIM_WINDOW, Ssim, ssim, ssim_population, ssim_release,
};

use crate::error::{EvalError, Result};

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The larger, the better.
    HigherIsBetter,
    /// The smaller, the better.
    LowerIsBetter,
}

impl Direction {
    /// An arrow to print beside a column's name: ↑ or ↓.
    pub fn arrow(self) -> char {
        match self {
            Direction::HigherIsBetter => '↑',
            Direction::LowerIsBetter => '↓',
        }
    }

    /// Whether `a` is better than `b`. False where either is NaN.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            Direction::HigherIsBetter => a > b,
            Direction::LowerIsBetter => a < b,
        }
    }
}

/// The description of a metric: what a table needs in order to print its values honestly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Key in JSON and CSV, e.g. `ssim`.
    pub key: Cow<'static, str>,
    /// Short heading, e.g. `SSIM`.
    pub label: Cow<'static, str>,
    /// Full name with every parameter that changes the value, e.g. `SSIM gaussian 11, range 1`.
    pub name: Cow<'static, str>,
    /// Unit, e.g. `dB`; empty where there is none.
    pub unit: Cow<'static, str>,
    /// Which values are better.
    pub direction: Direction,
    /// Decimal places to print.
    pub decimals: usize,
}

impl Metric {
    /// A description from constants.
    pub const fn new(
        key: &'static str,
        label: &'static str,
        name: &'static str,
        unit: &'static str,
        direction: Direction,
        decimals: usize,
    ) -> Self {
        Self {
            key: Cow::Borrowed(key),
            label: Cow::Borrowed(label),
            name: Cow::Borrowed(name),
            unit: Cow::Borrowed(unit),
            direction,
            decimals,
        }
    }

    /// The heading of a column: label, unit where there is one, and arrow, e.g. `PSNR (dB) ↑`.
    pub fn heading(&self) -> String {
        let arrow = self.direction.arrow();
        if self.unit.is_empty() {
            format!("{} {arrow}", self.label)
        } else {
            format!("{} ({}) {arrow}", self.label, self.unit)
        }
    }

    /// A value with the metric's decimals; infinities as `inf` and `-inf`.
    pub fn format(&self, value: f64) -> String {
        if value.is_finite() { format!("{value:.*}", self.decimals) } else { format!("{value}") }
    }
}

/// A metric of a prediction against a target.
pub trait ImageMetric: Send + Sync {
    /// What the metric is.
    fn metric(&self) -> Metric;

    /// The metric's value for one pair.
    ///
    /// # Errors
    /// Where the metric is not defined for this pair, e.g. an image smaller than its window.
    fn score(&self, pair: &ImagePair<'_>) -> Result<f64>;
}

/// The metrics reported unless others are asked for: defined for every image of 11x11 and more.
///
/// `psnr`, `psnr_8bit`, `ssim`, `ssim_population`, `ssim_release`, `delta_e_76`, `delta_e_2000`.
pub fn standard_metrics() -> Vec<Box<dyn ImageMetric>> {
    vec![
        Box::new(Psnr),
        Box::new(Psnr8Bit),
        Box::new(Ssim::STANDARD),
        Box::new(Ssim::POPULATION),
        Box::new(Ssim::RELEASE),
        Box::new(DeltaE76),
        Box::new(DeltaE2000),
    ]
}

/// Every metric the library can compute by itself: [`standard_metrics`], `ms_ssim`, which needs
/// 161x161 pixels, and `lpips_alex`, which needs 31x31. Only `lpips_vgg` is missing.
pub fn all_metrics() -> Vec<Box<dyn ImageMetric>> {
    let mut metrics = standard_metrics();
    metrics.push(Box::new(MsSsim));
    metrics.push(Box::new(Lpips::alexnet()));
    metrics
}

/// Keys of all metrics, in the order of tables.
pub const METRIC_KEYS: [&str; 10] = [
    "psnr",
    "psnr_8bit",
    "ssim",
    "ssim_population",
    "ssim_release",
    "ms_ssim",
    "lpips_alex",
    "lpips_vgg",
    "delta_e_76",
    "delta_e_2000",
];

/// The metrics with these keys, in this order; without `lpips_vgg`, whose weights are not inside
/// the library (see [`choose_metrics`]).
///
/// # Errors
/// As [`choose_metrics`].
pub fn metrics_by_key<K: AsRef<str>>(keys: &[K]) -> Result<Vec<Box<dyn ImageMetric>>> {
    choose_metrics(keys, None)
}

/// The metrics with these keys, in this order, each once. The key `all` stands for every metric of
/// [`METRIC_KEYS`], `lpips_vgg` only where `vgg` is given.
///
/// # Errors
/// [`EvalError::UnknownMetric`] names a key that does not exist, and those that do;
/// [`EvalError::WeightsNotGiven`] where `lpips_vgg` is asked for by name and `vgg` is not given.
pub fn choose_metrics<K: AsRef<str>>(
    keys: &[K],
    vgg: Option<&Lpips>,
) -> Result<Vec<Box<dyn ImageMetric>>> {
    let mut chosen: Vec<&str> = Vec::new();
    for key in keys.iter().map(AsRef::as_ref) {
        let all = METRIC_KEYS.iter().copied().filter(|&key| key != "lpips_vgg" || vgg.is_some());
        let keys = if key == "all" { all.collect() } else { vec![key] };
        for key in keys {
            if !chosen.contains(&key) {
                chosen.push(key);
            }
        }
    }
    chosen.into_iter().map(|key| metric_by_key(key, vgg)).collect()
}

fn metric_by_key(key: &str, vgg: Option<&Lpips>) -> Result<Box<dyn ImageMetric>> {
    Ok(match key {
        "psnr" => Box::new(Psnr),
        "psnr_8bit" => Box::new(Psnr8Bit),
        "ssim" => Box::new(Ssim::STANDARD),
        "ssim_population" => Box::new(Ssim::POPULATION),
        "ssim_release" => Box::new(Ssim::RELEASE),
        "ms_ssim" => Box::new(MsSsim),
        "lpips_alex" => Box::new(Lpips::alexnet()),
        "lpips_vgg" => match vgg {
            Some(vgg) => Box::new(vgg.clone()),
            None => return Err(EvalError::WeightsNotGiven { metric: "lpips_vgg" }),
        },
        "delta_e_76" => Box::new(DeltaE76),
        "delta_e_2000" => Box::new(DeltaE2000),
        _ => {
            let known = format!("{} or all", METRIC_KEYS.join(", "));
            return Err(EvalError::UnknownMetric { key: key.to_owned(), known });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_the_metric_that_carries_it() {
        let found = |keys: &[&str]| -> Vec<String> {
            let metrics = metrics_by_key(keys).unwrap();
            metrics.iter().map(|m| m.metric().key.into_owned()).collect()
        };
        let without_vgg: Vec<_> =
            METRIC_KEYS.into_iter().filter(|&key| key != "lpips_vgg").collect();
        assert_eq!(found(&without_vgg), without_vgg);
        assert_eq!(found(&["all"]), without_vgg);
        assert_eq!(found(&["ssim", "ssim", "psnr"]), ["ssim", "psnr"]);
        assert_eq!(all_metrics().len(), without_vgg.len());
        let error = metrics_by_key(&["lpips_vgg"]).err().unwrap().to_string();
        assert!(error.contains("--lpips-vgg-weights"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let error = metrics_by_key(&["psnr", "psnrr"]).err().unwrap().to_string();
        assert!(error.contains("`psnrr`") && error.contains("ssim_release"), "{error}");
    }

    #[test]
    fn headings_carry_unit_and_direction() {
        assert_eq!(Psnr.metric().heading(), "PSNR (dB) ↑");
        assert_eq!(DeltaE76.metric().heading(), "ΔE 76 ↓");
        assert_eq!(Psnr.metric().format(f64::INFINITY), "inf");
        assert_eq!(Psnr.metric().format(23.456), "23.46");
    }
}
