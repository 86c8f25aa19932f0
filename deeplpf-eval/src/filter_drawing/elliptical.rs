//! The outline of an elliptical filter: inside it the filter acts, outside it does not.

use std::f64::consts::{PI, TAU};

use deeplpf_filters::{Dialect, EllipticalParams, StackConfig};

/// Corners of an outline: three degrees apart, so that a circle is a thousandth of its radius off
/// its chords.
const CORNERS: usize = 120;

/// A point of the unit square: x = row / height downwards, y = column / width to the right.
pub(super) type Point = (f64, f64);

/// What is drawn of an instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outline {
    /// Which of red, green and blue it belongs to.
    pub channels: [bool; 3],
    /// Its corners, in order.
    pub corners: Vec<Point>,
}

/// The outlines of instance `k`: one, or two where the release tests the blue channel of the
/// second instance with the third's semi-axis.
pub(super) fn outlines(
    config: &StackConfig,
    all: &[EllipticalParams<f64>],
    k: usize,
) -> Vec<Outline> {
    let params = &all[k];
    let own =
        |b: f64, channels: [bool; 3]| Outline { channels, corners: corners(config, params, b) };
    let borrowed = all.get(2).map(|other| other.semi_axis_b);
    match (config.dialect, borrowed) {
        (Dialect::Release, Some(b))
            if k == 1 && !config.fixes.ellipse && b != params.semi_axis_b =>
        {
            vec![own(params.semi_axis_b, [true, true, false]), own(b, [false, false, true])]
        }
        _ => vec![own(params.semi_axis_b, [true; 3])],
    }
}

/// The boundary of the inside, a corner per direction. Both dialects test
/// (A/a)² + (B/b)² < 1, where A and B grow with the distance from the centre in a fixed direction,
/// so that the boundary has one radius in each.
fn corners(config: &StackConfig, params: &EllipticalParams<f64>, b: f64) -> Vec<Point> {
    (0..CORNERS)
        .map(|corner| {
            // Half a step off the axes, where the release limits the cosine of the angle.
            let direction = (corner as f64 + 0.5) / CORNERS as f64 * TAU;
            let (dx, dy) = direction.sin_cos();
            let (sin, cos) = match config.dialect {
                Dialect::Paper => params.angle.sin_cos(),
                _ => (dy.acos() - params.angle).sin_cos(),
            };
            let along = (dx * cos + dy * sin) / params.semi_axis_a;
            let across = (dx * sin - dy * cos) / b;
            let radius = 1.0 / along.hypot(across);
            (params.center_x + radius * dx, params.center_y + radius * dy)
        })
        .collect()
}

/// The ends of the semi-axes a and b, seen from the centre.
///
/// The paper's axes are straight: each has two ends. The release measures the polar angle without
/// the sign of dx, so that the radius is mirrored above and below the centre: an axis that is not
/// vertical or horizontal has an end in either half.
pub(super) fn axes(config: &StackConfig, params: &EllipticalParams<f64>) -> [Vec<Point>; 2] {
    let EllipticalParams { center_x, center_y, semi_axis_a: a, semi_axis_b: b, angle, .. } =
        *params;
    let at = |dx: f64, dy: f64| (center_x + dx, center_y + dy);
    match config.dialect {
        Dialect::Paper => {
            let (sin, cos) = angle.sin_cos();
            [
                vec![at(a * cos, a * sin), at(-a * cos, -a * sin)],
                vec![at(b * sin, -b * cos), at(-b * sin, b * cos)],
            ]
        }
        _ => {
            // The polar angle in [0, π] whose distance from `angle` is a right angle.
            let mut across = (angle + PI / 2.0).rem_euclid(PI);
            let mut along = angle.rem_euclid(PI);
            // `rem_euclid` may round up to its modulus.
            (along, across) = (along.min(PI), across.min(PI));
            let ends = |length: f64, polar: f64| {
                let (sin, cos) = polar.sin_cos();
                vec![at(length * sin, length * cos), at(-length * sin, length * cos)]
            };
            [ends(a, along), ends(b, across)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeplpf_filters::reference;

    const PARAMS: EllipticalParams<f64> = EllipticalParams {
        center_x: 0.45,
        center_y: 0.6,
        semi_axis_a: 0.5,
        semi_axis_b: 0.2,
        angle: 0.7,
        scale: [0.6, 1.3, 0.9],
    };

    /// The point at `share` of the way from the centre to a corner.
    fn towards((x, y): Point, share: f64) -> Point {
        let (h, k) = (PARAMS.center_x, PARAMS.center_y);
        (h + share * (x - h), k + share * (y - k))
    }

    #[test]
    fn the_release_is_inside_just_within_the_outline_and_outside_just_beyond() {
        let config = StackConfig::default();
        let others = [PARAMS, PARAMS, EllipticalParams { semi_axis_b: 0.35, ..PARAMS }];
        let found = outlines(&config, &others, 1);
        assert_eq!(found.len(), 2, "blue borrows a semi-axis");
        assert_eq!(outlines(&config, &others[..2], 1).len(), 1);
        for (outline, b) in found.iter().zip([0.2, 0.35]) {
            for &corner in &outline.corners {
                let inside = |share| {
                    let (x, y) = towards(corner, share);
                    reference::inside_ellipse(&PARAMS, b, x, y)
                };
                assert!(inside(0.9999) && !inside(1.0001), "{corner:?}");
            }
        }
        let channels: Vec<_> = found.iter().map(|outline| outline.channels).collect();
        assert_eq!(channels, [[true, true, false], [false, false, true]]);
    }

    #[test]
    fn the_papers_weight_falls_to_zero_on_the_outline() {
        let config = StackConfig { dialect: Dialect::Paper, ..StackConfig::default() };
        for &corner in &outlines(&config, &[PARAMS], 0)[0].corners {
            let weight = |share| {
                let (x, y) = towards(corner, share);
                reference::elliptical_paper(&PARAMS, 0, x, y)
            };
            assert!(weight(0.999) > 0.0 && weight(1.001) == 0.0);
        }
        // The ends of the axes lie on it too: a is the longer one, along x at angle zero.
        for (ends, length) in axes(&config, &PARAMS).iter().zip([0.5, 0.2]) {
            for &(x, y) in ends {
                assert!((f64::hypot(x - 0.45, y - 0.6) - length).abs() < 1e-12);
                assert!(reference::elliptical_paper(&PARAMS, 0, x, y) < 1e-12);
            }
        }
        let upright = EllipticalParams { angle: 0.0, ..PARAMS };
        assert!((axes(&config, &upright)[0][0].0 - 0.95).abs() < 1e-12);
    }

    #[test]
    fn the_releases_fade_ends_at_the_ends_of_its_axes() {
        // M = s + (1 - s) distance/radius; at the end of an axis the distance is the radius.
        let config = StackConfig::default();
        for angle in [0.2, 0.7, 1.9, 3.0] {
            let params = EllipticalParams { angle, ..PARAMS };
            for (ends, length) in axes(&config, &params).iter().zip([0.5, 0.2]) {
                for &(x, y) in ends {
                    let (dx, dy) = (x - params.center_x, y - params.center_y);
                    assert!((dx.hypot(dy) - length).abs() < 1e-12);
                    let phi = (dy / dx.hypot(dy)).acos() - angle;
                    let (a, b) = (params.semi_axis_a, params.semi_axis_b);
                    let radius = a * b / (a * phi.sin()).hypot(b * phi.cos());
                    assert!((radius - length).abs() < 1e-9, "{angle}: {radius} {length}");
                }
            }
        }
    }
}
