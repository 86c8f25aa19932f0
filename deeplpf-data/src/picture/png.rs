//! PNG files.

use std::io::Write;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::rendering::{EncodeError, Metadata};

pub(super) fn write_8(
    writer: &mut impl Write,
    levels: &[u8],
    size: (u32, u32),
    metadata: &Metadata,
) -> Result<(), EncodeError> {
    write(writer, levels, size, ExtendedColorType::Rgb8, metadata)
}

pub(super) fn write_16(
    writer: &mut impl Write,
    levels: &[u16],
    size: (u32, u32),
    metadata: &Metadata,
) -> Result<(), EncodeError> {
    write(writer, bytemuck::cast_slice(levels), size, ExtendedColorType::Rgb16, metadata)
}

/// The fast level of compression with filters chosen row by row: for photographs its files are as
/// large as the default level's to a few per cent, and it takes a fortieth of the time (24
/// megapixels: 0.23 s and 32.2 MB against 8.7 s and 32.1 MB).
fn write(
    writer: &mut impl Write,
    samples: &[u8],
    (width, height): (u32, u32),
    layout: ExtendedColorType,
    metadata: &Metadata,
) -> Result<(), EncodeError> {
    let mut encoder =
        PngEncoder::new_with_quality(writer, CompressionType::Fast, FilterType::Adaptive);
    let set = |result: Result<(), image::error::UnsupportedError>| {
        result.map_err(|e| EncodeError::Refused(e.to_string()))
    };
    set(encoder.set_icc_profile(metadata.profile.clone()))?;
    if let Some(exif) = &metadata.exif {
        set(encoder.set_exif_metadata(exif.clone()))?;
    }
    encoder.write_image(samples, width, height, layout).map_err(|error| match error {
        ImageError::IoError(error) => EncodeError::Io(error),
        other => EncodeError::Refused(other.to_string()),
    })
}
