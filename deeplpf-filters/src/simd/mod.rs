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
/// differ between instruction sets by rounding only; with one of them they have the same bits on
/// every machine and for any number of threads.
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
                None => Ok(Self::available().next_back().unwrap_or(Self::Portable)),
                Some(value) => Self::named(&value.to_string_lossy()),
            })
            .clone()
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
