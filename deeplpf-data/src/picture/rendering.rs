//! A result in its file's own bit depth.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use ndarray::{ArrayView3, s};
use rayon::prelude::*;

use super::colour::{FromSrgb, srgb_profile};
use super::encode::{EncodeOptions, OutputFormat};
use super::exif::{Upright, normalise};
use super::levels::zeroed;
use super::{ImageInfo, jpeg, npy, png, tiff_file};
use crate::DataError;
use crate::atomic_file::write_atomically;

/// A picture that is being made: bands of `f32` rows go in, are rounded to the levels of the output
/// format, and the whole is written at the end.
///
/// It takes 3 bytes a pixel for `png` and `jpeg`, 6 for `png16` and `tiff16` and 12 for `npy`.
pub struct Rendering {
    format: OutputFormat,
    width: usize,
    height: usize,
    samples: Samples,
    from_srgb: FromSrgb,
    quality: u8,
    metadata: Metadata,
    exif_left_out: Option<ExifLeftOut>,
    /// What errors call the file.
    name: PathBuf,
    not_finite: Option<NotFinite>,
}

/// What a file says besides its pixels.
pub(super) struct Metadata {
    /// The ICC profile of the pixels.
    pub(super) profile: Vec<u8>,
    /// The EXIF block, true for the result.
    pub(super) exif: Option<Vec<u8>>,
}

/// Interleaved samples, three a pixel.
enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
    Float(Vec<f32>),
}

/// The first value that is no number: channel, row, column, value.
#[derive(Clone, Copy)]
struct NotFinite(usize, usize, usize, f32);

/// Why a result does not carry its photograph's EXIF. `Display` is a clause without a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExifLeftOut {
    /// Its structure is damaged: what it says about orientation could not be corrected.
    #[error("its EXIF data is damaged and was left out")]
    Damaged,
    /// A JPEG has room for 65527 bytes.
    #[error("its {bytes} bytes of EXIF data do not fit into a JPEG and were left out")]
    TooLarge {
        /// How many bytes there are.
        bytes: usize,
    },
}

