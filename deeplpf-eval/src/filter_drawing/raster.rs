//! The drawing over the photograph's pixels.

use image::RgbImage;
use image::imageops::{self, FilterType};
use ndarray::ArrayView3;
use tiny_skia::{
    Color, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, PremultipliedColorU8, StrokeDash,
    Transform,
};

use super::{BORDER, FilterDrawing, Instance, LINE_WIDTH, LONG_EDGE, Stroke, TEXT_SIZE};
use crate::error::{EvalError, Result, Size};
use crate::image_encoding::{thumbnail, to_png};
use crate::typeface::{TextStyle, Weight};

/// Long edge of a picture on which labels are as large as other text on a screen.
const READABLE: u32 = 800;

impl FilterDrawing {
    /// The filters over a picture, `3 x H x W` in \[0, 1\], as PNG with no side longer than
    /// `long_edge` pixels. Small pictures are enlarged, so that the names can be read.
    ///
    /// # Errors
    /// [`EvalError::NotRgb`], [`EvalError::Drawing`], [`EvalError::Encoding`].
    pub fn to_png_over(&self, pixels: ArrayView3<'_, f32>, long_edge: u32) -> Result<Vec<u8>> {
        let mut picture = thumbnail(pixels, long_edge)?;
        let (width, height) = picture.dimensions();
        let longest = width.max(height);
        if longest < READABLE {
            let enlarged = |side: u32| (side * READABLE).div_ceil(longest);
            let size = (enlarged(width), enlarged(height));
            picture = imageops::resize(&picture, size.0, size.1, FilterType::CatmullRom);
        }
        self.draw_onto(&mut picture)?;
        to_png(&picture)
    }

    /// Draws the filters onto their photograph, in any size of it.
    ///
    /// # Errors
    /// [`EvalError::Drawing`] for a picture without pixels or too large to draw on.
    pub fn draw_onto(&self, picture: &mut RgbImage) -> Result<()> {
        let (width, height) = picture.dimensions();
        let size = Size { width: width as usize, height: height as usize };
        let mut canvas = Pixmap::new(width, height).ok_or_else(|| EvalError::Drawing {
            what: format!("filters over a picture of {size} pixels"),
            reason: "it has no pixels or too many".into(),
        })?;
        for (to, from) in canvas.pixels_mut().iter_mut().zip(picture.pixels()) {
            let [red, green, blue] = from.0;
            // Opaque, so that the colours are their own premultiplied ones.
            if let Some(pixel) = PremultipliedColorU8::from_rgba(red, green, blue, 255) {
                *to = pixel;
            }
        }
        let scale = f64::from(width.max(height)) / LONG_EDGE;
        for instance in &self.instances {
            draw_strokes(&mut canvas, instance, scale as f32);
        }
        for (to, from) in picture.pixels_mut().zip(canvas.pixels()) {
            to.0 = [from.red(), from.green(), from.blue()];
        }
        for instance in &self.instances {
            draw_labels(picture, instance, scale);
        }
        Ok(())
    }
}

fn draw_strokes(canvas: &mut Pixmap, instance: &Instance, scale: f32) {
    let opacity = if instance.acts { 1.0 } else { 0.45 };
    let [red, green, blue] = instance.color;
    let shade = |alpha: f32| Color::from_rgba(0.0, 0.0, 0.0, alpha).unwrap_or(Color::BLACK);
    let mut color = Color::from_rgba8(red, green, blue, 255);
    color.apply_opacity(opacity);
    let passes = [(shade(0.6 * opacity), LINE_WIDTH + 2.0 * BORDER), (color, LINE_WIDTH)];
    for (color, width) in passes {
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(color);
        for stroke in &instance.strokes {
            let Some(path) = path(stroke) else { continue };
            let stroke = tiny_skia::Stroke {
                width: width as f32,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                dash: dash(stroke),
                ..tiny_skia::Stroke::default()
            };
            let transform = Transform::from_scale(scale, scale);
            canvas.stroke_path(&path, &paint, &stroke, transform, None);
        }
    }
}

/// `None` for points that are not finite, which have no place.
fn path(stroke: &Stroke) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (index, &(x, y)) in stroke.points.iter().enumerate() {
        let (x, y) = (x as f32, y as f32);
        if index == 0 {
            builder.move_to(x, y);
        } else {
            builder.line_to(x, y);
        }
    }
    if stroke.closed {
        builder.close();
    }
    builder.finish()
}

fn dash(stroke: &Stroke) -> Option<StrokeDash> {
    let lengths: Vec<f32> = stroke.dashes.iter().map(|&length| length as f32).collect();
    StrokeDash::new(lengths, 0.0)
}

fn draw_labels(picture: &mut RgbImage, instance: &Instance, scale: f64) {
    let size = (TEXT_SIZE * scale).max(9.0);
    let border = (2.2 * scale).max(1.0);
    let style = TextStyle { weight: Weight::SemiBold, size, color: instance.color };
    let dark = TextStyle { color: [0; 3], ..style };
    for label in &instance.labels {
        let x = label.at.0 * scale - style.width(&label.text) / 2.0;
        let baseline = label.at.1 * scale + style.cap_height() / 2.0;
        for step in 0..12 {
            let (dy, dx) = (f64::from(step) / 12.0 * std::f64::consts::TAU).sin_cos();
            dark.draw(picture, &label.text, x + border * dx, baseline + border * dy);
        }
        style.draw(picture, &label.text, x, baseline);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use image::Rgb;

    #[test]
    fn pixels_away_from_the_lines_keep_their_value() {
        let (config, params) = example();
        let drawing = FilterDrawing::new(&config, &params, (300, 200));
        let plain = RgbImage::from_pixel(1200, 800, Rgb([90, 120, 33]));
        let mut drawn = plain.clone();
        drawing.draw_onto(&mut drawn).unwrap();
        let kept = drawn.pixels().filter(|pixel| pixel.0 == [90, 120, 33]).count();
        assert!((600_000..950_000).contains(&kept), "{kept} of 960000");
        // The colours of all kinds of instances that act are there.
        for instance in drawing.instances.iter().filter(|instance| instance.acts) {
            let found = drawn.pixels().any(|pixel| pixel.0 == instance.color);
            assert!(found, "{}", instance.name);
        }
        assert!(drawing.draw_onto(&mut RgbImage::new(0, 0)).is_err());
    }
}
