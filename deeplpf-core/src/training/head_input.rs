//! What all heads see, at the heads' size.
//!
//! Without the fix `wiring`: the 28 resized patch channels of the U-Net's image, of which Y1 and the
//! features are linear functions; a head's first layer is composed with them (see
//! [`crate::ops::patches`]). With it: the features, made at the image's size, plus the encoder's
//! projections, each made at its level's size; a 1x1 convolution commutes with the resize, whose
//! weights sum to one, and there are fewer pixels there.

use rayon::prelude::*;

use super::{
    backbone::BackbonePass,
    layers::{Context, Layer, Layout, REFLECT_LINEAR, Size, Target, geometry, planes},
    pool::Buffer,
};
use crate::{
    Fix, ModelConfig, Result,
    ops::{
        conv::{Geometry, GradientPart, OutputGradient},
        patches::{patches_gradient, patches_into},
        resize_sum::{Source, resize_sum_into, resize_transpose},
    },
    simd::Lanes,
};
use std::ops::Range;

/// Levels of the encoder that `wiring` projects.
const WIRED: usize = 3;

/// The layers between backbone and heads.
#[derive(Clone, Debug)]
pub(super) struct Features {
    final_conv: Layer,
    /// Projections and their gate, with the fix `wiring` only.
    wiring: Option<([Layer; WIRED], Range<usize>)>,
    /// Channels of Y1 and the features.
    channels: usize,
    side: usize,
}

/// What the heads share.
pub(super) enum HeadInput<T> {
    /// (N, 28, S, S), and the final convolution as a matrix (features, 28), rows 0..3 for Y1.
    Patches { patches: Buffer<T>, rows: Buffer<T> },
    /// The features with what `wiring` adds, (N, features - 3, S, S), and what it adds to the image,
    /// (N, 3, S, S).
    Wired { features: Buffer<T>, image: Buffer<T> },
}

/// Taps of the patches and the bias' column.
pub(super) const PATCHES: usize = 28;

impl<T> HeadInput<T> {
    /// The tensor that every head's first layer reads.
    pub fn shared(&self) -> &[T] {
        match self {
            Self::Patches { patches, .. } => patches,
            Self::Wired { features, .. } => features,
        }
    }
}

/// Gradients of what the heads share.
pub(super) struct SharedGradient<T> {
    /// To [`HeadInput::shared`].
    pub shared: Buffer<T>,
    /// To the matrix of [`HeadInput::Patches`], or to the image of [`HeadInput::Wired`].
    pub beside: Buffer<T>,
}

impl Features {
    /// `heads`: whether there are any.
    pub fn new(layout: &Layout, config: &ModelConfig, heads: bool) -> Result<Self> {
        let final_conv = Layer::new(layout, "backbonenet.final_conv")?;
        let wiring = match heads && config.fixes.contains(Fix::Wiring) {
            false => None,
            true => {
                let projection =
                    |n: usize| Layer::new(layout, &format!("backbonenet.unet.conv{n}"));
                let gate = layout.get("backbonenet.unet.wiring_gate")?.0;
                Some(([projection(1)?, projection(2)?, projection(3)?], gate))
            }
        };
        Ok(Self { final_conv, wiring, channels: config.features, side: config.head_size })
    }

    /// Channels of [`HeadInput::shared`].
    pub fn shared_channels(&self) -> usize {
        if self.wiring.is_some() { self.channels - 3 } else { PATCHES }
    }

    /// Whether the features are made, because `wiring` adds to them.
    pub fn is_wired(&self) -> bool {
        self.wiring.is_some()
    }

    /// The final convolution, or its first three outputs.
    fn geometry(&self, size: Size, whole: bool) -> Result<Geometry> {
        let shape = &self.final_conv.shape;
        let outputs = if whole { shape[0] } else { 3 };
        geometry(REFLECT_LINEAR, &[outputs, shape[1], shape[2], shape[3]], size)
    }

