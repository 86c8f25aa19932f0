//! Vector arithmetic for the inner loops of operations and engine, chosen at run time.
//!
//! The instruction set is that of the filters ([`deeplpf_filters::Instructions`]): the best the
//! processor has, or the one named by the environment variable `DEEPLPF_SIMD`. Results of different
//! sets differ by rounding; those of one set are the same bits for any number of threads.

use std::any::TypeId;

use deeplpf_filters::Instructions as Set;
use pulp::{Scalar128b, Simd, WithSimd};

use crate::ops::Element;

/// Element types with vectors.
pub(crate) trait Lanes: Element {
    /// As many elements as a register holds.
    type Vector<S: Simd>: Copy;
    /// `value` in all lanes.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a + b.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The larger; which of the two where one is NaN is not specified.
    fn maximum<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b + c, rounded once where the processor can.
    fn times_plus<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

macro_rules! lanes {
    ($element:ty, $vector:ident, $splat:ident, $add:ident, $mul:ident, $max:ident, $mul_add:ident) => {
        impl Lanes for $element {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn maximum<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$max(a, b)
            }
            #[inline(always)]
            fn times_plus<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                // The portable vectors only know the exactly rounded product and sum, which
                // without an instruction for it is a slow function.
                if TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
                    simd.$add(simd.$mul(a, b), c)
                } else {
                    simd.$mul_add(a, b, c)
                }
            }
        }
    };
}
lanes!(f32, f32s, splat_f32s, add_f32s, mul_f32s, max_f32s, mul_add_e_f32s);
lanes!(f64, f64s, splat_f64s, add_f64s, mul_f64s, max_f64s, mul_add_e_f64s);

/// Elements per vector.
pub(crate) const fn lanes<T: Lanes, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// # Safety
/// A vector's worth of elements must be readable from `from`, which need not be aligned.
#[inline(always)]
pub(crate) unsafe fn load<T: Lanes, S: Simd>(from: *const T) -> T::Vector<S> {
    // SAFETY: the caller's promise; the vector is a plain array of elements.
    unsafe { from.cast::<T::Vector<S>>().read_unaligned() }
}

/// # Safety
/// A vector's worth of elements must be writable at `to`, which need not be aligned.
#[inline(always)]
pub(crate) unsafe fn store<T: Lanes, S: Simd>(to: *mut T, value: T::Vector<S>) {
    // SAFETY: the caller's promise; the vector is a plain array of elements.
    unsafe { to.cast::<T::Vector<S>>().write_unaligned(value) }
}

/// An instruction set that this processor was found to have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instructions {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// AVX-512 (F, BW, CD, DQ, VL).
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// The vectors of another architecture (NEON, wasm).
    #[cfg(not(target_arch = "x86_64"))]
    Native(pulp::Arch),
}

impl Instructions {
    /// `set`, if this processor has it.
    fn of(set: Set) -> Option<Self> {
        match set {
            Set::Portable => Some(Self::Portable),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => pulp::x86::V3::try_new().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => pulp::x86::V4::try_new().map(Self::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            Set::Neon | Set::WasmSimd128 => Some(Self::Native(pulp::Arch::new())),
            _ => None,
        }
    }

    /// All sets this processor has, the best last.
    #[cfg(test)]
    pub fn available() -> Vec<Self> {
        Set::available().filter_map(Self::of).collect()
    }

    /// The set to use.
    ///
    /// # Errors
    /// `DEEPLPF_SIMD` names a set that is unknown or that this processor does not have.
    pub fn selected() -> deeplpf_filters::Result<Self> {
        let set = Set::selected()?;
        Self::of(set).ok_or(deeplpf_filters::Error::NoSuchInstructions { set })
    }

    /// The name `DEEPLPF_SIMD` knows it by.
    #[cfg(test)]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => Set::Portable.name(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Set::Avx2.name(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Set::Avx512.name(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native(_) => "native",
        }
    }

    /// Runs `operation` compiled for these instructions.
    pub fn run<Op: WithSimd>(self, operation: Op) -> Op::Output {
        match self {
            Self::Portable => Simd::vectorize(Scalar128b, operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Simd::vectorize(simd, operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Simd::vectorize(simd, operation),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native(arch) => arch.dispatch(operation),
        }
    }

    /// Elements per vector.
    pub fn lanes<T: Lanes>(self) -> usize {
        struct Count<T>(std::marker::PhantomData<T>);
        impl<T: Lanes> WithSimd for Count<T> {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                lanes::<T, S>()
            }
        }
        self.run(Count::<T>(std::marker::PhantomData))
    }

    /// Whether there are 32 vector registers, not 16.
    pub fn has_many_registers(self) -> bool {
        struct Count;
        impl WithSimd for Count {
            type Output = bool;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> bool {
                S::REGISTER_COUNT >= 32
            }
        }
        self.run(Count)
    }
}
