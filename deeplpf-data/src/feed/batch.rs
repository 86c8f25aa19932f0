//! Batches of prepared pairs.

use rand_core::Rng;

use super::PairView;
use crate::DataError;
use crate::augment::{ColourAugmentation, Crop, Flip};

/// What a training step wants of each pair.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Preparation {
    /// Side of a random square in pixels; 0 for the whole picture.
    pub crop: usize,
    /// Whether pairs are mirrored as [`Flip::draw`] says.
    pub flips: bool,
    /// Changes of exposure and colour.
    pub colour: ColourAugmentation,
}

/// Pictures of one size, ready for a network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanarBatch {
    /// Ids, in the order of the pictures.
    pub ids: Vec<String>,
    /// N, 3, H, W.
    pub shape: [usize; 4],
    /// N x 3 x H x W sRGB values in [0, 1].
    pub input: Vec<f32>,
    /// N x 3 x H x W sRGB values in [0, 1].
    pub target: Vec<f32>,
}

impl PlanarBatch {
    /// Cuts, mirrors, converts and augments pairs. For each pair in turn the generator gives the
    /// place of the crop, if there is one, then the flip, then exposure and colours, each only if
    /// it is switched on.
    ///
    /// # Errors
    /// [`DataError::CropTooLarge`], and [`DataError::UnequalBatch`] for whole pictures of different
    /// sizes.
    pub fn prepare<'a>(
        pairs: impl IntoIterator<Item = PairView<'a>>,
        preparation: &Preparation,
        rng: &mut impl Rng,
    ) -> Result<Self, DataError> {
        let mut batch = Self::default();
        for pair in pairs {
            batch.push(&pair, preparation, rng)?;
        }
        Ok(batch)
    }

    /// Adds one pair: see [`Self::prepare`].
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn push(
        &mut self,
        pair: &PairView<'_>,
        preparation: &Preparation,
        rng: &mut impl Rng,
    ) -> Result<(), DataError> {
        let size @ (height, width) = (pair.height, pair.width);
        let crop = match preparation.crop {
            0 => Crop { top: 0, left: 0, height, width },
            side => Crop::draw_in(pair.id, size, (side, side), rng)?,
        };
        let flip = if preparation.flips { Flip::draw(rng) } else { Flip::default() };
        let colour = preparation.colour.draw(rng);
        let [count, _, rows, columns] = self.shape;
        if count > 0 && (rows, columns) != (crop.height, crop.width) {
            return Err(DataError::UnequalBatch {
                id: pair.id.to_owned(),
                size: (crop.width, crop.height),
                other: self.ids[0].clone(),
                other_size: (columns, rows),
            });
        }
        let length = 3 * crop.height * crop.width;
        let grow = |values: &mut Vec<f32>| {
            let start = values.len();
            if start == 0 {
                // Zeroed by the allocator, which need not touch fresh pages twice.
                *values = vec![0.0; length];
            } else {
                values.resize(start + length, 0.0);
            }
            start
        };
        let start = grow(&mut self.input);
        grow(&mut self.target);
        let (input, target) = (&mut self.input[start..], &mut self.target[start..]);
        pair.input.write(size, crop, flip, input);
        pair.target.write(size, crop, flip, target);
        colour.apply(input, target);
        self.ids.push(pair.id.to_owned());
        self.shape = [count + 1, 3, crop.height, crop.width];
        Ok(())
    }
}
