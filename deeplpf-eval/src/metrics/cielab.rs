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
/// Pixels converted and summed together: their colours fit in a core's cache. Fixed, so that the
/// sum does not depend on the number of threads.
const BLOCK: usize = 1024;
/// Sums kept side by side, so that the compiler can use vector instructions.
const LANES: usize = 8;

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
            // Both, so that there is no branch; the root of 0 is NaN and not taken.
            let (root, line) = (cube_root(relative), 7.787 * relative + 16.0 / 116.0);
            // The CIE's rounded constants, which scikit-image uses too.
            if relative > 0.008856 { root } else { line }
        });
        Self { l: 116.0 * fy - 16.0, a: 500.0 * (fx - fy), b: 200.0 * (fy - fz) }
    }
}

/// The sRGB transfer curve, with the values of 8-bit files at hand. Both ways give the same bits.
struct Curve {
    levels: [f64; 256],
}

impl Curve {
    fn new() -> Self {
        Self { levels: std::array::from_fn(|level| linear(level as f32 / 255.0)) }
    }

    /// Linear light of sRGB-encoded values, at most [`BLOCK`] of them.
    #[inline(always)]
    fn linear(&self, values: &[f32], linear_values: &mut [f64; BLOCK]) {
        let mut levels = [0; BLOCK];
        let mut all_levels = true;
        for (&value, level) in values.iter().zip(&mut levels) {
            let value = value.clamp(0.0, 1.0);
            *level = (value * 255.0 + 0.5) as u8;
            all_levels &= f32::from(*level) / 255.0 == value;
        }
        if all_levels {
            for (&level, linear) in levels[..values.len()].iter().zip(linear_values) {
                *linear = self.levels[usize::from(level)];
            }
        } else {
            for (&value, out) in values.iter().zip(linear_values) {
                *out = linear(value);
            }
        }
    }
}

/// Linear light of one sRGB-encoded value; clamped to \[0, 1\] first.
#[inline(always)]
fn linear(value: f32) -> f64 {
    let value = f64::from(value.clamp(0.0, 1.0));
    let base = (value + 0.055) / 1.055;
    // base^2.4
    let curve = base * base * fifth_root(base * base);
    if value > 0.04045 { curve } else { value / 12.92 }
}

/// The cube root of a number in \[0.008, 2\], to 1e-12 of it.
///
/// A third of the exponent (the constant is that of the C library of FreeBSD, `s_cbrt.c`: it makes
/// the first guess wrong by at most 5%) and two steps of Halley's method, which cubes the error.
#[inline(always)]
fn cube_root(value: f64) -> f64 {
    // 0x5555_5556 / 2^32 is a third.
    let mut root = guess_root(value, 0x5555_5556, 715_094_163);
    for _ in 0..2 {
        let cube = root * root * root;
        root *= (cube + 2.0 * value) / (2.0 * cube + value);
    }
    root
}

/// The fifth root of a number in \[0.005, 1.1\], to 1e-12 of it, in the manner of [`cube_root`].
/// The constant is the one with the smallest largest error of the guess, 3.4% (found by trying).
#[inline(always)]
fn fifth_root(value: f64) -> f64 {
    // 0x3333_3334 / 2^32 is a fifth.
    let mut root = guess_root(value, 0x3333_3334, 858_116_098);
    for _ in 0..2 {
        let square = root * root;
        let fifth = square * square * root;
        root *= (2.0 * fifth + 3.0 * value) / (3.0 * fifth + 2.0 * value);
    }
    root
}

/// A root's first guess: the exponent divided by multiplying with `part / 2^32`, then shifted.
#[inline(always)]
fn guess_root(value: f64, part: u64, shift: u64) -> f64 {
    let high_word = value.to_bits() >> 32;
    f64::from_bits((((high_word * part) >> 32) + shift) << 32)
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
            // Compiled once per instruction set; the operations and their order are the same in
            // all of them, and so are the bits.
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let prediction = lab(channels.map(|(p, _)| &p[block.clone()]), curve);
                    let target = lab(channels.map(|(_, t)| &t[block.clone()]), curve);
                    sum_of_differences(block.len(), &target, &prediction, &difference)
                },
            )
        })
        .collect();
    sums.iter().sum::<f64>() / pixels as f64
}

/// L, a and b of a block of pixels.
type LabBlock = [[f64; BLOCK]; 3];

/// The colours of a block of pixels.
#[inline(always)]
fn lab(channels: [&[f32]; 3], curve: &Curve) -> LabBlock {
    let mut block = [[0.0; BLOCK]; 3];
    for (channel, linear) in channels.into_iter().zip(&mut block) {
        curve.linear(channel, linear);
    }
    let [x, y, z] = &mut block;
    for i in 0..channels[0].len().min(BLOCK) {
        let Lab { l, a, b } = Lab::from_linear([x[i], y[i], z[i]]);
        (x[i], y[i], z[i]) = (l, a, b);
    }
    block
}

#[inline(always)]
fn sum_of_differences(
    pixels: usize,
    x: &LabBlock,
    y: &LabBlock,
    difference: &impl Fn(Lab, Lab) -> f64,
) -> f64 {
    let at = |block: &LabBlock, i: usize| Lab { l: block[0][i], a: block[1][i], b: block[2][i] };
    let mut differences = [0.0; BLOCK];
    for (i, value) in differences.iter_mut().enumerate().take(pixels) {
        *value = difference(at(x, i), at(y, i));
    }
    let mut sums = [0.0; LANES];
    for values in differences.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            sums[lane] += values[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn levels_at_hand_are_those_computed() {
        let curve = Curve::new();
        let levels: Vec<f32> = (0..=255).map(|level| level as f32 / 255.0).collect();
        let mut mixed = levels.clone();
        mixed[7] = 0.123;
        for values in [&levels, &mixed] {
            let mut found = [0.0; BLOCK];
            curve.linear(values, &mut found);
            for (&value, found) in values.iter().zip(found) {
                assert_eq!(found.to_bits(), linear(value).to_bits(), "{value}");
            }
        }
    }

    #[test]
    fn the_transfer_curve_is_that_of_the_standard() {
        for i in 0..=25_500 {
            let value = i as f32 / 25_500.0;
            let v = f64::from(value);
            let expected = if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 };
            assert!((linear(value) - expected).abs() < 1e-11 * expected + 1e-300, "{value}");
        }
        assert_eq!(linear(-0.5), 0.0);
        assert!((linear(1.5) - 1.0).abs() < 1e-11);
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
            let lab = Lab::from_linear(rgb.map(|value: f32| linear(value)));
            assert_abs_diff_eq!(lab.l, l, epsilon = 0.02);
            assert_abs_diff_eq!(lab.a, a, epsilon = 0.02);
            assert_abs_diff_eq!(lab.b, b, epsilon = 0.02);
        }
    }
}
