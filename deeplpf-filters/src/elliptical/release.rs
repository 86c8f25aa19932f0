//! The release's elliptical filter. Its profile is 1 - ν inside and 0 outside, where ν is the
//! distance to the centre over the ellipse's radius in that direction, and "inside" is a test of
//! its own that does not coincide with ν < 1.
//!
//! No angle is ever formed: with ρ the distance to the centre, ρ cos φ and ρ sin φ follow from
//! dx, dy and the rotation by multiplications.

use pulp::Simd;

use super::{EllipticalParams, EllipticalRow};
use crate::Real;
use crate::mask::{self, GEOMETRY_SUMS, InstanceSums, Own, Ramp, Visitor};
use crate::reference;
use crate::simd::{Decision, MAX_LANES, Wide};
use crate::squash::EPSILON;
use crate::tile::Point;

/// Added to the squared distance under the root of the numerator; the release's constant.
pub(crate) const DISTANCE_EPSILON: f64 = 1e-7;

/// The release limits the cosine to ±(1 - this) before the arc cosine.
pub(crate) const COSINE_MARGIN: f64 = 1e-7;

/// The ramp of a channel: 1 + (scale - 1) · profile, which is scale + (1 - scale) ν inside and 1
/// outside.
pub(super) fn ramp(scale: f64) -> Ramp {
    Ramp { base: 1.0, gain: scale - 1.0, low: 0.0, high: 2.0 }
}

/// Gradient of the parameters.
pub(super) fn finish(params: &EllipticalParams<f64>, sums: &InstanceSums) -> EllipticalParams<f64> {
    let [d_dx, d_dy, relative, sines, cosines, mixed, ..] = sums.geometry;
    let (a, b) = (params.semi_axis_a, params.semi_axis_b);
    EllipticalParams {
        center_x: -d_dx,
        center_y: -d_dy,
        semi_axis_a: a * sines - relative / a,
        semi_axis_b: b * cosines - relative / b,
        angle: -(a * a - b * b) * mixed,
        scale: sums.gain,
    }
}

/// The largest sin² φ at which the release's limit of the cosine is active:
/// 1 - (1 - 1e-7)², expanded.
const LIMITED_SINE2: f64 = 2.0 * COSINE_MARGIN - COSINE_MARGIN * COSINE_MARGIN;

/// What is kept of a pixel outside: no profile is above one.
const OUTSIDE: f64 = 2.0;

/// Everything of the profile that does not depend on the pixel.
pub(crate) struct ReleaseProfile {
    params: EllipticalParams<f64>,
    sin: f64,
    cos: f64,
    /// The b that the blue channel's inside test uses, where it is another's.
    blue_b: Option<f64>,
    /// b over the blue channel's b.
    to_blue: f64,
    /// e / (ab)²
    epsilon: f64,
    /// Whether the products of the fast kernel stay within the range of `f32`.
    moderate: bool,
    /// Relative distance from the edge within which `f32` is not trusted with the inside test.
    doubt: f64,
}

/// What depends on the row alone; the meaning is that of [`Kernel`]'s fields.
#[derive(Default)]
pub(super) struct Constants {
    dx2: f64,
    p: [f64; 2],
    r: [f64; 2],
    along: [f64; 3],
    across: [f64; 3],
}

impl ReleaseProfile {
    pub(super) fn constants(&self, dx: f64) -> Constants {
        let (sin, cos) = (self.sin, self.cos);
        let (over_a, over_b) = (1.0 / self.params.semi_axis_a, 1.0 / self.params.semi_axis_b);
        let dx2 = dx * dx + EPSILON;
        let root = dx2.sqrt();
        Constants {
            dx2,
            p: [root * cos * over_b, -sin * over_b],
            r: [root * sin * over_a, cos * over_a],
            along: [dx * root * sin * over_a, (dx + root) * cos * over_a, -sin * over_a],
            across: [dx * root * cos * over_b, -(dx + root) * sin * over_b, -cos * over_b],
        }
    }

