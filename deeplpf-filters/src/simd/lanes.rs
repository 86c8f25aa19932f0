//! Vectors of pixels: one value per column, as many columns as a register holds.

use std::any::Any;
use std::ops::{Add, Mul, Sub};

use pulp::Simd;

use super::Portable;
use super::approximate;

/// No instruction set here has more `f32` lanes.
pub(crate) const MAX_LANES: usize = 16;

/// How a pixel type is kept in the registers of an instruction set `S`.
pub trait Lanes: Copy + 'static {
    /// A register of values.
    type Vector<S: Simd>: Copy;
    /// A register of decisions.
    type Mask<S: Simd>: Copy;

    /// Values per register.
    fn lanes<S: Simd>() -> usize;
    fn vectors<S: Simd>(slice: &[Self]) -> &[Self::Vector<S>];
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> &mut [Self::Vector<S>];
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn sub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn mul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn neg_mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn min<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn max<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn sqrt<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    fn reciprocal<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    fn inverse_sqrt<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    fn less<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    fn less_or_equal<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    fn equal<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    fn select<S: Simd>(
        simd: S,
        mask: Self::Mask<S>,
        yes: Self::Vector<S>,
        no: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn any<S: Simd>(simd: S, mask: Self::Mask<S>) -> bool;
    fn sum<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
}

/// Whether `S` is the portable path: there a fused multiply-add would be a call of the C library,
/// and a minimum passes over NaN.
#[inline(always)]
fn is_portable<S: Simd>(simd: S) -> bool {
    S::IS_SCALAR || as_type::<S, Portable>(&simd).is_some()
}

/// `simd` as a token of type `R`, if it is one: decided when the program is compiled.
#[inline(always)]
pub(super) fn as_type<S: Simd, R: 'static>(simd: &S) -> Option<&R> {
    (simd as &dyn Any).downcast_ref::<R>()
}

macro_rules! lanes {
    (
        $float:ident, $vector:ident, $mask:ident, $count:ident, $as:ident, $as_mut:ident,
        $splat:ident, $add:ident, $sub:ident, $mul:ident, $mul_add:ident, $neg_mul_add:ident,
        $min:ident, $max:ident, $sqrt:ident, $less:ident, $less_equal:ident, $equal:ident,
        $select:ident, $sum:ident, $div:ident
    ) => {
        impl Lanes for $float {
            type Vector<S: Simd> = S::$vector;
            type Mask<S: Simd> = S::$mask;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$count
            }
            #[inline(always)]
            fn vectors<S: Simd>(slice: &[Self]) -> &[Self::Vector<S>] {
                S::$as(slice).0
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(slice: &mut [Self]) -> &mut [Self::Vector<S>] {
                S::$as_mut(slice).0
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn sub<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn mul<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                if is_portable(simd) {
                    simd.$add(simd.$mul(a, b), c)
                } else {
                    simd.$mul_add(a, b, c)
                }
            }
            #[inline(always)]
            fn neg_mul_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                if is_portable(simd) {
                    simd.$sub(c, simd.$mul(a, b))
                } else {
                    simd.$neg_mul_add(a, b, c)
                }
            }
            #[inline(always)]
            fn min<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                if is_portable(simd) {
                    simd.$select(simd.$less(a, b), a, b)
                } else {
                    simd.$min(a, b)
                }
            }
            #[inline(always)]
            fn max<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                if is_portable(simd) {
                    simd.$select(simd.$less(b, a), a, b)
                } else {
                    simd.$max(a, b)
                }
            }
            #[inline(always)]
            fn sqrt<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                simd.$sqrt(a)
            }
            #[inline(always)]
            fn reciprocal<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                match approximate::$float::reciprocal(simd, a) {
                    Some(reciprocal) => reciprocal,
                    None => simd.$div(simd.$splat(1.0), a),
                }
            }
            #[inline(always)]
            fn inverse_sqrt<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                match approximate::$float::inverse_sqrt(simd, a) {
                    Some(inverse) => inverse,
                    None => simd.$div(simd.$splat(1.0), simd.$sqrt(a)),
                }
            }
            #[inline(always)]
            fn less<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$less(a, b)
            }
            #[inline(always)]
            fn less_or_equal<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$less_equal(a, b)
            }
            #[inline(always)]
            fn equal<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$equal(a, b)
            }
            #[inline(always)]
            fn select<S: Simd>(
                simd: S,
                mask: S::$mask,
                yes: S::$vector,
                no: S::$vector,
            ) -> S::$vector {
                simd.$select(mask, yes, no)
            }
            #[inline(always)]
            fn any<S: Simd>(simd: S, mask: S::$mask) -> bool {
                approximate::$float::any(simd, mask)
            }
            #[inline(always)]
            fn sum<S: Simd>(simd: S, a: S::$vector) -> $float {
                simd.$sum(a)
            }
        }
    };
}