impl Rendering {
    /// A black picture of the size. `path` is where it will be written, for errors; `info` is the
    /// photograph's, for EXIF and `keep_profile`.
    ///
    /// # Errors
    /// [`DataError::Shape`] for a size of zero or more than 2^32 - 1, [`DataError::Encode`] for a
    /// JPEG of more than 65535 pixels a side, [`DataError::OutOfMemory`],
    /// [`DataError::KeepProfile`] where the photograph's profile cannot be kept.
    pub fn new(
        path: impl AsRef<Path>,
        (width, height): (usize, usize),
        format: OutputFormat,
        info: Option<&ImageInfo>,
        options: &EncodeOptions,
    ) -> Result<Self, DataError> {
        let name = path.as_ref().to_path_buf();
        let shape = || DataError::Shape { path: name.clone(), shape: vec![3, height, width] };
        let size = |side: usize| u32::try_from(side).ok().filter(|&side| side > 0);
        let (columns, rows) = size(width).zip(size(height)).ok_or_else(shape)?;
        if format == OutputFormat::Jpeg {
            jpeg::check_size(columns, rows).map_err(|reason| unwritten(&name, format, &reason))?;
        }
        let input_profile = info
            .and_then(|info| info.icc_profile.as_ref())
            .filter(|_| options.keep_profile && format != OutputFormat::Npy);
        let (from_srgb, profile) = match input_profile {
            None => (FromSrgb::Same, srgb_profile().map_err(|e| unwritten(&name, format, &e))?),
            Some(icc) => {
                let from_srgb = FromSrgb::to_profile(icc)
                    .map_err(|reason| DataError::KeepProfile { path: name.clone(), reason })?;
                (from_srgb, icc.clone())
            }
        };
        let srgb = matches!(from_srgb, FromSrgb::Same);
        let block = info.and_then(|info| info.exif.clone()).filter(|_| !options.strip_metadata);
        let (exif, exif_left_out) = match block {
            None => (None, None),
            Some(mut block) => {
                match normalise(&mut block, Upright { width: columns, height: rows, srgb }) {
                    Err(_) => (None, Some(ExifLeftOut::Damaged)),
                    Ok(()) if format == OutputFormat::Jpeg && block.len() > jpeg::EXIF_LIMIT => {
                        (None, Some(ExifLeftOut::TooLarge { bytes: block.len() }))
                    }
                    Ok(()) => (Some(block), None),
                }
            }
        };
        let count = 3usize.checked_mul(width).and_then(|n| n.checked_mul(height));
        let memory = || DataError::OutOfMemory { path: name.clone() };
        let count = count.ok_or_else(memory)?;
        let samples = match format {
            OutputFormat::Png | OutputFormat::Jpeg => zeroed(count).map(Samples::Eight),
            OutputFormat::Png16 | OutputFormat::Tiff16 => zeroed(count).map(Samples::Sixteen),
            OutputFormat::Npy => zeroed(count).map(Samples::Float),
        };
        Ok(Self {
            format,
            width,
            height,
            samples: samples.ok_or_else(memory)?,
            from_srgb,
            quality: options.quality.clamp(1, 100),
            metadata: Metadata { profile, exif },
            exif_left_out,
            name,
            not_finite: None,
        })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Why the photograph's EXIF is not in the result, if there was any and it was wanted. An `npy`
    /// never carries any, and that is not told here.
    #[must_use]
    pub fn exif_left_out(&self) -> Option<ExifLeftOut> {
        self.exif_left_out.filter(|_| self.format != OutputFormat::Npy)
    }

    /// Takes rows 3 x rows x W of sRGB values, the first of which is row `first` of the picture.
    /// 8 and 16 bit formats clamp to [0, 1] and round to the nearest level; `npy` keeps the values.
    /// A value that is no number is remembered, and [`Rendering::write`] refuses the picture.
    ///
    /// Works on all threads of the current rayon pool.
    ///
    /// # Panics
    /// The rows are not W wide or do not lie within the picture.
    pub fn put_rows(&mut self, first: usize, rows: ArrayView3<'_, f32>) {
        let (channels, count, width) = rows.dim();
        assert!(channels == 3 && width == self.width && first + count <= self.height);
        let range = 3 * width * first..3 * width * (first + count);
        let from_srgb = &self.from_srgb;
        let found = match &mut self.samples {
            Samples::Eight(all) => put(&mut all[range], rows, from_srgb, |v| level(v, 255.0) as u8),
            Samples::Sixteen(all) => {
                put(&mut all[range], rows, from_srgb, |v| level(v, 65535.0) as u16)
            }
            Samples::Float(all) => put(&mut all[range], rows, from_srgb, |v| v),
        };
        if let Some(NotFinite(channel, row, column, value)) = found {
            self.not_finite.get_or_insert(NotFinite(channel, first + row, column, value));
        }
    }

    /// Writes the picture. The file appears under its name only when it is complete; on any error
    /// nothing is left behind and a file that was there stays as it was.
    ///
    /// # Errors
    /// [`DataError::NotFinite`], [`DataError::DiskFull`], [`DataError::Write`],
    /// [`DataError::NotRegularFile`], [`DataError::Encode`].
    pub fn write(&self) -> Result<(), DataError> {
        self.check_finite()?;
        write_atomically(&self.name, |writer| self.encode(writer).map_err(|e| self.failed(e)))
    }

    /// The file that [`Self::write`] would write.
    ///
    /// # Errors
    /// [`DataError::NotFinite`], [`DataError::Encode`].
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        self.check_finite()?;
        let mut file = std::io::Cursor::new(Vec::new());
        self.encode(&mut file).map_err(|e| self.failed(e))?;
        Ok(file.into_inner())
    }

    fn check_finite(&self) -> Result<(), DataError> {
        let Some(NotFinite(channel, row, column, value)) = self.not_finite else { return Ok(()) };
        Err(DataError::NotFinite { path: self.name.clone(), channel, row, column, value })
    }

    fn failed(&self, error: EncodeError) -> DataError {
        match error {
            EncodeError::Io(error) => DataError::write(&self.name, error),
            EncodeError::Refused(reason) => unwritten(&self.name, self.format, &reason),
        }
    }

