//! Which instruction set the passes over the pixels use, and vectors of pixels in it.

mod approximate;
mod lanes;

use std::sync::OnceLock;

use pulp::{Simd, WithSimd};

pub(crate) use lanes::{Decision, Lanes, MAX_LANES, Wide};

use crate::{Error, Result};

/// The portable path: arrays of 256 bits that the compiler makes registers of as it can.
pub type Portable = pulp::Scalar256b;

/// The environment variable that chooses among the instruction sets.
const VARIABLE: &str = "DEEPLPF_SIMD";

/// An instruction set that the filters can be computed with.
///
/// A stack takes the fastest one the machine has, or the one that the environment variable
/// `DEEPLPF_SIMD` names (`portable`, `avx2`, `avx512`, `neon`, `wasm-simd128`; read once), or the
/// one given to [`FilterStack::with_instructions`](crate::FilterStack::with_instructions). Results
/// differ between instruction sets by rounding only; with one of them, on one kind of processor,
/// they have the same bits for any number of threads. (AVX2's reciprocal estimates differ between
/// makers, and the portable set takes its functions from the platform.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Instructions {
    /// No instruction beyond what the program was compiled for.
    Portable,
    /// AVX2 and FMA: 8 `f32` at once.
    Avx2,
    /// AVX-512 (F, BW, CD, DQ, VL): 16 `f32` at once.
    Avx512,
    /// NEON of 64-bit ARM: 4 `f32` at once.
    Neon,
    /// The 128-bit vectors of WebAssembly, where the program is compiled for them.
    WasmSimd128,
}

impl Instructions {
    /// All there are, each behind the slower ones.
    const ALL: [Self; 5] =
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Neon, Self::WasmSimd128];

    /// What this machine has, from the slowest to the fastest; [`Portable`](Self::Portable) is
    /// always there.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The name that `DEEPLPF_SIMD` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::WasmSimd128 => "wasm-simd128",
        }
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        Token::new(self).is_some()
    }

    /// What a new stack uses: that of `DEEPLPF_SIMD`, else the fastest.
    ///
    /// # Errors
    /// If the variable names no instruction set, or one that this machine does not have.
    pub fn selected() -> Result<Self> {
        static SELECTED: OnceLock<Result<Instructions>> = OnceLock::new();
        SELECTED
            .get_or_init(|| match std::env::var_os(VARIABLE) {
                // Empty is a common way to say unset.
                None => Ok(Self::fastest()),
                Some(value) if value.is_empty() => Ok(Self::fastest()),
                Some(value) => Self::named(&value.to_string_lossy()),
            })
            .clone()
    }

    fn fastest() -> Self {
        Self::available().next_back().unwrap_or(Self::Portable)
    }

    /// The instruction set of a name, if this machine has it.
    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|set| set.name() == name);
        let found = found.ok_or_else(|| Error::UnknownInstructions { name: name.to_string() })?;
        found.require().map(|_| found)
    }

    /// The proof that this machine has it, or the error that it does not.
    pub(crate) fn require(self) -> Result<Token> {
        Token::new(self).ok_or(Error::NoSuchInstructions { set: self })
    }
}

impl std::fmt::Display for Instructions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Proof that the machine has an instruction set. It is kept, because some machines take long to
/// ask.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(any(target_arch = "aarch64", target_arch = "wasm32"))]
    Native(pulp::Arch),
}

