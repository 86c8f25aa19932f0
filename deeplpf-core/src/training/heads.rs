//! The heads, forward and backward.
//!
//! Heads that see the same image share the first layer's pass over their input: their weights are put
//! one below the other.

use super::{
    head_input::{HeadInput, PATCHES, SharedGradient, compose, compose_gradient},
    layers::{Context, Layer, Layout, STRIDED_LEAKY, Size, Target, geometry, planes, size_out},
    pool::Buffer,
};
use crate::{
    ModelConfig, Result,
    ops::{
        conv::{Geometry, GradientPart, OutputGradient, Part, Planes},
        max_pool::{pool_gradient, pool_into},
    },
    random::{Generator, Purpose},
    simd::Lanes,
};

/// The image a head sees beside the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Y1, of which the shared patches are enough.
    Backbone,
    /// A resized image of its own.
    Image,
}

/// One head's layers.
#[derive(Clone, Debug)]
struct Head {
    convolutions: Vec<Layer>,
    output: Layer,
    gates: Option<Layer>,
    /// Keeps the heads' dropout masks apart.
    stream: u64,
}

/// Heads that see the same image.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    heads: Vec<Head>,
    pub view: View,
    /// Channels inside a head.
    width: usize,
    /// Channels of features and image.
    features: usize,
    side: usize,
    dropout: f64,
}

/// What a stage left behind.
pub(super) struct StagePass<T> {
    /// The first layer's parameters as applied, (O, C, 9) and (O).
    weight: Buffer<T>,
    /// (N, 3, S, S), with what `wiring` adds.
    image: Option<Buffer<T>>,
    /// The first layer's output, (N, O, S / 2, S / 2), O being the widths of all heads.
    pub first: Buffer<T>,
    pooled: Buffer<T>,
    heads: Vec<HeadPass<T>>,
}

struct HeadPass<T> {
    /// Outputs of the later convolutions, and what their pooling left.
    out: Vec<Buffer<T>>,
    pooled: Vec<Buffer<T>>,
    /// Means over pixels after dropout, and the masks: (N, width).
    mean: Vec<T>,
    mask: Vec<T>,
}

/// Raw numbers of one head, (N, outputs) and (N, gates); or their gradients.
#[derive(Clone, Debug)]
pub(super) struct HeadOutput<T> {
    pub raw: Vec<T>,
    pub gates: Vec<T>,
}

impl Stage {
    /// Heads by name and stream; none where the model has none.
    pub fn new(
        layout: &Layout,
        config: &ModelConfig,
        heads: &[(&str, u64, bool)],
        view: View,
    ) -> Result<Option<Self>> {
        let head = |&(name, stream, gates): &(&str, u64, bool)| {
            let prefix = format!("deeplpfnet.{name}_filter");
            let convolution =
                |layer: usize| Layer::new(layout, &format!("{prefix}.{name}_layer{layer}.conv"));
            let gates = gates.then(|| Layer::new(layout, &format!("{prefix}.fc_gates")));
            Ok(Head {
                convolutions: [1, 3, 5, 7].map(convolution).into_iter().collect::<Result<_>>()?,
                output: Layer::new(layout, &format!("{prefix}.fc_{name}"))?,
                gates: gates.transpose()?,
                stream,
            })
        };
        let heads = heads.iter().map(head).collect::<Result<Vec<_>>>()?;
        let (width, features) = (config.head_width, config.features);
        let (side, dropout) = (config.head_size, config.dropout);
        Ok((!heads.is_empty()).then_some(Self { heads, view, width, features, side, dropout }))
    }

    /// Outputs of the first layer.
    pub fn channels(&self) -> usize {
        self.heads.len() * self.width
    }

    fn square(&self, batch: usize) -> Size {
        Size { batch, height: self.side, width: self.side }
    }

    /// The first layer of this stage with inputs of `channels` channels.
    fn first_geometry(&self, batch: usize, channels: usize) -> Result<Geometry> {
        geometry(STRIDED_LEAKY, &[self.channels(), channels, 3, 3], self.square(batch))
    }

