//! Colour maps: from a number to a colour.

use crate::plot::ink::GRID;

/// A colour, sRGB 8 bit.
type Color = [u8; 3];

/// Blue over grey to yellow. CIE L\* rises evenly from 16 to 93 with its hue turning once, at the
/// middle, so that it can be read without colour and with any colour vision.
const AROUND_NEUTRAL: [Color; 9] = [
    [0x00, 0x2a, 0x68],
    [0x0e, 0x3d, 0x6f],
    [0x41, 0x53, 0x76],
    [0x63, 0x6a, 0x7c],
    [0x82, 0x82, 0x82],
    [0xa2, 0x9b, 0x84],
    [0xc2, 0xb5, 0x86],
    [0xe1, 0xd0, 0x86],
    [0xff, 0xec, 0x85],
];

/// Black over red to pale yellow. CIE L\* rises evenly from 2 to 97.
const FROM_ZERO: [Color; 9] = [
    [0x0c, 0x04, 0x15],
    [0x3c, 0x10, 0x41],
    [0x7c, 0x00, 0x56],
    [0xb7, 0x00, 0x55],
    [0xe1, 0x27, 0x4a],
    [0xf6, 0x67, 0x43],
    [0xfa, 0x9e, 0x56],
    [0xf8, 0xce, 0x8e],
    [0xfc, 0xf7, 0xe0],
];

/// Which colours stand for small and large values. Both maps grow lighter from end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorMap {
    /// For values from zero upwards, e.g. an error: black, red, pale yellow.
    FromZero,
    /// For values on both sides of a neutral one: blue below, grey at it, yellow above.
    AroundNeutral,
}

impl ColorMap {
    /// The colour at `position` from 0 (the low end) to 1 (the high end); positions beyond are
    /// held to the ends, and NaN, which has no place on the scale, is a light grey.
    pub fn color(self, position: f64) -> Color {
        if position.is_nan() {
            return GRID;
        }
        let anchors = match self {
            ColorMap::FromZero => &FROM_ZERO,
            ColorMap::AroundNeutral => &AROUND_NEUTRAL,
        };
        let place = position.clamp(0.0, 1.0) * (anchors.len() - 1) as f64;
        let below = (place as usize).min(anchors.len() - 2);
        let share = place - below as f64;
        std::array::from_fn(|channel| {
            let (from, to) = (anchors[below][channel], anchors[below + 1][channel]);
            (f64::from(from) * (1.0 - share) + f64::from(to) * share).round() as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE L\* of an sRGB colour.
    fn lightness(color: Color) -> f64 {
        let linear = color.map(|v| {
            let v = f64::from(v) / 255.0;
            if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 }
        });
        let y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if y > 0.008856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
    }

    #[test]
    fn maps_grow_lighter_evenly_so_that_greys_can_be_read() {
        for map in [ColorMap::FromZero, ColorMap::AroundNeutral] {
            let steps: Vec<f64> = (0..=64).map(|i| f64::from(i) / 64.0).collect();
            let found: Vec<f64> = steps.iter().map(|&t| lightness(map.color(t))).collect();
            let (first, last) = (found[0], found[64]);
            for (step, pair) in steps.windows(2).zip(found.windows(2)) {
                assert!(pair[1] > pair[0], "{map:?} at {step:?}: {pair:?}");
            }
            // Colours that no screen has were cut to the nearest, which costs up to 4 units.
            for (t, lightness) in steps.iter().zip(&found) {
                let even = first + t * (last - first);
                assert!((lightness - even).abs() < 4.5, "{map:?} at {t}: {lightness} {even}");
            }
        }
    }

    #[test]
    fn neutral_is_grey_and_the_ends_hold() {
        let map = ColorMap::AroundNeutral;
        assert_eq!(map.color(0.5), [0x82; 3]);
        assert_eq!(map.color(-3.0), map.color(0.0));
        assert_eq!(map.color(f64::INFINITY), map.color(1.0));
        assert_eq!(map.color(f64::NAN), GRID);
    }
}
