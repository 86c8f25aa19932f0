//! The convolution of [doubled low-resolution features, skip connection] without either the
//! doubled features or their concatenation.
//!
//! Where both neighbours of a pixel along an axis are copies of the same low-resolution pixel,
//! their taps add up: along each axis a 3-tap kernel over doubled pixels is, by the pixel's
//! parity, [w0, w1 + w2] or [w0 + w1, w2] over two low-resolution pixels, 4 instead of 9 products
//! in the plane. Where a size is odd, the release pads the doubled features with a zero row at the
//! bottom and a zero column on the left, which shifts the columns by one; the pixels on those
//! lines see the same neighbour on both sides and a zero between: [w0 + w2].

use std::ops::Range;

use super::kernel::{Finish, Step};
use super::memory::{Aligned, Rows, SharedRows};
use super::packed::{Packed, Source, Target, Weights};
use crate::simd::Instructions;

/// How the three taps of one axis fall on low-resolution pixels.
#[derive(Clone, Copy)]
enum Phase {
    /// One on the pixel before, two on the pixel.
    Before,
    /// Two on the pixel, one on the next.
    After,
    /// The outer two on one pixel, a zero between.
    Edge,
}

const PHASES: [&[&[usize]]; 3] = [&[&[0], &[1, 2]], &[&[0, 1], &[2]], &[&[0, 2]]];

/// Phase and low-resolution position of row `y` of `height`; there are height / 2 low rows.
fn row_phase(y: usize, height: usize) -> (Phase, usize) {
    match (y % 2, height % 2) {
        (0, 1) if y + 1 == height => (Phase::Edge, height / 2 - 1),
        (0, _) => (Phase::Before, y / 2),
        _ => (Phase::After, y / 2),
    }
}

/// Columns that share a phase: every second one.
#[derive(Clone, Copy)]
struct Columns {
    phase: Phase,
    /// First output column.
    first: usize,
    count: usize,
}

fn columns(width: usize) -> Vec<Columns> {
    let low = width / 2;
    if width.is_multiple_of(2) {
        vec![
            Columns { phase: Phase::Before, first: 0, count: low },
            Columns { phase: Phase::After, first: 1, count: low },
        ]
    } else {
        vec![
            Columns { phase: Phase::Edge, first: 0, count: 1 },
            Columns { phase: Phase::Before, first: 1, count: low },
            Columns { phase: Phase::After, first: 2, count: low },
        ]
    }
}

/// Which pixels stand left and right of a low-resolution row of `low` pixels under an output of
/// `width`: copies of the edge, but zero on the left where the width is odd.
pub(super) fn surrounding(low: usize, width: usize) -> (Option<usize>, Option<usize>) {
    let left = if width.is_multiple_of(2) { Some(0) } else { None };
    (left, Some(low - 1))
}

/// Weights of the convolution, split and regrouped.
pub(super) struct UpsampledConv {
    /// By vertical and horizontal phase; with the bias.
    low: [[Packed; 3]; 3],
    skip: Packed,
}

impl UpsampledConv {
    /// `weights` of [`low` doubled channels, then those of the skip connection].
    pub fn new(weights: &Weights, low: usize, lanes: usize) -> Self {
        let mut doubled = weights.of_inputs(0..low);
        doubled.bias = weights.bias.clone();
        let skip = weights.of_inputs(low..weights.inputs);
        Self {
            low: PHASES.map(|rows| {
                PHASES.map(|columns| Packed::new(&doubled.grouped(rows, columns), lanes, false))
            }),
            skip: Packed::new(&skip, lanes, false),
        }
    }

    pub fn groups(&self) -> usize {
        self.skip.groups()
    }

