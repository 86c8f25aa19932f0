//! What follows the heads' last convolution.

use half::bf16;

use super::*;

/// The mask that model/heads.rs draws.
fn dropout_mask(seed: u64, step: u64, stream: u64, probability: f64, count: usize) -> Vec<f32> {
    let mut generator = Generator::new(seed, Purpose::Dropout, step * 4 + stream);
    let keep = (1.0 / (1.0 - probability)) as f32;
    (0..count).map(|_| if generator.bernoulli(probability) { 0.0 } else { keep }).collect()
}

/// A head of the test: its numbers here and on the GPU.
struct Case<T> {
    shape: [usize; 4],
    values: Vec<f32>,
    bias: Vec<f32>,
    /// Outputs, where they go, weight, bias.
    layers: Vec<(usize, usize, Vec<f32>, Vec<f32>)>,
    stream: u64,
    planes: Held<T>,
    biases: Numbers<f32>,
    pooled: Numbers<f32>,
    of_bias: Numbers<f32>,
    /// Of each layer: weight, bias, and their gradients.
    spans: Vec<[Numbers<f32>; 4]>,
}

impl<T: Number> Case<T> {
    fn new(bench: &Bench, seed: u64, shape: [usize; 4], layers: &[(usize, usize)]) -> Self {
        let channels = shape[1];
        let values = random(seed, shape.iter().product(), -1.0, 1.0);
        let values: Vec<f32> = values.iter().map(|v| T::of(*v).wide()).collect();
        let bias = random(seed + 1, channels, -0.3, 0.3);
        let layers: Vec<_> = layers
            .iter()
            .map(|&(outputs, first)| {
                let weight = random(seed + 2 + first as u64, outputs * channels, -1.0, 1.0);
                (outputs, first, weight, random(seed + 3, outputs, -1.0, 1.0))
            })
            .collect();
        let none = |count: usize| bench.numbers(&vec![f32::NAN; count]);
        let spans = layers.iter().map(|(outputs, _, weight, bias)| {
            [bench.numbers(weight), bench.numbers(bias), none(weight.len()), none(*outputs)]
        });
        Self {
            spans: spans.collect(),
            planes: bench.planes(&values, shape, 0),
            biases: bench.numbers(&bias),
            pooled: none(shape[0] * channels),
            of_bias: none(channels),
            stream: seed % 4,
            shape,
            values,
            bias,
            layers,
        }
    }

    fn arguments(&self) -> (HeadOutput<T>, HeadOutputGradient<T>) {
        let linear = |n: usize| Linear {
            weight: self.spans[n][0].span(),
            bias: self.spans[n][1].span(),
            outputs: self.layers[n].0,
            first: self.layers[n].1,
        };
        let gradients = |n: usize| [self.spans[n][2].span(), self.spans[n][3].span()];
        let gated = self.layers.len() > 1;
        let head = HeadOutput {
            values: self.planes.planes(),
            bias: self.biases.span(),
            pooled: self.pooled.span(),
            stream: self.stream,
            linear: linear(0),
            gates: gated.then(|| linear(1)),
        };
        let gradient = HeadOutputGradient {
            values: self.planes.planes(),
            bias: self.of_bias.span(),
            linear: gradients(0),
            gates: gated.then(|| gradients(1)),
        };
        (head, gradient)
    }

    /// The raw output with its bias.
    fn lifted(&self) -> Vec<f32> {
        let pixels = self.shape[2] * self.shape[3];
        let bias = |i: usize| self.bias[i / pixels % self.shape[1]];
        self.values.iter().enumerate().map(|(i, v)| v + bias(i)).collect()
    }

    /// Writes this head's outputs to `raw`; the pooled features after `mask`.
    fn forward(&self, mask: &[f32], raw: &mut [f32], raw_len: usize) -> Vec<f32> {
        let pixels = self.shape[2] * self.shape[3];
        let activated: Vec<f32> =
            self.lifted().iter().map(|v| if *v > 0.0 { *v } else { 0.01 * v }).collect();
        let means = activated.chunks(pixels).map(|plane| plane.iter().sum::<f32>() / pixels as f32);
        let pooled: Vec<f32> = means.zip(mask).map(|(mean, keep)| mean * keep).collect();
        for (image, own) in pooled.chunks(self.shape[1]).enumerate() {
            for (_, first, weight, bias) in &self.layers {
                for (k, line) in weight.chunks(self.shape[1]).enumerate() {
                    let sum: f32 = line.iter().zip(own).map(|(w, p)| w * p).sum();
                    raw[image * raw_len + first + k] = sum + bias[k];
                }
            }
        }
        pooled
    }

