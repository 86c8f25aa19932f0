//! Which values of a column can be told from its best.

use super::Row;
use crate::metrics::Metric;
use crate::statistics::{PairedDifference, Verdict, adjust_together};

/// How a value compares with the best of its column, image by image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the best; ties before rounding go to the first.
    Best,
    /// Not shown to differ from the best.
    Near,
    /// Differs from the best.
    Different,
    /// Not compared: its values per image, or the best's, are not known or of other images.
    Untested,
}

impl Standing {
    /// As CSV and JSON have it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Standing::Best => "best",
            Standing::Near => "near",
            Standing::Different => "different",
            Standing::Untested => "untested",
        }
    }
}

/// The standings of every column, by row.
pub(super) fn standings(columns: &[Metric], rows: &[Row]) -> Vec<Vec<Standing>> {
    columns.iter().enumerate().map(|(index, metric)| column(index, metric, rows)).collect()
}

fn column(index: usize, metric: &Metric, rows: &[Row]) -> Vec<Standing> {
    let mut standings = vec![Standing::Untested; rows.len()];
    let mut best: Option<(usize, f64)> = None;
    for (row, value) in rows.iter().enumerate().filter_map(|(i, r)| Some((i, r.values[index]?))) {
        if best.is_none_or(|(_, best)| metric.direction.is_better(value, best)) {
            best = Some((row, value));
        }
    }
    let Some((best, _)) = best else { return standings };
    standings[best] = Standing::Best;
    let Some(best_values) = &rows[best].per_image[index] else { return standings };
    let mut family: Vec<(usize, PairedDifference)> = (0..rows.len())
        .filter(|&row| row != best && rows[row].ids == rows[best].ids)
        .filter_map(|row| {
            let values = rows[row].per_image[index].as_ref()?;
            Some((row, PairedDifference::new(metric.direction, values, best_values).ok()?))
        })
        .collect();
    adjust_together(&mut family.iter_mut().map(|(_, difference)| difference).collect::<Vec<_>>());
    for (row, difference) in family {
        standings[row] = match difference.verdict() {
            Verdict::Undecided => Standing::Near,
            Verdict::Better | Verdict::Worse => Standing::Different,
        };
    }
    standings
}
