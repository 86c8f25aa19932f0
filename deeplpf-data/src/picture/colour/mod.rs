//! Between a file's levels, as its ICC profile means them, and sRGB.
//!
//! A profile of curves and a matrix is applied with one table entry for every level a sample can
//! have and in `f32` after it, so that 16-bit pictures keep their depth (the float path of the
//! colour engine, `moxcms`, rounds its input to 14 bits). Profiles of tables go through the engine
//! in 16 bits, with the perceptual intent. Colours outside sRGB are clipped to [0, 1].

mod curve;
mod from_srgb;
mod srgb;
mod to_srgb;

pub(super) use from_srgb::FromSrgb;
pub(super) use srgb::profile as srgb_profile;
pub(super) use to_srgb::{ToSrgb, table_row};

/// A matrix profile is taken to be sRGB, and values are kept exactly, where its primaries agree with
/// sRGB's to this (linear light) ...
const SAME_PRIMARIES: f64 = 1e-3;
/// ... and its curves to this (encoded): a quarter of an 8-bit step. The published variants of the
/// sRGB profile (tables instead of the formula, rounded primaries) stay below both.
const SAME_CURVE: f32 = 0.25 / 255.0;

/// Whether a profile's tables say more than its curves and primaries could.
fn has_tables(profile: &moxcms::ColorProfile) -> bool {
    profile.lut_a_to_b_perceptual.is_some()
        || profile.lut_a_to_b_colorimetric.is_some()
        || profile.lut_a_to_b_saturation.is_some()
}
