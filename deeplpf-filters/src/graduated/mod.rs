//! The graduated filter: a scale that changes across a straight line, as behind a graduated
//! neutral-density glass.
//!
//! Derivation of every gradient: `docs/src/math/graduated.md`.

mod paper;
mod release;

pub(crate) use paper::PaperProfile;
pub(crate) use release::ReleaseProfile;

use std::ops::Range;

use pulp::Simd;

use crate::mask::{GEOMETRY_SUMS, InstanceSums, Profile, Ramp, Visitor};
use crate::real::{clamp, clamp_gate};
use crate::squash::{EPSILON, sign, squash, squash_slope, straight_through};
use crate::{Dialect, Real, StackConfig};

/// Parameters of one graduated filter instance.
///
/// The image is the unit square with **x = row / height downwards** and **y = column / width to
/// the right** (the reverse of the usual naming; no half-pixel offset). The filter's central line
/// is y = slope · x + offset: a slope of 0 is a vertical edge at column `offset · width`, and a
/// positive slope leans the line's lower end to the right.
///
/// Order of the raw numbers of n instances: n inversions, n slopes, n o1, n offsets, n o2, then
/// three scales (red, green, blue) instance by instance.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct GraduatedParams<T> {
    /// Only its sign matters: positive is inverted in the release dialect and rises towards
    /// larger y in the paper's; zero counts as not inverted in the release, and as an even blend
    /// of both under the `blend` fix and in the paper dialect. Raw number: the same.
    pub inversion: T,
    /// Slope m of the line, in y per x (widths per height). Raw number: the same.
    pub slope: T,
    /// Offset c of the line: its y at the image's top edge, in widths. From the network it lies in
    /// (0, 1).
    pub offset: T,
    /// Paper: distance along y, in widths, from the central line to the end of the ramp on the
    /// side of smaller y; positive. Release: the lower bound the raw offset was held to, without
    /// effect of its own.
    pub o1: T,
    /// Paper: distance along y, in widths, from the central line to the end of the ramp on the
    /// side of larger y; positive. Release: the second offset, at most `offset` when it comes from
    /// the network.
    pub o2: T,
    /// Scale of red, green and blue where the filter acts fully, in [0, 2] from the network;
    /// without unit. 1 leaves a channel unchanged in the release dialect.
    pub scale: [T; 3],
}

impl<T: Copy> GraduatedParams<T> {
    /// Every number changed by `f`.
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> GraduatedParams<U> {
        GraduatedParams {
            inversion: f(self.inversion),
            slope: f(self.slope),
            offset: f(self.offset),
            o1: f(self.o1),
            o2: f(self.o2),
            scale: self.scale.map(f),
        }
    }
}

/// Index of raw number `field` (0 inversion, 1 slope, 2 o1, 3 offset, 4 o2) of instance `k` of `n`.
fn geometry_index(field: usize, k: usize, n: usize) -> usize {
    field * n + k
}

/// Index of the raw scale of channel `ch`.
fn scale_index(k: usize, n: usize, ch: usize) -> usize {
    5 * n + 3 * k + ch
}

/// The raw numbers of one instance, in the order of [`geometry_index`], then its scales.
fn gather(raw: &[f64], k: usize) -> ([f64; 5], [f64; 3]) {
    let n = raw.len() / crate::LOCAL_RAW_LEN;
    (
        std::array::from_fn(|field| raw[geometry_index(field, k, n)]),
        std::array::from_fn(|ch| raw[scale_index(k, n, ch)]),
    )
}

/// Raw numbers of the whole block to the parameters of instance `k`.
pub(crate) fn constrain(dialect: Dialect, raw: &[f64], k: usize) -> GraduatedParams<f64> {
    let ([inversion, slope, o1, offset, o2], scale) = gather(raw, k);
    let o1 = squash(o1) + EPSILON;
    let scale = scale.map(|u| 2.0 * squash(u));
    match dialect {
        Dialect::Release => {
            let offset = clamp(squash(offset), o1, 1.0);
            let o2 = clamp(squash(o2), 0.0, offset);
            GraduatedParams { inversion, slope, offset, o1, o2, scale }
        }
        Dialect::Paper => {
            let (offset, o2) = (squash(offset), squash(o2) + EPSILON);
            GraduatedParams { inversion, slope, offset, o1, o2, scale }
        }
    }
}

