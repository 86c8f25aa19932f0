//! The release's graduated filter. Its profile is u = t(y - z) with z = m x + c + d1.

use super::GraduatedParams;
use pulp::Simd;

use crate::Real;
use crate::mask::{self, GEOMETRY_SUMS, InstanceSums, Own, Ramp};
use crate::simd::Wide;
use crate::squash::{squash, squash_slope};
use crate::tile::Point;

/// The two squashed perpendicular distances d1 = t(c cos α), d2 = t(o2 cos α) with α = atan m, and
/// cos α = 1 / sqrt(1 + m²).
struct Distances {
    cos: f64,
    d1: f64,
    d2: f64,
}

impl Distances {
    fn new(params: &GraduatedParams<f64>) -> Self {
        let cos = 1.0 / 1.0_f64.hypot(params.slope);
        Self { cos, d1: squash(params.offset * cos), d2: squash(params.o2 * cos) }
    }
}

/// Gain of the inverted map, whose base is `scale`: (q - s)/d1 + (1 - q)/d2 with q = (1 + s)/2.
fn inverted_gain(scale: f64, d: &Distances) -> f64 {
    (1.0 - scale) / 2.0 * (1.0 / d.d1 + 1.0 / d.d2)
}

/// Gain of the ordinary map, whose base is 1. The release's two branches differ in the sign of the
/// first term: (q - 1)/d1 + (s - q)/d2 where s < 1, else (q - s)/d1 + (s - q)/d2.
fn ordinary_gain(scale: f64, d: &Distances) -> f64 {
    let first = if scale < 1.0 { 1.0 / d.d1 } else { -1.0 / d.d1 };
    (scale - 1.0) / 2.0 * (first + 1.0 / d.d2)
}

/// The ramp of a channel: `weight` of the inverted map and the rest of the ordinary one.
pub(super) fn ramp(params: &GraduatedParams<f64>, weight: f64, scale: f64) -> Ramp {
    let d = Distances::new(params);
    let (low, high) = if scale >= 1.0 { (1.0, 2.0) } else { (0.0, 1.0) };
    Ramp {
        base: weight * scale + (1.0 - weight),
        gain: weight * inverted_gain(scale, &d) + (1.0 - weight) * ordinary_gain(scale, &d),
        low,
        high,
    }
}

/// Gradient of the parameters, and of the inversion's weight.
pub(super) fn finish(
    params: &GraduatedParams<f64>,
    weight: f64,
    sums: &InstanceSums,
) -> (GraduatedParams<f64>, f64) {
    let d = Distances::new(params);
    let (r1, r2) = (1.0 / d.d1, 1.0 / d.d2);
    let ordinary = 1.0 - weight;
    let mut scale = [0.0; 3];
    let (mut d_r1, mut d_r2, mut d_weight) = (0.0, 0.0, 0.0);
    for ch in 0..3 {
        let (s, base, gain) = (params.scale[ch], sums.base[ch], sums.gain[ch]);
        let half = (1.0 - s) / 2.0;
        let first = if s < 1.0 { 1.0 } else { -1.0 };
        scale[ch] =
            weight * base + gain * (ordinary * (first * r1 + r2) / 2.0 - weight * (r1 + r2) / 2.0);
        d_r1 += gain * half * (weight - ordinary * first);
        d_r2 += gain * half * (weight - ordinary);
        d_weight += base * (s - 1.0) + gain * (inverted_gain(s, &d) - ordinary_gain(s, &d));
    }
    let [d_z, d_z_x, ..] = sums.geometry;
    let d_d1 = d_z - d_r1 * r1 * r1;
    let d_d2 = -d_r2 * r2 * r2;
    let slope1 = squash_slope(params.offset * d.cos);
    let slope2 = squash_slope(params.o2 * d.cos);
    let d_cos = d_d1 * slope1 * params.offset + d_d2 * slope2 * params.o2;
    let gradient = GraduatedParams {
        inversion: 0.0,
        // d cos α / d m = -m cos³ α
        slope: d_z_x - d_cos * params.slope * d.cos.powi(3),
        offset: d_z + d_d1 * slope1 * d.cos,
        o1: 0.0,
        o2: d_d2 * slope2 * d.cos,
        scale,
    };
    (gradient, d_weight)
}

/// Everything of the profile that does not depend on the pixel.
pub(crate) struct ReleaseProfile {
    slope: f64,
    /// c + d1
    shift: f64,
}

/// The largest exp(2 z) that is used. Beyond it u is below 1e-30, which no mask shows; with it
/// every number stays finite in `f32`.
const LARGEST_GROWTH: f64 = 1e30;