    pub(super) fn new(params: &EllipticalParams<f64>, blue_b: Option<f64>) -> Self {
        let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = *params;
        let (sin, cos) = params.angle.sin_cos();
        let own_or_blue = blue_b.unwrap_or(b);
        let (smallest, largest) = (a.min(b).min(own_or_blue), a.max(b).max(own_or_blue));
        let center = params.center_x.abs().max(params.center_y.abs());
        Self {
            params: *params,
            sin,
            cos,
            blue_b,
            to_blue: b / own_or_blue,
            epsilon: EPSILON / (a * b).powi(2),
            moderate: smallest > 1e-4 && largest < 1e2 && center < 1e2,
            // About ten roundings of 6e-8 in the test itself, and those of the distances, which
            // the division by a semi-axis makes relatively larger.
            doubt: (2e-6 + 1e-6 * (1.0 + center) / smallest).min(1.0),
        }
    }

    pub(super) fn center(&self) -> [f64; 2] {
        [self.params.center_x, self.params.center_y]
    }

    /// No pixel of the row at `x` that is farther than this from the centre is inside.
    pub(super) fn reach(&self, x: f64) -> f64 {
        let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = self.params;
        let b = b.max(self.blue_b.unwrap_or(b));
        // The two tested lengths are those of a turned (dx, dy): of the same distance.
        let anywhere = a.max(b);
        let dx = x - self.params.center_x;
        if dx >= 0.0 {
            return anywhere;
        }
        // Above the centre the turn cancels the polar angle and leaves a circle, but for the 1e-10
        // under the distance's root, which moves both lengths by less than this.
        let moved = EPSILON / (2.0 * -dx) * (1.0 / a + 1.0 / b);
        let circle = 1.0 / (self.sin / a).hypot(self.cos / b);
        // Where the limit of the cosine acts it is no circle.
        let limited = dx * dx + EPSILON < 4.0 * LIMITED_SINE2 * anywhere * anywhere;
        if limited { anywhere } else { anywhere.min(circle * (1.0 + moved)) }
    }

    /// Whether the limit of the cosine may be active on a row: only where |dx| is below 4.5e-4 of
    /// the distance, a row or two around the centre.
    fn near_axis(&self, dx: f64) -> bool {
        let dx2 = dx * dx + EPSILON;
        // |dy| is largest at one of the image's two sides.
        let center_y = self.params.center_y;
        let farthest_dy = center_y.abs().max((1.0 - center_y).abs());
        dx2 < 1.01 * LIMITED_SINE2 * (dx2 + farthest_dy * farthest_dy)
    }

    #[inline(always)]
    pub(super) fn visit<T: Real, S: Simd, V: Visitor<T, S>>(
        &self,
        simd: S,
        row: &EllipticalRow,
        visitor: V,
    ) {
        if self.near_axis(row.dx) || !self.moderate {
            visitor.visit(simd, Kernel::<T, S, true, true>::new(simd, self, row));
        } else if self.blue_b.is_some() {
            visitor.visit(simd, Kernel::<T, S, false, true>::new(simd, self, row));
        } else {
            visitor.visit(simd, Kernel::<T, S, false, false>::new(simd, self, row));
        }
    }

    /// From the kernel's sums: derivative by dx, by dy; E; E sin² φ / Q²; E cos² φ / Q²;
    /// E sin φ cos φ / Q².
    pub(super) fn geometry(&self, dx: f64, sums: [f64; GEOMETRY_SUMS]) -> [f64; GEOMETRY_SUMS] {
        let [over_d2, over_d2_dy, e, sines, cosines, mixed, turning, turning_dy] = sums;
        let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = self.params;
        // φ0 = acos(dy/ρ): d φ0/d dx = dx dy / (ρ² X), d φ0/d dy = -X / ρ².
        let root = (dx * dx + EPSILON).sqrt();
        let anisotropy = (a * a - b * b) / (a * b);
        [
            over_d2 * dx + anisotropy * turning_dy * dx / root,
            over_d2_dy - anisotropy * turning * root,
            e,
            sines / (a * a),
            cosines / (b * b),
            mixed / (a * b),
            0.0,
            0.0,
        ]
    }
}

