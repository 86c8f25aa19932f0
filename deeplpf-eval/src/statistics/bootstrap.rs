//! The bootstrap over images.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::generator::SplitMix64;

/// Resamples drawn: the ends of a 95% interval then move by about 2% of its width from seed to
/// seed, and the least p value is 1e-4.
pub const RESAMPLES: usize = 10_000;
/// Share of the resamples inside an interval.
pub const CONFIDENCE: f64 = 0.95;
/// Seed of every bootstrap, so that a table says the same each time it is made.
const SEED: u64 = 0xD1CE;

/// An interval of confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What resampling says about a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// The percentile interval of the mean, [`CONFIDENCE`] wide.
    pub interval: Interval,
    /// Two-sided p value of the hypothesis that the mean is 0: the share of resamples of the
    /// centred values whose mean is at least as far from 0 as that of the values, the sample
    /// itself counted as one of them.
    pub p: f64,
}

/// Resamples values with replacement [`RESAMPLES`] times (B. Efron, R. J. Tibshirani, "An
/// introduction to the bootstrap", 1993: percentile interval, section 13.3; test, section 16.4
/// without dividing by the deviation). The result depends on the values and their order only.
///
/// `None` for fewer than two values, or one that is not finite: there is nothing to resample.
pub fn bootstrap_mean(values: &[f64]) -> Option<Bootstrap> {
    if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let count = values.len();
    let mean = values.iter().sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..RESAMPLES as u64)
        .into_par_iter()
        .map(|index| {
            let mut generator = SplitMix64::new(SEED, index);
            (0..count).map(|_| values[generator.below(count)]).sum::<f64>() / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    // Without the allowance, equal values would be told apart by their rounding errors.
    let far = mean.abs() * (1.0 - 1e-12);
    let extreme = means.iter().filter(|&&resampled| (resampled - mean).abs() >= far).count();
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some(Bootstrap {
        interval: Interval { low: quantile(&means, tail), high: quantile(&means, 1.0 - tail) },
        p: (extreme + 1) as f64 / (RESAMPLES + 1) as f64,
    })
}

/// A quantile of sorted values, linear between neighbours (NumPy's default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_interval_is_scipys() {
        let json = include_str!("../../tests/fixtures/bootstrap.json");
        let expected: serde_json::Value = serde_json::from_str(json).unwrap();
        let number = |key: &str| expected[key].as_f64().unwrap();
        let values: Vec<f64> =
            expected["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let found = bootstrap_mean(&values).unwrap().interval;
        // Two generators. The ends of an interval of 10 000 resamples have the deviation
        // sqrt(q (1 - q) / 10000) / density, here 0.011; four of them.
        assert!((found.low - number("low")).abs() < 0.045, "{found:?}");
        assert!((found.high - number("high")).abs() < 0.045, "{found:?}");
    }

    #[test]
    fn p_values_have_the_right_size_under_the_null_and_find_a_difference() {
        let p = |shift: f64, seed: u64| {
            let mut generator = SplitMix64::new(seed, 77);
            // The sum of twelve uniform numbers, nearly normal with deviation 1.
            let mut normal = || (0..12).map(|_| generator.below(1 << 20) as f64).sum::<f64>();
            let values: Vec<f64> =
                (0..40).map(|_| normal() / (1 << 20) as f64 - 6.0 + shift).collect();
            bootstrap_mean(&values).unwrap().p
        };
        let rejected = (0..200).filter(|&seed| p(0.0, seed) < 0.05).count();
        // Nominally 10 of 200; the bootstrap of 40 values rejects a little more often.
        assert!((3..=24).contains(&rejected), "{rejected}");
        assert!((0..20).all(|seed| p(1.0, seed) < 0.001));
    }

    #[test]
    fn what_cannot_be_resampled_has_no_interval() {
        assert_eq!(bootstrap_mean(&[1.0]), None);
        assert_eq!(bootstrap_mean(&[1.0, f64::INFINITY, 2.0]), None);
        let constant = bootstrap_mean(&[0.3; 9]).unwrap();
        assert!(constant.interval.high - constant.interval.low < 1e-15);
        assert_eq!(bootstrap_mean(&[0.0; 9]).unwrap().p, 1.0);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 50)).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap_mean(&values))
        };
        assert_eq!(run(1), run(4));
    }
}
