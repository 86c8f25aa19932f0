//! The paper's graduated filter (its equations 1 to 3, with the inversion as the text describes
//! it). Its profile is the rising ramp r = clamp((1 + l/d)/2, 0, 1) with l = y - (m x + c) and
//! d = d2 where l >= 0, else d1.

use super::GraduatedParams;
use pulp::Simd;

use crate::Real;
use crate::mask::{self, GEOMETRY_SUMS, InstanceSums, Own, Ramp};
use crate::simd::Wide;
use crate::tile::Point;

/// The ramp of a channel. The falling map is scale · (1 - r), so the blend of both is
/// scale · ((1 - weight) + (2 weight - 1) r).
pub(super) fn ramp(weight: f64, scale: f64) -> Ramp {
    Ramp {
        base: scale * (1.0 - weight),
        gain: scale * (2.0 * weight - 1.0),
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    }
}

/// Gradient of the parameters, and of the inversion's weight.
pub(super) fn finish(
    params: &GraduatedParams<f64>,
    weight: f64,
    sums: &InstanceSums,
) -> (GraduatedParams<f64>, f64) {
    let mut scale = [0.0; 3];
    let mut d_weight = 0.0;
    for ch in 0..3 {
        let (base, gain) = (sums.base[ch], sums.gain[ch]);
        scale[ch] = base * (1.0 - weight) + gain * (2.0 * weight - 1.0);
        d_weight += params.scale[ch] * (2.0 * gain - base);
    }
    let [d_z, d_z_x, d_steep1, d_steep2, ..] = sums.geometry;
    let cos = 1.0 / 1.0_f64.hypot(params.slope);
    // steepness = 1 / (2 d), d = o cos α
    let d_d1 = -2.0 * d_steep1 * steepness(params.o1, cos).powi(2);
    let d_d2 = -2.0 * d_steep2 * steepness(params.o2, cos).powi(2);
    let d_cos = d_d1 * params.o1 + d_d2 * params.o2;
    let gradient = GraduatedParams {
        inversion: 0.0,
        slope: d_z_x - d_cos * params.slope * cos.powi(3),
        offset: d_z,
        o1: d_d1 * cos,
        o2: d_d2 * cos,
        scale,
    };
    (gradient, d_weight)
}

fn steepness(o: f64, cos: f64) -> f64 {
    1.0 / (2.0 * o * cos)
}

/// Everything of the profile that does not depend on the pixel.
pub(crate) struct PaperProfile {
    slope: f64,
    offset: f64,
    /// 1 / (2 d1), for l < 0.
    steepness1: f64,
    /// 1 / (2 d2), for l >= 0.
    steepness2: f64,
}

impl PaperProfile {
    pub(super) fn new(params: &GraduatedParams<f64>) -> Self {
        let cos = 1.0 / 1.0_f64.hypot(params.slope);
        Self {
            slope: params.slope,
            offset: params.offset,
            steepness1: steepness(params.o1, cos),
            steepness2: steepness(params.o2, cos),
        }
    }

    /// y of the central line on the row at `x`.
    pub(super) fn line(&self, x: f64) -> f64 {
        self.slope * x + self.offset
    }

    #[inline(always)]
    pub(super) fn kernel<T: Real, S: Simd>(&self, simd: S, line: f64) -> Kernel<T, S> {
        let splat = |value| Wide::splat(simd, value);
        // Held to the largest finite number, so that l = 0 gives zero and not NaN.
        let steepness = |value| splat(T::narrow(value).min(T::max_value()));
        Kernel {
            line: splat(T::narrow(line)),
            steepness1: steepness(self.steepness1),
            steepness2: steepness(self.steepness2),
            zero: splat(T::zero()),
            half: splat(T::narrow(0.5)),
            one: splat(T::one()),
        }
    }
}

/// The ramp on one row.
pub(super) struct Kernel<T: Real, S: Simd> {
    line: Wide<T, S>,
    steepness1: Wide<T, S>,
    steepness2: Wide<T, S>,
    zero: Wide<T, S>,
    half: Wide<T, S>,
    one: Wide<T, S>,
}

impl<T: Real, S: Simd> Kernel<T, S> {
    /// l and the steepness on its side.
    #[inline(always)]
    fn side(&self, at: Point<T, S>) -> (Wide<T, S>, Wide<T, S>) {
        let l = at.y - self.line;
        (l, self.zero.less_or_equal(l).select(self.steepness2, self.steepness1))
    }
}

impl<T: Real, S: Simd> mask::Kernel<T, S> for Kernel<T, S> {
    const LIMITED: bool = false;
    const BASES: bool = true;

    /// Keeps the ramp before its limits.
    #[inline(always)]
    fn profile(&self, at: Point<T, S>) -> Option<Own<T, S>> {
        let (l, steepness) = self.side(at);
        let ramp = l.mul_add(steepness, self.half);
        Some(Own { profile: [self.again(ramp); 2], kept: [ramp; 2] })
    }

    #[inline(always)]
    fn again(&self, ramp: Wide<T, S>) -> Wide<T, S> {
        ramp.limit(self.zero, self.one)
    }

    #[inline(always)]
    fn kept_of_none(&self) -> Wide<T, S> {
        self.zero
    }

    #[inline(always)]
    fn is_none(&self, _: Wide<T, S>) -> bool {
        false
    }

    /// Derivative by the ramp's place without its sign, and by each steepness.
    #[inline(always)]
    fn pull_back(
        &self,
        at: Point<T, S>,
        [ramp, _]: [Wide<T, S>; 2],
        [d, _]: [Wide<T, S>; 2],
        sums: &mut [Wide<T, S>; GEOMETRY_SUMS],
    ) {
        let (l, steepness) = self.side(at);
        // min and max against a constant: half the gradient at the tie, as PyTorch's.
        let at_zero = ramp.equal(self.zero).select(d * self.half, d);
        let at_one = ramp.equal(self.one).select(d * self.half, at_zero);
        let d_ramp = ramp.equal(self.again(ramp)).select(at_one, self.zero);
        sums[0] = d_ramp.mul_add(steepness, sums[0]);
        let d_steep = d_ramp * l;
        let rising = self.zero.less_or_equal(l);
        sums[1] = sums[1] + rising.select(self.zero, d_steep);
        sums[2] = sums[2] + rising.select(d_steep, self.zero);
    }
}

/// Derivative by the line's y, the same weighted with x, derivative by each steepness.
pub(super) fn geometry(x: f64, sums: [f64; GEOMETRY_SUMS]) -> [f64; GEOMETRY_SUMS] {
    let d_line = -sums[0];
    let mut geometry = [0.0; GEOMETRY_SUMS];
    geometry[..4].copy_from_slice(&[d_line, d_line * x, sums[1], sums[2]]);
    geometry
}
