//! What the decoders do not tell: whether a file is whole, how many components a JPEG has, and
//! whether a colour profile is present even when it cannot be read.
//!
//! The JPEG decoder fills missing rows with grey, and the PNG and JPEG decoders report a broken
//! profile as no profile at all. Both would be silent errors here.

use super::{SourceFormat, quality};

/// Facts read from a file's outer structure, without decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Structure {
    /// The end marker (PNG IEND, JPEG EOI) or the announced length (WebP) lies within the file.
    /// Always true for TIFF, whose parts may lie anywhere.
    pub complete: bool,
    /// An ICC profile is present, readable or not. Always false for TIFF and WebP, whose decoders
    /// report broken profiles themselves or are asked directly.
    pub has_profile: bool,
    /// Colour components of a JPEG's frame, 0 if unknown or another format.
    pub jpeg_components: u8,
    /// Quality of a JPEG by its luminance table, `None` if unknown or another format.
    pub jpeg_quality: Option<u8>,
    /// Width and height in a PNG's header, `None` for other formats. The PNG decoder allocates a
    /// row before it can be asked for them.
    pub png_size: Option<(u32, u32)>,
}

/// Nothing known yet.
const UNKNOWN: Structure = Structure {
    complete: false,
    has_profile: false,
    jpeg_components: 0,
    jpeg_quality: None,
    png_size: None,
};

impl Structure {
    pub(super) fn read(bytes: &[u8], format: SourceFormat) -> Self {
        match format {
            SourceFormat::Png => read_png(bytes),
            SourceFormat::Jpeg => read_jpeg(bytes),
            SourceFormat::WebP => read_webp(bytes),
            SourceFormat::Tiff => Self { complete: true, ..UNKNOWN },
        }
    }
}

/// PNG: an 8-byte signature, then chunks of length, type, data, checksum.
/// <https://www.w3.org/TR/png-3/#5Chunk-layout>
fn read_png(bytes: &[u8]) -> Structure {
    let mut found = UNKNOWN;
    let mut rest = bytes.get(8..).unwrap_or_default();
    // The header chunk comes first: width and height are its first eight bytes of data.
    found.png_size = rest.get(8..16).map(|size| {
        let number =
            |at: usize| u32::from_be_bytes([size[at], size[at + 1], size[at + 2], size[at + 3]]);
        (number(0), number(4))
    });
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        match &head[4..8] {
            b"iCCP" => found.has_profile = true,
            b"IEND" => {
                found.complete = true;
                break;
            }
            _ => {}
        }
        let Some(next) = length.checked_add(4).and_then(|skip| tail.get(skip..)) else { break };
        rest = next;
    }
    found
}

/// JPEG: segments of marker and length; entropy-coded data follows each scan header, in which 0xFF
/// is always followed by 0 or a restart marker. ITU-T T.81, annex B.
fn read_jpeg(bytes: &[u8]) -> Structure {
    let mut found = UNKNOWN;
    let mut at = 2;
    while at + 1 < bytes.len() {
        let marker = bytes[at + 1];
        // Entropy-coded bytes, stuffing and fill bytes: look at the next position.
        if bytes[at] != 0xFF || marker == 0x00 || marker == 0xFF {
            at += 1;
            continue;
        }
        match marker {
            0xD9 => {
                found.complete = true;
                break;
            }
            0x01 | 0xD0..=0xD8 => at += 2,
            _ => {
                let Some(length) = bytes.get(at + 2..at + 4) else { break };
                let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                let payload = bytes.get(at + 4..at + 2 + length).unwrap_or_default();
                match marker {
                    0xE2 if payload.starts_with(b"ICC_PROFILE\0") => found.has_profile = true,
                    0xDB if found.jpeg_quality.is_none() => {
                        found.jpeg_quality = quality::of_segment(payload);
                    }
                    // Start of frame, except DHT (C4), JPG (C8) and DAC (CC), which share the range.
                    0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                        found.jpeg_components = payload.get(5).copied().unwrap_or(0);
                    }
                    _ => {}
                }
                at += 2 + length;
            }
        }
    }
    found
}

/// WebP: a RIFF header whose length counts everything after its first eight bytes.
/// <https://developers.google.com/speed/webp/docs/riff_container>
fn read_webp(bytes: &[u8]) -> Structure {
    let announced = bytes
        .get(4..8)
        .map(|length| u64::from(u32::from_le_bytes([length[0], length[1], length[2], length[3]])));
    let complete = announced.is_some_and(|length| length + 8 <= bytes.len() as u64);
    Structure { complete, ..UNKNOWN }
}
