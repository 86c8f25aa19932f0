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

/// 10 log10(1 / MSE) in decibels over float values clamped to [0, 1], the release's definition;
/// infinite for equal images. Both (3, H, W).
pub fn psnr(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> f64 {
    let sum: f64 = prediction
        .iter()
        .zip(target.iter())
        .map(|(&p, &t)| (f64::from(p.clamp(0.0, 1.0)) - f64::from(t.clamp(0.0, 1.0))).powi(2))
        .sum();
    -10.0 * (sum / prediction.len() as f64).log10()
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
