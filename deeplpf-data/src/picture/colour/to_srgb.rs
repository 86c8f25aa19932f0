//! From a file's levels to sRGB.

use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, Transform16BitExecutor, TransformOptions};

use super::{SAME_CURVE, SAME_PRIMARIES, curve, has_tables, srgb};
use crate::picture::levels::Level;

/// How levels become sRGB.
pub(in crate::picture) enum ToSrgb {
    /// They are sRGB.
    Same,
    /// Grey: the encoded value of every level.
    Grey(Vec<f32>),
    /// Three curves to linear light, then a matrix to linear sRGB.
    Matrix { curves: Box<[Vec<f32>; 3]>, matrix: [[f32; 3]; 3] },
    /// Tables, by the colour engine.
    Tables(Arc<Transform16BitExecutor>),
}

impl ToSrgb {
    /// Reads the profile of a picture of `colours` samples a pixel (1 or 3) with levels 0 to `max`.
    ///
    /// # Errors
    /// Why the profile cannot be used.
    pub(in crate::picture) fn from_profile(
        icc: &[u8],
        colours: usize,
        max: u16,
    ) -> Result<Self, String> {
        let profile = ColorProfile::new_from_slice(icc).map_err(|e| e.to_string())?;
        match profile.color_space {
            // A grey picture may carry an RGB profile: its grey axis counts.
            DataColorSpace::Rgb if has_tables(&profile) => profile
                .create_transform_16bit(
                    Layout::Rgb,
                    &ColorProfile::new_srgb(),
                    Layout::Rgb,
                    TransformOptions::default(),
                )
                .map(Self::Tables)
                .map_err(|e| e.to_string()),
            DataColorSpace::Rgb if profile.is_matrix_shaper() => {
                let tag = |curve: &Option<_>| curve::table(curve.as_ref(), max);
                let curves =
                    [tag(&profile.red_trc)?, tag(&profile.green_trc)?, tag(&profile.blue_trc)?];
                let matrix = srgb::from_profile_connection(profile.rgb_to_xyz_matrix().v);
                if srgb::is_identity(&matrix, SAME_PRIMARIES)
                    && curves.iter().all(|curve| curve::is_srgb(curve, SAME_CURVE))
                {
                    return Ok(Self::Same);
                }
                let matrix = matrix.map(|row| row.map(|v| v as f32));
                Ok(Self::Matrix { curves: Box::new(curves), matrix })
            }
            DataColorSpace::Gray if colours == 1 && !has_tables(&profile) => {
                let curve = curve::table(profile.gray_trc.as_ref(), max)?;
                if curve::is_srgb(&curve, SAME_CURVE) {
                    return Ok(Self::Same);
                }
                Ok(Self::Grey(curve.into_iter().map(srgb::encode).collect()))
            }
            DataColorSpace::Gray if colours == 3 => {
                Err("it is for grey pictures, and this one has RGB pixels".into())
            }
            DataColorSpace::Rgb | DataColorSpace::Gray => {
                Err("it has neither curves with primaries nor tables".into())
            }
            other => Err(format!("it is for {other:?} pixels, not RGB or grey")),
        }
    }

    /// Converts a row of `colours` levels a pixel to planes of sRGB values in [0, 1].
    ///
    /// [`ToSrgb::Tables`] are for [`table_row`] and treated as sRGB here; a picture applies them
    /// once, when it is decoded.
    pub(in crate::picture) fn convert<L: Level>(
        &self,
        row: &[L],
        colours: usize,
        planes: [&mut [f32]; 3],
    ) {
        match (self, colours) {
            (Self::Grey(encoded), _) => grey(row, planes, |level| encoded[level.index()]),
            (Self::Matrix { curves, matrix }, 1) => {
                let linear = |level: L| [0, 1, 2].map(|c| curves[c][level.index()]);
                coloured(row.iter().map(|&level| linear(level)), matrix, planes);
            }
            (Self::Matrix { curves, matrix }, _) => {
                let pixels = row.as_chunks::<3>().0.iter();
                let linear = |p: &[L; 3]| [0, 1, 2].map(|c| curves[c][p[c].index()]);
                coloured(pixels.map(linear), matrix, planes);
            }
            (_, 1) => grey(row, planes, Level::fraction),
            _ => {
                let [red, green, blue] = planes;
                let pixels = row.as_chunks::<3>().0;
                for (((p, r), g), b) in pixels.iter().zip(red).zip(green).zip(blue) {
                    (*r, *g, *b) = (p[0].fraction(), p[1].fraction(), p[2].fraction());
                }
            }
        }
    }
}

fn grey<L: Level>(row: &[L], planes: [&mut [f32]; 3], value: impl Fn(L) -> f32) {
    let [red, green, blue] = planes;
    for (to, &level) in red.iter_mut().zip(row) {
        *to = value(level);
    }
    green.copy_from_slice(red);
    blue.copy_from_slice(red);
}

fn coloured(
    pixels: impl Iterator<Item = [f32; 3]>,
    matrix: &[[f32; 3]; 3],
    [red, green, blue]: [&mut [f32]; 3],
) {
    let encode = srgb::Encoding::get();
    for (((linear, r), g), b) in pixels.zip(red).zip(green).zip(blue) {
        let [x, y, z] =
            matrix.map(|m| encode.apply(m[0] * linear[0] + m[1] * linear[1] + m[2] * linear[2]));
        (*r, *g, *b) = (x, y, z);
    }
}

/// A row of `colours` levels a pixel through a profile of tables, to three 16-bit sRGB levels a pixel.
pub(in crate::picture) fn table_row<L: Level>(
    transform: &Transform16BitExecutor,
    row: &[L],
    colours: usize,
    output: &mut [u16],
) -> Result<(), String> {
    // The engine's transform is for RGB: a grey level becomes three.
    let copies = if colours == 1 { 3 } else { 1 };
    let wide: Vec<u16> =
        row.iter().flat_map(|level| std::iter::repeat_n(level.wide(), copies)).collect();
    transform.transform(&wide, output).map_err(|e| e.to_string())
}
