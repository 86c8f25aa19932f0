//! From the profile of a local filter to the product of all its instances, and back.
//!
//! Every local filter, of either dialect, has a *profile* p(x, y) that its three channels share,
//! and scales a channel by `clamp(base + gain · p, low, high)`. The filters differ in the profile
//! and in how base, gain and the limits follow from their parameters.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::simd::{Decision, MAX_LANES, Wide};
use crate::tile::{ColumnTile, Point, RgbTile, Tile};
use crate::{Dialect, Real};

/// Sums an instance's profile may need for its geometry; the meaning is the profile's own.
pub(crate) const GEOMETRY_SUMS: usize = 8;

/// The part of a local filter that its channels share.
pub(crate) trait Profile<T: Real>: Sync {
    /// What is constant along a row.
    type Row;

    /// Constants of the row at `x` of an image of `width` columns.
    fn row(&self, x: f64, width: usize) -> Self::Row;

    /// Columns beyond which the profile is zero on the row.
    fn span(&self, row: &Self::Row) -> Range<usize>;

    /// Calls `visitor` with the row's kernel.
    fn visit<S: Simd, V: Visitor<T, S>>(&self, simd: S, row: &Self::Row, visitor: V);

    /// The geometry's sums of a row from those that the row's kernel has added.
    fn geometry(&self, row: &Self::Row, sums: [f64; GEOMETRY_SUMS]) -> [f64; GEOMETRY_SUMS];
}

/// What is done with a kernel whose type depends on the row.
pub(crate) trait Visitor<T: Real, S: Simd> {
    fn visit<K: Kernel<T, S>>(self, simd: S, kernel: K);
}

/// A profile on one row, in registers.
pub(crate) trait Kernel<T: Real, S: Simd> {
    /// Whether the blue channel has a profile of its own (a quirk of the release).
    const BLUE: bool = false;
    /// Whether `clamp(base + gain p)` has limits that can act.
    const LIMITED: bool;
    /// Whether half the gradient passes at a tie with a limit, as where PyTorch takes a maximum or
    /// minimum, or all of it, as where it clamps.
    const HALF_AT_TIES: bool = false;
    /// Whether the gradient needs the derivative with respect to the bases.
    const BASES: bool = false;

    /// The profile. `None` says that it is zero in all lanes and that the mask of zero is one, so
    /// that there is nothing to multiply.
    fn profile(&self, at: Point<T, S>) -> Option<Own<T, S>>;

    /// The profile from what [`Own::kept`] said.
    fn again(&self, kept: Wide<T, S>) -> Wide<T, S>;

    /// What [`Own::kept`] says where [`Self::profile`] is `None`.
    fn kept_of_none(&self) -> Wide<T, S>;

    /// Whether the gradient is zero in all lanes, whatever the cotangent.
    fn is_none(&self, kept: Wide<T, S>) -> bool;

    /// Adds to the sums from which the geometry's gradient follows, given the cotangent `d` of the
    /// profile: of all channels, or of blue alone where that has its own.
    fn pull_back(
        &self,
        at: Point<T, S>,
        kept: [Wide<T, S>; 2],
        d: [Wide<T, S>; 2],
        sums: &mut [Wide<T, S>; GEOMETRY_SUMS],
    );
}

/// A profile in the lanes of a vector: of all channels, or of blue alone.
pub(crate) struct Own<T: Real, S: Simd> {
    pub(crate) profile: [Wide<T, S>; 2],
    /// What the way back needs to know, in one number a lane.
    pub(crate) kept: [Wide<T, S>; 2],
}

/// `clamp(base + gain · profile, low, high)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) base: f64,
    pub(crate) gain: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// A [`Ramp`] in registers.
struct WideRamp<T: Real, S: Simd> {
    base: Wide<T, S>,
    gain: Wide<T, S>,
    low: Wide<T, S>,
    high: Wide<T, S>,
}

