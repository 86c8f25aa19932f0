//! The structural similarity index in the definitions papers report.

use ndarray::ArrayView3;

use super::image_pair::displayed;
use super::structural_similarity::{Parameters, Plane, WINDOW, gaussian, similarity};
use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::{EvalError, Result};

/// Side of the Gaussian window, 11: the smallest image side SSIM is defined for.
pub const SSIM_WINDOW: usize = WINDOW;

/// How local variances and covariance are estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covariance {
    /// Times N/(N-1) with N = 121 pixels of the window (`use_sample_covariance=True`).
    Sample,
    /// The weighted moments as they are, as in Wang et al. 2004.
    Population,
}

/// The L in the constants C1 = (0.01 L)^2 and C2 = (0.03 L)^2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataRange {
    /// L = 1, the range of the pixel format.
    One,
    /// L = maximum - minimum of the target over its three channels, as the release's program has
    /// it. Two targets then have two constants: means over images mix them.
    Target,
}

/// The type scikit-image computes in, which is that of the images it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `float32`: what a program that hands on its network's output gets. Rounding moves the
    /// value by up to 2e-6.
    Single,
    /// `float64`.
    Double,
}

/// SSIM (Wang et al. 2004) with a Gaussian window of 11 pixels, sigma 1.5, per channel, then the
/// mean over the three channels; windows wholly inside the image only. 1 for identical images,
/// at most 1, may be negative.
///
/// Reference: `skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
/// channel_axis=...)` of scikit-image 0.26.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssim {
    /// Estimate of local variances.
    pub covariance: Covariance,
    /// The L of the constants.
    pub data_range: DataRange,
    /// The type of intermediate images.
    pub precision: Precision,
}

impl Ssim {
    /// scikit-image's default estimate with range 1, on `float32` images; key `ssim`.
    pub const STANDARD: Self = Self {
        covariance: Covariance::Sample,
        data_range: DataRange::One,
        precision: Precision::Single,
    };
    /// The definition of Wang et al. with range 1, in double precision; key `ssim_population`.
    pub const POPULATION: Self = Self {
        covariance: Covariance::Population,
        data_range: DataRange::One,
        precision: Precision::Double,
    };
    /// What the authors' program computes, which gives scikit-image `float32` images; key
    /// `ssim_release`.
    pub const RELEASE: Self = Self {
        covariance: Covariance::Sample,
        data_range: DataRange::Target,
        precision: Precision::Single,
    };

    fn range(self, pair: &ImagePair<'_>) -> Result<f64> {
        match self.data_range {
            DataRange::One => Ok(1.0),
            DataRange::Target => {
                let (_, target) = pair.values();
                let (low, high) = target
                    .iter()
                    .map(|&value| displayed(value))
                    .fold((1.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
                if high > low {
                    Ok(high - low)
                } else {
                    Err(EvalError::ConstantTarget { metric: self.metric().name.into_owned() })
                }
            }
        }
    }
}

impl ImageMetric for Ssim {
    fn metric(&self) -> Metric {
        let (key, label, name) = match (self.covariance, self.data_range) {
            (Covariance::Sample, DataRange::One) => ("ssim", "SSIM", "SSIM gaussian 11, range 1"),
            (Covariance::Population, DataRange::One) => (
                "ssim_population",
                "SSIM population",
                "SSIM gaussian 11, range 1, population covariance",
            ),
            (Covariance::Sample, DataRange::Target) => {
                ("ssim_release", "SSIM release", "SSIM gaussian 11, range of the target")
            }
            (Covariance::Population, DataRange::Target) => (
                "ssim_population_target_range",
                "SSIM population, target range",
                "SSIM gaussian 11, range of the target, population covariance",
            ),
        };
        Metric::new(key, label, name, "", Direction::HigherIsBetter, 4)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        let size = pair.size();
        if size.width.min(size.height) < WINDOW {
            let metric = self.metric().name.into_owned();
            return Err(EvalError::TooSmall { metric, minimum: WINDOW, size });
        }
        // N of scikit-image: the pixels of the square window, not the effective number.
        let pixels = (WINDOW * WINDOW) as f64;
        let covariance_scale = match self.covariance {
            Covariance::Sample => pixels / (pixels - 1.0),
            Covariance::Population => 1.0,
        };
        let parameters =
            Parameters { window: gaussian(), data_range: self.range(pair)?, covariance_scale };
        let sum: f64 = (0..3)
            .map(|channel| {
                let (prediction, target) = pair.channel(channel);
                let plane = |values| Plane { values, width: size.width, height: size.height };
                let (prediction, target) = (plane(prediction), plane(target));
                match self.precision {
                    Precision::Single => similarity::<f32, _>(prediction, target, parameters).ssim,
                    Precision::Double => similarity::<f64, _>(prediction, target, parameters).ssim,
                }
            })
            .sum();
        Ok(sum / 3.0)
    }
}

/// [`Ssim::STANDARD`] of two images, `3 x H x W` in \[0, 1\].
///
/// # Errors
/// Those of [`ImagePair::new`]; [`EvalError::TooSmall`] below 11 pixels.
pub fn ssim(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    Ssim::STANDARD.score(&ImagePair::new(prediction, target)?)
}

/// [`Ssim::POPULATION`] of two images, `3 x H x W` in \[0, 1\].
///
/// # Errors
/// As [`ssim`].
pub fn ssim_population(
    prediction: ArrayView3<'_, f32>,
    target: ArrayView3<'_, f32>,
) -> Result<f64> {
    Ssim::POPULATION.score(&ImagePair::new(prediction, target)?)
}

/// [`Ssim::RELEASE`] of two images, `3 x H x W` in \[0, 1\].
///
/// # Errors
/// As [`ssim`], and [`EvalError::ConstantTarget`].
pub fn ssim_release(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    Ssim::RELEASE.score(&ImagePair::new(prediction, target)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn images_below_the_window_are_an_error() {
        for (height, width) in [(10, 40), (40, 10), (1, 1)] {
            let image = Array3::<f32>::zeros((3, height, width));
            let error = ssim(image.view(), image.view()).unwrap_err();
            assert!(matches!(error, EvalError::TooSmall { minimum: 11, .. }), "{error}");
        }
        let image = Array3::<f32>::zeros((3, 11, 11));
        assert_eq!(ssim(image.view(), image.view()).unwrap(), 1.0);
    }

    #[test]
    fn the_release_definition_needs_a_target_with_a_range() {
        let flat = Array3::<f32>::from_elem((3, 12, 12), 0.5);
        let ramp = Array3::from_shape_fn((3, 12, 12), |(_, y, x)| (x + y) as f32 / 22.0);
        let error = ssim_release(ramp.view(), flat.view()).unwrap_err();
        assert!(matches!(error, EvalError::ConstantTarget { .. }), "{error}");
        // The range is the target's: the other way round it is defined.
        assert!(ssim_release(flat.view(), ramp.view()).unwrap() < 1.0);
    }

    #[test]
    fn constant_images_have_a_closed_form() {
        let (a, b) = (0.25f32, 0.75f32);
        let image = |value| Array3::<f32>::from_elem((3, 20, 15), value);
        let expected = (2.0 * 0.25 * 0.75 + 1e-4) / (0.25f64.powi(2) + 0.75f64.powi(2) + 1e-4);
        let found = ssim_population(image(a).view(), image(b).view()).unwrap();
        approx::assert_relative_eq!(found, expected, epsilon = 1e-10);
        let found = ssim(image(a).view(), image(b).view()).unwrap();
        // Rounding in single precision.
        approx::assert_relative_eq!(found, expected, epsilon = 2e-6);
    }
}