    /// Y1, (N, 3, H, W), and, if there are heads, what they share.
    pub fn forward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        pass: &BackbonePass<T>,
        heads: bool,
    ) -> Result<(Buffer<T>, Option<HeadInput<T>>)> {
        let size = pass.size;
        let g = self.geometry(size, self.is_wired())?;
        let weights = context.weights;
        let weight = &weights[self.final_conv.weight.clone()];
        let bias = &weights[self.final_conv.bias.clone()];
        let columns = weight.len() / self.channels;
        let parameters = (&weight[..g.channels_out * columns], &bias[..g.channels_out]);
        let out = context.convolve(&g, &planes(&pass.residual, 3, size), parameters);
        let square = Size { batch: size.batch, height: self.side, width: self.side };
        if self.is_wired() {
            let mut image = context.pool.take(size.numbers(3));
            let three = 3 * size.plane();
            for (to, from) in
                image.chunks_exact_mut(three).zip(out.chunks_exact(size.plane() * self.channels))
            {
                to.copy_from_slice(&from[..three]);
            }
            let input = self.wire(context, pass, out, square)?;
            return Ok((image, Some(input)));
        }
        if !heads {
            return Ok((out, None));
        }
        let mut patches = context.pool.take(square.numbers(PATCHES));
        let shape = [size.batch, 3, size.height, size.width];
        patches_into(&pass.residual, shape, (self.side, self.side), &mut patches);
        let mut rows = context.pool.take(self.channels * PATCHES);
        for ((row, weight), &bias) in
            rows.chunks_exact_mut(PATCHES).zip(weight.chunks_exact(PATCHES - 1)).zip(bias)
        {
            row[..PATCHES - 1].copy_from_slice(weight);
            row[PATCHES - 1] = bias;
        }
        Ok((out, Some(HeadInput::Patches { patches, rows })))
    }

    /// Weight or bias of a projection times the gate.
    fn gated<T: Lanes>(
        context: &mut Context<'_, T>,
        place: &Range<usize>,
        gate: &Range<usize>,
    ) -> Buffer<T> {
        let gate = context.weights[gate.start];
        let mut scaled = context.pool.take(place.len());
        let from = &context.weights[place.clone()];
        scaled.iter_mut().zip(from).for_each(|(to, &from)| *to = gate * from);
        scaled
    }

    /// `made`: Y1 and the features, (N, features, H, W).
    fn wire<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        pass: &BackbonePass<T>,
        made: Buffer<T>,
        square: Size,
    ) -> Result<HeadInput<T>> {
        let mut projected = Vec::new();
        if let Some((layers, gate)) = &self.wiring {
            for (level, layer) in layers.iter().enumerate() {
                // Only the U-Net's heads are wired.
                let Some((encoder, size)) = pass.encoder(level) else { break };
                let g = geometry(REFLECT_LINEAR, &layer.shape, size)?;
                let weight = Self::gated(context, &layer.weight, gate);
                let bias = Self::gated(context, &layer.bias, gate);
                let input = planes(encoder, g.channels_in, size);
                projected.push((context.convolve(&g, &input, (&weight, &bias)), size));
                context.pool.give(weight);
                context.pool.give(bias);
            }
        }
        let side = (self.side, self.side);
        let (all, rest) = (self.channels, self.channels - 3);
        let mut features = context.pool.take(square.numbers(rest));
        let mut image = context.pool.take(square.numbers(3));
        {
            let source = |values, size: Size, first| {
                let Size { height, width, .. } = size;
                Source { values, of: all, first, height, width }
            };
            let wired = |first| {
                projected.iter().map(move |(values, size)| source(&values[..], *size, first))
            };
            // A head reads the features first and the image last.
            let sources: Vec<_> =
                std::iter::once(source(&made[..], pass.size, 3)).chain(wired(0)).collect();
            resize_sum_into(&sources, rest, side, &mut features);
            resize_sum_into(&wired(rest).collect::<Vec<_>>(), 3, side, &mut image);
        }
        context.pool.give(made);
        projected.into_iter().for_each(|(buffer, _)| context.pool.give(buffer));
        Ok(HeadInput::Wired { features, image })
    }

    /// Stores the gradients of these layers; returns those to the U-Net's image and to the finest
    /// levels of the encoder. `image_gradient` is the one to Y1.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        pass: &BackbonePass<T>,
        image_gradient: Buffer<T>,
        shared: Option<SharedGradient<T>>,
    ) -> Result<(Buffer<T>, Vec<Buffer<T>>)> {
        let size = pass.size;
        let mut residual = context.pool.take(pass.residual.len());
        let (weights, layer) = (context.weights, &self.final_conv);
        let weight = &weights[layer.weight.clone()];
        let columns = weight.len() / self.channels;
        let mut encoder = Vec::new();
        let side = (self.side, self.side);
        let g = self.geometry(size, self.is_wired())?;
        let (channels, of) = (3, 3);
        let mut parts =
            vec![GradientPart { values: &image_gradient, activated: None, channels, of }];
        let mut levels = Vec::new();
        if let (Some((layers, gate)), Some(shared)) = (&self.wiring, &shared) {
            let square = [(&shared.shared[..], self.channels - 3), (&shared.beside[..], 3)];
            let mut gate_gradient = 0.0;
            for (level, layer) in layers.iter().enumerate() {
                let Some((values, size)) = pass.encoder(level) else { break };
                let mut gradient = context.pool.take(size.numbers(self.channels));
                let to = (size.height, size.width);
                resize_transpose(&square, side, to, false, &mut gradient);
                let g = geometry(REFLECT_LINEAR, &layer.shape, size)?;
                let out = OutputGradient::new(&g, &gradient, &[]);
                let input = planes(values, g.channels_in, size);
                let (mut weight, mut bias) = context.sums(&g, &input, &out);
                // The projection is the gate times its parameters.
                for (place, sums) in [(&layer.weight, &mut weight), (&layer.bias, &mut bias)] {
                    let opening = weights[gate.start];
                    for (sum, parameter) in sums.iter_mut().zip(&weights[place.clone()]) {
                        gate_gradient += sum.wide() * parameter.wide();
                        *sum *= opening;
                    }
                }
                context.store(layer, &weight, &bias);
                let scaled = Self::gated(context, &layer.weight, gate);
                let mut to = context.pool.take(values.len());
                let into = Target::Store;
                let targets = &mut [(&mut to[..], g.channels_in, into)];
                context.input_gradient(&g, &scaled, &out, targets);
                encoder.push(to);
                for buffer in [weight, bias, scaled] {
                    context.pool.give(buffer);
                }
                levels.push((gradient, size));
            }
            context.gradients[gate.start] = T::of(gate_gradient);
            // The features at the image's size: the finest level's gradient, if that has this size.
            if levels[0].1 != size {
                let mut own = context.pool.take(size.numbers(self.channels));
                resize_transpose(&square, side, (size.height, size.width), false, &mut own);
                levels.insert(0, (own, size));
            }
            let (channels, of) = (self.channels - 3, self.channels);
            parts.push(GradientPart { values: &levels[0].0, activated: None, channels, of });
        }
        let gradient = OutputGradient { parts, height: size.height, width: size.width };
        let (sums, bias_sums) = context.sums(&g, &planes(&pass.residual, 3, size), &gradient);
        let targets = &mut [(&mut residual[..], 3, Target::Store)];
        context.input_gradient(&g, &weight[..g.channels_out * columns], &gradient, targets);
        let to = &mut context.gradients[layer.weight.clone()];
        to[..sums.len()].copy_from_slice(&sums);
        to[sums.len()..].fill(T::zero());
        let to = &mut context.gradients[layer.bias.clone()];
        to[..bias_sums.len()].copy_from_slice(&bias_sums);
        to[bias_sums.len()..].fill(T::zero());
        if let (None, Some(SharedGradient { shared, beside })) = (&self.wiring, &shared) {
            let shape = [size.batch, 3, size.height, size.width];
            patches_gradient(shared, shape, side, &mut residual);
            for (row, gradient) in beside.chunks_exact(PATCHES).enumerate() {
                let (weight, bias) = gradient.split_at(PATCHES - 1);
                let to = layer.weight.start + row * (PATCHES - 1);
                let to = &mut context.gradients[to..to + PATCHES - 1];
                to.iter_mut().zip(weight).for_each(|(to, &from)| *to += from);
                context.gradients[layer.bias.start + row] += bias[0];
            }
        }
        let shared = shared.into_iter().flat_map(|shared| [shared.shared, shared.beside]);
        let levels = levels.into_iter().map(|(buffer, _)| buffer);
        for buffer in [sums, bias_sums, image_gradient].into_iter().chain(shared).chain(levels) {
            context.pool.give(buffer);
        }
        Ok((residual, encoder))
    }
}