    /// Channels of the first layer's input that all heads share, and whether an image follows.
    fn inputs<T>(&self, input: &HeadInput<T>) -> (usize, bool) {
        match input {
            HeadInput::Patches { .. } => (PATCHES, self.view == View::Image),
            HeadInput::Wired { .. } => (self.features - 3, true),
        }
    }

    /// Row of the final convolution's matrix that the head's input channel `channel` is.
    fn row(&self, channel: usize) -> usize {
        // A head reads the features first and the image last.
        (channel + 3) % self.features
    }

    /// Input channels of a head that are composed with the final convolution.
    fn composed(&self) -> usize {
        self.features - if self.view == View::Image { 3 } else { 0 }
    }

    /// The first layers' weights, (O, C, 9).
    fn weights<T: Lanes>(&self, context: &mut Context<'_, T>, input: &HeadInput<T>) -> Buffer<T> {
        let (shared, with_image) = self.inputs(input);
        let columns = 9 * (shared + if with_image { 3 } else { 0 });
        let mut out = context.pool.take(self.channels() * columns);
        for (head, out) in self.heads.iter().zip(out.chunks_exact_mut(self.width * columns)) {
            let weight = &context.weights[head.convolutions[0].weight.clone()];
            let HeadInput::Patches { rows, .. } = input else {
                out.copy_from_slice(weight);
                continue;
            };
            let mut product = context.pool.take(self.width * PATCHES * 9);
            let (all, composed) = (self.features, self.composed());
            compose((weight, all), composed, |channel| self.row(channel), rows, &mut product);
            let parts = out.chunks_exact_mut(columns).zip(product.chunks_exact(PATCHES * 9));
            for ((out, product), weight) in parts.zip(weight.chunks_exact(all * 9)) {
                out[..PATCHES * 9].copy_from_slice(product);
                out[PATCHES * 9..].copy_from_slice(&weight[composed * 9..]);
            }
            context.pool.give(product);
        }
        out
    }

