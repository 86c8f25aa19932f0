//! The whole network on one photograph.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;

use deeplpf_core::{
    Checkpoint, CoreError, DType, Device, EnhanceOptions, Enhancer, Mode, Model, RowSource,
};
use ndarray::{Array3, ArrayView3, s};

use crate::machine;
use crate::photograph::{Photograph, Size};
use crate::record::Measured;
use crate::timing::Schedule;

/// The model of a file of weights.
///
/// # Errors
/// A file that is not a usable checkpoint.
pub fn read_model(weights: &Path) -> anyhow::Result<Model> {
    Ok(Checkpoint::read(weights)?.model(None, DType::F32, &Device::Cpu)?)
}

/// `Model::forward` in evaluation mode.
///
/// # Errors
/// Unusable weights, or a photograph too small.
pub fn model(weights: &Path, size: Size, schedule: Schedule) -> anyhow::Result<Measured> {
    let model = read_model(weights)?;
    let photograph = Photograph::new(size).to_tensor()?;
    let start_bytes = machine::resident_bytes();
    let [work] = schedule.time([&mut || {
        black_box(model.forward(black_box(&photograph), Mode::Evaluate)?);
        Ok(())
    }])?;
    Ok(Measured::Times { start_bytes, work, copy: None })
}

/// `Enhancer::enhance_rows` from floats to floats.
///
/// # Errors
/// Unusable weights, or a photograph too small.
pub fn floats(
    weights: &Path,
    size: Size,
    tile: Option<NonZeroUsize>,
    schedule: Schedule,
) -> anyhow::Result<Measured> {
    let enhancer = Enhancer::new(read_model(weights)?)?;
    let photograph = Photograph::new(size).to_floats();
    let mut result = Array3::zeros(photograph.raw_dim());
    time_enhancer(&enhancer, &photograph.view(), tile, schedule, &mut |first, band| {
        result.slice_mut(s![.., first..first + band.dim().1, ..]).assign(&band);
    })
}

/// `Enhancer::enhance_rows` from 8 bits to 8 bits, as a program that decodes and encodes uses it.
///
/// # Errors
/// Unusable weights, or a photograph too small.
pub fn eight_bits(
    weights: &Path,
    size: Size,
    tile: Option<NonZeroUsize>,
    schedule: Schedule,
) -> anyhow::Result<Measured> {
    let enhancer = Enhancer::new(read_model(weights)?)?;
    let photograph = Photograph::new(size);
    let mut result = vec![0u8; 3 * size.height * size.width];
    time_enhancer(&enhancer, &photograph, tile, schedule, &mut |first, band| {
        let lines = result.chunks_exact_mut(3 * size.width).skip(first);
        for (row, line) in lines.take(band.dim().1).enumerate() {
            for channel in 0..3 {
                let values = band.slice(s![channel, row, ..]);
                for (pixel, value) in line.chunks_exact_mut(3).zip(values) {
                    pixel[channel] = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            }
        }
    })
}

fn time_enhancer(
    enhancer: &Enhancer,
    photograph: &dyn RowSource,
    tile: Option<NonZeroUsize>,
    schedule: Schedule,
    sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
) -> anyhow::Result<Measured> {
    let options = EnhanceOptions { tile, ..EnhanceOptions::default() };
    let start_bytes = machine::resident_bytes();
    let timed = schedule.time([&mut || {
        black_box(enhancer.enhance_rows(photograph, &options, &mut |_| {}, sink)?);
        Ok(())
    }]);
    match timed {
        Ok([work]) => Ok(Measured::Times { start_bytes, work, copy: None }),
        Err(error) => match error.downcast_ref::<CoreError>() {
            Some(refused @ CoreError::OutOfMemory { .. }) => {
                Ok(Measured::Skipped(refused.to_string()))
            }
            _ => Err(error),
        },
    }
}
