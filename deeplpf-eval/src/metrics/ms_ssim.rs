//! Multi-scale structural similarity.

use ndarray::ArrayView3;

use super::image_pair::displayed;
use super::structural_similarity::{
    Parameters, Plane, WINDOW, gaussian_in_single_precision, similarity,
};
use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::{EvalError, Result};

/// Exponents of the five scales, finest first (Wang, Simoncelli, Bovik 2003).
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// Smallest side: the window must fit on the coarsest scale, `(11 - 1) * 2^4 + 1` as
/// pytorch-msssim requires.
pub const MS_SSIM_MINIMUM_SIDE: usize = (WINDOW - 1) * 16 + 1;

/// MS-SSIM: product over five scales of mean contrast-structure^weight, at the coarsest scale of
/// mean SSIM^weight, negative means taken as 0; per channel, then the mean over channels.
/// Gaussian window 11, sigma 1.5, range 1, population covariance; scales by 2x2 means. In
/// \[0, 1\], 1 for identical images.
///
/// Reference: pytorch-msssim 1.0, `ms_ssim(data_range=1)`. It pads an odd side with zeros before
/// halving and makes its window in single precision, and so does this.
#[derive(Clone, Copy, Debug)]
pub struct MsSsim;

impl ImageMetric for MsSsim {
    fn metric(&self) -> Metric {
        let name = "MS-SSIM 5 scales, gaussian 11, range 1";
        Metric::new("ms_ssim", "MS-SSIM", name, "", Direction::HigherIsBetter, 4)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        let size = pair.size();
        if size.width.min(size.height) < MS_SSIM_MINIMUM_SIDE {
            let metric = self.metric().name.into_owned();
            return Err(EvalError::TooSmall { metric, minimum: MS_SSIM_MINIMUM_SIDE, size });
        }
        let sum: f64 = (0..3)
            .map(|channel| {
                let (prediction, target) = pair.channel(channel);
                let scale = |values: &[f32]| Scale {
                    values: values.iter().map(|&value| displayed(value)).collect(),
                    width: size.width,
                    height: size.height,
                };
                channel_ms_ssim(scale(prediction), scale(target))
            })
            .sum();
        Ok(sum / 3.0)
    }
}

/// [`MsSsim`] of two images, `3 x H x W` in \[0, 1\].
///
/// # Errors
/// Those of [`ImagePair::new`]; [`EvalError::TooSmall`] below 161 pixels.
pub fn ms_ssim(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    MsSsim.score(&ImagePair::new(prediction, target)?)
}

fn channel_ms_ssim(mut prediction: Scale, mut target: Scale) -> f64 {
    let parameters = Parameters {
        window: gaussian_in_single_precision(),
        data_range: 1.0,
        covariance_scale: 1.0,
    };
    let last = WEIGHTS.len() - 1;
    let mut product = 1.0;
    for (level, weight) in WEIGHTS.iter().enumerate() {
        let found = similarity::<f64, _>(prediction.plane(), target.plane(), parameters);
        let index = if level == last { found.ssim } else { found.contrast_structure };
        product *= index.max(0.0).powf(*weight);
        if level < last {
            prediction = prediction.halved();
            target = target.halved();
        }
    }
    product
}

/// One channel at one scale.
struct Scale {
    values: Vec<f64>,
    width: usize,
    height: usize,
}

impl Scale {
    fn plane(&self) -> Plane<'_, f64> {
        Plane { values: &self.values, width: self.width, height: self.height }
    }

    /// 2x2 means. An odd side is padded by one zero on both ends and the padding counts in the
    /// mean (PyTorch's `avg_pool2d(kernel_size=2, padding=side % 2)`).
    fn halved(&self) -> Self {
        let (pad_y, pad_x) = (self.height % 2, self.width % 2);
        let height = (self.height + pad_y) / 2;
        let width = (self.width + pad_x) / 2;
        // The row of sums of two rows, after a padding column if there is one.
        let mut sums = vec![0.0; pad_x + self.width];
        let mut values = Vec::with_capacity(width * height);
        for row in 0..height {
            let second = &self.values[(2 * row + 1 - pad_y) * self.width..][..self.width];
            sums[pad_x..].copy_from_slice(second);
            if let Some(first) = (2 * row).checked_sub(pad_y) {
                let first = &self.values[first * self.width..][..self.width];
                sums[pad_x..].iter_mut().zip(first).for_each(|(sum, value)| *sum += value);
            }
            values.extend(sums.as_chunks::<2>().0.iter().map(|[a, b]| (a + b) / 4.0));
        }
        Self { values, width, height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn halving_pads_an_odd_side_with_zeros_first() {
        let scale = Scale { values: (1..=6).map(f64::from).collect(), width: 3, height: 2 };
        let half = scale.halved();
        // Rows 0 1 2 3 and 0 4 5 6 after the padding (its last column is never reached).
        assert_eq!((half.width, half.height), (2, 1));
        assert_eq!(half.values, [(1.0 + 4.0) / 4.0, (2.0 + 3.0 + 5.0 + 6.0) / 4.0]);
    }

    #[test]
    fn the_smallest_image_is_161_pixels() {
        let image = Array3::<f32>::zeros((3, 160, 400));
        let error = ms_ssim(image.view(), image.view()).unwrap_err();
        assert!(matches!(error, EvalError::TooSmall { minimum: 161, .. }), "{error}");
        let image = Array3::<f32>::zeros((3, 161, 400));
        assert_eq!(ms_ssim(image.view(), image.view()).unwrap(), 1.0);
    }
}
