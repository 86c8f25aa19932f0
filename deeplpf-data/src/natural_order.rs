//! The order people expect of numbered names: `a2` before `a10`.

use std::cmp::Ordering;

/// Compares names with runs of ASCII digits compared as numbers. Names that differ only in leading
/// zeros are ordered by their bytes, so that the order is total.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    while let (Some(&p), Some(&q)) = (x.first(), y.first()) {
        let ordering;
        if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, n);
            (m, x) = split_number(x);
            (n, y) = split_number(y);
            // Without leading zeros the longer number is the larger.
            ordering = m.len().cmp(&n.len()).then_with(|| m.cmp(n));
        } else {
            ordering = p.cmp(&q);
            (x, y) = (&x[1..], &y[1..]);
        }
        if ordering.is_ne() {
            return ordering;
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

/// The leading digits without leading zeros, and what follows them.
fn split_number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    let start = bytes[..end].iter().position(|&b| b != b'0').unwrap_or(end);
    (&bytes[start..end], &bytes[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let mut names = vec!["a10", "a2", "a02", "b1", "a2b", "a", "10", "9", "a002"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["9", "10", "a", "a002", "a02", "a2", "a2b", "a10", "b1"]);
    }

    #[test]
    fn long_numbers_do_not_overflow() {
        let (small, large) = ("1".repeat(40), "2".repeat(40));
        assert_eq!(compare(&small, &large), Ordering::Less);
        assert_eq!(compare(&large, &large), Ordering::Equal);
    }
}