    fn encode(&self, writer: &mut (impl Write + Seek)) -> Result<(), EncodeError> {
        // Infallible: `new` refuses larger sizes.
        let size = (self.width as u32, self.height as u32);
        match (&self.samples, self.format) {
            (Samples::Eight(levels), OutputFormat::Jpeg) => {
                jpeg::write(writer, levels, size, self.quality, &self.metadata)
            }
            (Samples::Eight(levels), _) => png::write_8(writer, levels, size, &self.metadata),
            (Samples::Sixteen(levels), OutputFormat::Tiff16) => {
                tiff_file::write(writer, levels, size, &self.metadata)
            }
            (Samples::Sixteen(levels), _) => png::write_16(writer, levels, size, &self.metadata),
            (Samples::Float(values), _) => Ok(npy::write(writer, values, size)?),
        }
    }
}

/// What an encoder may say.
pub(super) enum EncodeError {
    Io(std::io::Error),
    Refused(String),
}

impl From<std::io::Error> for EncodeError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn unwritten(path: &Path, format: OutputFormat, reason: &impl ToString) -> DataError {
    let (path, reason) = (path.to_path_buf(), reason.to_string());
    DataError::Encode { path, format: format.name(), reason }
}

/// The nearest level of a clamped value; half-way goes up, as with [`f32::round`], which without a
/// newer instruction set is a function call.
fn level(value: f32, max: f32) -> i32 {
    let scaled = value.clamp(0.0, 1.0) * max;
    let below = scaled as i32;
    below + i32::from(scaled - below as f32 >= 0.5)
}

/// Rounds rows into interleaved samples. Returns the first value that is no number.
fn put<T: Send>(
    output: &mut [T],
    rows: ArrayView3<'_, f32>,
    from_srgb: &FromSrgb,
    round: impl Fn(f32) -> T + Sync,
) -> Option<NotFinite> {
    let width = rows.dim().2;
    output
        .par_chunks_exact_mut(3 * width)
        .enumerate()
        .map_init(
            || vec![0.0f32; 3 * width],
            |planes, (row, output)| {
                let mut channels = planes.chunks_exact_mut(width);
                // Infallible: there are three times `width` numbers.
                let mut plane = || channels.next().expect("three planes");
                let (red, green, blue) = (plane(), plane(), plane());
                for (c, plane) in [&mut *red, &mut *green, &mut *blue].into_iter().enumerate() {
                    let line = rows.slice(s![c, row, ..]);
                    match line.as_slice() {
                        Some(line) => plane.copy_from_slice(line),
                        None => plane.iter_mut().zip(line).for_each(|(to, &from)| *to = from),
                    }
                }
                let found =
                    [&*red, &*green, &*blue].into_iter().enumerate().find_map(|(c, plane)| {
                        not_finite(plane).map(|x| NotFinite(c, row, x, plane[x]))
                    });
                from_srgb.convert([&mut *red, &mut *green, &mut *blue]);
                let pixels = output.as_chunks_mut::<3>().0;
                for (((pixel, &r), &g), &b) in pixels.iter_mut().zip(&*red).zip(&*green).zip(&*blue)
                {
                    *pixel = [round(r), round(g), round(b)];
                }
                found
            },
        )
        .reduce(|| None, Option::or)
}

/// Where the first value is that is no number. The whole plane is looked at without a branch first.
fn not_finite(plane: &[f32]) -> Option<usize> {
    let all = plane.iter().fold(true, |all, v| all & v.is_finite());
    if all { None } else { plane.iter().position(|v| !v.is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_the_nearest() {
        let third = 1.0 / 3.0;
        for max in [255.0f32, 65535.0] {
            let values = (0..=200_000).map(|k| (k as f32 / 1e5 - 0.5) * (1.0 + third * 1e-3));
            // Just below, at and just above half-way, for every level.
            let halves = (0..max as u32).flat_map(|k| {
                let half = (k as f32 + 0.5) / max;
                [half.next_down(), half, half.next_up()]
            });
            for v in values.chain(halves) {
                assert_eq!(level(v, max) as f32, (v.clamp(0.0, 1.0) * max).round(), "{v}");
            }
        }
    }
}
