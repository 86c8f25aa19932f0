//! Flips and crops treat input and target alike.

use crate::common::{SplitMix, gradient};
use deeplpf_data::augment::{Crop, Flip};
use deeplpf_data::{DataError, Pair};

/// A pair whose target is a function of its input, so that misalignment shows.
fn pair(height: usize, width: usize) -> Pair {
    let input = gradient(height, width);
    Pair { id: "x".into(), target: input.mapv(|v| 1.0 - v), input }
}

fn aligned(pair: &Pair) -> bool {
    pair.input.iter().zip(&pair.target).all(|(i, t)| 1.0 - i == *t)
}

#[test]
fn flips_mirror_both() {
    let original = pair(5, 7);
    for (horizontal, vertical) in [(false, false), (true, false), (false, true), (true, true)] {
        let flipped = Flip { horizontal, vertical }.apply(original.clone());
        assert!(aligned(&flipped));
        assert!(flipped.input.is_standard_layout() && flipped.target.is_standard_layout());
        for ((c, y, x), value) in flipped.input.indexed_iter() {
            let y = if vertical { 4 - y } else { y };
            let x = if horizontal { 6 - x } else { x };
            assert_eq!(*value, original.input[[c, y, x]]);
        }
    }
}

/// The release's probabilities: nothing 5/8, and 1/8 each for the other three.
#[test]
fn flips_have_the_releases_probabilities() {
    let mut rng = SplitMix(1);
    let mut counts = [0u32; 4];
    for _ in 0..80_000 {
        let flip = Flip::draw(&mut rng);
        counts[usize::from(flip.horizontal) + 2 * usize::from(flip.vertical)] += 1;
    }
    // Standard deviations 137 and 94; five of them.
    assert!(counts[0].abs_diff(50_000) < 685, "{counts:?}");
    assert!(counts[1..].iter().all(|n| n.abs_diff(10_000) < 470), "{counts:?}");
}

#[test]
fn crops_cut_both_anywhere_inside() {
    let original = pair(6, 9);
    let mut rng = SplitMix(2);
    let mut seen = [[false; 6]; 3];
    for _ in 0..500 {
        let crop = Crop::draw(&original, 4, 4, &mut rng).expect("fits");
        let cut = crop.apply(&original);
        assert_eq!(cut.input.dim(), (3, 4, 4));
        assert!(aligned(&cut));
        assert_eq!(cut.input[[0, 0, 0]], original.input[[0, crop.top, crop.left]]);
        seen[crop.top][crop.left] = true;
    }
    assert!(seen.iter().flatten().all(|&s| s), "every place is reached: {seen:?}");
}

#[test]
fn a_crop_of_the_whole_is_the_whole() {
    let original = pair(6, 9);
    let crop = Crop::draw(&original, 6, 9, &mut SplitMix(0)).expect("fits");
    assert_eq!(crop.apply(&original), original);
}

#[test]
fn a_crop_larger_than_the_pair_is_an_error() {
    for (height, width) in [(7, 9), (6, 10)] {
        let error =
            Crop::draw(&pair(6, 9), height, width, &mut SplitMix(0)).expect_err("too large");
        assert!(matches!(error, DataError::CropTooLarge { .. }), "{error}");
        assert!(error.to_string().contains("'x' is 9x6"), "{error}");
    }
}
