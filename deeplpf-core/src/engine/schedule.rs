//! In which order rows are computed, and how many of each feature map must be kept.
//!
//! The backbone is worked through in strips from the top. Whenever a strip of the photograph has
//! been read, every stage computes all rows whose sources are complete, so no row is computed
//! twice and the result does not depend on the height of the strips. A row is kept until no stage
//! needs it any more.

use std::ops::Range;

/// Which rows of a source one row of a stage needs.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// The same row.
    Same,
    /// The row and its neighbours.
    Around,
    /// The two rows it is pooled from.
    Pair,
    /// The row and its neighbours after doubling the source.
    Doubled,
    /// The rows a resize reads: (first, last) for every row.
    Resized(Vec<(usize, usize)>),
}

impl Reach {
    /// First and last source row for row `y` of `height`, from a source of `source` rows.
    fn rows(&self, y: usize, height: usize, source: usize) -> (usize, usize) {
        match self {
            Reach::Same => (y, y),
            // Mirrored neighbours are themselves in this range, for there are at least two rows.
            Reach::Around => (y.saturating_sub(1), (y + 1).min(height - 1)),
            Reach::Pair => (2 * y, 2 * y + 1),
            Reach::Doubled => {
                (y.saturating_sub(1) / 2, ((y + 1).min(height - 1) / 2).min(source - 1))
            }
            Reach::Resized(rows) => rows[y],
        }
    }
}

/// What is known of a stage before it runs.
#[derive(Clone, Debug)]
pub(super) struct StageShape {
    /// Rows it has in all.
    pub height: usize,
    /// The stages it reads, all before it, and how.
    pub sources: Vec<(usize, Reach)>,
    /// All rows are kept.
    pub keep: bool,
}

/// The state of a pass over the stages, of which the first is the photograph.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    stages: Vec<StageShape>,
    done: Vec<usize>,
    strip: usize,
}

impl Schedule {
    /// Strips of `strip` rows of the photograph.
    pub fn new(stages: Vec<StageShape>, strip: usize) -> Self {
        let done = vec![0; stages.len()];
        Self { stages, done, strip }
    }

    /// Rows of each stage that must be kept at once.
    pub fn capacities(&self) -> Vec<usize> {
        let mut trial = self.clone();
        let mut capacities = vec![0usize; self.stages.len()];
        while !trial.finished() {
            for (stage, capacity) in capacities.iter_mut().enumerate() {
                trial.advance(stage);
                *capacity = (*capacity).max(trial.done[stage] - trial.needed_from(stage));
            }
        }
        capacities
    }

    /// Whether all rows of all stages are done.
    pub fn finished(&self) -> bool {
        self.stages.iter().zip(&self.done).all(|(stage, &done)| done == stage.height)
    }

    /// Share of the photograph that has been read.
    pub fn share(&self) -> f64 {
        self.done[0] as f64 / self.stages[0].height as f64
    }

    /// The rows `stage` can compute now, which count as done from here on.
    pub fn advance(&mut self, stage: usize) -> Range<usize> {
        let shape = &self.stages[stage];
        let start = self.done[stage];
        let mut end = start;
        if stage == 0 {
            end = (start + self.strip).min(shape.height);
        } else {
            let ready = |y: usize| {
                shape.sources.iter().all(|(source, reach)| {
                    let height = self.stages[*source].height;
                    reach.rows(y, shape.height, height).1 < self.done[*source]
                })
            };
            while end < shape.height && ready(end) {
                end += 1;
            }
        }
        self.done[stage] = end;
        start..end
    }

    /// First row of `stage` that some later row still needs.
    fn needed_from(&self, stage: usize) -> usize {
        if self.stages[stage].keep {
            return 0;
        }
        let height = self.stages[stage].height;
        let readers = self.stages.iter().zip(&self.done).flat_map(|(reader, &next)| {
            let sources = reader.sources.iter().filter(move |(source, _)| *source == stage);
            sources
                .filter(move |_| next < reader.height)
                .map(move |(_, reach)| reach.rows(next, reader.height, height).0)
        });
        readers.min().unwrap_or(self.done[stage]).min(self.done[stage])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(height: usize) -> Vec<StageShape> {
        let stage = |height, sources| StageShape { height, sources, keep: false };
        let mut stages = vec![
            stage(height, vec![]),
            stage(height, vec![(0, Reach::Around)]),
            stage(height / 2, vec![(1, Reach::Pair)]),
            stage(height, vec![(2, Reach::Doubled), (1, Reach::Around)]),
        ];
        stages[3].keep = true;
        stages
    }

    #[test]
    fn every_row_is_computed_once_and_in_order_whatever_the_strip() {
        for height in [2, 5, 16, 33] {
            for strip in [1, 3, 16, 100] {
                let mut schedule = Schedule::new(chain(height), strip);
                let capacities = schedule.capacities();
                assert!(capacities.iter().all(|&rows| rows > 0 && rows <= height));
                let mut done = [0; 4];
                let mut rounds = 0;
                while !schedule.finished() {
                    for (stage, done) in done.iter_mut().enumerate() {
                        let rows = schedule.advance(stage);
                        assert_eq!(rows.start, *done);
                        *done = rows.end;
                    }
                    rounds += 1;
                    assert!(rounds <= height, "no progress");
                }
                assert_eq!(done, [height, height, height / 2, height]);
            }
        }
    }

    #[test]
    fn a_higher_photograph_needs_no_more_rows() {
        let rows = |height| Schedule::new(chain(height), 8).capacities();
        let (low, high) = (rows(64), rows(6400));
        assert_eq!(low[..3], high[..3]);
        assert_eq!((low[3], high[3]), (64, 6400), "kept whole");
    }
}
