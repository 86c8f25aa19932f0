//! Where a prediction differs from its target.

use ndarray::{Array2, ArrayView3, Zip};

use super::{ColorMap, Scale, Spread};
use crate::error::{EvalError, Result, Role, Size};

/// The scale of every error map: from 0 to a quarter of the range (64 of 255 levels), the same for
/// all photographs, runs and reports so that they can be compared. Larger errors have the colour of
/// its end. By the square root, because the errors of a good prediction are a few hundredths and
/// would all be black on an even scale.
pub const ERROR_SCALE: Scale =
    Scale { low: 0.0, high: 0.25, colors: ColorMap::FromZero, spread: Spread::SquareRoot };

/// Errors to write beside [`ERROR_SCALE`]: a fifth of its length apart.
pub const ERROR_TICKS: [f64; 6] = [0.0, 0.01, 0.04, 0.09, 0.16, 0.25];

/// The absolute difference of `prediction` and `target`, mean over red, green and blue, per pixel:
/// `height x width` in \[0, 1\].
///
/// Both are planar RGB, `3 x H x W`; values are clamped to \[0, 1\] first, as for the metrics.
///
/// # Errors
/// [`EvalError::UnequalSizes`], [`EvalError::NotRgb`], [`EvalError::NotFinite`].
pub fn error_map(
    prediction: ArrayView3<'_, f32>,
    target: ArrayView3<'_, f32>,
) -> Result<Array2<f32>> {
    for (role, image) in [(Role::Prediction, &prediction), (Role::Target, &target)] {
        let (channels, height, width) = image.dim();
        if channels != 3 || height == 0 || width == 0 {
            return Err(EvalError::NotRgb { role, channels, size: Size { width, height } });
        }
        if let Some(((channel, row, column), value)) =
            image.indexed_iter().find(|(_, value)| !value.is_finite())
        {
            return Err(EvalError::NotFinite { role, channel, row, column, value: *value });
        }
    }
    let (_, height, width) = target.dim();
    if prediction.dim() != target.dim() {
        let (_, found_height, found_width) = prediction.dim();
        return Err(EvalError::UnequalSizes {
            prediction: Size { width: found_width, height: found_height },
            target: Size { width, height },
        });
    }
    let mut map = Array2::zeros((height, width));
    for (prediction, target) in prediction.outer_iter().zip(target.outer_iter()) {
        Zip::from(&mut map).and(prediction).and(target).for_each(|sum: &mut f32, &p, &t| {
            *sum += (p.clamp(0.0, 1.0) - t.clamp(0.0, 1.0)).abs() / 3.0;
        });
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn the_mean_over_channels_of_clamped_values() {
        let target = Array3::from_elem((3, 2, 3), 0.5f32);
        let mut prediction = target.clone();
        prediction[[0, 1, 2]] = 0.8;
        prediction[[2, 1, 2]] = -7.0;
        let map = error_map(prediction.view(), target.view()).unwrap();
        assert_eq!(map.dim(), (2, 3));
        assert!((map[[1, 2]] - 0.8 / 3.0).abs() < 1e-6, "{map}");
        assert_eq!(map.sum(), map[[1, 2]]);
    }

    #[test]
    fn ticks_stand_at_even_distances_and_small_errors_are_seen() {
        for (index, tick) in ERROR_TICKS.into_iter().enumerate() {
            assert!((ERROR_SCALE.position(tick) - index as f64 / 5.0).abs() < 1e-12);
        }
        assert_eq!((ERROR_SCALE.position(0.7), ERROR_SCALE.position(-1.0)), (1.0, 0.0));
        // One level of 255 is not black.
        let [black, one] = [0.0, 1.0 / 255.0].map(|error| ERROR_SCALE.color(error));
        assert!(one[0] > black[0] + 20, "{one:?}");
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let image = Array3::<f32>::zeros((3, 4, 5));
        let other = Array3::<f32>::zeros((3, 5, 4));
        let error = error_map(image.view(), other.view()).unwrap_err().to_string();
        assert!(error.contains("5x4") && error.contains("4x5"), "{error}");
        let grey = Array3::<f32>::zeros((1, 4, 5));
        assert!(matches!(error_map(grey.view(), grey.view()), Err(EvalError::NotRgb { .. })));
        let mut broken = image.clone();
        broken[[1, 2, 3]] = f32::NAN;
        let error = error_map(image.view(), broken.view()).unwrap_err().to_string();
        assert!(error.contains("channel 1, row 2, column 3"), "{error}");
    }
}
