//! Every instruction set of this machine against the scalar reference.

mod common;

use common::{Random, by_reference};
use deeplpf_filters::{
    Dialect, Error, FilterFixes, FilterStack, Instructions, PolynomialKind, Real, StackConfig,
};
use ndarray::Array3;

const SIZES: [(usize, usize); 6] = [(1, 1), (3, 15), (9, 16), (5, 257), (2, 530), (130, 33)];

fn configs() -> Vec<StackConfig> {
    let base = StackConfig::default();
    let fixed = StackConfig { fixes: FilterFixes::ALL, ..base.clone() };
    let paper = StackConfig { dialect: Dialect::Paper, ..base.clone() };
    vec![
        base.clone(),
        StackConfig { gates: true, graduated: 4, elliptical: 1, ..fixed.clone() },
        StackConfig { polynomial: Some(PolynomialKind::Cubic10), graduated: 0, ..fixed },
        paper.clone(),
        StackConfig { gates: true, elliptical: 0, ..paper.clone() },
        StackConfig { polynomial: None, elliptical: 2, ..paper },
        StackConfig { polynomial: None, graduated: 0, elliptical: 0, ..base },
    ]
}

fn largest(a: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().fold(0.0, |m, v| {
        assert!(!v.is_nan(), "a NaN");
        f64::max(m, v.abs())
    })
}

