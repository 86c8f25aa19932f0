//! The elliptical filter: a scale that fades from an ellipse's centre to its edge.
//!
//! Derivation of every gradient: `docs/src/math/elliptical.md`.

mod paper;
mod release;

pub(crate) use paper::PaperProfile;
pub(crate) use release::{COSINE_MARGIN, DISTANCE_EPSILON, ReleaseProfile};

use std::f64::consts::PI;
use std::ops::Range;

use pulp::Simd;

use crate::mask::{GEOMETRY_SUMS, InstanceSums, Profile, Ramp, Visitor};
use crate::squash::{EPSILON, squash, squash_slope};
use crate::{Dialect, Real, StackConfig};

/// Parameters of one elliptical filter instance.
///
/// The image is the unit square with **x = row / height downwards** and **y = column / width to
/// the right** (the reverse of the usual naming; no half-pixel offset), so an ellipse with equal
/// semi-axes is a circle on a square image only.
///
/// Order of the raw numbers of n instances: n center_x, n center_y, n semi_axis_a, n semi_axis_b,
/// n angles, then three scales (red, green, blue) instance by instance.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct EllipticalParams<T> {
    /// Row of the centre, in heights from the top; (0, 1) from the network.
    pub center_x: T,
    /// Column of the centre, in widths from the left; (0, 1) from the network.
    pub center_y: T,
    /// Semi-axis a, which lies along x (down) at angle zero; positive.
    pub semi_axis_a: T,
    /// Semi-axis b, which lies along y (to the right) at angle zero; positive.
    pub semi_axis_b: T,
    /// Rotation in radians, (0, π) from the network. In the paper dialect it turns the axis of a
    /// from +x (down) towards +y (right): seen on the screen, counter-clockwise. In the release
    /// the polar angle is measured from +y and loses the sign of dx, so that the two halves above
    /// and below the centre are mirror images; see `docs/src/math/elliptical.md`.
    pub angle: T,
    /// Scale of red, green and blue at the centre, in [0, 2] from the network; without unit. 1
    /// leaves a channel unchanged in the release dialect.
    pub scale: [T; 3],
}

impl<T: Copy> EllipticalParams<T> {
    /// Every number changed by `f`.
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> EllipticalParams<U> {
        EllipticalParams {
            center_x: f(self.center_x),
            center_y: f(self.center_y),
            semi_axis_a: f(self.semi_axis_a),
            semi_axis_b: f(self.semi_axis_b),
            angle: f(self.angle),
            scale: self.scale.map(f),
        }
    }
}

/// What the release adds to a squashed number and the paper dialect does not: centres, angles and
/// scales. The semi-axes get it in both.
fn release_epsilon(dialect: Dialect) -> f64 {
    match dialect {
        Dialect::Release => EPSILON,
        Dialect::Paper => 0.0,
    }
}

/// Raw numbers of the whole block to the parameters of instance `k`.
pub(crate) fn constrain(dialect: Dialect, raw: &[f64], k: usize) -> EllipticalParams<f64> {
    let n = raw.len() / crate::LOCAL_RAW_LEN;
    let e = release_epsilon(dialect);
    EllipticalParams {
        center_x: squash(raw[k]) + e,
        center_y: squash(raw[n + k]) + e,
        semi_axis_a: squash(raw[2 * n + k]) + EPSILON,
        semi_axis_b: squash(raw[3 * n + k]) + EPSILON,
        angle: PI * squash(raw[4 * n + k]) + e,
        scale: std::array::from_fn(|ch| 2.0 * squash(raw[5 * n + 3 * k + ch]) + e),
    }
}

/// Chain rule of [`constrain`]: adds the raw gradient of instance `k` to `out`.
pub(crate) fn constrain_pull_back(
    raw: &[f64],
    k: usize,
    d: &EllipticalParams<f64>,
    out: &mut [f64],
) {
    let n = raw.len() / crate::LOCAL_RAW_LEN;
    let mut add = |index: usize, value: f64| out[index] += value * squash_slope(raw[index]);
    add(k, d.center_x);
    add(n + k, d.center_y);
    add(2 * n + k, d.semi_axis_a);
    add(3 * n + k, d.semi_axis_b);
    add(4 * n + k, PI * d.angle);
    for ch in 0..3 {
        add(5 * n + 3 * k + ch, 2.0 * d.scale[ch]);
    }
}

