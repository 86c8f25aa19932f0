//! How unconstrained network outputs become bounded parameters, in `f64`.

/// Keeps offsets, semi-axes, centres and scales away from zero (the release's `eps`).
pub(crate) const EPSILON: f64 = 1e-10;

/// `t(u) = (tanh u + 1) / 2`, into (0, 1), written as a logistic function: it keeps its relative
/// precision where `tanh u` rounds to -1.
pub(crate) fn squash(u: f64) -> f64 {
    1.0 / (1.0 + (-2.0 * u).exp())
}

/// `t'(u) = 2 t(u) (1 - t(u))`, with `1 - t(u) = t(-u)` to avoid the cancellation.
pub(crate) fn squash_slope(u: f64) -> f64 {
    2.0 * squash(u) * squash(-u)
}

/// PyTorch's sign: zero at zero (Rust's `signum` gives ±1 there).
pub(crate) fn sign(u: f64) -> f64 {
    if u > 0.0 {
        1.0
    } else if u < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// The straight-through gradient of [`sign`]: one where `|u| <= 1`, else zero.
pub(crate) fn straight_through(u: f64) -> f64 {
    if u.abs() <= 1.0 { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squash_is_the_shifted_tanh_and_its_slope() {
        for u in [-30.0_f64, -3.0, -0.2, 0.0, 0.7, 5.0, 40.0] {
            let by_tanh = (u.tanh() + 1.0) / 2.0;
            assert!((squash(u) - by_tanh).abs() < 2e-16, "t({u})");
            assert!((squash_slope(u) - (1.0 - u.tanh().powi(2)) / 2.0).abs() < 2e-16, "t'({u})");
        }
        assert_eq!(squash(0.0), 0.5);
        assert_eq!(squash(1e6), 1.0);
        assert_eq!(squash(-1e6), 0.0);
    }

    #[test]
    fn sign_is_zero_at_zero() {
        assert_eq!([sign(-2.0), sign(0.0), sign(-0.0), sign(3.0)], [-1.0, 0.0, 0.0, 1.0]);
    }
}
