//! EXIF orientation as a change of axes.

use image::metadata::Orientation;
use ndarray::{Array3, Axis};

/// Turns a 3 x H x W picture upright. Orientations 5 to 8 exchange height and width.
///
/// Every orientation is an exchange of rows and columns (5 to 8) followed by mirrors.
pub(super) fn upright(mut pixels: Array3<f32>, orientation: Orientation) -> Array3<f32> {
    let (transposed, mirror_rows, mirror_columns) = match orientation {
        Orientation::NoTransforms => return pixels,
        Orientation::FlipHorizontal => (false, false, true),
        Orientation::Rotate180 => (false, true, true),
        Orientation::FlipVertical => (false, true, false),
        Orientation::Rotate90FlipH => (true, false, false),
        Orientation::Rotate90 => (true, false, true),
        Orientation::Rotate270FlipH => (true, true, true),
        Orientation::Rotate270 => (true, true, false),
    };
    if transposed {
        pixels.swap_axes(1, 2);
    }
    if mirror_rows {
        pixels.invert_axis(Axis(1));
    }
    if mirror_columns {
        pixels.invert_axis(Axis(2));
    }
    pixels.as_standard_layout().into_owned()
}
