//! Tables: methods by metrics, with what a reader must know to trust them.

mod caption;
mod csv;
mod html;
mod json;
mod latex;
mod markdown;
mod paired;
mod row;
mod standing;

use std::path::Path;
use std::sync::OnceLock;

use crate::atomic_file;
use crate::error::{EvalError, Result};
use crate::metrics::Metric;
use crate::published::PublishedResult;
use crate::scores::Scores;

pub use caption::{Caption, resolution};
pub(crate) use csv::csv_line;
pub use paired::PairedTable;
pub use row::Row;
pub use standing::Standing;

/// How a value stands among the measured values of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// None is better at the printed precision.
    Best,
    /// Only the best are better.
    Second,
}

/// Rows of methods, columns of metrics.
///
/// Best and second best are marked per column by the printed value, so that two equal numbers
/// have equal marks; a column with one distinct value has no marks. Where the values per image are
/// known, each has an interval, and each is tested against the best of its column ([`Standing`]).
/// Published rows stand apart, with their source, and are never ranked against measured ones; those
/// of another protocol than the caption's are labelled not comparable.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Title.
    pub title: String,
    /// What was measured.
    pub caption: Caption,
    columns: Vec<Metric>,
    rows: Vec<Row>,
    published: Vec<PublishedResult>,
    /// Made when first asked for; forgotten when a row is added.
    standings: OnceLock<Vec<Vec<Standing>>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, caption: Caption, columns: Vec<Metric>) -> Self {
        Self {
            title: title.into(),
            caption,
            columns,
            rows: Vec::new(),
            published: Vec::new(),
            standings: OnceLock::new(),
        }
    }

    /// Adds a method with one value per column and nothing known per image: no interval, no test.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`]; [`EvalError::NotANumber`].
    pub fn push(
        &mut self,
        method: impl Into<String>,
        values: Vec<Option<f64>>,
    ) -> Result<&mut Row> {
        let method = method.into();
        if values.len() != self.columns.len() {
            return Err(EvalError::LengthMismatch {
                what: format!("row `{method}` of the table `{}`", self.title),
                expected: self.columns.len(),
                found: values.len(),
            });
        }
        if let Some(index) = values.iter().position(|v| v.is_some_and(f64::is_nan)) {
            let metric = self.columns[index].key.to_string();
            return Err(EvalError::NotANumber { id: method, metric });
        }
        Ok(self.add(Row::of_values(method, values)))
    }

    /// Adds a method by its scores; columns the scores do not have stay empty.
    ///
    /// # Errors
    /// As [`Table::push_seeds`].
    pub fn push_scores(&mut self, method: impl Into<String>, scores: &Scores) -> Result<&mut Row> {
        self.push_seeds(method, std::slice::from_ref(scores))
    }

    /// Adds a method that was trained with several seeds, by the scores of each on the same
    /// images. Its values are means over the seeds with their standard deviation; per image it
    /// has the mean over seeds, which intervals and tests are made from.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`] where the scores are of another number of images than the
    /// caption says: their mean would not belong in this table. [`EvalError::OtherImages`] where
    /// the seeds have different images.
    pub fn push_seeds(&mut self, method: impl Into<String>, seeds: &[Scores]) -> Result<&mut Row> {
        let method = method.into();
        for scores in seeds {
            if scores.len() != self.caption.images {
                return Err(EvalError::LengthMismatch {
                    what: format!("images behind row `{method}` of the table `{}`", self.title),
                    expected: self.caption.images,
                    found: scores.len(),
                });
            }
        }
        let row = Row::of_seeds(method, seeds, &self.columns)?;
        Ok(self.add(row))
    }

    fn add(&mut self, row: Row) -> &mut Row {
        self.standings = OnceLock::new();
        self.rows.push(row);
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Adds published results below the measured rows.
    pub fn push_published(&mut self, results: impl IntoIterator<Item = PublishedResult>) {
        self.published.extend(results);
        // Those that may be compared first; otherwise in the order given.
        let protocol = self.caption.published_protocol();
        self.published.sort_by_key(|result| result.protocol != protocol);
    }

    /// The columns.
    pub fn columns(&self) -> &[Metric] {
        &self.columns
    }

    /// The measured rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The published rows, those of the caption's protocol first.
    pub fn published(&self) -> &[PublishedResult] {
        &self.published
    }

    /// Whether a published result was measured under this table's protocol.
    pub fn is_comparable(&self, result: &PublishedResult) -> bool {
        result.protocol == self.caption.published_protocol()
    }

    /// What stands behind a published method's name: `published [1]`, and why it cannot be
    /// compared where it cannot.
    pub(crate) fn published_label(&self, result: &PublishedResult) -> String {
        let number = self.source_number(result).map_or(String::new(), |n| format!(" [{n}]"));
        if self.is_comparable(result) {
            format!("published{number}")
        } else {
            format!("published{number}; not comparable: {}", result.protocol)
        }
    }

    /// The mark of a measured value.
    pub fn rank(&self, row: usize, column: usize) -> Option<Rank> {
        let value = self.printed(row, column)?;
        let direction = self.columns[column].direction;
        let mut others: Vec<f64> =
            (0..self.rows.len()).filter_map(|row| self.printed(row, column)).collect();
        others.sort_by(|a, b| a.total_cmp(b));
        others.dedup();
        let better = others.iter().filter(|&&other| direction.is_better(other, value)).count();
        match (others.len(), better) {
            (0 | 1, _) => None,
            (_, 0) => Some(Rank::Best),
            // Among two, being second is being last.
            (3.., 1) => Some(Rank::Second),
            _ => None,
        }
    }

    /// How a measured value compares with the best of its column.
    pub fn standing(&self, row: usize, column: usize) -> Standing {
        self.standings.get_or_init(|| standing::standings(&self.columns, &self.rows))[column][row]
    }

    /// A value rounded as it is printed.
    fn printed(&self, row: usize, column: usize) -> Option<f64> {
        let value = self.rows[row].values[column]?;
        let text = self.columns[column].format(value);
        // `format` prints numbers and `inf`, all of which parse.
        text.parse().ok()
    }

    /// A value as text, and behind it its deviation over seeds and its interval over images.
    pub(crate) fn value_and_spread(&self, row: usize, column: usize) -> Option<(String, String)> {
        let format = |value| self.columns[column].format(value);
        let row = &self.rows[row];
        let deviation = row.deviations[column]
            .map_or(String::new(), |deviation| format!(" ± {}", format(deviation)));
        let interval = row.intervals[column].map_or(String::new(), |interval| {
            format!(" [{}, {}]", format(interval.low), format(interval.high))
        });
        Some((format(row.values[column]?), deviation + &interval))
    }

    /// Whether any value has a mark.
    /// What the marks mean, in words that are marked so themselves; `None` without any.
    fn marks_line(&self, best: &str, second: &str) -> Option<String> {
        let ranks: Vec<Rank> = (0..self.rows.len())
            .flat_map(|row| (0..self.columns.len()).map(move |column| (row, column)))
            .filter_map(|(row, column)| self.rank(row, column))
            .collect();
        let second = match ranks.contains(&Rank::Second) {
            true => format!(", second best {second}"),
            false => String::new(),
        };
        (!ranks.is_empty()).then(|| format!("Best in {best}{second}."))
    }

    /// Headings of the columns after the metrics, and whether they are there.
    fn has_parameters(&self) -> bool {
        self.rows.iter().any(|row| row.parameters.is_some())
            || self.published.iter().any(|result| result.weights.is_some())
    }

    fn has_times(&self) -> bool {
        self.rows.iter().any(|row| row.seconds_per_image.is_some())
    }

    /// The distinct sources of the published rows, in order; a row's number is its position + 1.
    fn sources(&self) -> Vec<&str> {
        let mut sources: Vec<&str> = Vec::new();
        for source in self.published.iter().filter_map(|result| result.source.as_deref()) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        sources
    }

    fn source_number(&self, result: &PublishedResult) -> Option<usize> {
        let source = result.source.as_deref()?;
        self.sources().iter().position(|other| *other == source).map(|index| index + 1)
    }

    /// Writes the table in the format of the extension: `md`, `csv`, `tex` (booktabs), `json`, or
    /// `html` (a fragment).
    ///
    /// # Errors
    /// [`EvalError::UnknownFormat`], [`EvalError::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => self.to_markdown(),
            Some("csv") => self.to_csv(),
            Some("tex") => self.to_latex(),
            Some("json") => self.to_json()?,
            Some("html") => self.to_html(),
            _ => {
                let expected = ".md, .csv, .tex, .json or .html";
                return Err(EvalError::UnknownFormat { path: path.to_owned(), expected });
            }
        };
        atomic_file::write(path, text.as_bytes())
    }
}

