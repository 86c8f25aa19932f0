//! Wilcoxon's signed-rank test.

/// Most differences for which the distribution is counted out rather than approximated (SciPy's
/// choice).
const MOST_EXACT: usize = 50;

/// The result of [`wilcoxon_signed_rank`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wilcoxon {
    /// Sum of the ranks of positive differences.
    pub positive: f64,
    /// Sum of the ranks of negative differences.
    pub negative: f64,
    /// Differences that are not 0; the others take no part.
    pub used: usize,
    /// Two-sided p value of the hypothesis that differences are symmetric about 0. 1 where no
    /// difference is left.
    pub p: f64,
}

/// Tests paired differences (F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics
/// Bulletin 1(6), 1945), two-sided. Zeros are dropped, equal sizes share their mean rank. The
/// distribution is exact for up to 50 differences of distinct sizes, else normal with the variance
/// corrected for ties and without continuity correction: SciPy's `wilcoxon(method="auto")`.
/// Differences may be infinite, not NaN.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Wilcoxon {
    let mut used: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    used.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let count = used.len();
    let (mut positive, mut negative, mut ties) = (0.0, 0.0, 0.0);
    let mut first = 0;
    for group in used.chunk_by(|a, b| a.abs() == b.abs()) {
        // Ranks count from 1.
        let rank = first as f64 + (group.len() + 1) as f64 / 2.0;
        let above = group.iter().filter(|&&difference| difference > 0.0).count();
        positive += rank * above as f64;
        negative += rank * (group.len() - above) as f64;
        let size = group.len() as f64;
        ties += size * (size * size - 1.0);
        first += group.len();
    }
    let statistic: f64 = f64::min(positive, negative);
    let p = if count == 0 {
        1.0
    } else if count <= MOST_EXACT && ties == 0.0 {
        // Without ties the statistic is whole.
        exact_p(statistic as usize, count)
    } else {
        normal_p(statistic, count as f64, ties)
    };
    Wilcoxon { positive, negative, used: count, p }
}

/// Twice the share of the 2^n choices of signs whose rank sum is at most the statistic.
fn exact_p(statistic: usize, count: usize) -> f64 {
    // ways[s]: subsets of the ranks 1..=r with sum s; below 2^50, hence exact.
    let mut ways = vec![0.0f64; count * (count + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=count {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let at_most: f64 = ways[..=statistic].iter().sum();
    (2.0 * at_most / 2.0f64.powi(count as i32)).min(1.0)
}

fn normal_p(statistic: f64, n: f64, ties: f64) -> f64 {
    let mean = n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    libm::erfc((statistic - mean).abs() / variance.sqrt() / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        differences: Vec<f64>,
        statistic: f64,
        p: f64,
    }

    #[test]
    fn golden_p_values_are_scipys() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/wilcoxon.json")).unwrap();
        assert!(cases.len() >= 8);
        let wrong: Vec<String> = cases
            .iter()
            .filter_map(|case| {
                let found = wilcoxon_signed_rank(&case.differences);
                let statistic = found.positive.min(found.negative);
                let right = statistic == case.statistic && (found.p / case.p - 1.0).abs() < 1e-10;
                (!right).then(|| format!("{}: {found:?}, SciPy {}", case.name, case.p))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn both_ways_of_computing_p_agree_where_they_meet() {
        let differences: Vec<f64> =
            (1..=50).map(|i| if i % 3 == 0 { -f64::from(i) } else { f64::from(i) }).collect();
        let exact = wilcoxon_signed_rank(&differences);
        let normal = normal_p(exact.negative, 50.0, 0.0);
        assert_relative_eq!(exact.p, normal, max_relative = 0.05);
    }

    #[test]
    fn infinities_rank_last_and_no_difference_is_no_evidence() {
        let found = wilcoxon_signed_rank(&[-1.0, 2.0, f64::INFINITY, 0.0]);
        assert_eq!((found.positive, found.negative, found.used), (5.0, 1.0, 3));
        assert_eq!(wilcoxon_signed_rank(&[0.0; 7]).p, 1.0);
        assert_eq!(wilcoxon_signed_rank(&[]).p, 1.0);
    }
}
