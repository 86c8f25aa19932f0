//! The maps that the local filters multiply the image by, for inspection.

use ndarray::Array3;

use super::FilterStack;
use pulp::{Simd, WithSimd};

use super::rows::{BlockMut, blocks_mut, for_each_block};
use crate::simd::Wide;
use crate::tile::{Columns, Tile, store};
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
        for_each_block(blocks, |blocks| {
            T::scale_maps(
                self.instructions,
                MapBlock { stack: self, columns: &columns, height, blocks },
            );
        });
        let [graduated, elliptical, fused] = maps;
        Ok(ScaleMaps {
            graduated: (!self.graduated.is_empty()).then_some(graduated),
            elliptical: (!self.elliptical.is_empty()).then_some(elliptical),
            fused,
        })
    }
}

/// The maps on one block of rows: graduated, elliptical, fused.
pub struct MapBlock<'a, T> {
    stack: &'a FilterStack<T>,
    columns: &'a Columns<T>,
    height: usize,
    blocks: [BlockMut<'a, T>; 3],
}

impl<T: Real> WithSimd for MapBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stack, columns, height, mut blocks } = self;
        let mut graduated = stack.graduated.scratch();
        let mut elliptical = stack.elliptical.scratch();
        let mut result = Tile::rgb(T::zero());
        let fusion = stack.fusion.kernel::<T, S>(simd);
        for r in 0..blocks[0].height() {
            let x = (blocks[0].first_row + r) as f64 / height as f64;
            stack.graduated.begin_row(x, columns.width(), &mut graduated);
            stack.elliptical.begin_row(x, columns.width(), &mut elliptical);
            for tile in columns.tiles() {
                stack.graduated.product::<T, S>(simd, tile, &mut graduated);
                stack.elliptical.product::<T, S>(simd, tile, &mut elliptical);
                for ch in 0..3 {
                    for j in 0..tile.vector_count::<S>() {
                        let of = |tile: &Tile<T>| Wide::new(simd, tile.vectors::<S>()[j]);
                        let [g, e, _, fused] =
                            fusion.maps(of(&graduated.product[ch]), of(&elliptical.product[ch]));
                        for (result, map) in result.iter_mut().zip([g, e, fused]) {
                            result.vectors_mut::<S>()[j] = map.lanes();
                        }
                    }
                    for (block, result) in blocks.iter_mut().zip(&result) {
                        store(result, tile.start, block.row_mut(ch, r));
                    }
                }
            }
        }
    }
}
