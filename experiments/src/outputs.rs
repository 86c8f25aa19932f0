//! What an experiment leaves to look at: tables, plots, contact sheet and report.

use std::path::Path;

use deeplpf_eval::{
    Caption, ContactSheet, GalleryItem, Report, Scores, SheetRow, Table,
    plot::{Bar, Bars, Curves, Plot, Series},
};
use ndarray::Array3;

use crate::{Result, test_pairs::TestPairs};

/// Rows of a contact sheet; more are only in the report.
const MOST_SHEET_ROWS: usize = 12;

/// One row of the table.
pub(crate) struct Judged<'a> {
    pub label: String,
    pub scores: &'a Scores,
}

/// The method whose pictures are shown.
pub(crate) struct Sheet<'a> {
    pub label: String,
    /// In the order of the pairs.
    pub outputs: &'a [Array3<f32>],
    pub scores: &'a Scores,
}

/// One curve of training, loss or validation.
pub(crate) struct TrainingCurve {
    pub label: String,
    /// (epoch, loss).
    pub loss: Vec<(f64, f64)>,
    /// (epoch, dB).
    pub valid_psnr: Vec<(f64, f64)>,
}

/// Everything that goes into the outputs.
pub(crate) struct Outputs<'a> {
    pub title: String,
    pub tested: &'a TestPairs,
    pub notes: Vec<String>,
    pub facts: Vec<(String, String)>,
    /// The first row is the input itself.
    pub judged: Vec<Judged<'a>>,
    pub curves: Vec<TrainingCurve>,
    pub sheet: Sheet<'a>,
}

impl Outputs<'_> {
    /// Writes all of it into `out` and returns the table as Markdown.
    pub fn write(&self, out: &Path) -> Result<String> {
        let table = self.table()?;
        table.write(&out.join("table.md"))?;
        table.write(&out.join("table.csv"))?;
        let mut report = Report::new(&self.title);
        report.facts = self.facts.clone();
        report.tables = vec![table.clone()];
        if self.judged.len() > 2 {
            let bars = self.bars(&table);
            // Where every image equals its target, PSNR is infinite and has no bars.
            if !bars.bars.is_empty() {
                bars.write(&out.join("ablation.png"))?;
                bars.write(&out.join("ablation.svg"))?;
                report.plots.push(bars.to_svg()?);
            }
        }
        for (name, curves) in self.training_curves() {
            curves.write(&out.join(format!("{name}.png")))?;
            curves.write(&out.join(format!("{name}.svg")))?;
            report.plots.push(curves.to_svg()?);
        }
        self.pictures(out, &mut report)?;
        report.write(&out.join("report.html"))?;
        Ok(table.to_markdown())
    }

    fn table(&self) -> Result<Table> {
        let first = self.judged[0].scores;
        let caption = Caption {
            protocol: self.tested.protocol.clone(),
            split: self.tested.split.clone(),
            images: first.len(),
            notes: self.notes.clone(),
            ..Caption::default()
        };
        let mut table = Table::new(&self.title, caption, first.metrics().to_vec());
        for judged in &self.judged {
            table.push_scores(&judged.label, judged.scores)?;
        }
        Ok(table)
    }

    /// PSNR of every row, the shown method dark.
    fn bars(&self, table: &Table) -> Bars {
        let bars = self.judged.iter().filter_map(|judged| {
            let bar = Bar::new(&judged.label, judged.scores.mean_of("psnr")?);
            Some(if judged.label == self.sheet.label { bar.with_emphasis() } else { bar })
        });
        Bars {
            title: format!("{}: PSNR on {}", self.title, self.tested.split),
            metric: table.columns()[0].clone(),
            axis_from: None,
            bars: bars.filter(|bar| bar.value.is_finite()).collect(),
        }
    }

    fn training_curves(&self) -> Vec<(&'static str, Curves)> {
        let curves =
            |title: &str, y_label: &str, log_y, of: fn(&TrainingCurve) -> &Vec<(f64, f64)>| {
                let series = self
                    .curves
                    .iter()
                    .map(|curve| {
                        // A loss of exactly 0 has no logarithm and becomes a gap.
                        let drawn = |v: f64| if log_y && v <= 0.0 { f64::NAN } else { v };
                        let points: Vec<_> =
                            of(curve).iter().map(|&(x, y)| (x, drawn(y))).collect();
                        Series::new(&curve.label, points)
                    })
                    .filter(|series| series.points.iter().any(|(_, y)| y.is_finite()))
                    .collect::<Vec<_>>();
                Curves {
                    title: title.into(),
                    x_label: "epoch".into(),
                    y_label: y_label.into(),
                    log_y,
                    series,
                }
            };
        [
            (
                "training_loss",
                curves("Training loss", "loss, mean over the epoch", true, |c| &c.loss),
            ),
            ("validation_psnr", curves("Validation PSNR", "PSNR (dB)", false, |c| &c.valid_psnr)),
        ]
        .into_iter()
        .filter(|(_, curves)| !curves.series.is_empty())
        .collect()
    }

    fn pictures(&self, out: &Path, report: &mut Report) -> Result<()> {
        let columns = vec!["input".into(), self.sheet.label.clone(), "target".into()];
        let shown = self.sheet.outputs.len().min(MOST_SHEET_ROWS);
        let title = match self.sheet.outputs.len() {
            all if all > shown => format!("{} (the first {shown} of {all})", self.title),
            _ => self.title.clone(),
        };
        let mut sheet = ContactSheet::new(title, columns);
        for (index, output) in self.sheet.outputs.iter().enumerate() {
            let pair = self.tested.pairs.load(index)?;
            if index < shown {
                sheet.rows.push(SheetRow::against_target(
                    &pair.id,
                    pair.input.view(),
                    &[output.view()],
                    pair.target.view(),
                )?);
            }
            report.gallery.push(
                GalleryItem::new(&pair.id)
                    .with_scored_picture("input", pair.input, self.judged[0].scores)
                    .with_scored_picture(&self.sheet.label, output.clone(), self.sheet.scores)
                    .with_picture("target", pair.target),
            );
        }
        sheet.write(&out.join("contact_sheet.png"))?;
        Ok(())
    }
}
