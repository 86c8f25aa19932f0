//! The filters alone, beside the CPU's.

use deeplpf_core::cuda::{Device, FilterPass};
use deeplpf_filters::{FilterStack, StackConfig};
use ndarray::Array3;

use crate::stand_in;

#[test]
fn filters_alone_are_the_cpus() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let config = StackConfig::default();
    let raw: Vec<f32> = (0..config.raw_len()).map(|i| 0.6 * (i as f32 * 1.7 + 0.3).sin()).collect();
    let (height, width) = (37, 150);
    let image = Array3::from_shape_fn((3, height, width), |(c, y, x)| {
        0.5 + 0.4 * ((c * 7 + y * 3 + x * 5) as f32 * 0.11).sin()
    });
    let cotangent = image.mapv(|value| value - 0.5);
    let parts = (image.as_slice().unwrap(), cotangent.as_slice().unwrap());
    let shape = [1, height, width];
    let pass = FilterPass::new(&device, &config, &raw, parts, shape).unwrap();
    pass.apply().unwrap();
    pass.vjp().unwrap();
    let stack = FilterStack::<f32>::from_raw(&config, &raw).unwrap();
    let expected = stack.apply(image.view()).unwrap();
    // Pixels on an ellipse's edge may fall on its other side: a share of them is left out.
    let far = |ours: &[f32], expected: &Array3<f32>| {
        let pairs = ours.iter().zip(expected);
        pairs.filter(|(a, b)| (*a - *b).abs() > 2e-5).count() as f64 / ours.len() as f64
    };
    let share = far(&pass.output().unwrap(), &expected);
    assert!(share < 1e-3, "{share} of the result differs");
    let gradients = stack.vjp(image.view(), cotangent.view()).unwrap();
    let (ours, ours_raw) = pass.gradients().unwrap();
    let share = far(&ours, &gradients.image);
    assert!(share < 1e-3, "{share} of the gradient differs");
    let expected = gradients.raw.unwrap();
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let away = norm(&mut ours_raw.iter().zip(&expected).map(|(a, b)| a - b));
    let scale = norm(&mut expected.iter().copied());
    assert!(away < 1e-3 * scale, "the raw parameters' gradient is {away} away of {scale}");
    pass.copy().unwrap();
    assert_eq!(pass.output().unwrap(), image.as_slice().unwrap());
    let error = FilterPass::new(&device, &config, &raw[1..], parts, shape).err().unwrap();
    assert!(error.to_string().contains("raw parameters"), "{error}");
}
