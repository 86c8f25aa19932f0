//! The U-Net, forward and backward.

use super::{
    layers::{
        Context, Double, DoublePass, Layer, Layout, REFLECT_LINEAR, Size, Target, geometry, planes,
    },
    pool::Buffer,
};
use crate::{
    Input, ModelConfig, Result,
    ops::{
        conv::{OutputGradient, Part, Planes},
        max_pool::{pool_gradient, pool_into},
    },
    simd::Lanes,
};

/// Levels of the encoder.
const LEVELS: usize = 5;

/// The U-Net's layers.
#[derive(Clone, Debug)]
pub(super) struct Backbone {
    input: Input,
    down: Vec<Double>,
    projections: Vec<Layer>,
    up: Vec<Double>,
    last: Double,
}

/// What a forward pass left behind.
pub(super) struct BackbonePass<T> {
    /// Of each level.
    sizes: Vec<Size>,
    down: Vec<DoublePass<T>>,
    /// Inputs of the levels below the first.
    pooled: Vec<Buffer<T>>,
    projected: Vec<Buffer<T>>,
    up: Vec<DoublePass<T>>,
    last: DoublePass<T>,
    /// The U-Net's image, (N, 3, sH, sW).
    pub residual: Buffer<T>,
    /// Its size.
    pub size: Size,
}

impl<T> BackbonePass<T> {
    /// Output and size of encoder level `level`.
    pub fn encoder(&self, level: usize) -> (&[T], Size) {
        (&self.down[level].out, self.sizes[level])
    }
}

impl Backbone {
    pub fn new(layout: &Layout, config: &ModelConfig) -> Result<Self> {
        let name = |name: &str| format!("backbonenet.unet.{name}");
        let double = |layer: String| Double::new(layout, &name(&layer));
        Ok(Self {
            input: config.input,
            down: (1..=5).map(|n| double(format!("dconv_down{n}"))).collect::<Result<_>>()?,
            projections: (1..=4)
                .map(|n| Layer::new(layout, &name(&format!("up_conv1x1_{n}"))))
                .collect::<Result<_>>()?,
            up: (1..=4).rev().map(|n| double(format!("dconv_up{n}"))).collect::<Result<_>>()?,
            last: double("conv_last".into())?,
        })
    }

    fn width(&self, level: usize) -> usize {
        self.down[level].0[1].outputs()
    }

