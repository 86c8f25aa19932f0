//! The typeface of plots and contact sheets: Inter, inside the library, so that pictures look the
//! same on every machine and nothing needs to be installed.

use ab_glyph::{Font, FontRef, GlyphId, OutlineCurve, PxScale, ScaleFont};
use image::{Rgb, RgbImage};

const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
const SEMIBOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");

/// Weight of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// 400.
    Regular,
    /// 600.
    SemiBold,
}

/// Weight, size and colour of a text.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// Weight.
    pub weight: Weight,
    /// Size of the em square in pixels.
    pub size: f64,
    /// Colour, sRGB 8 bit.
    pub color: [u8; 3],
}

impl TextStyle {
    /// The height of capitals, in pixels.
    pub fn cap_height(self) -> f64 {
        // OS/2 table of Inter: sCapHeight 2048 of 2816 units.
        self.size * 2048.0 / 2816.0
    }

    /// The width of a line of text in pixels.
    pub fn width(self, text: &str) -> f64 {
        let font = font(self.weight);
        let scaled = font.as_scaled(self.scale(&font));
        let mut width = 0.0;
        let mut previous = None;
        for character in text.chars() {
            let glyph = scaled.glyph_id(character);
            if let Some(previous) = previous {
                width += scaled.kern(previous, glyph);
            }
            width += scaled.h_advance(glyph);
            previous = Some(glyph);
        }
        f64::from(width)
    }

    /// The text, cut with an ellipsis where it is wider than `width` pixels.
    pub fn fitted(self, text: &str, width: f64) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let mut cut: Vec<char> = text.chars().collect();
        while cut.pop().is_some() {
            let shorter = cut.iter().collect::<String>().trim_end().to_owned() + "…";
            if self.width(&shorter) <= width {
                return shorter;
            }
        }
        String::new()
    }

    /// The glyphs of a line of text: number in the font, and where each begins, in font units
    /// ([`TextStyle::units_per_em`] of them are the size) from the start of the line.
    pub fn glyphs(self, text: &str) -> Vec<(u16, f64)> {
        let font = font(self.weight);
        let mut cursor = 0.0;
        let mut previous = None;
        text.chars()
            .map(|character| {
                let glyph = font.glyph_id(character);
                if let Some(previous) = previous {
                    cursor += f64::from(font.kern_unscaled(previous, glyph));
                }
                let start = cursor;
                cursor += f64::from(font.h_advance_unscaled(glyph));
                previous = Some(glyph);
                (glyph.0, start)
            })
            .collect()
    }

    /// Font units in the em square.
    pub fn units_per_em(self) -> f64 {
        f64::from(font(self.weight).units_per_em().unwrap_or(1.0))
    }

    /// Draws a line of text that begins at `x` with its baseline at `baseline`.
    pub fn draw(self, picture: &mut RgbImage, text: &str, x: f64, baseline: f64) {
        self.coverage(text, x, baseline, |column, row, coverage| {
            blend(picture, column, row, self.color, coverage);
        });
    }

    /// Draws a line of text that reads upwards, centred on row `y`, with its baseline at column
    /// `x`.
    pub fn draw_upwards(self, picture: &mut RgbImage, text: &str, x: f64, y: f64) {
        let start = -self.width(text) / 2.0;
        let (x, y) = (x.round() as i64, y.round() as i64);
        self.coverage(text, start, 0.0, |column, row, coverage| {
            blend(picture, x + row, y - column, self.color, coverage);
        });
    }

    fn coverage(self, text: &str, x: f64, baseline: f64, mut put: impl FnMut(i64, i64, f32)) {
        let font = font(self.weight);
        let scale = self.scale(&font);
        let scaled = font.as_scaled(scale);
        let mut cursor = x as f32;
        let mut previous = None;
        for character in text.chars() {
            let id = scaled.glyph_id(character);
            if let Some(previous) = previous {
                cursor += scaled.kern(previous, id);
            }
            let position = ab_glyph::point(cursor, baseline as f32);
            if let Some(outline) = font.outline_glyph(id.with_scale_and_position(scale, position)) {
                let corner = outline.px_bounds().min;
                let (left, top) = (corner.x as i64, corner.y as i64);
                outline.draw(|dx, dy, coverage| {
                    put(left + i64::from(dx), top + i64::from(dy), coverage);
                });
            }
            cursor += scaled.h_advance(id);
            previous = Some(id);
        }
    }

    /// ab_glyph measures a font by its height, everyone else by its em square.
    fn scale(self, font: &FontRef<'_>) -> PxScale {
        let units = font.units_per_em().unwrap_or(1.0);
        PxScale::from(self.size as f32 * font.height_unscaled() / units)
    }
}

