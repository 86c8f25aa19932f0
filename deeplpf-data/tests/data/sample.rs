//! The sample set is what its truth says.

use std::collections::{BTreeMap, BTreeSet};

use deeplpf_data::sample::{self, Part};
use deeplpf_data::synthetic::{Flattening, Look, pair, to_eight_bit};
use deeplpf_data::{DataError, PairedFolder, Split};
use deeplpf_filters::{EllipticalParams, GraduatedParams, StackConfig, StackParams};
use ndarray::Array3;

fn levels(pixels: &Array3<f32>) -> Vec<u8> {
    pixels.iter().map(|v| (v * 255.0).round() as u8).collect()
}

fn psnr(a: &Array3<f32>, b: &Array3<f32>) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    -10.0 * (squares.sum::<f64>() / a.len() as f64).log10()
}

/// Every target again from its input and `truth.json`, to the last level.
#[test]
fn targets_are_what_the_truth_makes_of_the_inputs() {
    let truth = sample::truth().expect("readable");
    for pair in sample::pairs().expect("readable") {
        let target = to_eight_bit(truth.look.apply(pair.input.view()).expect("applies").view());
        assert_eq!(levels(&target), levels(&pair.target), "{}", pair.id);
    }
}

#[test]
fn pictures_are_as_listed() {
    let truth = sample::truth().expect("readable");
    let pairs = sample::pairs().expect("readable");
    assert_eq!(pairs.len(), truth.pictures.len());
    assert!((12..=16).contains(&pairs.len()));
    for (pair, picture) in pairs.iter().zip(&truth.pictures) {
        assert_eq!(pair.id, picture.id);
        let [width, height] = picture.size.map(|v| v as usize);
        assert_eq!(pair.input.dim(), (3, height, width), "{}", pair.id);
        assert_eq!(pair.target.dim(), pair.input.dim(), "{}", pair.id);
        // The crop is scaled alike in both directions, to within a pixel.
        let [_, _, w, h] = picture.crop.map(f64::from);
        assert!((w / h * height as f64 - width as f64).abs() < 1.0, "{}", pair.id);
    }
    assert!(pairs.iter().any(|p| p.input.dim().1 > p.input.dim().2), "a portrait");
    assert!(pairs.iter().any(|p| p.input.dim().1 % 2 == 1), "an odd size");
}

#[test]
fn no_photograph_is_in_two_parts() {
    let truth = sample::truth().expect("readable");
    let mut parts: BTreeMap<&str, BTreeSet<Part>> = BTreeMap::new();
    for picture in &truth.pictures {
        parts.entry(&picture.photograph).or_default().insert(picture.part);
    }
    assert!(parts.values().all(|p| p.len() == 1), "{parts:?}");
    let split = sample::split().expect("valid");
    assert_eq!((split.train.len(), split.valid.len(), split.test.len()), (10, 2, 4));
}

/// Each filter of the look is needed: without any one of them the targets are out of reach.
#[test]
fn every_filter_matters() {
    let truth = sample::truth().expect("readable");
    let Look { config, params } = truth.look;
    let without = |config: StackConfig, params: StackParams<f64>| Look { config, params };
    let looks = [
        (
            "polynomial",
            without(
                StackConfig { polynomial: None, ..config.clone() },
                StackParams { polynomial: None, ..params.clone() },
            ),
        ),
        (
            "graduated",
            without(
                StackConfig { graduated: 0, ..config.clone() },
                StackParams { graduated: vec![], ..params.clone() },
            ),
        ),
        (
            "elliptical",
            without(
                StackConfig { elliptical: 0, ..config.clone() },
                StackParams { elliptical: vec![], ..params.clone() },
            ),
        ),
    ];
    for (name, look) in looks {
        for pair in sample::pairs().expect("readable") {
            let partial = look.apply(pair.input.view()).expect("applies");
            let distance = psnr(&partial, &pair.target);
            // 36 dB is four levels; the darkest picture has least to scale.
            assert!(distance < 36.0, "{name} in {}: {distance} dB", pair.id);
        }
    }
    for pair in sample::pairs().expect("readable") {
        assert!(psnr(&pair.input, &pair.target) < 27.0, "{} must be improved", pair.id);
    }
}

