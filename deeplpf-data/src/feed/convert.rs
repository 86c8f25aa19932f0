//! Levels to values.

use pulp::{Arch, Simd, WithSimd};

use crate::augment::{Crop, Flip};

/// A sample that stands for a value in [0, 1].
pub(super) trait Sample: Copy {
    fn value(self) -> f32;
}

impl Sample for u8 {
    // A division, not a product with 1/255, which would round differently from decoding a file.
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self) / 255.0
    }
}

impl Sample for u16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self) / 65535.0
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

/// Cuts, mirrors and converts three planes in one pass. See [`super::Samples::write`].
pub(super) fn planes<S: Sample>(
    from: &[S],
    (height, width): (usize, usize),
    crop: Crop,
    flip: Flip,
    to: &mut [f32],
) {
    assert_eq!(from.len(), 3 * height * width, "three planes of {height} x {width}");
    assert_eq!(to.len(), 3 * crop.height * crop.width, "three planes of the crop");
    assert!(crop.top + crop.height <= height && crop.left + crop.width <= width, "{crop:?}");
    if to.is_empty() {
        return;
    }
    // Which instructions makes no difference to the result: a division is rounded the same way.
    Arch::new().dispatch(Planes { from, height, width, crop, flip, to });
}

struct Planes<'a, S> {
    from: &'a [S],
    height: usize,
    width: usize,
    crop: Crop,
    flip: Flip,
    to: &'a mut [f32],
}

impl<S: Sample> WithSimd for Planes<'_, S> {
    type Output = ();

    #[inline(always)]
    fn with_simd<I: Simd>(self, _: I) {
        let Self { from, height, width, crop, flip, to } = self;
        let planes = from.chunks_exact(height * width);
        let to_planes = to.chunks_exact_mut(crop.height * crop.width);
        for (plane, to) in planes.zip(to_planes) {
            for (y, to) in to.chunks_exact_mut(crop.width).enumerate() {
                let y = if flip.vertical { crop.height - 1 - y } else { y };
                let start = (crop.top + y) * width + crop.left;
                let row = &plane[start..start + crop.width];
                if flip.horizontal {
                    for (to, from) in to.iter_mut().zip(row.iter().rev()) {
                        *to = from.value();
                    }
                } else {
                    for (to, from) in to.iter_mut().zip(row) {
                        *to = from.value();
                    }
                }
            }
        }
    }
}
