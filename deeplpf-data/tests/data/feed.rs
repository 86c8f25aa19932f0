//! What a training step gets is what decoding, cutting and mirroring give, in order, whoever makes it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{SplitMix, gradient, largest_difference};
use deeplpf_data::augment::{ColourAugmentation, Crop, Flip};
use deeplpf_data::feed::{PairView, PlanarBatch, Prefetch, Preparation, Samples};
use deeplpf_data::{DataError, Pair, sample};
use ndarray::{Array3, ArrayView3};

fn pair(id: &str, height: usize, width: usize) -> Pair {
    let input = gradient(height, width);
    Pair { id: id.into(), target: input.mapv(|v| 1.0 - v), input }
}

/// The same draws, taken by the plain functions on decoded pictures.
#[test]
fn a_batch_is_what_crop_and_flip_make_of_the_pairs() {
    let pairs = sample::pairs().expect("readable");
    for (crop, flips) in [(0, false), (0, true), (48, false), (48, true), (120, true)] {
        let preparation = Preparation { crop, flips, ..Preparation::default() };
        for (seed, pair) in pairs.iter().enumerate() {
            let mut rng = SplitMix(seed as u64);
            let batch = PlanarBatch::prepare([PairView::of(pair)], &preparation, &mut rng)
                .expect("large enough");
            let mut plain_rng = SplitMix(seed as u64);
            let mut plain = pair.clone();
            if crop > 0 {
                plain = Crop::draw(&plain, crop, crop, &mut plain_rng).expect("fits").apply(&plain);
            }
            if flips {
                plain = Flip::draw(&mut plain_rng).apply(plain);
            }
            let (_, height, width) = plain.input.dim();
            assert_eq!((batch.shape, &batch.ids[0]), ([1, 3, height, width], &pair.id));
            assert_eq!(Some(&batch.input[..]), plain.input.as_slice());
            assert_eq!(Some(&batch.target[..]), plain.target.as_slice());
            assert_eq!(rng.0, plain_rng.0, "as many draws");
        }
    }
}

/// Every level of both depths, both mirrors, widths around the length of a vector.
#[test]
fn levels_become_the_values_of_decoded_files() {
    let eight: Vec<u8> = (0..3 * 256).map(|k| (k * 7 % 256) as u8).collect();
    let sixteen: Vec<u16> = (0..3 * 65536u32).map(|k| (k * 40_503 % 65536) as u16).collect();
    for horizontal in [false, true] {
        for vertical in [false, true] {
            let flip = Flip { horizontal, vertical };
            for width in [256, 64, 16, 8, 4, 2, 1] {
                let all = Crop { top: 0, left: 0, height: 256 / width, width };
                let mut values = vec![0.0; eight.len()];
                let size = (all.height, all.width);
                Samples::Eight(&eight).write(size, all, flip, &mut values);
                let floats: Vec<f32> = eight.iter().map(|&v| f32::from(v) / 255.0).collect();
                let mut expected = vec![0.0; floats.len()];
                Samples::Float(Cow::Owned(floats)).write(size, all, flip, &mut expected);
                assert_eq!(values, expected, "{flip:?} {width}");
            }
            let all = Crop { top: 0, left: 0, height: 64, width: 1024 };
            let mut values = vec![0.0; sixteen.len()];
            Samples::Sixteen(&sixteen).write((64, 1024), all, flip, &mut values);
            for ((c, y, x), &value) in
                ArrayView3::from_shape((3, 64, 1024), &values).expect("shape").indexed_iter()
            {
                let y = if vertical { 63 - y } else { y };
                let x = if horizontal { 1023 - x } else { x };
                let level = sixteen[(c * 64 + y) * 1024 + x];
                assert_eq!(value.to_bits(), (f32::from(level) / 65535.0).to_bits());
            }
        }
    }
}

#[test]
fn samples_are_bytes_in_the_machines_order() {
    assert_eq!(Samples::Eight(&[1, 2, 3]).bytes(), [1, 2, 3]);
    assert_eq!(Samples::Sixteen(&[0x0102]).bytes(), 0x0102u16.to_ne_bytes());
    let one = Samples::Float(Cow::Borrowed(&[1.0]));
    assert_eq!((one.bytes(), one.len(), one.width()), (&1.0f32.to_ne_bytes()[..], 1, 4));
}

/// Not contiguous, as a transposed array is.
#[test]
fn a_view_of_any_array_is_in_standard_order() {
    let upright = pair("x", 3, 5);
    let turned = Array3::from_shape_fn((3, 5, 3), |(c, x, y)| upright.input[[c, y, x]]);
    let strided = Pair { input: turned.permuted_axes([0, 2, 1]), ..upright.clone() };
    assert!(!strided.input.is_standard_layout());
    assert_eq!(PairView::of(&strided), PairView::of(&upright));
    assert_eq!(PairView::of(&strided).to_pair(), upright);
}

