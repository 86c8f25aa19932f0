//! Two methods on the same images.

use super::bootstrap::{Bootstrap, bootstrap_mean};
use super::holm::holm;
use super::wilcoxon::{Wilcoxon, wilcoxon_signed_rank};
use crate::error::{EvalError, Result};
use crate::metrics::Direction;

/// A difference is called one where both tests, corrected, fall below this.
pub const LEVEL: f64 = 0.05;

/// The difference of a method A from a method B, image by image.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedDifference {
    /// Number of images.
    pub images: usize,
    /// Mean over images of A - B.
    pub mean: f64,
    /// The bootstrap of the differences; `None` where one is infinite or there is one image.
    pub bootstrap: Option<Bootstrap>,
    /// The signed-rank test of the differences.
    pub wilcoxon: Wilcoxon,
    /// Images on which A is better.
    pub wins: usize,
    /// Images on which B is better.
    pub losses: usize,
    /// p values after Holm's correction: bootstrap, Wilcoxon. Until [`adjust_together`] those of a
    /// family of one.
    pub adjusted: (Option<f64>, f64),
    direction: Direction,
}

/// Whether a difference is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A is better.
    Better,
    /// A is worse.
    Worse,
    /// The images do not show a difference. That is not to say that there is none.
    Undecided,
}

impl PairedDifference {
    /// Compares the values of A and B, in the same order of images.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`].
    pub fn new(direction: Direction, a: &[f64], b: &[f64]) -> Result<Self> {
        if a.len() != b.len() {
            return Err(EvalError::LengthMismatch {
                what: "values of two methods to be compared image by image".into(),
                expected: a.len(),
                found: b.len(),
            });
        }
        // Two infinities are equal, although their difference is not a number.
        let difference = |(&a, &b): (&f64, &f64)| if a == b { 0.0 } else { a - b };
        let differences: Vec<f64> = a.iter().zip(b).map(difference).collect();
        let better = |a: f64, b: f64| direction.is_better(a, b);
        let bootstrap = bootstrap_mean(&differences);
        let wilcoxon = wilcoxon_signed_rank(&differences);
        Ok(Self {
            images: a.len(),
            mean: differences.iter().sum::<f64>() / a.len() as f64,
            bootstrap,
            wilcoxon,
            wins: a.iter().zip(b).filter(|&(&a, &b)| better(a, b)).count(),
            losses: a.iter().zip(b).filter(|&(&a, &b)| better(b, a)).count(),
            adjusted: (bootstrap.map(|bootstrap| bootstrap.p), wilcoxon.p),
            direction,
        })
    }

    /// Images on which both have one value.
    pub fn ties(&self) -> usize {
        self.images - self.wins - self.losses
    }

    /// Better or worse where the paired bootstrap and Wilcoxon's test both say so after Holm's
    /// correction, with one sign. The two can disagree: the first asks about the mean, which a few
    /// images can carry, the second about most images. Where there is no bootstrap, because a
    /// difference is infinite, Wilcoxon's test decides alone.
    pub fn verdict(&self) -> Verdict {
        let (bootstrap, wilcoxon) = self.adjusted;
        let ranks = self.wilcoxon.positive - self.wilcoxon.negative;
        let agree = self.mean * ranks > 0.0 || self.mean.is_nan();
        if !agree || wilcoxon >= LEVEL || bootstrap.is_some_and(|p| p >= LEVEL) {
            return Verdict::Undecided;
        }
        if (ranks > 0.0) == (self.direction == Direction::HigherIsBetter) {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

/// Corrects the p values of a family: all differences of one metric that are shown together.
pub fn adjust_together(family: &mut [&mut PairedDifference]) {
    let wilcoxon: Vec<f64> = family.iter().map(|difference| difference.wilcoxon.p).collect();
    // A test that could not be made counts as one that did not reject.
    let bootstrap: Vec<f64> =
        family.iter().map(|difference| difference.bootstrap.map_or(1.0, |b| b.p)).collect();
    let adjusted = holm(&bootstrap).into_iter().zip(holm(&wilcoxon));
    for (difference, (bootstrap, wilcoxon)) in family.iter_mut().zip(adjusted) {
        difference.adjusted = (difference.bootstrap.map(|_| bootstrap), wilcoxon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Direction = Direction::HigherIsBetter;

    fn values(shift: f64) -> Vec<f64> {
        (0..30).map(|i| f64::from(i * 17 % 30) / 10.0 + shift).collect()
    }

    #[test]
    fn a_plain_difference_is_found_in_both_directions() {
        let noisy: Vec<f64> =
            values(0.5).iter().enumerate().map(|(i, v)| v + 0.3 * (i as f64).sin()).collect();
        let difference = PairedDifference::new(UP, &noisy, &values(0.0)).unwrap();
        assert_eq!((difference.wins, difference.losses, difference.ties()), (30, 0, 0));
        assert_eq!(difference.verdict(), Verdict::Better);
        let swapped = PairedDifference::new(UP, &values(0.0), &noisy).unwrap();
        assert_eq!(swapped.verdict(), Verdict::Worse);
        assert!((swapped.mean + difference.mean).abs() < 1e-12);
        let down = Direction::LowerIsBetter;
        let lower = PairedDifference::new(down, &noisy, &values(0.0)).unwrap();
        assert_eq!((lower.verdict(), lower.losses), (Verdict::Worse, 30));
    }

    #[test]
    fn a_mean_carried_by_one_image_is_no_difference() {
        let mut a = values(0.0);
        a[3] += 40.0;
        let difference = PairedDifference::new(UP, &a, &values(0.0)).unwrap();
        assert!(difference.mean > 1.0);
        assert_eq!((difference.wins, difference.ties()), (1, 29));
        assert_eq!(difference.verdict(), Verdict::Undecided);
    }

    #[test]
    fn correction_over_many_tests_takes_a_weak_difference_away() {
        // Eight of nine images better, by different amounts: p about 0.01 to 0.03.
        let a = [0.5, 0.7, 0.2, 0.9, 0.4, 0.8, 0.3, 0.6, -0.1];
        let one = PairedDifference::new(UP, &a, &[0.0; 9]).unwrap();
        assert_eq!(one.verdict(), Verdict::Better);
        let mut many = vec![one; 20];
        adjust_together(&mut many.iter_mut().collect::<Vec<_>>());
        assert!(many.iter().all(|difference| difference.verdict() == Verdict::Undecided));
    }

    #[test]
    fn infinities_are_compared_by_ranks_alone() {
        let a = [f64::INFINITY; 12];
        let mut b = values(0.0)[..12].to_vec();
        let difference = PairedDifference::new(UP, &a, &b).unwrap();
        assert_eq!((difference.bootstrap, difference.verdict()), (None, Verdict::Better));
        b.fill(f64::INFINITY);
        let equal = PairedDifference::new(UP, &a, &b).unwrap();
        assert_eq!((equal.mean, equal.ties(), equal.verdict()), (0.0, 12, Verdict::Undecided));
        assert!(PairedDifference::new(UP, &a, &b[1..]).is_err());
    }
}
