//! Adam (Kingma and Ba 2015, algorithm 1) with moments by parameter name, as PyTorch computes it.
//!
//! m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
//! p <- p - rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps). No weight decay.
//!
//! A parameter without a gradient is left alone and has no moments.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Storage, Tensor, bail};
use deeplpf_core::{Parameters, ops::Element};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Numbers updated per task: enough to be worth a task.
pub(crate) const CHUNK: usize = 1 << 14;

/// The release's settings by default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Most that the L2 norm of the whole gradient may be; a larger one is scaled down to it.
    /// 0: no limit, as in the release.
    pub clip_norm: f64,
    /// Times the learning rate for the backbone; 0 freezes it, to fit the heads alone to a few
    /// pictures.
    pub backbone_rate: f64,
    /// Times the learning rate for the heads; 0 freezes them.
    pub heads_rate: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 0.0,
            backbone_rate: 1.0,
            heads_rate: 1.0,
        }
    }
}

/// First and second moment of one parameter.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Tensor,
    /// Running mean of its square.
    pub second: Tensor,
}

/// The optimiser's state.
#[derive(Clone, Debug)]
pub struct Adam {
    config: AdamConfig,
    /// Steps taken.
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

impl Adam {
    /// No steps taken.
    pub fn new(config: AdamConfig) -> Self {
        Self { config, steps: 0, moments: BTreeMap::new() }
    }

    /// Continues from saved moments.
    pub fn restore(config: AdamConfig, steps: u64, moments: BTreeMap<String, Moments>) -> Self {
        Self { config, steps, moments }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The learning rate without schedule and groups.
    pub(crate) fn learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    /// Whether the parameter `name` is of a group that is not frozen.
    pub(crate) fn trains(&self, name: &str) -> bool {
        self.config.rate(name) > 0.0
    }

    /// Moments by parameter name.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// One step on all parameters that have a gradient, by name, with `share` of the learning rate (see
    /// [`crate::ScheduleConfig::share`]). Parameters of a group whose rate is 0 are left alone.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &BTreeMap<String, Tensor>,
        share: f64,
    ) -> Result<()> {
        let scale = self.clipping(gradients)?;
        self.steps += 1;
        let AdamConfig { learning_rate, beta1, beta2, epsilon, .. } = self.config;
        let power = self.steps.min(i32::MAX as u64) as i32;
        let update = |rate: f64| Update {
            step_size: rate * share * learning_rate / (1.0 - beta1.powi(power)),
            second_scale: (1.0 - beta2.powi(power)).sqrt(),
            epsilon,
        };
        for (name, parameter) in parameters.iter() {
            let rate = self.config.rate(name);
            let Some(gradient) = gradients.get(name).filter(|_| rate > 0.0) else { continue };
            let gradient = gradient.contiguous()?;
            if !self.moments.contains_key(name) {
                // Two separate allocations: both are written in place.
                let (first, second) = (parameter.zeros_like()?, parameter.zeros_like()?);
                self.moments.insert(name.into(), Moments { first, second });
            }
            let moments = &self.moments[name];
            moments.first.inplace_op2(&gradient, &Decay { rate: beta1, scale, square: false })?;
            moments.second.inplace_op2(&gradient, &Decay { rate: beta2, scale, square: true })?;
            parameter.as_tensor().inplace_op3(&moments.first, &moments.second, &update(rate))?;
        }
        Ok(())
    }

    /// What the gradient is multiplied with so that its norm is at most `clip_norm`.
    fn clipping(&self, gradients: &BTreeMap<String, Tensor>) -> Result<f64> {
        let most = self.config.clip_norm;
        if most == 0.0 {
            return Ok(1.0);
        }
        let mut sum = 0.0;
        for (name, gradient) in gradients {
            if self.config.rate(name) > 0.0 {
                sum += sum_of_squares(gradient)?;
            }
        }
        let norm = sum.sqrt();
        Ok(if norm > most { most / norm } else { 1.0 })
    }
}

impl AdamConfig {
    /// Times the learning rate for the parameter `name`.
    fn rate(&self, name: &str) -> f64 {
        if name.starts_with("backbonenet.") { self.backbone_rate } else { self.heads_rate }
    }
}

/// In double precision and in one order, whatever the number of threads.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    fn sum<T: Element>(values: &[T]) -> f64 {
        let chunk = |chunk: &[T]| chunk.iter().map(|v| v.wide() * v.wide()).sum::<f64>();
        values.par_chunks(CHUNK).map(chunk).collect::<Vec<_>>().into_iter().sum()
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    Ok(match &*storage {
        Storage::Cpu(storage @ CpuStorage::F64(_)) => sum::<f64>(values(storage, layout)?),
        Storage::Cpu(storage) => sum::<f32>(values(storage, layout)?),
        _ => return Err(candle_core::Error::Msg("the optimiser runs on the CPU".into()).into()),
    })
}

