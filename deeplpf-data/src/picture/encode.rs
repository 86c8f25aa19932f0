//! Encoding.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ndarray::ArrayView3;

use super::{ImageInfo, Rendering};
use crate::DataError;

/// JPEG quality on libjpeg's scale of 1 to 100. At 95 the quantisation error is below what is
/// visible. Colour is kept at full resolution (4:4:4) at every quality.
pub const JPEG_QUALITY: u8 = 95;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Of JPEGs, 1 to 100 on libjpeg's scale; values outside are clipped. Default [`JPEG_QUALITY`].
    pub quality: u8,
    /// Converts results back to the photograph's own ICC profile and tags them with it. Default:
    /// they stay sRGB. A photograph without a profile is sRGB; an `npy` stays sRGB.
    pub keep_profile: bool,
    /// Leaves out EXIF. Default: it is kept.
    pub strip_metadata: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { quality: JPEG_QUALITY, keep_profile: false, strip_metadata: false }
    }
}

/// A file format for results. `FromStr` and `Display` use the names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// `png`: 8 bits per channel, lossless after rounding.
    Png,
    /// `png16`: 16 bits per channel, lossless after rounding.
    Png16,
    /// `tiff16`: 16 bits per channel, uncompressed.
    Tiff16,
    /// `jpeg`: 8 bits per channel, baseline, 4:4:4.
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

/// Writes planes 3 x H x W of sRGB values with the default [`EncodeOptions`].
///
/// 8 and 16 bit formats clamp to [0, 1] and round to the nearest level; `npy` keeps the values. PNG,
/// TIFF and JPEG carry an sRGB profile and the EXIF of `info`: orientation upright, the size that of
/// `pixels`, without thumbnail. An `npy` carries neither; a JPEG has no room for more than 64 KiB of
/// EXIF ([`Rendering::exif_left_out`] tells).
///
/// The file appears under `path` only when it is complete; on any error nothing is left behind and a
/// file that was there stays as it was.
///
/// # Errors
/// [`DataError::Shape`], [`DataError::OutOfMemory`], and those of [`Rendering::write`].
pub fn encode(
    path: impl AsRef<Path>,
    pixels: ArrayView3<'_, f32>,
    format: OutputFormat,
    info: Option<&ImageInfo>,
) -> Result<(), DataError> {
    let path = path.as_ref();
    let (channels, height, width) = pixels.dim();
    if channels != 3 {
        let shape = pixels.shape().to_vec();
        return Err(DataError::Shape { path: path.to_path_buf(), shape });
    }
    let options = EncodeOptions::default();
    let mut rendering = Rendering::new(path, (width, height), format, info, &options)?;
    rendering.put_rows(0, pixels);
    rendering.write()
}
