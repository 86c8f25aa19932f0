//! EXIF orientation as a change of axes.

use image::metadata::Orientation;
use ndarray::{Array3, Axis};
use rayon::prelude::*;

use super::levels::{Level, zeroed};

/// Rows of the upright picture that are gathered from columns at once: 32 pixels of 3 bytes are
/// more than a cache line of each source row, and 32 rows being written fit every first-level cache.
const BAND: usize = 32;

/// Every orientation is an exchange of rows and columns (5 to 8) followed by mirrors:
/// (exchange, mirror rows, mirror columns).
fn steps(orientation: Orientation) -> (bool, bool, bool) {
    match orientation {
        Orientation::NoTransforms => (false, false, false),
        Orientation::FlipHorizontal => (false, false, true),
        Orientation::Rotate180 => (false, true, true),
        Orientation::FlipVertical => (false, true, false),
        Orientation::Rotate90FlipH => (true, false, false),
        Orientation::Rotate90 => (true, false, true),
        Orientation::Rotate270FlipH => (true, true, true),
        Orientation::Rotate270 => (true, true, false),
    }
}

/// Width and height of the upright picture.
pub(super) fn upright_size(
    (width, height): (usize, usize),
    orientation: Orientation,
) -> (usize, usize) {
    if steps(orientation).0 { (height, width) } else { (width, height) }
}

/// Turns planes (3 x H x W) that lie as EXIF's `orientation` says upright; unknown numbers are upright.
pub(crate) fn turned_upright(planes: Array3<f32>, orientation: u8) -> Array3<f32> {
    let orientation = Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms);
    let (exchange, mirror_rows, mirror_columns) = steps(orientation);
    let mut planes = if exchange { planes.permuted_axes([0, 2, 1]) } else { planes };
    if mirror_rows {
        planes.invert_axis(Axis(1));
    }
    if mirror_columns {
        planes.invert_axis(Axis(2));
    }
    planes.as_standard_layout().into_owned()
}

/// Turns a stored picture of `colours` levels a pixel, `width` pixels a row, upright: in place, or
/// for orientations 5 to 8 into a second buffer. `None` where there is no memory for that.
pub(super) fn upright<L: Level>(
    levels: Vec<L>,
    width: usize,
    colours: usize,
    orientation: Orientation,
) -> Option<Vec<L>> {
    match colours {
        1 => turn::<L, 1>(levels, width, orientation),
        _ => turn::<L, 3>(levels, width, orientation),
    }
}

fn turn<L: Level, const N: usize>(
    mut levels: Vec<L>,
    width: usize,
    orientation: Orientation,
) -> Option<Vec<L>> {
    let (exchange, mirror_rows, mirror_columns) = steps(orientation);
    if !exchange {
        let pixels = levels.as_chunks_mut::<N>().0;
        if mirror_rows {
            let mut rows = pixels.chunks_exact_mut(width);
            while let (Some(top), Some(bottom)) = (rows.next(), rows.next_back()) {
                top.swap_with_slice(bottom);
            }
        }
        if mirror_columns {
            pixels.par_chunks_exact_mut(width).for_each(<[_]>::reverse);
        }
        return Some(levels);
    }
    let stored = levels.as_chunks::<N>().0;
    let height = stored.len() / width;
    let mut turned = zeroed::<L>(levels.len())?;
    let bands = turned.as_chunks_mut::<N>().0.par_chunks_mut(BAND * height);
    bands.enumerate().for_each(|(band, pixels)| {
        for (x, row) in stored.chunks_exact(width).enumerate() {
            let x = if mirror_columns { height - 1 - x } else { x };
            for (k, line) in pixels.chunks_exact_mut(height).enumerate() {
                let y = band * BAND + k;
                line[x] = row[if mirror_rows { width - 1 - y } else { y }];
            }
        }
    });
    Some(turned)
}
