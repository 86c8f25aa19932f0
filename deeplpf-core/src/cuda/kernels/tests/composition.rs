//! The heads' first weights.

use half::bf16;

use super::*;

const FEATURES: usize = 7;
const PATCHES: usize = 28;
/// Channels of the levels.
const WIDTHS: [usize; 3] = [3, 5, 40];
const GATE: f32 = 0.7;

/// The layers before a head, as numbers.
struct Before {
    /// (F, 28), Y1's rows first, the bias last.
    rows: Vec<f32>,
    /// Of each level: weight (F, C) and bias (F).
    levels: Vec<[Vec<f32>; 2]>,
}

impl Before {
    fn new(wired: bool) -> Self {
        let levels = WIDTHS.iter().zip(40..).map(|(width, seed)| {
            [random(seed, FEATURES * width, -1.0, 1.0), random(50 + seed, FEATURES, -1.0, 1.0)]
        });
        Self {
            rows: random(1, FEATURES * PATCHES, -1.0, 1.0),
            levels: if wired { levels.collect() } else { vec![] },
        }
    }

    fn width(&self) -> usize {
        WIDTHS.iter().take(self.levels.len()).sum()
    }

    fn inputs(&self, other: bool) -> usize {
        PATCHES + self.width() + if other { 3 } else { 0 }
    }

    /// What a head's channel is, as a sum of what is read: (F, inputs).
    fn matrix(&self, other: bool) -> Vec<Vec<f32>> {
        let channel = |c: usize| {
            let image = other && c >= FEATURES - 3;
            let mut row = vec![0.0; self.inputs(other)];
            if image {
                row[PATCHES + self.width() + c - (FEATURES - 3)] = 1.0;
            } else {
                let of = (c + 3) % FEATURES;
                row[..PATCHES].copy_from_slice(&self.rows[of * PATCHES..][..PATCHES]);
            }
            let mut at = PATCHES;
            for ([weight, bias], width) in self.levels.iter().zip(WIDTHS) {
                row[PATCHES - 1] += GATE * bias[c];
                for value in &weight[c * width..][..width] {
                    row[at] = GATE * value;
                    at += 1;
                }
            }
            row
        };
        (0..FEATURES).map(channel).collect()
    }
}

/// Sizes and kinds of heads.
const HEADS: [(usize, bool); 3] = [(5, false), (4, true), (6, true)];

