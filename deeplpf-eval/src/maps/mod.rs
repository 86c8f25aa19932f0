//! Maps over a photograph: where it differs from its target, and what each filter does where.
//!
//! A map is one number per pixel, `height x width`; a [`Scale`] says which colour a number has.
//! [`crate::plot::HeatMap`] draws a map with its scale beside it.

mod color_map;
mod error_map;
mod filter_effect;

pub use color_map::ColorMap;
pub use error_map::{ERROR_SCALE, ERROR_TICKS, error_map};
pub use filter_effect::{FilterEffect, filter_effects};

use image::{Rgb, RgbImage};
use ndarray::ArrayView2;

/// Which colour a number has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The value of the first colour.
    pub low: f64,
    /// The value of the last colour.
    pub high: f64,
    /// The colours.
    pub colors: ColorMap,
    /// How the colours are spread over the values.
    pub spread: Spread,
}

/// How colours are spread between the two ends of a [`Scale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Evenly.
    Even,
    /// By the square root of the distance from the low end: small values are told apart as well as
    /// large ones.
    SquareRoot,
}

impl Scale {
    /// A scale around `neutral` that reaches equally far to both sides: to the value of `map` that
    /// is farthest from it, but at least `least`, so that noise is not made to look like an
    /// effect. Values that are not finite take no part.
    pub fn around(neutral: f64, least: f64, map: ArrayView2<'_, f32>) -> Self {
        let reach = map
            .iter()
            .map(|&value| (f64::from(value) - neutral).abs())
            .filter(|distance| distance.is_finite())
            .fold(least, f64::max);
        Self {
            low: neutral - reach,
            high: neutral + reach,
            colors: ColorMap::AroundNeutral,
            spread: Spread::Even,
        }
    }

    /// Where a value stands: 0 at the low end, 1 at the high end; values beyond are held to the ends.
    pub fn position(&self, value: f64) -> f64 {
        let position = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        match self.spread {
            Spread::Even => position,
            Spread::SquareRoot => position.sqrt(),
        }
    }

    /// The colour of a value; values beyond the ends have the end's colour.
    pub fn color(&self, value: f64) -> [u8; 3] {
        self.colors.color(self.position(value))
    }

    /// The map as a picture of its own size.
    pub fn paint(&self, map: ArrayView2<'_, f32>) -> RgbImage {
        let (height, width) = map.dim();
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            Rgb(self.color(f64::from(map[[y as usize, x as usize]])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_scale_around_neutral_reaches_the_farthest_value() {
        let map = array![[1.0f32, 0.75], [1.5, f32::NAN]];
        let scale = Scale::around(1.0, 0.05, map.view());
        assert_eq!((scale.low, scale.high), (0.5, 1.5));
        let still = Scale::around(1.0, 0.05, array![[1.0f32]].view());
        assert_eq!((still.low, still.high), (0.95, 1.05));
        let picture = scale.paint(map.view());
        assert_eq!(picture.dimensions(), (2, 2));
        assert_eq!(picture.get_pixel(0, 0).0, [0x82; 3]);
        assert_eq!(picture.get_pixel(0, 1).0, ColorMap::AroundNeutral.color(1.0));
    }
}
