//! Activation, pooling, upsampling, borders.

use candle_core::{Device as Processor, Tensor, Var};
use half::bf16;

use super::*;
use crate::ops::max_pool::max_pool2;

/// Error of a gradient: one rounding to the type, and a few of the up to ten terms that meet in a corner.
fn folding<T: Number>() -> f32 {
    5e-7 + T::ROUNDING
}

/// Odd and even sides, one smaller than a block, one larger; the least a border can mirror.
const SHAPES: [[usize; 4]; 4] = [[1, 3, 2, 2], [2, 2, 3, 5], [1, 2, 37, 70], [2, 1, 8, 33]];

fn leaky(v: f32) -> f32 {
    if v > 0.0 { v } else { 0.01 * v }
}

fn rounded<T: Number>(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| T::of(*v).wide()).collect()
}

/// Value per channel added.
fn biased(values: &[f32], bias: &[f32], [_, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let plane = height * width;
    values.iter().enumerate().map(|(i, v)| v + bias[i / plane % channels]).collect()
}

fn sums_per_channel(values: &[f32], [_, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let plane = height * width;
    let mut sums = vec![0.0f64; channels];
    for (i, v) in values.iter().enumerate() {
        sums[i / plane % channels] += f64::from(*v);
    }
    sums.into_iter().map(|v| v as f32).collect()
}

fn activate<T: Number>() {
    let Some(bench) = bench() else { return };
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let values = rounded::<T>(&random(seed as u64, shape.iter().product(), -1.0, 1.0));
        let bias = random(99, shape[1], -0.5, 0.5);
        let biases = bench.numbers(&bias);
        let expected: Vec<f32> = biased(&values, &bias, shape).iter().map(|v| leaky(*v)).collect();
        for border in [0, 1] {
            let input = bench.planes::<T>(&values, shape, 0);
            let out = bench.empty::<T>(shape, border);
            let (stream, kernels) = (bench.stream(), &bench.kernels);
            kernels
                .activate(stream, input.planes(), biases.span(), Slope::Leaky, out.planes())
                .unwrap();
            close("activated", &out.read(), &expected, T::ROUNDING);
            // In place, without activation.
            let (planes, bias_span) = (input.planes(), biases.span());
            kernels.activate(stream, planes, bias_span, Slope::Identity, planes).unwrap();
            close("biased", &input.read(), &biased(&values, &bias, shape), T::ROUNDING);

            let (gradient, folded) = bench.bordered::<T>(7 + seed as u64, shape, border);
            let back = bench.empty::<T>(shape, 0);
            let of_bias = bench.numbers(&vec![f32::NAN; shape[1]]);
            kernels
                .activate_backward(
                    stream,
                    out.planes(),
                    gradient.planes(),
                    Slope::Leaky,
                    back.planes(),
                    of_bias.span(),
                    bench.scratch(),
                )
                .unwrap();
            let expected: Vec<f32> = folded
                .iter()
                .zip(out.read())
                .map(|(d, v)| if v > 0.0 { *d } else { 0.01 * d })
                .collect();
            close("gradient", &back.read(), &expected, folding::<T>());
            close("of bias", &of_bias.read(), &sums_per_channel(&expected, shape), 1e-5);
        }
    }
    assert!(bench.counters_are_zero());
}

impl Bench {
    fn counters_are_zero(&self) -> bool {
        let mut counters = vec![1u32; SCRATCH_COUNTERS];
        self.counters.read(0, &mut counters).unwrap();
        counters.iter().all(|count| *count == 0)
    }
}

#[test]
fn activation_and_its_gradient() {
    activate::<f32>();
    activate::<bf16>();
}

/// Max-pooling of candle's tensors with its gradient.
fn pooled(values: &[f32], shape: [usize; 4], gradient: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let x = Var::from_vec(values.to_vec(), &shape, &Processor::Cpu).unwrap();
    let out = max_pool2(&x).unwrap();
    let weights = Tensor::from_vec(gradient.to_vec(), out.shape(), &Processor::Cpu).unwrap();
    let gradients = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (flat(&out), flat(gradients.get(&x).unwrap()))
}

fn pool<T: Number>() {
    let Some(bench) = bench() else { return };
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [batch, channels, height, width] = shape;
        let half = [batch, channels, height / 2, width / 2];
        // Few different values: many ties, whose gradient belongs to the first.
        let values: Vec<f32> = random(seed as u64, shape.iter().product(), -4.0, 4.0)
            .iter()
            .map(|v| v.round() / 4.0)
            .collect();
        let bias: Vec<f32> = (0..channels).map(|c| c as f32 / 8.0).collect();
        let biases = bench.numbers(&bias);
        let activated = rounded::<T>(
            &biased(&values, &bias, shape).iter().map(|v| leaky(*v)).collect::<Vec<_>>(),
        );
        let border = usize::from(half[2] > 1 && half[3] > 1);
        for keeps_full in [false, true] {
            let input = bench.planes::<T>(&values, shape, 0);
            let full = keeps_full.then(|| bench.empty::<T>(shape, 1));
            let out = bench.empty::<T>(half, border);
            let (stream, kernels) = (bench.stream(), &bench.kernels);
            let full_planes = full.as_ref().map(|full| full.planes());
            kernels
                .activate_pool(stream, input.planes(), biases.span(), full_planes, out.planes())
                .unwrap();
            let (gradient, folded) = bench.bordered::<T>(70 + seed as u64, half, border);
            let (expected, from_pool) = pooled(&activated, shape, &folded);
            close("pooled", &out.read(), &expected, T::ROUNDING);

            let mut expected = from_pool;
            let mut skip = None;
            if let Some(full) = &full {
                close("activated", &full.read(), &activated, T::ROUNDING);
                let (held, of_skip) = bench.bordered::<T>(700 + seed as u64, shape, 1);
                expected.iter_mut().zip(of_skip).for_each(|(to, more)| *to += more);
                skip = Some(held);
            }
            for (to, v) in expected.iter_mut().zip(&activated) {
                *to *= if *v > 0.0 { 1.0 } else { 0.01 };
            }
            let of_bias = bench.numbers(&vec![f32::NAN; channels]);
            // From the raw values, in place, or from the activated ones.
            let back = bench.empty::<T>(shape, 0);
            let (from, back) = match &full {
                Some(full) => ((full.planes(), None), &back),
                None => ((input.planes(), Some(biases.span())), &input),
            };
            kernels
                .activate_pool_backward(
                    stream,
                    from,
                    gradient.planes(),
                    skip.as_ref().map(|skip| skip.planes()),
                    back.planes(),
                    of_bias.span(),
                    bench.scratch(),
                )
                .unwrap();
            close("gradient", &back.read(), &expected, folding::<T>());
            close("of bias", &of_bias.read(), &sums_per_channel(&expected, shape), 1e-5);
        }
    }
}

