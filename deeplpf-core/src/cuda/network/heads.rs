//! The parameter heads, forward and backward.
//!
//! All heads read the 28 patch channels of the U-Net's image, resized, and, with the fix `wiring`, the
//! encoder's three finest levels, resized; those that see another image than Y1 read its three channels
//! behind them. The first convolutions run on those with composed weights (see
//! [`super::super::kernels`]), so neither the 64 feature maps nor the levels' projections are ever made.

use std::ops::Range;

use super::{
    super::{
        error::CudaError,
        kernels::{HeadOutput, HeadOutputGradient, HeadWeights, Linear},
        span::Span,
        tape::Tensor,
    },
    head_input::HeadInput,
    maps::Maps,
    recorder::{Kernel, Layer, Number, Recorder, WeightGradient},
};

/// Which head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Polynomial,
    Graduated,
    Elliptical,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Polynomial => "cubic",
            Kind::Graduated => "graduated",
            Kind::Elliptical => "elliptical",
        }
    }

    /// Stream of its dropout masks, as on the CPU.
    fn stream(self) -> u64 {
        self as u64
    }

    pub fn sees_other_image(self) -> bool {
        self != Kind::Polynomial
    }
}

/// A head's weights outside its convolutions, as tensors of the tape.
struct Ends {
    weight: Tensor,
    weight_gradient: Tensor,
    composed: Tensor,
    composed_gradient: Tensor,
    bias: Tensor,
    bias_gradient: Tensor,
    linear: [Tensor; 2],
    linear_gradient: [Tensor; 2],
    pooled: Tensor,
}

/// A head that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub kind: Kind,
    /// Its numbers in an image's raw parameters.
    pub numbers: Range<usize>,
    /// Its gates there; empty where it has none.
    pub gates: Range<usize>,
}

/// The layer that yields a head's gates, and in training its gradients.
#[derive(Clone, Copy)]
struct Gates {
    linear: Linear,
    gradient: Option<[Span<f32>; 2]>,
}

/// A head that was recorded.
pub(super) struct Head<T> {
    kind: Kind,
    name: String,
    layers: Vec<Layer<T>>,
    outputs: usize,
    first: usize,
    gates: Option<Gates>,
    ends: Ends,
}

/// Weight and bias of the final convolution.
fn final_layer(recorder: &mut Recorder) -> Result<[Tensor; 2], CudaError> {
    Ok([
        recorder.parameter("backbonenet.final_conv.weight")?,
        recorder.parameter("backbonenet.final_conv.bias")?,
    ])
}

/// The layer of a head's gates.
fn gates_layer(
    recorder: &Recorder,
    name: &str,
    range: &Range<usize>,
) -> Result<Option<Gates>, CudaError> {
    if range.is_empty() {
        return Ok(None);
    }
    let [weight, bias] = &["weight", "bias"].map(|part| format!("{name}.fc_gates.{part}"));
    let linear = Linear {
        weight: recorder.span(weight)?,
        bias: recorder.span(bias)?,
        outputs: range.len(),
        first: range.start,
    };
    let gradient = [recorder.gradient_span(weight)?, recorder.gradient_span(bias)?];
    let gradient = gradient[0].zip(gradient[1]).map(<[Span<f32>; 2]>::from);
    Ok(Some(Gates { linear, gradient }))
}

