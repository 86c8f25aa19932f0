//! Flips and crops, always the same for input and target, and changes of exposure and colour.

mod colour;
mod curve;

pub use colour::{ColourAugmentation, ColourChange};

use ndarray::{Array3, Axis, s};
use rand_core::Rng;

use crate::DataError;
use crate::pairs::Pair;
use crate::random::{below, coin};

/// Which mirrors are applied to a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flip {
    /// Left and right are exchanged.
    pub horizontal: bool,
    /// Top and bottom are exchanged.
    pub vertical: bool,
}

impl Flip {
    /// Draws as the authors' release does: with probability 1/2 a pair is augmented, and then each
    /// flip has probability 1/2. So a pair stays as it is with probability 5/8.
    ///
    /// Takes three draws from the generator in every case, so that what follows does not depend on
    /// the outcome.
    pub fn draw(rng: &mut impl Rng) -> Self {
        let (augmented, horizontal, vertical) = (coin(rng), coin(rng), coin(rng));
        Self { horizontal: augmented && horizontal, vertical: augmented && vertical }
    }

    /// The pair, mirrored.
    #[must_use]
    pub fn apply(self, pair: Pair) -> Pair {
        let mirror = |mut pixels: Array3<f32>| {
            if self.vertical {
                pixels.invert_axis(Axis(1));
            }
            if self.horizontal {
                pixels.invert_axis(Axis(2));
            }
            if self == Self::default() { pixels } else { pixels.as_standard_layout().into_owned() }
        };
        Pair { id: pair.id, input: mirror(pair.input), target: mirror(pair.target) }
    }
}

/// A rectangle of a picture, in pixels from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Crop {
    /// Draws a rectangle of the given size anywhere in the pair, every place equally likely.
    ///
    /// # Errors
    /// [`DataError::CropTooLarge`] where the pair is smaller than the rectangle.
    pub fn draw(
        pair: &Pair,
        height: usize,
        width: usize,
        rng: &mut impl Rng,
    ) -> Result<Self, DataError> {
        let (_, rows, columns) = pair.input.dim();
        Self::draw_in(&pair.id, (rows, columns), (height, width), rng)
    }

    /// [`Self::draw`] in a pair of `rows` x `columns` called `id`.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn draw_in(
        id: &str,
        (rows, columns): (usize, usize),
        (height, width): (usize, usize),
        rng: &mut impl Rng,
    ) -> Result<Self, DataError> {
        let (Some(down), Some(right)) = (rows.checked_sub(height), columns.checked_sub(width))
        else {
            return Err(DataError::CropTooLarge {
                id: id.to_owned(),
                size: (columns, rows),
                crop: (width, height),
            });
        };
        let top = below(down as u64 + 1, rng) as usize;
        let left = below(right as u64 + 1, rng) as usize;
        Ok(Self { top, left, height, width })
    }

    /// The part of the pair inside the rectangle.
    ///
    /// # Panics
    /// If the rectangle is not inside the pair; one from [`Self::draw`] for this pair is.
    #[must_use]
    pub fn apply(self, pair: &Pair) -> Pair {
        let Self { top, left, height, width } = self;
        let cut = |pixels: &Array3<f32>| {
            pixels.slice(s![.., top..top + height, left..left + width]).to_owned()
        };
        Pair { id: pair.id.clone(), input: cut(&pair.input), target: cut(&pair.target) }
    }
}