impl<T: Real, S: Simd> WideRamp<T, S> {
    #[inline(always)]
    fn new(simd: S, ramp: &Ramp) -> Self {
        let splat = |value| Wide::splat(simd, T::narrow(value));
        Self {
            base: splat(ramp.base),
            gain: splat(ramp.gain),
            low: splat(ramp.low),
            high: splat(ramp.high),
        }
    }

    #[inline(always)]
    fn unlimited(&self, profile: Wide<T, S>) -> Wide<T, S> {
        self.gain.mul_add(profile, self.base)
    }

    #[inline(always)]
    fn limited(&self, value: Wide<T, S>, limited: bool) -> Wide<T, S> {
        if limited { value.limit(self.low, self.high) } else { value }
    }

    /// `d` where the limits let it pass.
    #[inline(always)]
    fn passed(
        &self,
        value: Wide<T, S>,
        open: Wide<T, S>,
        d: Wide<T, S>,
        half_at_ties: bool,
        [zero, half]: [Wide<T, S>; 2],
    ) -> Wide<T, S> {
        let closed: Decision<T, S> = value.equal(open);
        if !half_at_ties {
            return closed.select(d, zero);
        }
        let tie = value.less_or_equal(self.low).select(half, d);
        let tie = self.high.less_or_equal(value).select(half, tie);
        closed.select(tie, zero)
    }
}

/// One local filter with its channels and its gate.
struct Instance<P> {
    profile: P,
    ramps: [Ramp; 3],
    gate: f64,
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

/// [`InstanceSums`] along part of a row, in vectors.
struct WideSums<T: Real, S: Simd> {
    base: [Wide<T, S>; 3],
    gain: [Wide<T, S>; 3],
    gate: Wide<T, S>,
    geometry: [Wide<T, S>; GEOMETRY_SUMS],
}

/// [`WideSums`] in memory: a sum in as many lanes as there are.
#[derive(Clone)]
#[repr(align(64))]
struct SumsSoFar<T>([[T; MAX_LANES]; 7 + GEOMETRY_SUMS]);

impl<T: Real> SumsSoFar<T> {
    fn zero() -> Self {
        Self([[T::zero(); MAX_LANES]; 7 + GEOMETRY_SUMS])
    }
}

impl<T: Real, S: Simd> WideSums<T, S> {
    #[inline(always)]
    fn load(simd: S, so_far: &SumsSoFar<T>) -> Self {
        let sum = |n: usize| Wide::new(simd, T::vectors::<S>(&so_far.0[n])[0]);
        let mut geometry = [sum(7); GEOMETRY_SUMS];
        for n in 1..GEOMETRY_SUMS {
            geometry[n] = sum(7 + n);
        }
        Self {
            base: [sum(0), sum(1), sum(2)],
            gain: [sum(3), sum(4), sum(5)],
            gate: sum(6),
            geometry,
        }
    }

