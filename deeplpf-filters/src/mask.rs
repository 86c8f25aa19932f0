//! From the profile of a local filter to the product of all its instances, and back.
//!
//! Every local filter, of either dialect, has a *profile* p(x, y) that its three channels share,
//! and scales a channel by `clamp(base + gain · p, low, high)`. The filters differ in the profile
//! and in how base, gain and the limits follow from their parameters.

use crate::real::{clamp, clamp_gate};
use crate::tile::{ColumnTile, RgbTile, TILE, Tile, dot, sum, zero_rgb, zero_tile};
use crate::{Dialect, Real};

/// Sums an instance's profile may need for its geometry; the meaning is the profile's own.
pub(crate) const GEOMETRY_SUMS: usize = 8;

/// The part of a local filter that its channels share.
pub(crate) trait Profile<T: Real>: Sync {
    /// What is constant along a row.
    type Row;

    /// Constants of the row at `x`.
    fn row(&self, x: f64) -> Self::Row;

    /// Whether the blue channel has a profile of its own (a quirk of the release).
    fn blue_differs(&self) -> bool {
        false
    }

    /// The profile along a tile; `blue` is written only where [`Self::blue_differs`].
    fn evaluate(
        &self,
        row: &Self::Row,
        columns: ColumnTile<'_, T>,
        profile: &mut Tile<T>,
        blue: &mut Tile<T>,
    );

    /// Adds the tile's share of the sums from which the geometry's gradient follows, given the
    /// cotangents of `profile` and `blue` (zero unless [`Self::blue_differs`]).
    fn pull_back(
        &self,
        row: &Self::Row,
        columns: ColumnTile<'_, T>,
        d_profile: &Tile<T>,
        d_blue: &Tile<T>,
        sums: &mut [f64; GEOMETRY_SUMS],
    );
}

/// `clamp(base + gain · profile, low, high)`. The limits are those of a maximum and a minimum
/// against a constant, which at a tie pass `tie_share` of the gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) base: f64,
    pub(crate) gain: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// PyTorch passes half at a tie of max or min, and all of it at the ends of a clamp.
    pub(crate) tie_share: f64,
}

#[derive(Clone, Copy)]
struct NarrowRamp<T> {
    base: T,
    gain: T,
    low: T,
    high: T,
    tie_share: T,
}

impl<T: Real> NarrowRamp<T> {
    #[inline(always)]
    fn unclamped(&self, profile: T) -> T {
        self.base + self.gain * profile
    }

    /// Derivative of the limits.
    #[inline(always)]
    fn slope_gate(&self, value: T) -> T {
        let tie = value == self.low || value == self.high;
        clamp_gate(value, self.low, self.high) * if tie { self.tie_share } else { T::one() }
    }
}

/// One local filter with its channels and its gate.
struct Instance<T, P> {
    profile: P,
    ramps: [NarrowRamp<T>; 3],
    gate: T,
}

/// Sums over pixels from which the gradient of one instance's parameters follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct InstanceSums {
    /// Derivative with respect to each channel's base.
    pub(crate) base: [f64; 3],
    /// Derivative with respect to each channel's gain.
    pub(crate) gain: [f64; 3],
    /// Derivative with respect to the gate.
    pub(crate) gate: f64,
    /// What the profile makes of its cotangent.
    pub(crate) geometry: [f64; GEOMETRY_SUMS],
}

impl InstanceSums {
    pub(crate) fn add(&mut self, other: &Self) {
        for ch in 0..3 {
            self.base[ch] += other.base[ch];
            self.gain[ch] += other.gain[ch];
        }
        self.gate += other.gate;
        for (a, b) in self.geometry.iter_mut().zip(&other.geometry) {
            *a += b;
        }
    }
}

/// All instances of one local filter.
pub(crate) struct LocalFilter<T, P> {
    instances: Vec<Instance<T, P>>,
    /// What a closed gate leaves: one in the release dialect, nothing in the paper's, where maps
    /// are zero away from the filter.
    ungated: T,
}

/// Working memory for one tile.
pub(crate) struct LocalScratch<T> {
    profile: Vec<Tile<T>>,
    blue: Vec<Tile<T>>,
    /// Gated mask of each instance and channel.
    mask: Vec<RgbTile<T>>,
    /// Product of the masks before this instance; filled by `pull_back`.
    before: Vec<RgbTile<T>>,
}

