//! The filters alone: three of them, three instances each, the release's formulas.

use std::hint::black_box;

use anyhow::Context;
use deeplpf_filters::{FilterStack, StackConfig};
use ndarray::Array3;

use crate::machine;
use crate::photograph::{Photograph, Size};
use crate::record::Measured;
use crate::timing::Schedule;

/// Raw parameters that reach every part of the formulas; `peers/peer.py` uses the same.
pub fn raw_parameters(config: &StackConfig) -> Vec<f32> {
    (0..config.raw_len()).map(|i| (0.6 * (i as f64 * 1.7 + 0.3).sin()) as f32).collect()
}

/// The stack that is measured.
///
/// # Errors
/// None that these parameters can cause.
pub fn stack() -> anyhow::Result<FilterStack<f32>> {
    let config = StackConfig::default();
    Ok(FilterStack::from_raw(&config, &raw_parameters(&config))?)
}

/// Image to image, in turn with copying the image.
///
/// # Errors
/// None that a photograph can cause.
pub fn apply(size: Size, schedule: Schedule) -> anyhow::Result<Measured> {
    let stack = stack()?;
    let image = Photograph::new(size).to_floats();
    let (mut out, mut copied) = (Array3::zeros(image.raw_dim()), Array3::zeros(image.raw_dim()));
    let start_bytes = machine::resident_bytes();
    let [work, copy] = schedule.time([
        &mut || Ok(stack.apply_into(black_box(image.view()), out.view_mut())?),
        &mut || copy_once(black_box(&image), &mut copied),
    ])?;
    black_box((&out, &copied));
    Ok(Measured::Times { start_bytes, work, copy: Some(copy) })
}

/// Image and cotangent to their gradients, in turn with copying the image.
///
/// # Errors
/// None that a photograph can cause.
pub fn vjp(size: Size, schedule: Schedule) -> anyhow::Result<Measured> {
    let stack = stack()?;
    let image = Photograph::new(size).to_floats();
    let cotangent = image.mapv(|value| value - 0.5);
    let (mut out, mut copied) = (Array3::zeros(image.raw_dim()), Array3::zeros(image.raw_dim()));
    let start_bytes = machine::resident_bytes();
    let [work, copy] = schedule.time([
        &mut || {
            black_box(stack.vjp_into(black_box(image.view()), cotangent.view(), out.view_mut())?);
            Ok(())
        },
        &mut || copy_once(black_box(&image), &mut copied),
    ])?;
    black_box((&out, &copied));
    Ok(Measured::Times { start_bytes, work, copy: Some(copy) })
}

/// One `memcpy` on one thread, into memory that has been written before.
fn copy_once(from: &Array3<f32>, to: &mut Array3<f32>) -> anyhow::Result<()> {
    let from = from.as_slice().context("the image is not contiguous")?;
    to.as_slice_mut().context("the copy is not contiguous")?.copy_from_slice(from);
    Ok(())
}
