//! Tables of differences: pairs of methods, image by image.

use std::path::Path;

use serde_json::{Value, json};

use super::csv::csv_line;
use super::row::first_difference;
use super::{Caption, latex, markdown};
use crate::atomic_file;
use crate::error::{EvalError, Result};
use crate::metrics::Metric;
use crate::report::escape_html;
use crate::scores::Scores;
use crate::statistics::{CONFIDENCE, LEVEL, PairedDifference, RESAMPLES, Verdict, adjust_together};

/// Differences between methods measured on the same images, each with its interval, its p values
/// and the word whether it is one. All differences of one metric are one family for Holm's
/// correction.
#[derive(Clone, Debug)]
pub struct PairedTable {
    /// Title.
    pub title: String,
    /// What was measured.
    pub caption: Caption,
    metrics: Vec<Metric>,
    rows: Vec<Pair>,
}

#[derive(Clone, Debug)]
struct Pair {
    metric: usize,
    a: String,
    b: String,
    difference: PairedDifference,
}

impl PairedTable {
    /// Compares every method with the one called `baseline`, or every pair where none is given,
    /// in every metric. A method's several scores are those of its seeds, averaged per image.
    ///
    /// # Errors
    /// [`EvalError::OtherImages`] where methods were measured on different images;
    /// [`EvalError::NoSuchMethod`] for a baseline that is none of them;
    /// [`EvalError::MetricNotMeasured`] for a metric that some scores lack.
    pub fn new(
        title: impl Into<String>,
        caption: Caption,
        metrics: Vec<Metric>,
        methods: &[(String, Vec<Scores>)],
        baseline: Option<&str>,
    ) -> Result<Self> {
        check_images(methods)?;
        let pairs = pairs(methods, baseline)?;
        let mut rows = Vec::new();
        for (index, metric) in metrics.iter().enumerate() {
            let values: Vec<Vec<f64>> =
                methods.iter().map(|method| per_image(method, metric)).collect::<Result<_>>()?;
            let mut family = Vec::new();
            for &(a, b) in &pairs {
                family.push(Pair {
                    metric: index,
                    a: methods[a].0.clone(),
                    b: methods[b].0.clone(),
                    difference: PairedDifference::new(metric.direction, &values[a], &values[b])?,
                });
            }
            let mut differences: Vec<_> =
                family.iter_mut().map(|pair| &mut pair.difference).collect();
            adjust_together(&mut differences);
            rows.extend(family);
        }
        Ok(Self { title: title.into(), caption, metrics, rows })
    }

    /// The metrics that all methods were measured in, in the order of the first's scores: those
    /// with equal keys, names and directions.
    pub fn common_metrics(methods: &[(String, Vec<Scores>)]) -> Vec<Metric> {
        let mut scores = methods.iter().flat_map(|(_, seeds)| seeds);
        let Some(first) = scores.next() else { return Vec::new() };
        let others: Vec<&Scores> = scores.collect();
        let in_all = |metric: &&Metric| others.iter().all(|other| other.metrics().contains(metric));
        first.metrics().iter().filter(in_all).cloned().collect()
    }

    /// Every difference: metric, name of A, name of B, A - B.
    pub fn differences(&self) -> impl Iterator<Item = (&Metric, &str, &str, &PairedDifference)> {
        self.rows.iter().map(|pair| {
            (&self.metrics[pair.metric], pair.a.as_str(), pair.b.as_str(), &pair.difference)
        })
    }

    /// Markdown: a table per metric, then what the columns mean.
    pub fn to_markdown(&self) -> String {
        let mut lines = vec![format!("### {}", markdown::escape(&self.title))];
        for (index, metric) in self.metrics.iter().enumerate() {
            let heading = markdown::escape(&metric.heading());
            lines.extend([String::new(), format!("{heading}, A − B"), String::new()]);
            lines.push(markdown::line(HEADINGS.iter().map(|heading| (*heading).to_owned())));
            lines.push("|---|---|---:|---:|---:|---:|---|".into());
            for pair in self.rows.iter().filter(|pair| pair.metric == index) {
                let cells = pair.cells(metric).map(|cell| markdown::escape(&cell));
                lines.push(markdown::line(cells.into_iter()));
            }
        }
        for text in self.explanations() {
            lines.extend([String::new(), markdown::escape(&text)]);
        }
        lines.join("\n") + "\n"
    }