#[test]
fn the_set_can_be_written_as_a_paired_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let root = folder.path().join("new/sample");
    sample::write_to(&root).expect("written");
    sample::write_to(&root).expect("written again");
    let paired = PairedFolder::open(&root).expect("opens");
    paired.require_complete().expect("complete");
    let split = Split::read_folder(&root).expect("reads");
    let expected = sample::split().expect("valid");
    assert_eq!(
        (&split.train, &split.valid, &split.test),
        (&expected.train, &expected.valid, &expected.test)
    );
    let parts = split.apply(&paired).expect("all known");
    let listed = parts.train.iter().chain(&parts.valid).chain(&parts.test);
    for (paths, pair) in listed.zip(sample::pairs().expect("readable")) {
        assert_eq!(paths.load().expect("loads"), pair);
    }
    assert!(root.join("CREDITS.md").exists() && root.join("truth.json").exists());
}

#[test]
fn the_set_is_small() {
    let folder = tempfile::tempdir().expect("temporary folder");
    sample::write_to(folder.path()).expect("written");
    let size = |path: &std::path::Path| -> u64 {
        let entries = std::fs::read_dir(path).expect("folder");
        entries.map(|e| e.expect("entry").metadata().expect("metadata").len()).sum()
    };
    let total = size(&folder.path().join("input")) + size(&folder.path().join("target"));
    assert!(total < 2_500_000, "{total} bytes");
}

/// Filters of scale 1 on half the input are the input itself, and so is no filter at all.
#[test]
fn a_neutral_look_changes_nothing() {
    let local = StackConfig {
        fixes: deeplpf_filters::FilterFixes::ALL,
        polynomial: None,
        ..StackConfig::default()
    };
    let truth = sample::truth().expect("readable").look.params;
    let neutral = StackParams {
        polynomial: None,
        graduated: vec![GraduatedParams { scale: [1.0; 3], ..truth.graduated[0] }; 3],
        elliptical: vec![EllipticalParams { scale: [1.0; 3], ..truth.elliptical[0] }; 3],
        gates: None,
    };
    let no_filters = StackConfig { graduated: 0, elliptical: 0, ..local.clone() };
    let nothing =
        StackParams { polynomial: None, graduated: vec![], elliptical: vec![], gates: None };
    let photograph = Array3::from_shape_fn((3, 16, 16), |(c, y, x)| {
        ((y * 16 + x + c * 85) % 256) as f32 / 255.0
    });
    for (config, params) in [(local, neutral), (no_filters, nothing)] {
        let look = Look { config, params };
        let flattening = Flattening { black: 0.0, white: 1.0 };
        let made = pair("x", photograph.view(), flattening, &look).expect("applies");
        assert_eq!(made.input, photograph);
        assert_eq!(levels(&made.target), levels(&photograph));
    }
}

/// Parameters that do not fit the configuration are named, not ignored.
#[test]
fn a_look_must_fit_its_configuration() {
    let mut look = sample::truth().expect("readable").look;
    look.params.graduated.pop();
    let error = look.apply(Array3::zeros((3, 4, 4)).view()).expect_err("one instance short");
    assert!(matches!(error, DataError::Filters(_)), "{error}");
}

#[test]
fn flattening_moves_black_and_white() {
    let photograph = Array3::from_shape_fn((3, 1, 3), |(_, _, x)| x as f32 / 2.0);
    let flat = Flattening { black: 0.1, white: 0.7 }.apply(photograph.view());
    for (x, expected) in [0.1, 0.4, 0.7].into_iter().enumerate() {
        assert!((flat[[0, 0, x]] - expected).abs() < 1e-6);
    }
}