fn check<T: Number>(wired: bool) {
    let Some(bench) = bench() else { return };
    let before = Before::new(wired);
    let split = |rows: &[f32]| -> [Vec<f32>; 2] {
        let of = |keep: fn(usize) -> bool| {
            let at = rows.iter().enumerate().filter(|(at, _)| keep(at % PATCHES));
            at.map(|(_, value)| *value).collect()
        };
        [of(|d| d < PATCHES - 1), of(|d| d == PATCHES - 1)]
    };
    let final_layer = split(&before.rows).map(|values| bench.numbers(&values));
    let final_spans = final_layer.each_ref().map(Numbers::span);
    let nothing = |values: &Vec<f32>| bench.numbers(&vec![f32::NAN; values.len()]);
    let levels: Vec<_> = before
        .levels
        .iter()
        .map(|level| {
            let there = level.each_ref().map(|values| bench.numbers(values));
            (there, level.each_ref().map(nothing))
        })
        .collect();
    let (gate, of_gate) = (bench.numbers(&[GATE]), bench.numbers(&[f32::NAN]));
    let wiring = wired.then(|| Wiring {
        levels: std::array::from_fn(|number| {
            let ([weight, bias], gradient) = &levels[number];
            Projection {
                width: WIDTHS[number],
                weight: weight.span(),
                bias: bias.span(),
                gradient: Some(gradient.each_ref().map(Numbers::span)),
            }
        }),
        gate: gate.span(),
        gate_gradient: Some(of_gate.span()),
    });
    let held: Vec<_> = HEADS
        .iter()
        .zip(10..)
        .map(|(&(outputs, other), seed)| {
            let weight = random(seed, outputs * FEATURES * 9, -1.0, 1.0);
            let count = outputs * before.inputs(other) * 9;
            let gradient: Vec<T> =
                random(10 + seed, count, -1.0, 1.0).into_iter().map(T::of).collect();
            let composed = bench.numbers(&vec![T::of(f32::NAN); count]);
            let gradient = (bench.numbers(&gradient), gradient);
            (bench.numbers(&weight), nothing(&weight), composed, gradient, weight)
        })
        .collect();
    let arguments = |back: bool| -> Vec<HeadWeights<T>> {
        let heads = held.iter().zip(HEADS);
        let head = heads.map(|(held, (outputs, other_image))| HeadWeights {
            outputs,
            weight: held.0.span(),
            weight_gradient: back.then(|| held.1.span()),
            other_image,
            composed: if back { held.3.0.span() } else { held.2.span() },
        });
        head.collect()
    };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    let wiring = wiring.as_ref();
    kernels.compose_weights(stream, FEATURES, final_spans, wiring, &arguments(false)).unwrap();
    let old = random(3, FEATURES * PATCHES, -1.0, 1.0);
    let of_final = split(&old).map(|values| bench.numbers(&values));
    let of_final_spans = of_final.each_ref().map(Numbers::span);
    let layers = (final_spans, of_final_spans);
    kernels.compose_weights_backward(stream, FEATURES, layers, wiring, &arguments(true)).unwrap();

    // The gradients of sum(composed * cotangent), from its definition.
    let mut of_rows: Vec<f64> = old
        .iter()
        .enumerate()
        .map(|(at, v)| if at < 3 * PATCHES { (*v).into() } else { 0.0 })
        .collect();
    let mut of_levels: Vec<[Vec<f64>; 2]> =
        before.levels.iter().map(|level| level.each_ref().map(|v| vec![0.0; v.len()])).collect();
    let mut gate_gradient = 0.0;
    for (held, (outputs, other)) in held.iter().zip(HEADS) {
        let (matrix, inputs) = (before.matrix(other), before.inputs(other));
        let (weight, cotangent) = (&held.4, &held.3.1);
        let mut composed = vec![0.0; outputs * inputs * 9];
        let mut of_weight = vec![0.0; weight.len()];
        let mut of_matrix = vec![vec![0.0f64; inputs]; FEATURES];
        for (at, value) in weight.iter().enumerate() {
            let (o, c, tap) = (at / (FEATURES * 9), at / 9 % FEATURES, at % 9);
            for d in 0..inputs {
                let to = (o * inputs + d) * 9 + tap;
                composed[to] += value * matrix[c][d];
                of_weight[at] += cotangent[to].wide() * matrix[c][d];
                of_matrix[c][d] += f64::from(value * cotangent[to].wide());
            }
        }
        let found: Vec<f32> = held.2.read().iter().map(|v| v.wide()).collect();
        close("composed", &found, &composed, 2e-6 + T::ROUNDING);
        close("of a head's weight", &held.1.read(), &of_weight, 2e-6);
        for (c, row) in of_matrix.iter().enumerate() {
            if !other || c < FEATURES - 3 {
                let of = (c + 3) % FEATURES * PATCHES;
                of_rows[of..][..PATCHES].iter_mut().zip(row).for_each(|(to, v)| *to += v);
            }
            let mut at = PATCHES;
            for (level, width) in WIDTHS.into_iter().enumerate().take(of_levels.len()) {
                let [weight, bias] = &mut of_levels[level];
                bias[c] += f64::from(GATE) * row[PATCHES - 1];
                gate_gradient += row[PATCHES - 1] * f64::from(before.levels[level][1][c]);
                let values = &before.levels[level][0][c * width..][..width];
                for (to, value) in weight[c * width..][..width].iter_mut().zip(values) {
                    *to += f64::from(GATE) * row[at];
                    gate_gradient += row[at] * f64::from(*value);
                    at += 1;
                }
            }
        }
    }
    let single = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
    let [of_weight, of_bias] = split(&single(&of_rows));
    close("of the final weight", &of_final[0].read(), &of_weight, 3e-6);
    close("of the final bias", &of_final[1].read(), &of_bias, 3e-6);
    for ((_, found), expected) in levels.iter().zip(&of_levels) {
        close("of a projection's weight", &found[0].read(), &single(&expected[0]), 3e-6);
        close("of a projection's bias", &found[1].read(), &single(&expected[1]), 3e-6);
    }
    if wired {
        close("of the gate", &of_gate.read(), &[gate_gradient as f32], 3e-6);
    }
}

#[test]
fn composed_weights_and_their_gradient() {
    check::<f32>(false);
    check::<bf16>(false);
}

#[test]
fn composed_weights_of_wired_levels_and_their_gradient() {
    check::<f32>(true);
    check::<bf16>(true);
}
