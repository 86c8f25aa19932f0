//! What a raw file holds.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::colour::CalibratedMatrix;
use super::{Cfa, RawError, decode};
use crate::DecodeLimits;

/// The samples of a sensor, one colour a pixel, and what is needed to make a picture of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Mosaic {
    /// What errors call the file.
    pub path: PathBuf,
    /// Columns of the active area: the pixels that light reaches.
    pub width: usize,
    /// Rows of the active area.
    pub height: usize,
    /// The samples of the active area as stored (after a DNG's linearisation table), row by row.
    pub samples: Vec<u16>,
    /// The pattern of colour filters, from the active area's first pixel on.
    pub cfa: Cfa,
    /// Black levels, which repeat over the active area.
    pub black: BlackLevels,
    /// The level of a saturated pixel.
    pub white: f32,
    /// Gains of red, green and blue that make the camera's neutral grey; green's is 1.
    pub white_balance: [f32; 3],
    /// Matrices from XYZ to the camera's colours, the best first.
    pub matrices: Vec<CalibratedMatrix>,
    /// Exposure correction that the file asks for, in EV (a DNG's BaselineExposure); else 0.
    pub baseline_exposure: f32,
    /// EXIF orientation, 1 to 8; *not* applied to the samples.
    pub orientation: u8,
    /// The part of the active area that is meant to be seen.
    pub crop: Part,
    /// Exposure time in seconds, if the file tells it.
    pub exposure_time: Option<f64>,
    /// The camera, as the file names it.
    pub camera: String,
}

/// Black levels as a pattern of `rows` x `columns` from the active area's first pixel on.
#[derive(Debug, Clone, PartialEq)]
pub struct BlackLevels {
    /// Rows of the pattern.
    pub rows: usize,
    /// Columns of the pattern.
    pub columns: usize,
    /// Levels, row by row.
    pub levels: Vec<f32>,
}

impl BlackLevels {
    /// The black level of a pixel.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> f32 {
        self.levels[row % self.rows * self.columns + column % self.columns]
    }

    /// The highest.
    #[must_use]
    pub fn highest(&self) -> f32 {
        self.levels.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// A rectangle of the active area in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Mosaic {
    /// Decodes a raw file (DNG, ARW, RAF and whatever else `rawler` knows).
    ///
    /// # Errors
    /// Every way in which the file is not such a file has its own [`RawError`].
    pub fn open(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Self, RawError> {
        let path = path.as_ref();
        let read = |source| RawError::Read { path: path.to_path_buf(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        Self::from_bytes(bytes, path, limits)
    }

    /// [`Mosaic::open`] for a file held in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`Mosaic::open`].
    pub fn from_bytes(
        bytes: Vec<u8>,
        name: &Path,
        limits: &DecodeLimits,
    ) -> Result<Self, RawError> {
        let mosaic = decode::decode(bytes, name, limits)?;
        mosaic.check()?;
        Ok(mosaic)
    }

    /// The sample of a pixel.
    #[must_use]
    pub fn sample(&self, row: usize, column: usize) -> u16 {
        self.samples[row * self.width + column]
    }

    /// The samples as light, row by row: (v - black) / (white - black) of each pixel's own black
    /// level, in [0, 1] with what lies outside clipped, times the gain of the pixel's colour, and
    /// clipped at 1 again, so that what is saturated in one colour is white and not tinted.
    ///
    /// Gains are divided by the smallest of them: none darkens.
    #[must_use]
    pub fn balanced(&self) -> Vec<f32> {
        let least = self.white_balance.iter().copied().fold(f32::INFINITY, f32::min);
        let gains = self.white_balance.map(|gain| gain / least);
        let mut light = vec![0.0; self.samples.len()];
        let rows =
            light.par_chunks_exact_mut(self.width).zip(self.samples.par_chunks_exact(self.width));
        rows.enumerate().for_each(|(row, (to, from))| {
            for (column, (to, &from)) in to.iter_mut().zip(from).enumerate() {
                let black = self.black.at(row, column);
                let value = ((f32::from(from) - black) / (self.white - black)).clamp(0.0, 1.0);
                *to = (value * gains[self.cfa.colour(row, column)]).min(1.0);
            }
        });
        light
    }

    /// What no decoder checks.
    fn check(&self) -> Result<(), RawError> {
        let path = || self.path.clone();
        let levels = &self.black.levels;
        let (black, white) = (self.black.highest(), self.white);
        let sensible = levels.iter().all(|level| level.is_finite() && *level >= 0.0)
            && !levels.is_empty()
            && levels.len() == self.black.rows * self.black.columns;
        if !sensible || !white.is_finite() || white <= black {
            return Err(RawError::Levels { path: path(), black, white });
        }
        if self.white_balance.iter().any(|gain| !gain.is_finite() || *gain <= 0.0) {
            return Err(RawError::Colour { path: path(), reason: "no white balance as shot" });
        }
        Ok(())
    }
}
