//! Finished evaluations side by side, image by image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use deeplpf_eval::metrics::{METRIC_KEYS, Metric};
use deeplpf_eval::published::{all_published_results, published_results};
use deeplpf_eval::{Caption, EvalError, PairedTable, Scores, Table};
use serde::Deserialize;

use crate::{
    ExperimentError, Result,
    fivek::{published_name, published_under},
    outputs::INPUT,
    recipe::without_seed,
    record::{RunRecord, has_record},
    runs::other_inputs,
};

/// The baseline that stands for the inputs themselves: what doing nothing gets.
pub const INPUT_BASELINE: &str = "input";

/// What to compare.
#[derive(Clone, Debug, Default)]
pub struct CompareRequest {
    /// Folders of `deeplpf eval` or `deeplpf reproduce`, runs of the latter, or files of scores,
    /// each perhaps with a label in front: `LABEL=PATH`. Those of one label are seeds of one
    /// method.
    pub runs: Vec<String>,
    /// Keys of the metrics; empty: those all runs have.
    pub metrics: Vec<String>,
    /// The label every other method is compared with, or [`INPUT_BASELINE`] for the unchanged
    /// inputs; without it every pair is compared.
    pub baseline: Option<String>,
    /// Whether published results under other protocols are shown too, labelled not comparable.
    pub all_published: bool,
}

/// Methods and their differences.
#[derive(Clone, Debug)]
pub struct CompareSummary {
    /// Each method's means, with intervals.
    pub table: Table,
    /// Their differences, each with the word whether it is one.
    pub differences: PairedTable,
}

impl CompareSummary {
    /// Writes `table` and `differences` as `.md`, `.csv`, `.tex` and `.json` into a folder, which
    /// is made if it is missing.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        for extension in ["md", "csv", "tex", "json"] {
            self.table.write(&out.join(format!("table.{extension}")))?;
            self.differences.write(&out.join(format!("differences.{extension}")))?;
        }
        Ok(())
    }
}

/// The scores of one run.
struct Run {
    label: String,
    scores: Scores,
    /// The record of the evaluation, where there is one.
    record: Option<RunRecord>,
    /// What the table beside the scores says they are; `None` where there is no table.
    caption: Option<Caption>,
}

/// Compares evaluations image by image.
///
/// # Errors
/// A run without scores, or with scores of only some of its images; runs of different images,
/// protocols, splits or sizes; fewer than two methods.
pub fn compare(request: &CompareRequest) -> Result<CompareSummary> {
    let mut runs = Vec::new();
    for run in &request.runs {
        runs.extend(find(run)?);
    }
    let mut caption = common_caption(&runs)?;
    // By the pictures compared: a table beside the scores may be of others.
    let name = runs.first().and_then(|run| match &run.record {
        Some(record) => published_under(record),
        None => published_name(&caption.protocol, run.scores.images().map(|(id, _)| id)),
    });
    caption.published_under = name.map_or(String::new(), str::to_owned);
    let input = input_scores(&runs)?;
    let mut recorded: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    let mut methods: Vec<(String, Vec<Scores>)> = Vec::new();
    for run in runs {
        if let Some(record) = &run.record {
            recorded
                .entry(run.label.clone())
                .or_insert((record.parameters as u64, record.seconds_per_photograph));
        }
        match methods.iter_mut().find(|(label, _)| *label == run.label) {
            Some((_, seeds)) => seeds.push(run.scores),
            None => methods.push((run.label, vec![run.scores])),
        }
    }
    let against_input = request.baseline.as_deref() == Some(INPUT_BASELINE)
        && methods.iter().all(|(label, _)| label != INPUT_BASELINE);
    if let ([(method, _)], false) = (methods.as_slice(), against_input) {
        return Err(ExperimentError::OneMethod { method: method.clone() });
    }
    let metrics = choose(&request.metrics, &methods)?;
    let title = |what: &str| match methods.len() {
        1 => format!("{what} of one method"),
        count => format!("{what} of {count} methods"),
    };
    let compared = match (against_input, &input) {
        (true, Some(input)) => {
            let mut all = methods.clone();
            all.push((INPUT.to_owned(), vec![input.clone()]));
            all
        }
        (true, None) => return Err(ExperimentError::NoInputScores),
        (false, _) => methods.clone(),
    };
    let baseline = if against_input { Some(INPUT) } else { request.baseline.as_deref() };
    let differences = PairedTable::new(
        title("Differences"),
        caption.clone(),
        metrics.clone(),
        &compared,
        baseline,
    )?;
    let published = match request.all_published {
        true => all_published_results()?,
        false => published_results(caption.published_protocol())?,
    };
    let mut table = Table::new(title("Means"), caption, metrics);
    if let Some(input) = &input {
        table.push_scores(INPUT, input)?;
    }
    for (label, seeds) in &methods {
        let row = table.push_seeds(label, seeds)?;
        if let Some(&(parameters, seconds)) = recorded.get(label) {
            row.with_parameters(parameters).with_seconds_per_image(seconds);
        }
    }
    table.push_published(published);
    Ok(CompareSummary { table, differences })
}