/// The profile on one row.
///
/// With X = sqrt(dx² + e), sine = X cos θ - dy sin θ and cosine = dy cos θ + X sin θ (they are
/// ρ sin φ and ρ cos φ), P = sine/b, R = cosine/a, M = P² + R² + e ρ²/(ab)² and D² = dx² + dy² + 1e-7
/// the profile is 1 - ν with ν² = M D² / ρ². One t = 1 / sqrt(M D² ρ²) gives ν = M D² t and every
/// quotient of the gradient. What is multiplied by dy is first or second degree in dy with the
/// row's coefficients.
///
/// `CAREFUL` kernels take the limit of the cosine and numbers of any size into account; `BLUE` ones
/// test the blue channel against another b.
struct Kernel<'a, T: Real, S: Simd, const CAREFUL: bool, const BLUE: bool> {
    simd: S,
    profile: &'a ReleaseProfile,
    x: f64,
    center_y: Wide<T, S>,
    /// dx² + 1e-10
    dx2: Wide<T, S>,
    /// 1e-7 - 1e-10
    distance_epsilon: Wide<T, S>,
    /// Coefficients of 1 and dy.
    p: [Wide<T, S>; 2],
    r: [Wide<T, S>; 2],
    /// e / (ab)²
    epsilon: Wide<T, S>,
    /// (dx cos φ + dy sin φ) ρ / a and (dx sin φ - dy cos φ) ρ / b: coefficients of 1, dy, dy².
    along: [Wide<T, S>; 3],
    across: [Wide<T, S>; 3],
    /// The other over the blue channel's b.
    to_blue: Wide<T, S>,
    doubt: Wide<T, S>,
    outside: Wide<T, S>,
    zero: Wide<T, S>,
    one: Wide<T, S>,
}

/// What the profile and its gradient share.
struct Shape<T: Real, S: Simd> {
    dy: Wide<T, S>,
    rho2: Wide<T, S>,
    p: Wide<T, S>,
    r: Wide<T, S>,
    m: Wide<T, S>,
    d2: Wide<T, S>,
    /// One, or zero where the limit of the cosine stops the gradient.
    turns: Wide<T, S>,
}

impl<'a, T: Real, S: Simd, const CAREFUL: bool, const BLUE: bool> Kernel<'a, T, S, CAREFUL, BLUE> {
    #[inline(always)]
    fn new(simd: S, profile: &'a ReleaseProfile, row: &EllipticalRow) -> Self {
        let splat = |value| Wide::splat(simd, T::narrow(value));
        let Constants { dx2, p, r, along, across } = &row.release;
        Self {
            simd,
            profile,
            x: row.x,
            center_y: splat(profile.params.center_y),
            dx2: splat(*dx2),
            distance_epsilon: splat(DISTANCE_EPSILON - EPSILON),
            p: [splat(p[0]), splat(p[1])],
            r: [splat(r[0]), splat(r[1])],
            epsilon: splat(profile.epsilon),
            along: [splat(along[0]), splat(along[1]), splat(along[2])],
            across: [splat(across[0]), splat(across[1]), splat(across[2])],
            to_blue: splat(profile.to_blue),
            doubt: splat(profile.doubt),
            outside: splat(OUTSIDE),
            zero: splat(0.0),
            one: splat(1.0),
        }
    }

    #[inline(always)]
    fn splat(&self, value: f64) -> Wide<T, S> {
        Wide::splat(self.simd, T::narrow(value))
    }

    #[inline(always)]
    fn shape(&self, at: Point<T, S>) -> Shape<T, S> {
        let dy = at.y - self.center_y;
        let rho2 = dy.mul_add(dy, self.dx2);
        let mut p = dy.mul_add(self.p[1], self.p[0]);
        let mut r = dy.mul_add(self.r[1], self.r[0]);
        let mut turns = self.one;
        if CAREFUL {
            let limited = self.dx2.less(rho2 * self.splat(LIMITED_SINE2));
            let [sine, cosine] = self.limited(dy, rho2);
            let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = self.profile.params;
            p = limited.select(sine * self.splat(1.0 / b), p);
            r = limited.select(cosine * self.splat(1.0 / a), r);
            turns = limited.select(self.zero, turns);
        }
        let m = r.mul_add(r, p.mul_add(p, self.epsilon * rho2));
        Shape { dy, rho2, p, r, m, d2: rho2 + self.distance_epsilon, turns }
    }

