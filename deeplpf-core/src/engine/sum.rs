//! Sums of feature maps in blocks of channels.

use pulp::{Simd, WithSimd};

use super::memory::{Rows, SharedRows};
use crate::simd::{Instructions, load, store};

/// Row `y` of the sum of two maps of `channels` channels and `width` pixels.
///
/// # Safety
/// Row `y` of both sources must be complete, `width` pixels wide at least, and row `y` of the target
/// nobody else's.
pub(super) unsafe fn sum_row(
    instructions: Instructions,
    (first, second): (&Rows, &Rows),
    y: usize,
    target: SharedRows,
    channels: usize,
    width: usize,
) {
    for block in 0..channels.div_ceil(instructions.lanes::<f32>()) {
        instructions.run(Sum {
            terms: [first, second].map(|map| map.row(y).wrapping_add(block * map.part())),
            out: target.row(y, block),
            pixels: width,
        });
    }
}

struct Sum {
    terms: [*const f32; 2],
    out: *mut f32,
    pixels: usize,
}

impl WithSimd for Sum {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [first, second] = self.terms;
        for at in (0..self.pixels).map(|x| x * S::F32_LANES) {
            // SAFETY: the promise of `sum_row`.
            unsafe {
                let terms = (load::<f32, S>(first.add(at)), load::<f32, S>(second.add(at)));
                store::<f32, S>(self.out.add(at), simd.add_f32s(terms.0, terms.1));
            }
        }
    }
}
