//! The U-Net up to its finest feature map, forward and backward.

use super::{
    layers::{
        Context, Double, DoublePass, Layer, Layout, REFLECT_LINEAR, Size, Target, geometry, planes,
    },
    pool::Buffer,
};
use crate::{
    Result,
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
pub(super) struct Unet {
    down: Vec<Double>,
    projections: Vec<Layer>,
    up: Vec<Double>,
}

/// What a forward pass left behind.
pub(super) struct UnetPass<T> {
    /// Of each level.
    sizes: Vec<Size>,
    down: Vec<DoublePass<T>>,
    /// Inputs of the levels below the first.
    pooled: Vec<Buffer<T>>,
    projected: Vec<Buffer<T>>,
    up: Vec<DoublePass<T>>,
}

impl<T> UnetPass<T> {
    /// Output and size of encoder level `level`.
    pub fn encoder(&self, level: usize) -> (&[T], Size) {
        (&self.down[level].out, self.sizes[level])
    }

    /// (N, w1, H, W).
    pub fn finest(&self) -> &[T] {
        self.up.last().map_or(&[], |pass| &pass.out)
    }
}

impl Unet {
    pub fn new(layout: &Layout) -> Result<Self> {
        let name = |name: &str| format!("backbonenet.unet.{name}");
        let double = |layer: String| Double::new(layout, &name(&layer));
        Ok(Self {
            down: (1..=5).map(|n| double(format!("dconv_down{n}"))).collect::<Result<_>>()?,
            projections: (1..=4)
                .map(|n| Layer::new(layout, &name(&format!("up_conv1x1_{n}"))))
                .collect::<Result<_>>()?,
            up: (1..=4).rev().map(|n| double(format!("dconv_up{n}"))).collect::<Result<_>>()?,
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
    ) -> Result<UnetPass<T>> {
        let mut sizes = vec![size];
        let channels = self.down[0].0[0].shape[1];
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
        Ok(UnetPass { sizes, down, pooled, projected, up })
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

    /// Stores all gradients, from the one to the finest feature map. `encoder` holds gradients that the
    /// finest levels of the encoder have from elsewhere, level by level.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        pass: UnetPass<T>,
        gradient: Buffer<T>,
        encoder: Vec<Buffer<T>>,
    ) -> Result<()> {
        let UnetPass { sizes, down, pooled, projected, mut up } = pass;
        let mut level_gradient = gradient;
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
            let (size, channels) = (sizes[0], self.down[0].0[0].shape[1]);
            let input = planes(x, channels, size);
            self.down[0].backward(context, pass, &input, size, level_gradient, &mut [])?;
        }
        Ok(())
    }
}