/// The scores of the unchanged inputs, where an evaluation recorded them. All that did must agree:
/// otherwise their inputs were not the same pictures.
fn input_scores(runs: &[Run]) -> Result<Option<Scores>> {
    let mut recorded =
        runs.iter().filter_map(|run| Some((run, &run.record.as_ref()?.input_scores)));
    let Some((first, input)) = recorded.next() else { return Ok(None) };
    for (run, other) in recorded {
        if let Some(reason) = other_inputs(input, other) {
            return Err(ExperimentError::NotComparable {
                first: first.label.clone(),
                second: run.label.clone(),
                reason,
            });
        }
    }
    Ok(Some(input.clone()))
}

/// The runs behind an argument.
fn find(argument: &str) -> Result<Vec<Run>> {
    // A path with `=` in its name is still a path.
    let (label, path) = match argument.split_once('=') {
        Some((label, path)) if !Path::new(argument).exists() => (Some(label), Path::new(path)),
        _ => (None, Path::new(argument)),
    };
    if path.is_file() {
        let name = if path.file_stem().is_some_and(|s| s == "metrics" || s == "evaluation") {
            path.parent().unwrap_or(path)
        } else {
            path
        };
        return Ok(vec![read(label, name, path, path.parent())?]);
    }
    if path.join("metrics.json").is_file() {
        return Ok(vec![read(label, path, &path.join("metrics.json"), Some(path))?]);
    }
    if path.join("evaluation.json").is_file() {
        let recipe = path.parent().and_then(Path::parent);
        return Ok(vec![read(label, path, &path.join("evaluation.json"), recipe)?]);
    }
    let mut folders: Vec<PathBuf> = match fs::read_dir(path.join("runs")) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()
            .map_err(ExperimentError::io("read", path))?,
        Err(_) => Vec::new(),
    };
    folders.retain(|folder| folder.join("evaluation.json").is_file());
    folders.sort();
    if folders.is_empty() {
        return Err(ExperimentError::NoScores { path: path.into() });
    }
    // Runs of several seeds are one method.
    let mut runs: Vec<Run> = folders
        .iter()
        .map(|folder| read(label, folder, &folder.join("evaluation.json"), Some(path)))
        .collect::<Result<_>>()?;
    for run in runs.iter_mut().filter(|_| label.is_none()) {
        run.label = without_seed(&run.label).to_owned();
    }
    Ok(runs)
}

/// Reads a run's scores, and the caption of the table in `beside`. Without a label it is called by
/// the end of `name`.
fn read(label: Option<&str>, name: &Path, scores: &Path, beside: Option<&Path>) -> Result<Run> {
    let name = name.canonicalize().unwrap_or_else(|_| name.to_owned());
    let name = name.file_stem().unwrap_or(name.as_os_str()).to_string_lossy().into_owned();
    let table = beside.map(|folder| folder.join("table.json")).filter(|table| table.is_file());
    let folder = scores.parent().filter(|folder| has_record(folder));
    Ok(Run {
        record: folder.map(RunRecord::read).transpose()?,
        label: label.map_or(name, str::to_owned),
        scores: Scores::read_json(scores)?,
        caption: table.map(|table| read_caption(&table)).transpose()?,
    })
}

