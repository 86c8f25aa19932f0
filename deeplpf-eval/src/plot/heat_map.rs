//! A map over a photograph, with its scale.

use ndarray::Array2;

use super::axis::Axis;
use super::ink::{INK, LABEL, TICK, TITLE};
use super::surface::{Anchor, Surface};
use super::{Plot, WIDTH, nothing_to_show};
use crate::error::Result;
use crate::maps::{FilterEffect, Scale, Spread};

const MARGIN: f64 = 24.0;
const TITLE_HEIGHT: f64 = 40.0;
/// Width of the scale beside the map, and room for its numbers.
const BAR: f64 = 22.0;
const NUMBERS: f64 = 62.0;
/// Tallest map; a taller photograph gets a narrower map.
const MAXIMUM_HEIGHT: f64 = 900.0;
/// Steps of the scale's colours.
const STEPS: usize = 128;

/// One number per pixel as colours that grow lighter with the number, and their scale.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Title.
    pub title: String,
    /// What the numbers are, with their unit.
    pub quantity: String,
    /// The numbers: `height x width`. NaN is light grey.
    pub map: Array2<f32>,
    /// The colours.
    pub scale: Scale,
}

impl HeatMap {
    /// The map of a filter's effect, under a title such as the photograph's name.
    pub fn of_effect(title: impl Into<String>, effect: FilterEffect) -> Self {
        let FilterEffect { quantity, map, scale, .. } = effect;
        Self { title: title.into(), quantity: quantity.into(), map, scale }
    }

    /// Width and height of the drawn map.
    fn size(&self) -> (f64, f64) {
        let (rows, columns) = self.map.dim();
        let room = WIDTH - 2.0 * MARGIN - BAR - NUMBERS - 16.0;
        let (rows, columns) = (rows.max(1) as f64, columns.max(1) as f64);
        let height = (room * rows / columns).min(MAXIMUM_HEIGHT);
        // At least as tall as its scale can be read.
        ((height * columns / rows).min(room), height.max(120.0))
    }
}

impl Plot for HeatMap {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self) -> f64 {
        MARGIN + TITLE_HEIGHT + 26.0 + self.size().1 + MARGIN
    }

    fn draw(&self, surface: &mut dyn Surface) -> Result<()> {
        if self.map.is_empty() {
            return Err(nothing_to_show(&self.title, "the map has no pixels"));
        }
        let (width, height) = self.size();
        let (left, top) = (MARGIN, MARGIN + TITLE_HEIGHT + 26.0);
        let title = TITLE.fitted(&self.title, WIDTH - 2.0 * MARGIN);
        surface.text(&title, (left, MARGIN + 8.0), Anchor::Start, TITLE)?;
        let quantity = LABEL.fitted(&self.quantity, WIDTH - 2.0 * MARGIN);
        surface.text(&quantity, (left, MARGIN + TITLE_HEIGHT), Anchor::Start, LABEL)?;
        let picture = self.scale.paint(self.map.view());
        surface.picture(&picture, [(left, top), (left + width, top + height)])?;

        let bar = left + width + 16.0;
        let axis = match self.scale.spread {
            Spread::Even => Axis::linear(self.scale.low, self.scale.high, 6, false),
            Spread::SquareRoot => Axis::square_root(self.scale.low, self.scale.high),
        };
        let y_at = |value: f64| top + height * (1.0 - axis.position(value));
        for step in 0..STEPS {
            let share = |step: usize| step as f64 / STEPS as f64;
            let color = self.scale.colors.color((step as f64 + 0.5) / STEPS as f64);
            let (from, to) =
                (top + height * (1.0 - share(step)), top + height * (1.0 - share(step + 1)));
            surface.rectangle([(bar, to), (bar + BAR, from)], color)?;
        }
        for (value, label) in &axis.ticks {
            let y = y_at(*value);
            surface.line(&[(bar + BAR, y), (bar + BAR + 5.0, y)], 1.0, INK, 1.0)?;
            surface.text(label, (bar + BAR + 9.0, y), Anchor::Start, TICK)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::ColorMap;

    #[test]
    fn the_map_keeps_its_aspect_and_its_scale_is_labelled() {
        let map = Array2::from_shape_fn((40, 60), |(y, x)| (x + y) as f32 / 400.0);
        let (colors, spread) = (ColorMap::FromZero, Spread::Even);
        let scale = Scale { low: 0.0, high: 0.25, colors, spread };
        let plot = HeatMap { title: "Error".into(), quantity: "difference".into(), map, scale };
        let (width, height) = plot.size();
        assert!((width / height - 1.5).abs() < 1e-9);
        let svg = plot.to_svg().unwrap();
        assert!(svg.contains("<image ") && svg.contains("aria-label=\"0.25\""), "{svg}");
        let png = image::load_from_memory(&plot.to_png().unwrap()).unwrap().to_rgb8();
        // The lightest corner is at the lower right.
        let at = |x: f64, y: f64| png.get_pixel((2.0 * x) as u32, (2.0 * y) as u32).0[1];
        let top = MARGIN + TITLE_HEIGHT + 26.0;
        assert!(at(MARGIN + 3.0, top + 3.0) < at(MARGIN + width - 3.0, top + height - 3.0));
        let empty = HeatMap { map: Array2::zeros((0, 0)), ..plot };
        assert!(empty.to_svg().is_err());
    }
}
