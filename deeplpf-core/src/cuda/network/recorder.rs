//! Recording the network's operations on a tape.

use std::sync::Arc;

use half::bf16;

use super::{
    super::{
        Precision,
        conv::{Convolution, Geometry, Gradients},
        error::CudaError,
        gpu::Gpu,
        kernels::Slope,
        memory::Buffer,
        parameters::Weights,
        span::{Activation, Scalar, Span},
        tape::{Tape, Tensor},
    },
    maps::Maps,
};

/// Numbers convolutions read and write, and the precision cuDNN computes them in.
pub(in super::super) trait Number: Activation {
    /// cuDNN's setting for these numbers in a program of `asked` precision.
    fn precision(asked: Precision) -> Precision;
    /// Whether weights must be rounded to these numbers first.
    const ROUNDED: bool;
    /// `image` in these numbers.
    fn image(recorder: &mut Recorder, image: Maps<f32>) -> Maps<Self>;
}

impl Number for f32 {
    fn precision(asked: Precision) -> Precision {
        // Single precision beside bfloat16 is there for its accuracy.
        if asked == Precision::Bf16 { Precision::Fp32 } else { asked }
    }
    const ROUNDED: bool = false;
    fn image(_: &mut Recorder, image: Maps<f32>) -> Maps<f32> {
        image
    }
}

impl Number for bf16 {
    fn precision(_: Precision) -> Precision {
        Precision::Bf16
    }
    const ROUNDED: bool = true;
    fn image(recorder: &mut Recorder, image: Maps<f32>) -> Maps<bf16> {
        let rounded = recorder.maps(image.shape(), image.border);
        recorder.convert(image, rounded);
        rounded
    }
}

/// Buffers that all programs of a model share.
#[derive(Clone)]
pub(in super::super) struct Shared {
    pub gpu: Arc<Gpu>,
    pub weights: Arc<Weights>,
    /// The trained weights rounded to bfloat16, in that precision.
    pub rounded: Option<Arc<Buffer>>,
    /// Gradients of the trained parameters, flat, in training.
    pub gradients: Option<Arc<Buffer>>,
    pub precision: Precision,
}

impl Shared {
    /// Rounds the trained weights, if the precision needs that.
    pub fn round_weights(&self) -> Result<(), CudaError> {
        let Some(rounded) = &self.rounded else { return Ok(()) };
        let trained = self.weights.layout().trained();
        let from = Span::new(self.weights.buffer().pointer(), trained);
        let to = Span::new(rounded.pointer(), trained);
        self.gpu.kernels.round_to_bf16(self.gpu.stream(), from, to)
    }
}

/// A tape and what operations need while they are recorded.
pub(in super::super) struct Recorder {
    pub tape: Tape,
    pub shared: Shared,
    /// Whether the program goes backward.
    pub training: bool,
    /// Whether every convolution repeats its bits.
    pub deterministic: bool,
}

/// A convolution that was recorded.
#[derive(Clone)]
pub(in super::super) struct Layer<T> {
    convolution: Arc<Convolution>,
    input: Maps<T>,
    weight: Tensor,
    gradient: Option<WeightGradient>,
    /// Its output without bias, no border.
    pub raw: Maps<T>,
}

/// Where the gradient of a layer's weights goes.
#[derive(Clone, Copy)]
pub(in super::super) enum WeightGradient {
    /// The flat gradient, in single precision.
    Flat(Tensor),
    /// A tensor of the layer's own numbers.
    Own(Tensor),
}

/// Sizes of a convolution's kernel.
#[derive(Clone, Copy)]
pub(in super::super) struct Kernel {
    pub outputs: usize,
    pub side: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Kernel {
    /// 3x3 on an input that has its border.
    pub fn bordered(outputs: usize) -> Self {
        Self { outputs, side: 3, stride: 1, padding: 0 }
    }

    /// 1x1.
    pub fn pointwise(outputs: usize) -> Self {
        Self { outputs, side: 1, stride: 1, padding: 0 }
    }

    /// The heads': 3x3, stride 2, zeros around.
    pub fn strided(outputs: usize) -> Self {
        Self { outputs, side: 3, stride: 2, padding: 1 }
    }
}

impl Recorder {
    pub fn new(shared: &Shared, training: bool) -> Result<Self, CudaError> {
        // cuDNN looks at the thread's context when it ranks algorithms.
        shared.gpu.device().bind()?;
        Ok(Self { tape: Tape::default(), shared: shared.clone(), training, deterministic: true })
    }

    pub fn gpu(&self) -> Arc<Gpu> {
        self.shared.gpu.clone()
    }

    /// First value and number of values of a parameter.
    fn range(&self, name: &str) -> Result<(usize, usize), CudaError> {
        let range = self.shared.weights.layout().get(name).ok_or_else(|| CudaError::Argument {
            what: "parameter",
            found: format!("no {name}"),
            expected: "a model of this configuration".into(),
        })?;
        Ok((range.first, range.count()))
    }