/// Records the composition of every head's first weights.
pub(super) fn compose_weights<T: Number>(
    recorder: &mut Recorder,
    input: &HeadInput<T>,
    heads: &[Wanted],
) -> Result<Vec<Head<T>>, CudaError> {
    let [final_weight, final_bias] = final_layer(recorder)?;
    let wiring = input.wiring(recorder)?;
    let mut recorded = Vec::new();
    for Wanted { kind, numbers, gates } in heads {
        let kind = *kind;
        let gpu = recorder.gpu();
        let name = format!("deeplpfnet.{0}_filter.{0}_layer1.conv.weight", kind.name());
        let bytes = input.head_width * input.seen(kind).channels * 9 * size_of::<T>();
        let (weight, weight_gradient) = (recorder.parameter(&name)?, recorder.gradient(&name)?);
        let composed = recorder.tape.tensor(bytes);
        let composed_gradient = recorder.tape.tensor(bytes);
        let (features, width) = (input.features, input.head_width);
        let other_image = kind.sees_other_image();
        let tensors = [weight, composed, final_weight, final_bias];
        recorder.tape.push("compose weights", tensors, move |[a, b, c, d]| {
            let head = HeadWeights {
                outputs: width,
                weight: a.span(),
                weight_gradient: None,
                other_image,
                composed: b.span::<T>(),
            };
            let layer = [c.span(), d.span()];
            gpu.kernels.compose_weights(gpu.stream(), features, layer, wiring.as_ref(), &[head])
        });
        let name = format!("deeplpfnet.{}_filter", kind.name());
        let bias = format!("{name}.{}_layer7.conv.bias", kind.name());
        let linear = ["weight", "bias"].map(|part| format!("{name}.fc_{}.{part}", kind.name()));
        let batch = input.maps.batch;
        let ends = Ends {
            weight,
            weight_gradient,
            composed,
            composed_gradient,
            bias: recorder.parameter(&bias)?,
            bias_gradient: recorder.gradient(&bias)?,
            linear: [recorder.parameter(&linear[0])?, recorder.parameter(&linear[1])?],
            linear_gradient: [recorder.gradient(&linear[0])?, recorder.gradient(&linear[1])?],
            pooled: recorder.tape.tensor(batch * width * size_of::<f32>()),
        };
        recorded.push(Head {
            kind,
            gates: gates_layer(recorder, &name, gates)?,
            name,
            layers: Vec::new(),
            outputs: numbers.len(),
            first: numbers.start,
            ends,
        });
    }
    Ok(recorded)
}

impl<T: Number> Head<T> {
    fn layer_name(&self, layer: usize) -> String {
        format!("{}.{}_layer{}.conv", self.name, self.kind.name(), 2 * layer + 1)
    }

    /// Which head.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Records the forward pass: the head's numbers go to their place in the raw parameters.
    pub fn record(
        &mut self,
        recorder: &mut Recorder,
        input: &HeadInput<T>,
    ) -> Result<(), CudaError> {
        let gpu = recorder.gpu();
        let kernel = Kernel::strided(input.head_width);
        let gradient =
            recorder.training.then_some(WeightGradient::Own(self.ends.composed_gradient));
        let seen = input.seen(self.kind);
        let mut layer = recorder.convolve_with(self.ends.composed, gradient, seen, kernel, true)?;
        for number in 0..3 {
            let raw = layer.raw;
            let [batch, channels, height, width] = raw.shape();
            let pooled = recorder.maps::<T>([batch, channels, height / 2, width / 2], 0);
            let bias = recorder.parameter(&format!("{}.bias", self.layer_name(number)))?;
            let gpu = gpu.clone();
            let tensors = [raw.tensor, bias, pooled.tensor];
            recorder.tape.push("activate and pool", tensors, move |[a, b, c]| {
                let (raw, pooled) = (raw.planes(a)?, pooled.planes(c)?);
                gpu.kernels.activate_pool(gpu.stream(), raw, b.span(), None, pooled)
            });
            self.layers.push(layer);
            layer = recorder.convolve(&self.layer_name(number + 1), pooled, kernel, true)?;
        }
        let values = layer.raw;
        self.layers.push(layer);
        let Ends { bias, linear: [weight, linear_bias], pooled, .. } = self.ends;
        let (stream, outputs, first) = (self.kind.stream(), self.outputs, self.first);
        let gates = self.gates.map(|gates| gates.linear);
        let (dropout, raw_len) = (input.dropout, input.raw_len());
        let tensors = [values.tensor, bias, weight, linear_bias, pooled, input.raw];
        recorder.tape.push("head", tensors, move |[a, b, c, d, e, f]| {
            let head = HeadOutput {
                values: values.planes(a)?,
                bias: b.span(),
                pooled: e.span(),
                stream,
                linear: Linear { weight: c.span(), bias: d.span(), outputs, first },
                gates,
            };
            gpu.kernels.head_outputs(gpu.stream(), &[head], dropout, f.span(), raw_len)
        });
        Ok(())
    }