#[test]
fn pooling_and_its_gradient() {
    pool::<f32>();
    pool::<bf16>();
}

#[test]
fn a_nan_wins_its_window() {
    let Some(bench) = bench() else { return };
    let input = bench.planes::<f32>(&[1.0, 2.0, f32::NAN, 0.5], [1, 1, 2, 2], 0);
    let out = bench.empty::<f32>([1, 1, 1, 1], 0);
    let bias = bench.numbers(&[0.0f32]);
    bench
        .kernels
        .activate_pool(bench.stream(), input.planes(), bias.span(), None, out.planes())
        .unwrap();
    assert!(out.with_border()[0].is_nan());
}

fn upsampled<T: Number>() {
    let Some(bench) = bench() else { return };
    for (seed, coarse) in SHAPES.into_iter().enumerate() {
        let [batch, channels, h, w] = coarse;
        let values = rounded::<T>(&random(seed as u64, coarse.iter().product(), -1.0, 1.0));
        let bias = random(9, channels, -0.5, 0.5);
        let biases = bench.numbers(&bias);
        for (down, right) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let fine = [batch, channels, 2 * h + down, 2 * w + right];
            let (stream, kernels) = (bench.stream(), &bench.kernels);
            let source = bench.planes::<T>(&values, coarse, 0);
            let out = bench.empty::<T>(fine, 1);
            kernels.join_upsampled(stream, source.planes(), biases.span(), out.planes()).unwrap();
            // Where a fine pixel reads; none in the row of zeros below and the column of zeros at the left.
            let source_of = |at: usize| {
                let (plane, y, x) =
                    (at / (fine[2] * fine[3]), at / fine[3] % fine[2], at % fine[3]);
                (y < 2 * h && x >= right).then(|| (plane * h + y / 2) * w + (x - right) / 2)
            };
            let lifted = biased(&values, &bias, coarse);
            let count = fine.iter().product::<usize>();
            let expected: Vec<f32> =
                (0..count).map(|at| source_of(at).map_or(0.0, |from| lifted[from])).collect();
            close("upsampled", &out.read(), &expected, T::ROUNDING);

            let (gradient, folded) = bench.bordered::<T>(50 + seed as u64, fine, 1);
            let mut expected = vec![0.0f32; values.len()];
            for (at, d) in folded.iter().enumerate() {
                if let Some(to) = source_of(at) {
                    expected[to] += d;
                }
            }
            let back = bench.empty::<T>(coarse, 0);
            let of_bias = bench.numbers(&vec![f32::NAN; channels]);
            kernels
                .join_upsampled_backward(
                    stream,
                    gradient.planes(),
                    back.planes(),
                    of_bias.span(),
                    bench.scratch(),
                )
                .unwrap();
            close("gradient", &back.read(), &expected, folding::<T>());
            close("of bias", &of_bias.read(), &sums_per_channel(&expected, coarse), 1e-5);
        }
    }
}

#[test]
fn upsampling_and_its_gradient() {
    upsampled::<f32>();
    upsampled::<bf16>();
}