/// Weights `weight`, (O, C, 9), after the pointwise product with some rows of a matrix `rows`
/// (features, 28), row `row(c)` for channel c < `channels`: (O, 28, 9).
pub(super) fn compose<T: Lanes>(
    (weight, all): (&[T], usize),
    channels: usize,
    row: impl Fn(usize) -> usize + Sync,
    rows: &[T],
    out: &mut [T],
) {
    out.par_chunks_mut(PATCHES * 9).zip(weight.par_chunks(all * 9)).for_each(|(out, weight)| {
        out.fill(T::zero());
        for (channel, weight) in weight.chunks_exact(9).take(channels).enumerate() {
            let row = &rows[row(channel) * PATCHES..][..PATCHES];
            for (out, &value) in out.chunks_exact_mut(9).zip(row) {
                out.iter_mut().zip(weight).for_each(|(to, &weight)| *to += weight * value);
            }
        }
    });
}

/// The gradients of [`compose`]: stores the one to the weights' first `channels` channels into
/// `weight_gradient`, (O, `all`, 9), and adds the one to the matrix.
pub(super) fn compose_gradient<T: Lanes>(
    (weight, all): (&[T], usize),
    channels: usize,
    row: impl Fn(usize) -> usize + Sync,
    rows: &[T],
    (gradient, stride): (&[T], usize),
    (weight_gradient, rows_gradient): (&mut [T], &mut [T]),
) {
    weight_gradient.par_chunks_mut(all * 9).zip(gradient.par_chunks(stride)).for_each(
        |(to, gradient)| {
            for (channel, to) in to.chunks_exact_mut(9).take(channels).enumerate() {
                let row = &rows[row(channel) * PATCHES..][..PATCHES];
                to.fill(T::zero());
                for (gradient, &value) in gradient.chunks_exact(9).zip(row) {
                    to.iter_mut().zip(gradient).for_each(|(to, &from)| *to += from * value);
                }
            }
        },
    );
    let mut sums = vec![T::zero(); channels * PATCHES];
    sums.par_chunks_mut(PATCHES).enumerate().for_each(|(channel, sums)| {
        for (weight, gradient) in weight.chunks_exact(all * 9).zip(gradient.chunks_exact(stride)) {
            let weight = &weight[channel * 9..][..9];
            for (sum, gradient) in sums.iter_mut().zip(gradient.chunks_exact(9)) {
                for (&a, &b) in weight.iter().zip(gradient) {
                    *sum += a * b;
                }
            }
        }
    });
    for (channel, sums) in sums.chunks_exact(PATCHES).enumerate() {
        let to = &mut rows_gradient[row(channel) * PATCHES..][..PATCHES];
        to.iter_mut().zip(sums).for_each(|(to, &from)| *to += from);
    }
}
