//! The paper's elliptical filter (its equation 4). Its profile is max{0, 1 - (A²/a² + B²/b²)} with
//! A = dx cos θ + dy sin θ and B = dx sin θ - dy cos θ.

use super::EllipticalParams;
use pulp::Simd;

use crate::Real;
use crate::mask::{self, GEOMETRY_SUMS, InstanceSums, Own, Ramp};
use crate::simd::Wide;
use crate::tile::Point;

/// The ramp of a channel: scale · profile.
pub(super) fn ramp(scale: f64) -> Ramp {
    Ramp { base: 0.0, gain: scale, low: f64::NEG_INFINITY, high: f64::INFINITY }
}

/// Gradient of the parameters.
pub(super) fn finish(params: &EllipticalParams<f64>, sums: &InstanceSums) -> EllipticalParams<f64> {
    // Of A/a, B/b, their squares and their product.
    let [e_a, e_b, e_aa, e_bb, e_ab, ..] = sums.geometry;
    let (sin, cos) = params.angle.sin_cos();
    let (a, b) = (params.semi_axis_a, params.semi_axis_b);
    // Cotangents of A and B, summed.
    let (d_a, d_b) = (-2.0 * e_a / a, -2.0 * e_b / b);
    EllipticalParams {
        center_x: -(d_a * cos + d_b * sin),
        center_y: -(d_a * sin - d_b * cos),
        semi_axis_a: 2.0 * e_aa / a,
        semi_axis_b: 2.0 * e_bb / b,
        angle: 2.0 * e_ab * (b / a - a / b),
        scale: sums.gain,
    }
}

/// Everything of the profile that does not depend on the pixel.
pub(crate) struct PaperProfile {
    params: EllipticalParams<f64>,
    sin: f64,
    cos: f64,
}

impl PaperProfile {
    pub(super) fn new(params: &EllipticalParams<f64>) -> Self {
        let (sin, cos) = params.angle.sin_cos();
        Self { params: *params, sin, cos }
    }

    pub(super) fn center(&self) -> [f64; 2] {
        [self.params.center_x, self.params.center_y]
    }

    /// No pixel farther than this from the centre is inside.
    pub(super) fn reach(&self) -> f64 {
        self.params.semi_axis_a.max(self.params.semi_axis_b)
    }

    #[inline(always)]
    pub(super) fn kernel<T: Real, S: Simd>(&self, simd: S, dx: f64) -> Kernel<T, S> {
        let splat = |value| Wide::splat(simd, T::narrow(value));
        let (a, b) = (self.params.semi_axis_a, self.params.semi_axis_b);
        Kernel {
            center_y: splat(self.params.center_y),
            along: [splat(dx * self.cos / a), splat(self.sin / a)],
            across: [splat(dx * self.sin / b), splat(-self.cos / b)],
            zero: splat(0.0),
            half: splat(0.5),
            one: splat(1.0),
        }
    }
}

/// The ellipse on one row.
pub(super) struct Kernel<T: Real, S: Simd> {
    center_y: Wide<T, S>,
    /// A/a and B/b, of first degree in dy: the constant and the slope.
    along: [Wide<T, S>; 2],
    across: [Wide<T, S>; 2],
    zero: Wide<T, S>,
    half: Wide<T, S>,
    one: Wide<T, S>,
}

impl<T: Real, S: Simd> Kernel<T, S> {
    /// A/a and B/b.
    #[inline(always)]
    fn axes(&self, at: Point<T, S>) -> (Wide<T, S>, Wide<T, S>) {
        let dy = at.y - self.center_y;
        (dy.mul_add(self.along[1], self.along[0]), dy.mul_add(self.across[1], self.across[0]))
    }
}

impl<T: Real, S: Simd> mask::Kernel<T, S> for Kernel<T, S> {
    const LIMITED: bool = false;

    /// Keeps the profile before its limit.
    #[inline(always)]
    fn profile(&self, at: Point<T, S>) -> Option<Own<T, S>> {
        let (along, across) = self.axes(at);
        let value = across.neg_mul_add(across, along.neg_mul_add(along, self.one));
        Some(Own { profile: [self.again(value); 2], kept: [value; 2] })
    }

    #[inline(always)]
    fn again(&self, kept: Wide<T, S>) -> Wide<T, S> {
        kept.at_least(self.zero)
    }

    #[inline(always)]
    fn kept_of_none(&self) -> Wide<T, S> {
        self.zero
    }

    #[inline(always)]
    fn is_none(&self, _: Wide<T, S>) -> bool {
        false
    }

    /// The cotangent times A/a, B/b, their squares and their product.
    #[inline(always)]
    fn pull_back(
        &self,
        at: Point<T, S>,
        [value, _]: [Wide<T, S>; 2],
        [d, _]: [Wide<T, S>; 2],
        sums: &mut [Wide<T, S>; GEOMETRY_SUMS],
    ) {
        let (along, across) = self.axes(at);
        // max against a constant: half the gradient at the tie, as PyTorch's.
        let at_zero = value.equal(self.zero).select(d * self.half, self.zero);
        let e = self.zero.less(value).select(d, at_zero);
        let (e_along, e_across) = (e * along, e * across);
        sums[0] = sums[0] + e_along;
        sums[1] = sums[1] + e_across;
        sums[2] = e_along.mul_add(along, sums[2]);
        sums[3] = e_across.mul_add(across, sums[3]);
        sums[4] = e_along.mul_add(across, sums[4]);
    }
}
