//! A measured method.

use crate::error::{EvalError, Result};
use crate::metrics::Metric;
use crate::scores::Scores;
use crate::statistics::{Interval, Spread, bootstrap_mean};

/// A measured method: one value per column of its table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the method.
    pub method: String,
    /// One mean per column, over images and, where there are several, over seeds; `None` where it
    /// was not measured.
    pub values: Vec<Option<f64>>,
    /// The 95% bootstrap interval of each mean over images; `None` where the values per image are
    /// not known or infinite.
    pub intervals: Vec<Option<Interval>>,
    /// The standard deviation over seeds of each mean; `None` for one seed.
    pub deviations: Vec<Option<f64>>,
    /// The PSNR of the pooled squared error, for columns that are a PSNR ([`Scores::pooled`]); over
    /// the images of all seeds.
    pub pooled: Vec<Option<f64>>,
    /// Number of seeds behind the values.
    pub seeds: usize,
    /// Number of the method's weights.
    pub parameters: Option<u64>,
    /// Time for one image, in seconds; the caption says on what machine.
    pub seconds_per_image: Option<f64>,
    /// Names of the images, ordered.
    pub(super) ids: Vec<String>,
    /// Values per image, mean over seeds, by column; empty where they are not known.
    pub(super) per_image: Vec<Option<Vec<f64>>>,
}

impl Row {
    pub(super) fn of_values(method: String, values: Vec<Option<f64>>) -> Self {
        let columns = values.len();
        Self {
            method,
            values,
            intervals: vec![None; columns],
            deviations: vec![None; columns],
            pooled: vec![None; columns],
            seeds: 1,
            parameters: None,
            seconds_per_image: None,
            ids: Vec::new(),
            per_image: vec![None; columns],
        }
    }

    pub(super) fn of_seeds(method: String, seeds: &[Scores], columns: &[Metric]) -> Result<Self> {
        let ids = |scores: &Scores| -> Vec<String> {
            scores.images().map(|(id, _)| id.to_owned()).collect()
        };
        let first = seeds.first().map(ids).unwrap_or_default();
        for other in seeds.iter().skip(1).map(ids) {
            if let Some(id) = first_difference(&first, &other) {
                return Err(EvalError::OtherImages { method, id });
            }
        }
        let mut row = Self::of_values(method, vec![None; columns.len()]);
        row.ids = first;
        row.seeds = seeds.len();
        for (index, column) in columns.iter().enumerate() {
            let of_seeds: Option<Vec<Vec<f64>>> =
                seeds.iter().map(|scores| scores.column(&column.key)).collect();
            let Some(of_seeds) = of_seeds else { continue };
            let means: Option<Vec<f64>> =
                seeds.iter().map(|scores| scores.mean_of(&column.key)).collect();
            let Some(spread) = means.and_then(|means| Spread::of(&means)) else { continue };
            let per_image: Vec<f64> = (0..row.ids.len())
                .map(|image| {
                    of_seeds.iter().map(|values| values[image]).sum::<f64>() / seeds.len() as f64
                })
                .collect();
            row.values[index] = Some(spread.mean);
            row.pooled[index] = Scores::pooled_over(seeds, &column.key);
            row.deviations[index] = spread.deviation.filter(|deviation| deviation.is_finite());
            row.intervals[index] = bootstrap_mean(&per_image).map(|bootstrap| bootstrap.interval);
            row.per_image[index] = Some(per_image);
        }
        Ok(row)
    }

    /// Says how many weights the method has.
    pub fn with_parameters(&mut self, parameters: u64) -> &mut Self {
        self.parameters = Some(parameters);
        self
    }

    /// Says how long one image takes, in seconds.
    pub fn with_seconds_per_image(&mut self, seconds: f64) -> &mut Self {
        self.seconds_per_image = Some(seconds);
        self
    }
}

/// The first name that only one of two ordered lists has.
pub(super) fn first_difference(a: &[String], b: &[String]) -> Option<String> {
    let (only_a, only_b) =
        (a.iter().find(|id| !b.contains(id)), b.iter().find(|id| !a.contains(id)));
    only_a.or(only_b).cloned()
}
