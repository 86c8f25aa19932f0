//! The program of a step.

use half::bf16;

use super::{
    super::{
        Precision,
        error::{CudaError, Doing},
        kernels::{Dropout, LossSettings, LossTerms, Pick, StepState, loss_workspace},
        memory::Buffer,
        network::{Backbone, Filters, GatePenalty, HeadInput, Maps, Number, Recorder, Shared},
        span::Span,
        tape::{Program, Tape, Tensor},
    },
    Result, Training,
};
use crate::{CoreError, MIN_SIDE};
use cudarc::driver::result;

/// Where a program's images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Host,
    /// Address and bytes of a resident data set.
    Resident(u64, usize),
}

pub(super) type Key = (Source, [usize; 3]);

/// The program of one shape.
pub(super) struct Step {
    pub program: Program,
    pub images: Images,
    pub raw: Tensor,
    pub output: Tensor,
}

/// Memory that outlives a run: what the program reads its images from.
pub(super) enum Images {
    /// Inputs and targets, (N, 3, H, W) each.
    Host { input: Buffer, target: Buffer },
    /// Picks of inputs and targets.
    Resident { picks: Buffer },
}

/// The gradients and the loss of a step.
pub(super) fn flat_gradients(shared: &Shared, terms: &Buffer) -> (Span<f32>, Span<LossTerms>) {
    let trained = shared.weights.layout().trained();
    let gradients = shared.gradients.as_deref().unwrap_or(shared.weights.buffer());
    (Span::new(gradients.pointer(), trained), Span::new(terms.pointer(), 1))
}

impl Training {
    pub(super) fn require_step(&mut self, key: Key, stored: Option<Span<u8>>) -> Result<()> {
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
    pub(super) fn record_update(&self, tape: &mut Tape) {
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
}
