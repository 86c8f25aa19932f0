//! Training steps on a GPU.
//!
//! A step is one static program per shape: forward, loss, backward, Adam, as one CUDA graph. Weights,
//! moments and the step's numbers live in GPU memory and are shared by the programs of all shapes;
//! nothing inside a step waits for the CPU, and losses come back through page-locked memory when they
//! are done.
//!
//! On several GPUs, one for each of as many processes (feature `nccl`), a step's program ends before
//! Adam's part. The gradients are added by NCCL, launched by itself, and a second program of Adam alone
//! follows: NCCL asks that an operation is captured on all ranks or on none, and a rank may be capturing
//! the program of a shape that another one has captured before or never sees.

mod options;
mod program;
mod together;
mod weights;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use cudarc::driver::{CudaEvent, result};
use half::bf16;

use super::{
    Device, PairPick, Precision, ResidentPairs,
    error::{CudaError, Doing},
    gpu::Gpu,
    kernels::{LossTerms, Pick, StepState},
    memory::{Buffer, Pinned, Plain},
    nccl::Ranks,
    network::{Shared, require_supported},
    parameters::Weights,
    prediction::Prediction,
    staging::Staging,
    tape::{Arena, Program, Tensor},
};
use crate::{CoreError, Model, ModelConfig};

pub use options::{Moments, StepReport, TrainingOptions};
use program::{Images, Key, Source, Step, flat_gradients};

type Result<T, E = CoreError> = std::result::Result<T, E>;

/// Steps whose losses may be on their way back at once.
const REPORTS: usize = 32;

// SAFETY: C structures of numbers without padding.
unsafe impl Plain for StepState {}
// SAFETY: as above.
unsafe impl Plain for Pick {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for Pick {}
// SAFETY: zeros are the first pixels of the first image.
unsafe impl cudarc::driver::ValidAsZeroBits for Pick {}

/// A step shared out over several GPUs.
struct Together {
    ranks: Ranks,
    /// Adam alone.
    update: Program,
}

/// What the CPU says of a step, as it lies in [`StepState`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Said {
    batches: u64,
    place: u64,
    learning_rate: f64,
    share: f64,
}

// SAFETY: numbers without padding.
unsafe impl Plain for Said {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for Said {}
// SAFETY: zeros are numbers.
unsafe impl cudarc::driver::ValidAsZeroBits for Said {}

/// A report on its way.
struct Pending {
    step: u64,
    slot: usize,
    event: CudaEvent,
}

/// A model being trained on a GPU.
///
/// All work is queued and methods return at once, but for those that say that they wait.
pub struct Training {
    config: ModelConfig,
    options: TrainingOptions,
    shared: Shared,
    /// The averaged parameters, if there are.
    average: Option<Shared>,
    moments: [Buffer; 2],
    state: Buffer,
    terms: Buffer,
    arena: Arena,
    steps: BTreeMap<Key, Step>,
    predictions: BTreeMap<[usize; 3], Prediction>,
    staging: Staging,
    /// Steps queued.
    step: u64,
    /// Of the next step.
    said: Said,
    /// What is in GPU memory once all queued work is done.
    sent: Said,
    /// On their way, one for each report that may be.
    saying: Pinned<Said>,
    /// None where this GPU computes alone.
    together: Option<Together>,
    /// Loss terms and state of the last steps.
    returned: Pinned<u8>,
    pending: VecDeque<Pending>,
    reports: VecDeque<StepReport>,
    /// Steps skipped up to the last report.
    skipped: u64,
    /// Picks on their way: page-locked, and when each is free again.
    picks: Vec<(Pinned<Pick>, Option<CudaEvent>)>,
    device: Device,
}

/// Bytes of one report: the state, then the loss.
const STATE: usize = size_of::<StepState>();
const REPORT: usize = STATE + 16;

impl Training {
    /// Starts from the parameters of `model`, which is not changed before [`Training::store`].
    ///
    /// # Errors
    /// A model option that CUDA does not support, or the GPU refuses.
    pub fn new(device: &Device, model: &Model, options: &TrainingOptions) -> Result<Self> {
        let config = model.config().clone();
        require_supported(model)?;
        let gpu = Arc::new(Gpu::new(device, &config.stack())?);
        let weights = Arc::new(Weights::new(device, model)?);
        let trained = weights.layout().trained();
        let floats = |what| Buffer::zeros(device, what, trained * size_of::<f32>());
        let rounded = || -> Result<_> {
            Ok(match options.precision {
                Precision::Bf16 => {
                    let bytes = trained * size_of::<bf16>();
                    Some(Arc::new(Buffer::zeros(device, "rounded weights", bytes)?))
                }
                _ => None,
            })
        };
        let precision = options.precision;
        let average = match options.average > 0.0 {
            true => Some(Shared {
                gpu: gpu.clone(),
                weights: Arc::new(Weights::new(device, model)?),
                rounded: rounded()?,
                gradients: None,
                precision,
            }),
            false => None,
        };
        let gradients = Some(Arc::new(floats("the gradients")?));
        let shared = Shared { gpu, weights, rounded: rounded()?, gradients, precision };
        let state = Buffer::zeros(device, "the state of the step", STATE)?;
        let learning_rate = options.learning_rate;
        let said = Said { batches: 1, place: 0, learning_rate, share: 1.0 };
        let training = Self {
            config,
            options: *options,
            moments: [floats("Adam's first moments")?, floats("Adam's second moments")?],
            state,
            terms: Buffer::zeros(device, "the loss", size_of::<LossTerms>())?,
            arena: Arena::new(device, "a training step"),
            steps: BTreeMap::new(),
            predictions: BTreeMap::new(),
            staging: Staging::new(device)?,
            step: 0,
            said,
            sent: said,
            saying: Pinned::zeros(device, REPORTS)?,
            together: None,
            returned: Pinned::zeros(device, REPORTS * REPORT)?,
            pending: VecDeque::new(),
            reports: VecDeque::new(),
            skipped: 0,
            picks: Vec::new(),
            device: device.clone(),
            shared,
            average,
        };
        training.write_state(0)?;
        training.shared.round_weights()?;
        Ok(training)
    }

