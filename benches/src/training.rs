//! The whole training step.

use std::hint::black_box;
use std::path::Path;

use deeplpf_core::LossConfig;
use deeplpf_train::{AdamConfig, Batch, Trainer};

use crate::inference::read_model;
use crate::machine;
use crate::photograph::{Photograph, Size};
use crate::record::Measured;
use crate::timing::Schedule;

/// A photograph and its target, which is the same a little brighter: (x + 0.1) / 1.1.
///
/// # Errors
/// None that a photograph can cause.
pub fn batch(size: Size) -> anyhow::Result<Batch> {
    let input = Photograph::new(size).to_tensor()?;
    let target = ((&input + 0.1)? / 1.1)?;
    Ok(Batch { ids: vec!["synthetic".into()], input, target })
}

/// A trainer with the release's settings.
///
/// # Errors
/// Unusable weights.
pub fn trainer(weights: &Path) -> anyhow::Result<Trainer> {
    Ok(Trainer::new(read_model(weights)?, AdamConfig::default(), LossConfig::default(), 1))
}

/// `Trainer::step`, batch 1, dropout as in the weights' configuration (the release's 0.5).
///
/// # Errors
/// Unusable weights, or a loss that is not finite.
pub fn step(weights: &Path, size: Size, schedule: Schedule) -> anyhow::Result<Measured> {
    let mut trainer = trainer(weights)?;
    let batch = batch(size)?;
    let start_bytes = machine::resident_bytes();
    let [work] = schedule.time([&mut || {
        black_box(trainer.step(black_box(&batch), 0)?);
        Ok(())
    }])?;
    Ok(Measured::Times { start_bytes, work, copy: None })
}