    #[inline(always)]
    fn store(&self, so_far: &mut SumsSoFar<T>) {
        let mut put = |n: usize, sum: Wide<T, S>| {
            T::vectors_mut::<S>(&mut so_far.0[n])[0] = sum.lanes();
        };
        for ch in 0..3 {
            put(ch, self.base[ch]);
            put(3 + ch, self.gain[ch]);
        }
        put(6, self.gate);
        for n in 0..GEOMETRY_SUMS {
            put(7 + n, self.geometry[n]);
        }
    }
}

/// All instances of one local filter.
pub(crate) struct LocalFilter<P> {
    instances: Vec<Instance<P>>,
    dialect: Dialect,
    gated: bool,
}

/// Working memory of a local filter along a row, and of its product along a tile.
pub(crate) struct LocalScratch<T, R> {
    /// Constants of the row.
    rows: Vec<R>,
    /// Product of the masks, not yet limited. Without instances it is zero.
    pub(crate) product: RgbTile<T>,
}

/// Working memory for the way back.
pub(crate) struct KeptScratch<T> {
    /// What the kernels kept of the way forward.
    kept: Vec<[Tile<T>; 2]>,
    /// Product of the masks before each instance but the first.
    before: Vec<RgbTile<T>>,
    /// Sums of the row so far.
    sums: Vec<SumsSoFar<T>>,
}

impl<P> LocalFilter<P> {
    pub(crate) fn new(
        dialect: Dialect,
        gated: bool,
        instances: impl IntoIterator<Item = (P, [Ramp; 3], f64)>,
    ) -> Self {
        let instances = instances
            .into_iter()
            .map(|(profile, ramps, gate)| Instance { profile, ramps, gate })
            .collect();
        Self { instances, dialect, gated }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// What a closed gate leaves: one in the release dialect, nothing in the paper's, where maps
    /// are zero away from the filter. A profile of zero leaves the same of an elliptical filter.
    fn ungated(&self) -> f64 {
        match self.dialect {
            Dialect::Release => 1.0,
            Dialect::Paper => 0.0,
        }
    }

    pub(crate) fn scratch<T: Real>(&self) -> LocalScratch<T, P::Row>
    where
        P: Profile<T>,
    {
        LocalScratch {
            rows: Vec::with_capacity(self.instances.len()),
            product: Tile::rgb(T::zero()),
        }
    }

    pub(crate) fn kept_scratch<T: Real>(&self) -> KeptScratch<T> {
        let n = self.instances.len();
        KeptScratch {
            kept: vec![[(); 2].map(|()| Tile::filled(T::zero())); n],
            before: vec![Tile::rgb(T::one()); n],
            sums: vec![SumsSoFar::zero(); n],
        }
    }

    /// Constants of all instances for the row at `x`.
    pub(crate) fn begin_row<T: Real>(
        &self,
        x: f64,
        width: usize,
        scratch: &mut LocalScratch<T, P::Row>,
    ) where
        P: Profile<T>,
    {
        scratch.rows.clear();
        scratch.rows.extend(self.instances.iter().map(|i| i.profile.row(x, width)));
    }

    /// Product of all instances' masks along a tile, not yet limited.
    #[inline(always)]
    pub(crate) fn product<T: Real, S: Simd>(
        &self,
        simd: S,
        columns: ColumnTile<'_, T>,
        scratch: &mut LocalScratch<T, P::Row>,
    ) where
        P: Profile<T>,
    {
        simd.vectorize(Product::<_, _, false> { filter: self, columns, scratch, kept: None });
    }

    /// [`Self::product`], keeping what [`Self::pull_back`] needs.
    #[inline(always)]
    pub(crate) fn product_kept<T: Real, S: Simd>(
        &self,
        simd: S,
        columns: ColumnTile<'_, T>,
        scratch: &mut LocalScratch<T, P::Row>,
        kept: &mut KeptScratch<T>,
    ) where
        P: Profile<T>,
    {
        simd.vectorize(Product::<_, _, true> { filter: self, columns, scratch, kept: Some(kept) });
    }

    /// The way back from the cotangent of the product, after [`Self::product_kept`] on the same
    /// tile. `d_product` is overwritten.
    #[inline(always)]
    pub(crate) fn pull_back<T: Real, S: Simd>(
        &self,
        simd: S,
        columns: ColumnTile<'_, T>,
        scratch: &LocalScratch<T, P::Row>,
        kept: &mut KeptScratch<T>,
        d_product: &mut RgbTile<T>,
    ) where
        P: Profile<T>,
    {
        simd.vectorize(ProductBack { filter: self, columns, scratch, kept, d_product });
    }

    /// Adds the sums of the row so far to `sums` and begins anew.
    #[inline(always)]
    pub(crate) fn flush<T: Real, S: Simd>(
        &self,
        simd: S,
        scratch: &LocalScratch<T, P::Row>,
        kept: &mut KeptScratch<T>,
        sums: &mut [InstanceSums],
    ) where
        P: Profile<T>,
    {
        let parts = self.instances.iter().zip(&scratch.rows).zip(&mut kept.sums).zip(sums);
        for (((instance, row), so_far), sums) in parts {
            let wide = WideSums::<T, S>::load(simd, so_far);
            let mut row_sums = InstanceSums::default();
            for ch in 0..3 {
                row_sums.base[ch] = wide.base[ch].sum().wide();
                row_sums.gain[ch] = wide.gain[ch].sum().wide();
            }
            row_sums.gate = wide.gate.sum().wide();
            for n in 0..GEOMETRY_SUMS {
                row_sums.geometry[n] = wide.geometry[n].sum().wide();
            }
            row_sums.geometry = instance.profile.geometry(row, row_sums.geometry);
            sums.add(&row_sums);
            *so_far = SumsSoFar::zero();
        }
    }
}

/// [`LocalFilter::product`] as a function of its own: once for every pass that needs it.
struct Product<'a, T: Real, P: Profile<T>, const KEEP: bool> {
    filter: &'a LocalFilter<P>,
    columns: ColumnTile<'a, T>,
    scratch: &'a mut LocalScratch<T, P::Row>,
    kept: Option<&'a mut KeptScratch<T>>,
}

impl<T: Real, P: Profile<T>, const KEEP: bool> WithSimd for Product<'_, T, P, KEEP> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { filter, columns, scratch, mut kept } = self;
        if filter.is_empty() {
            return;
        }
        let count = columns.vector_count::<S>();
        let product = &mut scratch.product;
        fill(simd, product, 0..count, T::one());
        for (k, (instance, row)) in filter.instances.iter().zip(&scratch.rows).enumerate() {
            let span = columns.vector_range::<S>(&instance.profile.span(row));
            if filter.dialect == Dialect::Paper {
                // Where a profile is zero, so are the mask and the product.
                fill(simd, product, 0..span.start, T::zero());
                fill(simd, product, span.end..count, T::zero());
            }
            if span.is_empty() {
                continue;
            }
            let keep = kept.as_deref_mut().map(|kept| Keep {
                of_kernel: &mut kept.kept[k],
                before: (k > 0).then_some(&mut kept.before[k]),
            });
            let multiply = Multiply::<_, KEEP> {
                columns,
                span,
                ramps: &instance.ramps,
                gate: filter.gated.then_some(instance.gate),
                ungated: filter.ungated(),
                product,
                keep,
            };
            instance.profile.visit(simd, row, multiply);
        }
    }
}

