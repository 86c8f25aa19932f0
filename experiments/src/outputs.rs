//! What runs leave to look at: tables, plots, contact sheet and report.

use std::path::Path;

use deeplpf_eval::{
    Caption, ContactSheet, GalleryItem, Metric, Report, Scores, SheetCell, SheetRow, Size, Table,
    plot::{Bar, Bars, Curves, Histogram, Plot, Sample, Scatter, ScatterPoint, Series},
    published::published_results,
    resolution, select_images,
    statistics::{Bootstrap, bootstrap_mean},
};

use crate::{
    Result,
    record::{Picture, RecordedPhotograph, RunRecord},
    runs::Run,
};

/// Rows of a contact sheet: the best, those around the median, and the worst.
const SHEET_ROWS: usize = 12;
/// Fewest photographs whose spread a histogram shows.
const HISTOGRAM_IMAGES: usize = 10;
/// The row of the unchanged inputs.
const INPUT: &str = "input, unchanged";

/// Everything that is said about some runs, which were judged on the same pairs.
pub(crate) struct Outputs<'a> {
    pub title: String,
    /// Sentences under the table.
    pub notes: Vec<String>,
    /// At least one.
    pub runs: &'a [Run],
    /// Index of the run that is emphasised and sorts the contact sheet.
    pub shown: usize,
    /// Key of the metric of plots and contact sheet.
    pub metric: String,
}