impl<T: Real, P: Profile<T>> LocalFilter<T, P> {
    pub(crate) fn new(
        dialect: Dialect,
        instances: impl IntoIterator<Item = (P, [Ramp; 3], T)>,
    ) -> Self {
        let narrow = |r: Ramp| NarrowRamp {
            base: T::narrow(r.base),
            gain: T::narrow(r.gain),
            low: T::narrow(r.low),
            high: T::narrow(r.high),
            tie_share: T::narrow(r.tie_share),
        };
        Self {
            instances: instances
                .into_iter()
                .map(|(profile, ramps, gate)| Instance { profile, ramps: ramps.map(narrow), gate })
                .collect(),
            ungated: match dialect {
                Dialect::Release => T::one(),
                Dialect::Paper => T::zero(),
            },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    pub(crate) fn scratch(&self) -> LocalScratch<T> {
        let n = self.instances.len();
        LocalScratch {
            profile: vec![zero_tile(); n],
            blue: vec![zero_tile(); n],
            mask: vec![zero_rgb(); n],
            before: vec![zero_rgb(); n],
        }
    }

    /// Constants of all instances for the row at `x`.
    pub(crate) fn rows(&self, x: f64) -> Vec<P::Row> {
        self.instances.iter().map(|instance| instance.profile.row(x)).collect()
    }

    /// Product of all instances' masks, not yet clamped. Without instances `product` is untouched.
    pub(crate) fn product(
        &self,
        rows: &[P::Row],
        columns: ColumnTile<'_, T>,
        scratch: &mut LocalScratch<T>,
        product: &mut RgbTile<T>,
    ) {
        for (k, (instance, row)) in self.instances.iter().zip(rows).enumerate() {
            let (profile, blue) = (&mut scratch.profile[k], &mut scratch.blue[k]);
            instance.profile.evaluate(row, columns, profile, blue);
            for ch in 0..3 {
                let own = instance.profile.blue_differs() && ch == 2;
                let profile = if own { &scratch.blue[k] } else { &scratch.profile[k] };
                let (ramp, gate) = (instance.ramps[ch], instance.gate);
                let mask = &mut scratch.mask[k][ch];
                let product = &mut product[ch];
                for j in 0..TILE {
                    let open = clamp(ramp.unclamped(profile[j]), ramp.low, ramp.high);
                    mask[j] = self.ungated + gate * (open - self.ungated);
                    product[j] = if k == 0 { mask[j] } else { product[j] * mask[j] };
                }
            }
        }
    }

    /// The way back from the cotangent of the product, after [`Self::product`] on the same tile.
    pub(crate) fn pull_back(
        &self,
        rows: &[P::Row],
        columns: ColumnTile<'_, T>,
        scratch: &mut LocalScratch<T>,
        d_product: &RgbTile<T>,
        sums: &mut [InstanceSums],
    ) {
        // The product of the other masks is (product before k) · (product after k): no division,
        // so a mask of zero is no special case. `after` also carries the cotangent.
        let mut before = [[T::one(); TILE]; 3];
        for k in 0..self.instances.len() {
            scratch.before[k] = before;
            for ch in 0..3 {
                for j in 0..TILE {
                    before[ch][j] *= scratch.mask[k][ch][j];
                }
            }
        }
        let mut after = *d_product;
        for (k, (instance, row)) in self.instances.iter().zip(rows).enumerate().rev() {
            let sums = &mut sums[k];
            let mut d_profile = zero_tile();
            let mut d_blue = zero_tile();
            for ch in 0..3 {
                let own = instance.profile.blue_differs() && ch == 2;
                let (profile, d_profile) = if own {
                    (&scratch.blue[k], &mut d_blue)
                } else {
                    (&scratch.profile[k], &mut d_profile)
                };
                let (ramp, gate) = (instance.ramps[ch], instance.gate);
                let (before, mask, after) =
                    (&scratch.before[k][ch], &scratch.mask[k][ch], &mut after[ch]);
                let mut d_gate = zero_tile::<T>();
                let mut d_ramp = zero_tile::<T>();
                for j in 0..TILE {
                    let d_mask = after[j] * before[j];
                    after[j] *= mask[j];
                    let value = ramp.unclamped(profile[j]);
                    d_gate[j] = d_mask * (clamp(value, ramp.low, ramp.high) - self.ungated);
                    d_ramp[j] = d_mask * gate * ramp.slope_gate(value);
                    d_profile[j] += d_ramp[j] * ramp.gain;
                }
                sums.gate += sum(&d_gate);
                sums.base[ch] += sum(&d_ramp);
                sums.gain[ch] += dot(&d_ramp, profile);
            }
            instance.profile.pull_back(row, columns, &d_profile, &d_blue, &mut sums.geometry);
        }
    }
}
