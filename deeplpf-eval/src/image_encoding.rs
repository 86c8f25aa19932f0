//! From planar float images to thumbnails and encoded bytes.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::{ImageEncoder, Rgb, Rgb32FImage, RgbImage};
use ndarray::{Array3, ArrayView3};

use crate::error::{EvalError, Result, Role, Size};

/// Columns and rows of the thumbnail of a picture, `3 x H x W`: no side longer than `long_edge`,
/// small pictures as they are.
pub(crate) fn thumbnail_size(pixels: ArrayView3<'_, f32>, long_edge: u32) -> Result<(u32, u32)> {
    Ok(fitted_size(picture_size(pixels)?, long_edge))
}

/// Columns and rows of the same aspect with no side longer than `long_edge`.
pub(crate) fn fitted_size((columns, rows): (u32, u32), long_edge: u32) -> (u32, u32) {
    let longest = columns.max(rows);
    if longest <= long_edge {
        return (columns, rows);
    }
    let scaled = |side: u32| {
        ((f64::from(side) * f64::from(long_edge) / f64::from(longest)).round() as u32).max(1)
    };
    (scaled(columns), scaled(rows))
}

/// Columns and rows of a picture, `3 x H x W`.
fn picture_size(pixels: ArrayView3<'_, f32>) -> Result<(u32, u32)> {
    let (channels, height, width) = pixels.dim();
    match (channels, u32::try_from(width), u32::try_from(height)) {
        (3, Ok(columns @ 1..), Ok(rows @ 1..)) => Ok((columns, rows)),
        _ => {
            let size = Size { width, height };
            Err(EvalError::NotRgb { role: Role::Picture, channels, size })
        }
    }
}

/// The picture at 8 bit, rounded, in its [`thumbnail_size`].
///
/// Reads planar RGB, `3 x H x W`; values are clamped to \[0, 1\] before they are averaged, NaN
/// becomes black.
pub(crate) fn thumbnail(pixels: ArrayView3<'_, f32>, long_edge: u32) -> Result<RgbImage> {
    let float = float_thumbnail(pixels, long_edge)?;
    Ok(RgbImage::from_fn(float.width(), float.height(), |x, y| {
        Rgb(float.get_pixel(x, y).0.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8))
    }))
}

/// A picture, `3 x H x W`, with no side longer than `long_edge` pixels, in \[0, 1\]; small ones
/// keep their size.
///
/// Values are clamped to \[0, 1\] before they are averaged, NaN becomes black.
///
/// # Errors
/// [`EvalError::NotRgb`].
pub fn reduced(pixels: ArrayView3<'_, f32>, long_edge: u32) -> Result<Array3<f32>> {
    let float = float_thumbnail(pixels, long_edge)?;
    let (columns, rows) = (float.width() as usize, float.height() as usize);
    Ok(Array3::from_shape_fn((3, rows, columns), |(channel, y, x)| {
        float.get_pixel(x as u32, y as u32).0[channel].clamp(0.0, 1.0)
    }))
}

fn float_thumbnail(pixels: ArrayView3<'_, f32>, long_edge: u32) -> Result<Rgb32FImage> {
    let (columns, rows) = picture_size(pixels)?;
    let (small_columns, small_rows) = thumbnail_size(pixels, long_edge)?;
    let value = |channel, x: u32, y: u32| {
        let value = pixels[[channel, y as usize, x as usize]];
        if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
    };
    let float = Rgb32FImage::from_fn(columns, rows, |x, y| {
        Rgb([value(0, x, y), value(1, x, y), value(2, x, y)])
    });
    if (small_columns, small_rows) == (columns, rows) {
        return Ok(float);
    }
    Ok(imageops::resize(&float, small_columns, small_rows, FilterType::Lanczos3))
}

/// PNG, 8-bit RGB.
pub(crate) fn to_png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(
        Cursor::new(&mut bytes),
        CompressionType::Default,
        PngFilter::Adaptive,
    )
    .write_image(picture, picture.width(), picture.height(), image::ExtendedColorType::Rgb8)
    .map_err(|source| EvalError::Encoding { size: size_of(picture), source })?;
    Ok(bytes)
}

/// A picture, `3 x H x W` in \[0, 1\], as JPEG for later reports: no side longer than `long_edge`
/// pixels, in a quality at which differences between methods stay visible.
///
/// # Errors
/// [`EvalError::NotRgb`], [`EvalError::Encoding`].
pub fn jpeg_thumbnail(pixels: ArrayView3<'_, f32>, long_edge: u32) -> Result<Vec<u8>> {
    const QUALITY: u8 = 92;
    to_jpeg(&thumbnail(pixels, long_edge)?, QUALITY)
}

/// A painted map as JPEG, as [`jpeg_thumbnail`].
///
/// # Errors
/// [`EvalError::Encoding`].
pub fn jpeg_of_map(picture: &RgbImage, long_edge: u32) -> Result<Vec<u8>> {
    let (columns, rows) = fitted_size(picture.dimensions(), long_edge);
    const QUALITY: u8 = 88;
    if (columns, rows) == picture.dimensions() {
        return to_jpeg(picture, QUALITY);
    }
    to_jpeg(&imageops::resize(picture, columns, rows, FilterType::Triangle), QUALITY)
}

/// JPEG of a quality from 1 to 100.
pub(crate) fn to_jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(picture)
        .map_err(|source| EvalError::Encoding { size: size_of(picture), source })?;
    Ok(bytes)
}

fn size_of(picture: &RgbImage) -> Size {
    Size { width: picture.width() as usize, height: picture.height() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_keep_the_aspect_and_round() {
        let image = Array3::from_elem((3, 40, 100), 100.6 / 255.0f32);
        let small = thumbnail(image.view(), 50).unwrap();
        assert_eq!(small.dimensions(), (50, 20));
        assert!(small.pixels().all(|pixel| pixel.0 == [101; 3]));
        assert_eq!(thumbnail(image.view(), 500).unwrap().dimensions(), (100, 40));
        assert!(thumbnail(Array3::zeros((1, 4, 4)).view(), 50).is_err());
    }

    #[test]
    fn png_comes_back_bit_by_bit() {
        let picture = RgbImage::from_fn(7, 5, |x, y| Rgb([(x * 30) as u8, (y * 50) as u8, 9]));
        let bytes = to_png(&picture).unwrap();
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), picture);
    }
}
