//! Holm's correction.

/// The p values of a family of tests, adjusted so that comparing each with a level keeps the
/// probability of any false rejection below it (S. Holm, "A simple sequentially rejective multiple
/// test procedure", Scandinavian Journal of Statistics 6(2), 1979). In the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (place, &index) in order.iter().enumerate() {
        largest = largest.max((p.len() - place) as f64 * p[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_worked_by_hand() {
        // Sorted: .01 x 4, .02 x 3, .03 x 2 (not below the one before), .9 x 1.
        let adjusted = holm(&[0.03, 0.01, 0.9, 0.02]);
        for (found, expected) in adjusted.iter().zip([0.06, 0.04, 0.9, 0.06]) {
            assert!((found - expected).abs() < 1e-15, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.4, 0.6]), [0.8, 0.8]);
        assert!(holm(&[]).is_empty());
    }
}
