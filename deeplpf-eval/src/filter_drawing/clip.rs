//! Cutting lines to the picture.

/// The part of the segment inside the rectangle from (0, 0) to `size`, or `None` (Liang and Barsky
/// 1984).
pub(super) fn clipped(
    [from, to]: [(f64, f64); 2],
    (width, height): (f64, f64),
) -> Option<[(f64, f64); 2]> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for (step, room) in [(-dx, from.0), (dx, width - from.0), (-dy, from.1), (dy, height - from.1)]
    {
        if step == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if step < 0.0 {
            enter = enter.max(room / step);
        } else {
            leave = leave.min(room / step);
        }
    }
    let at = |share: f64| (from.0 + share * dx, from.1 + share * dy);
    (enter < leave).then(|| [at(enter), at(leave)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_cut_at_the_borders() {
        let size = (10.0, 6.0);
        assert_eq!(clipped([(-5.0, 3.0), (15.0, 3.0)], size), Some([(0.0, 3.0), (10.0, 3.0)]));
        assert_eq!(clipped([(2.0, -4.0), (2.0, 8.0)], size), Some([(2.0, 0.0), (2.0, 6.0)]));
        assert_eq!(clipped([(1.0, 1.0), (2.0, 2.0)], size), Some([(1.0, 1.0), (2.0, 2.0)]));
        assert_eq!(clipped([(11.0, -1.0), (12.0, 9.0)], size), None);
        assert_eq!(clipped([(-3.0, 4.0), (3.0, 10.0)], size), None);
    }
}