#[test]
fn pictures_of_one_batch_must_have_one_size() {
    let pairs = [pair("first", 6, 9), pair("second", 6, 8)];
    let whole = Preparation::default();
    let error = PlanarBatch::prepare(pairs.iter().map(PairView::of), &whole, &mut SplitMix(0))
        .expect_err("unequal");
    assert!(matches!(error, DataError::UnequalBatch { .. }), "{error}");
    assert!(error.to_string().contains("'second' is 8x6 and 'first'"), "{error}");
    let crops = Preparation { crop: 6, ..whole };
    let batch = PlanarBatch::prepare(pairs.iter().map(PairView::of), &crops, &mut SplitMix(0));
    assert_eq!(batch.expect("fits").shape, [2, 3, 6, 6]);
    let large = Preparation { crop: 7, ..whole };
    let error = PlanarBatch::prepare(pairs.iter().map(PairView::of), &large, &mut SplitMix(0));
    assert!(matches!(error, Err(DataError::CropTooLarge { .. })));
}

/// What is off takes no draw, so that switching it on changes nothing that is drawn before it.
#[test]
fn colour_is_drawn_after_crop_and_flip_and_only_where_it_is_on() {
    let pair = pair("x", 40, 40);
    let prepare = |colour: ColourAugmentation| {
        let mut rng = SplitMix(5);
        let preparation = Preparation { crop: 16, flips: true, colour };
        let batch = PlanarBatch::prepare([PairView::of(&pair)], &preparation, &mut rng);
        (batch.expect("fits"), rng.0)
    };
    let (plain, draws) = prepare(ColourAugmentation::default());
    let exposed = ColourAugmentation { exposure: 1.0, ..Default::default() };
    let (bright, more_draws) = prepare(exposed);
    assert_ne!(draws, more_draws);
    assert_eq!(plain.target, bright.target, "the target stays the retoucher's");
    assert_ne!(plain.input, bright.input);
    // One gain for all: where one value went up, none went down.
    let signs: Vec<f32> =
        plain.input.iter().zip(&bright.input).map(|(a, b)| (b - a).signum()).collect();
    assert!(signs.iter().all(|&s| s == signs[0]));

    let coloured = ColourAugmentation { saturation: 1.0, ..Default::default() };
    let (colour, _) = prepare(coloured);
    assert!(colour.input != plain.input && colour.target != plain.target);
    for (name, wrong) in [
        ("exposure", ColourAugmentation { exposure: -0.1, ..Default::default() }),
        ("white_balance", ColourAugmentation { white_balance: f64::NAN, ..Default::default() }),
        ("saturation", ColourAugmentation { saturation: 1.1, ..Default::default() }),
    ] {
        assert_eq!(wrong.invalid(), Some(name));
    }
    assert_eq!(exposed.invalid(), None);
}

/// No colour change at all, through linear light and back, is the picture itself.
#[test]
fn a_change_of_nothing_is_nothing() {
    let pair = pair("x", 17, 23);
    let neutral =
        deeplpf_data::augment::ColourChange { gains: Some([1.0; 3]), saturation: Some(1.0) };
    let mut changed = pair.clone();
    let of = |pixels: &mut Array3<f32>| pixels.as_slice_mut().expect("contiguous").to_vec();
    let (mut input, mut target) = (of(&mut changed.input), of(&mut changed.target));
    neutral.apply(&mut input, &mut target);
    let shape = pair.input.dim();
    let input = ArrayView3::from_shape(shape, &input).expect("shape");
    // The tables of the sRGB curve are good to 1e-6.
    assert!(largest_difference(input, pair.input.view()) < 2e-6);
}

#[test]
fn items_come_in_order_whatever_the_threads() {
    for threads in [0, 1, 2, 3, 8] {
        let items = Prefetch::new(threads, |number| {
            // Later items are ready sooner.
            std::thread::sleep(Duration::from_micros(300u64.saturating_sub(10 * number)));
            (number < 40).then_some(number)
        });
        let items: Vec<u64> = items.expect("threads").collect();
        assert_eq!(items, (0..40).collect::<Vec<_>>(), "{threads} threads");
    }
}

#[test]
fn not_more_is_made_than_may_wait() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let mut items = Prefetch::new(3, move |number| {
        counter.fetch_add(1, Ordering::SeqCst);
        Some(number)
    })
    .expect("threads");
    assert_eq!(items.next(), Some(0));
    // Time for a mistake to show; without one the count cannot grow however long it is.
    std::thread::sleep(Duration::from_millis(50));
    let made = made.load(Ordering::SeqCst);
    assert!(made <= 1 + 2 * 3, "{made} items made for one that was taken");
    // Dropped with full channels and threads waiting for room: must not hang.
    drop(items);
}

#[test]
fn a_panic_while_making_an_item_is_not_the_end_of_the_items() {
    let items = Prefetch::new(2, |number| {
        assert!(number != 5, "number five");
        Some(number)
    });
    let mut items = items.expect("threads");
    let before: Vec<u64> = items.by_ref().take(5).collect();
    assert_eq!(before, [0, 1, 2, 3, 4]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| items.next()));
    let panic = panic.expect_err("it panics here, too");
    assert!(panic.downcast_ref::<&str>().is_some_and(|words| words.contains("number five")));
}