/// Chain rule of [`constrain`]: adds the raw gradient of instance `k` to `out`.
pub(crate) fn constrain_pull_back(
    dialect: Dialect,
    raw: &[f64],
    k: usize,
    d: &GraduatedParams<f64>,
    out: &mut [f64],
) {
    let n = raw.len() / crate::LOCAL_RAW_LEN;
    let ([_, _, o1, offset, o2], scale) = gather(raw, k);
    let geometry = match dialect {
        Dialect::Release => {
            // The bounds are held constant, so o1 gets nothing and o2 does not move the offset.
            let high = constrain(dialect, raw, k).offset;
            let offset_gate = clamp_gate(squash(offset), squash(o1) + EPSILON, 1.0);
            let o2_gate = clamp_gate(squash(o2), 0.0, high);
            [
                d.inversion,
                d.slope,
                0.0,
                d.offset * offset_gate * squash_slope(offset),
                d.o2 * o2_gate * squash_slope(o2),
            ]
        }
        Dialect::Paper => [
            d.inversion,
            d.slope,
            d.o1 * squash_slope(o1),
            d.offset * squash_slope(offset),
            d.o2 * squash_slope(o2),
        ],
    };
    for (field, value) in geometry.into_iter().enumerate() {
        out[geometry_index(field, k, n)] += value;
    }
    for ch in 0..3 {
        out[scale_index(k, n, ch)] += d.scale[ch] * 2.0 * squash_slope(scale[ch]);
    }
}

/// g^ = (sign + 1) / 2 as a weight of the inverted (release) or rising (paper) map.
fn inversion_weight(config: &StackConfig, inversion: f64) -> f64 {
    let weight = (sign(inversion) + 1.0) / 2.0;
    let chooses = config.dialect == Dialect::Release && !config.fixes.blend;
    if chooses && weight != 1.0 { 0.0 } else { weight }
}

/// d g^ / d inversion: straight-through where it is switched on, else the sign's zero.
fn inversion_weight_slope(config: &StackConfig, inversion: f64) -> f64 {
    let fixes = config.fixes;
    let passes = config.dialect == Dialect::Paper || (fixes.ste && fixes.blend);
    if passes { straight_through(inversion) / 2.0 } else { 0.0 }
}

/// The profile of either dialect.
pub(crate) enum GraduatedProfile {
    Release(ReleaseProfile),
    Paper(PaperProfile),
}

/// Row constants of either dialect.
pub(crate) struct GraduatedRow {
    x: f64,
    width: usize,
    /// Release: exp(2 z). Paper: y of the central line.
    place: f64,
}

/// The parts of one instance: its profile and the ramp of each channel.
pub(crate) fn prepare(
    config: &StackConfig,
    params: &GraduatedParams<f64>,
) -> (GraduatedProfile, [Ramp; 3]) {
    let weight = inversion_weight(config, params.inversion);
    match config.dialect {
        Dialect::Release => (
            GraduatedProfile::Release(ReleaseProfile::new(params)),
            params.scale.map(|scale| release::ramp(params, weight, scale)),
        ),
        Dialect::Paper => (
            GraduatedProfile::Paper(PaperProfile::new(params)),
            params.scale.map(|scale| paper::ramp(weight, scale)),
        ),
    }
}

/// The gradient of one instance's named parameters from its sums over the pixels.
pub(crate) fn finish(
    config: &StackConfig,
    params: &GraduatedParams<f64>,
    sums: &InstanceSums,
) -> GraduatedParams<f64> {
    let weight = inversion_weight(config, params.inversion);
    let (mut gradient, d_weight) = match config.dialect {
        Dialect::Release => release::finish(params, weight, sums),
        Dialect::Paper => paper::finish(params, weight, sums),
    };
    gradient.inversion = d_weight * inversion_weight_slope(config, params.inversion);
    gradient
}

impl<T: Real> Profile<T> for GraduatedProfile {
    type Row = GraduatedRow;

    fn row(&self, x: f64, width: usize) -> GraduatedRow {
        let place = match self {
            Self::Release(profile) => profile.growth(x),
            Self::Paper(profile) => profile.line(x),
        };
        GraduatedRow { x, width, place }
    }

    fn span(&self, row: &GraduatedRow) -> Range<usize> {
        0..row.width
    }

    #[inline(always)]
    fn visit<S: Simd, V: Visitor<T, S>>(&self, simd: S, row: &GraduatedRow, visitor: V) {
        match self {
            Self::Release(_) => visitor.visit(simd, release::Kernel::new(simd, row.place)),
            Self::Paper(profile) => visitor.visit(simd, profile.kernel(simd, row.place)),
        }
    }

    fn geometry(&self, row: &GraduatedRow, sums: [f64; GEOMETRY_SUMS]) -> [f64; GEOMETRY_SUMS] {
        match self {
            Self::Release(_) => release::geometry(row.x, sums),
            Self::Paper(_) => paper::geometry(row.x, sums),
        }
    }
}
