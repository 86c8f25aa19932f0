//! Validation PSNR during training. Full evaluation is deeplpf-eval's.

use candle_core::{DType, Tensor};
use deeplpf_core::{Mode, Model};
use deeplpf_data::Pair;
use deeplpf_filters::{FilterStack, StackParams};
use ndarray::ArrayView3;

use crate::{PairSource, Result, batch::image_tensor};

/// A photograph of a validation.
pub(crate) struct Validated<'a> {
    /// Input and target.
    pub pair: &'a Pair,
    /// What the model made of the input, (3, H, W).
    pub output: ArrayView3<'a, f32>,
    /// Its filters, where they are known.
    pub filters: Option<&'a StackParams<f32>>,
}

/// In decibels: differences of 1/400 of an 8-bit level. Without it one picture that equals its target
/// would make the mean infinite, which would never be surpassed, and which JSON cannot hold.
const MOST_PSNR: f64 = 100.0;

/// 10 log10(1 / MSE) in decibels over float values clamped to [0, 1], the release's definition, but at
/// most 100. Both (3, H, W).
pub fn psnr(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> f64 {
    let sum: f64 = prediction
        .iter()
        .zip(target.iter())
        .map(|(&p, &t)| (f64::from(p.clamp(0.0, 1.0)) - f64::from(t.clamp(0.0, 1.0))).powi(2))
        .sum();
    let psnr = -10.0 * (sum / prediction.len() as f64).log10();
    // Not f64::min, which would make a number of NaN.
    if psnr > MOST_PSNR { MOST_PSNR } else { psnr }
}

/// Mean PSNR of the model over the pairs.
///
/// # Errors
/// A pair that cannot be loaded, or no pairs.
pub fn mean_psnr(model: &Model, pairs: &PairSource) -> Result<f64> {
    validate(model, pairs, &mut |_| Ok(()))
}

/// [`mean_psnr`], showing `see` every photograph.
pub(crate) fn validate(
    model: &Model,
    pairs: &PairSource,
    see: &mut dyn FnMut(&Validated<'_>) -> Result<()>,
) -> Result<f64> {
    let mut sum = 0.0;
    for index in 0..pairs.len() {
        let pair = pairs.load(index)?;
        let parameters = model.parameters();
        let input = image_tensor(&pair.input, parameters.dtype(), parameters.device())?;
        let prediction = model.forward(&input, Mode::Evaluate)?;
        let stack = filters(model, &prediction.raw)?;
        let output = prediction.output.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let output = ArrayView3::from_shape(pair.target.dim(), &output)
            .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
        sum += psnr(output, pair.target.view());
        see(&Validated { pair: &pair, output, filters: Some(stack.params()) })?;
    }
    Ok(sum / pairs.len() as f64)
}

/// The filters of a prediction of one photograph from its unconstrained numbers, (1, raw length).
fn filters(model: &Model, raw: &Tensor) -> Result<FilterStack<f32>> {
    let raw = raw.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(FilterStack::from_raw(&model.config().stack(), &raw)
        .map_err(deeplpf_core::CoreError::from)?)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn equal_pictures_have_a_psnr_that_a_file_can_hold() {
        let picture = |value: f32| Array3::from_elem((3, 4, 4), value);
        let of = |a: f32, b: f32| psnr(picture(a).view(), picture(b).view());
        assert_eq!(of(0.25, 0.25), 100.0);
        assert!((of(0.25, 0.35) - 20.0).abs() < 1e-5);
        assert!(of(0.25, f32::NAN).is_nan());
    }
}