fn residual<T: Number>() {
    let Some(bench) = bench() else { return };
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let count = shape.iter().product();
        let values = rounded::<T>(&random(seed as u64, count, -1.0, 1.0));
        let image = random(5, count, 0.0, 1.0);
        let bias = random(6, shape[1], -0.5, 0.5);
        let biases = bench.numbers(&bias);
        let last = bench.planes::<T>(&values, shape, 0);
        let picture = bench.planes::<f32>(&image, shape, 1);
        let out = bench.empty::<f32>(shape, 1);
        let (stream, kernels) = (bench.stream(), &bench.kernels);
        kernels
            .residual(stream, last.planes(), biases.span(), picture.planes(), out.planes())
            .unwrap();
        let activated: Vec<f32> = biased(&values, &bias, shape).iter().map(|v| leaky(*v)).collect();
        let expected: Vec<f32> = activated.iter().zip(&image).map(|(a, b)| a + b).collect();
        close("activated", &last.read(), &activated, T::ROUNDING);
        close("residual", &out.read(), &expected, 1e-6);

        let (gradient, mut folded) = bench.bordered::<f32>(8, shape, 1);
        let plus = random(10, count, -1.0, 1.0);
        let further = bench.planes::<f32>(&plus, shape, 0);
        folded.iter_mut().zip(&plus).for_each(|(to, more)| *to += more);
        for (to, v) in folded.iter_mut().zip(last.read()) {
            *to *= if v > 0.0 { 1.0 } else { 0.01 };
        }
        let of_bias = bench.numbers(&vec![f32::NAN; shape[1]]);
        let planes = last.planes();
        let further = Some(further.planes());
        let scratch = bench.scratch();
        kernels
            .residual_backward(
                stream,
                planes,
                gradient.planes(),
                further,
                planes,
                of_bias.span(),
                scratch,
            )
            .unwrap();
        close("gradient", &last.read(), &folded, folding::<T>());
        close("of bias", &of_bias.read(), &sums_per_channel(&folded, shape), 1e-5);
    }
}

#[test]
fn the_residual_and_its_gradient() {
    residual::<f32>();
    residual::<bf16>();
}

#[test]
fn borders_and_conversions() {
    let Some(bench) = bench() else { return };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let values = random(seed as u64, shape.iter().product(), -1.0, 1.0);
        let source = bench.planes::<f32>(&values, shape, 0);
        let [single, wide] = [0, 1].map(|border| bench.empty::<f32>(shape, border));
        let [half, half_wide] = [0, 1].map(|border| bench.empty::<bf16>(shape, border));
        kernels.convert(stream, source.planes(), wide.planes()).unwrap();
        close("with border", &wide.read(), &values, 0.0);
        kernels.convert(stream, wide.planes(), half_wide.planes()).unwrap();
        let expected = rounded::<bf16>(&values);
        close("rounded to nearest", &half_wide.read(), &expected, 0.0);
        kernels.convert(stream, half_wide.planes(), half.planes()).unwrap();
        kernels.convert(stream, half.planes(), single.planes()).unwrap();
        close("widened", &single.read(), &expected, 0.0);
    }
}

#[test]
fn bfloat16_rounds_to_nearest_even_and_keeps_special_numbers() {
    let Some(bench) = bench() else { return };
    let mut values = random(1, 5000, -1e3, 1e3);
    values.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-40,
    ]);
    // Halfway between two neighbours: to the even one.
    values.extend([1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -1.0 - 1.0 / 256.0, f32::NAN]);
    let input = bench.numbers(&values);
    let out = bench.numbers(&vec![bf16::ZERO; values.len()]);
    let back = bench.numbers(&vec![0.0f32; values.len()]);
    bench.kernels.round_to_bf16(bench.stream(), input.span(), out.span()).unwrap();
    bench.kernels.widen_from_bf16(bench.stream(), out.span(), back.span()).unwrap();
    for ((value, rounded), wide) in values.iter().zip(out.read()).zip(back.read()) {
        let expected = bf16::from_f32(*value);
        assert!(expected.is_nan() == rounded.is_nan() && wide.is_nan() == expected.is_nan());
        if !expected.is_nan() {
            assert_eq!(expected.to_bits(), rounded.to_bits(), "{value}");
            assert_eq!(wide, expected.to_f32());
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let Some(bench) = bench() else { return };
    let a = bench.empty::<f32>([1, 2, 4, 4], 0);
    let b = bench.empty::<f32>([1, 2, 4, 5], 0);
    let bias = bench.numbers(&[0.0f32; 2]);
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    let refused = kernels.activate(stream, a.planes(), bias.span(), Slope::Leaky, b.planes());
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("[1, 2, 4, 5]") && text.contains("[1, 2, 4, 4]"), "{text}");
    let short = Span::new(bias.span().address(), 1);
    assert!(kernels.activate(stream, a.planes(), short, Slope::Leaky, a.planes()).is_err());
    assert!(kernels.join_upsampled(stream, a.planes(), bias.span(), b.planes()).is_err());
}
