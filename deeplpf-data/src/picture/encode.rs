//! Encoding.

use std::fmt;
use std::io::{Seek, Write};
use std::path::Path;
use std::str::FromStr;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::{jpeg::JpegEncoder, tiff::TiffEncoder};
use image::metadata::Orientation;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use ndarray::ArrayView3;

use super::{ImageInfo, colour, npy};
use crate::DataError;
use crate::atomic_file::write_atomically;

/// JPEG quality on libjpeg's scale of 1 to 100. At 95 the quantisation error is below what is
/// visible; the encoder keeps colour at full resolution (4:4:4).
pub const JPEG_QUALITY: u8 = 95;

/// A JPEG segment holds 65535 bytes: two are its length and six the word "Exif" with two zeros.
const JPEG_EXIF_LIMIT: usize = 65535 - 2 - 6;

/// A file format for results. `FromStr` and `Display` use the names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// `png`: 8 bits per channel, lossless after rounding.
    Png,
    /// `png16`: 16 bits per channel, lossless after rounding.
    Png16,
    /// `tiff16`: 16 bits per channel, uncompressed.
    Tiff16,
    /// `jpeg`: 8 bits per channel, quality [`JPEG_QUALITY`].
    Jpeg,
    /// `npy`: float32, H x W x 3, neither rounded nor clamped.
    Npy,
}

impl OutputFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Png, Self::Png16, Self::Tiff16, Self::Jpeg, Self::Npy];

    /// The format a file extension stands for (without dot, any case): `png`, `jpg`, `jpeg`,
    /// `tif`, `tiff` (16 bit), `npy`.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "tif" | "tiff" => Some(Self::Tiff16),
            "npy" => Some(Self::Npy),
            _ => None,
        }
    }

    /// The extension of files in this format, without dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png | Self::Png16 => "png",
            Self::Tiff16 => "tif",
            Self::Jpeg => "jpg",
            Self::Npy => "npy",
        }
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Png16 => "png16",
            Self::Tiff16 => "tiff16",
            Self::Jpeg => "jpeg",
            Self::Npy => "npy",
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OutputFormat {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| DataError::UnknownFormat { name: name.into() })
    }
}

/// Writes planes 3 x H x W of sRGB values.
///
/// 8 and 16 bit formats clamp to [0, 1] and round to the nearest level; `npy` keeps the values. PNG,
/// TIFF and JPEG carry an sRGB profile. EXIF of `info` is kept in PNG and JPEG with its orientation
/// set to upright; TIFF and npy cannot carry it here, nor can a JPEG carry more than 64 KiB of it.
///
/// The file appears under `path` only when it is complete; on any error nothing is left behind and a
/// file that was there stays as it was.
///
/// # Errors
/// [`DataError::Shape`], [`DataError::NotFinite`] (NaN and infinities, in every format),
/// [`DataError::DiskFull`], [`DataError::Write`], [`DataError::Encode`].
pub fn encode(
    path: impl AsRef<Path>,
    pixels: ArrayView3<'_, f32>,
    format: OutputFormat,
    info: Option<&ImageInfo>,
) -> Result<(), DataError> {
    let path = path.as_ref();
    let (channels, height, width) = pixels.dim();
    if channels != 3 || height == 0 || width == 0 {
        let shape = pixels.shape().to_vec();
        return Err(DataError::Shape { path: path.to_path_buf(), shape });
    }
    if let Some(((channel, row, column), &value)) =
        pixels.indexed_iter().find(|(_, value)| !value.is_finite())
    {
        let path = path.to_path_buf();
        return Err(DataError::NotFinite { path, channel, row, column, value });
    }
    write_atomically(path, |writer| match format {
        OutputFormat::Npy => {
            npy::write_interleaved(pixels, writer).map_err(|e| DataError::write(path, e))
        }
        _ => {
            encode_samples(writer, pixels, format, info).map_err(|e| encoder_error(e, path, format))
        }
    })
}

fn encode_samples(
    writer: impl Write + Seek,
    pixels: ArrayView3<'_, f32>,
    format: OutputFormat,
    info: Option<&ImageInfo>,
) -> Result<(), ImageError> {
    let exif = info.and_then(|info| info.exif.clone()).map(|mut exif| {
        // None where the block tells no orientation: then it is upright already.
        let _ = Orientation::remove_from_exif_chunk(&mut exif);
        exif
    });
    let exif = exif.unwrap_or_default();
    match format {
        OutputFormat::Png => {
            let encoder = PngEncoder::new_with_quality(
                writer,
                CompressionType::Default,
                FilterType::Adaptive,
            );
            finish(encoder, &eight_bit(pixels), ExtendedColorType::Rgb8, pixels, exif)
        }
        OutputFormat::Png16 => {
            let encoder = PngEncoder::new_with_quality(
                writer,
                CompressionType::Default,
                FilterType::Adaptive,
            );
            finish(encoder, &sixteen_bit(pixels), ExtendedColorType::Rgb16, pixels, exif)
        }
        OutputFormat::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(writer, JPEG_QUALITY);
            let exif = if exif.len() <= JPEG_EXIF_LIMIT { exif } else { Vec::new() };
            finish(encoder, &eight_bit(pixels), ExtendedColorType::Rgb8, pixels, exif)
        }
        OutputFormat::Tiff16 | OutputFormat::Npy => {
            let encoder = TiffEncoder::new(writer);
            finish(encoder, &sixteen_bit(pixels), ExtendedColorType::Rgb16, pixels, Vec::new())
        }
    }
}

fn finish(
    mut encoder: impl ImageEncoder,
    samples: &[u8],
    layout: ExtendedColorType,
    pixels: ArrayView3<'_, f32>,
    exif: Vec<u8>,
) -> Result<(), ImageError> {
    let too_large = |_| {
        ImageError::Parameter(image::error::ParameterError::from_kind(
            image::error::ParameterErrorKind::DimensionMismatch,
        ))
    };
    let (_, height, width) = pixels.dim();
    let (width, height) =
        (u32::try_from(width).map_err(too_large)?, u32::try_from(height).map_err(too_large)?);
    let profile = colour::srgb_profile().map_err(|e| {
        ImageError::IoError(std::io::Error::other(format!("the sRGB profile: {e}")))
    })?;
    encoder.set_icc_profile(profile).map_err(ImageError::Unsupported)?;
    if !exif.is_empty() {
        encoder.set_exif_metadata(exif).map_err(ImageError::Unsupported)?;
    }
    encoder.write_image(samples, width, height, layout)
}

/// Interleaved 8-bit samples: nearest level of the clamped value.
fn eight_bit(pixels: ArrayView3<'_, f32>) -> Vec<u8> {
    let interleaved = pixels.permuted_axes([1, 2, 0]);
    interleaved.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
}

/// Interleaved 16-bit samples in native byte order: nearest level of the clamped value.
fn sixteen_bit(pixels: ArrayView3<'_, f32>) -> Vec<u8> {
    let interleaved = pixels.permuted_axes([1, 2, 0]);
    interleaved
        .iter()
        .flat_map(|v| ((v.clamp(0.0, 1.0) * 65535.0).round() as u16).to_ne_bytes())
        .collect()
}

fn encoder_error(error: ImageError, path: &Path, format: OutputFormat) -> DataError {
    match error {
        ImageError::IoError(e) => DataError::write(path, e),
        other => DataError::Encode {
            path: path.to_path_buf(),
            format: format.name(),
            reason: other.to_string(),
        },
    }
}
