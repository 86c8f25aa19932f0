//! A picture as it was decoded, in its own bit depth.

use std::path::{Path, PathBuf};

use ndarray::Array3;
use rayon::prelude::*;

use super::colour::ToSrgb;
use super::levels::{Levels, zeroed};
use super::{Image, ImageInfo};
use crate::DataError;

/// A decoded picture that keeps its own bit depth: 1 or 2 bytes a sample, upright, without alpha.
///
/// Rows of sRGB values are computed when they are asked for, colour profile and all, so that a
/// photograph of 24 megapixels takes 72 MB (8 bit) instead of the 288 MB of an [`Image`]. The values
/// are the same, bit for bit.
pub struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Samples a pixel: 1 or 3.
    pub(super) colours: usize,
    pub(super) levels: Levels,
    pub(super) to_srgb: ToSrgb,
    pub(super) info: ImageInfo,
    /// What errors call it.
    pub(super) name: PathBuf,
}

impl Picture {
    /// Columns, upright.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows, upright.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// What the file said about itself.
    #[must_use]
    pub fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// Bytes the samples take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.levels {
            Levels::Eight(levels) => levels.len(),
            Levels::Sixteen(levels) => 2 * levels.len(),
        }
    }

    /// Writes a row (0 is the top) as red, green and blue sRGB values in [0, 1].
    ///
    /// # Panics
    /// `row` is not below the height, or a plane is not `width` long.
    pub fn read_row(&self, row: usize, planes: [&mut [f32]; 3]) {
        assert!(planes.iter().all(|plane| plane.len() == self.width), "planes of {}", self.width);
        let samples = self.width * self.colours;
        let range = row * samples..(row + 1) * samples;
        match &self.levels {
            Levels::Eight(levels) => self.to_srgb.convert(&levels[range], self.colours, planes),
            Levels::Sixteen(levels) => self.to_srgb.convert(&levels[range], self.colours, planes),
        }
    }

    /// All rows, on all threads of the current rayon pool.
    ///
    /// # Errors
    /// [`DataError::OutOfMemory`].
    pub fn into_image(self) -> Result<Image, DataError> {
        let (height, width) = (self.height, self.width);
        let Some(mut data) = zeroed::<f32>(3 * width * height) else {
            return Err(DataError::OutOfMemory { path: self.name });
        };
        let (red, rest) = data.split_at_mut(width * height);
        let (green, blue) = rest.split_at_mut(width * height);
        red.par_chunks_exact_mut(width)
            .zip(green.par_chunks_exact_mut(width))
            .zip(blue.par_chunks_exact_mut(width))
            .enumerate()
            .for_each(|(row, ((red, green), blue))| self.read_row(row, [red, green, blue]));
        // Infallible: `data` was made with exactly this many elements.
        let pixels =
            Array3::from_shape_vec((3, height, width), data).expect("3 * height * width elements");
        Ok(Image { pixels, info: self.info })
    }

    pub(super) fn out_of_memory(name: &Path) -> DataError {
        DataError::OutOfMemory { path: name.to_path_buf() }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture")
            .field("name", &self.name)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