/// The first entry of `tensor` that is not a finite number.
pub(crate) fn first_not_finite(tensor: &Tensor) -> Result<Option<f64>> {
    fn find<T: Element>(values: &[T]) -> Option<f64> {
        let infinite = |chunk: &[T]| chunk.iter().map(|v| v.wide()).find(|v| !v.is_finite());
        values.par_chunks(CHUNK).find_map_first(infinite)
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    Ok(match &*storage {
        Storage::Cpu(storage @ CpuStorage::F64(_)) => find::<f64>(values(storage, layout)?),
        Storage::Cpu(storage) => find::<f32>(values(storage, layout)?),
        _ => return Err(candle_core::Error::Msg("the optimiser runs on the CPU".into()).into()),
    })
}

pub(crate) fn values<'a, T: Element>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!("the optimiser needs contiguous tensors"),
    }
}

pub(crate) fn values_mut<'a, T: Element>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [T]> {
    match (layout.contiguous_offsets(), T::slice_mut(storage)) {
        (Some((start, end)), Some(values)) => Ok(&mut values[start..end]),
        _ => bail!("the optimiser needs contiguous tensors of one type"),
    }
}

/// moment <- rate moment + (1 - rate) scale g, or (scale g)^2.
struct Decay {
    rate: f64,
    scale: f64,
    square: bool,
}

impl Decay {
    fn run<T: Element>(&self, moment: &mut [T], gradient: &[T]) {
        let (keep, take) = (T::of(self.rate), T::of(1.0 - self.rate));
        let (scale, square) = (T::of(self.scale), self.square);
        moment.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(
            |(moment, gradient)| {
                for (m, &g) in moment.iter_mut().zip(gradient) {
                    let g = scale * g;
                    let g = if square { g * g } else { g };
                    *m = keep * *m + take * g;
                }
            },
        );
    }
}

impl InplaceOp2 for Decay {
    fn name(&self) -> &'static str {
        "adam-moment"
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

/// The parameter's own update.
struct Update {
    step_size: f64,
    second_scale: f64,
    epsilon: f64,
}

impl Update {
    fn run<T: Element>(&self, parameter: &mut [T], first: &[T], second: &[T]) {
        let (step_size, scale, epsilon) =
            (T::of(self.step_size), T::of(self.second_scale), T::of(self.epsilon));
        parameter
            .par_chunks_mut(CHUNK)
            .zip(first.par_chunks(CHUNK).zip(second.par_chunks(CHUNK)))
            .for_each(|(parameter, (first, second))| {
                for ((p, &m), &v) in parameter.iter_mut().zip(first).zip(second) {
                    *p -= step_size * (m / (v.sqrt() / scale + epsilon));
                }
            });
    }
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adam-update"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<()> {
        match s2 {
            CpuStorage::F64(_) => {
                self.run::<f64>(values_mut(s1, l1)?, values(s2, l2)?, values(s3, l3)?)
            }
            _ => self.run::<f32>(values_mut(s1, l1)?, values(s2, l2)?, values(s3, l3)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use deeplpf_core::{Initialisation, Model, ModelConfig};

    use super::*;

    /// The first step of Adam moves every entry by rate * sign(g) (up to epsilon).
    #[test]
    fn first_step_has_the_size_of_the_rate() {
        let config = ModelConfig::small();
        let model =
            Model::new(&config, Initialisation::Release, 1, DType::F64, &Device::Cpu).unwrap();
        let bias = model.parameters().get("backbonenet.final_conv.bias").unwrap();
        let before = bias.to_vec1::<f64>().unwrap();
        let ones = Tensor::ones(before.len(), DType::F64, &Device::Cpu).unwrap();
        let loss = (bias.as_tensor() * (ones * -2.0).unwrap()).unwrap().sum_all().unwrap();
        let mut adam = Adam::new(AdamConfig::default());
        let gradient = loss.backward().unwrap().get(bias).unwrap().clone();
        let gradients = BTreeMap::from([("backbonenet.final_conv.bias".to_string(), gradient)]);
        adam.step(model.parameters(), &gradients, 1.0).unwrap();
        let after = bias.to_vec1::<f64>().unwrap();
        for (before, after) in before.iter().zip(&after) {
            assert!((after - before - 1e-4).abs() < 1e-11, "{before} {after}");
        }
        assert_eq!(adam.moments().len(), 1, "parameters without gradient have no moments");
    }
}
