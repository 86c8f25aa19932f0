//! The U-Net and the convolution that yields Y1, forward and backward.
//!
//! Feature maps that a 3x3 convolution reads are written with their reflected border by the kernel
//! before it, and both arms of a joint are written into one tensor by whoever makes them, so no pass
//! exists only to pad or to concatenate.

use super::{
    super::{
        error::CudaError,
        kernels::{Slope, StripRows},
        span::{Activation, Span},
    },
    maps::Maps,
    recorder::{Kernel, Layer, Number, Recorder},
};

/// Two convolutions in a row; the second's output is not activated yet.
struct Double<T> {
    name: String,
    first: Layer<T>,
    /// The first's result with border.
    activated: Maps<T>,
    second: Layer<T>,
}

impl<T: Number> Double<T> {
    fn record(
        recorder: &mut Recorder,
        name: &str,
        input: Maps<T>,
        width: usize,
        input_gradient: bool,
    ) -> Result<Self, CudaError> {
        let name = format!("backbonenet.unet.{name}");
        let kernel = Kernel::bordered(width);
        let first = recorder.convolve(&format!("{name}.conv1"), input, kernel, input_gradient)?;
        let activated = recorder.maps(first.raw.shape(), 1);
        recorder.activate(&format!("{name}.conv1"), first.raw, Slope::Leaky, activated)?;
        let second = recorder.convolve(&format!("{name}.conv2"), activated, kernel, true)?;
        Ok(Self { name, first, activated, second })
    }

    /// Name of the second convolution.
    fn last(&self) -> String {
        format!("{}.conv2", self.name)
    }

    /// From the gradient of the second's raw output to that of the first's.
    fn backward_to_first(
        &self,
        recorder: &mut Recorder,
        output: Maps<T>,
    ) -> Result<Maps<T>, CudaError> {
        let activated = recorder.backward(&self.second, output);
        let name = format!("{}.conv1", self.name);
        recorder.activate_backward(&name, self.activated, activated, Slope::Leaky)
    }

    /// From the gradient of the second's raw output to that of the input.
    fn backward(&self, recorder: &mut Recorder, output: Maps<T>) -> Result<Maps<T>, CudaError> {
        let first = self.backward_to_first(recorder, output)?;
        Ok(recorder.backward(&self.first, first))
    }
}

/// A level of the encoder but the last.
struct Down<T> {
    double: Double<T>,
    /// [upsampled, skip] with border; the skip is this level's result.
    joint: Maps<T>,
    upsampled: usize,
}

/// A level of the decoder.
struct Up<T> {
    projection: Layer<T>,
    double: Double<T>,
    /// Its result.
    activated: Maps<T>,
}

/// What was recorded of the backbone.
pub(in super::super) struct Backbone<T> {
    down: Vec<Down<T>>,
    bottom: Double<T>,
    /// The bottom's result.
    bottom_activated: Maps<T>,
    up: Vec<Up<T>>,
    last: Double<T>,
    image_layer: Layer<f32>,
    /// The U-Net's image with border.
    pub residual: Maps<f32>,
    /// Y1.
    pub image: Maps<f32>,
}

