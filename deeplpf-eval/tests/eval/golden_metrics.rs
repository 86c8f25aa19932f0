//! Every metric against the numbers of the reference libraries.
//!
//! The committed pairs are always checked (`tests/fixtures`, made by `make.py` there). With
//! `DEEPLPF_GOLDEN` and `DEEPLPF_FIVEK` set, so are 28 pairs of MIT-Adobe FiveK.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use deeplpf_eval::metrics::{Lpips, metrics_by_key};
use deeplpf_eval::{ImageMetric, ImagePair};
use ndarray::Array3;
use serde_json::Value;

/// The embedded weights are in half precision, which moves LPIPS by up to 5.8e-5 on the 28 pairs.
const LPIPS_TOLERANCE: f64 = 1e-4;

/// 8-bit pixels as they are in the file, without colour management, as the references read them.
fn read(path: &Path) -> Array3<f32> {
    let picture = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let picture = picture.to_rgb8();
    let (width, height) = picture.dimensions();
    Array3::from_shape_fn((3, height as usize, width as usize), |(channel, y, x)| {
        f32::from(picture.get_pixel(x as u32, y as u32).0[channel]) / 255.0
    })
}

/// Compares one pair with expected values by key and collects what is too far away.
fn compare(
    name: &str,
    prediction: &Path,
    target: &Path,
    expected: &BTreeMap<&str, f64>,
    tolerance: impl Fn(&str) -> f64,
    wrong: &mut Vec<String>,
) {
    let (prediction, target) = (read(prediction), read(target));
    let pair = ImagePair::new(prediction.view(), target.view()).unwrap();
    let keys: Vec<&str> = expected.keys().copied().collect();
    for (metric, (key, &expected)) in metrics_by_key(&keys).unwrap().iter().zip(expected) {
        let found = metric.score(&pair).unwrap();
        let away = (found - expected).abs();
        if away.is_nan() || away > tolerance(key) {
            wrong.push(format!("{name}: {key} is {found}, expected {expected}, {away:.1e} away"));
        }
    }
}

#[test]
fn golden_committed_pairs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let json = std::fs::read_to_string(folder.join("metrics.json")).unwrap();
    let mut all: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(&json).unwrap();
    assert_eq!(all.len(), 4);
    let json = std::fs::read_to_string(folder.join("lpips.json")).unwrap();
    let lpips: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(&json).unwrap();
    assert_eq!(lpips.len(), 3);
    for (name, values) in lpips {
        let expected = all.get_mut(&name).unwrap();
        expected.insert("lpips_alex".into(), values["lpips_alex"]);
    }
    let mut wrong = Vec::new();
    for (name, expected) in &all {
        let pair = folder.join("pairs").join(name);
        let expected: BTreeMap<&str, f64> =
            expected.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert!(expected.len() >= 7, "{name}");
        // The references (but those of `ssim` and `ssim_release`, see `make.py`) were computed in
        // double precision from the same 8-bit files; ours reads them as f32 first, which is 3e-8
        // of the value in a pixel.
        let tolerance = |key: &str| match key {
            "psnr" | "psnr_8bit" => 1e-6,
            "delta_e_76" | "delta_e_2000" => 1e-5,
            "lpips_alex" => LPIPS_TOLERANCE,
            _ => 1e-7,
        };
        let (prediction, target) = (pair.join("prediction.png"), pair.join("target.png"));
        compare(name, &prediction, &target, &expected, tolerance, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn golden_fivek_pairs() {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(golden), Some(fivek)) = (folder("DEEPLPF_GOLDEN"), folder("DEEPLPF_FIVEK")) else {
        // Not `eprintln!`, which `cargo test` keeps to itself when the test passes.
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED against the 28 FiveK pairs: DEEPLPF_GOLDEN or DEEPLPF_FIVEK is not set; \
             only the committed pairs were"
        );
        return;
    };
    let json = std::fs::read_to_string(golden.join("metrics.json")).unwrap();
    let all: BTreeMap<String, Value> = serde_json::from_str(&json).unwrap();
    let mut wrong = Vec::new();
    let mut pairs = 0;
    for (name, values) in all.iter().filter(|(name, _)| !name.starts_with('_')) {
        let value = |key: &str| values[key].as_f64().unwrap_or_else(|| panic!("{name}: {key}"));
        let expected = BTreeMap::from([
            ("psnr", value("psnr_db")),
            // The files are 8-bit already.
            ("psnr_8bit", value("psnr_db")),
            ("ssim", value("ssim_gaussian_win11_range1")),
            ("ssim_population", value("ssim_gaussian_sigma1p5_biased_range1")),
            ("ssim_release", value("ssim_release_code")),
            ("ms_ssim", value("ms_ssim_pytorch_msssim")),
            ("lpips_alex", value("lpips_alex_v01")),
            ("delta_e_76", value("delta_e_76")),
            ("delta_e_2000", value("delta_e_2000")),
        ]);
        let tolerance = |key: &str| match key {
            // The mean over channels is rounded to single precision there.
            "ssim" | "ssim_release" => 1e-7,
            "ssim_population" | "ms_ssim" => 1e-7,
            "lpips_alex" => LPIPS_TOLERANCE,
            _ => 1e-5,
        };
        let (prediction, target) =
            (fivek.join("input").join(name), fivek.join("expertC").join(name));
        compare(name, &prediction, &target, &expected, tolerance, &mut wrong);
        pairs += 1;
    }
    assert_eq!(pairs, 28);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The pictures of the authors' own example, in a folder `lpips` beside the golden one.
#[test]
fn golden_lpips_of_the_authors_example() {
    let Some(golden) = std::env::var_os("DEEPLPF_GOLDEN").map(PathBuf::from) else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED against the authors' LPIPS example: DEEPLPF_GOLDEN is not set; only the \
             committed pairs were"
        );
        return;
    };
    let folder = golden.join("../lpips");
    let mut wrong = Vec::new();
    for (name, expected) in [("ex_p0.png", 0.72188), ("ex_p1.png", 0.13757)] {
        let expected = BTreeMap::from([("lpips_alex", expected)]);
        let (prediction, target) = (folder.join(name), folder.join("ex_ref.png"));
        compare(name, &prediction, &target, &expected, |_| LPIPS_TOLERANCE, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The weights of VGG16 are too large to commit: `DEEPLPF_LPIPS_VGG` names a safetensors file of
/// them.
#[test]
fn golden_lpips_vgg_of_the_committed_pairs() {
    let Some(weights) = std::env::var_os("DEEPLPF_LPIPS_VGG").map(PathBuf::from) else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED with torchvision's VGG16: DEEPLPF_LPIPS_VGG is not set; only made-up \
             weights were"
        );
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let json = std::fs::read_to_string(folder.join("lpips.json")).unwrap();
    let all: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(&json).unwrap();
    let vgg = Lpips::vgg16_from_safetensors(&weights).unwrap();
    for (name, values) in all {
        let [prediction, target] =
            ["prediction", "target"].map(|r| read(&folder.join(format!("pairs/{name}/{r}.png"))));
        let pair = ImagePair::new(prediction.view(), target.view()).unwrap();
        let (found, expected) = (vgg.score(&pair).unwrap(), values["lpips_vgg"]);
        // Single precision in both; the orders of summation differ.
        assert!((found - expected).abs() < 2e-6, "{name}: {found}, expected {expected}");
    }
}
