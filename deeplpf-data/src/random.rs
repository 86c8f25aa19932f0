//! Draws from a generator that is passed in; which generator it is decides the caller.

use rand_core::Rng;

/// A fair coin: the top bit, the best one of most generators.
pub(crate) fn coin(rng: &mut impl Rng) -> bool {
    rng.next_u32() >> 31 == 1
}

/// Uniform on [0, 1), a multiple of 2^-53.
pub(crate) fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A whole number in `0..bound` with equal probabilities; `bound` must not be 0.
///
/// Draws that would favour small numbers are rejected, so the number of draws varies.
pub(crate) fn below(bound: u64, rng: &mut impl Rng) -> u64 {
    debug_assert!(bound > 0);
    // The largest multiple of `bound` that fits, minus one.
    let last_fair = u64::MAX - (u64::MAX % bound + 1) % bound;
    loop {
        let draw = rng.next_u64();
        if draw <= last_fair {
            return draw % bound;
        }
    }
}

/// Puts a slice in a random order, each with equal probability (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        let chosen = below(last as u64 + 1, rng) as usize;
        items.swap(last, chosen);
    }
}
