//! A mosaic as planes of one colour each, at a fraction of its size.
//!
//! The order of the planes is that of the authors' programs, so that networks trained with them fit.

use ndarray::Array3;
use rayon::prelude::*;

use crate::raw::{Cfa, Mosaic, RawError};

/// Places (row, column) inside a block of the pattern that one plane takes.
type Places = &'static [(usize, usize)];

/// How a mosaic becomes planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Four planes at half the size: red, green, blue, green at (0, 0), (0, 1), (1, 1), (1, 0) of each
    /// block of RGGB.
    Bayer,
    /// Nine planes at a third of the size, from blocks of 6 x 6. Planes 0 to 4 hold four samples of a
    /// block each (red, green, blue, red, blue) in places that are nearly a grid, planes 5 to 8 the
    /// greens that are one: rows 1 and 2 and columns 0 and 1 modulo 3.
    XTrans,
}

/// Patterns from the corner at which packing begins. X-Trans is the X-T2's.
const BAYER: &str = "RGGB";
const X_TRANS: &str = "RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB";

const BAYER_PLACES: [Places; 4] = [&[(0, 0)], &[(0, 1)], &[(1, 1)], &[(1, 0)]];

/// For output pixels (even row, even column), (even, odd), (odd, even), (odd, odd) of a block.
const X_TRANS_PLACES: [Places; 9] = [
    &[(0, 0), (0, 4), (3, 1), (3, 3)],
    &[(0, 2), (0, 5), (3, 2), (3, 5)],
    &[(0, 1), (0, 3), (3, 0), (3, 4)],
    &[(1, 2), (2, 5), (5, 2), (4, 5)],
    &[(2, 2), (1, 5), (4, 2), (5, 5)],
    &[(1, 0), (1, 3), (4, 0), (4, 3)],
    &[(1, 1), (1, 4), (4, 1), (4, 4)],
    &[(2, 0), (2, 3), (5, 0), (5, 3)],
    &[(2, 1), (2, 4), (5, 1), (5, 4)],
];

impl Packing {
    /// Planes: 4 or 9.
    #[must_use]
    pub fn channels(self) -> usize {
        self.places().len()
    }

    /// Rows and columns of the mosaic for one of a plane: 2 or 3.
    #[must_use]
    pub fn scale(self) -> usize {
        match self {
            Self::Bayer => 2,
            Self::XTrans => 3,
        }
    }

    /// Side of a block of the pattern: 2 or 6.
    #[must_use]
    pub fn block(self) -> usize {
        match self {
            Self::Bayer => 2,
            Self::XTrans => 6,
        }
    }

    /// The pattern it begins at.
    #[must_use]
    pub fn pattern(self) -> Cfa {
        let text = match self {
            Self::Bayer => BAYER,
            Self::XTrans => X_TRANS,
        };
        // Infallible: both are such patterns, and a test packs with each.
        text.parse().expect("a pattern")
    }

    fn places(self) -> &'static [Places] {
        match self {
            Self::Bayer => &BAYER_PLACES,
            Self::XTrans => &X_TRANS_PLACES,
        }
    }

    /// The part of a mosaic that packing takes: whole blocks, from the first place at which the
    /// pattern is [`Packing::pattern`]. First row and column, rows and columns.
    ///
    /// # Errors
    /// [`RawError::Pattern`] for another kind of sensor, [`RawError::TooSmall`].
    pub fn part(self, mosaic: &Mosaic) -> Result<[usize; 4], RawError> {
        let shift = mosaic.cfa.shift_to(&self.pattern());
        let (top, left) = shift.ok_or_else(|| RawError::Pattern {
            path: mosaic.path.clone(),
            found: mosaic.cfa.to_string(),
            expected: match self {
                Self::Bayer => "a Bayer pattern of two greens in a diagonal",
                Self::XTrans => "X-Trans",
            },
        })?;
        let block = self.block();
        let whole = |side: usize, shift: usize| side.saturating_sub(shift) / block * block;
        let (height, width) = (whole(mosaic.height, top), whole(mosaic.width, left));
        if height == 0 || width == 0 {
            let Mosaic { width, height, .. } = *mosaic;
            let least = 2 * block;
            return Err(RawError::TooSmall { path: mosaic.path.clone(), width, height, least });
        }
        Ok([top, left, height, width])
    }
}

/// Black and white levels that samples are brought to [0, 1] by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// What becomes 0.
    pub black: f32,
    /// What becomes 1.
    pub white: f32,
}

/// The planes of a mosaic: C x H / s x W / s of min(gain max(v - black, 0) / (white - black), 1), for
/// the part that [`Packing::part`] tells.
///
/// # Errors
/// As [`Packing::part`].
pub fn pack(
    mosaic: &Mosaic,
    packing: Packing,
    levels: Levels,
    gain: f32,
) -> Result<Array3<f32>, RawError> {
    let [top, left, height, width] = packing.part(mosaic)?;
    let (scale, block) = (packing.scale(), packing.block());
    let steps = block / scale;
    let (rows, columns) = (height / scale, width / scale);
    let Levels { black, white } = levels;
    let mut planes = Array3::zeros((packing.channels(), rows, columns));
    // Infallible: a new array is contiguous.
    let all = planes.as_slice_mut().expect("contiguous");
    let lines = all.par_chunks_exact_mut(columns).enumerate();
    lines.for_each(|(line, to)| {
        let (places, row) = (packing.places()[line / rows], line % rows);
        for (column, to) in to.iter_mut().enumerate() {
            let (r, c) = places[row % steps * steps + column % steps];
            let row = top + row / steps * block + r;
            let column = left + column / steps * block + c;
            let value = f32::from(mosaic.sample(row, column));
            *to = ((value - black).max(0.0) / (white - black) * gain).min(1.0);
        }
    });
    Ok(planes)
}
