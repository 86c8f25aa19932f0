//! Pictures: from any supported file to sRGB arrays and back.
//!
//! [`decode`] never guesses: the content decides the format, 16-bit samples are divided by 65535,
//! an embedded ICC profile is applied, EXIF or TIFF orientation is applied, alpha is dropped, grey
//! becomes RGB, and what cannot be read faithfully is an error. [`encode`] rounds, never truncates,
//! and replaces the file only when all of it has been written.
//!
//! Where memory counts, a [`Picture`] and a [`Rendering`] do the same in the files' own bit depth,
//! row by row: a photograph of 24 megapixels is 72 MB on its way in and 72 MB on its way out.
//!
//! Metadata: EXIF is kept (see [`encode`]); XMP, IPTC and comments are not.

mod colour;
mod container;
mod decode;
mod decoded;
mod encode;
mod exif;
mod jpeg;
mod levels;
mod npy;
mod orientation;
mod planes;
mod png;
mod quality;
mod rendering;
mod tiff_file;

use ndarray::Array3;

pub(crate) use orientation::turned_upright;
pub(crate) use planes::Planes;

pub use decode::{DecodeLimits, decode, decode_bytes, decode_bytes_with, decode_with};
pub use decoded::Picture;
pub use encode::{EncodeOptions, JPEG_QUALITY, OutputFormat, encode};
pub use rendering::{ExifLeftOut, Rendering};

/// A decoded picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// 3 x H x W: red, green and blue planes, sRGB encoded, in [0, 1], upright.
    pub pixels: Array3<f32>,
    /// What the file said about itself.
    pub info: ImageInfo,
}

impl Image {
    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.pixels.dim().1
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.pixels.dim().2
    }
}

/// What a file said about itself before its pixels became upright sRGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Bits per sample as decoded: 8 or 16. Samples of fewer bits are widened to 8.
    pub bit_depth: u8,
    /// The file format, by content.
    pub format: SourceFormat,
    /// The embedded ICC profile, if any. The pixels are in sRGB regardless.
    pub icc_profile: Option<Vec<u8>>,
    /// The EXIF block (from its TIFF header on), if any, as in the file: it still tells the
    /// original orientation. TIFF files spread EXIF over their own directories; from them the
    /// fields that speak of the photograph are collected into a block.
    pub exif: Option<Vec<u8>>,
    /// EXIF orientation of the file, 1 to 8; 1 is upright. Already applied to the pixels.
    pub orientation: u8,
    /// Pixels that are not wholly opaque. Their alpha was dropped, so their colours are not what a
    /// viewer shows.
    pub transparent_pixels: usize,
    /// Of a JPEG, the quality it was saved with on libjpeg's scale, 1 to 100, by the strength of its
    /// luminance table; nearest where the table is not one of libjpeg's.
    pub jpeg_quality: Option<u8>,
}

/// A picture format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
    /// TIFF, first page.
    Tiff,
    /// WebP, lossy or lossless, first frame.
    WebP,
}

impl SourceFormat {
    /// File extensions, lower case, under which these pictures are looked for in a folder.
    pub const EXTENSIONS: [&'static str; 6] = ["png", "jpg", "jpeg", "tif", "tiff", "webp"];

    /// The format by the first bytes of a file, or `None`.
    #[must_use]
    pub fn from_content(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            image::ImageFormat::Png => Some(Self::Png),
            image::ImageFormat::Jpeg => Some(Self::Jpeg),
            image::ImageFormat::Tiff => Some(Self::Tiff),
            image::ImageFormat::WebP => Some(Self::WebP),
            _ => None,
        }
    }
}

impl std::fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
        })
    }
}