    /// Records the way back from `raw_gradient` (N, raw_len) to the composed weights and, written or
    /// added, to the input's gradient.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        input: &HeadInput<T>,
        raw_gradient: Tensor,
        (input_gradient, add): (Maps<T>, bool),
    ) -> Result<(), CudaError> {
        let gpu = recorder.gpu();
        let values = self.layers[3].raw;
        let mut gradient = recorder.maps::<T>(values.shape(), 0);
        let Ends {
            bias,
            bias_gradient,
            linear: [weight, linear_bias],
            linear_gradient: [weight_gradient, linear_bias_gradient],
            pooled,
            ..
        } = self.ends;
        let (stream, outputs, first) = (self.kind.stream(), self.outputs, self.first);
        let (dropout, raw_len, gates) = (input.dropout, input.raw_len(), self.gates);
        let out = gradient;
        let kept = gpu.clone();
        recorder.tape.push(
            "gradient of a head",
            [
                values.tensor,
                bias,
                weight,
                linear_bias,
                pooled,
                raw_gradient,
                out.tensor,
                bias_gradient,
                weight_gradient,
                linear_bias_gradient,
            ],
            move |[a, b, c, d, e, f, g, h, i, j]| {
                let head = HeadOutput {
                    values: values.planes(a)?,
                    bias: b.span(),
                    pooled: e.span(),
                    stream,
                    linear: Linear { weight: c.span(), bias: d.span(), outputs, first },
                    gates: gates.map(|gates| gates.linear),
                };
                let gradient = HeadOutputGradient {
                    values: out.planes(g)?,
                    bias: h.span(),
                    linear: [i.span(), j.span()],
                    gates: gates.and_then(|gates| gates.gradient),
                };
                let (kernels, stream) = (&kept.kernels, kept.stream());
                let heads = [(head, gradient)];
                kernels.head_outputs_backward(stream, &heads, dropout, f.span(), raw_len)
            },
        );
        for number in (0..3).rev() {
            let pooled = recorder.backward(&self.layers[number + 1], gradient);
            let raw = self.layers[number].raw;
            let name = format!("{}.bias", self.layer_name(number));
            let (bias, bias_gradient) = (recorder.parameter(&name)?, recorder.gradient(&name)?);
            let out = recorder.maps::<T>(raw.shape(), 0);
            let gpu = gpu.clone();
            let tensors = [raw.tensor, bias, pooled.tensor, out.tensor, bias_gradient];
            recorder.tape.push("gradient of the pooling", tensors, move |[a, b, c, d, e]| {
                let (raw, pooled, out) = (raw.planes(a)?, pooled.planes(c)?, out.planes(d)?);
                let (stream, scratch) = (gpu.stream(), gpu.scratch());
                gpu.kernels.activate_pool_backward(
                    stream,
                    (raw, Some(b.span())),
                    pooled,
                    None,
                    out,
                    e.span(),
                    scratch,
                )
            });
            gradient = out;
        }
        let first = &self.layers[0];
        recorder.backward_filter(first, gradient);
        let seen = input_gradient.channels(0, input.seen(self.kind).channels);
        recorder.backward_data(first, gradient, seen, add);
        Ok(())
    }

    /// The first layer's weights, their gradient and the gradient of the composed ones.
    fn first_weights(&self) -> [Tensor; 3] {
        [self.ends.weight, self.ends.weight_gradient, self.ends.composed_gradient]
    }
}

/// Records the way back of the composition of all heads, in one launch.
pub(super) fn compose_weights_backward<T: Number>(
    recorder: &mut Recorder,
    input: &HeadInput<T>,
    heads: &[&Head<T>],
) -> Result<(), CudaError> {
    let gpu = recorder.gpu();
    let [weight, bias] = final_layer(recorder)?;
    let gradient = [
        recorder.gradient("backbonenet.final_conv.weight")?,
        recorder.gradient("backbonenet.final_conv.bias")?,
    ];
    let wiring = input.wiring(recorder)?;
    let width = input.head_width;
    let features = input.features;
    let places: Vec<[Tensor; 3]> = heads.iter().map(|head| head.first_weights()).collect();
    let others: Vec<bool> = heads.iter().map(|head| head.kind.sees_other_image()).collect();
    // A fixed number of tensors: heads that are not there repeat the first.
    let place = |number: usize| places[number.min(places.len() - 1)];
    let ([a, b, c], [d, e, f], [g, h, i]) = (place(0), place(1), place(2));
    let tensors = [weight, bias, gradient[0], gradient[1], a, b, c, d, e, f, g, h, i];
    recorder.tape.push("gradient of the composition", tensors, move |addresses| {
        let [weight, bias, weight_gradient, bias_gradient, rest @ ..] = addresses;
        let heads: Vec<HeadWeights<T>> = rest
            .chunks_exact(3)
            .zip(&others)
            .map(|(place, &other_image)| HeadWeights {
                outputs: width,
                weight: place[0].span(),
                weight_gradient: Some(place[1].span()),
                other_image,
                composed: place[2].span::<T>(),
            })
            .collect();
        gpu.kernels.compose_weights_backward(
            gpu.stream(),
            features,
            ([weight.span(), bias.span()], [weight_gradient.span(), bias_gradient.span()]),
            wiring.as_ref(),
            &heads,
        )
    });
    Ok(())
}
