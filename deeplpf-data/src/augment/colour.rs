//! Random exposure and colour.

use pulp::{Arch, Simd, WithSimd};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::curve::{LANES, decode, encode};
use crate::random::uniform;

/// Rec. 709 luminance of linear sRGB (IEC 61966-2-1).
const LUMINANCE: [f32; 3] = [0.2126, 0.7152, 0.0722];

/// How far exposure and colours are varied; 0 switches each off. Nothing is drawn for what is off.
///
/// All arithmetic is on linear light l, the inverse of the sRGB encoding; results are clipped to
/// [0, 1] and encoded again.
///
/// `exposure` and `white_balance` change **the input alone**. The target stays what the retoucher
/// made, so the network learns to undo the change: the same result whatever the exposure was.
/// Highlights that an input loses in this way are still in its target.
///
/// `saturation` changes **input and target alike**. The pair then stands for another scene, of more
/// or less colourful things, and the network is told that the retoucher would have made the same
/// step from input to target there. The target is no longer a picture that anybody made.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourAugmentation {
    /// Largest change of exposure of the input, in EV (powers of two): l' = 2^e l with e uniform in
    /// [-exposure, exposure].
    pub exposure: f64,
    /// Largest change of the input's white balance, in EV: red times 2^w, blue times 2^-w, green
    /// stays, with w uniform in [-white_balance, white_balance].
    pub white_balance: f64,
    /// Largest relative change of the saturation of both pictures: l' = Y + (1 + s)(l - Y) with the
    /// luminance Y = 0.2126 R + 0.7152 G + 0.0722 B and s uniform in [-saturation, saturation]. At
    /// most 1.
    pub saturation: f64,
}

/// One draw of a [`ColourAugmentation`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourChange {
    /// Factors of the input's linear red, green and blue; `None` leaves the input.
    pub gains: Option<[f32; 3]>,
    /// Factor of the distance from grey in both pictures; `None` leaves them.
    pub saturation: Option<f32>,
}

impl ColourAugmentation {
    /// Largest exposure or white balance, in EV. Beyond it, an 8-bit picture is black or white.
    pub const MOST_EV: f64 = 4.0;

    /// Whether every value makes sense: not negative, `exposure` and `white_balance` at most
    /// [`Self::MOST_EV`], `saturation` at most 1. The name of the first that does not.
    #[must_use]
    pub fn invalid(&self) -> Option<&'static str> {
        let Self { exposure, white_balance, saturation } = *self;
        [
            ("exposure", exposure, Self::MOST_EV),
            ("white_balance", white_balance, Self::MOST_EV),
            ("saturation", saturation, 1.0),
        ]
        .into_iter()
        .find(|(_, value, most)| !(0.0..=*most).contains(value))
        .map(|(name, ..)| name)
    }

    /// Draws a change. Takes no draw from the generator for what is switched off.
    pub fn draw(&self, rng: &mut impl Rng) -> ColourChange {
        let mut within = |most: f64| (most > 0.0).then(|| most * (2.0 * uniform(rng) - 1.0));
        let exposure = within(self.exposure);
        let white_balance = within(self.white_balance);
        let saturation = within(self.saturation);
        let saturation = saturation.map(|s| (1.0 + s) as f32);
        if exposure.is_none() && white_balance.is_none() {
            return ColourChange { gains: None, saturation };
        }
        let of_input =
            ColourChange::of_input(exposure.unwrap_or(0.0), white_balance.unwrap_or(0.0));
        ColourChange { saturation, ..of_input }
    }
}

impl ColourChange {
    /// The change of the input alone by `exposure` and `white_balance`, in EV: red, green and blue
    /// times 2^(e + w), 2^e, 2^(e - w).
    #[must_use]
    pub fn of_input(exposure: f64, white_balance: f64) -> Self {
        let (e, w) = (exposure, white_balance);
        Self { gains: Some([e + w, e, e - w].map(|ev| ev.exp2() as f32)), saturation: None }
    }

    /// Changes a pair, each 3 x H x W without gaps, in place.
    pub fn apply(&self, input: &mut [f32], target: &mut [f32]) {
        if let Some(saturation) = self.saturation {
            change(target, [1.0; 3], saturation);
        }
        if self.gains.is_some() || self.saturation.is_some() {
            change(input, self.gains.unwrap_or([1.0; 3]), self.saturation.unwrap_or(1.0));
        }
    }
}

