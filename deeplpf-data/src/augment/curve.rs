//! The sRGB curve without tables or powers, for many samples at once.
//!
//! Square roots bring both powers of the curve so close to polynomials that few terms suffice, and
//! everything here is a sum, a product, a square root or a choice: each is rounded in one way only,
//! so that the results have the same bits with every instruction set.

/// Samples handled together: two registers of the widest instruction set.
pub(super) const LANES: usize = 32;

/// A polynomial in (x - centre)/half, lowest power first.
struct Polynomial<const N: usize> {
    centre: f32,
    half: f32,
    coefficients: [f32; N],
}

impl<const N: usize> Polynomial<N> {
    #[inline(always)]
    fn at(&self, x: f32) -> f32 {
        let u = (x - self.centre) * (1.0 / self.half);
        self.coefficients.iter().rev().fold(0.0, |sum, &c| sum * u + c)
    }
}

/// t^4.8 for t = sqrt((v + 0.055)/1.055), v from 0.04045 to 1, fitted to the least largest error in
/// v: 1.9e-7.
const LIGHT: Polynomial<7> = Polynomial {
    centre: 0.650_394_4,
    half: 0.349_605_57,
    coefficients: [
        0.126_837_93,
        0.327_258_94,
        0.334_227_86,
        0.167_678_69,
        0.040_569_433,
        0.003_496_724_5,
        -0.000_070_042_19,
    ],
};

/// 1.055 s^(5/3) - 0.055 for s the fourth root of light from 0.0031308 to 1, fitted to the least
/// largest error: 7.8e-8.
const SHOWN: Polynomial<9> = Polynomial {
    centre: 0.618_272_5,
    half: 0.381_727_5,
    coefficients: [
        0.418_389_98,
        0.487_126_56,
        0.100_250_63,
        -0.006_885_267,
        0.001_425_009_8,
        -0.000_381_163_84,
        0.000_117_943_99,
        -0.000_085_007_78,
        0.000_041_387_743,
    ],
};

/// The linear light of an sRGB value in [0, 1]. IEC 61966-2-1, to 1e-6 in the value.
#[inline(always)]
pub(super) fn decode(v: f32) -> f32 {
    let high = LIGHT.at(((v + 0.055) * (1.0 / 1.055)).sqrt());
    if v <= 0.040_45 { v * (1.0 / 12.92) } else { high }
}

/// The sRGB encoding of linear light, clipped to [0, 1]. IEC 61966-2-1, to 5e-7.
#[inline(always)]
pub(super) fn encode(l: f32) -> f32 {
    let l = l.clamp(0.0, 1.0);
    let high = SHOWN.at(l.sqrt().sqrt()).min(1.0);
    if l <= 0.003_130_8 { l * 12.92 } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact_encode(l: f64) -> f64 {
        if l <= 0.003_130_8 { 12.92 * l } else { 1.055 * l.powf(1.0 / 2.4) - 0.055 }
    }

    fn exact_decode(v: f64) -> f64 {
        if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    }

    #[test]
    fn polynomials_are_close_to_the_curve_everywhere() {
        let points = (0..=300_000).map(|k| f64::from(k) / 3e5);
        let dark = (0..=100_000).map(|k| f64::from(k) / 1e7);
        let (mut encoding, mut decoding) = (0.0f64, 0.0f64);
        for x in points.chain(dark).map(|x| f64::from(x as f32)) {
            encoding = encoding.max((f64::from(encode(x as f32)) - exact_encode(x)).abs());
            let light = f64::from(decode(x as f32));
            // In encoded values, as the eye and the loss see it.
            decoding = decoding.max((exact_encode(light) - x).abs());
            assert!((light - exact_decode(x)).abs() < 1.5e-6, "{x}");
        }
        assert!(encoding < 5e-7 && decoding < 1e-6, "{encoding:e} {decoding:e}");
        assert_eq!((encode(-1.0), encode(0.0), encode(7.0)), (0.0, 0.0, encode(1.0)));
        assert!(encode(1.0) > 1.0 - 2e-7 && decode(1.0) > 1.0 - 5e-7 && decode(0.0) == 0.0);
    }
}