    /// ρ sin φ and ρ cos φ where the limit of the arc cosine's argument is active.
    #[inline(always)]
    fn limited(&self, dy: Wide<T, S>, rho2: Wide<T, S>) -> [Wide<T, S>; 2] {
        let rho = rho2.sqrt();
        let upwards = rho * self.splat(1.0 - COSINE_MARGIN);
        let along = self.zero.less(dy).select(upwards, self.zero - upwards);
        let across = rho * self.splat(LIMITED_SINE2.sqrt());
        let (sin, cos) = (self.splat(self.profile.sin), self.splat(self.profile.cos));
        [across * cos - along * sin, along * cos + across * sin]
    }

    /// The two tested lengths times ρ, over a and over b.
    #[inline(always)]
    fn lengths(&self, shape: &Shape<T, S>) -> [Wide<T, S>; 2] {
        let dy = shape.dy;
        if !CAREFUL {
            let length = |c: &[Wide<T, S>; 3]| dy.mul_add(dy.mul_add(c[2], c[1]), c[0]);
            return [length(&self.along), length(&self.across)];
        }
        let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = self.profile.params;
        let dx = self.splat(self.x - self.profile.params.center_x);
        let (sine, cosine) = (shape.p * self.splat(b), shape.r * self.splat(a));
        [
            (dx * cosine + dy * sine) * self.splat(1.0 / a),
            (dx * sine - dy * cosine) * self.splat(1.0 / b),
        ]
    }

    /// The inside test against semi-axis `b`: negative inside.
    #[inline(always)]
    fn excess(
        &self,
        at: Point<T, S>,
        rho2: Wide<T, S>,
        [along, across]: [Wide<T, S>; 2],
        b: f64,
    ) -> Wide<T, S> {
        let excess = across.mul_add(across, along.mul_add(along, self.zero - rho2));
        if !T::REDECIDES_IN_F64 {
            return excess;
        }
        let limit = rho2 * self.doubt;
        let size = excess.at_least(self.zero - excess);
        let doubtful = size.less_or_equal(limit);
        // A NaN is not in doubt and is outside.
        if doubtful.any() {
            return self.decide_again(at, excess, doubtful, b);
        }
        excess
    }

    /// The inside test in `f64`, in the lanes in doubt.
    #[inline(always)]
    fn decide_again(
        &self,
        at: Point<T, S>,
        excess: Wide<T, S>,
        doubtful: Decision<T, S>,
        b: f64,
    ) -> Wide<T, S> {
        let mut lanes = [T::zero(); MAX_LANES];
        let mut doubts = [T::zero(); MAX_LANES];
        T::vectors_mut::<S>(&mut lanes)[0] = excess.lanes();
        T::vectors_mut::<S>(&mut doubts)[0] = doubtful.select(self.one, self.zero).lanes();
        self.profile.decide(self.x, b, at.column, at.width, &doubts, &mut lanes);
        Wide::new(self.simd, T::vectors::<S>(&lanes)[0])
    }
}

impl ReleaseProfile {
    /// The inside test for the pixels in doubt among those from `column` on: -1 inside, else 1.
    #[cold]
    #[inline(never)]
    fn decide<T: Real>(
        &self,
        x: f64,
        b: f64,
        column: usize,
        width: usize,
        doubts: &[T; MAX_LANES],
        excess: &mut [T; MAX_LANES],
    ) {
        for (j, excess) in excess.iter_mut().enumerate() {
            if doubts[j] > T::zero() {
                let y = (column + j) as f64 / width as f64;
                let inside = reference::inside_ellipse(&self.params, b, x, y);
                *excess = if inside { -T::one() } else { T::one() };
            }
        }
    }
}