impl<T: Number + Activation> Backbone<T> {
    /// Records the forward pass on `input`, the photographs with border; `rounded` are the same in
    /// the convolutions' numbers. The encoder's finest levels are resized into `levels`, as many as
    /// there are; of a strip of a taller photograph the rows that lie in it, which `strip` says
    /// ([`StripRows::rows`]).
    pub fn record(
        recorder: &mut Recorder,
        widths: [usize; 5],
        (input, rounded): (Maps<f32>, Maps<T>),
        levels: &[Maps<T>],
        strip: Option<Span<f32>>,
    ) -> Result<Self, CudaError> {
        let gpu = recorder.gpu();
        let mut down = Vec::new();
        let mut level = rounded;
        for number in 0..4 {
            let name = format!("dconv_down{}", number + 1);
            let width = widths[number];
            let double = Double::record(recorder, &name, level, width, number > 0)?;
            // What comes up from below has the width of the level below: the decoder's result
            // there, or the bottom's.
            let upsampled = widths[number + 1];
            let raw = double.second.raw;
            let [batch, _, height, columns] = raw.shape();
            let joint = recorder.maps::<T>([batch, upsampled + width, height, columns], 1);
            let skip = joint.channels(upsampled, width);
            let pooled = recorder.maps::<T>([batch, width, height / 2, columns / 2], 1);
            let bias = recorder.parameter(&format!("{}.bias", double.last()))?;
            let gpu = gpu.clone();
            recorder.tape.push(
                "activate and pool",
                [raw.tensor, bias, joint.tensor, pooled.tensor],
                move |[a, b, c, d]| {
                    let (raw, skip, pooled) = (raw.planes(a)?, skip.planes(c)?, pooled.planes(d)?);
                    gpu.kernels.activate_pool(gpu.stream(), raw, b.span(), Some(skip), pooled)
                },
            );
            if let Some(&out) = levels.get(number) {
                let gpu = recorder.gpu();
                let strip = strip.map(|rows| StripRows { rows, level: number as u32 });
                recorder.tape.push("resize a level", [joint.tensor, out.tensor], move |[a, b]| {
                    let (skip, out) = (skip.planes(a)?, out.planes(b)?);
                    gpu.kernels.resize(gpu.stream(), skip, out, strip)
                });
            }
            down.push(Down { double, joint, upsampled });
            level = pooled;
        }
        let bottom = Double::record(recorder, "dconv_down5", level, widths[4], true)?;
        let bottom_activated = recorder.maps::<T>(bottom.second.raw.shape(), 0);
        recorder.activate(&bottom.last(), bottom.second.raw, Slope::Leaky, bottom_activated)?;
        let mut coarse = bottom_activated;
        let mut up = Vec::new();
        for step in 0..4 {
            let number = 3 - step;
            let name = format!("backbonenet.unet.up_conv1x1_{}", step + 1);
            let kernel = Kernel::pointwise(coarse.channels);
            let projection = recorder.convolve(&name, coarse, kernel, true)?;
            let Down { joint, upsampled, .. } = down[number];
            let out = joint.channels(0, upsampled);
            let raw = projection.raw;
            let bias = recorder.parameter(&format!("{name}.bias"))?;
            let gpu = gpu.clone();
            let tensors = [raw.tensor, bias, out.tensor];
            recorder.tape.push("upsample", tensors, move |[a, b, c]| {
                let (raw, out) = (raw.planes(a)?, out.planes(c)?);
                gpu.kernels.join_upsampled(gpu.stream(), raw, b.span(), out)
            });
            let name = format!("dconv_up{}", number + 1);
            let double = Double::record(recorder, &name, joint, widths[number], true)?;
            // Read by a 1x1 convolution, the last one by a 3x3.
            let border = usize::from(step == 3);
            let activated = recorder.maps::<T>(double.second.raw.shape(), border);
            recorder.activate(&double.last(), double.second.raw, Slope::Leaky, activated)?;
            up.push(Up { projection, double, activated });
            coarse = activated;
        }
        let last = Double::record(recorder, "conv_last", coarse, 3, true)?;
        let residual = recorder.maps::<f32>(input.shape(), 1);
        let raw = last.second.raw;
        let bias = recorder.parameter(&format!("{}.bias", last.last()))?;
        recorder.tape.push(
            "residual",
            [raw.tensor, bias, input.tensor, residual.tensor],
            move |[a, b, c, d]| {
                let (raw, input, out) = (raw.planes(a)?, input.planes(c)?, residual.planes(d)?);
                gpu.kernels.residual(gpu.stream(), raw, b.span(), input, out)
            },
        );
        // Y1 in single precision always: 8 bits of mantissa would show in the picture.
        let kernel = Kernel::bordered(3);
        let image_layer =
            recorder.convolve::<f32>("backbonenet.final_conv", residual, kernel, true)?;
        let image = image_layer.raw;
        recorder.activate("backbonenet.final_conv", image, Slope::Identity, image)?;
        Ok(Self { down, bottom, bottom_activated, up, last, image_layer, residual, image })
    }

    /// Records the way back of the last convolution: the gradients of Y1's outputs of it, and the
    /// gradient of the U-Net's image that comes through them, with border.
    pub fn backward_image(
        &self,
        recorder: &mut Recorder,
        image: Maps<f32>,
    ) -> Result<Maps<f32>, CudaError> {
        let name = "backbonenet.final_conv";
        let raw = recorder.activate_backward(name, self.image, image, Slope::Identity)?;
        Ok(recorder.backward(&self.image_layer, raw))
    }

