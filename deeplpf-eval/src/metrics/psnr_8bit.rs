//! Peak signal-to-noise ratio after rounding to 8 bit.

use ndarray::ArrayView3;

use super::image_pair::displayed;
use super::psnr::{decibels, sum_of_squares};
use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::Result;

/// PSNR after both images are clamped and rounded to the nearest of 256 levels (halves up): what
/// is measured on saved 8-bit files. `10 log10(255^2 / MSE)`. Equal after rounding: +infinity.
#[derive(Clone, Copy, Debug)]
pub struct Psnr8Bit;

impl ImageMetric for Psnr8Bit {
    fn metric(&self) -> Metric {
        let name = "PSNR rounded to 8 bit, peak 255";
        Metric::new("psnr_8bit", "PSNR 8-bit", name, "dB", Direction::HigherIsBetter, 2)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        let (prediction, target) = pair.values();
        let sum = sum_of_squares(prediction, target, level);
        Ok(decibels(sum / (255.0 * 255.0) / prediction.len() as f64))
    }
}

/// [`Psnr8Bit`] of two images, `3 x H x W` in \[0, 1\], in dB.
///
/// # Errors
/// Those of [`ImagePair::new`].
pub fn psnr_8bit(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    Psnr8Bit.score(&ImagePair::new(prediction, target)?)
}

/// The 8-bit level of a value, 0 to 255.
#[inline(always)]
fn level(value: f32) -> f64 {
    // Truncation after adding a half: `round` is a function call on x86-64's baseline.
    f64::from((displayed(value) * 255.0 + 0.5) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use ndarray::Array3;

    #[test]
    fn differences_below_half_a_level_vanish_and_others_become_whole() {
        let target = Array3::from_elem((3, 3, 3), 100.0 / 255.0f32);
        let near = Array3::from_elem((3, 3, 3), 100.4 / 255.0f32);
        let far = Array3::from_elem((3, 3, 3), 100.6 / 255.0f32);
        assert_eq!(psnr_8bit(near.view(), target.view()).unwrap(), f64::INFINITY);
        let expected = 20.0 * 255f64.log10();
        let found = psnr_8bit(far.view(), target.view()).unwrap();
        assert_relative_eq!(found, expected, epsilon = 1e-12);
    }
}