impl<T: Real, S: Simd, const CAREFUL: bool, const BLUE: bool> mask::Kernel<T, S>
    for Kernel<'_, T, S, CAREFUL, BLUE>
{
    const BLUE: bool = BLUE;
    const LIMITED: bool = true;

    /// Keeps the profile, and [`OUTSIDE`] where the pixel is outside.
    #[inline(always)]
    fn profile(&self, at: Point<T, S>) -> Option<Own<T, S>> {
        let shape = self.shape(at);
        let lengths = self.lengths(&shape);
        let b = self.profile.params.semi_axis_b;
        let inside = self.excess(at, shape.rho2, lengths, b).less(self.zero);
        let mut any = inside.any();
        let mut inside_blue = inside;
        if BLUE && let Some(b) = self.profile.blue_b {
            let lengths = [lengths[0], lengths[1] * self.to_blue];
            inside_blue = self.excess(at, shape.rho2, lengths, b).less(self.zero);
            any |= inside_blue.any();
        }
        if !any {
            return None;
        }
        let nu = if CAREFUL {
            (shape.m * shape.rho2.reciprocal() * shape.d2).sqrt()
        } else {
            let md2 = shape.m * shape.d2;
            md2 * (md2 * shape.rho2).inverse_sqrt()
        };
        let value = self.one - nu;
        Some(Own {
            profile: [inside.select(value, self.zero), inside_blue.select(value, self.zero)],
            kept: [inside.select(value, self.outside), inside_blue.select(value, self.outside)],
        })
    }

    #[inline(always)]
    fn again(&self, kept: Wide<T, S>) -> Wide<T, S> {
        kept.less_or_equal(self.one).select(kept, self.zero)
    }

    #[inline(always)]
    fn kept_of_none(&self) -> Wide<T, S> {
        self.outside
    }

    #[inline(always)]
    fn is_none(&self, kept: Wide<T, S>) -> bool {
        !kept.less_or_equal(self.one).any()
    }

    /// With E = -(cotangent) ν inside: E/D²; E dy/D²; E; E P²/M; E R²/M; E P R/M; the last over ρ²
    /// (zero where the limit of the cosine acts), and that times dy.
    #[inline(always)]
    fn pull_back(
        &self,
        at: Point<T, S>,
        kept: [Wide<T, S>; 2],
        d: [Wide<T, S>; 2],
        sums: &mut [Wide<T, S>; GEOMETRY_SUMS],
    ) {
        let shape = self.shape(at);
        let Shape { dy, mut rho2, p, r, mut m, mut d2, .. } = shape;
        let d_of = |own: usize| kept[own].less_or_equal(self.one).select(d[own], self.zero);
        let d = if BLUE { d_of(0) + d_of(1) } else { d_of(0) };
        if CAREFUL {
            // Far outside an ellipse of extreme axes the numbers leave the range of `f32`; zero
            // times them must be zero.
            let nearest = if BLUE { kept[0].at_most(kept[1]) } else { kept[0] };
            let inside = nearest.less_or_equal(self.one);
            rho2 = inside.select(rho2, self.one);
            m = inside.select(m, self.one);
            d2 = inside.select(d2, self.one);
        }
        let md2 = m * d2;
        let (e, over_d2, over_m, inverse_rho2);
        if CAREFUL {
            inverse_rho2 = rho2.reciprocal();
            let nu = (m * inverse_rho2 * d2).sqrt();
            e = self.zero - d * nu;
            over_d2 = e * d2.reciprocal();
            over_m = e * m.reciprocal();
        } else {
            let t = (md2 * rho2).inverse_sqrt();
            let minus_dt = self.zero - d * t;
            e = minus_dt * md2;
            over_d2 = minus_dt * m;
            over_m = minus_dt * d2;
            inverse_rho2 = t * t * md2;
        }
        let (over_m_p, over_m_r) = (over_m * p, over_m * r);
        let mixed = over_m_p * r;
        let mut turning = mixed * inverse_rho2;
        if CAREFUL {
            turning = turning * shape.turns;
        }
        sums[0] = sums[0] + over_d2;
        sums[1] = over_d2.mul_add(dy, sums[1]);
        sums[2] = sums[2] + e;
        sums[3] = over_m_p.mul_add(p, sums[3]);
        sums[4] = over_m_r.mul_add(r, sums[4]);
        sums[5] = sums[5] + mixed;
        sums[6] = sums[6] + turning;
        sums[7] = turning.mul_add(dy, sums[7]);
    }
}
