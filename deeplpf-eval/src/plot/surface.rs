//! What plots are drawn on: plotters' SVG and bitmap backends behind one small interface.
//!
//! Coordinates are CSS pixels, x to the right and y downwards, with fractions. The backends only
//! know whole pixels, so each gets a finer grid: the SVG by its view box, the bitmap by drawing
//! large and averaging, which also smooths its edges.

use image::RgbImage;
use image::imageops::{self, FilterType};
use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::{Color as _, RGBColor, ShapeStyle};

use super::svg_parts::{Pictures, Texts};
use crate::error::{EvalError, Result};
use crate::image_encoding;
use crate::typeface::TextStyle;

/// A colour, sRGB 8 bit.
pub type Color = [u8; 3];

/// Where a text stands in relation to its point; vertically the middle of its capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins at the point.
    Start,
    /// The text is centred on the point.
    Middle,
    /// The text ends at the point.
    End,
    /// The text is centred on the point and reads upwards.
    Upwards,
}

/// Something to draw on. Texts lie above pictures, and both above everything else in an SVG.
pub trait Surface {
    /// A line through points; `opacity` from 0 to 1.
    fn line(&mut self, points: &[(f64, f64)], width: f64, color: Color, opacity: f64)
    -> Result<()>;
    /// A filled rectangle, by two opposite corners.
    fn rectangle(&mut self, corners: [(f64, f64); 2], color: Color) -> Result<()>;
    /// A filled polygon.
    fn polygon(&mut self, corners: &[(f64, f64)], color: Color, opacity: f64) -> Result<()>;
    /// A filled circle.
    fn disc(&mut self, center: (f64, f64), radius: f64, color: Color, opacity: f64) -> Result<()>;
    /// A picture that fills the rectangle from one corner to the opposite one.
    fn picture(&mut self, picture: &RgbImage, corners: [(f64, f64); 2]) -> Result<()>;
    /// A line of text.
    fn text(&mut self, text: &str, at: (f64, f64), anchor: Anchor, style: TextStyle) -> Result<()>;
}

/// SVG units in a CSS pixel.
pub(super) const SVG_GRID: f64 = 20.0;
/// Bitmap pixels in a CSS pixel while drawing, and in the result.
const PNG_GRID: f64 = 6.0;
const PNG_SCALE: f64 = 2.0;
/// The background.
pub const WHITE: Color = [255; 3];

/// Draws an SVG document of this size in CSS pixels.
pub fn svg(
    (width, height): (f64, f64),
    title: &str,
    draw: impl FnOnce(&mut dyn Surface) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    let above = {
        let size = ((width * SVG_GRID) as u32, (height * SVG_GRID) as u32);
        let backend = SVGBackend::with_string(&mut text, size);
        let mut surface =
            SvgSurface { backend, title, texts: Texts::default(), pictures: Pictures::default() };
        surface.rectangle([(0.0, 0.0), (width, height)], WHITE)?;
        draw(&mut surface)?;
        surface.backend.present().map_err(|error| failed(title, error))?;
        surface.pictures.to_svg() + &surface.texts.to_svg(title)
    };
    let (grid_width, grid_height) = (width * SVG_GRID, height * SVG_GRID);
    let size = format!("<svg width=\"{grid_width}\" height=\"{grid_height}\"");
    let in_pixels = format!(
        "<svg role=\"img\" aria-label=\"{}\" width=\"{width}\" height=\"{height}\"",
        crate::report::escape_html(title)
    );
    let text = text.replacen(&size, &in_pixels, 1);
    let (start, end) = text.rsplit_once("</svg>").unwrap_or((&text, "\n"));
    Ok(format!("{start}{above}</svg>{end}"))
}

/// Draws a PNG of this size in CSS pixels.
pub fn png(
    (width, height): (f64, f64),
    title: &str,
    draw: impl FnOnce(&mut dyn Surface) -> Result<()>,
) -> Result<Vec<u8>> {
    let size = |scale: f64| ((width * scale).round() as u32, (height * scale).round() as u32);
    let (columns, rows) = size(PNG_GRID);
    let picture = RgbImage::from_pixel(columns, rows, image::Rgb(WHITE));
    let mut surface = PngSurface { picture, title };
    draw(&mut surface)?;
    let (columns, rows) = size(PNG_SCALE);
    let small = imageops::resize(&surface.picture, columns, rows, FilterType::Triangle);
    image_encoding::to_png(&small)
}

fn failed(title: &str, error: impl std::fmt::Display) -> EvalError {
    EvalError::Drawing { what: format!("the plot `{title}`"), reason: error.to_string() }
}

fn shape(color: Color, opacity: f64, width: f64, filled: bool) -> ShapeStyle {
    let [red, green, blue] = color;
    let stroke_width = (width.round() as u32).max(1);
    ShapeStyle { color: RGBColor(red, green, blue).mix(opacity), filled, stroke_width }
}

fn on_grid((x, y): (f64, f64), grid: f64) -> (i32, i32) {
    ((x * grid).round() as i32, (y * grid).round() as i32)
}

struct SvgSurface<'a> {
    backend: SVGBackend<'a>,
    title: &'a str,
    texts: Texts,
    pictures: Pictures,
}