    fn write_state(&self, updates: u64) -> Result<(), CudaError> {
        let Said { batches, place, learning_rate, share } = self.said;
        let state = StepState {
            step: self.step,
            batches,
            place,
            learning_rate,
            share,
            updates,
            skipped: self.skipped,
            not_finite: 0,
            beta1: self.options.beta1,
            beta2: self.options.beta2,
            epsilon: self.options.epsilon,
            clip_norm: self.options.clip_norm,
            scale: 1.0,
            backbone_rate: self.options.backbone_rate,
            heads_rate: self.options.heads_rate,
            max_loss: self.options.max_loss,
            average: self.options.average,
        };
        self.state.write(0, &[state])
    }

    fn read_state(&self) -> Result<StepState, CudaError> {
        let mut state = [StepState::default()];
        self.state.read(0, &mut state)?;
        Ok(state[0])
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Steps queued so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Bytes of GPU memory all programs share for activations, gradients between layers and scratch.
    pub fn arena_bytes(&self) -> usize {
        self.steps.values().map(|step| step.program.arena_bytes()).max().unwrap_or(0)
    }

    /// Bytes of GPU memory held for parameters, their gradients and moments, and the arena.
    pub fn memory(&self) -> usize {
        let flat = self.shared.weights.buffer().len()
            + self.shared.gradients.as_ref().map_or(0, |buffer| buffer.len())
            + self.shared.rounded.as_ref().map_or(0, |buffer| buffer.len());
        let average = self.average.as_ref().map_or(0, |average| average.weights.buffer().len());
        flat + average + self.moments.iter().map(Buffer::len).sum::<usize>() + self.arena.bytes()
    }

    /// Changes Adam's step size from the next step on; does not wait.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.said.learning_rate = learning_rate;
    }

    /// Queues the copy of what changed since the step before.
    fn send(&mut self, slot: usize) -> Result<(), CudaError> {
        if self.said == self.sent {
            return Ok(());
        }
        let said = &mut self.saying.values_mut()?[slot..=slot];
        said[0] = self.said;
        let to = self.state.pointer() + std::mem::offset_of!(StepState, batches) as u64;
        // SAFETY: inside the state; the slot is not written again before its step's report came back.
        unsafe { result::memcpy_htod_async(to, said, self.device.stream().cu_stream()) }
            .doing("copy to its memory")?;
        self.sent = self.said;
        Ok(())
    }

