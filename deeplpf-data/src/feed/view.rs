//! A pair as it is stored.

use std::borrow::Cow;

use ndarray::Array3;

use super::convert;
use crate::Pair;
use crate::augment::{Crop, Flip};

/// The samples of a picture as they are stored: 3 x H x W, red, green and blue planes, row by row
/// from the top, without gaps.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples<'a> {
    /// sRGB levels 0 to 255; the value is level / 255.
    Eight(&'a [u8]),
    /// sRGB levels 0 to 65535 in the machine's byte order; the value is level / 65535.
    Sixteen(&'a [u16]),
    /// sRGB values in [0, 1]: of a picture whose colour profile was applied, or that was computed.
    Float(Cow<'a, [f32]>),
}

impl Samples<'_> {
    /// How many samples.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Eight(levels) => levels.len(),
            Self::Sixteen(levels) => levels.len(),
            Self::Float(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of one sample: 1, 2 or 4.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Eight(_) => 1,
            Self::Sixteen(_) => 2,
            Self::Float(_) => 4,
        }
    }

    /// The samples as bytes, for example to be copied to a GPU and converted there.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Eight(levels) => levels,
            Self::Sixteen(levels) => bytemuck::cast_slice(levels),
            Self::Float(values) => bytemuck::cast_slice(values),
        }
    }

    /// Writes a part as values in [0, 1], mirrored: what [`Crop::apply`] and then [`Flip::apply`]
    /// make of a decoded picture of `width` columns, to the bit. `to` is 3 x `crop.height` x
    /// `crop.width`.
    ///
    /// # Panics
    /// If the part is not inside the picture, or `to` has another length.
    pub fn write(&self, (height, width): (usize, usize), crop: Crop, flip: Flip, to: &mut [f32]) {
        match self {
            Self::Eight(levels) => convert::planes(levels, (height, width), crop, flip, to),
            Self::Sixteen(levels) => convert::planes(levels, (height, width), crop, flip, to),
            Self::Float(values) => convert::planes(values, (height, width), crop, flip, to),
        }
    }
}

/// A pair as it is stored, equal in size.
#[derive(Debug, Clone, PartialEq)]
pub struct PairView<'a> {
    /// The pair's id.
    pub id: &'a str,
    /// Rows of both pictures.
    pub height: usize,
    /// Columns of both pictures.
    pub width: usize,
    /// The photograph.
    pub input: Samples<'a>,
    /// Its retouched version. It may be stored in another depth than the photograph.
    pub target: Samples<'a>,
}

impl<'a> PairView<'a> {
    /// A pair that is in memory.
    #[must_use]
    pub fn of(pair: &'a Pair) -> Self {
        let (_, height, width) = pair.input.dim();
        let samples = |pixels: &'a Array3<f32>| {
            let planes = pixels.as_slice().map(Cow::Borrowed);
            Samples::Float(planes.unwrap_or_else(|| pixels.iter().copied().collect()))
        };
        Self {
            id: &pair.id,
            height,
            width,
            input: samples(&pair.input),
            target: samples(&pair.target),
        }
    }

    /// The decoded pair.
    #[must_use]
    pub fn to_pair(&self) -> Pair {
        let (height, width) = (self.height, self.width);
        let whole = Crop { top: 0, left: 0, height, width };
        let decoded = |samples: &Samples<'_>| {
            let mut pixels = Array3::zeros((3, height, width));
            // Infallible: a new array is contiguous.
            let to = pixels.as_slice_mut().expect("contiguous");
            samples.write((height, width), whole, Flip::default(), to);
            pixels
        };
        Pair { id: self.id.to_owned(), input: decoded(&self.input), target: decoded(&self.target) }
    }
}
