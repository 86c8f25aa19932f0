//! Every operation's gradient against central differences in f64, and its values against a plain
//! definition.

use candle_core::{DType, Device, Tensor, Var};
use deeplpf_core::{
    ops::{
        colour_stage::{RAW_LEN, colour_stage},
        conv::{Activation, Conv2d, Padding},
        max_pool::max_pool2,
        patches::resized_patches,
        resize::bilinear_resize,
    },
    random::{Generator, Purpose},
};

/// Numbers in lo..hi.
fn random(shape: &[usize], lo: f64, hi: f64, index: u64) -> Tensor {
    let mut generator = Generator::new(17, Purpose::Synthesis, index);
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| lo + (hi - lo) * generator.uniform()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Compares the gradient of sum(f(arguments) * cotangent) to every entry with a central difference
/// of step 1e-6 (error about 1e-10 from rounding, for values of order one).
fn check_gradients(what: &str, arguments: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let variables: Vec<Var> =
        arguments.iter().map(|argument| Var::from_tensor(argument).unwrap()).collect();
    let tracked: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tracked);
    let cotangent = random(out.dims(), -1.0, 1.0, 99);
    let objective = |out: Tensor| (out * &cotangent).unwrap().sum_all().unwrap();
    let gradients = objective(out).backward().unwrap();
    let mut failures = Vec::new();
    for (position, argument) in arguments.iter().enumerate() {
        let analytic = values(gradients.get(&variables[position]).unwrap());
        let base = values(argument);
        for index in 0..base.len() {
            let at = |delta: f64| {
                let mut moved = base.clone();
                moved[index] += delta;
                let mut arguments = arguments.to_vec();
                arguments[position] =
                    Tensor::from_vec(moved, argument.shape(), &Device::Cpu).unwrap();
                objective(f(&arguments)).to_scalar::<f64>().unwrap()
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            let error = (numeric - analytic[index]).abs();
            if error > 1e-7 * (1.0 + numeric.abs()) {
                failures.push(format!(
                    "{what}: argument {position}[{index}]: {} for {numeric}",
                    analytic[index]
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The definition of the convolution, one output at a time.
fn plain_convolution(conv: &Conv2d, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Vec<f64> {
    let (n, c, h, w) = x.dims4().unwrap();
    let (o, _, k, _) = weight.dims4().unwrap();
    let (x, weight, bias) = (values(x), values(weight), values(bias));
    let source = |position: isize, size: usize| -> Option<usize> {
        let last = size as isize - 1;
        match conv.padding {
            _ if (0..=last).contains(&position) => Some(position as usize),
            Padding::Zero => None,
            Padding::Reflect => {
                Some((if position < 0 { -position } else { 2 * last - position }) as usize)
            }
        }
    };
    let (out_h, out_w) = ((h - 1) / conv.stride + 1, (w - 1) / conv.stride + 1);
    let mut out = Vec::new();
    for (image, channel, y, column) in itertools(n, o, out_h, out_w) {
        let mut sum = bias[channel];
        for (inner, ky, kx, _) in itertools(c, k, k, 1) {
            let at = |output: usize, tap: usize| {
                (output * conv.stride + tap) as isize - (k / 2) as isize
            };
            if let (Some(sy), Some(sx)) = (source(at(y, ky), h), source(at(column, kx), w)) {
                sum += weight[((channel * c + inner) * k + ky) * k + kx]
                    * x[((image * c + inner) * h + sy) * w + sx];
            }
        }
        let active = conv.activation == Activation::LeakyRelu && sum < 0.0;
        out.push(if active { 0.01 * sum } else { sum });
    }
    out
}

fn itertools(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

fn convolutions() -> impl Iterator<Item = (Conv2d, usize)> {
    let kinds = [
        (Padding::Reflect, 1, 3),
        (Padding::Zero, 1, 3),
        (Padding::Zero, 2, 3),
        (Padding::Reflect, 2, 3),
        (Padding::Reflect, 1, 1),
    ];
    kinds.into_iter().flat_map(|(padding, stride, kernel)| {
        [Activation::Identity, Activation::LeakyRelu]
            .map(|activation| (Conv2d { padding, stride, activation }, kernel))
    })
}

#[test]
fn convolution_matches_its_definition() {
    for (conv, kernel) in convolutions() {
        // Wide enough for several blocks of rows, odd, tiny, one row of blocks.
        for (n, c, o, h, w) in
            [(2, 3, 4, 7, 9), (1, 5, 2, 2, 2), (1, 40, 3, 37, 61), (2, 6, 5, 4, 11)]
        {
            let x = random(&[n, c, h, w], -1.0, 1.0, 1);
            let weight = random(&[o, c, kernel, kernel], -1.0, 1.0, 2);
            let bias = random(&[o], -1.0, 1.0, 3);
            let ours = values(&conv.apply(&x, &weight, &bias).unwrap());
            let plain = plain_convolution(&conv, &x, &weight, &bias);
            assert_eq!(ours.len(), plain.len());
            let differences = ours.iter().zip(&plain).map(|(a, b)| (a - b).abs());
            // Not f64::max, which passes over NaN.
            let worst = differences.fold(0.0, |worst, d| if d <= worst { worst } else { d });
            // 360 products of order one at most: rounding of the order of 1e-14.
            assert!(worst < 1e-12, "{conv:?} {kernel} {:?}: {worst:.2e}", (n, c, o, h, w));
        }
    }
}

#[test]
fn convolution_gradients() {
    for (conv, kernel) in convolutions() {
        for (n, c, o, h, w) in [(2, 5, 3, 5, 4), (1, 1, 2, 2, 3)] {
            let arguments = [
                random(&[n, c, h, w], -1.0, 1.0, 4),
                random(&[o, c, kernel, kernel], -1.0, 1.0, 5),
                random(&[o], -1.0, 1.0, 6),
            ];
            check_gradients(&format!("{conv:?} {kernel}"), &arguments, |a| {
                conv.apply(&a[0], &a[1], &a[2]).unwrap()
            });
        }
    }
}

#[test]
fn convolution_bits_do_not_depend_on_threads() {
    let conv = Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::LeakyRelu };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let single = |shape: &[usize], index| {
                random(shape, -1.0, 1.0, index).to_dtype(DType::F32).unwrap()
            };
            let x = Var::from_tensor(&single(&[2, 20, 45, 67], 7)).unwrap();
            let weight = Var::from_tensor(&single(&[12, 20, 3, 3], 8)).unwrap();
            let out = conv.apply(&x, &weight, &single(&[12], 9)).unwrap();
            let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            [
                out.clone(),
                gradients.get(&x).unwrap().clone(),
                gradients.get(&weight).unwrap().clone(),
            ]
            .map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        })
    };
    let one = run(1);
    for threads in [2, 5] {
        let many = run(threads);
        for (a, b) in one.iter().zip(&many) {
            assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads} threads");
        }
    }
}

#[test]
fn convolution_keeps_nan() {
    let conv = Conv2d { padding: Padding::Zero, stride: 1, activation: Activation::LeakyRelu };
    let x = Tensor::full(f64::NAN, (1, 1, 4, 4), &Device::Cpu).unwrap();
    let weight = random(&[1, 1, 3, 3], -1.0, 1.0, 1);
    let out = conv.apply(&x, &weight, &random(&[1], 0.0, 1.0, 2)).unwrap();
    assert!(values(&out).iter().all(|v| v.is_nan()));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let conv = Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::Identity };
    let x = random(&[1, 2, 1, 5], 0.0, 1.0, 1);
    let weight = random(&[1, 2, 3, 3], 0.0, 1.0, 2);
    let bias = random(&[1], 0.0, 1.0, 3);
    assert!(conv.apply(&x, &weight, &bias).is_err(), "one row cannot be mirrored");
    let x = random(&[1, 3, 5, 5], 0.0, 1.0, 1);
    assert!(conv.apply(&x, &weight, &bias).is_err(), "channels differ");
    assert!(max_pool2(&random(&[1, 1, 1, 4], 0.0, 1.0, 1)).is_err());
}

#[test]
fn pooling() {
    let x = Tensor::new(&[[[[1.0f64, 4., 9.], [3., 2., 9.], [7., 7., 7.]]]], &Device::Cpu).unwrap();
    assert_eq!(values(&max_pool2(&x).unwrap()), [4.0]);
    check_gradients("pool", &[random(&[2, 3, 5, 6], 0.0, 1.0, 10)], |a| max_pool2(&a[0]).unwrap());
    // A tie goes to the first in reading order.
    let flat =
        Var::from_tensor(&Tensor::ones((1, 1, 2, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
    let gradients = max_pool2(&flat).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(values(gradients.get(&flat).unwrap()), [1.0, 0.0, 0.0, 0.0]);
}

/// The joint of the U-Net's arms by its definition, for one image and channel-first vectors.
fn upsampled_beside(coarse: &Tensor, skip: &Tensor) -> Tensor {
    let (n, c, h, w) = coarse.dims4().unwrap();
    let (_, _, height, width) = skip.dims4().unwrap();
    let small = values(coarse);
    let mut large = Vec::new();
    for (image, channel, y, x) in itertools(n, c, height, width) {
        let column = (x + 2 * w).checked_sub(width).map(|x| x / 2);
        large.push(match column {
            Some(column) if y < 2 * h => small[((image * c + channel) * h + y / 2) * w + column],
            _ => 0.0,
        });
    }
    let large = Tensor::from_vec(large, (n, c, height, width), &Device::Cpu).unwrap();
    Tensor::cat(&[&large, skip], 1).unwrap()
}

#[test]
fn convolution_of_two_tensors_is_that_of_their_concatenation() {
    let weight = random(&[4, 5, 3, 3], -1.0, 1.0, 20);
    let bias = random(&[4], -1.0, 1.0, 21);
    for (conv, kernel) in convolutions().filter(|(_, kernel)| *kernel == 3) {
        for (height, width) in [(4, 6), (5, 6), (4, 7), (5, 7), (23, 40)] {
            let coarse = random(&[2, 2, height / 2, width / 2], -1., 1., 11);
            let skip = random(&[2, 3, height, width], -1., 1., 12);
            let ours = conv.apply_upsampled((&coarse, &skip), &weight, &bias).unwrap();
            let whole = upsampled_beside(&coarse, &skip);
            let plain = conv.apply(&whole, &weight, &bias).unwrap();
            // The same blocks and the same order of sums.
            assert_eq!(values(&ours), values(&plain), "{conv:?} {kernel} {height}x{width}");
            let first = whole.narrow(1, 0, 2).unwrap();
            let ours = conv.apply_pair((&first, &skip), &weight, &bias).unwrap();
            assert_eq!(values(&ours), values(&plain), "{conv:?} {kernel} {height}x{width}");
        }
    }
    let conv = Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::LeakyRelu };
    for (height, width) in [(4, 6), (5, 6), (4, 7), (5, 7)] {
        let arguments = [
            random(&[2, 2, height / 2, width / 2], -1., 1., 11),
            random(&[2, 3, height, width], -1., 1., 12),
            weight.clone(),
            bias.clone(),
        ];
        check_gradients("upsampled", &arguments, |a| {
            conv.apply_upsampled((&a[0], &a[1]), &a[2], &a[3]).unwrap()
        });
    }
    let strided = Conv2d { padding: Padding::Zero, stride: 2, activation: Activation::LeakyRelu };
    let arguments =
        [random(&[1, 2, 5, 6], -1., 1., 13), random(&[1, 3, 5, 6], -1., 1., 14), weight, bias];
    check_gradients("pair", &arguments, |a| {
        strided.apply_pair((&a[0], &a[1]), &a[2], &a[3]).unwrap()
    });
    let far = random(&[2, 3, 9, 9], 0.0, 1.0, 1);
    let near = random(&[2, 2, 2, 3], 0.0, 1.0, 1);
    assert!(conv.apply_upsampled((&near, &far), &arguments[2], &arguments[3]).is_err());
    assert!(conv.apply_pair((&near, &far), &arguments[2], &arguments[3]).is_err());
}

/// Gradients in f32, through the kernels' widest vectors, against f64 on sizes with several blocks.
#[test]
fn convolution_gradients_in_single_precision() {
    for (conv, kernel) in convolutions() {
        for (c, o, h, w) in [(20, 12, 45, 67), (3, 33, 31, 50), (70, 40, 16, 16)] {
            let arguments = [
                random(&[1, c, h, w], -1.0, 1.0, 4),
                random(&[o, c, kernel, kernel], -1.0, 1.0, 5),
                random(&[o], -1.0, 1.0, 6),
            ];
            let run = |dtype: DType| {
                let vars: Vec<Var> = arguments
                    .iter()
                    .map(|a| Var::from_tensor(&a.to_dtype(dtype).unwrap()).unwrap())
                    .collect();
                let out = conv.apply(&vars[0], &vars[1], &vars[2]).unwrap();
                let cotangent = random(out.dims(), -1.0, 1.0, 98).to_dtype(dtype).unwrap();
                let objective = (&out * cotangent).unwrap().sum_all().unwrap();
                let gradients = objective.backward().unwrap();
                let mut all = vec![out];
                all.extend(vars.iter().map(|v| gradients.get(v).unwrap().clone()));
                all.iter().map(|t| values(&t.to_dtype(DType::F64).unwrap())).collect::<Vec<_>>()
            };
            for (what, (single, double)) in run(DType::F32).iter().zip(run(DType::F64)).enumerate()
            {
                let largest = double.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
                let worst = single.iter().zip(&double).map(|(a, b)| (a - b).abs());
                let worst = worst.fold(0.0, |worst, d| if d <= worst { worst } else { d });
                // 3000 products and sums of order one, each rounded to 6e-8. A kink of LeakyReLU
                // crossed by rounding would change one gradient by a term of order one of
                // hundreds: none is that close here.
                let bound = 3e-5 * largest;
                assert!(worst <= bound, "{conv:?} {kernel} {what}: {worst:.1e} of {largest:.1e}");
            }
        }
    }
}

/// The convolutions' tests under every instruction set this processor has, in their own processes
/// because a process chooses once.
#[test]
fn every_instruction_set_passes() {
    const VARIABLE: &str = "DEEPLPF_SIMD";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let run = |set: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.arg("convolution").env(VARIABLE, set).output().unwrap()
    };
    for set in deeplpf_filters::Instructions::available() {
        let output = run(set.name());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{set}: {text}");
        assert!(!text.contains(" 0 passed"), "{set}: nothing was tested: {text}");
    }
    assert!(!run("mmx").status.success(), "an unknown set must be refused");
}

#[test]
fn resized_patches_are_what_a_resized_convolution_is_linear_in() {
    let conv = Conv2d { padding: Padding::Reflect, stride: 1, activation: Activation::Identity };
    let weight = random(&[4, 3, 3, 3], -1.0, 1.0, 30);
    let bias = random(&[4], -1.0, 1.0, 31);
    let rows =
        Tensor::cat(&[&weight.flatten_from(1).unwrap(), &bias.unsqueeze(1).unwrap()], 1).unwrap();
    for (height, width) in [(6, 7), (3, 5), (13, 17), (2, 30)] {
        let x = random(&[2, 3, 6, 7], -1.0, 1.0, 32);
        let whole = conv.apply(&x, &weight, &bias).unwrap();
        let expected = values(&bilinear_resize(&whole, height, width).unwrap());
        let patches = resized_patches(&x, height, width).unwrap();
        assert_eq!(patches.dims(), [2, 28, height, width]);
        let flat = patches.reshape((2, 28, height * width)).unwrap();
        let ours = values(&rows.broadcast_left(2).unwrap().matmul(&flat).unwrap());
        let worst = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, |worst, d| if d <= worst { worst } else { d });
        assert!(worst < 1e-14 * 30.0, "{height}x{width}: {worst:.1e}");
        check_gradients("patches", &[random(&[1, 2, 6, 7], -1., 1., 33)], |a| {
            resized_patches(&a[0], height, width).unwrap()
        });
    }
    check_gradients("least patches", &[random(&[1, 1, 2, 2], -1., 1., 34)], |a| {
        resized_patches(&a[0], 3, 3).unwrap()
    });
    assert!(resized_patches(&random(&[1, 3, 1, 7], 0., 1., 1), 4, 4).is_err());
}

#[test]
fn resizing() {
    // A linear ramp stays one, away from the edges.
    let ramp = Tensor::arange(0.0, 8.0, &Device::Cpu).unwrap().reshape((1, 1, 1, 8)).unwrap();
    let out = values(&bilinear_resize(&ramp.broadcast_as((1, 1, 2, 8)).unwrap(), 2, 16).unwrap());
    for (j, value) in out[1..15].iter().enumerate() {
        let expected = (j as f64 + 1.5) / 2.0 - 0.5;
        assert!((value - expected).abs() < 1e-12, "{j}: {value} for {expected}");
    }
    for (height, width) in [(3, 5), (9, 4), (13, 17), (6, 7)] {
        check_gradients("resize", &[random(&[2, 2, 6, 7], -1., 1., 13)], |a| {
            bilinear_resize(&a[0], height, width).unwrap()
        });
    }
}

#[test]
fn colour_stage_is_the_identity_at_zero_and_has_exact_gradients() {
    let image = random(&[2, 3, 4, 5], -0.2, 1.2, 14);
    let zeros = Tensor::zeros((2, RAW_LEN), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(values(&colour_stage(&image, &zeros).unwrap()), values(&image));
    let parameters = random(&[2, RAW_LEN], -0.5, 0.5, 15);
    check_gradients("colour", &[image, parameters], |a| colour_stage(&a[0], &a[1]).unwrap());
}