    /// LaTeX in the style of `booktabs`, one `tabular` for all metrics.
    pub fn to_latex(&self) -> String {
        let mut lines = vec![
            "% needs \\usepackage{booktabs}".to_owned(),
            "\\begin{table}".into(),
            "\\centering".into(),
            "\\begin{tabular}{llrrrrl}".into(),
            "\\toprule".into(),
            latex::line(HEADINGS.iter().map(|heading| latex::escape(heading))),
        ];
        for (index, metric) in self.metrics.iter().enumerate() {
            lines.push("\\midrule".into());
            let heading = latex::escape(&metric.heading());
            lines.push(format!("\\multicolumn{{7}}{{l}}{{{heading}}} \\\\"));
            for pair in self.rows.iter().filter(|pair| pair.metric == index) {
                let cells = pair.cells(metric).map(|cell| latex::escape(&cell));
                lines.push(latex::line(cells.into_iter()));
            }
        }
        lines.extend(["\\bottomrule", "\\end{tabular}"].map(str::to_owned));
        let mut caption = vec![format!("{}.", latex::escape(&self.title))];
        caption.extend(self.explanations().iter().map(|text| latex::escape(text)));
        lines.push(format!("\\caption{{{}}}", caption.join(" ")));
        lines.push("\\end{table}".into());
        lines.join("\n") + "\n"
    }

    /// CSV in full precision, a line per metric and pair.
    pub fn to_csv(&self) -> String {
        let header = [
            "metric",
            "a",
            "b",
            "images",
            "difference",
            "low",
            "high",
            "wins",
            "losses",
            "ties",
            "p_bootstrap",
            "p_bootstrap_holm",
            "p_wilcoxon",
            "p_wilcoxon_holm",
            "verdict",
        ];
        let mut csv = csv_line(header.into_iter());
        for (metric, a, b, d) in self.differences() {
            let number = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
            let interval = d.bootstrap.map(|bootstrap| bootstrap.interval);
            let cells = [
                metric.key.to_string(),
                a.to_owned(),
                b.to_owned(),
                d.images.to_string(),
                d.mean.to_string(),
                number(interval.map(|interval| interval.low)),
                number(interval.map(|interval| interval.high)),
                d.wins.to_string(),
                d.losses.to_string(),
                d.ties().to_string(),
                number(d.bootstrap.map(|bootstrap| bootstrap.p)),
                number(d.adjusted.0),
                d.wilcoxon.p.to_string(),
                d.adjusted.1.to_string(),
                key(d.verdict()).to_owned(),
            ];
            csv.push_str(&csv_line(cells.iter().map(String::as_str)));
        }
        csv
    }

    /// The same as JSON, with the caption.
    ///
    /// # Errors
    /// [`EvalError::Json`], which valid tables do not cause.
    pub fn to_json(&self) -> Result<String> {
        let differences: Vec<Value> = self
            .differences()
            .map(|(metric, a, b, d)| {
                json!({
                    "metric": metric.key,
                    "a": a,
                    "b": b,
                    "images": d.images,
                    // JSON has no infinity and no NaN: null.
                    "difference": d.mean,
                    "interval": d.bootstrap.map(|bootstrap| bootstrap.interval),
                    "wins": d.wins,
                    "losses": d.losses,
                    "ties": d.ties(),
                    "p_bootstrap": d.bootstrap.map(|bootstrap| bootstrap.p),
                    "p_bootstrap_holm": d.adjusted.0,
                    "p_wilcoxon": d.wilcoxon.p,
                    "p_wilcoxon_holm": d.adjusted.1,
                    "verdict": key(d.verdict()),
                })
            })
            .collect();
        let table = json!({
            "title": self.title,
            "caption": self.caption,
            "metrics": self.metrics,
            "differences": differences,
        });
        Ok(serde_json::to_string_pretty(&table)? + "\n")
    }

