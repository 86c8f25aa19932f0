//! The paper's graduated filter (its equations 1 to 3, with the inversion as the text describes
//! it). Its profile is the rising ramp r = clamp((1 + l/d)/2, 0, 1) with l = y - (m x + c) and
//! d = d2 where l >= 0, else d1.

use super::GraduatedParams;
use crate::Real;
use crate::mask::{GEOMETRY_SUMS, InstanceSums, Ramp};
use crate::real::clamp;
use crate::tile::{ColumnTile, TILE, Tile, sum, zero_tile};

/// The ramp of a channel. The falling map is scale · (1 - r), so the blend of both is
/// scale · ((1 - weight) + (2 weight - 1) r).
pub(super) fn ramp(weight: f64, scale: f64) -> Ramp {
    Ramp {
        base: scale * (1.0 - weight),
        gain: scale * (2.0 * weight - 1.0),
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
        tie_share: 1.0,
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
pub(crate) struct PaperProfile<T> {
    slope: f64,
    offset: f64,
    /// 1 / (2 d1), for l < 0.
    steepness1: T,
    /// 1 / (2 d2), for l >= 0.
    steepness2: T,
}

/// Constants of a row.
pub(crate) struct Row<T> {
    x: f64,
    /// y of the central line on this row.
    line: T,
}

impl<T: Real> PaperProfile<T> {
    pub(crate) fn new(params: &GraduatedParams<f64>) -> Self {
        let cos = 1.0 / 1.0_f64.hypot(params.slope);
        // Held to the largest finite number, so that l = 0 gives zero and not NaN.
        let narrow = |o: f64| T::narrow(steepness(o, cos)).min(T::max_value());
        Self {
            slope: params.slope,
            offset: params.offset,
            steepness1: narrow(params.o1),
            steepness2: narrow(params.o2),
        }
    }

    pub(super) fn row(&self, x: f64) -> Row<T> {
        Row { x, line: T::narrow(self.slope * x + self.offset) }
    }

    /// l and the ramp before its limits.
    #[inline(always)]
    fn unlimited(&self, y: T, line: T) -> (T, T) {
        let l = y - line;
        let steepness = if l >= T::zero() { self.steepness2 } else { self.steepness1 };
        (l, T::narrow(0.5) + l * steepness)
    }

    #[inline]
    pub(super) fn evaluate(&self, row: &Row<T>, columns: ColumnTile<'_, T>, profile: &mut Tile<T>) {
        for j in 0..TILE {
            let (_, ramp) = self.unlimited(columns.y[j], row.line);
            profile[j] = clamp(ramp, T::zero(), T::one());
        }
    }

    /// Sums: derivative by the line's y, the same weighted with x, derivative by each steepness.
    #[inline]
    pub(super) fn pull_back(
        &self,
        row: &Row<T>,
        columns: ColumnTile<'_, T>,
        d_profile: &Tile<T>,
        sums: &mut [f64; GEOMETRY_SUMS],
    ) {
        let (zero, one, half) = (T::zero(), T::one(), T::narrow(0.5));
        let mut d_line = zero_tile();
        let mut d_steep1 = zero_tile();
        let mut d_steep2 = zero_tile();
        for j in 0..TILE {
            let (l, ramp) = self.unlimited(columns.y[j], row.line);
            // min and max against a constant: half the gradient at the tie, as PyTorch's.
            let inside = if ramp > zero && ramp < one { one } else { zero };
            let tie = if ramp == zero || ramp == one { half } else { zero };
            let d_ramp = d_profile[j] * (inside + tie);
            let rising = l >= zero;
            d_line[j] = -(d_ramp * if rising { self.steepness2 } else { self.steepness1 });
            let d_steep = d_ramp * l;
            d_steep1[j] = if rising { zero } else { d_steep };
            d_steep2[j] = if rising { d_steep } else { zero };
        }
        let d_line = sum(&d_line);
        sums[0] += d_line;
        sums[1] += d_line * row.x;
        sums[2] += sum(&d_steep1);
        sums[3] += sum(&d_steep2);
    }
}
