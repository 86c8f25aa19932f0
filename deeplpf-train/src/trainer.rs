//! One optimiser step at a time.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use deeplpf_core::{
    CoreError, LossConfig, Mode, Model, StepLoss, StepSettings, TrainingStep, loss,
};

use crate::{
    Adam, AdamConfig, Average, Batch, Result, ScheduleConfig, StepEngine, TrainError,
    adam::first_not_finite,
};

/// Weight of the mean gate in the loss of a model with gates: the documented penalty that keeps
/// filters closed unless they help.
pub(crate) const GATE_WEIGHT: f64 = 3e-3;

/// A model, its optimiser and what a step needs to know.
#[derive(Clone, Debug)]
pub struct Trainer {
    /// The model; its parameters change with every step.
    pub model: Model,
    /// The optimiser.
    pub adam: Adam,
    /// Weights of the loss.
    pub loss: LossConfig,
    /// Seed of dropout.
    pub seed: u64,
    /// The learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Steps the whole run will take, for the schedules that depend on it.
    pub steps: u64,
    /// The moving average of the weights, if there is one.
    pub average: Option<Average>,
    /// A loss above this is an error before any parameter is changed; infinite: no limit.
    pub max_loss: f64,
    /// What computes loss and gradients.
    pub engine: StepEngine,
    /// The memory of [`StepEngine::Direct`], made by the first step.
    pub direct: Option<TrainingStep>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss before the step.
    pub loss: f64,
    /// Its mean absolute Lab difference.
    pub lab: f64,
    /// Its MS-SSIM.
    pub ms_ssim: f64,
}

impl Trainer {
    /// No steps taken; a constant learning rate, no average, no limit of the loss.
    pub fn new(model: Model, adam: AdamConfig, loss: LossConfig, seed: u64) -> Self {
        Self {
            model,
            adam: Adam::new(adam),
            loss,
            seed,
            schedule: ScheduleConfig::default(),
            steps: 0,
            average: None,
            max_loss: f64::INFINITY,
            engine: StepEngine::default(),
            direct: None,
        }
    }

    /// The weights to judge and to ship: the average where there is one.
    pub fn best_model(&self) -> &Model {
        self.average.as_ref().map_or(&self.model, Average::model)
    }

    /// One optimiser step over a batch: [`Trainer::step_over`] of it alone.
    ///
    /// # Errors
    /// As there.
    pub fn step(&mut self, batch: &Batch, epoch: u64) -> Result<StepReport> {
        self.step_over(std::slice::from_ref(batch), epoch)
    }

    /// Forward, loss, backward of each batch, then Adam with their mean gradient, every image counting
    /// the same. The report is the mean over the images. The output is clamped to [0, 1] before the loss, as in the
    /// release.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] or [`TrainError::Exploding`] before any parameter is changed, if the
    /// loss or a gradient is not a finite number, or the loss above [`Trainer::max_loss`]; `epoch`
    /// (from 0) is only reported.
    pub fn step_over(&mut self, batches: &[Batch], epoch: u64) -> Result<StepReport> {
        let images = batches.iter().map(|batch| batch.ids.len()).sum::<usize>() as f64;
        let mut mean = StepReport { loss: 0.0, lab: 0.0, ms_ssim: 0.0 };
        let mut sum: Option<BTreeMap<String, Tensor>> = None;
        for (number, batch) in batches.iter().enumerate() {
            let share = batch.ids.len() as f64 / images;
            // Every batch of a step draws its own dropout; a step of one batch draws as ever.
            let draw = self.adam.steps() * batches.len() as u64 + number as u64;
            let (report, gradients) = self.gradients(batch, share, draw, epoch)?;
            mean.loss += share * report.loss;
            mean.lab += share * report.lab;
            mean.ms_ssim += share * report.ms_ssim;
            sum = Some(match sum {
                None => gradients,
                Some(sum) => add(sum, gradients)?,
            });
        }
        let Some(gradients) = sum else { return Ok(mean) };
        self.update(&gradients)?;
        Ok(mean)
    }

    /// A step of the optimiser, and of the average, with these gradients.
    pub(crate) fn update(&mut self, gradients: &BTreeMap<String, Tensor>) -> Result<()> {
        let share = self.schedule.share(self.adam.steps(), self.steps);
        self.adam.step(self.model.parameters(), gradients, share)?;
        if let Some(average) = &self.average {
            average.update(&self.model, self.adam.steps())?;
        }
        Ok(())
    }

