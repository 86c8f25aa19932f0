//! The residual network up to its last feature map, forward and backward; see `model/resnet.rs`.

use super::{
    layers::{
        Context, Layer, Layout, REFLECT_LEAKY, REFLECT_LINEAR, Size, Target, geometry, planes,
    },
    pool::Buffer,
};
use crate::{Result, ops::conv::OutputGradient, simd::Lanes};

/// The layers.
#[derive(Clone, Debug)]
pub(super) struct ResNet {
    first: Layer,
    blocks: Vec<[Layer; 2]>,
}

/// What a forward pass left behind.
pub(super) struct ResNetPass<T> {
    size: Size,
    /// h_0 to h_B.
    maps: Vec<Buffer<T>>,
    /// L(U_k * h_(k-1)) of every block.
    middles: Vec<Buffer<T>>,
}

impl<T> ResNetPass<T> {
    /// h_B: (N, w, H, W).
    pub fn finest(&self) -> &[T] {
        self.maps.last().map_or(&[], |map| map)
    }
}

impl ResNet {
    pub fn new(layout: &Layout, blocks: usize) -> Result<Self> {
        let layer = |name: String| Layer::new(layout, &format!("backbonenet.resnet.{name}"));
        let block = |number: usize| -> Result<[Layer; 2]> {
            Ok([layer(format!("block{number}.conv1"))?, layer(format!("block{number}.conv2"))?])
        };
        Ok(Self {
            first: layer("conv_first".into())?,
            blocks: (1..=blocks).map(block).collect::<Result<_>>()?,
        })
    }

    /// x: (N, C, H, W).
    pub fn forward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        size: Size,
    ) -> Result<ResNetPass<T>> {
        let g = geometry(REFLECT_LEAKY, &self.first.shape, size)?;
        let mut h = context.layer(&g, &self.first, &planes(x, self.first.shape[1], size));
        let (mut maps, mut middles) = (Vec::new(), Vec::new());
        let width = self.first.outputs();
        for [inner, outer] in &self.blocks {
            let g = geometry(REFLECT_LEAKY, &inner.shape, size)?;
            let middle = context.layer(&g, inner, &planes(&h, width, size));
            let g = geometry(REFLECT_LINEAR, &outer.shape, size)?;
            let mut next = context.layer(&g, outer, &planes(&middle, width, size));
            next.iter_mut().zip(h.iter()).for_each(|(to, &from)| *to += from);
            maps.push(std::mem::replace(&mut h, next));
            middles.push(middle);
        }
        maps.push(h);
        Ok(ResNetPass { size, maps, middles })
    }

    /// Stores all gradients, from the one to the last feature map.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        pass: ResNetPass<T>,
        mut gradient: Buffer<T>,
    ) -> Result<()> {
        let ResNetPass { size, mut maps, middles } = pass;
        let (width, weights) = (self.first.outputs(), context.weights);
        for (number, middle) in middles.into_iter().enumerate().rev() {
            let [inner, outer] = &self.blocks[number];
            let mut middle_gradient = context.pool.take(middle.len());
            {
                let g = geometry(REFLECT_LINEAR, &outer.shape, size)?;
                let gradient = OutputGradient::new(&g, &gradient, &[]);
                context.layer_sums(&g, outer, &planes(&middle, width, size), &gradient);
                let parts = &mut [(&mut middle_gradient[..], width, Target::Store)];
                context.input_gradient(&g, &weights[outer.weight.clone()], &gradient, parts);
            }
            let g = geometry(REFLECT_LEAKY, &inner.shape, size)?;
            let through = OutputGradient::new(&g, &middle_gradient, &middle);
            context.layer_sums(&g, inner, &planes(&maps[number], width, size), &through);
            // What reaches h_(k-1) past the block is there already.
            let parts = &mut [(&mut gradient[..], width, Target::Add)];
            context.input_gradient(&g, &weights[inner.weight.clone()], &through, parts);
            context.pool.give(middle_gradient);
            context.pool.give(middle);
            maps.pop().into_iter().for_each(|map| context.pool.give(map));
        }
        let g = geometry(REFLECT_LEAKY, &self.first.shape, size)?;
        {
            let gradient = OutputGradient::new(&g, &gradient, &maps[0]);
            let input = planes(x, self.first.shape[1], size);
            context.layer_sums(&g, &self.first, &input, &gradient);
        }
        maps.into_iter().for_each(|map| context.pool.give(map));
        context.pool.give(gradient);
        Ok(())
    }
}