    /// Rows `rows` of group `group`.
    ///
    /// # Safety
    /// The sources must hold the rows needed, with their surrounding pixels; these rows of this
    /// group of the target must be nobody else's.
    pub unsafe fn run(
        &self,
        instructions: Instructions,
        (low, skip): (&Rows, &Rows),
        target: SharedRows,
        (height, width): (usize, usize),
        (rows, group): (Range<usize>, usize),
        finish: Finish,
    ) {
        let lanes = instructions.lanes::<f32>();
        let low_height = height / 2;
        let zero_row = (height % 2 == 1 && rows.end + 2 > height)
            .then(|| Aligned::zeros(self.low[0][0].passes() * low.part()));
        let low_row = |y: usize, tap: usize| -> *const f32 {
            let (phase, at) = row_phase(y, height);
            match phase {
                Phase::Before => low.row((at + tap).saturating_sub(1)),
                Phase::After => match &zero_row {
                    Some(zeros) if at + tap == low_height => zeros.as_slice()[lanes..].as_ptr(),
                    _ => low.row((at + tap).min(low_height - 1)),
                },
                Phase::Edge => low.row(at),
            }
        };
        let columns = columns(width);
        for pass in 0..self.low[0][0].passes() {
            for y in rows.clone() {
                let vertical = row_phase(y, height).0;
                for columns in &columns {
                    let packed = &self.low[vertical as usize][columns.phase as usize];
                    let back = if matches!(columns.phase, Phase::Before) { lanes } else { 0 };
                    let source = Source {
                        row: |y, tap| low_row(y, tap).wrapping_sub(back),
                        block: low.part(),
                        channel: 1,
                        step: Step::One,
                    };
                    let target = Target {
                        rows: target,
                        first: columns.first,
                        step: 2,
                        pixels: columns.count,
                    };
                    // SAFETY: the caller's promise.
                    unsafe {
                        packed.add_pass(
                            instructions,
                            (group, pass, y),
                            &source,
                            target,
                            pass == 0,
                            Finish::Open,
                        );
                    }
                }
            }
        }
        let source = Source {
            row: |y, tap| skip.row(around(y, tap, height)).wrapping_sub(lanes),
            block: skip.part(),
            channel: 1,
            step: Step::One,
        };
        let target = Target { rows: target, first: 0, step: 1, pixels: width };
        for pass in 0..self.skip.passes() {
            let finish = if pass + 1 == self.skip.passes() { finish } else { Finish::Open };
            for y in rows.clone() {
                // SAFETY: the caller's promise.
                unsafe {
                    self.skip.add_pass(
                        instructions,
                        (group, pass, y),
                        &source,
                        target,
                        false,
                        finish,
                    );
                }
            }
        }
    }
}

/// The row under vertical tap `tap` of a 3x3 kernel around row `y`, mirrored at the border.
pub(super) fn around(y: usize, tap: usize, height: usize) -> usize {
    match y + tap {
        0 => 1,
        row if row > height => 2 * height - 1 - row,
        row => row - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One axis, both ways: doubling, padding and three taps against the phases.
    #[test]
    fn phases_are_the_three_taps_over_doubled_pixels() {
        let taps = [2.0, 3.0, 5.0];
        for size in [2usize, 3, 4, 5, 8, 9] {
            let low: Vec<f64> = (0..size / 2).map(|i| 1.0 + (i * i) as f64).collect();
            let doubled = low.iter().flat_map(|&v| [v, v]);
            let odd = size % 2 == 1;
            let bottom: Vec<f64> = doubled.clone().chain(odd.then_some(0.0)).collect();
            let left: Vec<f64> = odd.then_some(0.0).into_iter().chain(doubled).collect();
            let direct = |line: &[f64], at: usize| -> f64 {
                (0..3).map(|tap| taps[tap] * line[around(at, tap, size)]).sum()
            };
            let grouped = |phase: Phase| -> Vec<f64> {
                let groups = PHASES[phase as usize];
                groups.iter().map(|group| group.iter().map(|&tap| taps[tap]).sum()).collect()
            };
            for y in 0..size {
                let (phase, at) = row_phase(y, size);
                let weights = grouped(phase);
                let value = |tap: usize| match phase {
                    Phase::Before => low[(at + tap).saturating_sub(1)],
                    Phase::After if odd && at + tap == low.len() => 0.0,
                    Phase::After => low[(at + tap).min(low.len() - 1)],
                    Phase::Edge => low[at],
                };
                let sum: f64 = weights.iter().enumerate().map(|(tap, w)| w * value(tap)).sum();
                assert_eq!(sum, direct(&bottom, y), "row {y} of {size}");
            }
            let (before, after) = surrounding(low.len(), size);
            let mut line = vec![before.map_or(0.0, |at| low[at])];
            line.extend(&low);
            line.push(after.map_or(0.0, |at| low[at]));
            let mut seen = vec![false; size];
            for columns in columns(size) {
                let weights = grouped(columns.phase);
                let back = if matches!(columns.phase, Phase::Before) { 0 } else { 1 };
                for j in 0..columns.count {
                    let x = columns.first + 2 * j;
                    let sum: f64 =
                        weights.iter().enumerate().map(|(tap, w)| w * line[j + tap + back]).sum();
                    assert_eq!(sum, direct(&left, x), "column {x} of {size}");
                    assert!(!std::mem::replace(&mut seen[x], true));
                }
            }
            assert!(seen.iter().all(|&seen| seen));
        }
    }
}
