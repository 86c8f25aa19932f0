//! Decoding.

use std::io::Cursor;
use std::path::Path;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError, Limits};
use rayon::prelude::*;

use super::colour::{ToSrgb, table_row};
use super::container::Structure;
use super::levels::{Layout, Level, Levels, zeroed};
use super::orientation::{upright, upright_size};
use super::{Image, ImageInfo, Picture, SourceFormat, exif};
use crate::{DataError, raw};

/// What a decoder may allocate besides the pixels: compressed strips, profiles, metadata.
const METADATA_ALLOCATION: u64 = 256 << 20;

/// Limits on untrusted files, checked against the header before any pixel memory is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width times height).
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    /// 2^28 = 268 megapixels (16384 x 16384): above every camera's single frame (150 megapixels in
    /// 2026). At 3 or 6 bytes a pixel a [`Picture`] takes at most 0.75 or 1.5 GiB, at 12 an
    /// [`Image`] 3 GiB.
    fn default() -> Self {
        Self { max_pixels: 1 << 28 }
    }
}

/// Reads a PNG, JPEG, TIFF or WebP file as upright sRGB, with the default limits.
///
/// # Errors
/// Every way in which the file is not such a picture has its own [`DataError`].
pub fn decode(path: impl AsRef<Path>) -> Result<Image, DataError> {
    decode_with(path, &DecodeLimits::default())
}

/// [`decode`] with limits of one's own.
///
/// # Errors
/// As [`decode`].
pub fn decode_with(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Image, DataError> {
    Picture::open(path, limits)?.into_image()
}

/// Decodes a file held in memory; `name` is what errors call it.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(bytes: &[u8], name: &Path) -> Result<Image, DataError> {
    decode_bytes_with(bytes, name, &DecodeLimits::default())
}

/// [`decode_bytes`] with limits of one's own.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes_with(
    bytes: &[u8],
    name: &Path,
    limits: &DecodeLimits,
) -> Result<Image, DataError> {
    Picture::from_bytes(bytes, name, limits)?.into_image()
}

