//! What must hold for every metric on every pair of images.

use deeplpf_eval::ImagePair;
use deeplpf_eval::metrics::{Direction, all_metrics, standard_metrics};
use ndarray::{Array3, s};
use proptest::prelude::*;

/// Two images of one random size and content, some of it out of range.
fn pairs() -> impl Strategy<Value = (Array3<f32>, Array3<f32>)> {
    (11usize..30, 11usize..30).prop_flat_map(|(height, width)| {
        let image = || {
            prop::collection::vec(-0.2f32..1.2, 3 * height * width)
                .prop_map(move |values| Array3::from_shape_vec((3, height, width), values).unwrap())
        };
        (image(), image())
    })
}

fn scores(prediction: &Array3<f32>, target: &Array3<f32>) -> Vec<(String, f64)> {
    let pair = ImagePair::new(prediction.view(), target.view()).unwrap();
    standard_metrics()
        .iter()
        .map(|metric| (metric.metric().key.into_owned(), metric.score(&pair).unwrap()))
        .collect()
}

/// Equal but for the order of summation.
fn assert_close(a: &[(String, f64)], b: &[(String, f64)]) -> Result<(), TestCaseError> {
    for ((key, a), (_, b)) in a.iter().zip(b) {
        prop_assert!((a - b).abs() < 1e-9, "{key}: {a} and {b}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn exchanging_the_images_changes_nothing_but_the_release_range((a, b) in pairs()) {
        let but_release = |scores: Vec<(String, f64)>| -> Vec<_> {
            scores.into_iter().filter(|(key, _)| key != "ssim_release").collect()
        };
        assert_close(&but_release(scores(&a, &b)), &but_release(scores(&b, &a)))?;
    }

    #[test]
    fn mirrored_images_have_the_same_scores((a, b) in pairs()) {
        let mirrored = |image: &Array3<f32>| image.slice(s![.., ..;-1, ..;-1]).to_owned();
        assert_close(&scores(&a, &b), &scores(&mirrored(&a), &mirrored(&b)))?;
    }

    #[test]
    fn values_beyond_the_range_count_as_its_ends((a, b) in pairs()) {
        let clamped = |image: &Array3<f32>| image.mapv(|value| value.clamp(0.0, 1.0));
        prop_assert_eq!(scores(&a, &b), scores(&clamped(&a), &clamped(&b)));
    }

    #[test]
    fn nothing_scores_better_than_the_target_itself((a, b) in pairs()) {
        for (metric, ((key, found), (_, best))) in
            standard_metrics().iter().zip(scores(&a, &b).into_iter().zip(scores(&b, &b)))
        {
            prop_assert!(metric.metric().direction.is_better(best, found), "{key}: {found}");
        }
    }
}

#[test]
fn the_target_itself_scores_the_best_value_of_each_metric() {
    let image = Array3::from_shape_fn((3, 170, 165), |(c, y, x)| {
        ((c * 50 + y * 3 + x * 7) % 256) as f32 / 255.0
    });
    let pair = ImagePair::new(image.view(), image.view()).unwrap();
    for metric in all_metrics() {
        let metric_data = metric.metric();
        let best = match (metric_data.direction, metric_data.unit.as_ref()) {
            (Direction::HigherIsBetter, "dB") => f64::INFINITY,
            (Direction::HigherIsBetter, _) => 1.0,
            (Direction::LowerIsBetter, _) => 0.0,
        };
        let found = metric.score(&pair).unwrap();
        assert!(found == best || (found - best).abs() < 1e-12, "{}: {found}", metric_data.key);
    }
}
