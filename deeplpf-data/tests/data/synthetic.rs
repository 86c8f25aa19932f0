//! Pairs of known truth: they are what the truth says, and the truth can be found again from them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{SplitMix, gradient, names};
use deeplpf_data::synthetic::{
    Flattening, GRID, Look, LookRange, Part, Recovery, SetOptions, Truth, synthesise, to_eight_bit,
};
use deeplpf_data::{DataError, OutputFormat, PairedFolder, Split, encode, sample};
use deeplpf_filters::{FilterStack, StackConfig};
use ndarray::Array3;
use proptest::prelude::*;

/// Photographs out of the sample set, of different sizes.
fn photographs(folder: &Path) {
    fs::create_dir(folder).expect("made");
    for pair in sample::pairs().expect("readable").iter().take(10) {
        let path = folder.join(format!("{}.png", pair.id));
        encode(path, pair.target.view(), OutputFormat::Png, None).expect("written");
    }
}

fn make(photographs: &Path, out: &Path, options: &SetOptions, seed: u64) -> Truth {
    let streams = move |stream: u64| SplitMix(seed ^ (stream << 32));
    synthesise(photographs, out, options, &streams, &|_, _| {}).expect("a set")
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            let inner = path.clone();
            files.extend(self::files(&path).into_iter().map(|(p, b)| (inner.join(p), b)));
        } else {
            let bytes = fs::read(&path).expect("read");
            files.push((path.file_name().expect("name").into(), bytes));
        }
    }
    files
}

#[test]
fn a_set_is_what_its_truth_says_and_the_same_for_any_number_of_threads() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    photographs(&scratch.path().join("photographs"));
    for look_per_picture in [false, true] {
        let options = SetOptions {
            look_per_picture,
            per_photograph: 2,
            long_edge: 96,
            ..SetOptions::default()
        };
        let out = |name: &str| scratch.path().join(format!("{name}-{look_per_picture}"));
        let of_threads = |name: &str, threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let photographs = scratch.path().join("photographs");
            pool.expect("threads").install(|| make(&photographs, &out(name), &options, seed))
        };
        let truth = of_threads("a", 1, 5);
        assert_eq!(truth, of_threads("b", 4, 5));
        let contents = |name: &str| files(&out(name)).into_iter().map(|f| f.1).collect::<Vec<_>>();
        assert_eq!(contents("a"), contents("b"));
        assert_ne!(truth, of_threads("c", 2, 6), "another seed is another set");

        let folder = PairedFolder::open(out("a")).expect("opens");
        folder.require_complete().expect("complete");
        assert_eq!(folder.pairs.len(), 20);
        let split = Split::read_folder(out("a")).expect("reads");
        split.apply(&folder).expect("all known");
        assert_eq!((split.train.len(), split.valid.len(), split.test.len()), (16, 2, 2));
        let read = Truth::read_folder(out("a")).expect("reads").expect("is there");
        assert_eq!(read, truth);
        for picture in &read.pictures {
            let pair = folder.get(&picture.id).expect("listed").load().expect("loads");
            let (_, height, width) = pair.input.dim();
            assert_eq!([width as u32, height as u32], picture.size);
            assert!(width.max(height) <= 96);
            let look = read.look_of(&picture.id).expect("known");
            let target = to_eight_bit(look.apply(pair.input.view()).expect("applies").view());
            assert_eq!(target, pair.target, "{}", picture.id);
            assert_eq!(picture.params.is_some(), look_per_picture);
        }
        // Both pairs of a photograph are in one part.
        for photograph in read.pictures.chunks(2) {
            assert_eq!(photograph[0].photograph, photograph[1].photograph);
            assert_eq!(photograph[0].part, photograph[1].part);
        }
        assert_eq!(read.ids(Part::Test), split.test);
    }
}

