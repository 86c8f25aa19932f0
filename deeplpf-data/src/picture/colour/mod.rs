//! From a file's samples and its ICC profile to sRGB.
//!
//! A profile of curves and a matrix is applied with one table entry for every value a sample can
//! have and in `f32` after it, so that 16-bit pictures keep their depth (the float path of the
//! colour engine, `moxcms`, rounds its input to 14 bits). Profiles of tables go through the engine
//! in 16 bits, with the perceptual intent. Colours outside sRGB are clipped to [0, 1].

mod curve;
mod srgb;

use std::path::Path;
use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, Transform16BitExecutor, TransformOptions};

pub(super) use srgb::profile as srgb_profile;

use super::decode::Samples;
use crate::DataError;

/// A matrix profile is taken to be sRGB, and the file's values are kept exactly, where its primaries
/// agree with sRGB's to this (linear light) ...
const SAME_PRIMARIES: f64 = 1e-3;
/// ... and its curves to this (encoded): a quarter of an 8-bit step. The published variants of the
/// sRGB profile (tables instead of the formula, rounded primaries) stay below both.
const SAME_CURVE: f32 = 0.25 / 255.0;

/// How samples become sRGB.
pub(super) enum ToSrgb {
    /// They are sRGB.
    Same,
    /// One curve to linear light, and grey.
    Grey(Vec<f32>),
    /// Three curves to linear light, then a matrix to linear sRGB.
    Matrix { curves: [Vec<f32>; 3], matrix: [[f32; 3]; 3] },
    /// Tables, by the colour engine.
    Tables(Arc<Transform16BitExecutor>),
}

impl ToSrgb {
    /// Reads the profile of a picture with such samples.
    pub(super) fn from_profile(
        icc: &[u8],
        samples: Samples,
        path: &Path,
    ) -> Result<Self, DataError> {
        Self::read(icc, samples)
            .map_err(|reason| DataError::Profile { path: path.to_path_buf(), reason })
    }

    fn read(icc: &[u8], samples: Samples) -> Result<Self, String> {
        let profile = ColorProfile::new_from_slice(icc).map_err(|e| e.to_string())?;
        let has_tables = profile.lut_a_to_b_perceptual.is_some()
            || profile.lut_a_to_b_colorimetric.is_some()
            || profile.lut_a_to_b_saturation.is_some();
        match profile.color_space {
            // A grey picture may carry an RGB profile: its grey axis counts.
            DataColorSpace::Rgb if has_tables => profile
                .create_transform_16bit(
                    Layout::Rgb,
                    &ColorProfile::new_srgb(),
                    Layout::Rgb,
                    TransformOptions::default(),
                )
                .map(Self::Tables)
                .map_err(|e| e.to_string()),
            DataColorSpace::Rgb if profile.is_matrix_shaper() => {
                let tag = |curve: &Option<_>| curve::table(curve.as_ref(), samples.max());
                let curves =
                    [tag(&profile.red_trc)?, tag(&profile.green_trc)?, tag(&profile.blue_trc)?];
                let matrix = srgb::from_profile_connection(profile.rgb_to_xyz_matrix().v);
                if srgb::is_identity(&matrix, SAME_PRIMARIES)
                    && curves.iter().all(|curve| curve::is_srgb(curve, SAME_CURVE))
                {
                    return Ok(Self::Same);
                }
                let matrix = matrix.map(|row| row.map(|v| v as f32));
                Ok(Self::Matrix { curves, matrix })
            }
            DataColorSpace::Gray if samples.colours == 1 && !has_tables => {
                let curve = curve::table(profile.gray_trc.as_ref(), samples.max())?;
                let same = curve::is_srgb(&curve, SAME_CURVE);
                Ok(if same { Self::Same } else { Self::Grey(curve) })
            }
            DataColorSpace::Gray if samples.colours == 3 => {
                Err("it is for grey pictures, and this one has RGB pixels".into())
            }
            DataColorSpace::Rgb | DataColorSpace::Gray => {
                Err("it has neither curves with primaries nor tables".into())
            }
            other => Err(format!("it is for {other:?} pixels, not RGB or grey")),
        }
    }

    /// Converts a row of samples (one per grey pixel, three per RGB pixel) to three sRGB values per
    /// pixel in [0, 1].
    pub(super) fn convert(
        &self,
        row: &[u16],
        samples: Samples,
        output: &mut [f32],
        path: &Path,
    ) -> Result<(), DataError> {
        let pixels = row.chunks_exact(samples.colours);
        let pixels = pixels.map(|p| if p.len() == 1 { [p[0]; 3] } else { [p[0], p[1], p[2]] });
        let output = output.chunks_exact_mut(3);
        match self {
            Self::Same => {
                let max = f32::from(samples.max());
                for (pixel, rgb) in pixels.zip(output) {
                    rgb.copy_from_slice(&pixel.map(|v| f32::from(v) / max));
                }
            }
            Self::Grey(curve) => {
                for (pixel, rgb) in pixels.zip(output) {
                    rgb.fill(srgb::encode(curve[usize::from(pixel[0])]));
                }
            }
            Self::Matrix { curves, matrix } => {
                for (pixel, rgb) in pixels.zip(output) {
                    let linear = [0, 1, 2].map(|c| curves[c][usize::from(pixel[c])]);
                    for (value, row) in rgb.iter_mut().zip(matrix) {
                        *value = srgb::encode(
                            row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2],
                        );
                    }
                }
            }
            Self::Tables(transform) => {
                // 8-bit samples times 257 are the same fractions of 65535.
                let scale = u16::MAX / samples.max();
                let wide: Vec<u16> = pixels.flat_map(|p| p.map(|v| v * scale)).collect();
                let mut converted = vec![0; wide.len()];
                transform.transform(&wide, &mut converted).map_err(|e| DataError::Profile {
                    path: path.to_path_buf(),
                    reason: e.to_string(),
                })?;
                for (pixel, rgb) in converted.chunks_exact(3).zip(output) {
                    for (value, &v) in rgb.iter_mut().zip(pixel) {
                        *value = f32::from(v) / 65535.0;
                    }
                }
            }
        }
        Ok(())
    }
}
