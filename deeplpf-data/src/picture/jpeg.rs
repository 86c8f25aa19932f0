//! JPEG files.

use std::io::Write;

use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use super::rendering::{EncodeError, Metadata};

/// A JPEG segment holds 65535 bytes: two are its length and six the word "Exif" with two zeros.
pub(super) const EXIF_LIMIT: usize = 65535 - 2 - 6;

/// Baseline, with the tables of ITU-T T.81 annex K scaled as in libjpeg, colour at full resolution
/// (4:4:4): a retouched photograph is often retouched again.
pub(super) fn write(
    writer: &mut impl Write,
    levels: &[u8],
    (width, height): (u32, u32),
    quality: u8,
    metadata: &Metadata,
) -> Result<(), EncodeError> {
    let (width, height) = check_size(width, height).map_err(EncodeError::Refused)?;
    let mut encoder = Encoder::new(writer, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
    // EXIF comes first: some readers look for it nowhere else.
    if let Some(exif) = &metadata.exif {
        encoder.add_exif_metadata(exif).map_err(failed)?;
    }
    encoder.add_icc_profile(&metadata.profile).map_err(failed)?;
    encoder.encode(levels, width, height, ColorType::Rgb).map_err(failed)
}

/// The size in a JPEG's own numbers, or why it has none.
pub(super) fn check_size(width: u32, height: u32) -> Result<(u16, u16), String> {
    let side = |side: u32| {
        u16::try_from(side).map_err(|_| format!("{side} pixels are more than its 65535"))
    };
    Ok((side(width)?, side(height)?))
}

fn failed(error: EncodingError) -> EncodeError {
    match error {
        EncodingError::IoError(error) => EncodeError::Io(error),
        other => EncodeError::Refused(other.to_string()),
    }
}