#[test]
fn the_sample_set_is_a_synthetic_set() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    sample::write_to(scratch.path()).expect("written");
    let truth = Truth::read_folder(scratch.path()).expect("reads").expect("is there");
    assert_eq!(truth, sample::truth().expect("readable"));
    assert_eq!(truth.look_of("coffee-2"), Some(truth.look.clone()));
    assert_eq!(truth.look_of("coffee-9"), None);
    let empty = tempfile::tempdir().expect("temporary folder");
    assert_eq!(Truth::read_folder(empty.path()).expect("no error"), None);
    for text in [
        "{",
        "{}",
        &fs::read_to_string(scratch.path().join("truth.json"))
            .expect("x")
            .replacen("0.95", "-99", 1),
    ] {
        fs::write(empty.path().join("truth.json"), text).expect("written");
        let error = Truth::read_folder(empty.path()).expect_err("refused");
        assert!(matches!(error, DataError::Truth { .. }), "{error}");
    }
}

#[test]
fn what_cannot_be_made_is_named() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| scratch.path().join(name);
    photographs(&at("photographs"));
    let streams = |stream: u64| SplitMix(stream);
    let refused = |from: &str, out: &str, options: &SetOptions| {
        synthesise(&at(from), &at(out), options, &streams, &|_, _| {}).expect_err("refused")
    };
    let options = SetOptions::default();
    fs::create_dir(at("empty")).expect("made");
    let error = refused("empty", "out", &options);
    assert!(matches!(error, DataError::NoImages { .. }), "{error}");
    let error = refused("photographs", "photographs", &options).to_string();
    assert!(error.contains("photographs is not empty; name a new folder"), "{error}");
    let error = refused("photographs", "a", &SetOptions { test: 0.95, ..options });
    assert!(matches!(error, DataError::SplitTooLarge { .. }), "{error}");
    let error = refused("photographs", "b", &SetOptions { long_edge: 40, ..options }).to_string();
    assert!(error.contains("would become a pair of 40x"), "{error}");
    assert!(!at("b").join("truth.json").exists(), "a set that is not whole has no truth");
    fs::copy(at("photographs/rocket-1.png"), at("photographs/astronaut-1.jpg")).ok();
    fs::copy(at("photographs/astronaut-2.png"), at("photographs/astronaut-2.tif")).expect("copied");
    let error = refused("photographs", "c", &options);
    assert!(matches!(error, DataError::SameStem { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every draw is a look that a network with the release's bounds can express, and does something.
    #[test]
    fn looks_are_within_their_bounds(seed in any::<u64>(), graduated in 0usize..4, elliptical in 0usize..4) {
        let range = LookRange { graduated, elliptical, ..LookRange::default() };
        let flattening = SetOptions::default().flattening;
        let look = range.draw(flattening, &mut SplitMix(seed));
        look.stack().expect("fits its configuration");
        for (k, p) in look.params.graduated.iter().enumerate() {
            prop_assert!(0.0 < p.o2 && p.o2 < p.offset && p.offset < 1.0 && p.o1 < p.offset);
            prop_assert!(p.scale.iter().all(|s| (0.0..2.0).contains(s)));
            prop_assert_eq!(p.scale != [1.0; 3], k < graduated);
        }
        for (k, p) in look.params.elliptical.iter().enumerate() {
            prop_assert!(p.scale.iter().all(|s| (0.0..2.0).contains(s)));
            prop_assert_eq!(p.scale != [1.0; 3], k < elliptical);
        }
        let nothing = LookRange { strength: 0.0, ..range }.draw(flattening, &mut SplitMix(seed));
        let same = Recovery::measure(&look.config, &look.params, &look, gradient(20, 30).view());
        let same = same.expect("fits");
        prop_assert_eq!((same.scale_map, same.polynomial), (0.0, 0.0));
        prop_assert_eq!(same.instances.len(), graduated + elliptical);
        let scales = nothing.params.graduated.iter().map(|p| p.scale);
        prop_assert!(scales.into_iter().all(|s| s == [1.0; 3]));
    }
}

/// Instances may stand in any order; what is lost is measured against doing nothing.
#[test]
fn recovery_does_not_depend_on_the_order_of_instances() {
    let range = LookRange { graduated: 2, elliptical: 3, ..LookRange::default() };
    let look = range.draw(SetOptions::default().flattening, &mut SplitMix(3));
    let input = gradient(40, 60);
    let mut turned = look.params.clone();
    turned.graduated.rotate_left(1);
    turned.elliptical.reverse();
    let found = Recovery::measure(&look.config, &turned, &look, input.view()).expect("fits");
    // The products of the maps are taken in another order.
    assert!(found.scale_map < 1e-12 && found.polynomial == 0.0, "{found:?}");
    assert!(found.scale_map_of_neutral > 0.02 && found.polynomial_of_neutral > 0.02, "{found:?}");
    let pairs: Vec<_> = found.instances.iter().map(|i| (i.filter, i.truth, i.predicted)).collect();
    assert_eq!(
        pairs,
        [
            ("graduated", 0, Some(2)),
            ("graduated", 1, Some(0)),
            ("elliptical", 0, Some(2)),
            ("elliptical", 1, Some(1)),
            ("elliptical", 2, Some(0)),
        ]
    );
    let zero = |v: Option<f64>| v == Some(0.0);
    assert!(found.instances.iter().all(|i| i.map == 0.0 && zero(i.scale) && zero(i.place)));

    // One number changed: where it is changed, and by how much.
    let mut moved = look.params.clone();
    moved.elliptical[1].center_x += 0.03;
    moved.elliptical[1].center_y -= 0.04;
    moved.graduated[0].scale[1] += 0.3;
    let found = Recovery::measure(&look.config, &moved, &look, input.view()).expect("fits");
    let changed: Vec<_> = found.instances.iter().filter(|i| i.map > 0.0).collect();
    assert_eq!(changed.len(), 2);
    assert!((changed[0].scale.expect("matched") - 0.1).abs() < 1e-12);
    assert!((changed[1].place.expect("matched") - 0.05).abs() < 1e-12);

    // A prediction without filters is the neutral one.
    let config =
        StackConfig { polynomial: None, graduated: 0, elliptical: 0, ..look.config.clone() };
    let mut nothing = look.params.clone();
    (nothing.polynomial, nothing.graduated, nothing.elliptical) = (None, vec![], vec![]);
    let found = Recovery::measure(&config, &nothing, &look, input.view()).expect("fits");
    assert_eq!(found.scale_map, found.scale_map_of_neutral);
    assert_eq!(found.polynomial, found.polynomial_of_neutral);
    assert!(found.instances.iter().all(|i| i.predicted.is_none() && i.map > 0.0));
}

/// Gradient descent on the pixels of one pair finds the filters that made it: the gradients of the
/// filters, the look and the measure agree with each other.
///
/// Local filters and polynomial are fitted one without the other. Together they are not unique: a
/// cubic in position and intensity can stand in for much of a graduated filter. Even without it two
/// maps can trade a constant (of seeds 1 to 6, those of 1 and 4 do), which their sum does not show.
#[test]
fn fitting_one_pair_recovers_its_filters() {
    let photograph = sample::pairs().expect("readable")[0].target.clone();
    let input = Flattening { black: 0.05, white: 0.75 }.apply(photograph.view());
    let input = input.slice_move(ndarray::s![.., ..;4, ..;4]);
    let y1 = input.mapv(|v| f64::from(v) / 2.0);
    let local = LookRange { polynomial: false, ..LookRange::default() };
    let polynomial = LookRange { graduated: 0, elliptical: 0, ..LookRange::default() };
    for (range, seed) in [(local, 2), (local, 5), (local, 6), (polynomial, 1)] {
        let truth = range.draw(SetOptions::default().flattening, &mut SplitMix(seed));
        let target = truth.apply(input.view()).expect("applies").mapv(f64::from);
        let config = StackConfig {
            graduated: range.graduated,
            elliptical: range.elliptical,
            ..truth.config.clone()
        };
        // Whether the line is inverted and on which side it lies divides the descents from each
        // other: the best of a short one from each is followed to the end.
        let short = starts(&config).into_iter().map(|raw| fit(&config, raw, &y1, &target, 200));
        let best = short.min_by(|a, b| a.1.total_cmp(&b.1)).expect("a start");
        let (raw, _) = fit(&config, best.0, &y1, &target, 2000);
        let stack = FilterStack::from_raw(&config, &raw).expect("fits");
        let found =
            Recovery::measure(&config, stack.params(), &truth, input.view()).expect("comparable");
        // A tenth of what doing nothing gets.
        assert!(found.scale_map <= 0.1 * found.scale_map_of_neutral, "{seed}: {found:?}");
        assert!(found.polynomial <= 0.1 * found.polynomial_of_neutral, "{seed}: {found:?}");
        assert!(found.instances.iter().all(|i| i.map < 0.02), "{seed}: {found:?}");
    }
}

/// Neutral filters, with lines of both signs, sides and leanings.
fn starts(config: &StackConfig) -> Vec<Vec<f64>> {
    if config.graduated == 0 {
        return vec![vec![0.0; config.raw_len()]];
    }
    let signs = [-0.5, 0.5];
    let mut starts = Vec::new();
    for inversion in signs {
        for slope in signs {
            for offset in signs {
                let mut raw = vec![0.0; config.raw_len()];
                let first = config.graduated_range().start;
                // Inversion, slope, o1, offset, o2 of one instance. A low o1 leaves the offset free.
                raw[first..first + 5].copy_from_slice(&[inversion, slope, -2.0, offset, -0.5]);
                starts.push(raw);
            }
        }
    }
    starts
}

/// Adam on the mean squared difference, with a cosine schedule; the raw numbers and the difference.
fn fit(
    config: &StackConfig,
    mut raw: Vec<f64>,
    y1: &Array3<f64>,
    target: &Array3<f64>,
    steps: i32,
) -> (Vec<f64>, f64) {
    let (mut first, mut second) = (vec![0.0; raw.len()], vec![0.0; raw.len()]);
    let mut loss = f64::INFINITY;
    for step in 1..=steps {
        let stack = FilterStack::from_raw(config, &raw).expect("finite");
        let difference = stack.apply(y1.view()).expect("an image") - target;
        loss = difference.iter().map(|d| d * d).sum::<f64>() / target.len() as f64;
        let cotangent = difference * (2.0 / target.len() as f64);
        let gradient = stack.vjp(y1.view(), cotangent.view()).expect("an image").raw;
        let phase = std::f64::consts::PI * f64::from(step) / f64::from(steps);
        let rate = 0.02 * (1.0 + phase.cos());
        for (k, g) in gradient.expect("built from raw numbers").into_iter().enumerate() {
            first[k] = 0.9 * first[k] + 0.1 * g;
            second[k] = 0.99 * second[k] + 0.01 * g * g;
            let mean = first[k] / (1.0 - 0.9f64.powi(step));
            let square = second[k] / (1.0 - 0.99f64.powi(step));
            raw[k] -= rate * mean / (square.sqrt() + 1e-12);
        }
    }
    (raw, loss)
}

/// The grid is a fixed part of the measure's definition.
#[test]
fn the_measure_does_not_depend_on_the_size_of_the_picture() {
    assert_eq!(GRID, 64);
    let flat = |height, width| Array3::from_elem((3, height, width), 0.4f32);
    let range = LookRange::default();
    let flattening = SetOptions::default().flattening;
    let [look, other]: [Look; 2] = [1, 2].map(|seed| range.draw(flattening, &mut SplitMix(seed)));
    let measure = |height, width| {
        let input = flat(height, width);
        Recovery::measure(&other.config, &other.params, &look, input.view()).expect("fits")
    };
    assert_eq!(measure(64, 64), measure(33, 100));
}
