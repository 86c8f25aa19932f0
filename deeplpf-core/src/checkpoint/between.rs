//! A model between two trained from the same start.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Tensor};

use crate::{CoreError, Model, Result};

/// The model with the weights (1 - t) a + t b.
///
/// A model that was trained further on other data is better there and worse on what it came from; on
/// the straight line between the two most of both is often kept (Wortsman et al. 2022, *Robust
/// fine-tuning of zero-shot models*, arXiv 2109.01903). That holds where `b` was trained from `a`, and
/// for no other two models.
///
/// # Errors
/// [`CoreError::Config`] for models of different configurations or a share outside 0 to 1.
pub fn between(a: &Model, b: &Model, share: f64) -> Result<Model> {
    if let Some(difference) = a.config().difference(b.config()) {
        return Err(CoreError::Config(format!(
            "weights of different models have nothing between them: {difference}"
        )));
    }
    if !(0.0..=1.0).contains(&share) {
        return Err(CoreError::Config(format!("the share {share} is not between 0 and 1")));
    }
    let parameters = a.parameters();
    let mut weights = BTreeMap::new();
    for (name, first) in parameters.iter() {
        let Some(second) = b.parameters().get(name) else { continue };
        // In double precision: a share of 0 or 1 gives back the weights themselves.
        let [first, second] =
            [first.as_tensor(), second.as_tensor()].map(|tensor| tensor.to_dtype(DType::F64));
        let sum: Tensor = ((first? * (1.0 - share))? + (second? * share)?)?;
        weights.insert(name.to_string(), sum.to_dtype(parameters.dtype())?);
    }
    let (dtype, device) = (parameters.dtype(), parameters.device());
    Model::from_tensors(a.config(), &weights, Path::new("the two models"), dtype, device)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{Initialisation, ModelConfig};

    fn model(config: &ModelConfig, seed: u64) -> Model {
        Model::new(config, Initialisation::Release, seed, DType::F32, &Device::Cpu).unwrap()
    }

    fn numbers(model: &Model) -> Vec<f32> {
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        model.parameters().iter().flat_map(|(_, parameter)| flat(parameter.as_tensor())).collect()
    }

    #[test]
    fn the_ends_are_the_models_and_the_middle_their_mean() {
        let (a, b) = (model(&ModelConfig::small(), 1), model(&ModelConfig::small(), 2));
        let at = |share| numbers(&between(&a, &b, share).unwrap());
        assert_eq!((at(0.0), at(1.0)), (numbers(&a), numbers(&b)));
        for ((middle, a), b) in at(0.25).iter().zip(numbers(&a)).zip(numbers(&b)) {
            let expected = 0.75 * f64::from(a) + 0.25 * f64::from(b);
            // Half a unit in the last place of single precision.
            assert!((f64::from(*middle) - expected).abs() <= 6e-8 * expected.abs().max(1e-30));
        }
    }

    #[test]
    fn other_models_and_shares_are_refused() {
        let small = ModelConfig::small();
        let (a, b) = (model(&small, 1), model(&ModelConfig { elliptical: 1, ..small.clone() }, 1));
        let error = between(&a, &b, 0.5).err().unwrap().to_string();
        assert!(error.contains("elliptical"), "{error}");
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(between(&a, &a, share).is_err());
        }
    }
}
