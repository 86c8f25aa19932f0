//! Texts and pictures of an SVG document.
//!
//! Texts are outlines of the typeface inside the library, so that an SVG looks the same on every
//! machine and nothing needs to be installed. Each glyph's outline is in the document once.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;

use super::surface::{Anchor, SVG_GRID};
use crate::error::Result;
use crate::image_encoding;
use crate::report::escape_html as escape;
use crate::typeface::{TextStyle, Weight};

/// The texts drawn so far.
#[derive(Default)]
pub(super) struct Texts {
    /// The outlines in use, by weight and number in the font; empty for a space.
    outlines: BTreeMap<(Weight, u16), String>,
    /// The lines of text.
    lines: Vec<Line>,
}

struct Line {
    text: String,
    at: (f64, f64),
    anchor: Anchor,
    style: TextStyle,
    glyphs: Vec<(u16, f64)>,
}

impl Texts {
    pub fn push(&mut self, text: &str, at: (f64, f64), anchor: Anchor, style: TextStyle) {
        let glyphs = style.glyphs(text);
        for &(glyph, _) in &glyphs {
            let outline = self.outlines.entry((style.weight, glyph));
            outline.or_insert_with(|| style.weight.glyph_path(glyph));
        }
        self.lines.push(Line { text: text.to_owned(), at, anchor, style, glyphs });
    }

    /// `<defs>` of the outlines, then a group per text, with the text as its label.
    ///
    /// The names of the outlines begin with a hash of all texts, because several plots may stand
    /// in one page.
    pub fn to_svg(&self, title: &str) -> String {
        let prefix = self.prefix(title);
        let mut svg = String::from("<defs>\n");
        for (&(weight, glyph), outline) in self.drawn() {
            let name = glyph_name(&prefix, weight, glyph);
            let _ = writeln!(svg, "<path id=\"{name}\" d=\"{outline}\"/>");
        }
        svg.push_str("</defs>\n");
        for line in &self.lines {
            self.write_line(line, &mut svg, &prefix);
        }
        svg
    }

    /// The outlines that are not empty.
    fn drawn(&self) -> impl Iterator<Item = (&(Weight, u16), &String)> {
        self.outlines.iter().filter(|(_, outline)| !outline.is_empty())
    }

    fn write_line(&self, line: &Line, svg: &mut String, prefix: &str) {
        let style = TextStyle { size: line.style.size * SVG_GRID, ..line.style };
        let scale = style.size / style.units_per_em();
        let back = match line.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle | Anchor::Upwards => style.width(&line.text) / 2.0,
            Anchor::End => style.width(&line.text),
        };
        let (x, y) = (line.at.0 * SVG_GRID, line.at.1 * SVG_GRID);
        // The point is level with the middle of the capitals, the outlines with the baseline.
        let down = style.cap_height() / 2.0;
        let place = match line.anchor {
            Anchor::Upwards => {
                format!("translate({:.1} {:.1}) rotate(-90)", x + down, y + back)
            }
            _ => format!("translate({:.1} {:.1})", x - back, y + down),
        };
        let [red, green, blue] = style.color;
        let _ = write!(
            svg,
            "<g fill=\"#{red:02X}{green:02X}{blue:02X}\" aria-label=\"{}\" \
             transform=\"{place} scale({scale:.4} -{scale:.4})\">",
            escape(&line.text)
        );
        for &(glyph, start) in &line.glyphs {
            if self.outlines.get(&(style.weight, glyph)).is_some_and(|outline| !outline.is_empty())
            {
                let name = glyph_name(prefix, style.weight, glyph);
                let _ = write!(svg, "<use href=\"#{name}\" x=\"{start:.0}\"/>");
            }
        }
        svg.push_str("</g>\n");
    }

    /// FNV-1a of everything that is written.
    fn prefix(&self, title: &str) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let texts = self.lines.iter().map(|line| line.text.as_str());
        for byte in std::iter::once(title).chain(texts).flat_map(str::bytes) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        format!("t{:08x}", hash as u32)
    }
}

fn glyph_name(prefix: &str, weight: Weight, glyph: u16) -> String {
    let weight = match weight {
        Weight::Regular => 'r',
        Weight::SemiBold => 's',
    };
    format!("{prefix}{weight}{glyph}")
}

/// The pictures drawn so far, as `<image>` elements.
#[derive(Default)]
pub(super) struct Pictures(String);

impl Pictures {
    pub fn push(&mut self, picture: &RgbImage, [a, b]: [(f64, f64); 2]) -> Result<()> {
        let data = STANDARD.encode(image_encoding::to_png(picture)?);
        let grid = |value: f64| value * SVG_GRID;
        let _ = writeln!(
            self.0,
            "<image x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
             preserveAspectRatio=\"none\" href=\"data:image/png;base64,{data}\"/>",
            grid(a.0.min(b.0)),
            grid(a.1.min(b.1)),
            grid((a.0 - b.0).abs()),
            grid((a.1 - b.1).abs()),
        );
        Ok(())
    }

    pub fn to_svg(&self) -> String {
        self.0.clone()
    }
}
