//! Splitting an image into blocks of rows, in parallel where feature `rayon` is on.

use ndarray::{ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis};

use crate::Real;
use crate::real::zero_if_finite;
use crate::tile::{RgbTile, TILE, load, store};

/// Rows per block. Fixed, so that the order of additions does not depend on the threads; small, so
/// that a 341-row image still makes 43 blocks to share.
const BLOCK_ROWS: usize = 8;

/// Some consecutive rows of the three planes of an array that is written to.
pub(super) struct BlockMut<'a, T> {
    pub(super) first_row: usize,
    planes: [ArrayViewMut2<'a, T>; 3],
}

impl<T: Real> BlockMut<'_, T> {
    pub(super) fn height(&self) -> usize {
        self.planes[0].nrows()
    }

    /// Writes a tile to the block's row `r`, columns `start..`.
    pub(super) fn store(&mut self, r: usize, start: usize, tile: &RgbTile<T>) {
        for (plane, tile) in self.planes.iter_mut().zip(tile) {
            store(tile, start, plane.row_mut(r));
        }
    }
}

/// The blocks of a `[3, height, width]` array, from top to bottom.
pub(super) fn blocks_mut<T>(array: ArrayViewMut3<'_, T>) -> Vec<BlockMut<'_, T>> {
    let (red, rest) = array.split_at(Axis(0), 1);
    let (green, blue) = rest.split_at(Axis(0), 1);
    let mut rest = [red, green, blue].map(|plane| plane.index_axis_move(Axis(0), 0));
    let mut blocks = Vec::with_capacity(rest[0].nrows().div_ceil(BLOCK_ROWS));
    let mut first_row = 0;
    while rest[0].nrows() > 0 {
        let height = BLOCK_ROWS.min(rest[0].nrows());
        let [(r, rs), (g, gs), (b, bs)] = rest.map(|plane| plane.split_at(Axis(0), height));
        blocks.push(BlockMut { first_row, planes: [r, g, b] });
        rest = [rs, gs, bs];
        first_row += height;
    }
    blocks
}

/// `work` on every block; results in the blocks' order.
pub(super) fn for_each_block<B: Send, R: Send>(
    blocks: Vec<B>,
    work: impl Fn(B) -> R + Sync + Send,
) -> Vec<R> {
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        blocks.into_par_iter().map(work).collect()
    }
    #[cfg(not(feature = "rayon"))]
    {
        blocks.into_iter().map(work).collect()
    }
}

/// Loads columns `start..` of image row `r`. Infinities become NaN, so that no later limit can
/// make an ordinary number of them.
pub(super) fn load_image<T: Real>(
    image: &ArrayView3<'_, T>,
    r: usize,
    start: usize,
    tile: &mut RgbTile<T>,
) {
    for (ch, tile) in tile.iter_mut().enumerate() {
        load(image.slice(ndarray::s![ch, r, ..]), start, T::zero(), tile);
        for value in tile {
            *value += zero_if_finite(*value);
        }
    }
}

/// Loads columns `start..` of cotangent row `r`; zero beyond the image, where nothing must count.
pub(super) fn load_cotangent<T: Real>(
    cotangent: &ArrayView3<'_, T>,
    r: usize,
    start: usize,
    tile: &mut RgbTile<T>,
) {
    for (ch, tile) in tile.iter_mut().enumerate() {
        load(cotangent.slice(ndarray::s![ch, r, ..]), start, T::zero(), tile);
    }
}

/// Whether a tile holds finite numbers only.
pub(super) fn all_finite<T: Real>(tile: &RgbTile<T>) -> bool {
    tile.iter().all(|channel| {
        let mut residue = [T::zero(); 8];
        for chunk in channel.chunks_exact(8) {
            for (r, &value) in residue.iter_mut().zip(chunk) {
                *r += zero_if_finite(value);
            }
        }
        const { assert!(TILE.is_multiple_of(8)) };
        residue.iter().all(|r| *r == T::zero())
    })
}
