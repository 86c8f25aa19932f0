//! sRGB to CIE L\*a\*b\*, as scikit-image's `rgb2lab` has it (D65, 2 degree observer).
//!
//! The constants of the training loss differ in their last digits; these belong to the metrics.

use pulp::Arch;
use rayon::prelude::*;

use super::ImagePair;

/// Linear sRGB to XYZ (IEC 61966-2-1), rows X, Y, Z.
const XYZ_FROM_RGB: [[f64; 3]; 3] = [
    [0.412_453, 0.357_580, 0.180_423],
    [0.212_671, 0.715_160, 0.072_169],
    [0.019_334, 0.119_193, 0.950_227],
];
/// White point D65, 2 degree observer.
const WHITE: [f64; 3] = [0.950_47, 1.0, 1.088_83];
/// Pixels summed together; fixed so that the sum does not depend on the number of threads.
const BLOCK: usize = 4096;

/// A colour in CIE L\*a\*b\*: L in \[0, 100\], a and b about \[-128, 127\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lab {
    pub l: f64,
    pub a: f64,
    pub b: f64,
}

impl Lab {
    /// From linear values in \[0, 1\].
    #[inline(always)]
    pub fn from_linear(linear: [f64; 3]) -> Self {
        let [fx, fy, fz] = std::array::from_fn(|i| {
            let row = XYZ_FROM_RGB[i];
            let relative =
                (row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2]) / WHITE[i];
            // The CIE's rounded constants, which scikit-image uses too.
            if relative > 0.008856 { cube_root(relative) } else { 7.787 * relative + 16.0 / 116.0 }
        });
        Self { l: 116.0 * fy - 16.0, a: 500.0 * (fx - fy), b: 200.0 * (fy - fz) }
    }
}

/// The sRGB transfer curve, with the values of 8-bit files at hand: `powf` is most of the time of
/// a colour difference otherwise. Both ways give the same bits.
struct Curve {
    levels: [f64; 256],
}

impl Curve {
    fn new() -> Self {
        Self { levels: std::array::from_fn(|level| linear(f64::from(level as f32 / 255.0))) }
    }

    /// Linear light of an sRGB-encoded value; clamped to \[0, 1\] first.
    fn linear(&self, value: f32) -> f64 {
        let value = value.clamp(0.0, 1.0);
        let level = (value * 255.0 + 0.5) as u8;
        if f32::from(level) / 255.0 == value {
            self.levels[usize::from(level)]
        } else {
            linear(f64::from(value))
        }
    }
}

fn linear(value: f64) -> f64 {
    if value > 0.04045 { ((value + 0.055) / 1.055).powf(2.4) } else { value / 12.92 }
}

/// The cube root of a number in \[0.008, 2\], to 1e-12 of it.
///
/// A third of the exponent (the constant is that of the C library of FreeBSD, `s_cbrt.c`: it makes
/// the first guess wrong by at most 5%) and two steps of Halley's method, which cubes the error.
#[inline(always)]
fn cube_root(value: f64) -> f64 {
    let high_word = (value.to_bits() >> 32) as u32;
    let mut root = f64::from_bits(u64::from(high_word / 3 + 715_094_163) << 32);
    for _ in 0..2 {
        let cube = root * root * root;
        root *= (cube + 2.0 * value) / (2.0 * cube + value);
    }
    root
}

/// The mean over all pixels of a colour difference `difference(target, prediction)`.
pub(super) fn mean_difference(
    pair: &ImagePair<'_>,
    difference: impl Fn(Lab, Lab) -> f64 + Sync,
) -> f64 {
    let channels = [pair.channel(0), pair.channel(1), pair.channel(2)];
    let pixels = channels[0].0.len();
    let curve = &Curve::new();
    let sums: Vec<f64> = (0..pixels.div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let block = block * BLOCK..((block + 1) * BLOCK).min(pixels);
            let prediction = lab(channels.map(|(p, _)| &p[block.clone()]), curve);
            let target = lab(channels.map(|(_, t)| &t[block.clone()]), curve);
            target.into_iter().zip(prediction).map(|(t, p)| difference(t, p)).sum()
        })
        .collect();
    sums.iter().sum::<f64>() / pixels as f64
}

/// The colours of a block of pixels.
fn lab(channels: [&[f32]; 3], curve: &Curve) -> Vec<Lab> {
    let linear: Vec<[f64; 3]> = (0..channels[0].len())
        .map(|pixel| channels.map(|channel| curve.linear(channel[pixel])))
        .collect();
    // Compiled once per instruction set; the operations are the same in all of them.
    Arch::new().dispatch(
        #[inline(always)]
        || linear.iter().map(|&linear| Lab::from_linear(linear)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn levels_at_hand_are_those_computed() {
        let curve = Curve::new();
        for i in 0..=25_500 {
            let value = i as f32 / 25_500.0;
            assert_eq!(curve.linear(value).to_bits(), linear(f64::from(value)).to_bits());
        }
        assert_eq!((curve.linear(-0.5), curve.linear(1.5)), (0.0, 1.0));
    }

    #[test]
    fn the_cube_root_is_exact_enough() {
        for i in 8..=2000 {
            let value = f64::from(i) / 1000.0;
            assert!((cube_root(value) / value.cbrt() - 1.0).abs() < 1e-12, "{value}");
        }
    }

    #[test]
    fn black_white_and_primaries_are_where_the_tables_say() {
        // B. Lindbloom's calculator (sRGB, D65): the two decimals that all tables share.
        for (rgb, [l, a, b]) in [
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            ([1.0, 1.0, 1.0], [100.0, 0.0, 0.0]),
            ([1.0, 0.0, 0.0], [53.24, 80.09, 67.20]),
            ([0.0, 1.0, 0.0], [87.73, -86.18, 83.18]),
            ([0.0, 0.0, 1.0], [32.30, 79.19, -107.86]),
        ] {
            let lab = Lab::from_linear(rgb.map(linear));
            assert_abs_diff_eq!(lab.l, l, epsilon = 0.02);
            assert_abs_diff_eq!(lab.a, a, epsilon = 0.02);
            assert_abs_diff_eq!(lab.b, b, epsilon = 0.02);
        }
    }
}
