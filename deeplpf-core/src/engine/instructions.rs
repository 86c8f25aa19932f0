//! Which vector instructions the engine uses: the best the processor has, or those asked for.

use pulp::{Simd, WithSimd};

use crate::{CoreError, Result};

/// Environment variable that picks the instruction set: `portable`, `avx2` or `avx512`.
pub const VARIABLE: &str = "DEEPLPF_SIMD";

/// A set of vector instructions that this processor was found to have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instructions {
    /// What every processor of the target has.
    Portable,
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// AVX-512 (F, BW, CD, DQ, VL).
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// The vector instructions that come with the target, such as NEON.
    #[cfg(not(target_arch = "x86_64"))]
    Native,
}

impl Instructions {
    /// All that this processor has, the best first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(pulp::x86::V4::try_new().map(Self::Avx512));
            found.extend(pulp::x86::V3::try_new().map(Self::Avx2));
        }
        #[cfg(not(target_arch = "x86_64"))]
        found.push(Self::Native);
        found.push(Self::Portable);
        found
    }

    /// The best available, or what [`VARIABLE`] asks for.
    ///
    /// # Errors
    /// An unknown name, or instructions the processor does not have.
    pub fn select() -> Result<Self> {
        let available = Self::available();
        match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => {
                let names: Vec<&str> = available.iter().map(|one| one.name()).collect();
                available.iter().copied().find(|one| one.name() == name).ok_or_else(|| {
                    CoreError::Config(format!(
                        "{VARIABLE}={name} is not an instruction set of this machine; it has {}",
                        names.join(", ")
                    ))
                })
            }
            _ => Ok(available[0]),
        }
    }

    /// The name in [`VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native => "native",
        }
    }

    /// Runs `operation` compiled for these instructions.
    pub fn run<Op: WithSimd>(self, operation: Op) -> Op::Output {
        match self {
            Self::Portable => pulp::Scalar128b.vectorize(operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Simd::vectorize(simd, operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Simd::vectorize(simd, operation),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native => pulp::Arch::new().dispatch(operation),
        }
    }

    /// How many f32 one vector holds; channels are kept in blocks of that many.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        self.run(Lanes)
    }
}

/// Whether `S` has no fused multiply-add of its own, so that asking for one would call a slow
/// library function.
#[inline(always)]
pub(super) fn unfused<S: Simd>() -> bool {
    std::any::TypeId::of::<S>() == std::any::TypeId::of::<pulp::Scalar128b>()
}