    /// x: (N, C, H, W).
    pub fn forward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        size: Size,
    ) -> Result<BackbonePass<T>> {
        let mut sizes = vec![size];
        let channels = self.input.channels();
        let mut down = vec![self.down[0].forward(context, &planes(x, channels, size), size)?];
        let mut pooled = Vec::new();
        for level in 1..LEVELS {
            let (above, width) = (sizes[level - 1], self.width(level - 1));
            let size = above.halved();
            let mut input = context.pool.take(size.numbers(width));
            pool_into(&down[level - 1].out, (above.height, above.width), &mut input);
            down.push(self.down[level].forward(context, &planes(&input, width, size), size)?);
            pooled.push(input);
            sizes.push(size);
        }
        let (mut projected, mut up): (Vec<_>, Vec<DoublePass<T>>) = (Vec::new(), Vec::new());
        for (step, level) in (0..LEVELS - 1).rev().enumerate() {
            let below = sizes[level + 1];
            let projection = &self.projections[step];
            let width = projection.outputs();
            let g = geometry(REFLECT_LINEAR, &projection.shape, below)?;
            let coarse = up.last().map_or(&down[LEVELS - 1].out, |pass| &pass.out);
            let coarse = context.layer(&g, projection, &planes(coarse, width, below));
            let joint = self.joint((&coarse, width), &down[level].out, level, sizes[level]);
            up.push(self.up[step].forward(context, &joint, sizes[level])?);
            projected.push(coarse);
        }
        let width = self.last.0[0].shape[1];
        let finest = &up[up.len() - 1].out;
        let last = self.last.forward(context, &planes(finest, width, size), size)?;
        let scale = self.input.scale();
        let out = Size { height: scale * size.height, width: scale * size.width, ..size };
        let mut residual = context.pool.take(out.numbers(3));
        if self.input == Input::Rgb {
            for ((to, &a), &b) in residual.iter_mut().zip(last.out.iter()).zip(x) {
                *to = a + b;
            }
        } else {
            self.shuffle(&last.out, x, size, &mut residual);
        }
        Ok(BackbonePass { sizes, down, pooled, projected, up, last, residual, size: out })
    }

    /// The input of the decoder at `level`.
    fn joint<'a, T>(
        &self,
        (coarse, width): (&'a [T], usize),
        skip: &'a [T],
        level: usize,
        size: Size,
    ) -> Planes<'a, T> {
        let coarse = Part { doubled: true, ..Part::whole(coarse, width) };
        let parts = vec![coarse, Part::whole(skip, self.width(level))];
        Planes { parts, height: size.height, width: size.width }
    }

    /// Pixel shuffle of the last layer plus the mean of each colour's channels, repeated.
    fn shuffle<T: Lanes>(&self, last: &[T], x: &[T], size: Size, residual: &mut [T]) {
        let (s, plane, inputs) = (self.input.scale(), size.plane(), self.input.channels());
        for (index, to) in residual.chunks_exact_mut(s * s * plane).enumerate() {
            let (image, colour) = (index / 3, index % 3);
            let channels = self.input.colours()[colour];
            let count = T::of(channels.len() as f64);
            for (row, to) in to.chunks_exact_mut(s * size.width).enumerate() {
                for (column, to) in to.iter_mut().enumerate() {
                    let at = row / s * size.width + column / s;
                    let phase = row % s * s + column % s;
                    let mut sum = T::zero();
                    for channel in channels {
                        sum += x[(image * inputs + channel) * plane + at];
                    }
                    *to = last[(index * s * s + phase) * plane + at] + sum / count;
                }
            }
        }
    }

    /// The transpose of the pixel shuffle.
    fn unshuffle<T: Lanes>(&self, gradient: &[T], size: Size, last: &mut [T]) {
        let (s, plane) = (self.input.scale(), size.plane());
        for (index, from) in gradient.chunks_exact(s * s * plane).enumerate() {
            for (row, from) in from.chunks_exact(s * size.width).enumerate() {
                for (column, &from) in from.iter().enumerate() {
                    let phase = row % s * s + column % s;
                    let at = row / s * size.width + column / s;
                    last[(index * s * s + phase) * plane + at] = from;
                }
            }
        }
    }

    /// Stores all gradients of the U-Net, from the one to its image. `encoder` holds gradients that
    /// the finest levels of the encoder have from elsewhere, level by level.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        pass: BackbonePass<T>,
        gradient: Buffer<T>,
        encoder: Vec<Buffer<T>>,
    ) -> Result<()> {
        let BackbonePass { sizes, down, pooled, projected, mut up, last, residual, .. } = pass;
        context.pool.give(residual);
        let size = sizes[0];
        let gradient = if self.input == Input::Rgb {
            gradient
        } else {
            let mut last = context.pool.take(gradient.len());
            self.unshuffle(&gradient, size, &mut last);
            context.pool.give(gradient);
            last
        };
        let width = self.last.0[0].shape[1];
        let mut level_gradient = context.pool.take(size.numbers(width));
        {
            let finest = &up[up.len() - 1].out;
            let parts = &mut [(&mut level_gradient[..], width, Target::Store)];
            let input = planes(finest, width, size);
            self.last.backward(context, last, &input, size, gradient, parts)?;
        }
        let mut encoder: Vec<Option<Buffer<T>>> = encoder.into_iter().map(Some).collect();
        encoder.resize_with(LEVELS, || None);
        let mut skips = Vec::new();
        for (step, coarse) in projected.into_iter().enumerate().rev() {
            let level = LEVELS - 2 - step;
            let (size, below) = (sizes[level], sizes[level + 1]);
            let projection = &self.projections[step];
            let width = projection.outputs();
            let skip = &down[level].out;
            let (mut skip_gradient, into) = match encoder[level].take() {
                Some(gradient) => (gradient, Target::Add),
                None => (context.pool.take(skip.len()), Target::Store),
            };
            let mut coarse_gradient = context.pool.take(coarse.len());
            if let Some(pass) = up.pop() {
                let input = self.joint((&coarse, width), skip, level, size);
                let parts = &mut [
                    (&mut coarse_gradient[..], width, Target::Doubled),
                    (&mut skip_gradient[..], self.width(level), into),
                ];
                self.up[step].backward(context, pass, &input, size, level_gradient, parts)?;
            }
            skips.push(skip_gradient);
            context.pool.give(coarse);
            let g = geometry(REFLECT_LINEAR, &projection.shape, below)?;
            let source = up.last().map_or(&down[LEVELS - 1].out, |pass| &pass.out);
            level_gradient = context.pool.take(source.len());
            let gradient = OutputGradient::new(&g, &coarse_gradient, &[]);
            context.layer_sums(&g, projection, &planes(source, width, below), &gradient);
            let parts = &mut [(&mut level_gradient[..], width, Target::Store)];
            let weights = context.weights;
            context.input_gradient(&g, &weights[projection.weight.clone()], &gradient, parts);
            context.pool.give(coarse_gradient);
        }
        let mut down = down;
        for level in (1..LEVELS).rev() {
            let (Some(pass), Some(mut above)) = (down.pop(), skips.pop()) else { break };
            let (size, finer, width) = (sizes[level], sizes[level - 1], self.width(level - 1));
            let input = &pooled[level - 1];
            let mut pooled_gradient = context.pool.take(input.len());
            let parts = &mut [(&mut pooled_gradient[..], width, Target::Store)];
            let input = planes(input, width, size);
            self.down[level].backward(context, pass, &input, size, level_gradient, parts)?;
            let finer = (finer.height, finer.width);
            pool_gradient(&down[level - 1].out, finer, &pooled_gradient, &mut above);
            context.pool.give(pooled_gradient);
            level_gradient = above;
        }
        pooled.into_iter().for_each(|buffer| context.pool.give(buffer));
        if let Some(pass) = down.pop() {
            let input = planes(x, self.input.channels(), size);
            self.down[0].backward(context, pass, &input, size, level_gradient, &mut [])?;
        }
        Ok(())
    }
}