    /// A `<details>` element with one table for all metrics, open where it has few lines; every text
    /// is escaped.
    pub fn to_html(&self) -> String {
        let open = if self.rows.len() <= OPEN_ROWS { " open" } else { "" };
        let mut html = format!(
            "<details class=\"differences\"{open}>\n<summary>{}</summary>\n\
             <figure class=\"table\">\n<div class=\"scroll\"><table>\n<thead><tr>",
            escape_html(&self.title)
        );
        for heading in std::iter::once("Metric").chain(HEADINGS) {
            html.push_str(&format!("<th scope=\"col\">{heading}</th>"));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for pair in &self.rows {
            let metric = &self.metrics[pair.metric];
            html.push_str(&format!(
                "<tr><th scope=\"row\">{}</th>",
                escape_html(&metric.heading())
            ));
            for (index, cell) in pair.cells(metric).iter().enumerate() {
                let cell = escape_html(cell);
                // Signs and intervals would not sort as numbers.
                html.push_str(&match index {
                    2 => format!("<td data-value=\"{}\">{cell}</td>", pair.difference.mean),
                    _ => format!("<td>{cell}</td>"),
                });
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n</table></div>\n<figcaption>");
        for line in self.explanations() {
            html.push_str(&format!("<p>{}</p>", escape_html(&line)));
        }
        html.push_str("</figcaption>\n</figure>\n</details>\n");
        html
    }

    /// Writes the table in the format of the extension: `md`, `csv`, `tex` (booktabs) or `json`.
    ///
    /// # Errors
    /// [`EvalError::UnknownFormat`], [`EvalError::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => self.to_markdown(),
            Some("csv") => self.to_csv(),
            Some("tex") => self.to_latex(),
            Some("json") => self.to_json()?,
            _ => {
                let expected = ".md, .csv, .tex or .json";
                return Err(EvalError::UnknownFormat { path: path.to_owned(), expected });
            }
        };
        atomic_file::write(path, text.as_bytes())
    }

    fn explanations(&self) -> Vec<String> {
        let family = self.rows.len() / self.metrics.len().max(1);
        let percent = 100.0 * CONFIDENCE;
        let mut lines = vec![self.caption.facts()];
        let definitions: Vec<_> = self
            .metrics
            .iter()
            .filter(|metric| metric.label != metric.name)
            .map(|metric| format!("{}: {}", metric.label, metric.name))
            .collect();
        if !definitions.is_empty() {
            lines.push(format!("{}.", definitions.join("; ")));
        }
        lines.push(format!(
            "A − B: mean difference over the images, in brackets its {percent}% paired bootstrap \
             interval ({RESAMPLES} resamples). Wins: images on which A is better / worse / equal. \
             p: two-sided, of the paired bootstrap and of Wilcoxon's signed-rank test, after \
             Holm's correction over the {family} {} of each metric. A is called better or worse \
             where both are below {LEVEL} and agree in sign; otherwise no difference is shown, \
             which does not mean that there is none.",
            if family == 1 { "comparison" } else { "comparisons" }
        ));
        lines.extend(self.caption.notes.iter().cloned());
        lines
    }
}

/// More lines than this are folded away in a page.
const OPEN_ROWS: usize = 24;

const HEADINGS: [&str; 7] = ["A", "B", "A − B", "Wins", "p bootstrap", "p Wilcoxon", "A is"];

impl Pair {
    fn cells(&self, metric: &Metric) -> [String; 7] {
        let d = &self.difference;
        let signed = |value: f64| {
            let text = metric.format(value.abs());
            // A value that prints as zero has no sign.
            let zero = text.chars().all(|character| matches!(character, '0' | '.'));
            match () {
                () if value.is_nan() => "–".to_owned(),
                () if zero => text,
                () if value < 0.0 => format!("−{text}"),
                () => format!("+{text}"),
            }
        };
        let interval = d.bootstrap.map_or(String::new(), |bootstrap| {
            let interval = bootstrap.interval;
            format!(" [{}, {}]", signed(interval.low), signed(interval.high))
        });
        [
            self.a.clone(),
            self.b.clone(),
            format!("{}{interval}", signed(d.mean)),
            format!("{} / {} / {}", d.wins, d.losses, d.ties()),
            d.adjusted.0.map_or("–".to_owned(), probability),
            probability(d.adjusted.1),
            word(d.verdict()).to_owned(),
        ]
    }
}

fn probability(p: f64) -> String {
    if p < 1e-3 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided => "no difference shown",
    }
}

fn key(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided => "undecided",
    }
}

fn ids(scores: &Scores) -> Vec<String> {
    scores.images().map(|(id, _)| id.to_owned()).collect()
}

fn check_images(methods: &[(String, Vec<Scores>)]) -> Result<()> {
    let mut all = methods.iter().flat_map(|(name, seeds)| seeds.iter().map(move |s| (name, s)));
    let Some((_, first)) = all.next() else { return Ok(()) };
    let first = ids(first);
    for (name, scores) in all {
        if let Some(id) = first_difference(&first, &ids(scores)) {
            return Err(EvalError::OtherImages { method: name.clone(), id });
        }
    }
    Ok(())
}

