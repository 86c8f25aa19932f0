//! The backbone, forward and backward: a body, the last layers and the long skip.

use super::{
    layers::{Context, Double, DoublePass, Layout, Size, Target, planes},
    pool::Buffer,
    resnet::{ResNet, ResNetPass},
    unet::{Unet, UnetPass},
};
use crate::{BackboneKind, Input, ModelConfig, Result, simd::Lanes};

/// What makes the finest feature map.
#[derive(Clone, Debug)]
enum Body {
    Unet(Unet),
    ResNet(ResNet),
}

/// The layers.
#[derive(Clone, Debug)]
pub(super) struct Backbone {
    input: Input,
    body: Body,
    last: Double,
}

enum BodyPass<T> {
    Unet(UnetPass<T>),
    ResNet(ResNetPass<T>),
}

/// What a forward pass left behind.
pub(super) struct BackbonePass<T> {
    body: BodyPass<T>,
    last: DoublePass<T>,
    /// Of the input.
    size_in: Size,
    /// The backbone's image, (N, 3, sH, sW).
    pub residual: Buffer<T>,
    /// Its size.
    pub size: Size,
}

impl<T> BodyPass<T> {
    fn finest(&self) -> &[T] {
        match self {
            BodyPass::Unet(pass) => pass.finest(),
            BodyPass::ResNet(pass) => pass.finest(),
        }
    }
}

impl<T> BackbonePass<T> {
    /// Output and size of encoder level `level`; `None` for a body without encoder.
    pub fn encoder(&self, level: usize) -> Option<(&[T], Size)> {
        match &self.body {
            BodyPass::Unet(pass) => Some(pass.encoder(level)),
            BodyPass::ResNet(_) => None,
        }
    }
}

impl Backbone {
    pub fn new(layout: &Layout, config: &ModelConfig) -> Result<Self> {
        let body = match config.backbone {
            BackboneKind::Unet => Body::Unet(Unet::new(layout)?),
            BackboneKind::ResNet => Body::ResNet(ResNet::new(layout, config.blocks)?),
        };
        let last =
            Double::new(layout, &format!("backbonenet.{}.conv_last", config.backbone.name()))?;
        Ok(Self { input: config.input, body, last })
    }

    /// x: (N, C, H, W).
    pub fn forward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        size: Size,
    ) -> Result<BackbonePass<T>> {
        let body = match &self.body {
            Body::Unet(unet) => BodyPass::Unet(unet.forward(context, x, size)?),
            Body::ResNet(resnet) => BodyPass::ResNet(resnet.forward(context, x, size)?),
        };
        let width = self.last.0[0].shape[1];
        let last = self.last.forward(context, &planes(body.finest(), width, size), size)?;
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
        Ok(BackbonePass { body, last, size_in: size, residual, size: out })
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

    /// Stores all gradients of the backbone, from the one to its image. `encoder` holds gradients that
    /// the finest levels of the encoder have from elsewhere, level by level.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        x: &[T],
        pass: BackbonePass<T>,
        gradient: Buffer<T>,
        encoder: Vec<Buffer<T>>,
    ) -> Result<()> {
        let BackbonePass { body, last, size_in: size, residual, .. } = pass;
        context.pool.give(residual);
        let gradient = if self.input == Input::Rgb {
            gradient
        } else {
            let mut last = context.pool.take(gradient.len());
            self.unshuffle(&gradient, size, &mut last);
            context.pool.give(gradient);
            last
        };
        let width = self.last.0[0].shape[1];
        let mut finest = context.pool.take(size.numbers(width));
        let parts = &mut [(&mut finest[..], width, Target::Store)];
        let input = planes(body.finest(), width, size);
        self.last.backward(context, last, &input, size, gradient, parts)?;
        match (&self.body, body) {
            (Body::Unet(unet), BodyPass::Unet(pass)) => {
                unet.backward(context, x, pass, finest, encoder)
            }
            (Body::ResNet(resnet), BodyPass::ResNet(pass)) => {
                resnet.backward(context, x, pass, finest)
            }
            _ => unreachable!("a pass is of the body that made it"),
        }
    }
}