    /// The parameter `name` in single precision.
    pub fn parameter(&mut self, name: &str) -> Result<Tensor, CudaError> {
        let (first, count) = self.range(name)?;
        let start = self.shared.weights.buffer().pointer() + (first * size_of::<f32>()) as u64;
        Ok(self.tape.fixed(start, count * size_of::<f32>()))
    }

    /// As [`Recorder::parameter`], outside the tape: parameters outlive it.
    pub fn span(&self, name: &str) -> Result<Span<f32>, CudaError> {
        let (first, count) = self.range(name)?;
        let start = self.shared.weights.buffer().pointer() + (first * size_of::<f32>()) as u64;
        Ok(Span::new(start, count))
    }

    /// Where the gradient of the parameter `name` goes, in training.
    pub fn gradient_span(&self, name: &str) -> Result<Option<Span<f32>>, CudaError> {
        let (first, count) = self.range(name)?;
        let gradients = self.shared.gradients.as_ref();
        Ok(gradients.map(|all| Span::new(all.pointer() + (first * size_of::<f32>()) as u64, count)))
    }

    /// The parameter `name` in the numbers of a convolution.
    fn weight<T: Number>(&mut self, name: &str) -> Result<Tensor, CudaError> {
        let (first, count) = self.range(name)?;
        match &self.shared.rounded {
            Some(rounded) if T::ROUNDED => {
                let start = rounded.pointer() + (first * size_of::<T>()) as u64;
                Ok(self.tape.fixed(start, count * size_of::<T>()))
            }
            _ => self.parameter(name),
        }
    }

    /// Where the gradient of the parameter `name` goes; a few unused bytes outside training.
    pub fn gradient(&mut self, name: &str) -> Result<Tensor, CudaError> {
        let (first, count) = self.range(name)?;
        let bytes = count * size_of::<f32>();
        match &self.shared.gradients {
            Some(gradients) => {
                let start = gradients.pointer() + (first * size_of::<f32>()) as u64;
                Ok(self.tape.fixed(start, bytes))
            }
            None => Ok(self.tape.tensor(bytes)),
        }
    }

    /// New maps.
    pub fn maps<T: Scalar>(&mut self, shape: [usize; 4], border: usize) -> Maps<T> {
        Maps::new(&mut self.tape, shape, border)
    }

    /// The first `kernel.outputs` outputs of the convolution `name`.
    pub fn convolve<T: Number>(
        &mut self,
        name: &str,
        input: Maps<T>,
        kernel: Kernel,
        input_gradient: bool,
    ) -> Result<Layer<T>, CudaError> {
        let name = format!("{name}.weight");
        let weight = self.weight::<T>(&name)?;
        let used = kernel.outputs * input.channels * kernel.side * kernel.side;
        let weight = weight.part(0, used * size_of::<T>());
        let gradient = match self.training {
            true => {
                let whole = self.gradient(&name)?;
                Some(WeightGradient::Flat(whole.part(0, used * size_of::<f32>())))
            }
            false => None,
        };
        self.convolve_with(weight, gradient, input, kernel, input_gradient)
    }

    /// A convolution with weights of its own.
    pub fn convolve_with<T: Number>(
        &mut self,
        weight: Tensor,
        gradient: Option<WeightGradient>,
        input: Maps<T>,
        kernel: Kernel,
        input_gradient: bool,
    ) -> Result<Layer<T>, CudaError> {
        let side = input.side();
        let out = |size: usize| (size + 2 * kernel.padding - kernel.side) / kernel.stride + 1;
        let shape = [input.batch, kernel.outputs, out(side.height), out(side.width)];
        let raw = self.maps::<T>(shape, 0);
        let geometry = Geometry {
            batch: input.batch,
            input: side,
            output: raw.side(),
            kernel: kernel.side,
            padding: kernel.padding,
            stride: kernel.stride,
        };
        let needed = match (self.training, input_gradient) {
            (false, _) => Gradients::None,
            (true, false) => Gradients::Filter,
            (true, true) => Gradients::Both,
        };
        let precision = T::precision(self.shared.precision);
        let convolution =
            Arc::new(Convolution::new(&self.shared.gpu.cudnn, &geometry, precision, needed)?);
        self.deterministic &= convolution.is_deterministic();
        let workspace = self.tape.tensor(convolution.forward_workspace());
        let plan = convolution.clone();
        self.tape.push(
            "convolve",
            [input.tensor, weight, raw.tensor, workspace],
            move |[x, w, y, scratch]| {
                // SAFETY: the tensors were made for this geometry, the workspace for this plan.
                unsafe {
                    let (x, y) = (input.pointer(x), raw.pointer(y));
                    plan.forward(x, w.pointer(), y, scratch.pointer())
                }
            },
        );
        Ok(Layer { convolution, input, weight, gradient, raw })
    }

