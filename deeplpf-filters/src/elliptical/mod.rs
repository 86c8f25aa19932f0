//! The elliptical filter: a scale that fades from an ellipse's centre to its edge.
//!
//! Derivation of every gradient: `docs/src/math/elliptical.md`.

mod paper;
mod release;

pub(crate) use paper::PaperProfile;
pub(crate) use release::{COSINE_MARGIN, DISTANCE_EPSILON, ReleaseProfile};

use std::f64::consts::PI;

use crate::mask::{GEOMETRY_SUMS, InstanceSums, Profile, Ramp};
use crate::squash::{EPSILON, squash, squash_slope};
use crate::tile::{ColumnTile, Tile};
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
pub(crate) enum EllipticalProfile<T> {
    Release(ReleaseProfile<T>),
    Paper(PaperProfile<T>),
}

/// Row constants of either dialect.
pub(crate) enum EllipticalRow<T> {
    Release(release::Row<T>),
    Paper(paper::Row<T>),
}

/// The parts of instance `k` of `all`: its profile and the ramp of each channel.
pub(crate) fn prepare<T: Real>(
    config: &StackConfig,
    all: &[EllipticalParams<f64>],
    k: usize,
) -> (EllipticalProfile<T>, [Ramp; 3]) {
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

impl<T: Real> Profile<T> for EllipticalProfile<T> {
    type Row = EllipticalRow<T>;

    fn row(&self, x: f64) -> Self::Row {
        match self {
            Self::Release(profile) => EllipticalRow::Release(profile.row(x)),
            Self::Paper(profile) => EllipticalRow::Paper(profile.row(x)),
        }
    }

    fn blue_differs(&self) -> bool {
        matches!(self, Self::Release(profile) if profile.blue_differs())
    }

    fn evaluate(
        &self,
        row: &Self::Row,
        columns: ColumnTile<'_, T>,
        profile: &mut Tile<T>,
        blue: &mut Tile<T>,
    ) {
        match (self, row) {
            (Self::Release(p), EllipticalRow::Release(row)) => {
                p.evaluate(row, columns, profile, blue);
            }
            (Self::Paper(p), EllipticalRow::Paper(row)) => p.evaluate(row, columns, profile),
            _ => unreachable!("a row is made by its own profile"),
        }
    }

    fn pull_back(
        &self,
        row: &Self::Row,
        columns: ColumnTile<'_, T>,
        d_profile: &Tile<T>,
        d_blue: &Tile<T>,
        sums: &mut [f64; GEOMETRY_SUMS],
    ) {
        match (self, row) {
            (Self::Release(p), EllipticalRow::Release(row)) => {
                p.pull_back(row, columns, d_profile, d_blue, sums);
            }
            (Self::Paper(p), EllipticalRow::Paper(row)) => {
                p.pull_back(row, columns, d_profile, sums);
            }
            _ => unreachable!("a row is made by its own profile"),
        }
    }
}
