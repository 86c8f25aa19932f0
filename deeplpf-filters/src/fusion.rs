//! How the filters meet: Y2 from the polynomial, the map S from the local filters, and
//! Y3 = Y2 S, Y = Y3 + Y1.
//!
//! Derivation of every gradient: `docs/src/math/fusion.md`.

use crate::real::{clamp, clamp_gate};
use crate::tile::{TILE, Tile};
use crate::{Dialect, Real, StackConfig};

/// The fusion rule of a configuration.
pub(crate) struct Fusion<T> {
    /// Whether any filter is on; without one only the image's limits act.
    filters: bool,
    graduated: bool,
    elliptical: bool,
    /// Added to the sum of the maps: -1 where the maps add as departures from one.
    offset: T,
    /// Limits of Y2, Y3 and Y; infinite in the paper dialect.
    image: [T; 2],
    /// Limits of each map and of S; infinite in the paper dialect.
    map: [T; 2],
}

/// What the fusion makes of one pixel; the unlimited values decide the gradient's gates.
struct Pixel<T> {
    y2: T,
    sum: T,
    s: T,
    product: T,
    total: T,
    out: T,
}

/// One channel of a tile on its way in: Y1 and what the filters computed, none of it limited yet.
#[derive(Clone, Copy)]
pub(crate) struct Ingredients<'a, T> {
    pub(crate) y1: &'a Tile<T>,
    /// The polynomial's result.
    pub(crate) polynomial: &'a Tile<T>,
    /// Product of the graduated masks.
    pub(crate) graduated: &'a Tile<T>,
    /// Product of the elliptical masks.
    pub(crate) elliptical: &'a Tile<T>,
}

/// One channel of a tile on its way back.
pub(crate) struct Cotangents<'a, T> {
    /// The part of Y1 that does not pass through the polynomial.
    pub(crate) y1: &'a mut Tile<T>,
    pub(crate) polynomial: &'a mut Tile<T>,
    pub(crate) graduated: &'a mut Tile<T>,
    pub(crate) elliptical: &'a mut Tile<T>,
}

impl<T: Real> Fusion<T> {
    pub(crate) fn new(config: &StackConfig) -> Self {
        let (graduated, elliptical) = (config.graduated > 0, config.elliptical > 0);
        let unlimited = [T::neg_infinity(), T::infinity()];
        let two = T::narrow(2.0);
        let (image, map) = match config.dialect {
            Dialect::Release => ([T::zero(), T::one()], [T::zero(), two]),
            Dialect::Paper => (unlimited, unlimited),
        };
        let offset = if graduated && elliptical {
            if config.fixes.fusion { -T::one() } else { T::zero() }
        } else if graduated || elliptical {
            T::zero()
        } else {
            // Without local filters S = 1.
            T::one()
        };
        Self { filters: config.has_filters(), graduated, elliptical, offset, image, map }
    }

    #[inline(always)]
    fn map(&self, product: T) -> T {
        clamp(product, self.map[0], self.map[1])
    }

    /// S from the two products.
    #[inline(always)]
    fn scale(&self, graduated: T, elliptical: T) -> (T, T, T, T) {
        let graduated = if self.graduated { self.map(graduated) } else { T::zero() };
        let elliptical = if self.elliptical { self.map(elliptical) } else { T::zero() };
        let sum = graduated + elliptical + self.offset;
        (graduated, elliptical, sum, self.map(sum))
    }

    #[inline(always)]
    fn pixel(&self, i: Ingredients<'_, T>, j: usize) -> Pixel<T> {
        let [low, high] = self.image;
        let y2 = clamp(i.polynomial[j], low, high);
        let (_, _, sum, s) = self.scale(i.graduated[j], i.elliptical[j]);
        let product = y2 * s;
        let total = clamp(product, low, high) + i.y1[j];
        let out = clamp(total, low, high);
        Pixel { y2, sum, s, product, total, out }
    }

    /// Y2 of one pixel from the polynomial's value.
    #[inline(always)]
    pub(crate) fn limit_polynomial(&self, unlimited: T) -> T {
        clamp(unlimited, self.image[0], self.image[1])
    }

    /// Y2, the polynomial filter's result.
    #[inline]
    pub(crate) fn polynomial(&self, unlimited: &Tile<T>, out: &mut Tile<T>) {
        for j in 0..TILE {
            out[j] = clamp(unlimited[j], self.image[0], self.image[1]);
        }
    }

    /// The way back of [`Self::polynomial`].
    #[inline]
    pub(crate) fn polynomial_pull_back(
        &self,
        unlimited: &Tile<T>,
        cotangent: &Tile<T>,
        d_polynomial: &mut Tile<T>,
    ) {
        for j in 0..TILE {
            d_polynomial[j] = cotangent[j] * clamp_gate(unlimited[j], self.image[0], self.image[1]);
        }
    }

    /// Y.
    #[inline]
    pub(crate) fn fuse(&self, ingredients: Ingredients<'_, T>, out: &mut Tile<T>) {
        if !self.filters {
            return self.polynomial(ingredients.y1, out);
        }
        for j in 0..TILE {
            out[j] = self.pixel(ingredients, j).out;
        }
    }

    /// The way back of [`Self::fuse`].
    #[inline]
    pub(crate) fn fuse_pull_back(
        &self,
        ingredients: Ingredients<'_, T>,
        cotangent: &Tile<T>,
        d: Cotangents<'_, T>,
    ) {
        let [low, high] = self.image;
        if !self.filters {
            self.polynomial_pull_back(ingredients.y1, cotangent, d.y1);
            d.polynomial.fill(T::zero());
            return;
        }
        for j in 0..TILE {
            let p = self.pixel(ingredients, j);
            let d_total = cotangent[j] * clamp_gate(p.total, low, high);
            let d_product = d_total * clamp_gate(p.product, low, high);
            let d_y2 = d_product * p.s;
            let d_sum = d_product * p.y2 * clamp_gate(p.sum, self.map[0], self.map[1]);
            d.y1[j] = d_total;
            d.polynomial[j] = d_y2 * clamp_gate(ingredients.polynomial[j], low, high);
            d.graduated[j] = d_sum * clamp_gate(ingredients.graduated[j], self.map[0], self.map[1]);
            d.elliptical[j] =
                d_sum * clamp_gate(ingredients.elliptical[j], self.map[0], self.map[1]);
        }
    }

    /// The graduated map, the elliptical map and S, for inspection.
    #[inline]
    pub(crate) fn maps(&self, graduated: &Tile<T>, elliptical: &Tile<T>) -> [Tile<T>; 3] {
        let mut maps = [[T::zero(); TILE]; 3];
        for j in 0..TILE {
            let (g, e, _, s) = self.scale(graduated[j], elliptical[j]);
            (maps[0][j], maps[1][j], maps[2][j]) = (g, e, s);
        }
        maps
    }
}