/// Gains first, then saturation.
fn change(planes: &mut [f32], gains: [f32; 3], saturation: f32) {
    // Which instructions makes no difference to the result: see `curve`.
    Arch::new().dispatch(Change { planes, gains, saturation });
}

struct Change<'a> {
    planes: &'a mut [f32],
    gains: [f32; 3],
    saturation: f32,
}

impl WithSimd for Change<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<I: Simd>(self, _: I) {
        let Self { planes, gains, saturation } = self;
        let pixels = planes.len() / 3;
        let (red, rest) = planes.split_at_mut(pixels);
        let (green, blue) = rest.split_at_mut(pixels);
        let (red, red_rest) = red.as_chunks_mut::<LANES>();
        let (green, green_rest) = green.as_chunks_mut::<LANES>();
        let (blue, blue_rest) = blue.as_chunks_mut::<LANES>();
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            change_lanes([r, g, b], gains, saturation);
        }
        let rest = [red_rest, green_rest, blue_rest];
        let mut padded = [[0.0; LANES]; 3];
        for (padded, rest) in padded.iter_mut().zip(&rest) {
            padded[..rest.len()].copy_from_slice(rest);
        }
        change_lanes(padded.each_mut(), gains, saturation);
        for (padded, rest) in padded.iter().zip(rest) {
            rest.copy_from_slice(&padded[..rest.len()]);
        }
    }
}

#[inline(always)]
fn change_lanes(colours: [&mut [f32; LANES]; 3], gains: [f32; 3], saturation: f32) {
    let mut light = [[0.0f32; LANES]; 3];
    for c in 0..3 {
        for k in 0..LANES {
            light[c][k] = gains[c] * decode(colours[c][k]);
        }
    }
    let mut grey = [0.0f32; LANES];
    for c in 0..3 {
        for k in 0..LANES {
            grey[k] += LUMINANCE[c] * light[c][k];
        }
    }
    for (colour, light) in colours.into_iter().zip(&light) {
        for k in 0..LANES {
            colour[k] = encode(grey[k] + saturation * (light[k] - grey[k]));
        }
    }
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
    fn exposure_doubles_light_and_leaves_the_target() {
        let colours = [0.02f32, 0.3, 0.6];
        let (mut input, mut target) = (colours.to_vec(), colours.to_vec());
        ColourChange { gains: Some([2.0; 3]), saturation: None }.apply(&mut input, &mut target);
        assert_eq!(target, colours);
        for (found, v) in input.iter().zip(colours) {
            let expected = exact_encode((2.0 * exact_decode(f64::from(v))).min(1.0));
            // The encoding is good to 5e-7, the decoding to 1e-6.
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} {expected}");
        }
    }

    #[test]
    fn saturation_zero_is_grey_of_the_same_luminance_in_both() {
        let colours = [0.9f32, 0.2, 0.5];
        let (mut input, mut target) = (colours.to_vec(), colours.to_vec());
        ColourChange { gains: None, saturation: Some(0.0) }.apply(&mut input, &mut target);
        let luminance: f64 =
            (0..3).map(|c| f64::from(LUMINANCE[c]) * exact_decode(f64::from(colours[c]))).sum();
        assert_eq!(input, target);
        for v in input {
            assert!((f64::from(v) - exact_encode(luminance)).abs() < 2e-6, "{v}");
        }
    }

    /// Samples beside whole groups of lanes are treated like the others.
    #[test]
    fn every_pixel_is_changed_alike_whatever_their_number() {
        let colour = [0.9f32, 0.02, 0.5];
        let change = ColourChange { gains: Some([1.3, 0.7, 1.1]), saturation: Some(1.4) };
        let changed = |pixels: usize| {
            let mut input: Vec<f32> = colour.iter().flat_map(|&v| vec![v; pixels]).collect();
            change.apply(&mut input, &mut vec![0.5; 3 * pixels]);
            input
        };
        let one = changed(1);
        for pixels in [0, 2, LANES - 1, LANES, LANES + 1, 3 * LANES + 5] {
            for (k, v) in changed(pixels).into_iter().enumerate() {
                assert_eq!(v, one[k / pixels], "{k} of {pixels}");
            }
        }
    }
}
