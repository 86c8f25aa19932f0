//! Splitting an image into blocks of rows, in parallel where feature `rayon` is on.

use ndarray::{ArrayView3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3, Axis};
use pulp::Simd;

use crate::Real;
use crate::simd::Wide;
use crate::tile::{RgbTile, read};

/// Fewest rows of a block: few, so that a 341-row image still makes 43 blocks to share.
const FEWEST_ROWS: usize = 8;

/// Most blocks of an image: they bound the memory of the partial sums.
const MOST_BLOCKS: usize = 256;

/// Rows per block. It depends on the image alone, so that the order of additions does not depend
/// on the threads.
fn block_rows(height: usize) -> usize {
    height.div_ceil(MOST_BLOCKS).max(FEWEST_ROWS)
}

/// Some consecutive rows of the three planes of an array that is written to.
pub struct BlockMut<'a, T> {
    pub(super) first_row: usize,
    planes: [ArrayViewMut2<'a, T>; 3],
}

impl<T: Real> BlockMut<'_, T> {
    pub(super) fn height(&self) -> usize {
        self.planes[0].nrows()
    }

    /// Row `r` of the block in plane `ch`.
    pub(super) fn row_mut(&mut self, ch: usize, r: usize) -> ArrayViewMut1<'_, T> {
        self.planes[ch].row_mut(r)
    }
}

/// The blocks of a `[3, height, width]` array, from top to bottom.
pub(super) fn blocks_mut<T>(array: ArrayViewMut3<'_, T>) -> Vec<BlockMut<'_, T>> {
    let (red, rest) = array.split_at(Axis(0), 1);
    let (green, blue) = rest.split_at(Axis(0), 1);
    let mut rest = [red, green, blue].map(|plane| plane.index_axis_move(Axis(0), 0));
    let rows = block_rows(rest[0].nrows());
    let mut blocks = Vec::with_capacity(rest[0].nrows().div_ceil(rows));
    let mut first_row = 0;
    while rest[0].nrows() > 0 {
        let height = rows.min(rest[0].nrows());
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

/// The three channels of `padded` columns of row `r` of an image, see [`read`].
pub(super) fn read_rgb<'a, T: Real>(
    image: &ArrayView3<'a, T>,
    r: usize,
    start: usize,
    padded: usize,
    buffers: &'a mut RgbTile<T>,
) -> [&'a [T]; 3] {
    let mut ch = 0;
    buffers.each_mut().map(|buffer| {
        let row = image.index_axis_move(Axis(0), ch).index_axis_move(Axis(0), r);
        ch += 1;
        read(row, start, padded, buffer)
    })
}

/// Loads pixels. Infinities become NaN, so that no later limit can make an ordinary number of them.
#[inline(always)]
pub(super) fn load_pixels<T: Real, S: Simd>(
    simd: S,
    lanes: T::Vector<S>,
    zero: Wide<T, S>,
) -> Wide<T, S> {
    let value = Wide::new(simd, lanes);
    value.mul_add(zero, value)
}
