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

mod together;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use candle_core::Tensor as CandleTensor;
use cudarc::driver::{CudaEvent, result};
use half::bf16;

use super::{
    Device, Execution, PairPick, Precision, ResidentPairs,
    error::{CudaError, Doing},
    gpu::Gpu,
    kernels::{Dropout, LossSettings, LossTerms, Pick, StepState, loss_workspace},
    memory::{Buffer, Pinned, Plain},
    nccl::Ranks,
    network::{
        Backbone, Filters, GatePenalty, HeadInput, Maps, Number, Recorder, Shared,
        require_supported,
    },
    parameters::Weights,
    prediction::Prediction,
    span::Span,
    staging::Staging,
    tape::{Arena, Program, Tape, Tensor},
};
use crate::{CoreError, LossConfig, MIN_SIDE, Model, ModelConfig};

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

/// Everything a training step is computed with but the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingOptions {
    /// Weights of the loss.
    pub loss: LossConfig,
    /// Weight of the mean gate in the loss; without effect in a model without gates.
    pub gate: f64,
    /// Adam's step size; [`Training::set_learning_rate`] changes it.
    pub learning_rate: f64,
    /// Decay of Adam's first moment.
    pub beta1: f64,
    /// Decay of Adam's second moment.
    pub beta2: f64,
    /// Added to the root of Adam's second moment.
    pub epsilon: f64,
    /// Most that the L2 norm of the whole gradient may be; a larger one is scaled down to it. 0: no
    /// limit.
    pub clip_norm: f64,
    /// Times the learning rate for the backbone; 0 freezes it.
    pub backbone_rate: f64,
    /// Times the learning rate for the heads; 0 freezes them.
    pub heads_rate: f64,
    /// Largest loss; a step above it changes nothing.
    pub max_loss: f64,
    /// Decay of a moving average of the parameters, which [`Training::predict`] then uses: after update
    /// t (from 1) a <- d a + (1 - d) w with d = min(this, (1 + t) / (10 + t)). 0: none.
    pub average: f64,
    /// Seed of dropout; the masks are those of the CPU for the same seed and step.
    pub seed: u64,
    /// Numbers of the convolutions.
    pub precision: Precision,
    /// One graph or launch by launch; the bits are the same.
    pub execution: Execution,
}

impl Default for TrainingOptions {
    /// The release's.
    fn default() -> Self {
        Self {
            loss: LossConfig::default(),
            gate: 0.0,
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 0.0,
            backbone_rate: 1.0,
            heads_rate: 1.0,
            max_loss: f64::INFINITY,
            average: 0.0,
            seed: 0,
            precision: Precision::Fp32,
            execution: Execution::Graph,
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 0.
    pub step: u64,
    /// The loss before the update.
    pub loss: f32,
    /// Its mean absolute difference in scaled CIELAB.
    pub lab: f32,
    /// Its MS-SSIM.
    pub ms_ssim: f32,
    /// Whether loss and gradient were finite numbers and the loss at most
    /// [`TrainingOptions::max_loss`]; if not, parameters and moments were left as they were.
    pub finite: bool,
}

/// Adam's moments by parameter name, and how many updates made them.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Updates made.
    pub updates: u64,
    /// Running means of the gradients.
    pub first: BTreeMap<String, CandleTensor>,
    /// Running means of their squares.
    pub second: BTreeMap<String, CandleTensor>,
}

/// Where a program's images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Host,
    /// Address and bytes of a resident data set.
    Resident(u64, usize),
}

type Key = (Source, [usize; 3]);

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

/// The program of one shape.
struct Step {
    program: Program,
    images: Images,
    raw: Tensor,
    output: Tensor,
}

/// Memory that outlives a run: what the program reads its images from.
enum Images {
    /// Inputs and targets, (N, 3, H, W) each.
    Host { input: Buffer, target: Buffer },
    /// Picks of inputs and targets.
    Resident { picks: Buffer },
}

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