/// [`LocalFilter::pull_back`] as a function of its own.
struct ProductBack<'a, T: Real, P: Profile<T>> {
    filter: &'a LocalFilter<P>,
    columns: ColumnTile<'a, T>,
    scratch: &'a LocalScratch<T, P::Row>,
    kept: &'a mut KeptScratch<T>,
    d_product: &'a mut RgbTile<T>,
}

impl<T: Real, P: Profile<T>> WithSimd for ProductBack<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { filter, columns, scratch, kept, d_product } = self;
        // The product of the other masks is (product before k) · (product after k): no division,
        // so a mask of zero is no special case. `d_product` becomes cotangent · product after k.
        let count = columns.vector_count::<S>();
        for (k, (instance, row)) in filter.instances.iter().zip(&scratch.rows).enumerate().rev() {
            let span = columns.vector_range::<S>(&instance.profile.span(row));
            if filter.dialect == Dialect::Paper {
                fill(simd, d_product, 0..span.start, T::zero());
                fill(simd, d_product, span.end..count, T::zero());
            }
            if span.is_empty() {
                continue;
            }
            let pull_back = PullBack {
                columns,
                span,
                ramps: &instance.ramps,
                gate: filter.gated.then_some(instance.gate),
                ungated: filter.ungated(),
                kept: &kept.kept[k],
                before: (k > 0).then(|| &kept.before[k]),
                after: d_product,
                sums: &mut kept.sums[k],
            };
            instance.profile.visit(simd, row, pull_back);
        }
    }
}

