//! The training loss of the release: mean absolute difference in scaled CIELAB plus 1e-3 times
//! one minus MS-SSIM of the luminance, averaged over the images of the batch.
//!
//! Value and gradient are computed together in closed form; nothing is taped.

mod lab;
mod ms_ssim;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use serde::{Deserialize, Serialize};

pub use lab::scaled_lab;
pub use ms_ssim::{LastScale, ms_ssim};

use crate::{CoreError, Fix, Fixes, Result, ops};
use ops::{Element, by_element, produced, with_elements};

/// Weights of the loss terms. The default is the release's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of the mean absolute difference in scaled CIELAB.
    pub lab: f64,
    /// Weight of 1 - MS-SSIM.
    pub ms_ssim: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { lab: 1.0, ms_ssim: 1e-3 }
    }
}

/// A loss and its parts.
#[derive(Clone, Debug)]
pub struct LossValue {
    /// The scalar to differentiate; its gradient flows to the prediction only.
    pub total: Tensor,
    /// Mean absolute difference in scaled CIELAB, unweighted.
    pub lab: f64,
    /// MS-SSIM of the luminance, mean over the images.
    pub ms_ssim: f64,
}

/// The loss of `prediction` against `target`, both (N, 3, H, W) in [0, 1], at least 16 pixels on
/// each side (MS-SSIM halves four times).
///
/// # Errors
/// Shapes that differ or are too small.
pub fn loss(
    prediction: &Tensor,
    target: &Tensor,
    config: &LossConfig,
    fixes: Fixes,
) -> Result<LossValue> {
    let (_, channels, height, width) = prediction.dims4()?;
    if target.dims() != prediction.dims() || channels != 3 || height.min(width) < 16 {
        return Err(CoreError::Shape {
            what: "loss target",
            found: target.dims().to_vec(),
            expected: format!("{:?}, RGB, at least 16x16", prediction.dims()),
        });
    }
    let last_scale =
        if fixes.contains(Fix::Msssim) { LastScale::Once } else { LastScale::FourTimes };
    let (parts, op) = if ops::is_double(prediction) {
        evaluate::<f64>(prediction, target, config, last_scale)?
    } else {
        evaluate::<f32>(prediction, target, config, last_scale)?
    };
    Ok(LossValue { total: prediction.contiguous()?.apply_op1(op)?, lab: parts.0, ms_ssim: parts.1 })
}

/// Means of (Lab difference, MS-SSIM), and the operation that carries value and gradient.
fn evaluate<T: Element>(
    prediction: &Tensor,
    target: &Tensor,
    config: &LossConfig,
    last_scale: LastScale,
) -> Result<((f64, f64), Evaluated)> {
    let (_, _, height, width) = prediction.dims4()?;
    let mut gradient = vec![T::zero(); prediction.elem_count()];
    let mut value = Parts::default();
    with_elements::<T, _>(prediction, |prediction| {
        with_elements::<T, _>(target, |target| {
            let images = (prediction, target, (height, width));
            value = evaluate_into(images, config, last_scale, &mut gradient);
            Ok(())
        })
    })?;
    let Parts { total, lab, ms_ssim } = value;
    let gradient = Tensor::from_vec(gradient, prediction.shape(), prediction.device())?;
    Ok(((lab, ms_ssim), Evaluated { value: total, gradient }))
}

/// A loss in numbers; see [`LossValue`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub total: f64,
    pub lab: f64,
    pub ms_ssim: f64,
}

/// The loss of (prediction, target, (height, width)), both (N, 3, height, width), and its gradient to
/// the prediction.
pub(crate) fn evaluate_into<T: Element>(
    (prediction, target, size): (&[T], &[T], (usize, usize)),
    config: &LossConfig,
    last_scale: LastScale,
    gradient: &mut [T],
) -> Parts {
    let pixels = size.0 * size.1;
    let batch = prediction.len() / (3 * pixels);
    let (mut lab_sum, mut ms_ssim_sum) = (0.0, 0.0);
    for ((prediction, target), gradient) in prediction
        .chunks_exact(3 * pixels)
        .zip(target.chunks_exact(3 * pixels))
        .zip(gradient.chunks_exact_mut(3 * pixels))
    {
        let ours = scaled_lab(prediction);
        let theirs = scaled_lab(target);
        let (similarity, similarity_gradient) =
            ms_ssim(&ours[..pixels], &theirs[..pixels], size, last_scale);
        lab_sum += lab::mean_absolute_difference(&ours, &theirs);
        ms_ssim_sum += similarity;
        let share = 1.0 / batch as f64;
        lab::loss_gradient(
            prediction,
            (&ours, &theirs),
            &similarity_gradient,
            (T::of(config.lab * share), T::of(-config.ms_ssim * share)),
            gradient,
        );
    }
    let (lab, ms_ssim) = (lab_sum / batch as f64, ms_ssim_sum / batch as f64);
    Parts { total: config.lab * lab + config.ms_ssim * (1.0 - ms_ssim), lab, ms_ssim }
}

/// A scalar whose gradient is known.
struct Evaluated {
    value: f64,
    gradient: Tensor,
}

fn constant<T: Element>(value: f64) -> candle_core::Result<(CpuStorage, Shape)> {
    produced(vec![T::of(value)], ())
}

impl CustomOp1 for Evaluated {
    fn name(&self) -> &'static str {
        "lab-ms-ssim-loss"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_element!(storage, constant(self.value))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        grad_out: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        self.gradient.broadcast_mul(grad_out).map(Some)
    }
}
