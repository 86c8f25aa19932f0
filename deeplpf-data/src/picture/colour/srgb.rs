//! sRGB as a destination: its matrix, its encoding, its profile.

use std::sync::LazyLock;

use moxcms::{CmsError, ColorProfile};

/// XYZ of the profile connection space (white 0.9642, 1, 0.8249) to linear sRGB.
///
/// The inverse of the primaries (0.64, 0.33), (0.30, 0.60), (0.15, 0.06) with white (0.3127, 0.3290)
/// of IEC 61966-2-1, adapted with the Bradford matrix of ICC.1:2022 annex E.
const FROM_XYZ: [[f64; 3]; 3] = [
    [3.134_186_364_2, -1.617_208_959_0, -0.490_694_064_0],
    [-0.978_748_504_2, 1.916_130_096_8, 0.033_433_399_2],
    [0.071_963_927_8, -0.228_993_873_5, 1.405_753_732_9],
];

/// From a space whose primaries in XYZ are the columns of `to_xyz` to linear sRGB.
pub(super) fn from_profile_connection(to_xyz: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    FROM_XYZ
        .map(|row| [0, 1, 2].map(|column| (0..3).map(|k| row[k] * to_xyz[k][column]).sum::<f64>()))
}

/// Whether a matrix changes nothing, to within `tolerance` per entry.
pub(super) fn is_identity(matrix: &[[f64; 3]; 3], tolerance: f64) -> bool {
    matrix.iter().enumerate().all(|(r, row)| {
        row.iter().enumerate().all(|(c, &v)| (v - f64::from(u8::from(r == c))).abs() < tolerance)
    })
}

/// The sRGB encoding of linear light, clipped to [0, 1]. IEC 61966-2-1.
pub(super) fn encode(linear: f32) -> f32 {
    let v = linear.clamp(0.0, 1.0);
    if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}

/// The linear light of an sRGB value, clipped to [0, 1]. IEC 61966-2-1.
fn decode(encoded: f64) -> f64 {
    let v = encoded.clamp(0.0, 1.0);
    if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

/// A function on [0, 1] as equally spaced values with straight lines between them.
pub(super) struct Lines(Vec<f32>);

impl Lines {
    pub(super) fn new(intervals: u32, function: impl Fn(f64) -> f64) -> Self {
        let at = |k: u32| function(f64::from(k) / f64::from(intervals)) as f32;
        Self((0..=intervals).map(at).collect())
    }

    /// The value at `x`, clipped to [0, 1].
    pub(super) fn apply(&self, x: f32) -> f32 {
        let intervals = self.0.len() - 1;
        let position = x.clamp(0.0, 1.0) * intervals as f32;
        let below = (position as usize).min(intervals - 1);
        let (low, high) = (self.0[below], self.0[below + 1]);
        low + (high - low) * (position - below as f32)
    }
}

/// [`encode`] as lines: the power costs twenty times as much, once for every sample of a photograph.
pub(super) struct Encoding(Lines);

impl Encoding {
    /// With 2^16 intervals the error is below 1e-6: 8e-7 beside the kink at 0.0031308, where the
    /// slope falls from 12.92 to 12.70, and 7e-8 elsewhere. A 16-bit level is 1.5e-5.
    pub(super) fn get() -> &'static Self {
        static TABLE: LazyLock<Encoding> =
            LazyLock::new(|| Encoding(Lines::new(1 << 16, |v| f64::from(encode(v as f32)))));
        &TABLE
    }

    pub(super) fn apply(&self, linear: f32) -> f32 {
        self.0.apply(linear)
    }
}

/// [`decode`] as lines.
pub(super) struct Decoding(Lines);

impl Decoding {
    /// The second derivative is at most 3: with 2^12 intervals the error is below 3e-8.
    pub(super) fn get() -> &'static Self {
        static TABLE: LazyLock<Decoding> = LazyLock::new(|| Decoding(Lines::new(1 << 12, decode)));
        &TABLE
    }

    pub(super) fn apply(&self, encoded: f32) -> f32 {
        self.0.apply(encoded)
    }
}

/// Where an ICC header tells the time of creation (ICC.1:2022, 7.2.1).
const CREATION_TIME: std::ops::Range<usize> = 24..36;
/// 1999-10-01 00:00:00, the month of IEC 61966-2-1: year, month, day, hour, minute, second.
const FIXED_TIME: [u8; 12] = [0x07, 0xCF, 0, 10, 0, 1, 0, 0, 0, 0, 0, 0];

/// An sRGB profile to embed in written pictures. The same bytes every time.
pub(in crate::picture) fn profile() -> Result<Vec<u8>, CmsError> {
    let mut profile = ColorProfile::new_srgb();
    // Curves and primaries say all there is; the video-range tag would only confuse readers.
    profile.cicp = None;
    let mut bytes = profile.encode()?;
    // The library writes the present time, whatever the profile says; the same picture should give
    // the same file.
    bytes.get_mut(CREATION_TIME).ok_or(CmsError::InvalidProfile)?.copy_from_slice(&FIXED_TIME);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_and_grey_of_the_connection_space_are_neutral() {
        let white = FROM_XYZ.map(|r| r[0] * 0.9642 + r[1] + r[2] * 0.8249);
        for v in white {
            assert!((v - 1.0).abs() < 1e-9, "{white:?}");
        }
    }

    /// At points that are no table's, everywhere and densely where the curve bends most.
    #[test]
    fn lines_are_close_to_the_formulas() {
        let points = (0..=300_000).map(|k| f64::from(k) / 3e5);
        let dark = (0..=100_000).map(|k| f64::from(k) / 1e7);
        let (mut encoding, mut decoding) = (0.0f64, 0.0f64);
        for x in points.chain(dark) {
            let exact =
                if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
            encoding = encoding.max((f64::from(Encoding::get().apply(x as f32)) - exact).abs());
            let found = f64::from(Decoding::get().apply(x as f32));
            decoding = decoding.max((found - decode(x)).abs());
        }
        assert!(encoding < 1e-6 && decoding < 2e-7, "{encoding:e} {decoding:e}");
        for (x, end) in [(-1.0, 0.0), (2.0, 1.0)] {
            assert!((Encoding::get().apply(x) - end).abs() < 1e-6);
        }
    }

    #[test]
    fn the_written_profile_is_srgb_without_the_time() {
        let bytes = profile().expect("encodes");
        assert_eq!(bytes[CREATION_TIME], FIXED_TIME);
        let read = ColorProfile::new_from_slice(&bytes).expect("reads");
        assert!(is_identity(&from_profile_connection(read.rgb_to_xyz_matrix().v), 1e-3));
    }
}
