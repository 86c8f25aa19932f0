//! Where labels stand: as near as possible to their lines, none over another.

use super::{Instance, TEXT_SIZE};

/// Mean advance of a character in shares of the font size: the names are capitals, digits and signs.
const ADVANCE: f64 = 0.62;
/// Height of a label's box in shares of the font size, with a little air.
const LINE_HEIGHT: f64 = 1.1;
/// How many boxes of half a line's height a label may move in each direction.
const FARTHEST: i32 = 24;

/// Half the width and half the height of a label's box.
pub(super) fn half_extent(text: &str) -> (f64, f64) {
    let width = text.chars().count() as f64 * ADVANCE * TEXT_SIZE;
    ((width + 0.4 * TEXT_SIZE) / 2.0, LINE_HEIGHT * TEXT_SIZE / 2.0)
}

/// A centre and half extents.
type Area = ((f64, f64), (f64, f64));

fn overlap((a, a_half): &Area, (b, b_half): &Area) -> bool {
    (a.0 - b.0).abs() < a_half.0 + b_half.0 && (a.1 - b.1).abs() < a_half.1 + b_half.1
}

/// Moves labels that would lie over earlier ones to the nearest free place inside the picture. One
/// that finds none, in a picture too small for all, stays where it is.
pub(super) fn separate(instances: &mut [Instance], (width, height): (f64, f64)) {
    let step = LINE_HEIGHT * TEXT_SIZE / 2.0;
    let mut moves: Vec<(i32, i32)> = (-FARTHEST..=FARTHEST)
        .flat_map(|right| (-FARTHEST..=FARTHEST).map(move |down| (right, down)))
        .collect();
    // Stable: of moves equally far the one to the left and upwards comes first.
    moves.sort_by_key(|(right, down)| right * right + down * down);
    let mut taken: Vec<Area> = Vec::new();
    for label in instances.iter_mut().flat_map(|instance| &mut instance.labels) {
        let half = half_extent(&label.text);
        let is_inside = |(x, y): (f64, f64)| {
            x >= half.0 && x <= width - half.0 && y >= half.1 && y <= height - half.1
        };
        let free = moves
            .iter()
            .map(|&(right, down)| {
                (label.at.0 + step * f64::from(right), label.at.1 + step * f64::from(down))
            })
            .find(|&at| is_inside(at) && !taken.iter().any(|other| overlap(&(at, half), other)));
        if let Some(at) = free {
            label.at = at;
        }
        taken.push((label.at, half));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter_drawing::{FilterDrawing, tests::example};

    #[test]
    fn no_label_lies_over_another_or_outside() {
        let (config, mut params) = example();
        // All at one place: every label would lie over the others.
        for k in 1..params.elliptical.len() {
            params.elliptical[k] = params.elliptical[0];
        }
        for k in 1..params.graduated.len() {
            params.graduated[k] = params.graduated[0];
        }
        for size in [(600, 400), (400, 600)] {
            let drawing = FilterDrawing::new(&config, &params, size);
            let areas: Vec<Area> = drawing
                .instances
                .iter()
                .flat_map(|instance| &instance.labels)
                .map(|label| (label.at, half_extent(&label.text)))
                .collect();
            assert!(areas.len() > 6, "{areas:?}");
            for (index, area) in areas.iter().enumerate() {
                assert!(!areas[..index].iter().any(|other| overlap(area, other)), "{area:?}");
                let ((x, y), (half_width, half_height)) = *area;
                assert!(x >= half_width && x <= drawing.size.0 - half_width, "{area:?}");
                assert!(y >= half_height && y <= drawing.size.1 - half_height, "{area:?}");
            }
        }
    }
}
