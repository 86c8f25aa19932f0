//! Raw numbers to named parameters for the whole stack, and the chain rule.

use crate::squash::{squash, squash_slope};
use crate::{GateParams, PolynomialParams, StackConfig, StackParams, elliptical, graduated};

/// A gate from its raw number: 2 t(u), which is 1 at u = 0.
fn gate(u: f64) -> f64 {
    2.0 * squash(u)
}

/// The derivative of [`gate`].
pub(super) fn gate_slope(u: f64) -> f64 {
    2.0 * squash_slope(u)
}

/// The named parameters of `raw`, whose length has been checked.
pub(crate) fn constrain(config: &StackConfig, raw: &[f64]) -> StackParams<f64> {
    let block = &raw[config.graduated_range()];
    let graduated =
        (0..config.graduated).map(|k| graduated::constrain(config.dialect, block, k)).collect();
    let block = &raw[config.elliptical_range()];
    let elliptical =
        (0..config.elliptical).map(|k| elliptical::constrain(config.dialect, block, k)).collect();
    let gates = |range: std::ops::Range<usize>| raw[range].iter().map(|&u| gate(u)).collect();
    StackParams {
        polynomial: config
            .polynomial
            .map(|kind| PolynomialParams::from_raw(kind, &raw[config.polynomial_range()])),
        graduated,
        elliptical,
        gates: config.gates.then(|| GateParams {
            graduated: gates(config.graduated_gate_range()),
            elliptical: gates(config.elliptical_gate_range()),
        }),
    }
}

/// The gradient with respect to `raw` from that with respect to the named parameters.
pub(super) fn pull_back(
    config: &StackConfig,
    raw: &[f64],
    gradient: &StackParams<f64>,
) -> Vec<f64> {
    let mut out = vec![0.0; raw.len()];
    if let Some(polynomial) = &gradient.polynomial {
        let flat = polynomial.coefficients.iter().flatten();
        for (slot, value) in out[config.polynomial_range()].iter_mut().zip(flat) {
            *slot = *value;
        }
    }
    let range = config.graduated_range();
    for (k, d) in gradient.graduated.iter().enumerate() {
        let raw = &raw[range.clone()];
        graduated::constrain_pull_back(config.dialect, raw, k, d, &mut out[range.clone()]);
    }
    let range = config.elliptical_range();
    for (k, d) in gradient.elliptical.iter().enumerate() {
        let raw = &raw[range.clone()];
        elliptical::constrain_pull_back(raw, k, d, &mut out[range.clone()]);
    }
    if let Some(gates) = &gradient.gates {
        let begin = config.graduated_gate_range().start;
        let flat = gates.graduated.iter().chain(&gates.elliptical);
        for ((slot, u), d) in out[begin..].iter_mut().zip(&raw[begin..]).zip(flat) {
            *slot = d * gate_slope(*u);
        }
    }
    out
}
