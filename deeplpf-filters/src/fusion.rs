//! How the filters meet: Y2 from the polynomial, the map S from the local filters, and
//! Y3 = Y2 S, Y = Y3 + Y1.
//!
//! Derivation of every gradient: `docs/src/math/fusion.md`.

use pulp::Simd;

use crate::real::clamp;
use crate::simd::Wide;
use crate::{Dialect, FusionRule, Real, StackConfig};

/// The fusion rule of a configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fusion {
    /// Whether any filter is on; without one only the image's limits act.
    pub(crate) filters: bool,
    /// Added to the sum of the maps, of which one that is off is zero: -1 where the maps add as
    /// departures from one.
    offset: f64,
    /// Whether the maps multiply; then both are on.
    multiplies: bool,
    /// Limits of Y2, Y3 and Y; infinite in the paper dialect.
    image: [f64; 2],
    /// Limits of each map and of S; infinite in the paper dialect.
    map: [f64; 2],
}

impl Fusion {
    pub(crate) fn new(config: &StackConfig) -> Self {
        let (graduated, elliptical) = (config.graduated > 0, config.elliptical > 0);
        let unlimited = [f64::NEG_INFINITY, f64::INFINITY];
        let (image, map) = match config.dialect {
            Dialect::Release => ([0.0, 1.0], [0.0, 2.0]),
            Dialect::Paper => (unlimited, unlimited),
        };
        let multiplies = graduated && elliptical && config.fusion == FusionRule::Product;
        let offset = if graduated && elliptical {
            if config.fixes.fusion { -1.0 } else { 0.0 }
        } else if graduated || elliptical {
            0.0
        } else {
            // Without local filters S = 1.
            1.0
        };
        Self { filters: config.has_filters(), offset, multiplies, image, map }
    }

    /// Y2 of one pixel from the polynomial's value.
    pub(crate) fn limit_polynomial<T: Real>(&self, unlimited: T) -> T {
        clamp(unlimited, T::narrow(self.image[0]), T::narrow(self.image[1]))
    }

    /// The rule in registers.
    #[inline(always)]
    pub(crate) fn kernel<T: Real, S: Simd>(&self, simd: S) -> Kernel<T, S> {
        let splat = |value| Wide::splat(simd, T::narrow(value));
        Kernel {
            offset: splat(self.offset),
            multiplies: self.multiplies,
            image: [splat(self.image[0]), splat(self.image[1])],
            map: [splat(self.map[0]), splat(self.map[1])],
            zero: splat(0.0),
        }
    }
}

/// The fusion rule in registers.
#[derive(Clone, Copy)]
pub(crate) struct Kernel<T: Real, S: Simd> {
    offset: Wide<T, S>,
    multiplies: bool,
    image: [Wide<T, S>; 2],
    map: [Wide<T, S>; 2],
    zero: Wide<T, S>,
}

/// One channel of a vector on its way in: Y1 and what the filters computed, none of it limited yet.
#[derive(Clone, Copy)]
pub(crate) struct Ingredients<T: Real, S: Simd> {
    pub(crate) y1: Wide<T, S>,
    /// The polynomial's result.
    pub(crate) polynomial: Wide<T, S>,
    /// Product of the graduated masks.
    pub(crate) graduated: Wide<T, S>,
    /// Product of the elliptical masks.
    pub(crate) elliptical: Wide<T, S>,
}

/// What the fusion makes of a vector; the unlimited values decide the gradient's gates.
struct Pixels<T: Real, S: Simd> {
    y2: Wide<T, S>,
    graduated: Wide<T, S>,
    elliptical: Wide<T, S>,
    joined: Wide<T, S>,
    s: Wide<T, S>,
    product: Wide<T, S>,
    total: Wide<T, S>,
}

impl<T: Real, S: Simd> Kernel<T, S> {
    /// The graduated map, the elliptical map, their sum or product, and S.
    #[inline(always)]
    pub(crate) fn maps(&self, graduated: Wide<T, S>, elliptical: Wide<T, S>) -> [Wide<T, S>; 4] {
        let [low, high] = self.map;
        let (graduated, elliptical) = (graduated.limit(low, high), elliptical.limit(low, high));
        let joined = if self.multiplies {
            graduated * elliptical
        } else {
            graduated + elliptical + self.offset
        };
        [graduated, elliptical, joined, joined.limit(low, high)]
    }

    /// Y2, or Y where there is no filter.
    #[inline(always)]
    pub(crate) fn limit(&self, unlimited: Wide<T, S>) -> Wide<T, S> {
        unlimited.limit(self.image[0], self.image[1])
    }

    /// The way back of [`Self::limit`].
    #[inline(always)]
    pub(crate) fn limit_pull_back(&self, value: Wide<T, S>, d: Wide<T, S>) -> Wide<T, S> {
        self.gate(value, self.image, d)
    }

    /// `d` where `low <= value <= high` (PyTorch's choice at the two kinks), else zero.
    #[inline(always)]
    fn gate(&self, value: Wide<T, S>, [low, high]: [Wide<T, S>; 2], d: Wide<T, S>) -> Wide<T, S> {
        value.equal(value.limit(low, high)).select(d, self.zero)
    }

    #[inline(always)]
    fn pixels(&self, i: Ingredients<T, S>) -> Pixels<T, S> {
        let y2 = self.limit(i.polynomial);
        let [graduated, elliptical, joined, s] = self.maps(i.graduated, i.elliptical);
        let product = y2 * s;
        let total = self.limit(product) + i.y1;
        Pixels { y2, graduated, elliptical, joined, s, product, total }
    }

    /// Y.
    #[inline(always)]
    pub(crate) fn fuse(&self, i: Ingredients<T, S>) -> Wide<T, S> {
        self.limit(self.pixels(i).total)
    }

    /// The way back of [`Self::fuse`] from the cotangent `d` of Y: to Y1 (the part that does not
    /// pass through the polynomial), the polynomial, the graduated and the elliptical product.
    #[inline(always)]
    pub(crate) fn fuse_pull_back(&self, i: Ingredients<T, S>, d: Wide<T, S>) -> [Wide<T, S>; 4] {
        let p = self.pixels(i);
        let d_total = self.gate(p.total, self.image, d);
        let d_product = self.gate(p.product, self.image, d_total);
        let d_joined = self.gate(p.joined, self.map, d_product * p.y2);
        let (d_graduated, d_elliptical) = if self.multiplies {
            (d_joined * p.elliptical, d_joined * p.graduated)
        } else {
            (d_joined, d_joined)
        };
        [
            d_total,
            self.gate(i.polynomial, self.image, d_product * p.s),
            self.gate(i.graduated, self.map, d_graduated),
            self.gate(i.elliptical, self.map, d_elliptical),
        ]
    }
}