    fn planes<'a, T>(
        &self,
        input: &'a HeadInput<T>,
        image: Option<&'a Buffer<T>>,
    ) -> Planes<'a, T> {
        let mut parts = vec![Part::whole(input.shared(), self.inputs(input).0)];
        parts.extend(image.map(|image| Part::whole(&image[..], 3)));
        Planes { parts, height: self.side, width: self.side }
    }

    /// Raw numbers of each head. `image`: (N, 3, S, S) where [`Stage::needs_image`].
    pub fn forward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        input: &HeadInput<T>,
        image: Option<Buffer<T>>,
        batch: usize,
        (seed, step): (u64, u64),
    ) -> Result<(Vec<HeadOutput<T>>, StagePass<T>)> {
        let weight = self.weights(context, input);
        let mut bias = Vec::with_capacity(self.channels());
        for head in &self.heads {
            bias.extend_from_slice(&context.weights[head.convolutions[0].bias.clone()]);
        }
        let channels = weight.len() / (9 * self.channels());
        let g = self.first_geometry(batch, channels)?;
        let first = context.convolve(&g, &self.planes(input, image.as_ref()), (&weight, &bias));
        let size = size_out(&g);
        let half = size.halved();
        let mut pooled = context.pool.take(half.numbers(self.channels()));
        pool_into(&first, (size.height, size.width), &mut pooled);
        let (mut outputs, mut passes) = (Vec::new(), Vec::new());
        for (number, head) in self.heads.iter().enumerate() {
            let input = self.part(&pooled, number, half);
            let (output, pass) = self.rest(context, head, &input, half, (seed, step))?;
            outputs.push(output);
            passes.push(pass);
        }
        Ok((outputs, StagePass { weight, image, first, pooled, heads: passes }))
    }

    /// Whether [`Stage::forward`] needs an image.
    pub fn needs_image<T>(&self, input: &HeadInput<T>) -> bool {
        self.inputs(input).1
    }

    /// The channels of head `number` in the pooled output of the first layers.
    fn part<'a, T>(&self, pooled: &'a [T], number: usize, size: Size) -> Planes<'a, T> {
        let part = Part {
            channels: self.width,
            first: number * self.width,
            ..Part::whole(pooled, self.channels())
        };
        Planes { parts: vec![part], height: size.height, width: size.width }
    }

    /// A head after its first layer and pooling.
    fn rest<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        head: &Head,
        input: &Planes<'_, T>,
        size: Size,
        (seed, step): (u64, u64),
    ) -> Result<(HeadOutput<T>, HeadPass<T>)> {
        let (mut out, mut pooled): (Vec<Buffer<T>>, Vec<Buffer<T>>) = (Vec::new(), Vec::new());
        let mut size = size;
        for (number, layer) in head.convolutions[1..].iter().enumerate() {
            let g = geometry(STRIDED_LEAKY, &layer.shape, size)?;
            let result = match pooled.last() {
                None => context.layer(&g, layer, input),
                Some(below) => context.layer(&g, layer, &planes(below, self.width, size)),
            };
            size = size_out(&g);
            if number + 2 < head.convolutions.len() {
                let half = size.halved();
                let mut below = context.pool.take(half.numbers(self.width));
                pool_into(&result, (size.height, size.width), &mut below);
                pooled.push(below);
                size = half;
            }
            out.push(result);
        }
        let pixels = T::of(size.plane() as f64);
        let last = &out[out.len() - 1];
        let mut mean: Vec<T> = last
            .chunks_exact(size.plane())
            .map(|plane| plane.iter().fold(T::zero(), |sum, &v| sum + v) / pixels)
            .collect();
        let mask: Vec<T> = if self.dropout > 0.0 {
            let mut generator = Generator::new(seed, Purpose::Dropout, step * 4 + head.stream);
            let keep = T::of(1.0 / (1.0 - self.dropout));
            let mut draw = || if generator.bernoulli(self.dropout) { T::zero() } else { keep };
            mean.iter().map(|_| draw()).collect()
        } else {
            vec![T::one(); mean.len()]
        };
        mean.iter_mut().zip(&mask).for_each(|(value, &mask)| *value *= mask);
        let linear = |layer: &Layer| {
            let weight = &context.weights[layer.weight.clone()];
            let bias = &context.weights[layer.bias.clone()];
            let mut out = Vec::new();
            for mean in mean.chunks_exact(self.width) {
                for (row, &bias) in weight.chunks_exact(self.width).zip(bias) {
                    let sum = row.iter().zip(mean).fold(T::zero(), |sum, (&w, &x)| sum + w * x);
                    out.push(sum + bias);
                }
            }
            out
        };
        let raw = linear(&head.output);
        let gates = head.gates.as_ref().map(linear).unwrap_or_default();
        Ok((HeadOutput { raw, gates }, HeadPass { out, pooled, mean, mask }))
    }

    /// From the raw numbers' gradients to the first layer's output: (N, O, S / 2, S / 2). Stores the
    /// gradients of all later layers.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        pass: &mut StagePass<T>,
        batch: usize,
        gradients: &[HeadOutput<T>],
    ) -> Result<Buffer<T>> {
        let size = size_out(&self.first_geometry(batch, 1)?);
        let half = size.halved();
        let mut to_first = context.pool.take(pass.first.len());
        to_first.fill(T::zero());
        for (number, (head, gradient)) in self.heads.iter().zip(gradients).enumerate() {
            let own = std::mem::take(&mut pass.heads[number].out);
            let pooled = std::mem::take(&mut pass.heads[number].pooled);
            let means = (&pass.heads[number].mean[..], &pass.heads[number].mask[..]);
            let input = self.part(&pass.pooled, number, half);
            let to_pooled =
                self.rest_backward(context, head, &input, half, (own, pooled), means, gradient)?;
            let (of, one) = (self.channels() * size.plane(), self.width * size.plane());
            for (image, gradient) in to_pooled.chunks_exact(self.width * half.plane()).enumerate() {
                let place = image * of + number * one..image * of + (number + 1) * one;
                let to = &mut to_first[place.clone()];
                pool_gradient(&pass.first[place], (size.height, size.width), gradient, to);
            }
            context.pool.give(to_pooled);
        }
        context.pool.give(std::mem::take(&mut pass.pooled));
        Ok(to_first)
    }

    /// The gradient to a head's pooled first layer.
    #[expect(clippy::too_many_arguments, reason = "what the forward pass left, part by part")]
    fn rest_backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        head: &Head,
        input: &Planes<'_, T>,
        size: Size,
        (mut out, mut pooled): (Vec<Buffer<T>>, Vec<Buffer<T>>),
        (mean, mask): (&[T], &[T]),
        gradient: &HeadOutput<T>,
    ) -> Result<Buffer<T>> {
        let mut to_mean = vec![T::zero(); mean.len()];
        let layers = std::iter::once((&head.output, &gradient.raw))
            .chain(head.gates.as_ref().map(|gates| (gates, &gradient.gates)));
        for (layer, gradient) in layers {
            let outputs = layer.outputs();
            let weight = &context.weights[layer.weight.clone()];
            let (to_weight, to_bias) = (layer.weight.clone(), layer.bias.clone());
            context.gradients[to_weight.clone()].fill(T::zero());
            context.gradients[to_bias.clone()].fill(T::zero());
            for (image, gradient) in gradient.chunks_exact(outputs).enumerate() {
                let place = image * self.width..(image + 1) * self.width;
                for (output, &g) in gradient.iter().enumerate() {
                    let row = output * self.width..(output + 1) * self.width;
                    let sums = &mut context.gradients[to_weight.clone()][row.clone()];
                    sums.iter_mut().zip(&mean[place.clone()]).for_each(|(to, &x)| *to += g * x);
                    let to = &mut to_mean[place.clone()];
                    to.iter_mut().zip(&weight[row]).for_each(|(to, &w)| *to += g * w);
                    context.gradients[to_bias.start + output] += g;
                }
            }
        }
        // The sizes of each convolution's input.
        let mut sizes = vec![size];
        for layer in &head.convolutions[1..] {
            let last = sizes[sizes.len() - 1];
            let g = geometry(STRIDED_LEAKY, &layer.shape, last)?;
            sizes.push(if sizes.len() < 3 { size_out(&g).halved() } else { size_out(&g) });
        }
        let plane = sizes[sizes.len() - 1].plane();
        let Some(mut activated) = out.pop() else { return Ok(Buffer::default()) };
        let mut gradient = context.pool.take(activated.len());
        for ((to, &value), &mask) in gradient.chunks_exact_mut(plane).zip(&to_mean).zip(mask) {
            to.fill(value * mask / T::of(plane as f64));
        }
        for (number, layer) in head.convolutions[1..].iter().enumerate().rev() {
            let size = sizes[number];
            let g = geometry(STRIDED_LEAKY, &layer.shape, size)?;
            let below = if number > 0 { pooled.pop() } else { None };
            let mut to_input = context.pool.take(size.numbers(self.width));
            {
                let gradient = OutputGradient::new(&g, &gradient, &activated);
                match &below {
                    None => context.layer_sums(&g, layer, input, &gradient),
                    Some(below) => {
                        context.layer_sums(&g, layer, &planes(below, self.width, size), &gradient);
                    }
                }
                let weights = context.weights;
                let parts = &mut [(&mut to_input[..], self.width, Target::Store)];
                context.input_gradient(&g, &weights[layer.weight.clone()], &gradient, parts);
            }
            context.pool.give(std::mem::replace(&mut gradient, to_input));
            context.pool.give(activated);
            below.into_iter().for_each(|below| context.pool.give(below));
            let Some(next) = out.pop() else { return Ok(gradient) };
            // Through the pooling between two convolutions.
            let before = size_out(&geometry(STRIDED_LEAKY, &layer.shape, sizes[number - 1])?);
            let mut to_next = context.pool.take(next.len());
            to_next.fill(T::zero());
            pool_gradient(&next, (before.height, before.width), &gradient, &mut to_next);
            context.pool.give(std::mem::replace(&mut gradient, to_next));
            activated = next;
        }
        Ok(gradient)
    }

    /// The gradient to the stage's own image at the heads' size, (N, 3, S, S).
    pub fn image_gradient<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        pass: &StagePass<T>,
        batch: usize,
        gradient: &[T],
    ) -> Result<Buffer<T>> {
        let g = self.first_geometry(batch, 3)?;
        let columns = pass.weight.len() / self.channels();
        let mut weight = context.pool.take(self.channels() * 27);
        for (to, from) in weight.chunks_exact_mut(27).zip(pass.weight.chunks_exact(columns)) {
            to.copy_from_slice(&from[columns - 27..]);
        }
        let mut image = context.pool.take(self.square(batch).numbers(3));
        let gradient = OutputGradient::new(&g, gradient, &pass.first);
        let parts = &mut [(&mut image[..], 3, Target::Store)];
        context.input_gradient(&g, &weight, &gradient, parts);
        context.pool.give(weight);
        Ok(image)
    }

    /// Stores the first layers' gradients; adds the one to the final convolution's matrix to
    /// `beside` where they are composed with it.
    pub fn first_sums<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        input: &HeadInput<T>,
        pass: &StagePass<T>,
        batch: usize,
        (gradient, beside): (&[T], &mut [T]),
    ) -> Result<()> {
        let columns = pass.weight.len() / self.channels();
        let g = self.first_geometry(batch, columns / 9)?;
        let gradient = OutputGradient::new(&g, gradient, &pass.first);
        let planes = self.planes(input, pass.image.as_ref());
        let (sums, bias) = context.sums(&g, &planes, &gradient);
        for (number, head) in self.heads.iter().enumerate() {
            let layer = &head.convolutions[0];
            let own = &sums[number * self.width * columns..][..self.width * columns];
            let bias = &bias[number * self.width..][..self.width];
            context.gradients[layer.bias.clone()].copy_from_slice(bias);
            let HeadInput::Patches { rows, .. } = input else {
                context.gradients[layer.weight.clone()].copy_from_slice(own);
                continue;
            };
            let (all, composed) = (self.features, self.composed());
            let weight = &context.weights[layer.weight.clone()];
            let to = &mut context.gradients[layer.weight.clone()];
            for (to, own) in to.chunks_exact_mut(all * 9).zip(own.chunks_exact(columns)) {
                to[composed * 9..].copy_from_slice(&own[PATCHES * 9..]);
            }
            let row = |channel| self.row(channel);
            compose_gradient((weight, all), composed, row, rows, (own, columns), (to, beside));
        }
        context.pool.give(sums);
        context.pool.give(bias);
        Ok(())
    }
}