fn read_caption(path: &Path) -> Result<Caption> {
    #[derive(Deserialize)]
    struct Form {
        caption: Caption,
    }
    let text = fs::read_to_string(path).map_err(ExperimentError::io("read", path))?;
    let form: Form = serde_json::from_str(&text).map_err(|error| EvalError::ScoresFile {
        path: path.into(),
        source: Box::new(error.into()),
    })?;
    Ok(form.caption)
}

/// The conditions all runs share. Those of a run without a table are not known, which is said.
fn common_caption(runs: &[Run]) -> Result<Caption> {
    let mut known = runs.iter().filter_map(|run| Some((run, run.caption.as_ref()?)));
    let images = runs.first().map_or(0, |run| run.scores.len());
    let Some((first, caption)) = known.next() else {
        let notes =
            vec!["Protocol, split and resolution were not recorded with the scores.".into()];
        return Ok(Caption { images, notes, ..Caption::default() });
    };
    for (run, other) in known {
        for (what, found, expected) in [
            ("protocol", &other.protocol, &caption.protocol),
            ("split", &other.split, &caption.split),
            ("resolution", &other.resolution, &caption.resolution),
        ] {
            if found != expected {
                return Err(ExperimentError::OtherConditions {
                    method: run.label.clone(),
                    first: first.label.clone(),
                    what,
                    found: found.clone(),
                    expected: expected.clone(),
                });
            }
        }
    }
    let unknown: Vec<&str> =
        runs.iter().filter(|run| run.caption.is_none()).map(|run| run.label.as_str()).collect();
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        notes.push(format!("Conditions not recorded with the scores of: {}.", unknown.join(", ")));
    }
    Ok(Caption { images, notes, ..caption.clone() })
}