/// A number of weights as papers print it: `1.77M`, `12.3K`, `816`.
pub(crate) fn short_count(count: u64) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..999_950 => format!("{:.1}K", count as f64 / 1e3),
        _ => format!("{:.2}M", count as f64 / 1e6),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::metrics::{DeltaE76, ImageMetric, Psnr, Ssim};
    use crate::published::published_results;
    use crate::scores::ImageScores;

    pub(crate) fn example() -> Table {
        let caption = Caption {
            protocol: "DPE".into(),
            split: "test".into(),
            images: 498,
            resolution: "512x341 pixels".into(),
            notes: vec!["Seed 1.".into()],
            ..Caption::default()
        };
        let columns = vec![Psnr.metric(), Ssim::STANDARD.metric(), DeltaE76.metric()];
        let mut table = Table::new("Filters | one by one", caption, columns);
        table.push("input", vec![Some(17.5), Some(0.8), Some(14.0)]).unwrap();
        table.push("all, \"fixed\"", vec![Some(23.931), Some(0.903), Some(8.0)]).unwrap();
        table.push("<cubic> | only", vec![Some(23.934), Some(0.89), None]).unwrap();
        table.push_published(published_results("UPE").unwrap());
        table.push_published(published_results("DPE").unwrap().into_iter().take(1));
        table
    }

    /// PSNR of a method on 40 images: around `mean`, with a part all methods share and one of its
    /// own.
    pub(crate) fn psnr_scores(mean: f64, own: f64) -> Scores {
        let mut scores = Scores::new(vec![Psnr.metric()]);
        for i in 0..40u32 {
            let shared = f64::from(i * 17 % 40) / 5.0 - 3.9;
            let value = mean + shared + own * (f64::from(i) * 2.39).sin();
            scores.insert(ImageScores { id: format!("a{i:02}"), values: vec![value] }).unwrap();
        }
        scores
    }

    /// Two methods that cannot be told apart, and one that is worse.
    pub(crate) fn tested() -> Table {
        let caption = Caption { images: 40, split: "test".into(), ..Caption::default() };
        let mut table = Table::new("Tested", caption, vec![Psnr.metric()]);
        table
            .push_scores("first", &psnr_scores(24.0, 0.5))
            .unwrap()
            .with_parameters(1_769_347)
            .with_seconds_per_image(0.0521);
        table.push_scores("near", &psnr_scores(23.99, -0.4)).unwrap();
        table.push_scores("worse", &psnr_scores(22.0, 0.3)).unwrap();
        table
    }

    #[test]
    fn marks_follow_the_printed_values_and_the_direction() {
        let table = example();
        let ranks = |column| (0..3).map(|row| table.rank(row, column)).collect::<Vec<_>>();
        // 23.931 and 23.934 both print as 23.93.
        assert_eq!(ranks(0), [None, Some(Rank::Best), Some(Rank::Best)]);
        assert_eq!(ranks(1), [None, Some(Rank::Best), Some(Rank::Second)]);
        assert_eq!(ranks(2), [None, Some(Rank::Best), None]);
    }

    #[test]
    fn rows_of_another_length_or_number_of_images_are_refused() {
        let mut table = example();
        assert!(table.push("short", vec![None]).is_err());
        let scores = Scores::new(vec![Psnr.metric()]);
        let error = table.push_scores("other set", &scores).unwrap_err().to_string();
        assert!(error.contains("expected 498") && error.contains("found 0"), "{error}");
    }

    #[test]
    fn what_cannot_be_told_from_the_best_is_said_to_be_so() {
        let mut table = tested();
        let standings = |table: &Table| -> Vec<Standing> {
            (0..table.rows().len()).map(|row| table.standing(row, 0)).collect()
        };
        assert_eq!(standings(&table), [Standing::Best, Standing::Near, Standing::Different]);
        // A new row is tested too, and one of which only the mean is known is not.
        table.push_scores("better", &psnr_scores(26.0, 0.2)).unwrap();
        table.push("unknown", vec![Some(23.0)]).unwrap();
        let expected = [
            Standing::Different,
            Standing::Different,
            Standing::Different,
            Standing::Best,
            Standing::Untested,
        ];
        assert_eq!(standings(&table), expected);
    }

    #[test]
    fn seeds_give_mean_and_deviation() {
        let caption = Caption { images: 40, ..Caption::default() };
        let mut table = Table::new("Seeds", caption, vec![Psnr.metric()]);
        let seeds = [23.0, 24.0, 25.0].map(|mean| psnr_scores(mean, 0.0));
        table.push_seeds("three", &seeds).unwrap();
        let (value, spread) = table.value_and_spread(0, 0).unwrap();
        assert_eq!(value, "24.00");
        assert!(spread.starts_with(" ± 1.00 [23.") && spread.ends_with(']'), "{spread}");
        let caption = table.caption_lines().join(" ");
        assert!(caption.contains("±: standard deviation over 3 seeds."), "{caption}");
        assert!(caption.contains("of an image's mean over seeds"), "{caption}");
        // Far below 24: the images are up to 3.9 dB away from their mean.
        assert!(caption.contains("pooled squared error (dB): three 23."), "{caption}");
        table.push_scores("one", &psnr_scores(22.0, 0.0)).unwrap();
        table.push_seeds("two", &seeds[..2]).unwrap();
        let caption = table.caption_lines().join(" ");
        assert!(caption.contains("deviation over seeds (three 3, two 2)."), "{caption}");
        let mut other = Scores::new(vec![Psnr.metric()]);
        for i in 0..40 {
            other.insert(ImageScores { id: format!("b{i}"), values: vec![1.0] }).unwrap();
        }
        let error = table.push_seeds("mixed", &[psnr_scores(1.0, 0.0), other]).unwrap_err();
        assert!(error.to_string().contains("`a00`"), "{error}");
    }

    #[test]
    fn counts_are_printed_as_papers_do() {
        let found = [816, 12_345, 999_960, 1_769_347].map(short_count);
        assert_eq!(found, ["816", "12.3K", "1.00M", "1.77M"]);
    }
}