impl Weight {
    /// The outline of a glyph as SVG path data in font units, y upwards; empty for a space.
    pub fn glyph_path(self, glyph: u16) -> String {
        let Some(outline) = font(self).outline(GlyphId(glyph)) else { return String::new() };
        let mut path = String::new();
        let mut at = None;
        for curve in &outline.curves {
            let (start, end, command) = match curve {
                OutlineCurve::Line(from, to) => (from, to, format!("L{} {}", to.x, to.y)),
                OutlineCurve::Quad(from, c, to) => {
                    (from, to, format!("Q{} {} {} {}", c.x, c.y, to.x, to.y))
                }
                OutlineCurve::Cubic(from, c, d, to) => {
                    (from, to, format!("C{} {} {} {} {} {}", c.x, c.y, d.x, d.y, to.x, to.y))
                }
            };
            if at != Some(*start) {
                path.push_str(&format!("M{} {}", start.x, start.y));
            }
            path.push_str(&command);
            at = Some(*end);
        }
        path
    }
}

fn font(weight: Weight) -> FontRef<'static> {
    let bytes = match weight {
        Weight::Regular => REGULAR,
        Weight::SemiBold => SEMIBOLD,
    };
    FontRef::try_from_slice(bytes)
        .expect("the fonts inside the library are whole: a test reads both")
}

fn blend(picture: &mut RgbImage, column: i64, row: i64, color: [u8; 3], coverage: f32) {
    let (Ok(column), Ok(row)) = (u32::try_from(column), u32::try_from(row)) else { return };
    if let Some(Rgb(pixel)) = picture.get_pixel_mut_checked(column, row) {
        let coverage = coverage.clamp(0.0, 1.0);
        for (value, ink) in pixel.iter_mut().zip(color) {
            let mixed = f32::from(*value) * (1.0 - coverage) + f32::from(ink) * coverage;
            *value = mixed.round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: TextStyle = TextStyle { weight: Weight::Regular, size: 20.0, color: [0; 3] };

    #[test]
    fn both_weights_are_whole_and_hold_what_tables_print() {
        for weight in [Weight::Regular, Weight::SemiBold] {
            let font = font(weight);
            for character in "AZaz09 ↑↓ΔαÉü–…×≥∞".chars() {
                assert_ne!(font.glyph_id(character).0, 0, "{character} is missing");
            }
        }
    }

    #[test]
    fn text_is_drawn_inside_its_width_and_above_its_baseline() {
        let mut picture = RgbImage::from_pixel(200, 60, Rgb([255; 3]));
        STYLE.draw(&mut picture, "HELLO", 10.0, 40.0);
        let dark: Vec<_> = picture
            .enumerate_pixels()
            .filter(|(_, _, p)| p[0] < 128)
            .map(|(x, y, _)| (x, y))
            .collect();
        let right = 10.0 + STYLE.width("HELLO");
        assert!(
            dark.iter().all(|&(x, y)| x >= 10 && f64::from(x) <= right && (24..41).contains(&y))
        );
        assert!(dark.len() > 100);
    }

    #[test]
    fn outlines_stand_where_the_text_is_drawn() {
        let glyphs = STYLE.glyphs("HELLO");
        let last = glyphs[4];
        let scale = STYLE.size / STYLE.units_per_em();
        let expected = STYLE.width("HELLO") - STYLE.width("O");
        // Kerning before the last letter belongs to its place.
        assert!((last.1 * scale - expected).abs() < 1.0, "{last:?} {expected}");
        let path = STYLE.weight.glyph_path(glyphs[0].0);
        // An H of Inter: as high as capitals are, and without curves.
        assert!(path.starts_with('M') && path.contains("2048") && !path.contains('C'), "{path}");
        assert_eq!(STYLE.weight.glyph_path(STYLE.glyphs(" ")[0].0), "");
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        let text = "a photograph with a long name";
        let cut = STYLE.fitted(text, 120.0);
        assert!(cut.ends_with('…') && STYLE.width(&cut) <= 120.0, "{cut}");
        assert_eq!(STYLE.fitted("short", 120.0), "short");
        assert_eq!(STYLE.fitted(text, 1.0), "");
    }
}
