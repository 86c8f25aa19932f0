//! `deeplpf-render-1`: a picture from a raw file, simply and always the same.
//!
//! The steps, with the equations, are in `docs/src/render.md`: levels, white balance as shot,
//! demosaicing, the camera's matrix to linear sRGB, baseline exposure, the curve of sRGB. There is no
//! tone curve, no sharpening, no noise reduction and no correction of lenses.

use std::path::Path;

use ndarray::Array3;
use rayon::prelude::*;

use super::colour::camera_to_srgb;
use super::demosaic::demosaic;
use super::mosaic::Part;
use super::{Mosaic, RawError};
use crate::picture::turned_upright;
use crate::{DecodeLimits, Image, ImageInfo, SourceFormat};

/// The rendering's name. A change of what any file becomes is another name.
pub const RENDERING: &str = "deeplpf-render-1";

/// How light becomes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Curve {
    /// IEC 61966-2-1: v = 12.92 l where l <= 0.0031308, else 1.055 l^(1/2.4) - 0.055.
    #[default]
    Srgb,
    /// ITU-R BT.709, which LibRaw uses unless told otherwise: v = 4.5 l where l < 0.018, else
    /// 1.099 l^0.45 - 0.099. The targets of See-in-the-Dark are made with it.
    Bt709,
}

impl Curve {
    /// The value of light in [0, 1].
    #[must_use]
    pub fn encode(self, light: f32) -> f32 {
        match self {
            Self::Srgb if light <= 0.003_130_8 => 12.92 * light,
            Self::Srgb => 1.055 * light.powf(1.0 / 2.4) - 0.055,
            // The exact constants, at which line and power meet: ITU-R BT.2020, table 4.
            Self::Bt709 if light < 0.018_053_97 => 4.5 * light,
            Self::Bt709 => 1.099_296_8 * light.powf(0.45) - 0.099_296_8,
        }
    }
}

/// Which part of the sensor is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Area {
    /// What the camera means to be seen, upright.
    #[default]
    Picture,
    /// The whole active area as it lies on the sensor.
    Active,
}

/// How a mosaic is rendered. The default is [`RENDERING`] as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenderOptions {
    /// How light becomes values.
    pub curve: Curve,
    /// Which part.
    pub area: Area,
    /// Factor on the light after the matrix, beside the baseline exposure; 1 changes nothing.
    pub gain: f32,
    /// Whether the file's baseline exposure is applied.
    pub baseline_exposure: bool,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { curve: Curve::Srgb, area: Area::Picture, gain: 1.0, baseline_exposure: true }
    }
}

/// Renders a mosaic: 3 x H x W, sRGB primaries, encoded by the curve, in [0, 1].
///
/// # Errors
/// [`RawError::Colour`] where no matrix can be used, [`RawError::TooSmall`],
/// [`RawError::NotBuiltIn`].
pub fn render(mosaic: &Mosaic, options: &RenderOptions) -> Result<Array3<f32>, RawError> {
    let colour = |reason| RawError::Colour { path: mosaic.path.clone(), reason };
    let calibrated = mosaic.matrices.first().ok_or_else(|| colour("no colour matrix"))?;
    let matrix = camera_to_srgb(calibrated).ok_or_else(|| colour("an unusable colour matrix"))?;
    let baseline = if options.baseline_exposure { mosaic.baseline_exposure.exp2() } else { 1.0 };
    let gain = options.gain * baseline;
    let matrix = matrix.map(|row| row.map(|value| value as f32 * gain));
    let Part { top, left, height, width } = match options.area {
        Area::Picture => mosaic.crop,
        Area::Active => Part { top: 0, left: 0, height: mosaic.height, width: mosaic.width },
    };
    let rgb = demosaic(mosaic)?;
    let mut pixels = Array3::<f32>::zeros((3, height, width));
    // Infallible: a new array is contiguous.
    let all = pixels.as_slice_mut().expect("contiguous");
    for (plane, weights) in all.chunks_exact_mut(height * width).zip(matrix) {
        plane.par_chunks_exact_mut(width).enumerate().for_each(|(row, line)| {
            let first = (top + row) * mosaic.width + left;
            for (to, from) in line.iter_mut().zip(&rgb[first..first + width]) {
                let light = weights[0] * from[0] + weights[1] * from[1] + weights[2] * from[2];
                *to = options.curve.encode(light.clamp(0.0, 1.0)).clamp(0.0, 1.0);
            }
        });
    }
    Ok(match options.area {
        Area::Picture => turned_upright(pixels, mosaic.orientation),
        Area::Active => pixels,
    })
}

/// Decodes a raw file and renders it by [`RENDERING`].
///
/// # Errors
/// As [`Mosaic::open`] and [`render()`].
pub fn render_file(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Image, RawError> {
    let mosaic = Mosaic::open(path, limits)?;
    let pixels = render(&mosaic, &RenderOptions::default())?;
    let info = ImageInfo {
        bit_depth: 16,
        format: SourceFormat::Tiff,
        icc_profile: None,
        exif: None,
        orientation: mosaic.orientation,
        transparent_pixels: 0,
        jpeg_quality: None,
    };
    Ok(Image { pixels, info })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_continuous_and_reach_one() {
        for (curve, knee) in [(Curve::Srgb, 0.003_130_8_f32), (Curve::Bt709, 0.018_053_97)] {
            let (below, above) = (curve.encode(knee.next_down()), curve.encode(knee.next_up()));
            // sRGB's published constants meet to 3e-8 of each other; single precision does the rest.
            assert!((below - above).abs() < 2e-6, "{curve:?} {below} {above}");
            assert_eq!(curve.encode(0.0), 0.0);
            assert!((curve.encode(1.0) - 1.0).abs() < 1e-6);
        }
        assert!((Curve::Srgb.encode(0.18) - 0.461_356).abs() < 1e-5);
        assert!((Curve::Bt709.encode(0.18) - 0.408_848).abs() < 1e-5);
    }
}
