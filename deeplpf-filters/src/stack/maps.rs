//! The maps that the local filters multiply the image by, for inspection.

use ndarray::Array3;

use super::FilterStack;
use super::rows::{blocks_mut, for_each_block};
use crate::tile::{Columns, zero_rgb};
use crate::{Error, Real, Result};

/// What the local filters scale each pixel and channel by; all `[3, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleMaps<T> {
    /// Product of the graduated instances, in [0, 2] in the release dialect; `None` where the
    /// filter is off.
    pub graduated: Option<Array3<T>>,
    /// Product of the elliptical instances, in [0, 2] in the release dialect; `None` where the
    /// filter is off.
    pub elliptical: Option<Array3<T>>,
    /// S, by which Y2 is multiplied: both maps added as the dialect and its fixes say, one map
    /// alone, or ones where there is no local filter.
    pub fused: Array3<T>,
}

impl<T: Real> FilterStack<T> {
    /// The maps for an image of `height` rows and `width` columns.
    ///
    /// # Errors
    /// If one of them is zero.
    pub fn scale_maps(&self, height: usize, width: usize) -> Result<ScaleMaps<T>> {
        if height == 0 || width == 0 {
            return Err(Error::NotRgb { what: "map", found: [3, height, width] });
        }
        let mut maps = [(); 3].map(|()| Array3::zeros((3, height, width)));
        let [graduated, elliptical, fused] = maps.each_mut().map(|map| blocks_mut(map.view_mut()));
        let blocks: Vec<_> =
            graduated.into_iter().zip(elliptical).zip(fused).map(|((g, e), f)| [g, e, f]).collect();
        let columns = Columns::new(width);
        for_each_block(blocks, |mut block| {
            let mut scratch = (self.graduated.scratch(), self.elliptical.scratch());
            let (mut graduated, mut elliptical) = (zero_rgb(), zero_rgb());
            for r in 0..block[0].height() {
                let x = (block[0].first_row + r) as f64 / height as f64;
                let rows = (self.graduated.rows(x), self.elliptical.rows(x));
                for tile in columns.tiles() {
                    self.graduated.product(&rows.0, tile, &mut scratch.0, &mut graduated);
                    self.elliptical.product(&rows.1, tile, &mut scratch.1, &mut elliptical);
                    let mut result = [(); 3].map(|()| zero_rgb());
                    for ch in 0..3 {
                        let [g, e, s] = self.fusion.maps(&graduated[ch], &elliptical[ch]);
                        (result[0][ch], result[1][ch], result[2][ch]) = (g, e, s);
                    }
                    for (block, tile_of_map) in block.iter_mut().zip(&result) {
                        block.store(r, tile.start, tile_of_map);
                    }
                }
            }
        });
        let [graduated, elliptical, fused] = maps;
        Ok(ScaleMaps {
            graduated: (!self.graduated.is_empty()).then_some(graduated),
            elliptical: (!self.elliptical.is_empty()).then_some(elliptical),
            fused,
        })
    }
}