    /// Records the way back of the U-Net. `residual`: gradient of its image through Y1, with border;
    /// `further`: through the heads, without; `levels`: gradients of the levels that were resized.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        residual: Maps<f32>,
        further: Option<Maps<f32>>,
        levels: &[Maps<T>],
    ) -> Result<(), CudaError> {
        let output = self.backward_residual(recorder, residual, further)?;
        let mut gradient = self.last.backward(recorder, output)?;
        // Of every encoder level, the finest first: the gradient of its result through the joint.
        let mut skips: Vec<Maps<T>> = Vec::new();
        for (number, up) in self.up.iter().rev().enumerate() {
            let name = up.double.last();
            let output = recorder.activate_backward(&name, up.activated, gradient, Slope::Leaky)?;
            let joint = up.double.backward(recorder, output)?;
            let Down { upsampled, .. } = self.down[number];
            skips.push(joint.channels(upsampled, joint.channels - upsampled));
            let projected = self.backward_upsampled(recorder, number, up, joint, upsampled)?;
            gradient = recorder.backward(&up.projection, projected);
        }
        for (&resized, &skip) in levels.iter().zip(&skips) {
            let gpu = recorder.gpu();
            let tensors = [resized.tensor, skip.tensor];
            recorder.tape.push("gradient of a resized level", tensors, move |[a, b]| {
                let (resized, skip) = (resized.planes(a)?, skip.planes(b)?);
                gpu.kernels.resize_backward(gpu.stream(), resized, skip, true)
            });
        }
        let name = self.bottom.last();
        let output =
            recorder.activate_backward(&name, self.bottom_activated, gradient, Slope::Leaky)?;
        gradient = self.bottom.backward(recorder, output)?;
        for number in (0..4).rev() {
            let down = &self.down[number];
            let output = self.backward_pooled(recorder, down, gradient, skips[number])?;
            let first = down.double.backward_to_first(recorder, output)?;
            if number == 0 {
                recorder.backward_filter(&down.double.first, first);
            } else {
                gradient = recorder.backward(&down.double.first, first);
            }
        }
        Ok(())
    }

    /// Gradient of the last convolution's raw output.
    fn backward_residual(
        &self,
        recorder: &mut Recorder,
        residual: Maps<f32>,
        further: Option<Maps<f32>>,
    ) -> Result<Maps<T>, CudaError> {
        let gpu = recorder.gpu();
        let activated = self.last.second.raw;
        let out = recorder.maps::<T>(activated.shape(), 0);
        let bias = recorder.gradient(&format!("{}.bias", self.last.last()))?;
        // Named twice where there is nothing further, for the number of tensors is fixed.
        let plus = further.unwrap_or(residual);
        let tensors = [activated.tensor, residual.tensor, plus.tensor, out.tensor, bias];
        recorder.tape.push("gradient of the residual", tensors, move |[a, b, c, d, e]| {
            let plus = further.map(|further| further.planes(c)).transpose()?;
            let (activated, gradient, out) =
                (activated.planes(a)?, residual.planes(b)?, out.planes(d)?);
            let (stream, scratch, bias) = (gpu.stream(), gpu.scratch(), e.span());
            let kernels = &gpu.kernels;
            kernels.residual_backward(stream, activated, gradient, plus, out, bias, scratch)
        });
        Ok(out)
    }

    /// Gradient of a projection's raw output.
    fn backward_upsampled(
        &self,
        recorder: &mut Recorder,
        number: usize,
        up: &Up<T>,
        joint: Maps<T>,
        upsampled: usize,
    ) -> Result<Maps<T>, CudaError> {
        let gpu = recorder.gpu();
        let gradient = joint.channels(0, upsampled);
        let out = recorder.maps::<T>(up.projection.raw.shape(), 0);
        let bias =
            recorder.gradient(&format!("backbonenet.unet.up_conv1x1_{}.bias", 4 - number))?;
        let tensors = [gradient.tensor, out.tensor, bias];
        recorder.tape.push("gradient of the upsampling", tensors, move |[a, b, c]| {
            let (gradient, out) = (gradient.planes(a)?, out.planes(b)?);
            let (stream, scratch) = (gpu.stream(), gpu.scratch());
            gpu.kernels.join_upsampled_backward(stream, gradient, out, c.span(), scratch)
        });
        Ok(out)
    }

    /// Gradient of the raw output of an encoder level's second convolution.
    fn backward_pooled(
        &self,
        recorder: &mut Recorder,
        down: &Down<T>,
        pooled: Maps<T>,
        skip: Maps<T>,
    ) -> Result<Maps<T>, CudaError> {
        let gpu = recorder.gpu();
        let raw = down.double.second.raw;
        let values = down.joint.channels(down.upsampled, raw.channels);
        let out = recorder.maps::<T>(raw.shape(), 0);
        let bias = recorder.gradient(&format!("{}.bias", down.double.last()))?;
        let tensors = [values.tensor, pooled.tensor, skip.tensor, out.tensor, bias];
        recorder.tape.push("gradient of the pooling", tensors, move |[a, b, c, d, e]| {
            let (values, pooled, skip, out) =
                (values.planes(a)?, pooled.planes(b)?, skip.planes(c)?, out.planes(d)?);
            let (stream, scratch, bias) = (gpu.stream(), gpu.scratch(), e.span());
            let kernels = &gpu.kernels;
            kernels.activate_pool_backward(
                stream,
                (values, None),
                pooled,
                Some(skip),
                out,
                bias,
                scratch,
            )
        });
        Ok(out)
    }
}
