//! Decoding.

use std::io::Cursor;
use std::path::Path;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageError, Limits};
use ndarray::Array3;
use rayon::prelude::*;

use super::colour::ToSrgb;
use super::container::Structure;
use super::orientation::upright;
use super::{Image, ImageInfo, SourceFormat};
use crate::DataError;

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
    /// 2026), and at 12 bytes per decoded pixel 3 GiB for the picture.
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
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| DataError::read(path, e))?;
    decode_bytes_with(&bytes, path, limits)
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
    let path = || name.to_path_buf();
    if bytes.is_empty() {
        return Err(DataError::Empty { path: path() });
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
    let samples = Samples::of(&*decoder, &structure, name)?;
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
    let exif = decoder.exif_metadata().map_err(failed)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let to_srgb = match &icc_profile {
        Some(icc) => ToSrgb::from_profile(icc, samples, name)?,
        None => ToSrgb::Same,
    };

    let size = usize::try_from(decoder.total_bytes())
        .map_err(|_| DataError::OutOfMemory { path: path() })?;
    let mut raw = zeroed::<u8>(size, name)?;
    decoder.read_image(&mut raw).map_err(failed)?;
    let pixels = planar(&raw, width as usize, height as usize, samples, &to_srgb, name)?;
    drop(raw);
    let info = ImageInfo {
        bit_depth: if samples.bytes == 2 { 16 } else { 8 },
        format,
        icc_profile,
        exif,
        orientation: orientation.to_exif(),
    };
    Ok(Image { pixels: upright(pixels, orientation), info })
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

/// How samples lie in the decoder's buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Samples {
    /// Colour channels: 1 or 3.
    pub(super) colours: usize,
    /// Channels including alpha.
    channels: usize,
    /// Bytes per sample: 1 or 2, native endian.
    bytes: usize,
}

impl Samples {
    fn of(
        decoder: &dyn ImageDecoder,
        structure: &Structure,
        name: &Path,
    ) -> Result<Self, DataError> {
        let unsupported = |layout: &str| DataError::UnsupportedPixels {
            path: name.to_path_buf(),
            layout: layout.into(),
        };
        // The decoders turn CMYK into RGB without its profile, which is not the picture's colours.
        let cmyk_tiff = matches!(
            decoder.original_color_type(),
            ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
        );
        if cmyk_tiff || structure.jpeg_components == 4 {
            return Err(unsupported("CMYK"));
        }
        let (colours, channels, bytes) = match decoder.color_type() {
            ColorType::L8 => (1, 1, 1),
            ColorType::La8 => (1, 2, 1),
            ColorType::Rgb8 => (3, 3, 1),
            ColorType::Rgba8 => (3, 4, 1),
            ColorType::L16 => (1, 1, 2),
            ColorType::La16 => (1, 2, 2),
            ColorType::Rgb16 => (3, 3, 2),
            ColorType::Rgba16 => (3, 4, 2),
            ColorType::Rgb32F | ColorType::Rgba32F => return Err(unsupported("32 bit float")),
            other => return Err(unsupported(&format!("{other:?}"))),
        };
        Ok(Self { colours, channels, bytes })
    }

    /// The largest sample: white.
    pub(super) fn max(self) -> u16 {
        if self.bytes == 1 { u16::from(u8::MAX) } else { u16::MAX }
    }

    /// The colour samples of one row of bytes, alpha left out.
    fn unpack(self, row: &[u8], output: &mut Vec<u16>) {
        output.clear();
        for pixel in row.chunks_exact(self.channels * self.bytes) {
            let colours = &pixel[..self.colours * self.bytes];
            if self.bytes == 1 {
                output.extend(colours.iter().map(|&v| u16::from(v)));
            } else {
                output.extend(colours.chunks_exact(2).map(|v| u16::from_ne_bytes([v[0], v[1]])));
            }
        }
    }
}

/// Converts the decoder's interleaved bytes to planar sRGB, row by row on all threads.
fn planar(
    raw: &[u8],
    width: usize,
    height: usize,
    samples: Samples,
    to_srgb: &ToSrgb,
    name: &Path,
) -> Result<Array3<f32>, DataError> {
    let mut data = zeroed::<f32>(3 * width * height, name)?;
    let (red, rest) = data.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    raw.par_chunks_exact(width * samples.channels * samples.bytes)
        .zip(red.par_chunks_exact_mut(width))
        .zip(green.par_chunks_exact_mut(width))
        .zip(blue.par_chunks_exact_mut(width))
        .try_for_each_init(
            || (Vec::new(), vec![0.0; 3 * width]),
            |(unpacked, rgb), (((bytes, red), green), blue)| {
                samples.unpack(bytes, unpacked);
                to_srgb.convert(unpacked, samples, rgb, name)?;
                for (column, pixel) in rgb.chunks_exact(3).enumerate() {
                    red[column] = pixel[0];
                    green[column] = pixel[1];
                    blue[column] = pixel[2];
                }
                Ok::<(), DataError>(())
            },
        )?;
    // Infallible: `data` was made with exactly this many elements.
    Ok(Array3::from_shape_vec((3, height, width), data).expect("3 * height * width elements"))
}

/// A buffer of zeros, or an error instead of an abort where there is no memory for it.
fn zeroed<T: Clone + Default>(size: usize, name: &Path) -> Result<Vec<T>, DataError> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(size)
        .map_err(|_| DataError::OutOfMemory { path: name.to_path_buf() })?;
    buffer.resize(size, T::default());
    Ok(buffer)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_cannot_be_had_is_an_error() {
        assert!(matches!(
            zeroed::<f32>(usize::MAX / 8, Path::new("x.png")),
            Err(DataError::OutOfMemory { .. })
        ));
    }

    #[test]
    fn alpha_is_left_out() {
        let mut row = Vec::new();
        Samples { colours: 1, channels: 2, bytes: 1 }.unpack(&[255, 7, 51, 9], &mut row);
        assert_eq!(row, [255, 51]);
        let wide: Vec<u8> = [65535u16, 0, 13107, 9].iter().flat_map(|v| v.to_ne_bytes()).collect();
        Samples { colours: 3, channels: 4, bytes: 2 }.unpack(&wide, &mut row);
        assert_eq!(row, [65535, 0, 13107]);
    }
}