/// The profile of either dialect.
pub(crate) enum EllipticalProfile {
    Release(ReleaseProfile),
    Paper(PaperProfile),
}

/// Row constants of either dialect.
pub(crate) struct EllipticalRow {
    x: f64,
    /// x less the centre's.
    dx: f64,
    /// Columns beyond which the profile is zero.
    span: Range<usize>,
    /// Used in the release dialect.
    release: release::Constants,
}

/// The parts of instance `k` of `all`: its profile and the ramp of each channel.
pub(crate) fn prepare(
    config: &StackConfig,
    all: &[EllipticalParams<f64>],
    k: usize,
) -> (EllipticalProfile, [Ramp; 3]) {
    let params = &all[k];
    match config.dialect {
        Dialect::Release => {
            // The release's quirk: the blue channel of instance 1 tests the b of instance 2.
            let blue_b = (k == 1 && !config.fixes.ellipse)
                .then(|| all.get(2).map(|other| other.semi_axis_b))
                .flatten();
            (
                EllipticalProfile::Release(ReleaseProfile::new(params, blue_b)),
                params.scale.map(release::ramp),
            )
        }
        Dialect::Paper => {
            (EllipticalProfile::Paper(PaperProfile::new(params)), params.scale.map(paper::ramp))
        }
    }
}

/// The gradient of one instance's named parameters from its sums over the pixels.
pub(crate) fn finish(
    config: &StackConfig,
    params: &EllipticalParams<f64>,
    sums: &InstanceSums,
) -> EllipticalParams<f64> {
    match config.dialect {
        Dialect::Release => release::finish(params, sums),
        Dialect::Paper => paper::finish(params, sums),
    }
}

/// The columns whose y lies within `[first, last]`, and one more at either side.
fn columns_between(first: f64, last: f64, width: usize) -> Range<usize> {
    // A cast of a negative number or of NaN gives zero.
    let column = |y: f64| (y * width as f64).floor() as usize;
    let begin = column(first).saturating_sub(1).min(width);
    begin..column(last).saturating_add(2).clamp(begin, width)
}

impl<T: Real> Profile<T> for EllipticalProfile {
    type Row = EllipticalRow;

    fn row(&self, x: f64, width: usize) -> EllipticalRow {
        let (center, reach) = match self {
            Self::Release(profile) => (profile.center(), profile.reach(x)),
            Self::Paper(profile) => (profile.center(), profile.reach()),
        };
        let dx = x - center[0];
        // Roundings of the distances move the edge by far less than a thousandth.
        let half = (1.001 * reach * reach - dx * dx).max(0.0).sqrt();
        let span = if half > 0.0 {
            columns_between(center[1] - half, center[1] + half, width)
        } else {
            0..0
        };
        let release = match self {
            Self::Release(profile) => profile.constants(dx),
            Self::Paper(_) => release::Constants::default(),
        };
        EllipticalRow { x, dx, span, release }
    }

    fn span(&self, row: &EllipticalRow) -> Range<usize> {
        row.span.clone()
    }

    #[inline(always)]
    fn visit<S: Simd, V: Visitor<T, S>>(&self, simd: S, row: &EllipticalRow, visitor: V) {
        match self {
            Self::Release(profile) => profile.visit(simd, row, visitor),
            Self::Paper(profile) => visitor.visit(simd, profile.kernel(simd, row.dx)),
        }
    }

    fn geometry(&self, row: &EllipticalRow, sums: [f64; GEOMETRY_SUMS]) -> [f64; GEOMETRY_SUMS] {
        match self {
            Self::Release(profile) => profile.geometry(row.dx, sums),
            Self::Paper(_) => sums,
        }
    }
}