impl Surface for SvgSurface<'_> {
    fn line(
        &mut self,
        points: &[(f64, f64)],
        width: f64,
        color: Color,
        opacity: f64,
    ) -> Result<()> {
        let points: Vec<_> = points.iter().map(|&point| on_grid(point, SVG_GRID)).collect();
        self.backend
            .draw_path(points, &shape(color, opacity, width * SVG_GRID, false))
            .map_err(|error| failed(self.title, error))
    }

    fn rectangle(&mut self, [a, b]: [(f64, f64); 2], color: Color) -> Result<()> {
        let (a, b) = (on_grid(a, SVG_GRID), on_grid(b, SVG_GRID));
        self.backend
            .draw_rect(a, b, &shape(color, 1.0, 1.0, true), true)
            .map_err(|error| failed(self.title, error))
    }

    fn polygon(&mut self, corners: &[(f64, f64)], color: Color, opacity: f64) -> Result<()> {
        let corners: Vec<_> = corners.iter().map(|&corner| on_grid(corner, SVG_GRID)).collect();
        self.backend
            .fill_polygon(corners, &shape(color, opacity, 1.0, true))
            .map_err(|error| failed(self.title, error))
    }

    fn disc(&mut self, center: (f64, f64), radius: f64, color: Color, opacity: f64) -> Result<()> {
        let radius = (radius * SVG_GRID).round() as u32;
        self.backend
            .draw_circle(on_grid(center, SVG_GRID), radius, &shape(color, opacity, 1.0, true), true)
            .map_err(|error| failed(self.title, error))
    }

    fn picture(&mut self, picture: &RgbImage, corners: [(f64, f64); 2]) -> Result<()> {
        self.pictures.push(picture, corners)
    }

    fn text(&mut self, text: &str, at: (f64, f64), anchor: Anchor, style: TextStyle) -> Result<()> {
        self.texts.push(text, at, anchor, style);
        Ok(())
    }
}

struct PngSurface<'a> {
    picture: RgbImage,
    title: &'a str,
}

impl PngSurface<'_> {
    fn backend(&mut self) -> BitMapBackend<'_> {
        let size = self.picture.dimensions();
        BitMapBackend::with_buffer(&mut self.picture, size)
    }
}

impl Surface for PngSurface<'_> {
    fn line(
        &mut self,
        points: &[(f64, f64)],
        width: f64,
        color: Color,
        opacity: f64,
    ) -> Result<()> {
        let title = self.title;
        let points: Vec<_> = points.iter().map(|&point| on_grid(point, PNG_GRID)).collect();
        let stroke = shape(color, opacity, width * PNG_GRID, false);
        let joint = shape(color, 1.0, 1.0, true);
        let mut backend = self.backend();
        // One segment at a time with round joints: plotters' outline of a whole thick line
        // overlaps itself at sharp turns, and leaves holes there.
        for ends in points.windows(2) {
            backend.draw_line(ends[0], ends[1], &stroke).map_err(|error| failed(title, error))?;
        }
        if points.len() > 2 && opacity == 1.0 {
            for &point in &points[1..points.len() - 1] {
                backend
                    .draw_circle(point, stroke.stroke_width / 2, &joint, true)
                    .map_err(|error| failed(title, error))?;
            }
        }
        Ok(())
    }

    fn rectangle(&mut self, [a, b]: [(f64, f64); 2], color: Color) -> Result<()> {
        let title = self.title;
        let (a, b) = (on_grid(a, PNG_GRID), on_grid(b, PNG_GRID));
        self.backend()
            .draw_rect(a, b, &shape(color, 1.0, 1.0, true), true)
            .map_err(|error| failed(title, error))
    }

    fn polygon(&mut self, corners: &[(f64, f64)], color: Color, opacity: f64) -> Result<()> {
        let title = self.title;
        let corners: Vec<_> = corners.iter().map(|&corner| on_grid(corner, PNG_GRID)).collect();
        self.backend()
            .fill_polygon(corners, &shape(color, opacity, 1.0, true))
            .map_err(|error| failed(title, error))
    }

    fn disc(&mut self, center: (f64, f64), radius: f64, color: Color, opacity: f64) -> Result<()> {
        let title = self.title;
        let radius = (radius * PNG_GRID).round() as u32;
        self.backend()
            .draw_circle(on_grid(center, PNG_GRID), radius, &shape(color, opacity, 1.0, true), true)
            .map_err(|error| failed(title, error))
    }

    fn picture(&mut self, picture: &RgbImage, [a, b]: [(f64, f64); 2]) -> Result<()> {
        let (a, b) = (on_grid(a, PNG_GRID), on_grid(b, PNG_GRID));
        let (left, top) = (a.0.min(b.0), a.1.min(b.1));
        let (columns, rows) = (a.0.abs_diff(b.0).max(1), a.1.abs_diff(b.1).max(1));
        let fitted = imageops::resize(picture, columns, rows, FilterType::Triangle);
        imageops::replace(&mut self.picture, &fitted, i64::from(left), i64::from(top));
        Ok(())
    }

    fn text(&mut self, text: &str, at: (f64, f64), anchor: Anchor, style: TextStyle) -> Result<()> {
        let (x, y) = (at.0 * PNG_GRID, at.1 * PNG_GRID);
        let style = TextStyle { size: style.size * PNG_GRID, ..style };
        let half_height = style.cap_height() / 2.0;
        let start = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - style.width(text) / 2.0,
            Anchor::End => x - style.width(text),
            Anchor::Upwards => {
                style.draw_upwards(&mut self.picture, text, x + half_height, y);
                return Ok(());
            }
        };
        style.draw(&mut self.picture, text, start, y + half_height);
        Ok(())
    }
}