/// Sets the vectors of `range`.
#[inline(always)]
fn fill<T: Real, S: Simd>(simd: S, tiles: &mut RgbTile<T>, range: Range<usize>, value: T) {
    let value = T::splat(simd, value);
    for tile in tiles {
        tile.vectors_mut::<S>()[range.clone()].fill(value);
    }
}

/// Multiplies the masks of one instance to the product.
struct Multiply<'a, T, const KEEP: bool> {
    columns: ColumnTile<'a, T>,
    span: Range<usize>,
    ramps: &'a [Ramp; 3],
    gate: Option<f64>,
    ungated: f64,
    product: &'a mut RgbTile<T>,
    keep: Option<Keep<'a, T>>,
}

/// Where to keep what the way back needs.
struct Keep<'a, T> {
    of_kernel: &'a mut [Tile<T>; 2],
    /// The product so far, unless it is one.
    before: Option<&'a mut RgbTile<T>>,
}

impl<T: Real, S: Simd, const KEEP: bool> Visitor<T, S> for Multiply<'_, T, KEEP> {
    #[inline(always)]
    fn visit<K: Kernel<T, S>>(self, simd: S, kernel: K) {
        if self.gate.is_some() {
            self.run::<S, K, true>(simd, kernel);
        } else {
            self.run::<S, K, false>(simd, kernel);
        }
    }
}

impl<T: Real, const KEEP: bool> Multiply<'_, T, KEEP> {
    #[inline(always)]
    fn run<S: Simd, K: Kernel<T, S>, const GATED: bool>(self, simd: S, kernel: K) {
        let Self { columns, span, product, .. } = self;
        let ramp = |ch: usize| WideRamp::<T, S>::new(simd, &self.ramps[ch]);
        let ramps = [ramp(0), ramp(1), ramp(2)];
        let splat = |value| Wide::<T, S>::splat(simd, T::narrow(value));
        let (gate, ungated) = (splat(self.gate.unwrap_or(1.0)), splat(self.ungated));
        let none = kernel.kept_of_none();
        let [p0, p1, p2] = product.each_mut().map(|tile| tile.vectors_mut::<S>());
        let product = [&mut p0[span.clone()], &mut p1[span.clone()], &mut p2[span.clone()]];
        let (mut kept, mut before) = match self.keep {
            Some(keep) => (Some(keep.of_kernel), keep.before),
            None => (None, None),
        };
        for (j, offset) in span.clone().zip(0..) {
            if KEEP && let Some(before) = &mut before {
                for ch in 0..3 {
                    before[ch].vectors_mut::<S>()[j] = product[ch][offset];
                }
            }
            let Some(own) = kernel.profile(columns.point(simd, j)) else {
                if KEEP && let Some(kept) = &mut kept {
                    kept[0].vectors_mut::<S>()[j] = none.lanes();
                    if K::BLUE {
                        kept[1].vectors_mut::<S>()[j] = none.lanes();
                    }
                }
                continue;
            };
            if KEEP && let Some(kept) = &mut kept {
                kept[0].vectors_mut::<S>()[j] = own.kept[0].lanes();
                if K::BLUE {
                    kept[1].vectors_mut::<S>()[j] = own.kept[1].lanes();
                }
            }
            for ch in 0..3 {
                let profile = own.profile[usize::from(K::BLUE && ch == 2)];
                let open = ramps[ch].limited(ramps[ch].unlimited(profile), K::LIMITED);
                let mask = if GATED { gate.mul_add(open - ungated, ungated) } else { open };
                let so_far = Wide::new(simd, product[ch][offset]);
                product[ch][offset] = (so_far * mask).lanes();
            }
        }
    }
}