    /// Queues a step on images of this machine: input and target (N, 3, H, W) in [0, 1], `shape` =
    /// [N, H, W], H and W at least [`MIN_SIDE`]. Both have been read when it returns; their upload
    /// overlaps with the step before.
    ///
    /// # Errors
    /// Wrong sizes, not enough memory, or the GPU refuses.
    pub fn step(&mut self, input: &[f32], target: &[f32], shape: [usize; 3]) -> Result<()> {
        let [batch, height, width] = shape;
        let count = batch * 3 * height * width;
        if input.len() != count || target.len() != count {
            return Err(CoreError::Shape {
                what: "training images",
                found: vec![input.len(), target.len()],
                expected: format!("{count} numbers each, for {batch} images of {width}x{height}"),
            });
        }
        let key = (Source::Host, shape);
        self.require_step(key, None)?;
        let Some(Step { images: Images::Host { input: to, target: target_to }, .. }) =
            self.steps.get(&key)
        else {
            return Ok(());
        };
        let parts = [(input, to.pointer()), (target, target_to.pointer())];
        self.staging.upload(&parts)?;
        self.run(key)
    }

    /// Queues a step on pairs that live in GPU memory: crops of `size` (height, width) of the picked
    /// ones.
    ///
    /// # Errors
    /// A pick beyond its pair, not enough memory, or the GPU refuses.
    pub fn step_resident(
        &mut self,
        pairs: &ResidentPairs,
        picks: &[PairPick],
        size: (usize, usize),
    ) -> Result<()> {
        let stored = pairs.stored();
        let picked = pairs.picks(picks, size)?;
        self.device.bind()?;
        let source = Source::Resident(stored.address(), stored.len());
        let key = (source, [picks.len(), size.0, size.1]);
        self.require_step(key, Some(stored))?;
        let Some(Step { images: Images::Resident { picks: to }, .. }) = self.steps.get(&key) else {
            return Ok(());
        };
        let to = to.pointer();
        let number = self.step as usize % REPORTS;
        while self.picks.len() <= number {
            self.picks.push((Pinned::zeros(&self.device, picked.len())?, None));
        }
        let (pinned, free) = &mut self.picks[number];
        if let Some(free) = free {
            free.synchronize().doing("finish a copy")?;
        }
        if pinned.values()?.len() < picked.len() {
            *pinned = Pinned::zeros(&self.device, picked.len())?;
        }
        pinned.values_mut()?[..picked.len()].copy_from_slice(&picked);
        let stream = self.device.stream();
        // SAFETY: the target has room for the picks of its shape, the source stays until `free`.
        unsafe {
            let values = &pinned.values()?[..picked.len()];
            result::memcpy_htod_async(to, values, stream.cu_stream())
        }
        .doing("copy to its memory")?;
        *free = Some(stream.record_event(None).doing("record an event")?);
        self.run(key)
    }

    /// Queues the program and the way back of its report.
    fn run(&mut self, key: Key) -> Result<()> {
        self.begin()?;
        let execution = self.options.execution;
        let Some(step) = self.steps.get_mut(&key) else { return Ok(()) };
        step.program.run(&mut self.arena, execution)?;
        self.end()
    }

    /// Queues what the step's program reads.
    fn begin(&mut self) -> Result<()> {
        if self.pending.len() == REPORTS {
            self.take_report(true)?;
        }
        Ok(self.send(self.step as usize % REPORTS)?)
    }

    /// Queues what follows the step's own program on several GPUs, and the way back of its report.
    fn end(&mut self) -> Result<()> {
        let slot = self.step as usize % REPORTS;
        if let Some(Together { ranks, update }) = &mut self.together {
            let (gradients, terms) = flat_gradients(&self.shared, &self.terms);
            ranks.sum(&[gradients, terms.cast()])?;
            update.run(&mut self.arena, self.options.execution)?;
        }
        let stream = self.device.stream();
        let address = self.returned.address()? as usize + slot * REPORT;
        for (from, offset, bytes) in
            [(&self.state, 0, STATE), (&self.terms, STATE, size_of::<LossTerms>())]
        {
            // SAFETY: the slot is inside the page-locked memory and free: its last report was taken.
            unsafe {
                let to = std::slice::from_raw_parts_mut((address + offset) as *mut u8, bytes);
                result::memcpy_dtoh_async(to, from.pointer(), stream.cu_stream())
            }
            .doing("copy from its memory")?;
        }
        let event = stream.record_event(None).doing("record an event")?;
        self.pending.push_back(Pending { step: self.step, slot, event });
        self.step += 1;
        Ok(())
    }

