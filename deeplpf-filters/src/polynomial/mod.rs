//! The polynomial filter: a cubic in the position (x, y) and the intensity i of each channel.
//!
//! Derivation of every gradient: `docs/src/math/polynomial.md`.

mod row;

pub(crate) use row::{Moments, RowPolynomial, WideMoments};

use crate::{Dialect, PolynomialKind, Real};

/// Coefficients of the polynomial filter, per channel in the paper's order.
///
/// With x = row / height, y = column / width and i the channel's intensity:
/// - Cubic-20: f = A x³ + B x²y + C x²i + D x² + E xy² + F xyi + G xy + H xi² + I xi + J x + K y³
///   + L y²i + M y² + N yi² + O yi + P y + Q i³ + R i² + S i + T;
/// - Cubic-10: f = i (A x³ + B x²y + C x² + D xy² + E xy + F x + G y³ + H y² + I y + J).
///
/// Release: i' = clamp(i + f, 0, 1); it has no Cubic-10, this crate gives it the same residual
/// form. Paper: i' = f.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct PolynomialParams<T> {
    /// Which polynomial; decides the number of coefficients.
    pub kind: PolynomialKind,
    /// Coefficients A, B, C, ... of the red, the green and the blue channel, without unit.
    pub coefficients: [Vec<T>; 3],
}

impl<T: Copy> PolynomialParams<T> {
    /// Every coefficient changed by `f`.
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> PolynomialParams<U> {
        PolynomialParams {
            kind: self.kind,
            coefficients: self
                .coefficients
                .each_ref()
                .map(|channel| channel.iter().map(|&c| f(c)).collect()),
        }
    }

    /// From `3 * kind.terms()` raw numbers, which are the coefficients themselves.
    pub(crate) fn from_raw(kind: PolynomialKind, raw: &[T]) -> Self {
        let terms = kind.terms();
        Self { kind, coefficients: std::array::from_fn(|ch| raw[terms * ch..][..terms].to_vec()) }
    }
}

/// Powers (x, y, i) of each coefficient, in the paper's order.
pub(crate) fn powers(kind: PolynomialKind) -> &'static [[u8; 3]] {
    match kind {
        PolynomialKind::Cubic10 => &CUBIC_10,
        PolynomialKind::Cubic20 => &CUBIC_20,
    }
}

#[rustfmt::skip]
const CUBIC_10: [[u8; 3]; 10] = [
    [3, 0, 1], [2, 1, 1], [2, 0, 1], [1, 2, 1], [1, 1, 1],
    [1, 0, 1], [0, 3, 1], [0, 2, 1], [0, 1, 1], [0, 0, 1],
];

#[rustfmt::skip]
const CUBIC_20: [[u8; 3]; 20] = [
    [3, 0, 0], [2, 1, 0], [2, 0, 1], [2, 0, 0], [1, 2, 0],
    [1, 1, 1], [1, 1, 0], [1, 0, 2], [1, 0, 1], [1, 0, 0],
    [0, 3, 0], [0, 2, 1], [0, 2, 0], [0, 1, 2], [0, 1, 1],
    [0, 1, 0], [0, 0, 3], [0, 0, 2], [0, 0, 1], [0, 0, 0],
];

/// Whether the filter's result is added to the intensity (release) or replaces it (paper). Without
/// a polynomial filter the intensity passes unchanged in both.
fn adds_intensity(dialect: Dialect, present: bool) -> bool {
    dialect == Dialect::Release || !present
}

/// The polynomial of one channel, ready to be narrowed down to rows.
pub(crate) struct ChannelPolynomial {
    powers: &'static [[u8; 3]],
    coefficients: Vec<f64>,
    adds_intensity: bool,
}

impl ChannelPolynomial {
    /// One per channel; the identity where `params` is `None`.
    pub(crate) fn all<T: Real>(
        dialect: Dialect,
        params: Option<&PolynomialParams<T>>,
    ) -> [ChannelPolynomial; 3] {
        std::array::from_fn(|ch| ChannelPolynomial {
            powers: params.map_or(&[], |p| powers(p.kind)),
            coefficients: params
                .map_or(vec![], |p| p.coefficients[ch].iter().map(|c| c.wide()).collect()),
            adds_intensity: adds_intensity(dialect, params.is_some()),
        })
    }

    /// The polynomial in y and i that is left on the row at `x`.
    pub(crate) fn row(&self, x: f64) -> RowPolynomial {
        let powers_of_x = [1.0, x, x * x, x * x * x];
        let mut c = [[0.0; 4]; 4];
        for (&[px, py, pi], coefficient) in self.powers.iter().zip(&self.coefficients) {
            c[py as usize][pi as usize] += coefficient * powers_of_x[px as usize];
        }
        if self.adds_intensity {
            c[0][1] += 1.0;
        }
        RowPolynomial::new(c)
    }

    /// Adds the row's share of the coefficients' gradient: `moments[q][r]` is the sum of the
    /// cotangent times y^q i^r along the row at `x`.
    pub(crate) fn pull_back(&self, x: f64, moments: &Moments, gradient: &mut [f64]) {
        let powers_of_x = [1.0, x, x * x, x * x * x];
        for (&[px, py, pi], g) in self.powers.iter().zip(gradient) {
            *g += powers_of_x[px as usize] * moments[py as usize][pi as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_monomial_occurs_once() {
        for kind in [PolynomialKind::Cubic10, PolynomialKind::Cubic20] {
            let table = powers(kind);
            assert_eq!(table.len(), kind.terms());
            for (n, p) in table.iter().enumerate() {
                assert!(!table[..n].contains(p), "{p:?} twice");
                let position = p[0] + p[1];
                assert!(position <= 3);
                match kind {
                    PolynomialKind::Cubic10 => assert_eq!(p[2], 1),
                    PolynomialKind::Cubic20 => assert!(position + p[2] <= 3),
                }
            }
        }
    }
}