    /// The gradient of the weights of `layer`, given that of its raw output.
    pub fn backward_filter<T: Number>(&mut self, layer: &Layer<T>, output: Maps<T>) {
        let Some(gradient) = layer.gradient else { return };
        let workspace = self.tape.tensor(layer.convolution.filter_workspace());
        let (plan, input) = (layer.convolution.clone(), layer.input);
        let (target, flat) = match gradient {
            WeightGradient::Flat(flat) if T::ROUNDED => {
                (self.tape.tensor(flat.bytes() / size_of::<f32>() * size_of::<T>()), Some(flat))
            }
            WeightGradient::Flat(target) | WeightGradient::Own(target) => (target, None),
        };
        self.tape.push(
            "gradient of weights",
            [input.tensor, output.tensor, target, workspace],
            move |[x, dy, dw, scratch]| {
                // SAFETY: as in the forward pass; the target is as large as the weights.
                unsafe {
                    let tensors = (input.pointer(x), output.pointer(dy), dw.pointer());
                    plan.backward_filter(tensors, scratch.pointer())
                }
            },
        );
        if let Some(flat) = flat {
            let gpu = self.gpu();
            self.tape.push("widen a gradient", [target, flat], move |[a, b]| {
                gpu.kernels.widen_from_bf16(gpu.stream(), a.span(), b.span())
            });
        }
    }

    /// The gradient of the input of `layer`, given that of its raw output, to `input` or added to
    /// it. `input` has the layout of the layer's input.
    pub fn backward_data<T: Number>(
        &mut self,
        layer: &Layer<T>,
        output: Maps<T>,
        input: Maps<T>,
        add: bool,
    ) {
        assert!(input.side() == layer.input.side(), "gradient of another layout");
        let workspace = self.tape.tensor(layer.convolution.data_workspace());
        let plan = layer.convolution.clone();
        self.tape.push(
            "gradient of an input",
            [layer.weight, output.tensor, input.tensor, workspace],
            move |[w, dy, dx, scratch]| {
                // SAFETY: as in the forward pass; the gradient has the input's layout.
                unsafe {
                    let tensors = (w.pointer(), output.pointer(dy), input.pointer(dx));
                    plan.backward_data(tensors, add, scratch.pointer())
                }
            },
        );
    }

    /// Both gradients of `layer`; that of its input in new maps.
    pub fn backward<T: Number>(&mut self, layer: &Layer<T>, output: Maps<T>) -> Maps<T> {
        self.backward_filter(layer, output);
        let input = layer.input.like(&mut self.tape);
        self.backward_data(layer, output, input, false);
        input
    }

    /// out = input in other numbers, a border filled.
    pub fn convert<S: Activation, T: Activation>(&mut self, input: Maps<S>, out: Maps<T>) {
        let gpu = self.gpu();
        self.tape.push("convert", [input.tensor, out.tensor], move |[a, b]| {
            gpu.kernels.convert(gpu.stream(), input.planes(a)?, out.planes(b)?)
        });
    }

    /// out = act(raw + bias), a border filled.
    pub fn activate<T: Number>(
        &mut self,
        name: &str,
        raw: Maps<T>,
        slope: Slope,
        out: Maps<T>,
    ) -> Result<(), CudaError> {
        let gpu = self.gpu();
        let bias = self.parameter(&format!("{name}.bias"))?;
        self.tape.push("activate", [raw.tensor, bias, out.tensor], move |[a, b, c]| {
            let (raw, out) = (raw.planes(a)?, out.planes(c)?);
            gpu.kernels.activate(gpu.stream(), raw, b.span(), slope, out)
        });
        Ok(())
    }

    /// The way back of [`Recorder::activate`].
    pub fn activate_backward<T: Number>(
        &mut self,
        name: &str,
        activated: Maps<T>,
        gradient: Maps<T>,
        slope: Slope,
    ) -> Result<Maps<T>, CudaError> {
        let gpu = self.gpu();
        let out = self.maps::<T>(activated.shape(), 0);
        let bias = self.gradient(&format!("{name}.bias"))?;
        let tensors = [activated.tensor, gradient.tensor, out.tensor, bias];
        self.tape.push("gradient of an activation", tensors, move |[a, b, c, d]| {
            let (activated, gradient, out) =
                (activated.planes(a)?, gradient.planes(b)?, out.planes(c)?);
            let (stream, scratch) = (gpu.stream(), gpu.scratch());
            gpu.kernels.activate_backward(
                stream,
                activated,
                gradient,
                slope,
                out,
                d.span(),
                scratch,
            )
        });
        Ok(out)
    }
}
