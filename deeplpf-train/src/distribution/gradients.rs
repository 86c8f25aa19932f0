//! The gradient of a step whose batches are shared out.
//!
//! In round j rank r computes batch j N + r of the step. The gradients of a round are cut into N
//! slices; rank r receives slice r of all of them and adds them in the order of the ranks, which is
//! that of the batches, to what it has of the rounds before. After the last round the slices are put
//! together on every rank. A rank sends (N - 1) / N of a gradient per round and once more at the end:
//! with one round as much as a ring all-reduce, whose order of summation depends on N.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use deeplpf_core::Parameters;
use serde::{Deserialize, Serialize};

use super::Together;
use crate::{Batch, Result, StepReport, TrainError, Trainer, epoch::StepSize};

/// What a rank says of its batch of a round.
#[derive(Serialize, Deserialize)]
enum Outcome {
    /// There is none for it: the last round of a step.
    Idle,
    /// Bits of loss, Lab difference and MS-SSIM; images; which parameters have a gradient.
    Done([u64; 3], u64, Vec<bool>),
    /// Why there is no gradient, and whether that is for [`crate::GuardConfig`].
    Failed { reason: String, bad_step: bool },
}

impl Together<'_> {
    /// [`Trainer::step_over`] of all the step's batches, of which this rank has `batches`: those at
    /// places rank, rank + N, ...
    ///
    /// # Errors
    /// As there; [`TrainError::OtherRank`] for those of another rank. All ranks have one then, of the
    /// first batch that went wrong.
    pub fn step(
        &self,
        trainer: &mut Trainer,
        batches: &[Batch],
        size: StepSize,
        epoch: u64,
    ) -> Result<StepReport> {
        let (rank, ranks) = (self.rank(), self.ranks());
        let layout = Layout::new(trainer.model.parameters(), ranks);
        let mut sum: Option<Vec<f32>> = None;
        let mut present = vec![false; layout.places.len()];
        let mut mean = StepReport { loss: 0.0, lab: 0.0, ms_ssim: 0.0 };
        let mut send = vec![0.0f32; layout.slice * ranks];
        let mut receive = vec![0.0f32; layout.slice * ranks];
        for round in 0..size.batches.div_ceil(ranks as u64) {
            let computed: Option<Result<Outcome>> = batches.get(round as usize).map(|batch| {
                let share = batch.ids.len() as f64 / size.images as f64;
                let number = round * ranks as u64 + rank as u64;
                let draw = trainer.adam.steps() * size.batches + number;
                let (report, gradients) = trainer.gradients(batch, share, draw, epoch)?;
                layout.flatten(&gradients, &mut send)?;
                let present = layout.places.iter().map(|place| gradients.contains_key(&place.name));
                let values = [report.loss, report.lab, report.ms_ssim].map(f64::to_bits);
                Ok(Outcome::Done(values, batch.ids.len() as u64, present.collect()))
            });
            let (outcome, own) = match computed {
                None => (Outcome::Idle, None),
                Some(Ok(outcome)) => (outcome, None),
                Some(Err(error)) => {
                    let (reason, bad_step) = (error.to_string(), error.is_bad_step());
                    (Outcome::Failed { reason, bad_step }, Some(error))
                }
            };
            let outcomes = self.outcomes(&outcome, own)?;
            self.communicator().exchange(&send, &mut receive)?;
            for (outcome, slice) in outcomes.iter().zip(receive.chunks_exact(layout.slice)) {
                let Outcome::Done(values, images, has) = outcome else { continue };
                let share = *images as f64 / size.images as f64;
                let [loss, lab, ms_ssim] = values.map(f64::from_bits);
                mean.loss += share * loss;
                mean.lab += share * lab;
                mean.ms_ssim += share * ms_ssim;
                present.iter_mut().zip(has).for_each(|(present, has)| *present |= has);
                match &mut sum {
                    None => sum = Some(slice.to_vec()),
                    Some(sum) => sum.iter_mut().zip(slice).for_each(|(sum, g)| *sum += g),
                }
            }
        }
        let Some(sum) = sum else { return Ok(mean) };
        self.communicator().concatenate(&sum, &mut receive)?;
        let gradients = layout.tensors(&receive, &present, trainer.model.parameters())?;
        trainer.update(&gradients)?;
        Ok(mean)
    }

    /// What all ranks say of their batches of a round.
    fn outcomes(&self, outcome: &Outcome, own: Option<TrainError>) -> Result<Vec<Outcome>> {
        let unreadable = |error: serde_json::Error| TrainError::Communication {
            reason: format!("what a rank says of its batch cannot be read: {error}"),
        };
        let said = serde_json::to_vec(outcome).map_err(unreadable)?;
        let all = self.communicator().all_gather(&said)?;
        let all = all.iter().map(|said| serde_json::from_slice::<Outcome>(said));
        let all = all.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?;
        for (rank, outcome) in all.iter().enumerate() {
            if let Outcome::Failed { reason, bad_step } = outcome {
                let (reason, bad_step) = (reason.clone(), *bad_step);
                // The first in the order of the batches, so that it is the same on any number of ranks.
                return Err(self.all_have(match own {
                    Some(own) if rank == self.rank() => own,
                    _ => TrainError::OtherRank { rank, reason, bad_step },
                }));
            }
        }
        Ok(all)
    }
}

/// Where gradients lie in one row of numbers.
struct Layout {
    places: Vec<Place>,
    /// Numbers of a rank's slice.
    slice: usize,
}

struct Place {
    name: String,
    start: usize,
    length: usize,
}

impl Layout {
    /// Of all parameters, in their order.
    fn new(parameters: &Parameters, ranks: usize) -> Self {
        let mut start = 0;
        let places = parameters.iter().map(|(name, parameter)| {
            let length = parameter.elem_count();
            start += length;
            Place { name: name.into(), start: start - length, length }
        });
        let places = places.collect();
        Self { places, slice: start.div_ceil(ranks).max(1) }
    }

    /// Writes the gradients to their places, and 0 where there is none.
    fn flatten(&self, gradients: &BTreeMap<String, Tensor>, row: &mut [f32]) -> Result<()> {
        for Place { name, start, length } in &self.places {
            let place = &mut row[*start..*start + *length];
            match gradients.get(name) {
                None => place.fill(0.0),
                Some(gradient) => {
                    let values = gradient.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                    place.copy_from_slice(&values);
                }
            }
        }
        Ok(())
    }

    /// The gradients that are `present`.
    fn tensors(
        &self,
        row: &[f32],
        present: &[bool],
        parameters: &Parameters,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut gradients = BTreeMap::new();
        for (place, _) in self.places.iter().zip(present).filter(|(_, present)| **present) {
            let Some(parameter) = parameters.get(&place.name) else { continue };
            let values = &row[place.start..place.start + place.length];
            let gradient = Tensor::from_slice(values, parameter.shape(), parameter.device())?;
            gradients.insert(place.name.clone(), gradient.to_dtype(parameter.dtype())?);
        }
        Ok(gradients)
    }
}