/// Indices of the methods to compare.
fn pairs(methods: &[(String, Vec<Scores>)], baseline: Option<&str>) -> Result<Vec<(usize, usize)>> {
    let Some(baseline) = baseline else {
        let last = methods.len();
        return Ok((0..last).flat_map(|a| (a + 1..last).map(move |b| (a, b))).collect());
    };
    let Some(base) = methods.iter().position(|(name, _)| name == baseline) else {
        let known = methods.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
        return Err(EvalError::NoSuchMethod { method: baseline.to_owned(), known });
    };
    Ok((0..methods.len()).filter(|&method| method != base).map(|a| (a, base)).collect())
}

/// Values of one metric by image, mean over seeds.
fn per_image((name, seeds): &(String, Vec<Scores>), metric: &Metric) -> Result<Vec<f64>> {
    let columns: Option<Vec<Vec<f64>>> =
        seeds.iter().map(|scores| scores.column(&metric.key)).collect();
    let Some(columns) = columns else {
        return Err(EvalError::MetricNotMeasured {
            method: name.clone(),
            metric: metric.key.to_string(),
        });
    };
    let images = columns.first().map_or(0, Vec::len);
    let mean = |image: usize| {
        columns.iter().map(|values| values[image]).sum::<f64>() / columns.len() as f64
    };
    Ok((0..images).map(mean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::psnr_scores;

    fn methods() -> Vec<(String, Vec<Scores>)> {
        vec![
            ("first".into(), vec![psnr_scores(24.0, 0.5)]),
            ("near".into(), vec![psnr_scores(23.99, -0.4)]),
            ("worse|_".into(), vec![psnr_scores(22.0, 0.3), psnr_scores(22.2, 0.1)]),
        ]
    }

    fn table(baseline: Option<&str>) -> Result<PairedTable> {
        let methods = methods();
        let metrics = PairedTable::common_metrics(&methods);
        let caption = Caption { images: 40, ..Caption::default() };
        PairedTable::new("Differences", caption, metrics, &methods, baseline)
    }

    #[test]
    fn every_pair_is_compared_and_judged() {
        let table = table(None).unwrap();
        let found: Vec<_> = table.differences().map(|(_, a, b, d)| (a, b, d.verdict())).collect();
        let expected = [
            ("first", "near", Verdict::Undecided),
            ("first", "worse|_", Verdict::Better),
            ("near", "worse|_", Verdict::Better),
        ];
        assert_eq!(found, expected);
        let markdown = table.to_markdown();
        assert!(markdown.contains("| first | worse\\|\\_ | +1.9"), "{markdown}");
        assert!(markdown.contains("| 40 / 0 / 0 | \\<0.001 | \\<0.001 | better |"), "{markdown}");
        assert!(markdown.contains("| no difference shown |"), "{markdown}");
        assert!(markdown.contains("over the 3 comparisons"), "{markdown}");
        let csv = table.to_csv();
        assert!(csv.lines().nth(2).unwrap().starts_with("psnr,first,worse|_,40,1.89"), "{csv}");
        let json: Value = serde_json::from_str(&table.to_json().unwrap()).unwrap();
        assert_eq!(json["differences"][1]["verdict"], "better");
        let html = table.to_html();
        assert!(html.contains("<td>first</td><td>worse|_</td><td data-value=\"1.89"), "{html}");
        assert!(
            html.contains("<td>better</td>")
                && html.contains("<details class=\"differences\" open>")
        );
        assert!(table.to_latex().contains("first & worse$|$\\_ & +1.9"), "{}", table.to_latex());
    }

    #[test]
    fn a_baseline_is_compared_with_the_others_only() {
        let table = table(Some("near")).unwrap();
        let found: Vec<_> = table.differences().map(|(_, a, b, _)| (a, b)).collect();
        assert_eq!(found, [("first", "near"), ("worse|_", "near")]);
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let error = table(Some("nobody")).unwrap_err().to_string();
        assert!(error.contains("`nobody`") && error.contains("first, near"), "{error}");
        let mut methods = methods();
        let metrics = PairedTable::common_metrics(&methods);
        let mut fewer = Scores::new(metrics.clone());
        fewer.insert(crate::scores::ImageScores { id: "a00".into(), values: vec![1.0] }).unwrap();
        methods[1].1 = vec![fewer];
        let caption = Caption::default();
        let error = PairedTable::new("x", caption, metrics, &methods, None).unwrap_err();
        assert!(error.to_string().contains("`near`"), "{error}");
        assert!(error.to_string().contains("`a01`"), "{error}");
    }
}