/// Y against the reference, and all gradients against those of `f64` on the portable path (which
/// other tests compare with differences of the reference): the largest differences, the
/// gradients' relative to the largest of their kind.
fn differences<T: Real>(
    set: Instructions,
    config: &StackConfig,
    size: (usize, usize),
    seed: u64,
) -> [f64; 3] {
    let mut random = Random(seed);
    let raw: Vec<T> = random.raw(config);
    let image = random.image::<T>(size.0, size.1, [0.0, 1.0]);
    let cotangent = random.image::<T>(size.0, size.1, [-1.0, 1.0]);
    let stack = FilterStack::from_raw(config, &raw).expect("valid");
    let stack = stack.with_instructions(set).expect("available");
    assert_eq!(stack.instructions(), set);
    let exact = FilterStack::from_params(config, stack.params().map(T::wide)).expect("valid");
    let exact = exact.with_instructions(Instructions::Portable).expect("always available");

    let [wide_image, wide_cotangent] = [&image, &cotangent].map(|a| a.mapv(T::wide));
    let y = stack.apply(image.view()).expect("Y").mapv(T::wide);
    let expected = by_reference(config, &exact.params().clone(), wide_image.view());
    let value = largest(y - expected);

    let found = stack.vjp(image.view(), cotangent.view()).expect("gradients");
    let expected = exact.vjp(wide_image.view(), wide_cotangent.view()).expect("gradients");
    let scale = largest(expected.image.iter().copied()).max(1.0);
    let image_gradient = largest(found.image.mapv(T::wide) - expected.image) / scale;
    let flat = |params: deeplpf_filters::StackParams<f64>| {
        let mut params = params;
        common::slots(&mut params).into_iter().map(|(_, v)| *v).collect::<Vec<_>>()
    };
    let (found, expected) = (flat(found.params.map(T::wide)), flat(expected.params));
    let scale = largest(expected.iter().copied()).max(1.0);
    let params = largest(found.iter().zip(&expected).map(|(a, b)| a - b)) / scale;
    [value, image_gradient, params]
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    let mut failures = vec![];
    for set in Instructions::available() {
        let mut worst = [[0.0_f64; 3]; 2];
        for (n, config) in configs().iter().enumerate() {
            for (m, &size) in SIZES.iter().enumerate() {
                for seed in 0..3 {
                    let seed = (1000 * n + 10 * m + seed) as u64;
                    let narrow = differences::<f32>(set, config, size, seed);
                    let wide = differences::<f64>(set, config, size, seed);
                    // In f32 the inputs and parameters are the same numbers; what is left are
                    // roundings of 6e-8, grown by gains and slopes of up to some hundred.
                    let limits = [[2e-5, 1e-4, 1e-4], [1e-11; 3]];
                    for (precision, found) in [narrow, wide].into_iter().enumerate() {
                        for kind in 0..3 {
                            let worst = &mut worst[precision][kind];
                            *worst = worst.max(found[kind]);
                            if found[kind] > limits[precision][kind] {
                                failures.push(format!(
                                    "{set}, config {n}, {size:?}, seed {seed}: {found:?}"
                                ));
                            }
                        }
                    }
                }
            }
        }
        eprintln!("{set}: Y, image gradient, parameters: f32 {:?}, f64 {:?}", worst[0], worst[1]);
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// No pixel on the other side of an ellipse's edge, whatever the instructions.
#[test]
fn no_pixel_flips_with_any_instruction_set() {
    let config = StackConfig { polynomial: None, graduated: 0, ..StackConfig::default() };
    for set in Instructions::available() {
        for seed in 0..6 {
            let [value, ..] = differences::<f32>(set, &config, (123, 457), 77 + seed);
            assert!(value < 1e-4, "{set}, seed {seed}: {value}");
        }
    }
}

/// Above the centre the release's ellipse is a circle, and the columns beyond it are skipped: with
/// long thin ellipses that would show.
#[test]
fn long_thin_ellipses_are_whole() {
    let config = StackConfig { polynomial: None, graduated: 0, ..StackConfig::default() };
    let mut random = Random(5);
    for set in Instructions::available() {
        for _ in 0..20 {
            let raw: Vec<f32> = random.raw(&config);
            let mut params = FilterStack::from_raw(&config, &raw).expect("valid").params().clone();
            for p in &mut params.elliptical {
                p.semi_axis_a = random.uniform(0.002, 0.05) as f32;
                p.semi_axis_b = random.uniform(0.3, 3.0) as f32;
                p.center_x = random.uniform(-0.2, 1.2) as f32;
            }
            let stack = FilterStack::from_params(&config, params.clone()).expect("valid");
            let stack = stack.with_instructions(set).expect("available");
            let image = random.image::<f32>(61, 90, [0.1, 0.4]);
            let found = stack.apply(image.view()).expect("Y").mapv(f64::from);
            let expected =
                by_reference(&config, &params.map(f64::from), image.mapv(f64::from).view());
            let worst = largest(found - expected);
            assert!(worst < 2e-4, "{set}: {worst} with {params:?}");
        }
    }
}

/// The same bits with one thread and with many, for every instruction set.
#[cfg(feature = "rayon")]
#[test]
fn the_number_of_threads_does_not_matter_to_any_instruction_set() {
    let config = StackConfig::default();
    let mut random = Random(4);
    let raw: Vec<f32> = random.raw(&config);
    let image = random.image::<f32>(103, 301, [0.0, 1.0]);
    let cotangent = random.image::<f32>(103, 301, [-1.0, 1.0]);
    for set in Instructions::available() {
        let stack = FilterStack::from_raw(&config, &raw).expect("valid");
        let stack = stack.with_instructions(set).expect("available");
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            pool.install(|| {
                let bits = |a: &Array3<f32>| a.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let vjp = stack.vjp(image.view(), cotangent.view()).expect("gradients");
                let raw: Vec<u32> = vjp.raw.expect("raw").iter().map(|v| v.to_bits()).collect();
                (bits(&stack.apply(image.view()).expect("Y")), bits(&vjp.image), raw)
            })
        };
        let one = run(1);
        for threads in [2, 5] {
            assert!(run(threads) == one, "{set}, {threads} threads");
        }
    }
}

/// A NaN or an infinity stays alone in its lane.
#[test]
fn a_pixel_that_is_no_number_stays_alone_in_every_instruction_set() {
    for config in configs() {
        let mut random = Random(6);
        let raw: Vec<f32> = random.raw(&config);
        let image = random.image::<f32>(3, 40, [0.0, 1.0]);
        for set in Instructions::available() {
            let stack = FilterStack::from_raw(&config, &raw).expect("valid");
            let stack = stack.with_instructions(set).expect("available");
            let clean = stack.apply(image.view()).expect("Y");
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut broken = image.clone();
                broken[[1, 2, 37]] = bad;
                let found = stack.apply(broken.view()).expect("Y");
                for (index, value) in clean.indexed_iter() {
                    if index == (1, 2, 37) {
                        assert!(found[index].is_nan(), "{set} {bad}");
                    } else {
                        assert_eq!(found[index].to_bits(), value.to_bits(), "{set} {bad}");
                    }
                }
                let error = stack.vjp(broken.view(), image.view()).expect_err("not finite");
                assert!(
                    matches!(error, Error::NotFinite { channel: 1, row: 2, column: 37, .. }),
                    "{set}: {error}"
                );
            }
        }
    }
}

#[test]
fn what_the_machine_does_not_have_is_refused() {
    let stack = || FilterStack::from_raw(&StackConfig::default(), &[0.0_f32; 108]).expect("valid");
    for set in [Instructions::Avx2, Instructions::Avx512, Instructions::Neon] {
        match stack().with_instructions(set) {
            Ok(stack) => assert_eq!(stack.instructions(), set),
            Err(error) => {
                assert!(!set.is_available());
                assert!(error.to_string().contains(set.name()), "{error}");
            }
        }
    }
    #[cfg(target_arch = "x86_64")]
    assert!(stack().with_instructions(Instructions::Neon).is_err());
}
