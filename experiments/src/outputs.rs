//! What runs leave to look at: tables, plots, contact sheet and report.

use std::path::Path;

use deeplpf_eval::{
    Caption, ContactSheet, GalleryItem, Metric, PairedTable, Report, Scores, SheetCell, SheetRow,
    Size, Table,
    plot::{Bar, Bars, Curves, Histogram, Plot, Sample, Scatter, ScatterPoint, Series},
    published::published_results,
    resolution, select_images,
    statistics::{Bootstrap, bootstrap_mean},
};

use crate::{
    Result,
    fivek::published_under,
    methods::Method,
    record::{Picture, RecordedPhotograph, RunRecord},
    runs::Run,
    words::counted,
};

/// Rows of a contact sheet: the best, those around the median, and the worst.
const SHEET_ROWS: usize = 12;
/// Fewest photographs whose spread a histogram shows.
const HISTOGRAM_IMAGES: usize = 10;
/// The row of the unchanged inputs.
pub(crate) const INPUT: &str = "input, unchanged";

/// Everything that is said about some methods, which were judged on the same pairs.
pub(crate) struct Outputs<'a> {
    pub title: String,
    /// Sentences under the table.
    pub notes: Vec<String>,
    /// At least one.
    pub methods: &'a [Method],
    /// Index of the method that is emphasised and sorts the contact sheet.
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
        if let Some(differences) = self.differences(&table.caption)? {
            for extension in ["md", "csv", "tex", "json"] {
                differences.write(&out.join(format!("differences.{extension}")))?;
            }
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
        let table = self.table()?;
        report.differences = self.differences(&table.caption)?;
        report.tables = vec![table];
        for (_, plot) in self.plots()? {
            report.plots.push(plot.to_svg()?);
        }
        for id in self.first().photographs.keys() {
            report.gallery.push(self.gallery_item(id)?);
        }
        Ok(report)
    }

    /// Every pair of methods, in every metric that all have.
    fn differences(&self, caption: &Caption) -> Result<Option<PairedTable>> {
        if self.methods.len() < 2 {
            return Ok(None);
        }
        let methods: Vec<(String, Vec<Scores>)> =
            self.methods.iter().map(|method| (method.label.clone(), method.scores())).collect();
        let metrics = PairedTable::common_metrics(&methods);
        let title = "Differences between methods, photograph by photograph";
        // What else there is to say stands under the table of the means.
        let caption = Caption { notes: Vec::new(), ..caption.clone() };
        Ok(Some(PairedTable::new(title, caption, metrics, &methods, None)?))
    }

    fn first(&self) -> &RunRecord {
        &self.methods[0].first().record
    }

    fn shown(&self) -> &Method {
        &self.methods[self.shown]
    }

    fn facts(&self) -> Vec<(String, String)> {
        let photographs = ("Photographs".to_string(), self.first().photographs.len().to_string());
        if let [method] = self.methods {
            let run = method.first();
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
            }
            facts.extend(method.seeds().map(|seeds| ("Trained with".into(), seeds)));
            return facts;
        }
        let fact = |method: &Method| {
            let run = method.first();
            let epochs = run.training.as_ref().map_or(String::new(), |training| {
                format!(", {}", counted(training.epochs.len() as u64, "epoch"))
            });
            let seeds = method.seeds().map_or(String::new(), |seeds| format!(", {seeds}"));
            let RunRecord { filters, parameters, .. } = &run.record;
            let time = time(&run.record);
            let text = format!("{filters}, {parameters} parameters{epochs}{seeds}, {time}");
            (method.label.clone(), text)
        };
        std::iter::once(photographs).chain(self.methods.iter().map(fact)).collect()
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
            published_under: published_under(first).map_or(String::new(), str::to_owned),
            split: first.split.clone(),
            images: first.scores.len(),
            resolution: resolution(&sizes),
            notes: self.notes.clone(),
        };
        let published = published_results(caption.published_protocol())?;
        let mut table = Table::new(&self.title, caption, first.scores.metrics().to_vec());
        table.push_scores(INPUT, &first.input_scores)?;
        for method in self.methods {
            let record = &method.first().record;
            let row = table.push_seeds(&method.label, &method.scores())?;
            row.with_parameters(record.parameters as u64)
                .with_seconds_per_image(record.seconds_per_photograph);
        }
        // Results under the same protocol only: others could not be compared.
        table.push_published(published);
        Ok(table)
    }

    /// The metric of plots, by its key.
    fn metric(&self) -> Result<Metric> {
        // Selecting one image checks the key and names those there are.
        let scores = &self.shown().first().record.scores;
        select_images(scores, &self.metric, 1)?;
        let metrics = scores.metrics();
        let found = metrics.iter().find(|metric| metric.key == self.metric.as_str());
        Ok(found.cloned().unwrap_or_else(|| metrics[0].clone()))
    }

    /// The plots there is something to draw for, by the names of their files.
    fn plots(&self) -> Result<Vec<(&'static str, Box<dyn Plot>)>> {
        let metric = self.metric()?;
        let mut plots: Vec<(&'static str, Box<dyn Plot>)> = Vec::new();
        if self.methods.len() > 1 {
            let bars = self.bars(&metric)?;
            // Where every image equals its target, PSNR is infinite and has no bars.
            if !bars.bars.is_empty() {
                plots.push(("ablation", Box::new(bars)));
            }
            let scatter = self.scatter(&metric)?;
            if scatter.points.iter().any(|point| point.x.is_finite() && point.y.is_finite()) {
                plots.push(("scatter", Box::new(scatter)));
            }
        }
        if let Some(histogram) = self.histogram(&metric)? {
            plots.push(("histogram", Box::new(histogram)));
        }
        for (name, curves) in self.training_curves() {
            plots.push((name, Box::new(curves)));
        }
        Ok(plots)
    }

    /// The mean of every method with its interval over the photographs, the shown one dark.
    fn bars(&self, metric: &Metric) -> Result<Bars> {
        let bar = |label: &str, scores: &Scores| {
            let bar = Bar::new(label, scores.mean_of(&metric.key)?);
            Some(match bootstrap_mean(&scores.column(&metric.key)?) {
                Some(Bootstrap { interval, .. }) => bar.with_interval(interval.low, interval.high),
                None => bar,
            })
        };
        let mut bars = Vec::from_iter(bar(INPUT, &self.first().input_scores));
        for (index, method) in self.methods.iter().enumerate() {
            bars.extend(
                bar(&method.label, &method.mean_scores()?)
                    .map(|bar| if index == self.shown { bar.with_emphasis() } else { bar }),
            );
        }
        bars.retain(|bar| bar.value.is_finite());
        let intervals = if bars.iter().any(|bar| bar.whisker.is_some()) {
            ", 95 % intervals of the mean over photographs"
        } else {
            ""
        };
        Ok(Bars {
            title: format!("{} on {}{intervals}", metric.label, self.first().split),
            metric: metric.clone(),
            axis_from: None,
            bars,
        })
    }

    /// The shown method against the one before it, or after it if it is the first; over seeds by
    /// the mean.
    fn scatter(&self, metric: &Metric) -> Result<Scatter> {
        let other = &self.methods[if self.shown == 0 { 1 } else { self.shown - 1 }];
        let shown = self.shown();
        let (x, y) = (other.mean_scores()?, shown.mean_scores()?);
        let point = |id: &String| {
            let (x, y) = (x.get(id, &metric.key)?, y.get(id, &metric.key)?);
            Some(ScatterPoint { id: id.clone(), x, y })
        };
        Ok(Scatter {
            title: format!("{} against {}, photograph by photograph", shown.label, other.label),
            metric: metric.clone(),
            x_label: other.label.clone(),
            y_label: shown.label.clone(),
            points: self.first().photographs.keys().filter_map(point).collect(),
        })
    }

    fn histogram(&self, metric: &Metric) -> Result<Option<Histogram>> {
        let mut samples = Vec::new();
        for method in self.methods {
            if let Some(values) = method.mean_scores()?.column(&metric.key) {
                samples.push(Sample { label: method.label.clone(), values });
            }
        }
        let images = self.first().photographs.len();
        let drawable =
            samples.iter().flat_map(|sample| &sample.values).any(|value| value.is_finite());
        Ok((images >= HISTOGRAM_IMAGES && drawable).then(|| Histogram {
            title: format!("{} of {images} photographs", metric.label),
            metric: metric.clone(),
            samples,
        }))
    }

    /// A curve for each method; one of several seeds has a band.
    fn training_curves(&self) -> Vec<(&'static str, Curves)> {
        type Points = Vec<(f64, f64)>;
        let curves = |title: &str, y_label: &str, log_y, of: fn(&Run) -> Points| {
            let series = self
                .methods
                .iter()
                .map(|method| {
                    let runs: Vec<Points> =
                        method.runs.iter().map(of).filter(|points| !points.is_empty()).collect();
                    Series::over_seeds(&method.label, &runs)
                })
                .filter(|series| !series.points.is_empty())
                .collect::<Vec<_>>();
            let banded = self.methods.iter().any(|method| method.runs.len() > 1);
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
        let first = self.methods[0].first();
        let file = |run: &Run, picture| run.record.picture(&run.folder, id, picture);
        let mut item = GalleryItem::new(id).with_scored_picture(
            "input",
            file(first, Picture::Input)?,
            &first.record.input_scores,
        );
        for method in self.methods {
            let run = method.first();
            let output = file(run, Picture::Output)?;
            item = item.with_scored_picture(method.picture_label(), output, &run.record.scores);
        }
        item = item.with_picture("target", file(first, Picture::Target)?);
        for method in self.methods {
            let (run, label) = (method.first(), method.picture_label());
            item = item.with_picture(format!("error of {label}"), file(run, Picture::Error)?);
            if let Some(drawing) = run.record.drawing(id) {
                item = item.with_filters(label, drawing);
            }
        }
        Ok(item)
    }

    /// Input, every method and target, sorted by the shown method.
    fn sheet(&self) -> Result<ContactSheet> {
        let metric = self.metric()?;
        let shown = self.shown();
        let first = self.methods[0].first();
        let selected = select_images(&shown.first().record.scores, &self.metric, SHEET_ROWS)?;
        let all = first.record.photographs.len();
        let by = format!("{} of {}", metric.label, shown.picture_label());
        let title = match selected.len() {
            some if some < all => format!("Best, median and worst by {by}"),
            _ => format!("Sorted by {by}"),
        };
        let mut columns = vec!["input".to_owned()];
        columns.extend(self.methods.iter().map(Method::picture_label));
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
            for run in self.methods.iter().map(Method::first) {
                cells.push(cell(run, Picture::Output, run.record.scores.get(id, &metric.key))?);
            }
            cells.push(cell(first, Picture::Target, None)?);
            sheet.rows.push(SheetRow { id: format!("{id}: {}", image.place), cells });
        }
        Ok(sheet)
    }
}

fn time(record: &RunRecord) -> String {
    format!("{:.2} s a photograph", record.seconds_per_photograph)
}
