//! What a user changes about an enhancement: its strength, and the filters themselves.
//!
//! **Strength** t scales what the network does towards doing nothing, in the filters' parameters
//! where there are any: t = 0 returns the photograph, t = 1 is the network's own result, more
//! exaggerates it. With x the photograph, Y1 the backbone's image and n the share of a pixel that
//! Y1 has when every filter is neutral:
//!
//! - Y1(t) = n x + t (Y1 - n x);
//! - coefficients of the polynomial, mixer, offsets and curves of the colour stage: times t;
//! - scales of the local filters: `release` 1 + t (s - 1), limited to [0, 2]; `paper`, where a scale
//!   of 0 is neutral, t s (the polynomial then stays as it is: it acts through the scales only).
//!
//! n follows from the fusion Y = Y2 S + Y1 at neutral filters: Y2 = Y1 and S = 1 give n = 1/2 in
//! `release`, S = 2 gives 1/3 (both kinds of local filter added without the fix `fusion`); without any
//! filter, and in `paper`, whose neutral filters add nothing, n = 1.

use deeplpf_filters::{Dialect, FusionRule, StackConfig, StackParams};

use crate::{CoreError, Result};

/// Most that [`EnhanceOptions::strength`](crate::EnhanceOptions::strength) may be. Beyond it most
/// scales would be at their limits, so that more strength would change hues rather than strength.
pub const MAX_STRENGTH: f32 = 1.5;

/// Filters a user gives instead of those the network would predict; the backbone still runs.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenParameters {
    /// Named parameters of every filter of the model.
    pub filters: StackParams<f32>,
    /// The colour stage's numbers (see [`crate::ops::colour_stage`]), if the model has one.
    pub colour: Option<Vec<f32>>,
}

/// # Errors
/// A strength that is not in [0, [`MAX_STRENGTH`]].
pub(crate) fn check_strength(strength: f32) -> Result<()> {
    if (0.0..=MAX_STRENGTH).contains(&strength) {
        Ok(())
    } else {
        Err(CoreError::Strength { given: strength, most: MAX_STRENGTH })
    }
}

/// The share n of a pixel in Y1 when every filter is neutral.
pub(crate) fn neutral_share(config: &StackConfig) -> f32 {
    let adds = config.fusion == FusionRule::Sum;
    let both = config.graduated > 0 && config.elliptical > 0;
    match config.dialect {
        Dialect::Release if !config.has_filters() => 1.0,
        Dialect::Release if both && adds && !config.fixes.fusion => 1.0 / 3.0,
        Dialect::Release => 0.5,
        _ => 1.0,
    }
}

/// `filters` at `strength`.
pub(crate) fn scaled(
    config: &StackConfig,
    filters: &StackParams<f32>,
    strength: f32,
) -> StackParams<f32> {
    let mut scaled = filters.clone();
    let local = !filters.graduated.is_empty() || !filters.elliptical.is_empty();
    let release = config.dialect == Dialect::Release;
    if let Some(polynomial) = &mut scaled.polynomial
        && (release || !local)
    {
        *polynomial = polynomial.map(|coefficient| coefficient * strength);
    }
    let scales = (scaled.graduated.iter_mut().map(|filter| &mut filter.scale))
        .chain(scaled.elliptical.iter_mut().map(|filter| &mut filter.scale));
    for scale in scales.flatten() {
        *scale = if release {
            (1.0 + strength * (*scale - 1.0)).clamp(0.0, 2.0)
        } else {
            strength * *scale
        };
    }
    scaled
}
