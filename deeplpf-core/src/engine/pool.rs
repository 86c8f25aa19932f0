//! 2x2 max-pooling of feature maps in blocks of channels.

use pulp::{Simd, WithSimd};

use super::memory::{Rows, SharedRows};
use crate::simd::{Instructions, load, store};

/// Row `y` of the pooled map of `channels` channels and `width` pixels.
///
/// # Safety
/// Rows 2y and 2y + 1 of `source` must be complete, 2 `width` pixels wide at least, and row `y` of
/// the target nobody else's.
pub(super) unsafe fn pool_row(
    instructions: Instructions,
    source: &Rows,
    y: usize,
    target: SharedRows,
    channels: usize,
    width: usize,
) {
    for block in 0..channels.div_ceil(instructions.lanes::<f32>()) {
        instructions.run(Pool {
            rows: [2 * y, 2 * y + 1].map(|row| source.row(row).wrapping_add(block * source.part())),
            out: target.row(y, block),
            pixels: width,
        });
    }
}

struct Pool {
    rows: [*const f32; 2],
    out: *mut f32,
    pixels: usize,
}

impl WithSimd for Pool {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        for x in 0..self.pixels {
            // SAFETY: the promise of `pool_row`.
            unsafe {
                let mut most = load::<f32, S>(self.rows[0].add(2 * x * lanes));
                for (row, column) in [(0, 1), (1, 0), (1, 1)] {
                    let value = load::<f32, S>(self.rows[row].add((2 * x + column) * lanes));
                    // Keeps a value that is not a number, as the network's own pooling does.
                    let keep = simd.greater_than_or_equal_f32s(most, value);
                    let unordered = simd.not_m32s(simd.equal_f32s(most, most));
                    most = simd.select_f32s(simd.or_m32s(keep, unordered), most, value);
                }
                store::<f32, S>(self.out.add(x * lanes), most);
            }
        }
    }
}
