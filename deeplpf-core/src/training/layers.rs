//! Convolutions on plain memory: forward, and both gradients.

use std::{collections::BTreeMap, ops::Range};

use super::pool::{Buffer, Pool};
use crate::{
    CoreError, Result,
    ops::conv::{
        Activation, Conv2d, Geometry, OutputGradient, Padding, Part, PartGradient, PlaneGradients,
        Planes, forward_into, input_gradient_into, weight_gradient_into, weight_gradient_room,
    },
    simd::{Instructions, Lanes},
};

/// 3x3 with reflection padding and LeakyReLU.
pub(super) const REFLECT_LEAKY: Conv2d =
    Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::LeakyRelu };
/// Without activation.
pub(super) const REFLECT_LINEAR: Conv2d =
    Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::Identity };
/// The heads' convolution.
pub(super) const STRIDED_LEAKY: Conv2d =
    Conv2d { padding: Padding::Zero, stride: 2, activation: Activation::LeakyRelu };

/// Number, height and width of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
}

impl Size {
    pub fn plane(self) -> usize {
        self.height * self.width
    }

    /// After 2x2 pooling.
    pub fn halved(self) -> Self {
        Self { height: self.height / 2, width: self.width / 2, ..self }
    }

    /// Numbers of `channels` channels of all images.
    pub fn numbers(self, channels: usize) -> usize {
        self.batch * channels * self.plane()
    }
}

/// Where every parameter stands in one vector of them all, in the order of names.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    places: BTreeMap<String, (Range<usize>, Vec<usize>)>,
    pub length: usize,
}

impl Layout {
    pub fn new(parameters: &crate::Parameters) -> Self {
        let mut length = 0;
        let places = parameters
            .iter()
            .map(|(name, variable)| {
                let start = length;
                length += variable.elem_count();
                (name.to_string(), (start..length, variable.dims().to_vec()))
            })
            .collect();
        Self { places, length }
    }

    /// Place and shape of the parameter `name`.
    pub fn get(&self, name: &str) -> Result<(Range<usize>, &[usize])> {
        match self.places.get(name) {
            Some((range, shape)) => Ok((range.clone(), shape)),
            None => Err(CoreError::Config(format!("the model has no parameter {name}"))),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Range<usize>, &[usize])> {
        self.places.iter().map(|(name, (range, shape))| (name.as_str(), range, &shape[..]))
    }
}

/// A layer's weight and bias in the vector of parameters.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    /// (O, C, K, K), or (O, C) of a linear layer.
    pub shape: Vec<usize>,
}

impl Layer {
    /// The layer called `name`.
    pub fn new(layout: &Layout, name: &str) -> Result<Self> {
        let (weight, shape) = layout.get(&format!("{name}.weight"))?;
        let (bias, _) = layout.get(&format!("{name}.bias"))?;
        Ok(Self { weight, bias, shape: shape.to_vec() })
    }

    pub fn outputs(&self) -> usize {
        self.shape[0]
    }
}

/// One convolution at one size.
pub(super) fn geometry(kind: Conv2d, shape: &[usize], size: Size) -> Result<Geometry> {
    let input = [size.batch, shape[1], size.height, size.width];
    Ok(kind.geometry(&input, shape, &[shape[0]])?)
}

/// The size of a convolution's output.
pub(super) fn size_out(g: &Geometry) -> Size {
    Size { batch: g.batch, height: g.height_out, width: g.width_out }
}

/// All channels of one tensor.
pub(super) fn planes<T>(values: &[T], channels: usize, size: Size) -> Planes<'_, T> {
    Planes { parts: vec![Part::whole(values, channels)], height: size.height, width: size.width }
}

/// What all layers work with.
pub(super) struct Context<'a, T> {
    pub instructions: Instructions,
    /// All parameters.
    pub weights: &'a [T],
    /// Their gradients; every part is stored once by the layer it belongs to.
    pub gradients: &'a mut [T],
    pub pool: &'a mut Pool<T>,
}

