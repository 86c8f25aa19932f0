//! Dash patterns: plotters draws solid lines only.

/// The drawn pieces of a line under a pattern of lengths drawn and left out; the whole line for an
/// empty pattern.
pub(super) fn dashed(points: &[(f64, f64)], pattern: &[f64]) -> Vec<Vec<(f64, f64)>> {
    if pattern.is_empty() || points.len() < 2 {
        return vec![points.to_vec()];
    }
    let mut pieces = vec![vec![points[0]]];
    let (mut phase, mut left) = (0, pattern[0]);
    for ends in points.windows(2) {
        let (mut from, to) = (ends[0], ends[1]);
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            let drawing = phase % 2 == 0;
            if length < left {
                left -= length;
                if drawing && let Some(piece) = pieces.last_mut() {
                    piece.push(to);
                }
                break;
            }
            from = (from.0 + dx * left / length, from.1 + dy * left / length);
            if drawing {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(from);
                }
            } else {
                pieces.push(vec![from]);
            }
            phase = (phase + 1) % pattern.len();
            left = pattern[phase];
        }
    }
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_follow_the_line_round_its_corners() {
        let line = [(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)];
        let pieces = dashed(&line, &[4.0, 3.0]);
        assert_eq!(pieces[0], [(0.0, 0.0), (4.0, 0.0)]);
        assert_eq!(pieces[1], [(5.0, 2.0), (5.0, 5.0)]);
        assert_eq!(dashed(&line, &[]), [line.to_vec()]);
        assert_eq!(dashed(&line, &[3.0, 9.0]), [vec![(0.0, 0.0), (3.0, 0.0)]]);
    }
}
