//! Reciprocals without the divider, which is slower by a factor of five or more where a machine
//! has an estimate of 12 or 14 bits to begin with. Elsewhere, and in `f64`, `None`: the caller
//! divides.

use pulp::Simd;

#[cfg(target_arch = "x86_64")]
use super::lanes::as_type;

/// Estimates and decisions in `f32`.
pub(super) mod f32 {
    use super::Simd;
    #[cfg(target_arch = "x86_64")]
    use super::as_type;

    /// One Newton step from the machine's estimate r of 1/a: r + r (1 - a r). The estimate errs by
    /// 1.5 · 2^-12 (AVX) or 2^-14 (AVX-512) relatively, so one step ends at 1.4e-7, about an ulp.
    #[inline(always)]
    pub(in crate::simd) fn reciprocal<S: Simd>(simd: S, a: S::f32s) -> Option<S::f32s> {
        let r = estimate_reciprocal(simd, a)?;
        let residue = simd.negate_mul_add_e_f32s(a, r, simd.splat_f32s(1.0));
        Some(simd.mul_add_e_f32s(r, residue, r))
    }

    /// One Newton step from the machine's estimate r of 1/sqrt(a): r + r/2 (1 - a r²).
    #[inline(always)]
    pub(in crate::simd) fn inverse_sqrt<S: Simd>(simd: S, a: S::f32s) -> Option<S::f32s> {
        let r = estimate_inverse_sqrt(simd, a)?;
        let residue = simd.negate_mul_add_e_f32s(simd.mul_f32s(a, r), r, simd.splat_f32s(1.0));
        let half = simd.mul_f32s(r, simd.splat_f32s(0.5));
        Some(simd.mul_add_e_f32s(half, residue, r))
    }

    #[inline(always)]
    fn estimate_reciprocal<S: Simd>(simd: S, a: S::f32s) -> Option<S::f32s> {
        #[cfg(target_arch = "x86_64")]
        {
            use pulp::bytemuck::cast;
            if let Some(v4) = as_type::<S, pulp::x86::V4>(&simd) {
                let a: pulp::f32x16 = cast(a);
                return Some(cast(cast::<_, pulp::f32x16>(v4.avx512f._mm512_rcp14_ps(cast(a)))));
            }
            if let Some(v3) = as_type::<S, pulp::x86::V3>(&simd) {
                let a: pulp::f32x8 = cast(a);
                return Some(cast(cast::<_, pulp::f32x8>(v3.avx._mm256_rcp_ps(cast(a)))));
            }
        }
        let _ = (simd, a);
        None
    }

    #[inline(always)]
    fn estimate_inverse_sqrt<S: Simd>(simd: S, a: S::f32s) -> Option<S::f32s> {
        #[cfg(target_arch = "x86_64")]
        {
            use pulp::bytemuck::cast;
            if let Some(v4) = as_type::<S, pulp::x86::V4>(&simd) {
                let a: pulp::f32x16 = cast(a);
                return Some(cast(cast::<_, pulp::f32x16>(v4.avx512f._mm512_rsqrt14_ps(cast(a)))));
            }
            if let Some(v3) = as_type::<S, pulp::x86::V3>(&simd) {
                let a: pulp::f32x8 = cast(a);
                return Some(cast(cast::<_, pulp::f32x8>(v3.avx._mm256_rsqrt_ps(cast(a)))));
            }
        }
        let _ = (simd, a);
        None
    }

    /// Whether any lane is set.
    #[inline(always)]
    pub(in crate::simd) fn any<S: Simd>(simd: S, mask: S::m32s) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = as_type::<S, pulp::x86::V3>(&simd) {
            let mask: pulp::f32x8 = pulp::bytemuck::cast(mask);
            return v3.avx._mm256_movemask_ps(pulp::bytemuck::cast(mask)) != 0;
        }
        simd.first_true_m32s(mask) < S::F32_LANES
    }
}

/// Decisions in `f64`, where the divider is used.
pub(super) mod f64 {
    use super::Simd;
    #[cfg(target_arch = "x86_64")]
    use super::as_type;

    #[inline(always)]
    pub(in crate::simd) fn reciprocal<S: Simd>(_: S, _: S::f64s) -> Option<S::f64s> {
        None
    }

    #[inline(always)]
    pub(in crate::simd) fn inverse_sqrt<S: Simd>(_: S, _: S::f64s) -> Option<S::f64s> {
        None
    }

    /// Whether any lane is set.
    #[inline(always)]
    pub(in crate::simd) fn any<S: Simd>(simd: S, mask: S::m64s) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = as_type::<S, pulp::x86::V3>(&simd) {
            let mask: pulp::f64x4 = pulp::bytemuck::cast(mask);
            return v3.avx._mm256_movemask_pd(pulp::bytemuck::cast(mask)) != 0;
        }
        simd.first_true_m64s(mask) < S::F64_LANES
    }
}