/// The way back through one instance.
struct PullBack<'a, T> {
    columns: ColumnTile<'a, T>,
    span: Range<usize>,
    ramps: &'a [Ramp; 3],
    gate: Option<f64>,
    ungated: f64,
    kept: &'a [Tile<T>; 2],
    /// Product of the masks before this one; `None` for the first.
    before: Option<&'a RgbTile<T>>,
    /// Cotangent of the product times the masks after this one.
    after: &'a mut RgbTile<T>,
    sums: &'a mut SumsSoFar<T>,
}

impl<T: Real, S: Simd> Visitor<T, S> for PullBack<'_, T> {
    #[inline(always)]
    fn visit<K: Kernel<T, S>>(self, simd: S, kernel: K) {
        if self.gate.is_some() {
            self.run::<S, K, true>(simd, kernel);
        } else {
            self.run::<S, K, false>(simd, kernel);
        }
    }
}

impl<T: Real> PullBack<'_, T> {
    #[inline(always)]
    fn run<S: Simd, K: Kernel<T, S>, const GATED: bool>(self, simd: S, kernel: K) {
        let Self { columns, span, .. } = self;
        let ramp = |ch: usize| WideRamp::<T, S>::new(simd, &self.ramps[ch]);
        let ramps = [ramp(0), ramp(1), ramp(2)];
        let splat = |value| Wide::<T, S>::splat(simd, T::narrow(value));
        let (gate, ungated) = (splat(self.gate.unwrap_or(1.0)), splat(self.ungated));
        let (zero, half, one) = (splat(0.0), splat(0.5), splat(1.0));
        let [a0, a1, a2] = self.after.each_mut().map(|tile| tile.vectors_mut::<S>());
        let after = [&mut a0[span.clone()], &mut a1[span.clone()], &mut a2[span.clone()]];
        let before = self
            .before
            .map(|tiles| tiles.each_ref().map(|tile| &tile.vectors::<S>()[span.clone()]));
        let kept = self.kept.each_ref().map(|tile| &tile.vectors::<S>()[span.clone()]);
        let mut sums = WideSums::<T, S>::load(simd, self.sums);
        for (j, offset) in span.clone().zip(0..) {
            let kept = [
                Wide::<T, S>::new(simd, kept[0][offset]),
                Wide::<T, S>::new(simd, kept[usize::from(K::BLUE)][offset]),
            ];
            if kernel.is_none(kept[0]) && (!K::BLUE || kernel.is_none(kept[1])) {
                continue;
            }
            let profiles = [kernel.again(kept[0]), kernel.again(kept[1])];
            let mut d_profile = [zero; 2];
            for ch in 0..3 {
                let own = usize::from(K::BLUE && ch == 2);
                let (ramp, profile) = (&ramps[ch], profiles[own]);
                let value = ramp.unlimited(profile);
                let open = ramp.limited(value, K::LIMITED);
                let mask = if GATED { gate.mul_add(open - ungated, ungated) } else { open };
                let d_after = Wide::<T, S>::new(simd, after[ch][offset]);
                let before = match &before {
                    Some(before) => Wide::new(simd, before[ch][offset]),
                    None => one,
                };
                let d_mask = d_after * before;
                after[ch][offset] = (d_after * mask).lanes();
                if GATED {
                    sums.gate = d_mask.mul_add(open - ungated, sums.gate);
                }
                let d_open = if GATED { d_mask * gate } else { d_mask };
                let d_value = if K::LIMITED {
                    let half_open = d_open * half;
                    ramp.passed(value, open, d_open, K::HALF_AT_TIES, [zero, half_open])
                } else {
                    d_open
                };
                if K::BASES {
                    sums.base[ch] = sums.base[ch] + d_value;
                }
                sums.gain[ch] = d_value.mul_add(profile, sums.gain[ch]);
                d_profile[own] = d_value.mul_add(ramp.gain, d_profile[own]);
            }
            kernel.pull_back(columns.point(simd, j), kept, d_profile, &mut sums.geometry);
        }
        sums.store(self.sums);
    }
}