/// The metrics asked for, or those all methods have.
fn choose(keys: &[String], methods: &[(String, Vec<Scores>)]) -> Result<Vec<Metric>> {
    let common = PairedTable::common_metrics(methods);
    if keys.is_empty() {
        return Ok(common);
    }
    let chosen = keys.iter().map(|key| {
        if let Some(metric) = common.iter().find(|metric| metric.key == *key) {
            return Ok(metric.clone());
        }
        if !METRIC_KEYS.contains(&key.as_str()) {
            let known = common.iter().map(|metric| metric.key.as_ref()).collect::<Vec<_>>();
            let (key, known) = (key.clone(), known.join(", "));
            return Err(EvalError::UnknownMetric { key, known }.into());
        }
        let lacks = |scores: &Scores| !scores.metrics().iter().any(|metric| metric.key == *key);
        let method = methods.iter().find(|(_, seeds)| seeds.iter().any(lacks));
        let method = method.map_or(String::new(), |(label, _)| label.clone());
        Err(EvalError::MetricNotMeasured { method, metric: key.clone() }.into())
    });
    chosen.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeplpf_eval::ImageScores;
    use deeplpf_eval::metrics::metrics_by_key;

    fn scores(mean: f64) -> Scores {
        let metrics = metrics_by_key(&["psnr"]).unwrap();
        let mut scores = Scores::new(vec![metrics[0].metric()]);
        for i in 0..20 {
            let values = vec![mean + f64::from(i * 7 % 20) / 10.0];
            scores.insert(ImageScores { id: format!("a{i:02}"), values }).unwrap();
        }
        scores
    }

    /// A folder as `eval` leaves it.
    fn evaluation(folder: &Path, scores: &Scores, protocol: &str) {
        fs::create_dir_all(folder).unwrap();
        scores.write_json(&folder.join("metrics.json")).unwrap();
        let caption = Caption {
            protocol: protocol.into(),
            split: "test".into(),
            images: 20,
            ..Caption::default()
        };
        Table::new("t", caption, scores.metrics().to_vec())
            .write(&folder.join("table.json"))
            .unwrap();
    }

    fn run(folder: &Path, runs: &[&str]) -> Result<CompareSummary> {
        let at = |run: &&str| match run.split_once('=') {
            Some((label, path)) => format!("{label}={}", folder.join(path).display()),
            None => folder.join(run).display().to_string(),
        };
        compare(&CompareRequest { runs: runs.iter().map(at).collect(), ..Default::default() })
    }

    #[test]
    fn folders_files_and_recipes_are_found_and_labels_join_seeds() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path();
        evaluation(&folder.join("one"), &scores(20.0), "DPE");
        evaluation(&folder.join("two"), &scores(21.0), "DPE");
        for run in ["x", "y"] {
            fs::create_dir_all(folder.join("recipe/runs").join(run)).unwrap();
            let file = folder.join("recipe/runs").join(run).join("evaluation.json");
            scores(22.0).write_json(&file).unwrap();
        }
        let names = |summary: CompareSummary| -> Vec<String> {
            summary.table.rows().iter().map(|row| row.method.clone()).collect()
        };
        assert_eq!(names(run(folder, &["one", "two/metrics.json"]).unwrap()), ["one", "two"]);
        let all = run(folder, &["one", "recipe"]).unwrap();
        assert!(all.table.caption.notes[0].contains("x, y"), "{:?}", all.table.caption);
        assert_eq!(names(all), ["one", "x", "y"]);
        let seeds = run(folder, &["a=one", "a=two", "b=recipe/runs/x"]).unwrap();
        assert_eq!(seeds.table.rows()[0].seeds, 2);
        assert_eq!(seeds.table.rows()[0].values, [Some(21.45)]);
        assert_eq!(seeds.table.published().len(), 3);
        assert_eq!(names(seeds), ["a", "b"]);
    }

    /// A prepared set's caption writes its protocol out; the numbers published under it are found, and
    /// only for the whole test list.
    #[test]
    fn published_numbers_stand_beside_a_protocol_that_is_written_out() {
        use deeplpf_data::protocol::{Protocol, ProtocolName};
        let room = tempfile::tempdir().unwrap();
        let folder = room.path();
        let protocol = Protocol::new(ProtocolName::Upe);
        let of = |ids: &[String]| {
            let mut scores = Scores::new(vec![metrics_by_key(&["psnr"]).unwrap()[0].metric()]);
            for id in ids {
                scores.insert(ImageScores { id: id.clone(), values: vec![20.0] }).unwrap();
            }
            scores
        };
        let test = protocol.split().test;
        for (part, ids, published) in [("whole", &test[..], 3), ("most", &test[1..], 0)] {
            for name in ["a", "b"] {
                evaluation(&folder.join(part).join(name), &of(ids), &protocol.to_string());
            }
            let runs = ["a", "b"].map(|name| format!("{part}/{name}"));
            let table = run(folder, &[&runs[0], &runs[1]]).unwrap().table;
            assert_eq!(table.published().len(), published, "{part}");
            assert!(table.published().iter().all(|result| table.is_comparable(result)));
            let written = table.to_markdown();
            assert!(!written.contains("not comparable"), "{written}");
            assert_eq!(written.contains("24.48"), published > 0, "{written}");
            assert!(written.contains("FiveK upe: 4500/0/500 ids"), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path();
        evaluation(&folder.join("one"), &scores(20.0), "DPE");
        evaluation(&folder.join("other"), &scores(20.0), "UPE");
        fs::create_dir(folder.join("empty")).unwrap();
        let error = |runs: &[&str]| run(folder, runs).unwrap_err().to_string();
        assert!(error(&["one", "other"]).contains("protocol: `UPE`, not `DPE`"));
        assert!(error(&["one"]).contains("only one method, `one`"));
        assert!(error(&["one", "empty"]).contains("holds no scores"));
        assert!(error(&["one", "nowhere"]).contains("nowhere"));
        let request = |metrics: &[&str]| CompareRequest {
            runs: ["a=one", "b=one"]
                .map(|run| {
                    let (label, path) = run.split_once('=').unwrap();
                    format!("{label}={}", folder.join(path).display())
                })
                .into(),
            metrics: metrics.iter().map(|&key| key.to_owned()).collect(),
            ..Default::default()
        };
        let error = compare(&request(&["ssim"])).unwrap_err().to_string();
        assert!(error.contains("`a` was not measured in `ssim`"), "{error}");
        let error = compare(&request(&["psnrr"])).unwrap_err().to_string();
        assert!(error.contains("`psnrr`"), "{error}");
    }
}
