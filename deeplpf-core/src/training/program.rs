//! The order of a step: backbone, heads, filters, loss, and the same backwards.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use deeplpf_filters::{FilterStack, Real, StackConfig};

use super::{
    StepLoss, StepSettings,
    backbone::{Backbone, BackbonePass},
    head_input::{Features, HeadInput},
    heads::{HeadOutput, Stage, StagePass, View, shared_gradient},
    layers::{Context, Layout, Size},
    pool::{Buffer, Pool},
};
use crate::{
    CoreError, Fix, MIN_SIDE, Model, ModelConfig, Result,
    loss::{LastScale, evaluate_into},
    ops::{
        Element,
        colour_stage::{self, RAW_LEN},
        resize_sum::{Source, resize_sum_into, resize_transpose},
        with_elements,
    },
    simd::{Instructions, Lanes},
};

/// Types a step is computed in.
pub(super) trait Number: Lanes + Real {}
impl Number for f32 {}
impl Number for f64 {}

/// Least side of an image in the loss: MS-SSIM halves four times.
const LEAST_LOSS_SIDE: usize = 16;

/// The layers of a model, its numbers and the memory of a step.
#[derive(Clone)]
pub(super) struct Program<T> {
    config: ModelConfig,
    stack: StackConfig,
    layout: Layout,
    unused: BTreeSet<String>,
    backbone: Backbone,
    features: Features,
    /// The colour head, the polynomial head, the two local heads.
    colour: Option<Stage>,
    polynomial: Option<Stage>,
    local: Option<Stage>,
    weights: Vec<T>,
    gradients: Vec<T>,
    pool: Pool<T>,
}

/// Images and filter numbers of a forward pass.
struct Filtered<T> {
    /// Y1; after the colour stage, if there is one.
    input: Buffer<T>,
    /// Y1 itself and the colour stage's numbers, if there is one.
    coloured: Option<(Buffer<T>, Vec<T>)>,
    /// (N, raw_len).
    raw: Vec<T>,
}

/// What the forward passes of the stages left.
#[derive(Default)]
struct Passes<T> {
    colour: Option<StagePass<T>>,
    polynomial: Option<StagePass<T>>,
    local: Option<StagePass<T>>,
}

