//! One page over several runs.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    ExperimentError, Result,
    methods::{Method, group},
    outputs::Outputs,
    runs::{find_runs, require_same_pairs},
};

/// More methods than this are counted in the title, not listed.
const TITLE_METHODS: usize = 4;

/// What to report on and where to put it.
#[derive(Clone, Debug)]
pub struct ReportRequest {
    /// Folders of trained runs, of evaluations, or of a recipe's results.
    pub runs: Vec<PathBuf>,
    /// The page; by default `report.html` in the folder of a single run, else here.
    pub out: Option<PathBuf>,
    /// A folder for the plots, as SVG and PNG, and the contact sheet; none without it.
    pub pictures: Option<PathBuf>,
    /// Key of the metric of plots and contact sheet.
    pub metric: String,
    /// Largest size of the page in bytes; the report's own limit without it.
    pub size_limit: Option<usize>,
    /// Where to enhance the validation pairs of a run that was never evaluated: `auto`, `cpu` or
    /// `cuda:N`.
    pub device: String,
}

/// Where a report was written and what is in it.
#[derive(Clone, Debug)]
pub struct ReportSummary {
    /// The page.
    pub out: PathBuf,
    /// Labels of the runs.
    pub runs: Vec<String>,
    /// Number of photographs.
    pub photographs: usize,
    /// Size of the page in bytes.
    pub bytes: u64,
}

impl fmt::Display for ReportSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |number: usize, what: &str| {
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        write!(
            f,
            "{}, {}, {:.1} MB: {}",
            count(self.runs.len(), "run"),
            count(self.photographs, "photograph"),
            self.bytes as f64 / 1e6,
            self.out.display()
        )
    }
}

/// Writes one self-contained page over all runs the folders hold: table, plots, and every
/// photograph with its pictures, scores and filters. `announce` is given one sentence at a time for
/// the user.
///
/// A trained run that was never evaluated is evaluated on its validation pairs first.
///
/// # Errors
/// A folder without a run, a damaged record, runs that were judged on different pairs, an unknown
/// metric, or a page that would be larger than the limit.
pub fn report(request: &ReportRequest, announce: &mut dyn FnMut(&str)) -> Result<ReportSummary> {
    let runs = find_runs(&request.runs, &request.device, announce)?;
    require_same_pairs(&runs)?;
    let labels: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
    let methods = group(runs);
    let Some(first) = methods.first() else {
        let path = PathBuf::from(".");
        return Err(ExperimentError::NoRun { path, reason: "no folder was given".into() });
    };
    let outputs = Outputs {
        title: match &methods[..] {
            [one] if one.runs.len() == 1 => format!("Run {}", one.label),
            [one] => one.label.clone(),
            [one, two] => format!("{} and {}", one.label, two.label),
            many if many.len() > TITLE_METHODS => format!("{} methods", many.len()),
            several => several.iter().map(|one| one.label.as_str()).collect::<Vec<_>>().join(", "),
        },
        notes: Vec::new(),
        methods: &methods,
        shown: best(&methods, &request.metric)?,
        metric: request.metric.clone(),
    };
    let out = match (&request.out, &request.runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [folder]) => folder.join("report.html"),
        (None, _) => Path::new("report.html").to_owned(),
    };
    let mut page = outputs.report()?;
    page.size_limit = request.size_limit.unwrap_or(page.size_limit);
    page.write(&out)?;
    if let Some(folder) = &request.pictures {
        outputs.write_pictures(folder)?;
    }
    let bytes = std::fs::metadata(&out).map_err(ExperimentError::io("read", &out))?.len();
    let photographs = first.first().record.photographs.len();
    Ok(ReportSummary { out, runs: labels, photographs, bytes })
}

/// The method whose mean is the best, the first of equal ones.
fn best(methods: &[Method], metric: &str) -> Result<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, method) in methods.iter().enumerate() {
        let scores = method.mean_scores()?;
        let direction = scores.metrics().iter().find(|m| m.key == metric).map(|m| m.direction);
        let (Some(direction), Some(mean)) = (direction, scores.mean_of(metric)) else { continue };
        if best.is_none_or(|(_, before)| direction.is_better(mean, before)) {
            best = Some((index, mean));
        }
    }
    Ok(best.map_or(0, |(index, _)| index))
}
