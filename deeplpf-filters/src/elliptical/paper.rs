//! The paper's elliptical filter (its equation 4). Its profile is max{0, 1 - (A²/a² + B²/b²)} with
//! A = dx cos θ + dy sin θ and B = dx sin θ - dy cos θ.

use super::EllipticalParams;
use crate::Real;
use crate::mask::{GEOMETRY_SUMS, InstanceSums, Ramp};
use crate::tile::{ColumnTile, TILE, Tile, dot, sum, zero_tile};

/// The ramp of a channel: scale · profile.
pub(super) fn ramp(scale: f64) -> Ramp {
    Ramp { base: 0.0, gain: scale, low: f64::NEG_INFINITY, high: f64::INFINITY, tie_share: 1.0 }
}

/// Gradient of the parameters.
pub(super) fn finish(params: &EllipticalParams<f64>, sums: &InstanceSums) -> EllipticalParams<f64> {
    let [e_a, e_b, e_aa, e_bb, e_ab, ..] = sums.geometry;
    let (sin, cos) = params.angle.sin_cos();
    let (a, b) = (params.semi_axis_a, params.semi_axis_b);
    // Cotangents of A and B, summed.
    let (d_a, d_b) = (-2.0 * e_a / (a * a), -2.0 * e_b / (b * b));
    EllipticalParams {
        center_x: -(d_a * cos + d_b * sin),
        center_y: -(d_a * sin - d_b * cos),
        semi_axis_a: 2.0 * e_aa / (a * a * a),
        semi_axis_b: 2.0 * e_bb / (b * b * b),
        angle: 2.0 * e_ab * (1.0 / (a * a) - 1.0 / (b * b)),
        scale: sums.gain,
    }
}

/// Everything of the profile that does not depend on the pixel.
pub(crate) struct PaperProfile<T> {
    center_x: f64,
    center_y: T,
    cos: T,
    sin: T,
    /// 1/a² and 1/b²
    inverse_a2: T,
    inverse_b2: T,
}

/// Constants of a row.
pub(crate) struct Row<T> {
    dx_cos: T,
    dx_sin: T,
}

impl<T: Real> PaperProfile<T> {
    pub(crate) fn new(params: &EllipticalParams<f64>) -> Self {
        let (sin, cos) = params.angle.sin_cos();
        Self {
            center_x: params.center_x,
            center_y: T::narrow(params.center_y),
            cos: T::narrow(cos),
            sin: T::narrow(sin),
            inverse_a2: T::narrow(params.semi_axis_a.powi(-2)),
            inverse_b2: T::narrow(params.semi_axis_b.powi(-2)),
        }
    }

    pub(super) fn row(&self, x: f64) -> Row<T> {
        let dx = x - self.center_x;
        Row { dx_cos: T::narrow(dx * self.cos.wide()), dx_sin: T::narrow(dx * self.sin.wide()) }
    }

    /// A, B and the profile before its limit.
    #[inline(always)]
    fn unlimited(&self, row: &Row<T>, y: T) -> (T, T, T) {
        let dy = y - self.center_y;
        let a = row.dx_cos + dy * self.sin;
        let b = row.dx_sin - dy * self.cos;
        (a, b, T::one() - (a * a * self.inverse_a2 + b * b * self.inverse_b2))
    }

    #[inline]
    pub(super) fn evaluate(&self, row: &Row<T>, columns: ColumnTile<'_, T>, profile: &mut Tile<T>) {
        for j in 0..TILE {
            let (_, _, value) = self.unlimited(row, columns.y[j]);
            profile[j] = if value < T::zero() { T::zero() } else { value };
        }
    }

    /// Sums of the cotangent times A, B, A², B², AB.
    #[inline]
    pub(super) fn pull_back(
        &self,
        row: &Row<T>,
        columns: ColumnTile<'_, T>,
        d_profile: &Tile<T>,
        sums: &mut [f64; GEOMETRY_SUMS],
    ) {
        let (mut along, mut across) = (zero_tile(), zero_tile());
        let (mut e_along, mut e_across) = (zero_tile(), zero_tile());
        for j in 0..TILE {
            let (a, b, value) = self.unlimited(row, columns.y[j]);
            // max against a constant: half the gradient at the tie, as PyTorch's.
            let inside = if value > T::zero() { T::one() } else { T::zero() };
            let tie = if value == T::zero() { T::narrow(0.5) } else { T::zero() };
            let e = d_profile[j] * (inside + tie);
            (along[j], across[j]) = (a, b);
            (e_along[j], e_across[j]) = (e * a, e * b);
        }
        sums[0] += sum(&e_along);
        sums[1] += sum(&e_across);
        sums[2] += dot(&e_along, &along);
        sums[3] += dot(&e_across, &across);
        sums[4] += dot(&e_along, &across);
    }
}