/// The gradients and the loss of a step.
fn flat_gradients(shared: &Shared, terms: &Buffer) -> (Span<f32>, Span<LossTerms>) {
    let trained = shared.weights.layout().trained();
    let gradients = shared.gradients.as_deref().unwrap_or(shared.weights.buffer());
    (Span::new(gradients.pointer(), trained), Span::new(terms.pointer(), 1))
}

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

    /// Copies the parameters into `model`, which has the same configuration. Waits for queued steps.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn store(&self, model: &Model) -> Result<()> {
        self.shared.weights.layout().store(&self.shared.weights.read()?, model)
    }

    /// Copies the parameters of `model`, which has the same configuration, to the GPU.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn load(&mut self, model: &Model) -> Result<()> {
        let flat = self.shared.weights.layout().flatten(model)?;
        self.shared.weights.buffer().write(0, &flat)?;
        Ok(self.shared.round_weights()?)
    }

    /// As [`Training::store`], of the averaged parameters; nothing where there are none.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn store_average(&self, model: &Model) -> Result<()> {
        let Some(Shared { weights, .. }) = &self.average else { return Ok(()) };
        weights.layout().store(&weights.read()?, model)
    }

    /// As [`Training::load`], of the averaged parameters; nothing where there are none.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn load_average(&mut self, model: &Model) -> Result<()> {
        let Some(Shared { weights, .. }) = &self.average else { return Ok(()) };
        Ok(weights.buffer().write(0, &weights.layout().flatten(model)?)?)
    }

    /// Adam's moments. Waits for queued steps.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn moments(&self) -> Result<Moments> {
        let layout = self.shared.weights.layout();
        let read = |buffer: &Buffer| {
            let mut flat = vec![0.0; layout.trained()];
            buffer.read(0, &mut flat)?;
            layout.tensors(&flat)
        };
        let updates = self.read_state()?.updates;
        Ok(Moments { updates, first: read(&self.moments[0])?, second: read(&self.moments[1])? })
    }

    /// Goes on from saved moments after `step` steps: with the parameters of that moment loaded, the
    /// next steps have the bits they would have had.
    ///
    /// # Errors
    /// A moment of another shape than its parameter, or the GPU refuses.
    pub fn restore(&mut self, step: u64, moments: &Moments) -> Result<()> {
        let layout = self.shared.weights.layout();
        self.moments[0].write(0, &layout.flatten_tensors(&moments.first)?)?;
        self.moments[1].write(0, &layout.flatten_tensors(&moments.second)?)?;
        while self.take_report(true)? {}
        self.step = step;
        self.sent = self.said;
        Ok(self.write_state(moments.updates)?)
    }

    /// Gradients of the last step by parameter name. Waits for queued steps.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn gradients(&self) -> Result<BTreeMap<String, CandleTensor>> {
        let layout = self.shared.weights.layout();
        let mut flat = vec![0.0; layout.trained()];
        if let Some(gradients) = &self.shared.gradients {
            gradients.read(0, &mut flat)?;
        }
        layout.tensors(&flat)
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

    fn require_step(&mut self, key: Key, stored: Option<Span<u8>>) -> Result<()> {
        if self.steps.contains_key(&key) {
            return Ok(());
        }
        let [_, height, width] = key.1;
        if height < MIN_SIDE || width < MIN_SIDE {
            return Err(CoreError::ImageTooSmall { height, width, least: MIN_SIDE });
        }
        let step = match self.options.precision {
            Precision::Bf16 => self.record::<bf16>(key.1, stored)?,
            Precision::Fp32 | Precision::Tf32 => self.record::<f32>(key.1, stored)?,
        };
        self.steps.insert(key, step);
        Ok(())
    }

    /// Records and lays out the program of one shape.
    fn record<T: Number>(
        &self,
        [batch, height, width]: [usize; 3],
        stored: Option<Span<u8>>,
    ) -> Result<Step, CudaError> {
        let recorder = &mut Recorder::new(&self.shared, true)?;
        let gpu = recorder.gpu();
        let shape = [batch, 3, height, width];
        let input = recorder.maps::<f32>(shape, 1);
        let (target, images) = match stored {
            None => self.record_host(recorder, input)?,
            Some(stored) => self.record_resident(recorder, input, stored)?,
        };
        let rounded = T::image(recorder, input);
        let state = Span::<StepState>::new(self.state.pointer(), 1);
        let dropout = Dropout { probability: self.config.dropout, seed: self.options.seed, state };
        let heads = HeadInput::<T>::new(recorder, &self.config, batch, Some(dropout), None);
        let (seen, levels) = ((input, rounded), heads.encoder());
        let backbone = Backbone::<T>::record(recorder, self.config.widths, seen, &levels, None)?;
        let seen = (backbone.residual, backbone.image);
        let filters = Filters::<T>::record(recorder, &self.config, heads, seen)?;
        let gradient = self.record_loss(recorder, filters.output, target)?;
        let terms = Span::new(self.terms.pointer(), 1);
        let penalty = GatePenalty { weight: self.options.gate, terms };
        let seen = filters.backward(recorder, gradient, penalty)?;
        let through_image = backbone.backward_image(recorder, seen.image)?;
        filters.backward_weights(recorder)?;
        backbone.backward(recorder, through_image, Some(seen.residual), &seen.levels)?;
        match &self.together {
            None => self.record_update(&mut recorder.tape),
            Some(_) => {
                let (gradients, terms) = flat_gradients(&self.shared, &self.terms);
                recorder.tape.push("weighing of the gradients", [], move |[]| {
                    gpu.kernels.weigh(gpu.stream(), gradients, terms, state)
                });
            }
        }
        recorder.tape.keep(filters.raw);
        recorder.tape.keep(filters.output.tensor);
        let (raw, output) = (filters.raw, filters.output.tensor);
        let tape = std::mem::take(&mut recorder.tape);
        Ok(Step { program: tape.compile(&self.device), images, raw, output })
    }

    /// Records Adam's part of a step.
    fn record_update(&self, tape: &mut Tape) {
        let trained = self.shared.weights.layout().trained();
        let flat = |buffer: &Buffer| Span::<f32>::new(buffer.pointer(), trained);
        let parameters = flat(self.shared.weights.buffer());
        let (gradients, terms) = flat_gradients(&self.shared, &self.terms);
        let moments = [flat(&self.moments[0]), flat(&self.moments[1])];
        let rounded = self.shared.rounded.as_ref();
        let rounded = rounded.map(|buffer| Span::<bf16>::new(buffer.pointer(), trained));
        let average = self.average.as_ref().map(|shared| flat(shared.weights.buffer()));
        let heads_first = self.shared.weights.layout().heads_first();
        let state = Span::<StepState>::new(self.state.pointer(), 1);
        let gpu = self.shared.gpu.clone();
        tape.push("Adam", [], move |[]| {
            let (stream, kernels) = (gpu.stream(), &gpu.kernels);
            let scratch = gpu.scratch();
            kernels.check_finite(stream, gradients, heads_first, terms, state, scratch)?;
            kernels.adam(
                stream,
                parameters,
                gradients,
                moments,
                rounded,
                average,
                heads_first,
                state,
                scratch,
            )
        });
    }

    fn record_host(
        &self,
        recorder: &mut Recorder,
        input: Maps<f32>,
    ) -> Result<(Maps<f32>, Images), CudaError> {
        let shape = input.shape();
        let bytes = shape.iter().product::<usize>() * size_of::<f32>();
        let buffer = || Buffer::zeros(&self.device, "images of a step", bytes);
        let (from, target) = (buffer()?, buffer()?);
        let maps = |recorder: &mut Recorder, buffer: &Buffer| {
            Maps::<f32>::of(recorder.tape.fixed(buffer.pointer(), bytes), shape, 0)
        };
        let arrived = maps(recorder, &from);
        recorder.convert(arrived, input);
        let target_maps = maps(recorder, &target);
        Ok((target_maps, Images::Host { input: from, target }))
    }

    fn record_resident(
        &self,
        recorder: &mut Recorder,
        input: Maps<f32>,
        stored: Span<u8>,
    ) -> Result<(Maps<f32>, Images), CudaError> {
        let gpu = recorder.gpu();
        let batch = input.batch;
        let bytes = 2 * batch * size_of::<Pick>();
        let buffer = Buffer::zeros(&self.device, "picks of a step", bytes)?;
        let picks = Span::<Pick>::new(buffer.pointer(), 2 * batch);
        let target = recorder.maps::<f32>(input.shape(), 0);
        recorder.tape.push("fetch pairs", [input.tensor, target.tensor], move |[a, b]| {
            let (kernels, stream) = (&gpu.kernels, gpu.stream());
            let (input, target) = (input.planes(a)?, target.planes(b)?);
            kernels.fetch_images(stream, stored, picks.part(0, batch)?, input)?;
            kernels.fetch_images(stream, stored, picks.part(batch, batch)?, target)
        });
        Ok((target, Images::Resident { picks: buffer }))
    }

    /// Records the loss; the gradient of `output`.
    fn record_loss(
        &self,
        recorder: &mut Recorder,
        output: Maps<f32>,
        target: Maps<f32>,
    ) -> Result<Maps<f32>, CudaError> {
        let gpu = recorder.gpu();
        let [batch, _, height, width] = output.shape();
        let workspace = recorder.tape.tensor(loss_workspace(batch, height, width)?);
        let gradient = recorder.maps::<f32>(output.shape(), 0);
        let settings = LossSettings::new(self.options.loss, self.config.fixes);
        let terms = Span::<LossTerms>::new(self.terms.pointer(), 1);
        let tensors = [output.tensor, target.tensor, gradient.tensor, workspace];
        recorder.tape.push("loss", tensors, move |[a, b, c, d]| {
            let (output, target, gradient) =
                (output.planes(a)?, target.planes(b)?, gradient.planes(c)?);
            let stream = gpu.stream();
            // The workspace is the arena's: its counter holds whatever was there before.
            // SAFETY: the workspace has more than four bytes.
            unsafe { result::memset_d8_async(d.pointer(), 0, 4, stream.cu_stream()) }
                .doing("clear memory")?;
            let gradient = Some(gradient);
            gpu.kernels.loss(stream, output, target, settings, terms, gradient, d.span())
        });
        Ok(gradient)
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
