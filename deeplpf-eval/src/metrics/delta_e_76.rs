//! Colour difference CIE 1976.

use ndarray::ArrayView3;

use super::cielab::{Lab, mean_difference};
use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::Result;

/// Mean over pixels of the Euclidean distance in CIE L\*a\*b\* (D65). About 2.3 is just
/// noticeable. Reference: `skimage.color.deltaE_cie76` on `rgb2lab`, scikit-image 0.26.
#[derive(Clone, Copy, Debug)]
pub struct DeltaE76;

impl ImageMetric for DeltaE76 {
    fn metric(&self) -> Metric {
        let name = "Delta E CIE 1976, mean over pixels";
        Metric::new("delta_e_76", "ΔE 76", name, "", Direction::LowerIsBetter, 2)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        Ok(mean_difference(pair, distance))
    }
}

/// [`DeltaE76`] of two images, `3 x H x W` in \[0, 1\], sRGB-encoded.
///
/// # Errors
/// Those of [`ImagePair::new`].
pub fn delta_e_76(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    DeltaE76.score(&ImagePair::new(prediction, target)?)
}

#[inline(always)]
fn distance(x: Lab, y: Lab) -> f64 {
    ((x.l - y.l).powi(2) + (x.a - y.a).powi(2) + (x.b - y.b).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn black_to_white_is_a_hundred() {
        let black = Array3::<f32>::zeros((3, 2, 3));
        let white = Array3::<f32>::ones((3, 2, 3));
        let found = delta_e_76(black.view(), white.view()).unwrap();
        // The rounded matrix and white point leave white 0.01 away from the neutral axis.
        approx::assert_abs_diff_eq!(found, 100.0, epsilon = 1e-4);
        assert_eq!(delta_e_76(white.view(), white.view()).unwrap(), 0.0);
    }
}