impl Token {
    fn new(set: Instructions) -> Option<Self> {
        match set {
            Instructions::Portable => Some(Self::Portable(pulp::Scalar256b)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => pulp::x86::V3::try_new().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => pulp::x86::V4::try_new().map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => native(),
            #[cfg(target_arch = "wasm32")]
            Instructions::WasmSimd128 => native(),
            _ => None,
        }
    }

    /// Whose proof it is.
    pub(crate) fn instructions(self) -> Instructions {
        match self {
            Self::Portable(_) => Instructions::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Instructions::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Instructions::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Native(_) => Instructions::Neon,
            #[cfg(target_arch = "wasm32")]
            Self::Native(_) => Instructions::WasmSimd128,
        }
    }

    /// Runs `operation` with the instructions.
    #[inline]
    pub(crate) fn dispatch<Op: WithSimd>(self, operation: Op) -> Op::Output {
        match self {
            Self::Portable(simd) => simd.vectorize(operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Simd::vectorize(simd, operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Simd::vectorize(simd, operation),
            #[cfg(any(target_arch = "aarch64", target_arch = "wasm32"))]
            Self::Native(arch) => arch.dispatch(operation),
        }
    }
}

#[cfg(any(target_arch = "aarch64", target_arch = "wasm32"))]
fn native() -> Option<Token> {
    match pulp::Arch::new() {
        pulp::Arch::Scalar => None,
        arch => Some(Token::Native(arch)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_and_others_refused() {
        for set in Instructions::ALL {
            match Instructions::named(set.name()) {
                Ok(found) => assert!(found == set && set.is_available()),
                Err(error) => {
                    assert!(!set.is_available());
                    assert_eq!(error, Error::NoSuchInstructions { set });
                }
            }
        }
        for name in ["", "AVX2", "sse2", "avx1024"] {
            let error = Instructions::named(name).expect_err("no instruction set");
            assert!(error.to_string().contains("portable, avx2, avx512"), "{error}");
        }
        assert_eq!(Instructions::available().next(), Some(Instructions::Portable));
    }

    /// What a function of a vector makes of every value.
    struct Map<'a, F>(&'a [f32], &'a mut [f32], F);

    trait Function {
        fn of<S: Simd>(&self, a: Wide<f32, S>) -> Wide<f32, S>;
    }

    impl<F: Function> WithSimd for Map<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let from = f32::vectors::<S>(self.0);
            for (from, to) in from.iter().zip(f32::vectors_mut::<S>(self.1)) {
                *to = self.2.of(Wide::new(simd, *from)).lanes();
            }
        }
    }

    struct Reciprocal;
    impl Function for Reciprocal {
        #[inline(always)]
        fn of<S: Simd>(&self, a: Wide<f32, S>) -> Wide<f32, S> {
            a.reciprocal()
        }
    }

    struct InverseSqrt;
    impl Function for InverseSqrt {
        #[inline(always)]
        fn of<S: Simd>(&self, a: Wide<f32, S>) -> Wide<f32, S> {
            a.inverse_sqrt()
        }
    }

    struct LimitToOne;
    impl Function for LimitToOne {
        #[inline(always)]
        fn of<S: Simd>(&self, a: Wide<f32, S>) -> Wide<f32, S> {
            a.limit(a * Wide::splat(a.simd(), 0.0), Wide::splat(a.simd(), 1.0))
        }
    }

    /// Largest error of `function` over many sizes, in ulp of the result.
    fn worst_ulp<F: Function + Copy>(set: Instructions, f: F, exact: impl Fn(f64) -> f64) -> f64 {
        let from: Vec<f32> = (0..1 << 16)
            .map(|n| (1.0 + (n % 1021) as f32 / 1021.0) * 2_f32.powi(n / 1021 - 32))
            .collect();
        let mut to = vec![0.0; from.len()];
        set.require().expect("available").dispatch(Map(&from, &mut to, f));
        from.iter().zip(&to).fold(0.0, |worst, (&a, &found)| {
            let exact = exact(f64::from(a));
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            let error = (f64::from(found) - exact).abs() / ulp;
            assert!(error.is_finite(), "{set}: {a} gives {found}");
            worst.max(error)
        })
    }

    impl Copy for Reciprocal {}
    impl Clone for Reciprocal {
        fn clone(&self) -> Self {
            *self
        }
    }
    impl Copy for InverseSqrt {}
    impl Clone for InverseSqrt {
        fn clone(&self) -> Self {
            *self
        }
    }

    #[test]
    fn reciprocals_are_within_their_bounds() {
        for set in Instructions::available() {
            let reciprocal = worst_ulp(set, Reciprocal, |a| 1.0 / a);
            let inverse_sqrt = worst_ulp(set, InverseSqrt, |a| 1.0 / a.sqrt());
            eprintln!("{set}: 1/a {reciprocal:.2} ulp, 1/sqrt(a) {inverse_sqrt:.2} ulp");
            assert!(reciprocal <= 2.0, "{set}: {reciprocal} ulp");
            assert!(inverse_sqrt <= 3.0, "{set}: {inverse_sqrt} ulp");
        }
    }

    #[test]
    fn limits_keep_nan() {
        for set in Instructions::available() {
            let mut from = [0.5_f32; MAX_LANES];
            from[1] = f32::NAN;
            from[2] = 7.0;
            from[3] = -7.0;
            let mut to = [0.0; MAX_LANES];
            set.require().expect("available").dispatch(Map(&from, &mut to, LimitToOne));
            assert!(to[1].is_nan(), "{set}");
            assert_eq!([to[0], to[2], to[3]], [0.5, 1.0, 0.0], "{set}");
        }
    }
}
