//! From sRGB back to the space of a picture's own profile.

use moxcms::{ColorProfile, DataColorSpace, ToneReprCurve};

use super::{SAME_CURVE, SAME_PRIMARIES, curve, has_tables, srgb};

/// How sRGB values become those of the profile that results are tagged with.
pub(in crate::picture) enum FromSrgb {
    /// The profile is sRGB.
    Same,
    /// A matrix from linear sRGB to the profile's linear light, then the curves' inverses.
    Matrix { matrix: [[f32; 3]; 3], curves: Box<[curve::Inverse; 3]> },
}

impl FromSrgb {
    /// Reads a profile of curves and primaries.
    ///
    /// # Errors
    /// Why results cannot be converted to the profile: it is for grey or CMYK, it is made of tables
    /// (whose way back is another table of another precision and intent), or a curve of it rises
    /// and falls.
    pub(in crate::picture) fn to_profile(icc: &[u8]) -> Result<Self, String> {
        let profile = ColorProfile::new_from_slice(icc).map_err(|e| e.to_string())?;
        if profile.color_space != DataColorSpace::Rgb {
            return Err(format!("it is for {:?} pixels, not RGB", profile.color_space));
        }
        if has_tables(&profile) {
            return Err("it is made of tables, not of curves and primaries".into());
        }
        if !profile.is_matrix_shaper() {
            return Err("it has neither curves with primaries nor tables".into());
        }
        let to_linear = srgb::from_profile_connection(profile.rgb_to_xyz_matrix().v);
        let tags = [&profile.red_trc, &profile.green_trc, &profile.blue_trc];
        let same = |tag: &&Option<ToneReprCurve>| {
            curve::table(tag.as_ref(), u16::from(u8::MAX)).map(|t| curve::is_srgb(&t, SAME_CURVE))
        };
        let same = tags.iter().map(same).collect::<Result<Vec<_>, _>>()?;
        if srgb::is_identity(&to_linear, SAME_PRIMARIES) && same.iter().all(|&same| same) {
            return Ok(Self::Same);
        }
        let matrix = inverse(&to_linear).ok_or("its primaries do not span a space")?;
        let inverted = |tag: &Option<ToneReprCurve>| curve::Inverse::of(tag.as_ref());
        let curves = [inverted(tags[0])?, inverted(tags[1])?, inverted(tags[2])?];
        let matrix = matrix.map(|row| row.map(|v| v as f32));
        Ok(Self::Matrix { matrix, curves: Box::new(curves) })
    }

    /// Converts planes of sRGB values, clipped to [0, 1], to values of the profile in [0, 1].
    pub(in crate::picture) fn convert(&self, planes: [&mut [f32]; 3]) {
        let Self::Matrix { matrix, curves } = self else { return };
        let decoding = srgb::Decoding::get();
        let [red, green, blue] = planes;
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let linear = [*r, *g, *b].map(|v| decoding.apply(v));
            let [x, y, z] = matrix.map(|m| m[0] * linear[0] + m[1] * linear[1] + m[2] * linear[2]);
            (*r, *g, *b) = (curves[0].apply(x), curves[1].apply(y), curves[2].apply(z));
        }
    }
}

fn inverse(m: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let cofactor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    // The rows are of the size of 1; a profile this flat has primaries on a line.
    (determinant.abs() > 1e-6)
        .then(|| [0, 1, 2].map(|r| [0, 1, 2].map(|c| cofactor(c, r) / determinant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_changes_nothing() {
        let m = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.0, 0.1, 0.8]];
        let n = inverse(&m).expect("spans");
        let product =
            [0, 1, 2].map(|r| [0, 1, 2].map(|c| (0..3).map(|k| m[r][k] * n[k][c]).sum::<f64>()));
        assert!(srgb::is_identity(&product, 1e-12), "{product:?}");
        assert!(inverse(&[[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 0.0]]).is_none());
    }
}
