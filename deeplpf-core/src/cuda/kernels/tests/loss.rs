//! The loss and its gradient against the CPU's.

use candle_core::{DType, Device as Processor, Tensor, Var};

use super::*;
use crate::{Fix, Fixes, LossConfig, loss};

/// The CPU's loss of the clamped prediction, in double precision: total, parts, gradient.
fn reference(
    prediction: &Tensor,
    target: &Tensor,
    config: &LossConfig,
    fixes: Fixes,
) -> ([f64; 3], Vec<f32>) {
    let prediction = Var::from_tensor(&prediction.to_dtype(DType::F64).unwrap()).unwrap();
    let target = target.to_dtype(DType::F64).unwrap();
    let value = loss(&prediction.clamp(0.0, 1.0).unwrap(), &target, config, fixes).unwrap();
    let gradients = value.total.backward().unwrap();
    let gradient = gradients.get(&prediction).unwrap().to_dtype(DType::F32).unwrap();
    let total = value.total.to_scalar::<f64>().unwrap();
    ([total, value.lab, value.ms_ssim], gradient.flatten_all().unwrap().to_vec1().unwrap())
}

fn compare(bench: &Bench, label: &str, prediction: &Tensor, target: &Tensor, fixes: Fixes) {
    let shape: [usize; 4] = prediction.dims().try_into().unwrap();
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    // The similarity's share is a thousandth by default: here it counts.
    for config in [LossConfig::default(), LossConfig { lab: 0.5, ms_ssim: 2.0 }] {
        let (terms, gradient) = reference(prediction, target, &config, fixes);
        let bytes = loss_workspace(shape[0], shape[2], shape[3]).unwrap();
        // Undefined but for the counter.
        let mut undefined = vec![0xffu8; bytes];
        undefined[..4].fill(0);
        let workspace = bench.numbers(&undefined);
        let ours = bench.planes::<f32>(&flat(prediction), shape, 0);
        let theirs = bench.planes::<f32>(&flat(target), shape, 0);
        let out = bench.empty::<f32>(shape, 0);
        let found = bench.numbers(&[f32::NAN; 3]);
        let settings = LossSettings::new(config, fixes);
        let run = |gradient: Option<Planes<f32>>| {
            let terms = Span::<LossTerms>::new(found.span().address(), 1);
            let (p, t) = (ours.planes(), theirs.planes());
            let workspace = workspace.span();
            let (stream, kernels) = (bench.stream(), &bench.kernels);
            kernels.loss(stream, p, t, settings, terms, gradient, workspace).unwrap();
            found.read()
        };
        let values = run(Some(out.planes()));
        for (found, expected) in values.iter().zip(terms) {
            // Sums of f32 pixels in f64; the default bound of golden values is 2e-4.
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{label}: {found} {expected}");
        }
        // A difference of Lab near zero has the sign of its rounding: such pixels flip.
        let back = out.read();
        let largest = gradient.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = |bound: f32| {
            back.iter()
                .zip(&gradient)
                .map(|(f, e)| (f - e).abs())
                .filter(|d| *d > bound * largest || d.is_nan())
                .count()
        };
        assert!(off(2e-4) * 2000 <= back.len(), "{label}: {} of {}", off(2e-4), back.len());
        // Value only, and again: the same bits.
        assert_eq!(run(None), values, "{label}");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        run(Some(ours.planes()));
        assert_eq!(bits(&ours.read()), bits(&back), "{label}: in place");
    }
}

#[test]
fn random_images_of_odd_sizes() {
    let Some(bench) = bench() else { return };
    for (seed, shape) in
        [[1, 3, 16, 16], [2, 3, 33, 47], [1, 3, 64, 96], [3, 3, 17, 70]].into_iter().enumerate()
    {
        let count = shape.iter().product();
        // Smooth, so that there is structure; partly beyond the limits.
        let wave = |seed: u64| -> Vec<f32> {
            let noise = random(seed, count, -0.2, 0.2);
            noise.iter().enumerate().map(|(i, n)| 0.5 + 0.5 * (i as f32 * 0.07).sin() + n).collect()
        };
        let tensor = |v: Vec<f32>| Tensor::from_vec(v, &shape, &Processor::Cpu).unwrap();
        let prediction = tensor(wave(seed as u64));
        let target = tensor(wave(50 + seed as u64)).clamp(0.0, 1.0).unwrap();
        for fixes in [Fixes::NONE, Fixes::NONE.with(Fix::Msssim)] {
            compare(&bench, &format!("{shape:?} {fixes}"), &prediction, &target, fixes);
        }
    }
}

#[test]
fn golden_images() {
    let Some(bench) = bench() else { return };
    let folder = std::env::var_os("DEEPLPF_GOLDEN").map(std::path::PathBuf::from);
    let (file, cases) = match folder {
        Some(folder) => (folder.join("loss_f64.safetensors"), 3),
        None => {
            println!("golden loss on CUDA: one committed case; DEEPLPF_GOLDEN names more");
            let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            (tests.join("loss_f64_case0.safetensors"), 1)
        }
    };
    let golden = candle_core::safetensors::load(file, &Processor::Cpu).unwrap();
    for case in 0..cases {
        let get = |name: &str| golden[&format!("{case}.{name}")].clone();
        for (name, fixes) in [("release", Fixes::NONE), ("fixed", Fixes::NONE.with(Fix::Msssim))] {
            let (prediction, target) = (get("prediction"), get("target"));
            compare(&bench, &format!("golden {case} {name}"), &prediction, &target, fixes);
            // That the reference is golden is the business of tests/golden_loss.rs; once more here.
            let (terms, _) = reference(&prediction, &target, &LossConfig::default(), fixes);
            let expected = get(&format!("{name}.loss")).to_vec1::<f64>().unwrap()[0];
            assert!((terms[0] - expected).abs() < 1e-9);
        }
    }
}

#[test]
fn small_images_are_refused() {
    let text = loss_workspace(1, 15, 40).unwrap_err().to_string();
    assert!(text.contains("40x15") && text.contains("16x16"), "{text}");
}