impl<T: Number> Program<T> {
    pub fn new(model: &Model) -> Result<Self> {
        let config = model.config().clone();
        let layout = Layout::new(model.parameters());
        let stack = config.stack();
        let mut heads: Vec<(&str, u64, bool)> = Vec::new();
        for (name, stream, count) in
            [("graduated", 1, config.graduated), ("elliptical", 2, config.elliptical)]
        {
            if count > 0 {
                heads.push((name, stream, config.gates));
            }
        }
        let local = Stage::new(&layout, &config, &heads, View::Image)?;
        let cubic = !stack.polynomial_range().is_empty();
        let view = if config.colour { View::Image } else { View::Backbone };
        let one = |wanted: bool, name, stream, view| match wanted {
            true => Stage::new(&layout, &config, &[(name, stream, false)], view),
            false => Ok(None),
        };
        let polynomial = one(cubic, "cubic", 0, view)?;
        let colour = one(config.colour, "colour", 3, View::Backbone)?;
        let any = local.is_some() || polynomial.is_some() || colour.is_some();
        Ok(Self {
            backbone: Backbone::new(&layout, &config)?,
            features: Features::new(&layout, &config, any)?,
            unused: model.unused_parameters().map(String::from).collect(),
            weights: vec![T::zero(); layout.length],
            gradients: vec![T::zero(); layout.length],
            pool: Pool::default(),
            config,
            stack,
            layout,
            colour,
            polynomial,
            local,
        })
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn memory(&self) -> usize {
        2 * self.layout.length * size_of::<T>() + self.pool.bytes()
    }

    /// The size of a batch, if both images fit each other and the network.
    pub fn check(&self, input: &[usize], target: &[usize]) -> Result<Size> {
        let kind = self.config.input;
        let refuse = |what, found: &[usize], expected: String| {
            Err(CoreError::Shape { what, found: found.to_vec(), expected })
        };
        let &[batch, channels, height, width] = input else {
            return refuse("network input", input, "four dimensions".into());
        };
        if channels != kind.channels() || batch == 0 {
            let expected = format!("(N, {}, H, W) with N at least 1", kind.channels());
            return refuse("network input", input, expected);
        }
        if height < MIN_SIDE || width < MIN_SIDE {
            return Err(CoreError::ImageTooSmall { height, width, least: MIN_SIDE });
        }
        const { assert!(MIN_SIDE >= LEAST_LOSS_SIDE) };
        let expected = [batch, 3, kind.scale() * height, kind.scale() * width];
        if target != expected {
            return refuse("loss target", target, format!("{expected:?}"));
        }
        Ok(Size { batch, height, width })
    }

    /// Copies the parameters of a model of the same configuration.
    pub fn read_parameters(&mut self, model: &Model) -> Result<()> {
        for (name, range, _) in self.layout.iter() {
            let Some(variable) = model.parameters().get(name) else {
                return Err(CoreError::Config(format!("the model has no parameter {name}")));
            };
            let to = &mut self.weights[range.clone()];
            with_elements::<T, _>(variable.as_tensor(), |from| {
                to.copy_from_slice(from);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// See [`super::TrainingStep::gradients`].
    pub fn gradients(&self) -> Result<BTreeMap<String, Tensor>> {
        let used = self.layout.iter().filter(|(name, ..)| !self.unused.contains(*name));
        used.map(|(name, range, shape)| {
            let values = &self.gradients[range.clone()];
            Ok((name.to_string(), Tensor::from_slice(values, shape, &Device::Cpu)?))
        })
        .collect()
    }

    /// One step; see [`super::TrainingStep::run`].
    pub fn run(
        &mut self,
        (input, target): (&[T], &[T]),
        size: Size,
        settings: &StepSettings,
    ) -> Result<StepLoss> {
        let instructions = Instructions::selected()?;
        let (mut pool, mut gradients) =
            (std::mem::take(&mut self.pool), std::mem::take(&mut self.gradients));
        let mut context = Context {
            instructions,
            weights: &self.weights,
            gradients: &mut gradients,
            pool: &mut pool,
        };
        let result = self.step(&mut context, (input, target), size, settings);
        self.pool = pool;
        self.gradients = gradients;
        result
    }

    fn step(
        &self,
        context: &mut Context<'_, T>,
        (input, target): (&[T], &[T]),
        size: Size,
        settings: &StepSettings,
    ) -> Result<StepLoss> {
        let seeds = (settings.seed, settings.step);
        let backbone = self.backbone.forward(context, input, size)?;
        let heads = self.colour.is_some() || self.polynomial.is_some() || self.local.is_some();
        let (image, shared) = self.features.forward(context, &backbone, heads)?;
        let size = backbone.size;
        let (filtered, passes) = self.predict(context, image, shared.as_ref(), size, seeds)?;
        let three = 3 * size.plane();
        let mut output = context.pool.take(filtered.input.len());
        for ((image, raw), output) in self.images(&filtered, three).zip(output.chunks_mut(three)) {
            self.filters(raw)?.apply_slice(image, size.height, size.width, output)?;
        }
        // The clamp before the loss, and what it does to the gradient.
        let mut gradient = context.pool.take(output.len());
        let mut clamped = context.pool.take(output.len());
        for (to, &value) in clamped.iter_mut().zip(output.iter()) {
            *to = value.bounded(T::zero(), T::one());
            if value.is_nan() {
                *to = value;
            }
        }
        let fixes = self.config.fixes;
        let last = if fixes.contains(Fix::Msssim) { LastScale::Once } else { LastScale::FourTimes };
        let images = (&clamped[..], target, (size.height, size.width));
        let parts = evaluate_into(images, &settings.loss, last, &mut gradient);
        context.pool.give(clamped);
        for (gradient, &value) in gradient.iter_mut().zip(output.iter()) {
            if value < T::zero() || value > T::one() {
                *gradient = T::zero();
            } else if value == T::zero() || value == T::one() {
                // A tie of maximum or minimum: candle gives half to each side.
                *gradient *= T::of(0.5);
            }
        }
        context.pool.give(output);
        let (mut total, mut gate_gradient) = (T::of(parts.total), Vec::new());
        if let Some((mean, slopes)) = self.mean_gate(&filtered.raw) {
            total += mean * T::of(settings.gate);
            gate_gradient = slopes.iter().map(|&slope| slope * T::of(settings.gate)).collect();
        }
        let loss = StepLoss { total: Element::wide(total), lab: parts.lab, ms_ssim: parts.ms_ssim };
        if !loss.total.is_finite() {
            return Ok(loss);
        }
        self.backward(
            context,
            input,
            backbone,
            (filtered, shared, passes),
            gradient,
            gate_gradient,
        )?;
        Ok(loss)
    }

    fn filters(&self, raw: &[T]) -> Result<FilterStack<T>> {
        Ok(FilterStack::from_raw(&self.stack, raw)?)
    }

    /// Image and raw numbers of each member of the batch.
    fn images<'a>(
        &self,
        filtered: &'a Filtered<T>,
        three: usize,
    ) -> impl Iterator<Item = (&'a [T], &'a [T])> {
        let length = self.stack.raw_len();
        filtered.input.chunks(three).enumerate().map(move |(image, pixels)| {
            (pixels, &filtered.raw[image * length..(image + 1) * length])
        })
    }

    /// Mean gate, 1 + tanh of its raw number, and its gradient to all raw gates.
    fn mean_gate(&self, raw: &[T]) -> Option<(T, Vec<T>)> {
        let gates =
            if self.config.gates { self.config.graduated + self.config.elliptical } else { 0 };
        let length = self.stack.raw_len();
        (gates > 0).then(|| {
            let all = raw.chunks_exact(length).flat_map(|raw| &raw[length - gates..]);
            let count = T::of((raw.len() / length * gates) as f64);
            let tanhs: Vec<T> = all.map(|gate| gate.tanh()).collect();
            let mean = tanhs.iter().fold(T::zero(), |sum, &t| sum + t + T::one()) / count;
            (mean, tanhs.iter().map(|&t| (T::one() - t * t) / count).collect())
        })
    }

    /// A stage's image at the heads' size, with what `wiring` adds.
    fn view(
        &self,
        context: &mut Context<'_, T>,
        stage: &Stage,
        input: &HeadInput<T>,
        image: &[T],
        size: Size,
    ) -> Option<Buffer<T>> {
        let side = self.config.head_size;
        stage.needs_image(input).then(|| {
            let mut out = context.pool.take(size.batch * 3 * side * side);
            let Size { height, width, .. } = size;
            let source = Source { values: image, of: 3, first: 0, height, width };
            resize_sum_into(&[source], 3, (side, side), &mut out);
            if let HeadInput::Wired { image, .. } = input {
                out.iter_mut().zip(image.iter()).for_each(|(to, &from)| *to += from);
            }
            out
        })
    }

    /// Runs the heads.
    fn predict(
        &self,
        context: &mut Context<'_, T>,
        image: Buffer<T>,
        shared: Option<&HeadInput<T>>,
        size: Size,
        seeds: (u64, u64),
    ) -> Result<(Filtered<T>, Passes<T>)> {
        let length = self.stack.raw_len();
        let raw = vec![T::zero(); size.batch * length];
        let mut filtered = Filtered { input: image, coloured: None, raw };
        let mut passes = Passes { colour: None, polynomial: None, local: None };
        let Some(shared) = shared else { return Ok((filtered, passes)) };
        if let Some(stage) = &self.colour {
            let view = self.view(context, stage, shared, &filtered.input, size);
            let (mut numbers, pass) = stage.forward(context, shared, view, size.batch, seeds)?;
            let numbers = numbers.swap_remove(0).raw;
            let mut coloured = context.pool.take(filtered.input.len());
            colour_stage::apply_into(&filtered.input, &numbers, size.plane(), &mut coloured);
            let before = std::mem::replace(&mut filtered.input, coloured);
            filtered.coloured = Some((before, numbers));
            passes.colour = Some(pass);
        }
        if let Some(stage) = &self.polynomial {
            let view = self.view(context, stage, shared, &filtered.input, size);
            let (numbers, pass) = stage.forward(context, shared, view, size.batch, seeds)?;
            self.place(&mut filtered.raw, self.stack.polynomial_range(), &numbers[0].raw);
            finite(&filtered.raw)?;
            passes.polynomial = Some(pass);
        }
        if let Some(stage) = &self.local {
            let mut second = context.pool.take(filtered.input.len());
            let three = 3 * size.plane();
            for ((image, raw), to) in self.images(&filtered, three).zip(second.chunks_mut(three)) {
                self.filters(raw)?.apply_polynomial_slice(image, size.height, size.width, to)?;
            }
            let view = self.view(context, stage, shared, &second, size);
            context.pool.give(second);
            let (numbers, pass) = stage.forward(context, shared, view, size.batch, seeds)?;
            for ((raw, gates), numbers) in self.local_ranges().into_iter().zip(&numbers) {
                self.place(&mut filtered.raw, raw, &numbers.raw);
                self.place(&mut filtered.raw, gates, &numbers.gates);
            }
            finite(&filtered.raw)?;
            passes.local = Some(pass);
        }
        Ok((filtered, passes))
    }

    /// Where the local heads' numbers and gates stand among the raw ones.
    fn local_ranges(&self) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let counts = [self.config.graduated, self.config.elliptical];
        let counts = if self.config.gates { counts } else { [0, 0] };
        let end = self.stack.raw_len();
        let middle = end - counts[1];
        let all = [
            (self.stack.graduated_range(), middle - counts[0]..middle),
            (self.stack.elliptical_range(), middle..end),
        ];
        all.into_iter().filter(|(range, _)| !range.is_empty()).collect()
    }

    /// Writes `numbers`, (N, range), into the raw numbers.
    fn place(&self, raw: &mut [T], range: std::ops::Range<usize>, numbers: &[T]) {
        if range.is_empty() {
            return;
        }
        let rows = raw.chunks_exact_mut(self.stack.raw_len());
        for (raw, numbers) in rows.zip(numbers.chunks_exact(range.len())) {
            raw[range.clone()].copy_from_slice(numbers);
        }
    }

    /// The part `range` of raw numbers, (N, range).
    fn part(&self, raw: &[T], range: &std::ops::Range<usize>) -> Vec<T> {
        let rows = raw.chunks_exact(self.stack.raw_len());
        rows.flat_map(|raw| &raw[range.clone()]).copied().collect()
    }

    fn backward(
        &self,
        context: &mut Context<'_, T>,
        input: &[T],
        backbone: BackbonePass<T>,
        (filtered, shared, passes): (Filtered<T>, Option<HeadInput<T>>, Passes<T>),
        gradient: Buffer<T>,
        gate_gradient: Vec<T>,
    ) -> Result<()> {
        let size = backbone.size;
        let (three, batch) = (3 * size.plane(), size.batch);
        let (height, width) = (size.height, size.width);
        let length = self.stack.raw_len();
        // Through the filters.
        let mut to_image = context.pool.take(filtered.input.len());
        let mut to_raw = Vec::with_capacity(filtered.raw.len());
        let parts = self.images(&filtered, three).zip(gradient.chunks(three));
        for (((image, raw), gradient), to) in parts.zip(to_image.chunks_mut(three)) {
            let sums = self.filters(raw)?.vjp_slice(image, gradient, height, width, to)?;
            to_raw.extend(sums.raw.unwrap_or_default());
        }
        let gates = gate_gradient.len() / batch;
        if gates > 0 {
            for (raw, gates) in to_raw.chunks_mut(length).zip(gate_gradient.chunks(gates)) {
                let first = length - gates.len();
                raw[first..].iter_mut().zip(gates).for_each(|(to, &from)| *to += from);
            }
        }
        let mut spare = gradient;
        let Passes { mut colour, mut polynomial, mut local } = passes;
        let mut firsts: [Option<Buffer<T>>; 3] = [None, None, None];
        let mut shared_sum = None;
        if let Some(shared) = &shared {
            let beside = match shared {
                HeadInput::Patches { rows, .. } => rows.len(),
                HeadInput::Wired { image, .. } => image.len(),
            };
            let mut beside = context.pool.take(beside);
            beside.fill(T::zero());
            if let (Some(stage), Some(pass)) = (&self.local, &mut local) {
                let numbers: Vec<_> = self
                    .local_ranges()
                    .iter()
                    .map(|(raw, gates)| HeadOutput {
                        raw: self.part(&to_raw, raw),
                        gates: self.part(&to_raw, gates),
                    })
                    .collect();
                let first = stage.backward(context, pass, batch, &numbers)?;
                stage.first_sums(context, shared, pass, batch, (&first, &mut beside))?;
                // Y2 is the polynomial of the filters' input.
                let mut to_second = spare;
                self.through_view(
                    context,
                    (stage, pass),
                    &first,
                    size,
                    &mut beside,
                    shared,
                    &mut to_second,
                    false,
                )?;
                let mut through = context.pool.take(three);
                let parts = self.images(&filtered, three).zip(to_second.chunks(three));
                for (n, (((image, raw), gradient), to)) in
                    parts.zip(to_image.chunks_mut(three)).enumerate()
                {
                    let stack = self.filters(raw)?;
                    let sums =
                        stack.vjp_polynomial_slice(image, gradient, height, width, &mut through)?;
                    to.iter_mut().zip(through.iter()).for_each(|(to, &from)| *to += from);
                    let own = &mut to_raw[n * length..(n + 1) * length];
                    let sums = sums.raw.unwrap_or_default();
                    own.iter_mut().zip(&sums).for_each(|(to, &from)| *to += from);
                }
                context.pool.give(through);
                spare = to_second;
                firsts[0] = Some(first);
            }
            if let (Some(stage), Some(pass)) = (&self.polynomial, &mut polynomial) {
                let raw = self.part(&to_raw, &self.stack.polynomial_range());
                let numbers = [HeadOutput { raw, gates: Vec::new() }];
                let first = stage.backward(context, pass, batch, &numbers)?;
                stage.first_sums(context, shared, pass, batch, (&first, &mut beside))?;
                self.through_view(
                    context,
                    (stage, pass),
                    &first,
                    size,
                    &mut beside,
                    shared,
                    &mut to_image,
                    true,
                )?;
                firsts[1] = Some(first);
            }
            if let (Some(stage), Some(pass), Some((before, numbers))) =
                (&self.colour, &mut colour, &filtered.coloured)
            {
                let mut raw = vec![T::zero(); batch * RAW_LEN];
                spare.fill(T::zero());
                let to = (&mut spare[..], &mut raw[..]);
                colour_stage::add_gradients((before, numbers), &to_image, size.plane(), to);
                std::mem::swap(&mut spare, &mut to_image);
                let numbers = [HeadOutput { raw, gates: Vec::new() }];
                let first = stage.backward(context, pass, batch, &numbers)?;
                stage.first_sums(context, shared, pass, batch, (&first, &mut beside))?;
                self.through_view(
                    context,
                    (stage, pass),
                    &first,
                    size,
                    &mut beside,
                    shared,
                    &mut to_image,
                    true,
                )?;
                firsts[2] = Some(first);
            }
            let stages =
                [(&self.local, &local), (&self.polynomial, &polynomial), (&self.colour, &colour)];
            let stages: Vec<_> = stages
                .into_iter()
                .zip(&firsts)
                .filter_map(|((stage, pass), first)| {
                    Some((stage.as_ref()?, pass.as_ref()?, first.as_ref()?))
                })
                .collect();
            let channels = self.features.shared_channels();
            shared_sum = Some(shared_gradient(context, &stages, channels, batch, beside)?);
        }
        context.pool.give(spare);
        let passes = [colour, polynomial, local].into_iter().flatten();
        passes.flat_map(StagePass::into_buffers).for_each(|buffer| context.pool.give(buffer));
        firsts.into_iter().flatten().for_each(|buffer| context.pool.give(buffer));
        context.pool.give(filtered.input);
        filtered.coloured.into_iter().for_each(|(image, _)| context.pool.give(image));
        match shared {
            Some(HeadInput::Patches { patches: a, rows: b })
            | Some(HeadInput::Wired { features: a, image: b }) => {
                context.pool.give(a);
                context.pool.give(b);
            }
            None => {}
        }
        let (residual, encoder) =
            self.features.backward(context, &backbone, to_image, shared_sum)?;
        self.backbone.backward(context, input, backbone, residual, encoder)
    }

    /// From the gradient to a stage's first layer to the one to its image, (N, 3, H, W), which is
    /// stored or added; and to what `wiring` added to the image, which is added.
    #[expect(clippy::too_many_arguments, reason = "one place for the three stages")]
    fn through_view(
        &self,
        context: &mut Context<'_, T>,
        (stage, pass): (&Stage, &StagePass<T>),
        first: &[T],
        size: Size,
        beside: &mut [T],
        shared: &HeadInput<T>,
        to: &mut [T],
        add: bool,
    ) -> Result<()> {
        if !stage.needs_image(shared) {
            return Ok(());
        }
        let image = stage.image_gradient(context, pass, size.batch, first)?;
        if matches!(shared, HeadInput::Wired { .. }) {
            beside.iter_mut().zip(image.iter()).for_each(|(to, &from)| *to += from);
        }
        let side = self.config.head_size;
        resize_transpose(&[(&image, 3)], (side, side), (size.height, size.width), add, to);
        context.pool.give(image);
        Ok(())
    }
}

/// An error if not all numbers are finite.
fn finite<T: Number>(raw: &[T]) -> Result<()> {
    match raw.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(CoreError::NotFinite),
    }
}