    /// Moves the oldest report that is on its way to those that are here; `false` if it is not done.
    fn take_report(&mut self, wait: bool) -> Result<bool, CudaError> {
        let Some(pending) = self.pending.front() else { return Ok(false) };
        if !wait && !pending.event.try_is_complete().doing("run a step")? {
            return Ok(false);
        }
        pending.event.synchronize().doing("run a step")?;
        let bytes = &self.returned.values()?[pending.slot * REPORT..][..REPORT];
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let float = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[STATE + at..STATE + at + 4]);
            f32::from_ne_bytes(word)
        };
        let skipped = word(std::mem::offset_of!(StepState, skipped));
        self.reports.push_back(StepReport {
            step: pending.step,
            loss: float(std::mem::offset_of!(LossTerms, total)),
            lab: float(std::mem::offset_of!(LossTerms, lab)),
            ms_ssim: float(std::mem::offset_of!(LossTerms, ms_ssim)),
            finite: skipped == self.skipped,
        });
        self.skipped = skipped;
        self.pending.pop_front();
        Ok(true)
    }

    /// Reports of the steps that are done, oldest first, each once; does not wait.
    ///
    /// # Errors
    /// A queued step failed.
    pub fn reports(&mut self) -> Result<Vec<StepReport>> {
        while self.take_report(false)? {}
        Ok(self.reports.drain(..).collect())
    }

    /// Waits for all queued steps; the reports that were not fetched yet.
    ///
    /// # Errors
    /// A queued step failed.
    pub fn finish(&mut self) -> Result<Vec<StepReport>> {
        while self.take_report(true)? {}
        Ok(self.reports.drain(..).collect())
    }

    /// Enhances images with the parameters (their average, where there is one) as they are after the
    /// queued steps, without dropout:
    /// `input` (N, 3, H, W), `shape` = [N, H, W]. Waits for the result, of the same size.
    ///
    /// # Errors
    /// Wrong sizes, not enough memory, or the GPU refuses.
    pub fn predict(&mut self, input: &[f32], shape: [usize; 3]) -> Result<Vec<f32>> {
        if let Some(average) = &self.average {
            average.round_weights()?;
        }
        if !self.predictions.contains_key(&shape) {
            let shared = self.average.as_ref().unwrap_or(&self.shared);
            let prediction = Prediction::new(shared, &self.config, shape)?;
            self.predictions.insert(shape, prediction);
        }
        let Some(prediction) = self.predictions.get_mut(&shape) else { return Ok(Vec::new()) };
        self.staging.upload(&[(input, prediction.input(input.len())?)])?;
        Ok(prediction.run(&mut self.arena, self.options.execution)?.0)
    }

    /// The output of the last step of `shape` = [N, H, W] on images of this machine, before its
    /// update, and its raw parameters (N, raw_len). Waits for queued steps.
    ///
    /// # Errors
    /// No such step was made, or the GPU refuses.
    pub fn last_output(&self, shape: [usize; 3]) -> Result<(Vec<f32>, Vec<f32>)> {
        let Some(step) = self.steps.get(&(Source::Host, shape)) else {
            let expected = "the shape of a step that was made".into();
            let found = format!("{shape:?}");
            return Err(CudaError::Argument { what: "shape of a step", found, expected }.into());
        };
        let read = |tensor: Tensor| -> Result<Vec<f32>, CudaError> {
            let mut values = vec![0.0; tensor.bytes() / size_of::<f32>()];
            step.program.read(tensor, &mut values)?;
            Ok(values)
        };
        Ok((read(step.output)?, read(step.raw)?))
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // Queued work names the buffers. An error at the end has nobody to go to.
        let _ = self.device.synchronize();
    }
}
