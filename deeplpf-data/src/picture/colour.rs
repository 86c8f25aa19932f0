//! From a file's samples and its ICC profile to sRGB.
//!
//! The conversion is done in `f32`: through curves and matrix where the profile has only these
//! (colorimetric, white to white), through its tables with the perceptual intent where it has them.
//! Colours outside sRGB are clipped to [0, 1].

use std::path::Path;
use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};

use crate::DataError;

/// A profile whose colours differ from sRGB by less than this is taken to be sRGB, and the file's
/// values are kept exactly. A quarter of an 8-bit step: the many published variants of the sRGB
/// profile (tables instead of the formula, rounded primaries) stay below it, other spaces do not.
const SAME_AS_SRGB: f32 = 0.25 / 255.0;

/// Steps per axis of the grid of colours on which a profile is compared with sRGB.
const GRID: u8 = 17;

/// How one row of samples becomes one row of sRGB.
pub(super) enum ToSrgb {
    /// The samples are sRGB already.
    Same,
    /// RGB samples in another space.
    Rgb(Arc<dyn TransformExecutor<f32> + Send + Sync>),
    /// Grey samples with a grey profile.
    Grey(Arc<dyn TransformExecutor<f32> + Send + Sync>),
}

impl ToSrgb {
    /// Reads the profile of a picture with `channels` colour channels (1 grey, 3 RGB).
    pub(super) fn from_profile(
        icc: &[u8],
        channels: usize,
        path: &Path,
    ) -> Result<Self, DataError> {
        let unusable = |reason: String| DataError::Profile { path: path.to_path_buf(), reason };
        let source = ColorProfile::new_from_slice(icc).map_err(|e| unusable(e.to_string()))?;
        let srgb = ColorProfile::new_srgb();
        // Formulas instead of tables wherever the curves have one: tables of 2^15 entries would
        // cost 16-bit pictures their shadows.
        let options =
            TransformOptions { allow_extended_range_rgb_xyz: true, ..TransformOptions::default() };
        let build = |layout| {
            source
                .create_transform_f32(layout, &srgb, Layout::Rgb, options)
                .map_err(|e| unusable(e.to_string()))
        };
        match (source.color_space, channels) {
            // A grey picture may carry an RGB profile: its grey axis is used.
            (DataColorSpace::Rgb, _) => {
                let transform = build(Layout::Rgb)?;
                let grid = rgb_grid();
                Ok(if is_identity(&*transform, &grid, &grid, &unusable)? {
                    Self::Same
                } else {
                    Self::Rgb(transform)
                })
            }
            (DataColorSpace::Gray, 1) => {
                let transform = build(Layout::Gray)?;
                let ramp: Vec<f32> = (0..=255u8).map(|v| f32::from(v) / 255.0).collect();
                let grey: Vec<f32> = ramp.iter().flat_map(|&v| [v; 3]).collect();
                Ok(if is_identity(&*transform, &ramp, &grey, &unusable)? {
                    Self::Same
                } else {
                    Self::Grey(transform)
                })
            }
            (DataColorSpace::Gray, _) => {
                Err(unusable("it is for grey pictures, and this one has RGB pixels".into()))
            }
            (other, _) => Err(unusable(format!("it is for {other:?} pixels, not RGB or grey"))),
        }
    }

    /// Converts a row of `channels`-interleaved samples to interleaved sRGB, clipped to [0, 1].
    ///
    /// Grey samples come as one per pixel, RGB as three; `output` has three per pixel.
    pub(super) fn convert(
        &self,
        samples: &[f32],
        channels: usize,
        output: &mut [f32],
        path: &Path,
    ) -> Result<(), DataError> {
        let run = |transform: &(dyn TransformExecutor<f32> + Send + Sync),
                   from: &[f32],
                   to: &mut [f32]| {
            transform
                .transform(from, to)
                .map_err(|e| DataError::Profile { path: path.to_path_buf(), reason: e.to_string() })
        };
        match (self, channels) {
            (Self::Grey(transform), 1) => run(&**transform, samples, output)?,
            (Self::Rgb(transform), 1) => run(&**transform, &repeated(samples), output)?,
            (Self::Rgb(transform), _) => run(&**transform, samples, output)?,
            (_, 1) => output.copy_from_slice(&repeated(samples)),
            _ => output.copy_from_slice(samples),
        }
        for value in output {
            // `max` before `min` also turns a NaN, which a degenerate curve can make, into 0.
            *value = value.max(0.0).min(1.0);
        }
        Ok(())
    }
}

/// Grey samples three times each.
fn repeated(grey: &[f32]) -> Vec<f32> {
    grey.iter().flat_map(|&v| [v; 3]).collect()
}

fn rgb_grid() -> Vec<f32> {
    let level = |v: u8| f32::from(v) / f32::from(GRID - 1);
    let mut grid = Vec::with_capacity(3 * usize::from(GRID).pow(3));
    for r in 0..GRID {
        for g in 0..GRID {
            for b in 0..GRID {
                grid.extend([level(r), level(g), level(b)]);
            }
        }
    }
    grid
}

/// Whether a transform returns `expected` for `samples`, to within [`SAME_AS_SRGB`].
fn is_identity(
    transform: &(dyn TransformExecutor<f32> + Send + Sync),
    samples: &[f32],
    expected: &[f32],
    unusable: &impl Fn(String) -> DataError,
) -> Result<bool, DataError> {
    let mut converted = vec![0.0; expected.len()];
    transform.transform(samples, &mut converted).map_err(|e| unusable(e.to_string()))?;
    Ok(converted.iter().zip(expected).all(|(a, b)| (a - b).abs() < SAME_AS_SRGB))
}

/// An sRGB profile to embed in written pictures. The same bytes every time.
pub(super) fn srgb_profile() -> Result<Vec<u8>, moxcms::CmsError> {
    let mut profile = ColorProfile::new_srgb();
    // Creation time: fixed, so that the same picture gives the same file. The date of IEC 61966-2-1.
    profile.creation_date_time = moxcms::ColorDateTime {
        year: 1999,
        month: 10,
        day_of_the_month: 18,
        hours: 0,
        minutes: 0,
        seconds: 0,
    };
    // The curves and primaries say all there is; the video-range tag would only confuse readers.
    profile.cicp = None;
    profile.encode()
}
