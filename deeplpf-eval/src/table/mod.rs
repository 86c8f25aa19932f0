//! Tables: methods by metrics, with what a reader must know to trust them.

mod csv;
mod html;
mod markdown;

use std::path::Path;

use crate::atomic_file;
use crate::error::{EvalError, Result};
use crate::metrics::Metric;
use crate::published::PublishedResult;
use crate::scores::Scores;

pub(crate) use csv::csv_line;

/// What was measured: printed under every table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caption {
    /// The protocol, e.g. `DPE: 2250 / 2250 / 498, InputAsShotZeroed to Expert C, long edge 512`.
    pub protocol: String,
    /// Which part of the data, e.g. `test`.
    pub split: String,
    /// Number of images behind each mean.
    pub images: usize,
    /// Further sentences, e.g. seeds or deviations.
    pub notes: Vec<String>,
}

/// A measured method.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the method.
    pub method: String,
    /// One mean per column; `None` where it was not measured.
    pub values: Vec<Option<f64>>,
}

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
/// have equal marks; a column with one distinct value has no marks. Published rows stand apart,
/// with their source, and are never ranked against measured ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Title.
    pub title: String,
    /// What was measured.
    pub caption: Caption,
    columns: Vec<Metric>,
    rows: Vec<Row>,
    published: Vec<PublishedResult>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, caption: Caption, columns: Vec<Metric>) -> Self {
        let (rows, published) = (Vec::new(), Vec::new());
        Self { title: title.into(), caption, columns, rows, published }
    }

    /// Adds a method with one value per column.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`]; [`EvalError::NotANumber`].
    pub fn push(&mut self, method: impl Into<String>, values: Vec<Option<f64>>) -> Result<()> {
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
        self.rows.push(Row { method, values });
        Ok(())
    }

    /// Adds a method by the means of its scores; columns the scores do not have stay empty.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`] where the scores are of another number of images than the
    /// caption says: their mean would not belong in this table.
    pub fn push_scores(&mut self, method: impl Into<String>, scores: &Scores) -> Result<()> {
        let method = method.into();
        if scores.len() != self.caption.images {
            return Err(EvalError::LengthMismatch {
                what: format!("images behind row `{method}` of the table `{}`", self.title),
                expected: self.caption.images,
                found: scores.len(),
            });
        }
        let values = self.columns.iter().map(|column| scores.mean_of(&column.key)).collect();
        self.push(method, values)
    }

    /// Adds published results below the measured rows.
    pub fn push_published(&mut self, results: impl IntoIterator<Item = PublishedResult>) {
        self.published.extend(results);
    }

    /// The columns.
    pub fn columns(&self) -> &[Metric] {
        &self.columns
    }

    /// The measured rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The published rows.
    pub fn published(&self) -> &[PublishedResult] {
        &self.published
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

    /// A value rounded as it is printed.
    fn printed(&self, row: usize, column: usize) -> Option<f64> {
        let value = self.rows[row].values[column]?;
        let text = self.columns[column].format(value);
        // `format` prints numbers and `inf`, all of which parse.
        text.parse().ok()
    }

    /// Whether any value has a mark.
    fn has_marks(&self) -> bool {
        (0..self.rows.len())
            .any(|row| (0..self.columns.len()).any(|column| self.rank(row, column).is_some()))
    }

    /// The sentences under the table: protocol, split, number of images, definitions, notes.
    fn caption_lines(&self) -> Vec<String> {
        let Caption { protocol, split, images, notes } = &self.caption;
        let mut facts = Vec::new();
        if !protocol.is_empty() {
            facts.push(format!("Protocol: {protocol}."));
        }
        if !split.is_empty() {
            facts.push(format!("Split: {split}."));
        }
        facts.push(format!("{images} {}.", if *images == 1 { "image" } else { "images" }));
        let definitions: Vec<_> = self
            .columns
            .iter()
            .filter(|column| column.label != column.name)
            .map(|column| format!("{}: {}", column.label, column.name))
            .collect();
        let mut lines = vec![facts.join(" ")];
        if !definitions.is_empty() {
            lines.push(format!("{}.", definitions.join("; ")));
        }
        lines.extend(notes.iter().cloned());
        lines
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

    /// Writes the table in the format of the extension: `md`, `csv` or `html` (a fragment).
    ///
    /// # Errors
    /// [`EvalError::UnknownFormat`], [`EvalError::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => self.to_markdown(),
            Some("csv") => self.to_csv(),
            Some("html") => self.to_html(),
            _ => {
                let expected = ".md, .csv or .html";
                return Err(EvalError::UnknownFormat { path: path.to_owned(), expected });
            }
        };
        atomic_file::write(path, text.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::metrics::{DeltaE76, ImageMetric, Psnr, Ssim};
    use crate::published::published_results;

    pub(crate) fn example() -> Table {
        let caption = Caption {
            protocol: "DPE".into(),
            split: "test".into(),
            images: 498,
            notes: vec!["Seed 1.".into()],
        };
        let columns = vec![Psnr.metric(), Ssim::STANDARD.metric(), DeltaE76.metric()];
        let mut table = Table::new("Filters | one by one", caption, columns);
        table.push("input", vec![Some(17.5), Some(0.8), Some(14.0)]).unwrap();
        table.push("all, \"fixed\"", vec![Some(23.931), Some(0.903), Some(8.0)]).unwrap();
        table.push("<cubic> | only", vec![Some(23.934), Some(0.89), None]).unwrap();
        table.push_published(published_results("UPE").unwrap());
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
}
