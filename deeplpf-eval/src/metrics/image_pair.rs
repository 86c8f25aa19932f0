//! Two images that may be compared: checked once, then read by every metric.

use ndarray::{ArrayView3, CowArray, Ix3};

use crate::error::{EvalError, Result, Role, Size};

/// A prediction and its target: both `3 x H x W`, of one size, every value finite.
pub struct ImagePair<'a> {
    prediction: CowArray<'a, f32, Ix3>,
    target: CowArray<'a, f32, Ix3>,
}

impl<'a> ImagePair<'a> {
    /// Checks and joins two planar RGB images, `3 x H x W`, nominally in \[0, 1\].
    ///
    /// # Errors
    /// [`EvalError::NotRgb`], [`EvalError::UnequalSizes`], [`EvalError::NotFinite`].
    pub fn new(prediction: ArrayView3<'a, f32>, target: ArrayView3<'a, f32>) -> Result<Self> {
        check_rgb(&prediction, Role::Prediction)?;
        check_rgb(&target, Role::Target)?;
        if prediction.dim() != target.dim() {
            return Err(EvalError::UnequalSizes {
                prediction: size_of(&prediction),
                target: size_of(&target),
            });
        }
        check_finite(&prediction, Role::Prediction)?;
        check_finite(&target, Role::Target)?;
        Ok(Self { prediction: contiguous(prediction), target: contiguous(target) })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        size_of(&self.target.view())
    }

    /// All values of prediction and target, channel by channel and row by row.
    pub fn values(&self) -> (&[f32], &[f32]) {
        (as_slice(&self.prediction), as_slice(&self.target))
    }

    /// The values of one channel (0 red, 1 green, 2 blue), row by row.
    pub fn channel(&self, channel: usize) -> (&[f32], &[f32]) {
        let length = self.size().width * self.size().height;
        let (prediction, target) = self.values();
        let range = channel * length..(channel + 1) * length;
        (&prediction[range.clone()], &target[range])
    }
}

/// A value as metrics see it: clamped to \[0, 1\].
#[inline(always)]
pub(crate) fn displayed(value: f32) -> f64 {
    f64::from(value).clamp(0.0, 1.0)
}

fn size_of(image: &ArrayView3<'_, f32>) -> Size {
    let (_, height, width) = image.dim();
    Size { width, height }
}

fn check_rgb(image: &ArrayView3<'_, f32>, role: Role) -> Result<()> {
    let (channels, height, width) = image.dim();
    if channels != 3 || height == 0 || width == 0 {
        return Err(EvalError::NotRgb { role, channels, size: size_of(image) });
    }
    Ok(())
}

fn check_finite(image: &ArrayView3<'_, f32>, role: Role) -> Result<()> {
    // Without an early exit the compiler uses vector instructions; nearly every image passes.
    if image.as_slice().is_some_and(|v| v.iter().fold(true, |all, v| all & v.is_finite())) {
        return Ok(());
    }
    match image.indexed_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some(((channel, row, column), &value)) => {
            Err(EvalError::NotFinite { role, channel, row, column, value })
        }
    }
}

fn contiguous(image: ArrayView3<'_, f32>) -> CowArray<'_, f32, Ix3> {
    if image.is_standard_layout() {
        CowArray::from(image)
    } else {
        CowArray::from(image.as_standard_layout().into_owned())
    }
}

fn as_slice<'b>(image: &'b CowArray<'_, f32, Ix3>) -> &'b [f32] {
    image.as_slice().expect("`ImagePair::new` made both images contiguous")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn bad_pairs_are_refused_with_the_place() {
        let good = Array3::<f32>::zeros((3, 4, 5));
        let pair = |a: &Array3<f32>, b: &Array3<f32>| {
            ImagePair::new(a.view(), b.view()).err().map(|error| error.to_string())
        };
        assert_eq!(pair(&good, &good), None);
        let grey = Array3::zeros((1, 4, 5));
        assert!(pair(&grey, &good).unwrap().contains("prediction has 1 channels"));
        let empty = Array3::zeros((3, 0, 5));
        assert!(pair(&good, &empty).unwrap().contains("target"));
        let other = Array3::zeros((3, 5, 4));
        let message = pair(&good, &other).unwrap();
        assert!(message.contains("5x4") && message.contains("4x5"), "{message}");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut image = good.clone();
            image[[1, 2, 3]] = bad;
            let message = pair(&good, &image).unwrap();
            assert!(message.contains("channel 1, row 2, column 3"), "{message}");
        }
    }

    #[test]
    fn a_transposed_view_is_read_in_its_own_order() {
        let stored = Array3::from_shape_fn((4, 5, 3), |(y, x, c)| (c * 20 + y * 5 + x) as f32);
        let view = stored.view().permuted_axes([2, 0, 1]);
        let pair = ImagePair::new(view, view).unwrap();
        let expected: Vec<f32> = (0..60).map(|v| v as f32).collect();
        assert_eq!(pair.values().0, expected);
        assert_eq!(pair.channel(1).1, &expected[20..40]);
    }
}
