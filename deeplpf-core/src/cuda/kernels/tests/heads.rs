//! Both ends of the heads.

use half::bf16;

use super::*;

const FEATURES: usize = 7;
const PATCHES: usize = 28;

/// sum over c of weight[o, c, t] rows[c, d] as the model composes it; `other`: the image's weights follow.
fn composed(weight: &[f32], outputs: usize, rows: &[[f32; PATCHES]], other: bool) -> Vec<f32> {
    let mut out = vec![];
    for o in 0..outputs {
        let at = |c: usize, tap: usize| weight[(o * FEATURES + c) * 9 + tap];
        let channels = if other { FEATURES - 3 } else { FEATURES };
        for patch in 0..PATCHES * 9 {
            let (d, tap) = (patch / 9, patch % 9);
            out.push((0..channels).map(|c| at(c, tap) * rows[(c + 3) % FEATURES][d]).sum());
        }
        if other {
            out.extend((0..27).map(|i| at(FEATURES - 3 + i / 9, i % 9)));
        }
    }
    out
}

fn weights<T: Number>() {
    let Some(bench) = bench() else { return };
    let final_weight = random(1, FEATURES * 27, -1.0, 1.0);
    let final_bias = random(2, FEATURES, -1.0, 1.0);
    let rows: Vec<[f32; PATCHES]> = (0..FEATURES)
        .map(|r| {
            std::array::from_fn(|d| if d < 27 { final_weight[27 * r + d] } else { final_bias[r] })
        })
        .collect();
    let final_layer = [bench.numbers(&final_weight), bench.numbers(&final_bias)];
    let final_spans = final_layer.each_ref().map(|layer| layer.span());
    // Sizes and kinds of heads.
    let heads = [(5, false), (4, true), (6, true)];
    let held: Vec<_> = heads
        .iter()
        .enumerate()
        .map(|(n, &(outputs, other))| {
            let weight = random(10 + n as u64, outputs * FEATURES * 9, -1.0, 1.0);
            let count = outputs * (PATCHES + if other { 3 } else { 0 }) * 9;
            let gradient: Vec<f32> =
                random(20 + n as u64, count, -1.0, 1.0).iter().map(|v| T::of(*v).wide()).collect();
            let of_weight = bench.numbers(&vec![f32::NAN; weight.len()]);
            let store = |values: &[f32]| {
                bench.numbers(&values.iter().map(|v| T::of(*v)).collect::<Vec<_>>())
            };
            (
                bench.numbers(&weight),
                of_weight,
                store(&vec![f32::NAN; count]),
                store(&gradient),
                weight,
                gradient,
            )
        })
        .collect();
    let arguments = |back: bool| -> Vec<HeadWeights<T>> {
        held.iter()
            .zip(&heads)
            .map(|(held, &(outputs, other_image))| HeadWeights {
                outputs,
                weight: held.0.span(),
                weight_gradient: back.then(|| held.1.span()),
                other_image,
                composed: if back { held.3.span() } else { held.2.span() },
            })
            .collect()
    };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    kernels.compose_weights(stream, FEATURES, final_spans, &arguments(false)).unwrap();
    for (held, (outputs, other)) in held.iter().zip(heads) {
        let found: Vec<f32> = held.2.read().iter().map(|v| v.wide()).collect();
        close("composed", &found, &composed(&held.4, outputs, &rows, other), 1e-6 + T::ROUNDING);
    }

    // The gradient of sum(composed * cotangent), from its definition.
    let before = random(3, FEATURES * 27, -1.0, 1.0);
    let of_final = [bench.numbers(&before), bench.numbers(&before[..FEATURES])];
    let of_final_spans = of_final.each_ref().map(|layer| layer.span());
    kernels
        .compose_weights_backward(stream, FEATURES, final_spans, of_final_spans, &arguments(true))
        .unwrap();
    let mut of_rows = vec![[0.0f64; PATCHES]; FEATURES];
    for (held, (outputs, other)) in held.iter().zip(heads) {
        let inputs = PATCHES + if other { 3 } else { 0 };
        let (weight, gradient) = (&held.4, &held.5);
        let mut expected = vec![0.0f32; weight.len()];
        for o in 0..outputs {
            for c in 0..FEATURES {
                for tap in 0..9 {
                    let at = (o * FEATURES + c) * 9 + tap;
                    let of = |d: usize| gradient[(o * inputs + d) * 9 + tap];
                    if other && c >= FEATURES - 3 {
                        expected[at] = of(PATCHES + c - (FEATURES - 3));
                        continue;
                    }
                    let row = (c + 3) % FEATURES;
                    for d in 0..PATCHES {
                        expected[at] += of(d) * rows[row][d];
                        of_rows[row][d] += f64::from(weight[at] * of(d));
                    }
                }
            }
        }
        close("of a head's weight", &held.1.read(), &expected, 2e-6);
    }
    let mut expected = [vec![], vec![]];
    for (r, row) in of_rows.iter().enumerate() {
        for (d, sum) in row.iter().enumerate() {
            let old = if d < 27 { before[27 * r + d] } else { before[r] };
            let whole = *sum as f32 + if r < 3 { old } else { 0.0 };
            expected[usize::from(d == 27)].push(whole);
        }
    }
    close("of the final weight", &of_final[0].read(), &expected[0], 3e-6);
    close("of the final bias", &of_final[1].read(), &expected[1], 3e-6);
}

#[test]
fn composed_weights_and_their_gradient() {
    weights::<f32>();
    weights::<bf16>();
}

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
    let words = bench.numbers(&[step, 0, 0, 0, 0, 0, 0, 0]);
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
