//! Shapes on curves, so that many can be told apart without colour.

use super::surface::{Color, Surface, WHITE};
use crate::error::Result;

/// From this many curves on, dash patterns alone are not told apart at a glance.
const NEEDED_FROM: usize = 5;
/// Half the width of a shape.
const RADIUS: f64 = 4.5;
/// Shapes on one curve, about.
const ON_A_CURVE: usize = 6;

/// Whether so many curves have shapes.
pub(super) fn needed(curves: usize) -> bool {
    curves >= NEEDED_FROM
}

/// Which of the `points` of curve `index` carry a shape: evenly spread, and not those of the curve
/// before.
pub(super) fn places(index: usize, points: usize) -> impl Iterator<Item = usize> {
    let step = points.div_ceil(ON_A_CURVE).max(1);
    (index % step..points).step_by(step)
}

/// The shape of curve `index`; it repeats as the colours do.
pub(super) fn draw(
    surface: &mut dyn Surface,
    index: usize,
    at: (f64, f64),
    color: Color,
) -> Result<()> {
    let r = RADIUS;
    let arm = r / 3.0;
    let corners: &[(f64, f64)] = match index % 7 {
        0 => return surface.disc(at, r, color, 1.0),
        6 => {
            surface.disc(at, r, color, 1.0)?;
            return surface.disc(at, 0.55 * r, WHITE, 1.0);
        }
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)].map(|(x, y)| (x * r, y * r)),
        2 => &[(0.0, -1.2 * r), (1.1 * r, 0.8 * r), (-1.1 * r, 0.8 * r)],
        3 => &[(0.0, -1.3 * r), (1.1 * r, 0.0), (0.0, 1.3 * r), (-1.1 * r, 0.0)],
        4 => &[(0.0, 1.2 * r), (1.1 * r, -0.8 * r), (-1.1 * r, -0.8 * r)],
        _ => &[
            (-arm, -1.2 * r),
            (arm, -1.2 * r),
            (arm, -arm),
            (1.2 * r, -arm),
            (1.2 * r, arm),
            (arm, arm),
            (arm, 1.2 * r),
            (-arm, 1.2 * r),
            (-arm, arm),
            (-1.2 * r, arm),
            (-1.2 * r, -arm),
            (-arm, -arm),
        ],
    };
    let corners: Vec<_> = corners.iter().map(|(x, y)| (at.0 + x, at.1 + y)).collect();
    surface.polygon(&corners, color, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_spread_and_neighbours_do_not_share_places() {
        let places = |index, points| places(index, points).collect::<Vec<_>>();
        assert_eq!(places(0, 12), [0, 2, 4, 6, 8, 10]);
        assert_eq!(places(1, 12), [1, 3, 5, 7, 9, 11]);
        assert_eq!(places(3, 1), [0]);
        assert_eq!(places(3, 0), Vec::<usize>::new());
        assert!((0..9).all(|index| places(index, 5000).len() <= ON_A_CURVE));
    }
}