impl ReleaseProfile {
    pub(super) fn new(params: &GraduatedParams<f64>) -> Self {
        Self { slope: params.slope, shift: params.offset + Distances::new(params).d1 }
    }

    /// exp(2 z) on the row at `x`.
    pub(super) fn growth(&self, x: f64) -> f64 {
        (2.0 * (self.slope * x + self.shift)).exp().min(LARGEST_GROWTH)
    }
}

/// u = t(y - z) = 1 / (1 + exp(-2 y) exp(2 z)). Because y runs in the exponent, that is a factor of
/// the column times a factor of the row, and no pixel needs an exponential. In `f32` u errs by less
/// than 3e-7: each factor is rounded once, and so is all that is done with them.
pub(super) struct Kernel<T: Real, S: Simd> {
    growth: Wide<T, S>,
    one: Wide<T, S>,
}

impl<T: Real, S: Simd> Kernel<T, S> {
    #[inline(always)]
    pub(super) fn new(simd: S, growth: f64) -> Self {
        let splat = |value| Wide::splat(simd, T::narrow(value));
        Self { growth: splat(growth), one: splat(1.0) }
    }
}

impl<T: Real, S: Simd> mask::Kernel<T, S> for Kernel<T, S> {
    const LIMITED: bool = true;
    // The release limits this mask with max and min. The tie is not rare: where o2 is held at the
    // offset, d1 = d2, and an ordinary mask with scale >= 1 is exactly one everywhere.
    const HALF_AT_TIES: bool = true;
    const BASES: bool = true;

    #[inline(always)]
    fn profile(&self, at: Point<T, S>) -> Option<Own<T, S>> {
        let u = at.decay.mul_add(self.growth, self.one).reciprocal();
        Some(Own { profile: [u; 2], kept: [u; 2] })
    }

    #[inline(always)]
    fn again(&self, kept: Wide<T, S>) -> Wide<T, S> {
        kept
    }

    #[inline(always)]
    fn kept_of_none(&self) -> Wide<T, S> {
        self.one
    }

    #[inline(always)]
    fn is_none(&self, _: Wide<T, S>) -> bool {
        false
    }

    /// d u (1 - u), which is -1/2 of the derivative by z.
    #[inline(always)]
    fn pull_back(
        &self,
        _: Point<T, S>,
        [u, _]: [Wide<T, S>; 2],
        [d, _]: [Wide<T, S>; 2],
        sums: &mut [Wide<T, S>; GEOMETRY_SUMS],
    ) {
        sums[0] = (d * u).mul_add(self.one - u, sums[0]);
    }
}

/// Derivative by z, and the same weighted with x.
pub(super) fn geometry(x: f64, sums: [f64; GEOMETRY_SUMS]) -> [f64; GEOMETRY_SUMS] {
    let d_z = -2.0 * sums[0];
    let mut geometry = [0.0; GEOMETRY_SUMS];
    geometry[..2].copy_from_slice(&[d_z, d_z * x]);
    geometry
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::mask::Kernel as _;
    use crate::simd::{Instructions, Lanes};
    use crate::tile::Columns;

    /// Largest error of u along a row of a width, for a z.
    struct Worst<'a>(&'a Columns<f32>, f64);

    impl WithSimd for Worst<'_> {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let Self(columns, z) = self;
            let kernel = Kernel::<f32, S>::new(simd, (2.0 * z).exp().min(LARGEST_GROWTH));
            let mut worst = 0.0_f64;
            for tile in columns.tiles() {
                for j in 0..tile.vector_count::<S>() {
                    let own = kernel.profile(tile.point(simd, j)).expect("everywhere");
                    let mut lanes = [0.0_f32; 16];
                    f32::vectors_mut::<S>(&mut lanes)[0] = own.profile[0].lanes();
                    for (l, found) in lanes[..f32::lanes::<S>()].iter().enumerate() {
                        let column = tile.start + j * f32::lanes::<S>() + l;
                        if column == columns.width() {
                            break;
                        }
                        let y = column as f64 / columns.width() as f64;
                        worst = worst.max((f64::from(*found) - squash(y - z)).abs());
                    }
                }
            }
            worst
        }
    }

    #[test]
    fn the_profile_is_within_its_bound() {
        for set in Instructions::available() {
            let token = set.require().expect("available");
            for width in [1, 16, 500, 6000] {
                let columns = Columns::new(width);
                for n in -400..400 {
                    let z = f64::from(n) / 20.0;
                    let worst = token.dispatch(Worst(&columns, z));
                    assert!(worst < 3e-7, "{set}, width {width}, z {z}: {worst:e}");
                }
                assert!(token.dispatch(Worst(&columns, 1e3)) < 1e-29);
            }
        }
    }
}