impl Outputs<'_> {
    /// Writes tables, plots, contact sheet and report into `out` and returns the table as Markdown.
    pub fn write(&self, out: &Path) -> Result<String> {
        let table = self.table()?;
        for extension in ["md", "csv", "tex", "json"] {
            table.write(&out.join(format!("table.{extension}")))?;
        }
        self.write_pictures(out)?;
        self.report()?.write(&out.join("report.html"))?;
        Ok(table.to_markdown())
    }

    /// Writes the plots, as SVG and PNG, and the contact sheet.
    pub fn write_pictures(&self, out: &Path) -> Result<()> {
        for (name, plot) in self.plots()? {
            plot.write(&out.join(format!("{name}.svg")))?;
            plot.write(&out.join(format!("{name}.png")))?;
        }
        Ok(self.sheet()?.write(&out.join("contact_sheet.png"))?)
    }

    /// The whole as one page.
    pub fn report(&self) -> Result<Report> {
        let mut report = Report::new(&self.title);
        report.facts = self.facts();
        report.tables = vec![self.table()?];
        for (_, plot) in self.plots()? {
            report.plots.push(plot.to_svg()?);
        }
        for id in self.first().photographs.keys() {
            report.gallery.push(self.gallery_item(id)?);
        }
        Ok(report)
    }

    fn first(&self) -> &RunRecord {
        &self.runs[0].record
    }

    fn shown(&self) -> &Run {
        &self.runs[self.shown]
    }

    fn facts(&self) -> Vec<(String, String)> {
        let photographs = ("Photographs".to_string(), self.first().photographs.len().to_string());
        if let [run] = self.runs {
            let record = &run.record;
            let mut facts = vec![
                photographs,
                ("Weights".into(), record.weights.clone()),
                ("Filters".into(), record.filters.clone()),
                ("Dialect".into(), record.config.dialect.to_string()),
                ("Fixes".into(), record.config.fixes.to_string()),
                ("Parameters".into(), record.parameters.to_string()),
                ("Time".into(), time(record)),
            ];
            if let Some(training) = &run.training {
                facts.push(("Epochs".into(), training.epochs.len().to_string()));
                facts.push(("Seed".into(), training.config.seed.to_string()));
            }
            return facts;
        }
        let fact = |run: &Run| {
            let epochs = run.training.as_ref().map_or(String::new(), |training| {
                format!(", {} epochs, seed {}", training.epochs.len(), training.config.seed)
            });
            let RunRecord { filters, parameters, .. } = &run.record;
            let text = format!("{filters}, {parameters} parameters{epochs}, {}", time(&run.record));
            (run.label.clone(), text)
        };
        std::iter::once(photographs).chain(self.runs.iter().map(fact)).collect()
    }

    pub fn table(&self) -> Result<Table> {
        let first = self.first();
        let size = |photograph: &RecordedPhotograph| Size {
            width: photograph.width,
            height: photograph.height,
        };
        let sizes: Vec<Size> = first.photographs.values().map(size).collect();
        let caption = Caption {
            protocol: first.protocol.clone(),
            split: first.split.clone(),
            images: first.scores.len(),
            resolution: resolution(&sizes),
            notes: self.notes.clone(),
        };
        let mut table = Table::new(&self.title, caption, first.scores.metrics().to_vec());
        table.push_scores(INPUT, &first.input_scores)?;
        for run in self.runs {
            let row = table.push_scores(&run.label, &run.record.scores)?;
            row.with_parameters(run.record.parameters as u64);
            // Times of several runs were not taken side by side.
            if self.runs.len() == 1 {
                row.with_seconds_per_image(run.record.seconds_per_photograph);
            }
        }
        // Results under the same protocol only: others could not be compared.
        table.push_published(published_results(&first.protocol)?);
        Ok(table)
    }

    /// The metric of plots, by its key.
    fn metric(&self) -> Result<Metric> {
        // Selecting one image checks the key and names those there are.
        select_images(&self.shown().record.scores, &self.metric, 1)?;
        let metrics = self.shown().record.scores.metrics();
        let found = metrics.iter().find(|metric| metric.key == self.metric.as_str());
        Ok(found.cloned().unwrap_or_else(|| metrics[0].clone()))
    }

    /// The plots there is something to draw for, by the names of their files.
    fn plots(&self) -> Result<Vec<(&'static str, Box<dyn Plot>)>> {
        let metric = self.metric()?;
        let mut plots: Vec<(&'static str, Box<dyn Plot>)> = Vec::new();
        if self.runs.len() > 1 {
            let bars = self.bars(&metric);
            // Where every image equals its target, PSNR is infinite and has no bars.
            if !bars.bars.is_empty() {
                plots.push(("ablation", Box::new(bars)));
            }
            let scatter = self.scatter(&metric);
            if scatter.points.iter().any(|point| point.x.is_finite() && point.y.is_finite()) {
                plots.push(("scatter", Box::new(scatter)));
            }
        }
        if let Some(histogram) = self.histogram(&metric) {
            plots.push(("histogram", Box::new(histogram)));
        }
        for (name, curves) in self.training_curves() {
            plots.push((name, Box::new(curves)));
        }
        Ok(plots)
    }

    /// The mean of every run with its interval over the photographs, the shown one dark.
    fn bars(&self, metric: &Metric) -> Bars {
        let bar = |label: &str, scores: &Scores| {
            let bar = Bar::new(label, scores.mean_of(&metric.key)?);
            Some(match bootstrap_mean(&scores.column(&metric.key)?) {
                Some(Bootstrap { interval, .. }) => bar.with_interval(interval.low, interval.high),
                None => bar,
            })
        };
        let mut bars = Vec::from_iter(bar(INPUT, &self.first().input_scores));
        for (index, run) in self.runs.iter().enumerate() {
            bars.extend(
                bar(&run.label, &run.record.scores)
                    .map(|bar| if index == self.shown { bar.with_emphasis() } else { bar }),
            );
        }
        bars.retain(|bar| bar.value.is_finite());
        let intervals = if bars.iter().any(|bar| bar.whisker.is_some()) {
            ", 95 % intervals of the mean over photographs"
        } else {
            ""
        };
        Bars {
            title: format!("{} on {}{intervals}", metric.label, self.first().split),
            metric: metric.clone(),
            axis_from: None,
            bars,
        }
    }

    /// The shown run against the one before it, or after it if it is the first.
    fn scatter(&self, metric: &Metric) -> Scatter {
        let other = &self.runs[if self.shown == 0 { 1 } else { self.shown - 1 }];
        let shown = self.shown();
        let point = |id: &String| {
            let value = |run: &Run| run.record.scores.get(id, &metric.key);
            Some(ScatterPoint { id: id.clone(), x: value(other)?, y: value(shown)? })
        };
        Scatter {
            title: format!("{} against {}, photograph by photograph", shown.label, other.label),
            metric: metric.clone(),
            x_label: other.label.clone(),
            y_label: shown.label.clone(),
            points: self.first().photographs.keys().filter_map(point).collect(),
        }
    }

    fn histogram(&self, metric: &Metric) -> Option<Histogram> {
        let sample = |run: &Run| {
            let values = run.record.scores.column(&metric.key)?;
            Some(Sample { label: run.label.clone(), values })
        };
        let samples: Vec<Sample> = self.runs.iter().filter_map(sample).collect();
        let images = self.first().photographs.len();
        let drawable =
            samples.iter().flat_map(|sample| &sample.values).any(|value| value.is_finite());
        (images >= HISTOGRAM_IMAGES && drawable).then(|| Histogram {
            title: format!("{} of {images} photographs", metric.label),
            metric: metric.clone(),
            samples,
        })
    }

    /// Curves of runs that differ in their seed only are one curve with a band.
    fn training_curves(&self) -> Vec<(&'static str, Curves)> {
        let mut groups: Vec<(String, Vec<&Run>)> = Vec::new();
        for run in self.runs {
            let Some(training) = &run.training else { continue };
            let key = training.without_seed();
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, group)) => group.push(run),
                None => groups.push((key, vec![run])),
            }
        }
        type Points = Vec<(f64, f64)>;
        let curves = |title: &str, y_label: &str, log_y, of: fn(&Run) -> Points| {
            let series = groups
                .iter()
                .map(|(_, group)| {
                    let runs: Vec<Points> = group.iter().map(|run| of(run)).collect();
                    Series::over_seeds(group_label(group), &runs)
                })
                .filter(|series| !series.points.is_empty())
                .collect::<Vec<_>>();
            let banded = groups.iter().any(|(_, group)| group.len() > 1);
            let note = if banded { ", mean and one standard deviation over seeds" } else { "" };
            Curves {
                title: format!("{title}{note}"),
                x_label: "epoch".into(),
                y_label: y_label.into(),
                log_y,
                series,
            }
        };
        let loss = |run: &Run| -> Points {
            let epochs = run.training.iter().flat_map(|training| &training.epochs);
            // A loss of exactly 0 has no logarithm and becomes a gap.
            epochs.filter(|r| r.loss > 0.0).map(|r| (r.epoch as f64, r.loss)).collect()
        };
        let psnr = |run: &Run| -> Points {
            let epochs = run.training.iter().flat_map(|training| &training.epochs);
            epochs.filter_map(|r| Some((r.epoch as f64, r.valid_psnr?))).collect()
        };
        [
            ("training_loss", curves("Training loss", "loss, mean over the epoch", true, loss)),
            ("validation_psnr", curves("Validation PSNR", "PSNR (dB)", false, psnr)),
        ]
        .into_iter()
        .filter(|(_, curves)| !curves.series.is_empty())
        .collect()
    }

    fn gallery_item(&self, id: &str) -> Result<GalleryItem> {
        let first = &self.runs[0];
        let file = |run: &Run, picture| run.record.picture(&run.folder, id, picture);
        let mut item = GalleryItem::new(id).with_scored_picture(
            "input",
            file(first, Picture::Input)?,
            &first.record.input_scores,
        );
        for run in self.runs {
            let output = file(run, Picture::Output)?;
            item = item.with_scored_picture(&run.label, output, &run.record.scores);
        }
        item = item.with_picture("target", file(first, Picture::Target)?);
        for run in self.runs {
            item = item.with_picture(format!("error of {}", run.label), file(run, Picture::Error)?);
            if let Some(drawing) = run.record.drawing(id) {
                item = item.with_filters(&run.label, drawing);
            }
        }
        Ok(item)
    }

    /// Input, every run and target, sorted by the shown run.
    fn sheet(&self) -> Result<ContactSheet> {
        let metric = self.metric()?;
        let shown = self.shown();
        let first = &self.runs[0];
        let selected = select_images(&shown.record.scores, &self.metric, SHEET_ROWS)?;
        let all = first.photographs_len();
        let by = format!("{} of {}", metric.label, shown.label);
        let title = match selected.len() {
            some if some < all => format!("Best, median and worst by {by}"),
            _ => format!("Sorted by {by}"),
        };
        let mut columns = vec!["input".to_owned()];
        columns.extend(self.runs.iter().map(|run| run.label.clone()));
        columns.push("target".into());
        let mut sheet = ContactSheet::new(title, columns);
        for image in selected {
            let id = &image.id;
            let cell = |run: &Run, picture, value: Option<f64>| -> Result<SheetCell> {
                let caption = value.map_or(String::new(), |value| match &*metric.unit {
                    "" => format!("{} {}", metric.label, metric.format(value)),
                    unit => format!("{} {unit}", metric.format(value)),
                });
                Ok(SheetCell { image: run.record.pixels(&run.folder, id, picture)?, caption })
            };
            let input = first.record.input_scores.get(id, &metric.key);
            let mut cells = vec![cell(first, Picture::Input, input)?];
            for run in self.runs {
                cells.push(cell(run, Picture::Output, run.record.scores.get(id, &metric.key))?);
            }
            cells.push(cell(first, Picture::Target, None)?);
            sheet.rows.push(SheetRow { id: format!("{id}: {}", image.place), cells });
        }
        Ok(sheet)
    }
}

impl Run {
    fn photographs_len(&self) -> usize {
        self.record.photographs.len()
    }
}

fn time(record: &RunRecord) -> String {
    format!("{:.2} s a photograph", record.seconds_per_photograph)
}

/// The name of runs that differ in their seed: what their names have in common, or all of them.
fn group_label(group: &[&Run]) -> String {
    let names: Vec<&str> = group.iter().map(|run| run.label.as_str()).collect();
    let [first, others @ ..] = &names[..] else { return String::new() };
    if others.is_empty() {
        return (*first).to_owned();
    }
    let mut common = *first;
    while !others.iter().all(|other| other.starts_with(common)) {
        let end = common.char_indices().next_back().map_or(0, |(index, _)| index);
        common = &common[..end];
    }
    let common = common.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ')');
    let common = common.strip_suffix("seed").unwrap_or(common);
    let common = common.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ')');
    if common.is_empty() { names.join(", ") } else { format!("{common}, {} seeds", names.len()) }
}