impl<T: Lanes> Context<'_, T> {
    /// A convolution's output.
    pub fn convolve(
        &mut self,
        g: &Geometry,
        planes: &Planes<'_, T>,
        parameters: (&[T], &[T]),
    ) -> Buffer<T> {
        let mut out = self.pool.take(g.batch * g.channels_out * g.plane_out());
        forward_into(self.instructions, g, planes, parameters, &mut out);
        out
    }

    /// The output of a layer.
    pub fn layer(&mut self, g: &Geometry, layer: &Layer, planes: &Planes<'_, T>) -> Buffer<T> {
        let weights = self.weights;
        let parameters = (&weights[layer.weight.clone()], &weights[layer.bias.clone()]);
        self.convolve(g, planes, parameters)
    }

    /// Gradients to weight and bias of any convolution.
    pub fn sums(
        &mut self,
        g: &Geometry,
        planes: &Planes<'_, T>,
        gradient: &OutputGradient<'_, T>,
    ) -> (Buffer<T>, Buffer<T>) {
        let mut weight = self.pool.take(g.channels_out * g.channels_in * g.kernel * g.kernel);
        let mut bias = self.pool.take(g.channels_out);
        let mut room = self.pool.take(weight_gradient_room::<T>(self.instructions, g));
        let out = (&mut weight[..], &mut bias[..]);
        weight_gradient_into(self.instructions, g, planes, gradient, &mut room, out);
        self.pool.give(room);
        (weight, bias)
    }

    /// Stores the gradients to a layer's weight and bias.
    pub fn layer_sums(
        &mut self,
        g: &Geometry,
        layer: &Layer,
        planes: &Planes<'_, T>,
        gradient: &OutputGradient<'_, T>,
    ) {
        let (weight, bias) = self.sums(g, planes, gradient);
        self.store(layer, &weight, &bias);
        self.pool.give(weight);
        self.pool.give(bias);
    }

    /// Stores gradients that have been computed.
    pub fn store(&mut self, layer: &Layer, weight: &[T], bias: &[T]) {
        self.gradients[layer.weight.clone()].copy_from_slice(weight);
        self.gradients[layer.bias.clone()].copy_from_slice(bias);
    }

    /// The gradient to a convolution's input, stored into or added to each part: values, channels,
    /// how.
    pub fn input_gradient(
        &mut self,
        g: &Geometry,
        weight: &[T],
        gradient: &OutputGradient<'_, T>,
        parts: &mut [(&mut [T], usize, Target)],
    ) {
        let mut channels = 0;
        let targets = parts
            .iter_mut()
            .map(|(values, count, into)| {
                channels += *count;
                let (height, width) = match into {
                    Target::Doubled => (g.height / 2, g.width / 2),
                    _ => (g.height, g.width),
                };
                assert_eq!(values.len(), g.batch * *count * height * width);
                match into {
                    Target::Doubled => PartGradient::doubled(values, *count),
                    into => PartGradient::new(values, *count, *into == Target::Add),
                }
            })
            .collect();
        assert_eq!(channels, g.channels_in);
        // SAFETY: the sizes were checked, and the slices outlive the call.
        let target = unsafe { PlaneGradients::of_parts(targets, g.height, g.width) };
        input_gradient_into(self.instructions, g, weight, gradient, &target);
    }
}

/// How a gradient reaches its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Overwriting what is there.
    Store,
    /// Added to what is there.
    Add,
    /// Overwriting, summed over the 2x2 pixels that show each pixel.
    Doubled,
}

/// Two 3x3 layers in a row.
#[derive(Clone, Debug)]
pub(super) struct Double(pub [Layer; 2]);

/// What a double layer left behind.
pub(super) struct DoublePass<T> {
    middle: Buffer<T>,
    pub out: Buffer<T>,
}

impl Double {
    pub fn new(layout: &Layout, name: &str) -> Result<Self> {
        Ok(Self([
            Layer::new(layout, &format!("{name}.conv1"))?,
            Layer::new(layout, &format!("{name}.conv2"))?,
        ]))
    }

    fn geometries(&self, size: Size) -> Result<[Geometry; 2]> {
        let [first, second] = &self.0;
        Ok([
            geometry(REFLECT_LEAKY, &first.shape, size)?,
            geometry(REFLECT_LEAKY, &second.shape, size)?,
        ])
    }

    pub fn forward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        input: &Planes<'_, T>,
        size: Size,
    ) -> Result<DoublePass<T>> {
        let [first, second] = self.geometries(size)?;
        let middle = context.layer(&first, &self.0[0], input);
        let channels = self.0[0].outputs();
        let out = context.layer(&second, &self.0[1], &planes(&middle, channels, size));
        Ok(DoublePass { middle, out })
    }

    /// Stores the parameters' gradients and, with `parts`, those to the input; takes its memory back.
    pub fn backward<T: Lanes>(
        &self,
        context: &mut Context<'_, T>,
        pass: DoublePass<T>,
        input: &Planes<'_, T>,
        size: Size,
        gradient: Buffer<T>,
        parts: &mut [(&mut [T], usize, Target)],
    ) -> Result<()> {
        let [g1, g2] = self.geometries(size)?;
        let [first, second] = &self.0;
        let channels = first.outputs();
        let weights = context.weights;
        let mut middle = context.pool.take(pass.middle.len());
        {
            let gradient = OutputGradient::new(&g2, &gradient, &pass.out);
            context.layer_sums(&g2, second, &planes(&pass.middle, channels, size), &gradient);
            let parts = &mut [(&mut middle[..], channels, Target::Store)];
            context.input_gradient(&g2, &weights[second.weight.clone()], &gradient, parts);
        }
        context.pool.give(gradient);
        {
            let gradient = OutputGradient::new(&g1, &middle, &pass.middle);
            context.layer_sums(&g1, first, input, &gradient);
            if !parts.is_empty() {
                context.input_gradient(&g1, &weights[first.weight.clone()], &gradient, parts);
            }
        }
        for buffer in [middle, pass.middle, pass.out] {
            context.pool.give(buffer);
        }
        Ok(())
    }
}