    /// The learning rate of the next step, of a group whose own rate is 1.
    pub fn learning_rate(&self) -> f64 {
        self.adam.learning_rate() * self.schedule.share(self.adam.steps(), self.steps)
    }

    /// The loss of a batch and the gradient of `share` times it. `draw` numbers its dropout, `epoch`
    /// (from 0) is only reported.
    pub(crate) fn gradients(
        &mut self,
        batch: &Batch,
        share: f64,
        draw: u64,
        epoch: u64,
    ) -> Result<(StepReport, BTreeMap<String, Tensor>)> {
        let step = self.adam.steps();
        let not_finite = |what: String, value: f64| TrainError::NotFinite {
            step,
            epoch: epoch + 1,
            ids: batch.ids.join(", "),
            what,
            value,
        };
        let evaluated = match self.engine {
            StepEngine::Direct => self.direct_loss(batch, draw, share),
            StepEngine::Graph => self.graph_loss(batch, draw, share),
        };
        let value = evaluated.map_err(|error| match error {
            TrainError::Core(CoreError::NotFinite) => {
                not_finite("network's prediction of the filters".into(), f64::NAN)
            }
            other => other,
        })?;
        let Evaluated { loss: StepLoss { total: loss, lab, ms_ssim }, gradients } = value;
        if !loss.is_finite() {
            return Err(not_finite("loss".into(), loss));
        }
        if loss > self.max_loss {
            return Err(TrainError::Exploding {
                step,
                epoch: epoch + 1,
                ids: batch.ids.join(", "),
                loss,
                limit: self.max_loss,
            });
        }
        let gradients = gradients(self)?;
        for (name, gradient) in &gradients {
            if let Some(value) = first_not_finite(gradient)? {
                return Err(not_finite(format!("gradient of {name}"), value));
            }
        }
        Ok((StepReport { loss, lab, ms_ssim }, gradients))
    }

    /// Loss and gradients by [`TrainingStep`].
    fn direct_loss(&mut self, batch: &Batch, step: u64, share: f64) -> Result<Evaluated> {
        let Self { model, direct, loss, seed, .. } = self;
        let program = match direct.take() {
            Some(program) if program.fits(model) => direct.insert(program),
            _ => direct.insert(TrainingStep::new(model)?),
        };
        let settings = StepSettings { loss: *loss, gate: GATE_WEIGHT, seed: *seed, step };
        let loss = program.run(model, &batch.input, &batch.target, &settings)?;
        let gradients = move |trainer: &Self| {
            let Some(program) = &trainer.direct else { return Ok(BTreeMap::new()) };
            let mut gradients = program.gradients()?;
            if share != 1.0 {
                for gradient in gradients.values_mut() {
                    *gradient = (&*gradient * share)?;
                }
            }
            Ok(gradients)
        };
        Ok(Evaluated { loss, gradients: Box::new(gradients) })
    }

    /// Loss and gradients by candle's graph.
    fn graph_loss(&self, batch: &Batch, step: u64, share: f64) -> Result<Evaluated> {
        let mode = Mode::Train { seed: self.seed, step };
        let prediction = self.model.forward(&batch.input, mode)?;
        let output = prediction.output.clamp(0.0, 1.0)?;
        let value = loss(&output, &batch.target, &self.loss, self.model.config().fixes)?;
        let mut total = value.total;
        if let Some(gate) = prediction.mean_gate(self.model.config())? {
            total = (total + (gate * GATE_WEIGHT)?)?;
        }
        let loss = StepLoss {
            total: total.to_dtype(DType::F64)?.to_scalar::<f64>()?,
            lab: value.lab,
            ms_ssim: value.ms_ssim,
        };
        let gradients = move |trainer: &Self| {
            if share != 1.0 {
                total = (total * share)?;
            }
            let gradients = total.backward()?;
            let named = trainer.model.parameters().iter().filter_map(|(name, parameter)| {
                Some((name.to_string(), gradients.get(parameter)?.clone()))
            });
            Ok(named.collect())
        };
        Ok(Evaluated { loss, gradients: Box::new(gradients) })
    }
}

/// The sum of two sets of gradients by name.
fn add(
    mut sum: BTreeMap<String, Tensor>,
    gradients: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    for (name, gradient) in gradients {
        let total = match sum.get(&name) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        sum.insert(name, total);
    }
    Ok(sum)
}

/// Gradients by name, computed when the loss is found to be good.
type Gradients = Box<dyn FnOnce(&Trainer) -> Result<BTreeMap<String, Tensor>>>;

/// A loss, and the way to its gradients.
struct Evaluated {
    loss: StepLoss,
    gradients: Gradients,
}
