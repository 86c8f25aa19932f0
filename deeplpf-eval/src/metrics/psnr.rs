//! Peak signal-to-noise ratio on float values.

use ndarray::ArrayView3;
use pulp::Arch;

use super::image_pair::displayed;
use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::Result;

/// Sums kept side by side, so that the compiler can use vector instructions.
const LANES: usize = 8;

/// PSNR of float values clamped to \[0, 1\]:
/// `10 log10(1 / MSE)` with the mean over all three channels. Identical images: +infinity.
///
/// This is the release's definition (`ImageProcessing.compute_psnr` with maximum 1) and
/// scikit-image's `peak_signal_noise_ratio` with `data_range=1`.
#[derive(Clone, Copy, Debug)]
pub struct Psnr;

impl ImageMetric for Psnr {
    fn metric(&self) -> Metric {
        Metric::new("psnr", "PSNR", "PSNR float, peak 1", "dB", Direction::HigherIsBetter, 2)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        let (prediction, target) = pair.values();
        let sum = sum_of_squares(prediction, target, displayed);
        Ok(decibels(sum / prediction.len() as f64))
    }
}

/// [`Psnr`] of two images, `3 x H x W` in \[0, 1\], in dB.
///
/// # Errors
/// Those of [`ImagePair::new`].
pub fn psnr(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    Psnr.score(&ImagePair::new(prediction, target)?)
}

/// The sum of squared differences of `level(value)`. The order of summation is fixed, so that every
/// processor gives the same bits.
pub(super) fn sum_of_squares(a: &[f32], b: &[f32], level: impl Fn(f32) -> f64) -> f64 {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let (a, a_rest) = a.as_chunks::<LANES>();
            let (b, b_rest) = b.as_chunks::<LANES>();
            let square = |a: f32, b: f32| {
                let difference = level(a) - level(b);
                difference * difference
            };
            let mut sums = [0.0; LANES];
            for (a, b) in a.iter().zip(b) {
                for lane in 0..LANES {
                    sums[lane] += square(a[lane], b[lane]);
                }
            }
            let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| square(a, b));
            sums.iter().sum::<f64>() + rest.sum::<f64>()
        },
    )
}

/// `10 log10(1 / mse)`; +infinity for 0.
pub(super) fn decibels(mean_squared_error: f64) -> f64 {
    -10.0 * mean_squared_error.log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use ndarray::Array3;

    #[test]
    fn a_constant_difference_has_a_closed_form() {
        let target = Array3::from_elem((3, 5, 7), 0.25f32);
        let prediction = Array3::from_elem((3, 5, 7), 0.75f32);
        let expected = 20.0 * 2f64.log10();
        let found = psnr(prediction.view(), target.view()).unwrap();
        assert_relative_eq!(found, expected, epsilon = 1e-12);
    }

    #[test]
    fn identical_images_are_infinitely_good_and_overshoot_is_clamped() {
        let white = Array3::from_elem((3, 2, 2), 1.0f32);
        let beyond = Array3::from_elem((3, 2, 2), 1.5f32);
        assert_eq!(psnr(white.view(), white.view()).unwrap(), f64::INFINITY);
        assert_eq!(psnr(beyond.view(), white.view()).unwrap(), f64::INFINITY);
        let black = Array3::from_elem((3, 2, 2), -3.0f32);
        assert_eq!(psnr(black.view(), white.view()).unwrap(), 0.0);
    }
}
