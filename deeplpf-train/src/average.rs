//! An exponential moving average of the weights (Polyak averaging), which validates better than the
//! last step's weights and is what is shipped.
//!
//! After step t (from 1): a <- d_t a + (1 - d_t) w with d_t = min(d, (1 + t) / (10 + t)), so that the
//! first steps do not keep the random start (TensorFlow's `ExponentialMovingAverage`).

use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use deeplpf_core::{Initialisation, Model, ops::Element};
use rayon::prelude::*;

use crate::{
    Result,
    adam::{CHUNK, values, values_mut},
};

/// A model whose parameters are the average of another's over the steps so far.
#[derive(Clone, Debug)]
pub struct Average {
    model: Model,
    decay: f64,
}

impl Average {
    /// Begins at the weights of `model`; `decay` in (0, 1).
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn new(model: &Model, decay: f64) -> Result<Self> {
        let parameters = model.parameters();
        let (dtype, device) = (parameters.dtype(), parameters.device());
        let copy = Model::new(model.config(), Initialisation::Release, 0, dtype, device)?;
        let weights: BTreeMap<String, Tensor> = parameters
            .iter()
            .map(|(name, parameter)| (name.to_string(), parameter.as_detached_tensor()))
            .collect();
        copy.assign(&weights, std::path::Path::new("the model in training"))?;
        Ok(Self { model: copy, decay })
    }

    /// The averaged model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes in the weights after optimiser step `step` (from 1).
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn update(&self, model: &Model, step: u64) -> Result<()> {
        let step = step as f64;
        let approach = Approach(self.decay.min((1.0 + step) / (10.0 + step)));
        for (name, average) in self.model.parameters().iter() {
            if let Some(parameter) = model.parameters().get(name) {
                average.as_tensor().inplace_op2(parameter.as_tensor(), &approach)?;
            }
        }
        Ok(())
    }
}

/// a <- d a + (1 - d) w.
struct Approach(f64);

impl Approach {
    fn run<T: Element>(&self, average: &mut [T], weights: &[T]) {
        let (keep, take) = (T::of(self.0), T::of(1.0 - self.0));
        average.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(average, w)| {
            average.iter_mut().zip(w).for_each(|(a, &w)| *a = keep * *a + take * w);
        });
    }
}

impl InplaceOp2 for Approach {
    fn name(&self) -> &'static str {
        "weight-average"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<()> {
        match s2 {
            CpuStorage::F64(_) => self.run::<f64>(values_mut(s1, l1)?, values(s2, l2)?),
            _ => self.run::<f32>(values_mut(s1, l1)?, values(s2, l2)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use deeplpf_core::ModelConfig;

    use super::*;

    #[test]
    fn the_average_forgets_its_start_quickly_and_then_slowly() {
        let config = ModelConfig::small();
        let model =
            Model::new(&config, Initialisation::Release, 3, DType::F64, &Device::Cpu).unwrap();
        let average = Average::new(&model, 0.9).unwrap();
        let name = "backbonenet.final_conv.bias";
        let read =
            |model: &Model| model.parameters().get(name).unwrap().to_vec1::<f64>().unwrap()[0];
        assert_eq!(read(average.model()), read(&model));
        let mut expected = read(&model);
        for step in 1..100u64 {
            let parameter = model.parameters().get(name).unwrap();
            let moved = (parameter.as_tensor() + 1.0).unwrap();
            parameter.set(&moved).unwrap();
            average.update(&model, step).unwrap();
            let decay = 0.9f64.min((1.0 + step as f64) / (10.0 + step as f64));
            expected = decay * expected + (1.0 - decay) * read(&model);
        }
        assert!((read(average.model()) - expected).abs() < 1e-12);
        // d / (1 - d) = 9 steps behind, nearly: d itself is reached at step 80 only.
        assert!((read(&model) - expected - 9.0).abs() < 0.2, "{}", read(&model) - expected);
    }
}
