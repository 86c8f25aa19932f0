//! Formulas that stand in two crates because neither may depend on the other.

use ndarray::Array3;

/// The trainer's validation PSNR is the evaluation's, but for its limit.
#[test]
fn validation_psnr_is_the_evaluations() {
    for seed in 0..5 {
        let image = |phase: usize| {
            Array3::from_shape_fn((3, 21, 34), |(c, y, x)| {
                let value = ((c * 7 + y * 13 + x * 29 + (seed + phase) * 31) % 101) as f32;
                value / 90.0 - 0.05
            })
        };
        let (prediction, target) = (image(0), image(3));
        let ours = deeplpf_train::psnr(prediction.view(), target.view());
        let theirs = deeplpf_eval::metrics::psnr(prediction.view(), target.view()).unwrap();
        assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
    }
    let same = Array3::from_elem((3, 4, 4), 0.5f32);
    assert_eq!(deeplpf_train::psnr(same.view(), same.view()), 100.0);
    let theirs = deeplpf_eval::metrics::psnr(same.view(), same.view()).unwrap();
    assert!(theirs.is_infinite());
}