/// The gradient to what all heads share, from those to the stages' first layers.
pub(super) fn shared_gradient<T: Lanes>(
    context: &mut Context<'_, T>,
    stages: &[(&Stage, &StagePass<T>, &Buffer<T>)],
    shared: usize,
    batch: usize,
    beside: Buffer<T>,
) -> Result<SharedGradient<T>> {
    let outputs: usize = stages.iter().map(|(stage, ..)| stage.channels()).sum();
    let square = stages[0].0.square(batch);
    let g = geometry(STRIDED_LEAKY, &[outputs, shared, 3, 3], square)?;
    let mut weight = context.pool.take(outputs * shared * 9);
    let mut rows = weight.chunks_exact_mut(shared * 9);
    let mut parts = Vec::new();
    for (stage, pass, gradient) in stages {
        let columns = pass.weight.len() / stage.channels();
        for (from, to) in pass.weight.chunks_exact(columns).zip(&mut rows) {
            to.copy_from_slice(&from[..shared * 9]);
        }
        let (channels, of) = (stage.channels(), stage.channels());
        parts.push(GradientPart { values: gradient, activated: Some(&pass.first), channels, of });
    }
    let mut out = context.pool.take(square.numbers(shared));
    let gradient = OutputGradient { parts, height: g.height_out, width: g.width_out };
    let targets = &mut [(&mut out[..], shared, Target::Store)];
    context.input_gradient(&g, &weight, &gradient, targets);
    context.pool.give(weight);
    Ok(SharedGradient { shared: out, beside })
}

impl<T: Lanes> StagePass<T> {
    /// Its memory.
    pub fn into_buffers(self) -> impl Iterator<Item = Buffer<T>> {
        [self.weight, self.first, self.pooled].into_iter().chain(self.image)
    }
}