impl Picture {
    /// Reads a PNG, JPEG, TIFF or WebP file and keeps its bit depth. A camera raw file is rendered by
    /// [`crate::raw::RENDERING`], in a build with the feature `raw`.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn open(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Self, DataError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| DataError::read(path, e))?;
        Self::from_bytes(&bytes, path, limits)
    }

    /// [`Picture::open`] for a file held in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn from_bytes(bytes: &[u8], name: &Path, limits: &DecodeLimits) -> Result<Self, DataError> {
        let path = || name.to_path_buf();
        if bytes.is_empty() {
            return Err(DataError::Empty { path: path() });
        }
        if raw::is_raw(bytes, name) {
            return Self::from_raw(bytes, name, limits);
        }
        let Some(format) = SourceFormat::from_content(bytes) else {
            return Err(match bytes {
                // TIFF's version 43 in either byte order.
                [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => {
                    DataError::BigTiff { path: path() }
                }
                _ => DataError::NotAPicture { path: path() },
            });
        };
        let structure = Structure::read(bytes, format);
        let failed = |error| decoder_error(error, name, format, structure.complete);

        let check_size = |(width, height): (u32, u32)| {
            let max_pixels = limits.max_pixels;
            if u64::from(width) * u64::from(height) > max_pixels {
                return Err(DataError::TooManyPixels { path: path(), width, height, max_pixels });
            }
            Ok(())
        };
        structure.png_size.map_or(Ok(()), check_size)?;
        let mut decoder = open(bytes, format).map_err(failed)?;
        let (width, height) = decoder.dimensions();
        check_size((width, height))?;
        if width == 0 || height == 0 {
            let reason = format!("it says it is {width}x{height}");
            return Err(DataError::Damaged { path: path(), format, reason });
        }
        if !structure.complete {
            return Err(DataError::Truncated { path: path(), format });
        }
        let layout = Layout::of(&*decoder, &structure)
            .map_err(|layout| DataError::UnsupportedPixels { path: path(), layout })?;
        let mut allocation = Limits::default();
        allocation.max_alloc =
            Some(decoder.total_bytes().saturating_mul(2).saturating_add(METADATA_ALLOCATION));
        decoder.set_limits(allocation).map_err(failed)?;

        let icc_profile = match format {
            SourceFormat::Tiff => tiff_profile(bytes, name)?,
            _ => decoder.icc_profile().map_err(failed)?,
        };
        if icc_profile.is_none() && structure.has_profile {
            let reason = "it is incomplete or cannot be decompressed".into();
            return Err(DataError::Profile { path: path(), reason });
        }
        let profile_error = |reason| DataError::Profile { path: path(), reason };
        let to_srgb = match &icc_profile {
            Some(icc) => {
                ToSrgb::from_profile(icc, layout.colours, layout.max()).map_err(profile_error)?
            }
            None => ToSrgb::Same,
        };
        let (exif, orientation) = match format {
            SourceFormat::Tiff => (exif::of_tiff(bytes), decoder.orientation().map_err(failed)?),
            _ => {
                let exif = decoder.exif_metadata().map_err(failed)?.map(exif::without_prefix);
                let orientation = exif.as_deref().and_then(Orientation::from_exif_chunk);
                (exif, orientation.unwrap_or(Orientation::NoTransforms))
            }
        };

        let size = width as usize * height as usize * layout.channels;
        let memory = || Self::out_of_memory(name);
        let stored = Stored { width: width as usize, layout, orientation };
        let (levels, transparent_pixels) = if layout.wide {
            let mut levels = zeroed::<u16>(size).ok_or_else(memory)?;
            decoder.read_image(bytemuck::cast_slice_mut(&mut levels)).map_err(failed)?;
            let (levels, transparent) = stored.upright(levels).ok_or_else(memory)?;
            (Levels::Sixteen(levels), transparent)
        } else {
            let mut levels = zeroed::<u8>(size).ok_or_else(memory)?;
            decoder.read_image(&mut levels).map_err(failed)?;
            let (levels, transparent) = stored.upright(levels).ok_or_else(memory)?;
            (Levels::Eight(levels), transparent)
        };
        let info = ImageInfo {
            bit_depth: if layout.wide { 16 } else { 8 },
            format,
            icc_profile,
            exif,
            orientation: orientation.to_exif(),
            transparent_pixels,
            jpeg_quality: structure.jpeg_quality,
        };
        let (width, height) = upright_size((width as usize, height as usize), orientation);
        let colours = layout.colours;
        let picture = Self { width, height, colours, levels, to_srgb, info, name: path() };
        picture.with_tables_applied()
    }

    /// A camera raw file, rendered by [`raw::RENDERING`] and rounded to 16 bits.
    fn from_raw(bytes: &[u8], name: &Path, limits: &DecodeLimits) -> Result<Self, DataError> {
        let mosaic = raw::Mosaic::from_bytes(bytes.to_vec(), name, limits)?;
        let pixels = raw::render(&mosaic, &raw::RenderOptions::default())?;
        let (_, height, width) = pixels.dim();
        let mut levels = zeroed::<u16>(pixels.len()).ok_or_else(|| Self::out_of_memory(name))?;
        levels.par_chunks_exact_mut(3 * width).enumerate().for_each(|(row, to)| {
            for (column, pixel) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *pixel = [0, 1, 2].map(|c| (pixels[[c, row, column]] * 65535.0).round() as u16);
            }
        });
        let info = ImageInfo {
            bit_depth: 16,
            format: SourceFormat::Tiff,
            icc_profile: None,
            // A DNG is a TIFF; so are most others.
            exif: exif::of_tiff(bytes),
            orientation: mosaic.orientation,
            transparent_pixels: 0,
            jpeg_quality: None,
        };
        let (levels, to_srgb, name) = (Levels::Sixteen(levels), ToSrgb::Same, name.to_path_buf());
        Ok(Self { width, height, colours: 3, levels, to_srgb, info, name })
    }

    /// Applies a profile of tables once and for all: at some hundred nanoseconds a pixel it would
    /// cost too much for every row that is read again.
    fn with_tables_applied(mut self) -> Result<Self, DataError> {
        let ToSrgb::Tables(transform) = &self.to_srgb else { return Ok(self) };
        let (width, colours) = (self.width, self.colours);
        let mut converted = zeroed::<u16>(3 * width * self.height)
            .ok_or_else(|| Self::out_of_memory(&self.name))?;
        let rows = converted.par_chunks_exact_mut(3 * width);
        let result: Result<(), String> = match &self.levels {
            Levels::Eight(levels) => rows
                .zip(levels.par_chunks_exact(width * colours))
                .try_for_each(|(to, row)| table_row(&**transform, row, colours, to)),
            Levels::Sixteen(levels) => rows
                .zip(levels.par_chunks_exact(width * colours))
                .try_for_each(|(to, row)| table_row(&**transform, row, colours, to)),
        };
        result.map_err(|reason| DataError::Profile { path: self.name.clone(), reason })?;
        self.levels = Levels::Sixteen(converted);
        self.colours = 3;
        self.to_srgb = ToSrgb::Same;
        Ok(self)
    }
}