lanes!(
    f32,
    f32s,
    m32s,
    F32_LANES,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    mul_add_e_f32s,
    negate_mul_add_e_f32s,
    min_f32s,
    max_f32s,
    sqrt_f32s,
    less_than_f32s,
    less_than_or_equal_f32s,
    equal_f32s,
    select_f32s,
    reduce_sum_f32s,
    div_f32s
);

lanes!(
    f64,
    f64s,
    m64s,
    F64_LANES,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    mul_add_e_f64s,
    negate_mul_add_e_f64s,
    min_f64s,
    max_f64s,
    sqrt_f64s,
    less_than_f64s,
    less_than_or_equal_f64s,
    equal_f64s,
    select_f64s,
    reduce_sum_f64s,
    div_f64s
);

/// A vector of pixels with its operators.
pub(crate) struct Wide<T: Lanes, S: Simd> {
    simd: S,
    lanes: T::Vector<S>,
}

impl<T: Lanes, S: Simd> Clone for Wide<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Lanes, S: Simd> Copy for Wide<T, S> {}

/// The decisions of a comparison of two vectors.
pub(crate) struct Decision<T: Lanes, S: Simd> {
    simd: S,
    mask: T::Mask<S>,
}

impl<T: Lanes, S: Simd> Clone for Decision<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Lanes, S: Simd> Copy for Decision<T, S> {}

impl<T: Lanes, S: Simd> Wide<T, S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, lanes: T::Vector<S>) -> Self {
        Self { simd, lanes }
    }

    #[inline(always)]
    pub(crate) fn splat(simd: S, value: T) -> Self {
        Self { simd, lanes: T::splat(simd, value) }
    }

    #[cfg(test)]
    #[inline(always)]
    pub(crate) fn simd(self) -> S {
        self.simd
    }

    #[inline(always)]
    pub(crate) fn lanes(self) -> T::Vector<S> {
        self.lanes
    }

    /// self · b + c, rounded once where the machine can.
    #[inline(always)]
    pub(crate) fn mul_add(self, b: Self, c: Self) -> Self {
        Self::new(self.simd, T::mul_add(self.simd, self.lanes, b.lanes, c.lanes))
    }

    /// c - self · b, rounded once where the machine can.
    #[inline(always)]
    pub(crate) fn neg_mul_add(self, b: Self, c: Self) -> Self {
        Self::new(self.simd, T::neg_mul_add(self.simd, self.lanes, b.lanes, c.lanes))
    }

    /// The larger one; where `self` is NaN, NaN.
    #[inline(always)]
    pub(crate) fn at_least(self, low: Self) -> Self {
        // Instruction sets that pass over NaN do so in their first operand only.
        Self::new(self.simd, T::max(self.simd, low.lanes, self.lanes))
    }

    /// The smaller one; where `self` is NaN, NaN.
    #[inline(always)]
    pub(crate) fn at_most(self, high: Self) -> Self {
        Self::new(self.simd, T::min(self.simd, high.lanes, self.lanes))
    }

    /// Limited to `[low, high]`; NaN stays NaN. As in PyTorch, `high` wins where `low > high`.
    #[inline(always)]
    pub(crate) fn limit(self, low: Self, high: Self) -> Self {
        self.at_least(low).at_most(high)
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self::new(self.simd, T::sqrt(self.simd, self.lanes))
    }

    /// 1 / self within 2 ulp, for finite normal values above zero.
    #[inline(always)]
    pub(crate) fn reciprocal(self) -> Self {
        Self::new(self.simd, T::reciprocal(self.simd, self.lanes))
    }

    /// 1 / sqrt(self) within 3 ulp, for finite normal values above zero.
    #[inline(always)]
    pub(crate) fn inverse_sqrt(self) -> Self {
        Self::new(self.simd, T::inverse_sqrt(self.simd, self.lanes))
    }

    #[inline(always)]
    pub(crate) fn less(self, other: Self) -> Decision<T, S> {
        let simd = self.simd;
        Decision { simd, mask: T::less(simd, self.lanes, other.lanes) }
    }

    #[inline(always)]
    pub(crate) fn less_or_equal(self, other: Self) -> Decision<T, S> {
        let simd = self.simd;
        Decision { simd, mask: T::less_or_equal(simd, self.lanes, other.lanes) }
    }

    #[inline(always)]
    pub(crate) fn equal(self, other: Self) -> Decision<T, S> {
        let simd = self.simd;
        Decision { simd, mask: T::equal(simd, self.lanes, other.lanes) }
    }

    /// The sum over the lanes.
    #[inline(always)]
    pub(crate) fn sum(self) -> T {
        T::sum(self.simd, self.lanes)
    }
}

impl<T: Lanes, S: Simd> Decision<T, S> {
    #[inline(always)]
    pub(crate) fn select(self, yes: Wide<T, S>, no: Wide<T, S>) -> Wide<T, S> {
        Wide::new(self.simd, T::select(self.simd, self.mask, yes.lanes, no.lanes))
    }

    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        T::any(self.simd, self.mask)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl<T: Lanes, S: Simd> $trait for Wide<T, S> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self::new(self.simd, T::$method(self.simd, self.lanes, other.lanes))
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
