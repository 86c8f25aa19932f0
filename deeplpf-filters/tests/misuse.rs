//! What callers can get wrong, and what they are told.

mod common;

use common::Random;
use deeplpf_filters::{Dialect, Error, FilterFixes, FilterStack, StackConfig};
use ndarray::Array3;

#[test]
fn wrong_lengths_are_named() {
    let config = StackConfig::default();
    for found in [0, 1, 107, 109] {
        let error = FilterStack::from_raw(&config, &vec![0.0_f32; found]).expect_err("too short");
        assert_eq!(error, Error::RawLength { expected: 108, found });
    }
    let huge = StackConfig { graduated: usize::MAX / 8, ..config };
    assert!(matches!(
        FilterStack::from_raw(&huge, &[0.0_f32; 108]),
        Err(Error::TooManyInstances { .. })
    ));
}

#[test]
fn wrong_shapes_are_named() {
    let stack = FilterStack::from_raw(&StackConfig::default(), &[0.0_f64; 108]).expect("valid");
    for shape in [(1, 4, 4), (4, 4, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)] {
        let image = Array3::zeros(shape);
        let expected = Err(Error::NotRgb { what: "image", found: shape.into() });
        assert_eq!(stack.apply(image.view()), expected);
        assert_eq!(stack.apply_polynomial(image.view()), expected);
        assert!(stack.vjp(image.view(), image.view()).is_err());
    }
    let (image, other) = (Array3::zeros((3, 4, 5)), Array3::zeros((3, 5, 4)));
    let mismatch = |what| Error::ShapeMismatch { what, expected: [3, 4, 5], found: [3, 5, 4] };
    assert_eq!(stack.vjp(image.view(), other.view()), Err(mismatch("cotangent")));
    let mut out = other.clone();
    assert_eq!(stack.apply_into(image.view(), out.view_mut()), Err(mismatch("output")));
    assert_eq!(
        stack.vjp_into(image.view(), image.view(), out.view_mut()),
        Err(mismatch("image gradient"))
    );
    assert!(stack.scale_maps(0, 3).is_err());
    for (height, width) in [(4, 4), (usize::MAX, usize::MAX), (20, 2)] {
        let error = stack.apply_slice(&[0.0; 60], height, width, &mut [0.0; 60]).expect_err("size");
        assert!(matches!(error, Error::SliceLength { what: "image", found: 60, .. }), "{error}");
    }
}

#[test]
fn named_parameters_outside_their_domain_are_named() {
    for dialect in [Dialect::Release, Dialect::Paper] {
        let config = StackConfig { dialect, ..StackConfig::default() };
        let raw: Vec<f32> = Random(1).raw(&config);
        let good = FilterStack::from_raw(&config, &raw).expect("valid").params().clone();
        let refuse = |change: &dyn Fn(&mut deeplpf_filters::StackParams<f32>), field: &str| {
            let mut params = good.clone();
            change(&mut params);
            let error = FilterStack::from_params(&config, params).expect_err(field);
            assert!(error.to_string().contains(field), "{error}");
        };
        refuse(&|p| p.elliptical[1].semi_axis_a = 0.0, "elliptical instance 1: semi_axis_a");
        refuse(&|p| p.elliptical[2].semi_axis_b = -0.5, "semi_axis_b");
        refuse(&|p| p.elliptical[0].angle = f32::NAN, "angle");
        refuse(&|p| p.graduated[0].slope = f32::INFINITY, "slope");
        refuse(&|p| p.graduated[2].scale[1] = f32::NAN, "graduated instance 2: scale");
        refuse(&|p| p.graduated.truncate(2), "2 instances, the configuration has 3");
        refuse(&|p| p.polynomial = None, "polynomial");
        refuse(
            &|p| p.polynomial.as_mut().expect("on").coefficients[1].truncate(19),
            "19 coefficients in a channel",
        );
        if dialect == Dialect::Paper {
            refuse(&|p| p.graduated[1].o2 = 0.0, "o2");
        }
    }
}

#[test]
fn contradicting_configurations_are_refused() {
    let gates = StackConfig { gates: true, ..StackConfig::default() };
    assert!(matches!(FilterStack::from_raw(&gates, &[0.0_f32]), Err(Error::GatesNeedFusion)));
    let paper =
        StackConfig { dialect: Dialect::Paper, fixes: FilterFixes::ALL, ..StackConfig::default() };
    assert!(matches!(FilterStack::from_raw(&paper, &[0.0_f32]), Err(Error::FixesNeedRelease)));
}

#[test]
fn the_mean_gate_and_its_gradient() {
    let config =
        StackConfig { fixes: FilterFixes::ALL, gates: true, elliptical: 2, ..Default::default() };
    let raw: Vec<f64> = Random(9).raw(&config);
    let mean = |raw: &[f64]| {
        FilterStack::from_raw(&config, raw).expect("valid").gate_mean().expect("gates")
    };
    let found = mean(&raw);
    assert_eq!(found.gate_slope, 0.2);
    for (i, gradient) in found.raw.expect("raw").into_iter().enumerate() {
        let at = |h: f64| {
            let mut raw = raw.clone();
            raw[i] += h;
            mean(&raw).value
        };
        assert!((gradient - (at(1e-5) - at(-1e-5)) / 2e-5).abs() < 1e-9, "{}", config.raw_name(i));
    }
    let zero = mean(&vec![0.0; config.raw_len()]);
    assert_eq!(zero.value, 1.0);
    let off = StackConfig { gates: false, ..config };
    let stack = FilterStack::from_raw(&off, &vec![0.0; off.raw_len()]).expect("valid");
    assert_eq!(stack.gate_mean(), None);
}