/// How a picture lies in its file.
struct Stored {
    width: usize,
    layout: Layout,
    orientation: Orientation,
}

impl Stored {
    /// The colour levels, upright, and how many pixels were not wholly opaque; `None` where there
    /// is no memory to turn them.
    fn upright<L: Level>(&self, mut levels: Vec<L>) -> Option<(Vec<L>, usize)> {
        let transparent = self.layout.drop_alpha(&mut levels);
        Some((upright(levels, self.width, self.layout.colours, self.orientation)?, transparent))
    }
}

type DynDecoder<'a> = Box<dyn ImageDecoder + 'a>;

fn open(bytes: &[u8], format: SourceFormat) -> Result<DynDecoder<'_>, ImageError> {
    let reader = Cursor::new(bytes);
    let mut limits = Limits::default();
    limits.max_alloc = Some(METADATA_ALLOCATION);
    Ok(match format {
        SourceFormat::Png => Box::new(PngDecoder::with_limits(reader, limits)?),
        SourceFormat::Jpeg => Box::new(JpegDecoder::new(reader)?),
        SourceFormat::Tiff => Box::new(TiffDecoder::new(reader)?),
        SourceFormat::WebP => Box::new(WebPDecoder::new(reader)?),
    })
}

/// A TIFF's profile. Asked of the TIFF reader itself, because `image` reports one that cannot be
/// read as none.
fn tiff_profile(bytes: &[u8], name: &Path) -> Result<Option<Vec<u8>>, DataError> {
    let unusable =
        |e: tiff::TiffError| DataError::Profile { path: name.to_path_buf(), reason: e.to_string() };
    let mut limits = tiff::decoder::Limits::default();
    limits.ifd_value_size = METADATA_ALLOCATION as usize;
    let mut decoder =
        tiff::decoder::Decoder::new(Cursor::new(bytes)).map_err(unusable)?.with_limits(limits);
    decoder
        .find_tag(tiff::tags::Tag::IccProfile)
        .map_err(unusable)?
        .map(tiff::decoder::ifd::Value::into_u8_vec)
        .transpose()
        .map_err(unusable)
}

fn decoder_error(
    error: ImageError,
    name: &Path,
    format: SourceFormat,
    complete: bool,
) -> DataError {
    let path = name.to_path_buf();
    match error {
        ImageError::Limits(_) => DataError::OutOfMemory { path },
        ImageError::Unsupported(e) => {
            DataError::UnsupportedFeature { path, format, reason: e.to_string() }
        }
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            DataError::Truncated { path, format }
        }
        _ if !complete => DataError::Truncated { path, format },
        other => DataError::Damaged { path, format, reason: other.to_string() },
    }
}
