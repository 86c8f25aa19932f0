//! The release's elliptical filter. Its profile is 1 - ν inside and 0 outside, where ν is the
//! distance to the centre over the ellipse's radius in that direction, and "inside" is a test of
//! its own that does not coincide with ν < 1.
//!
//! No angle is ever formed: with ρ the distance to the centre, ρ cos φ and ρ sin φ follow from
//! dx, dy and the rotation by multiplications.

use super::EllipticalParams;
use crate::Real;
use crate::mask::{GEOMETRY_SUMS, InstanceSums, Ramp};
use crate::reference;
use crate::squash::EPSILON;
use crate::tile::{ColumnTile, TILE, Tile, dot, sum, zero_tile};

/// Added to the squared distance under the root of the numerator; the release's constant.
pub(crate) const DISTANCE_EPSILON: f64 = 1e-7;

/// The release limits the cosine to ±(1 - this) before the arc cosine.
pub(crate) const COSINE_MARGIN: f64 = 1e-7;

/// The ramp of a channel: 1 + (scale - 1) · profile, which is scale + (1 - scale) ν inside and 1
/// outside.
pub(super) fn ramp(scale: f64) -> Ramp {
    Ramp { base: 1.0, gain: scale - 1.0, low: 0.0, high: 2.0, tie_share: 1.0 }
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

/// Everything of the profile that does not depend on the pixel.
pub(crate) struct ReleaseProfile<T> {
    params: EllipticalParams<f64>,
    /// The b that the blue channel's inside test uses, where it is another's.
    blue_b: Option<f64>,
    center_y: T,
    cos: T,
    sin: T,
    a2: T,
    b2: T,
    /// 1 / (a b)
    inverse_ab: T,
    /// 1/a², 1/b² and the blue channel's 1/b²
    inverse_a2: T,
    inverse_b2: T,
    inverse_blue_b2: T,
    /// Relative distance from the edge within which `T` is not trusted with the inside test.
    doubt: T,
}

/// Constants of a row.
pub(crate) struct Row<T> {
    x: f64,
    dx: T,
    /// X = sqrt(dx² + e), which is ρ sin φ before the rotation; its products with cos and sin θ.
    root: T,
    root_cos: T,
    root_sin: T,
    /// dx² + e and dx² + 1e-7
    dx2: T,
    dx2_distance: T,
    /// Whether the limit of the cosine may be active on this row: only where |dx| is below
    /// 4.5e-4 of the distance, a row or two around the centre.
    near_axis: bool,
}

/// What evaluation and gradient share, along a tile.
struct Shape<T> {
    dy: Tile<T>,
    /// ρ sin φ, ρ cos φ after the rotation
    sine: Tile<T>,
    cosine: Tile<T>,
    /// 1 / ρ²
    inverse_rho2: Tile<T>,
    /// Q² = a² sin² φ + b² cos² φ + e
    q2: Tile<T>,
    /// D² = dx² + dy² + 1e-7
    d2: Tile<T>,
    /// ν = D Q / (a b)
    nu: Tile<T>,
    /// 1 inside, 0 outside: by the own b, and by the blue channel's
    inside: Tile<T>,
    inside_blue: Tile<T>,
    /// 1, or 0 where the limit of the cosine stops the gradient
    turns: Tile<T>,
}

/// The largest sin² φ at which the release's limit of the cosine is active:
/// 1 - (1 - 1e-7)², expanded.
const LIMITED_SINE2: f64 = 2.0 * COSINE_MARGIN - COSINE_MARGIN * COSINE_MARGIN;

impl<T: Real> ReleaseProfile<T> {
    pub(crate) fn new(params: &EllipticalParams<f64>, blue_b: Option<f64>) -> Self {
        let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = *params;
        let (sin, cos) = params.angle.sin_cos();
        let own_or_blue = blue_b.unwrap_or(b);
        let smallest = a.min(b).min(own_or_blue);
        Self {
            params: *params,
            blue_b,
            center_y: T::narrow(params.center_y),
            cos: T::narrow(cos),
            sin: T::narrow(sin),
            a2: T::narrow(a * a),
            b2: T::narrow(b * b),
            inverse_ab: T::narrow(1.0 / (a * b)),
            inverse_a2: T::narrow(a.powi(-2)),
            inverse_b2: T::narrow(b.powi(-2)),
            inverse_blue_b2: T::narrow(own_or_blue.powi(-2)),
            // In f32: about ten roundings of 6e-8 in the test itself, and one in dy, which the
            // division by a semi-axis makes relatively larger.
            doubt: T::narrow((2e-6 + 1e-6 / smallest).min(1.0)),
        }
    }

    pub(super) fn blue_differs(&self) -> bool {
        self.blue_b.is_some()
    }

    pub(super) fn row(&self, x: f64) -> Row<T> {
        let dx = x - self.params.center_x;
        let (sin, cos) = self.params.angle.sin_cos();
        let dx2 = dx * dx + EPSILON;
        let root = dx2.sqrt();
        // |dy| is largest at one of the image's two sides.
        let farthest_dy = self.params.center_y.abs().max((1.0 - self.params.center_y).abs());
        Row {
            x,
            dx: T::narrow(dx),
            root: T::narrow(root),
            root_cos: T::narrow(root * cos),
            root_sin: T::narrow(root * sin),
            dx2: T::narrow(dx2),
            dx2_distance: T::narrow(dx * dx + DISTANCE_EPSILON),
            near_axis: dx2 < 1.01 * LIMITED_SINE2 * (dx2 + farthest_dy * farthest_dy),
        }
    }

    #[inline]
    fn shape(&self, row: &Row<T>, columns: ColumnTile<'_, T>) -> Shape<T> {
        let mut s = Shape {
            dy: zero_tile(),
            sine: zero_tile(),
            cosine: zero_tile(),
            inverse_rho2: zero_tile(),
            q2: zero_tile(),
            d2: zero_tile(),
            nu: zero_tile(),
            inside: zero_tile(),
            inside_blue: zero_tile(),
            turns: [T::one(); TILE],
        };
        for j in 0..TILE {
            let dy = columns.y[j] - self.center_y;
            s.dy[j] = dy;
            s.inverse_rho2[j] = T::one() / (row.dx2 + dy * dy);
            s.sine[j] = row.root_cos - dy * self.sin;
            s.cosine[j] = dy * self.cos + row.root_sin;
        }
        if row.near_axis {
            self.limit_cosine(row, &mut s);
        }
        for j in 0..TILE {
            let (sine, cosine, dy) = (s.sine[j], s.cosine[j], s.dy[j]);
            let q2 = (self.a2 * sine * sine + self.b2 * cosine * cosine) * s.inverse_rho2[j]
                + T::narrow(EPSILON);
            let d2 = row.dx2_distance + dy * dy;
            s.q2[j] = q2;
            s.d2[j] = d2;
            s.nu[j] = (q2 * d2).sqrt() * self.inverse_ab;
        }
        self.decide(row, columns, self.inverse_b2, self.params.semi_axis_b, &mut s, false);
        if let Some(b) = self.blue_b {
            self.decide(row, columns, self.inverse_blue_b2, b, &mut s, true);
        }
        s
    }

    /// Replaces sine and cosine where the release's limit of the arc cosine's argument is active.
    #[cold]
    fn limit_cosine(&self, row: &Row<T>, s: &mut Shape<T>) {
        let limit = T::narrow(1.0 - COSINE_MARGIN);
        let limited_sine = T::narrow(LIMITED_SINE2.sqrt());
        for j in 0..TILE {
            let rho2 = row.dx2 + s.dy[j] * s.dy[j];
            if row.dx2 < T::narrow(LIMITED_SINE2) * rho2 {
                let rho = rho2.sqrt();
                let along = if s.dy[j] > T::zero() { rho * limit } else { -(rho * limit) };
                let across = rho * limited_sine;
                s.sine[j] = across * self.cos - along * self.sin;
                s.cosine[j] = along * self.cos + across * self.sin;
                s.turns[j] = T::zero();
            }
        }
    }

    /// The inside test against semi-axes a and `b`, into `inside` or `inside_blue`.
    #[inline]
    fn decide(
        &self,
        row: &Row<T>,
        columns: ColumnTile<'_, T>,
        inverse_b2: T,
        b: f64,
        s: &mut Shape<T>,
        blue: bool,
    ) {
        let out = if blue { &mut s.inside_blue } else { &mut s.inside };
        let mut doubtful = T::zero();
        for j in 0..TILE {
            let along = row.dx * s.cosine[j] + s.dy[j] * s.sine[j];
            let across = row.dx * s.sine[j] - s.dy[j] * s.cosine[j];
            let test = (along * along * self.inverse_a2 + across * across * inverse_b2)
                * s.inverse_rho2[j];
            let excess = test - T::one();
            out[j] = if excess < T::zero() { T::one() } else { T::zero() };
            if excess.abs() < self.doubt {
                doubtful = T::one();
            }
        }
        if T::REDECIDES_IN_F64 && doubtful > T::zero() {
            for (j, inside) in out.iter_mut().enumerate() {
                let y = columns.exact_y(j);
                let truly = reference::inside_ellipse(&self.params, b, row.x, y);
                *inside = if truly { T::one() } else { T::zero() };
            }
        }
    }

    #[inline]
    pub(super) fn evaluate(
        &self,
        row: &Row<T>,
        columns: ColumnTile<'_, T>,
        profile: &mut Tile<T>,
        blue: &mut Tile<T>,
    ) {
        let s = self.shape(row, columns);
        for j in 0..TILE {
            profile[j] = s.inside[j] * (T::one() - s.nu[j]);
        }
        if self.blue_differs() {
            for j in 0..TILE {
                blue[j] = s.inside_blue[j] * (T::one() - s.nu[j]);
            }
        }
    }

    /// Sums, with E = -(cotangent) ν inside: derivative by dx, by dy; E; E sin² φ / Q²;
    /// E cos² φ / Q²; E sin φ cos φ / Q².
    #[inline]
    pub(super) fn pull_back(
        &self,
        row: &Row<T>,
        columns: ColumnTile<'_, T>,
        d_profile: &Tile<T>,
        d_blue: &Tile<T>,
        sums: &mut [f64; GEOMETRY_SUMS],
    ) {
        let s = self.shape(row, columns);
        let mut e = zero_tile();
        for j in 0..TILE {
            let d = d_profile[j] * s.inside[j] + d_blue[j] * s.inside_blue[j];
            e[j] = -(d * s.nu[j]);
        }
        let mut over_d2 = zero_tile();
        let mut sines = zero_tile();
        let mut cosines = zero_tile();
        let mut mixed = zero_tile();
        // E times d ln ν / d φ0 without the factor a² - b², over ρ²; zero where the limit acts.
        let mut turning = zero_tile();
        for j in 0..TILE {
            over_d2[j] = e[j] / s.d2[j];
            let over_q2 = e[j] / s.q2[j] * s.inverse_rho2[j];
            sines[j] = over_q2 * s.sine[j] * s.sine[j];
            cosines[j] = over_q2 * s.cosine[j] * s.cosine[j];
            mixed[j] = over_q2 * s.sine[j] * s.cosine[j];
            turning[j] = mixed[j] * s.turns[j] * s.inverse_rho2[j];
        }
        // φ0 = acos(dy/ρ): d φ0/d dx = dx dy / (ρ² X), d φ0/d dy = -X / ρ².
        let (dx, root) = (row.dx.wide(), row.root.wide());
        let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = self.params;
        let anisotropy = a * a - b * b;
        sums[0] += sum(&over_d2) * dx + anisotropy * dot(&turning, &s.dy) * dx / root;
        sums[1] += dot(&over_d2, &s.dy) - anisotropy * sum(&turning) * root;
        sums[2] += sum(&e);
        sums[3] += sum(&sines);
        sums[4] += sum(&cosines);
        sums[5] += sum(&mixed);
    }
}