    /// Compares all gradients with those of the definition.
    fn check_backward(&self, mask: &[f32], pooled: &[f32], of_raw: &[f32], raw_len: usize) {
        let [batch, channels, height, width] = self.shape;
        let pixels = height * width;
        let mut of_pooled = vec![0.0f32; batch * channels];
        for ((outputs, first, weight, _), spans) in self.layers.iter().zip(&self.spans) {
            let (mut of_weight, mut of_bias) = (vec![0.0f32; weight.len()], vec![0.0f32; *outputs]);
            for image in 0..batch {
                for k in 0..*outputs {
                    let d = of_raw[image * raw_len + first + k];
                    of_bias[k] += d;
                    for c in 0..channels {
                        of_weight[k * channels + c] += d * pooled[image * channels + c];
                        of_pooled[image * channels + c] += d * weight[k * channels + c];
                    }
                }
            }
            close("of a weight", &spans[2].read(), &of_weight, 2e-6);
            close("of a bias", &spans[3].read(), &of_bias, 2e-6);
        }
        let expected: Vec<f32> = self
            .lifted()
            .iter()
            .enumerate()
            .map(|(i, v)| {
                let d = of_pooled[i / pixels] * mask[i / pixels] / pixels as f32;
                if *v > 0.0 { d } else { 0.01 * d }
            })
            .collect();
        let mut of_bias = vec![0.0f32; channels];
        expected.iter().enumerate().for_each(|(i, d)| of_bias[i / pixels % channels] += d);
        close("of the convolution", &self.planes.read(), &expected, 2e-6 + T::ROUNDING);
        close("of the convolution's bias", &self.of_bias.read(), &of_bias, 3e-6);
    }
}

fn outputs<T: Number>(with_dropout: bool) {
    let Some(bench) = bench() else { return };
    let (batch, channels, raw_len) = (3, 37, 40);
    // A seed and a step that fill both words.
    let (seed, step, probability) = (0x1234_5678_9abc_def0u64, 3_000_000_017u64, 0.3);
    let words = bench.numbers(&[step / 7, 7, step % 7, 0, 0, 0, 0, 0]);
    let state = Span::<StepState>::new(words.span().address(), 1);
    let dropout = with_dropout.then_some(Dropout { probability, seed, state });
    let cases = [
        Case::<T>::new(&bench, 5, [batch, channels, 3, 3], &[(20, 0)]),
        Case::<T>::new(&bench, 6, [batch, channels, 3, 2], &[(11, 20), (5, 33)]),
    ];
    let before = random(1, batch * raw_len, -1.0, 1.0);
    let (raw, of_raw) = (bench.numbers(&before), bench.numbers(&before));
    let arguments: Vec<_> = cases.iter().map(Case::arguments).collect();
    let heads: Vec<_> = arguments.iter().map(|(head, _)| *head).collect();
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    kernels.head_outputs(stream, &heads, dropout, raw.span(), raw_len).unwrap();
    kernels.head_outputs_backward(stream, &arguments, dropout, of_raw.span(), raw_len).unwrap();

    let mut expected = before.clone();
    for case in &cases {
        let mask = match with_dropout {
            true => dropout_mask(seed, step, case.stream, probability, batch * channels),
            false => vec![1.0; batch * channels],
        };
        let pooled = case.forward(&mask, &mut expected, raw_len);
        close("pooled", &case.pooled.read(), &pooled, 1e-6);
        case.check_backward(&mask, &pooled, &before, raw_len);
    }
    close("raw parameters", &raw.read(), &expected, 2e-6);
}

#[test]
fn outputs_with_dropout_and_gates() {
    outputs::<f32>(false);
    outputs::<f32>(true);
    outputs::<bf16>(true);
}
