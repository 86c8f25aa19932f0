//! Pairs of different sizes in batches.

use ndarray::{Array3, Axis, s};
use rand_core::Rng;

use super::SidPair;
use crate::DataError;
use crate::augment::{Crop, Flip};
use crate::feed::{PlanarBatch, Preparation};

impl PlanarBatch {
    /// N, 3 and the targets' rows and columns: those of the inputs, or for packed inputs two or three
    /// times as many.
    #[must_use]
    pub fn target_shape(&self) -> [usize; 4] {
        let [count, _, rows, columns] = self.shape;
        let same = 3 * count * rows * columns;
        let scale = (self.target.len().checked_div(same).unwrap_or(1)).isqrt();
        [count, 3, scale * rows, scale * columns]
    }

    /// Adds a pair of See-in-the-Dark: cut to a square of the *input*, the target to the same part,
    /// both mirrored. A packed input is mirrored plane by plane, as the authors' programs do, although
    /// its samples lie up to a pixel beside where the mirror image has them. Colours are not
    /// augmented: packed values are light, not sRGB.
    ///
    /// # Errors
    /// As [`PlanarBatch::push`].
    pub fn push_sid(
        &mut self,
        pair: &SidPair,
        preparation: &Preparation,
        rng: &mut impl Rng,
    ) -> Result<(), DataError> {
        let (channels, height, width) = pair.input.dim();
        let scale = pair.scale();
        let crop = match preparation.crop {
            0 => Crop { top: 0, left: 0, height, width },
            side => Crop::draw_in(&pair.id, (height, width), (side, side), rng)?,
        };
        let flip = if preparation.flips { Flip::draw(rng) } else { Flip::default() };
        let [count, _, rows, columns] = self.shape;
        if count > 0 && (rows, columns) != (crop.height, crop.width) {
            return Err(DataError::UnequalBatch {
                id: pair.id.clone(),
                size: (crop.width, crop.height),
                other: self.ids[0].clone(),
                other_size: (columns, rows),
            });
        }
        let add = |values: &mut Vec<f32>, planes: &Array3<f32>, scale: usize| {
            let Crop { top, left, height, width } = crop;
            let rows = scale * top..scale * (top + height);
            let columns = scale * left..scale * (left + width);
            let mut part = planes.slice(s![.., rows, columns]);
            if flip.vertical {
                part.invert_axis(Axis(1));
            }
            if flip.horizontal {
                part.invert_axis(Axis(2));
            }
            values.extend(part);
        };
        add(&mut self.input, &pair.input, 1);
        add(&mut self.target, &pair.target, scale);
        self.ids.push(pair.id.clone());
        self.shape = [count + 1, channels, crop.height, crop.width];
        Ok(())
    }
}
