//! One checkpoint judged on a set of pairs.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use deeplpf_core::{Checkpoint, DType, Enhancer, ModelConfig, select_device};
use deeplpf_eval::{Metric, Scores, metrics::metrics_by_key, score_image};
use deeplpf_train::PairSource;
use indicatif::ProgressBar;
use ndarray::Array3;

use crate::{
    ExperimentError, Result,
    outputs::{Judged, Outputs, Sheet},
    test_pairs::test_pairs,
};

/// Columns of every table, in order: the release's PSNR and SSIM, scikit-image's standard SSIM, and
/// colour differences. MS-SSIM is not among them because it needs images of 161 pixels a side.
const METRICS: &[&str] = &["psnr", "ssim_release", "ssim", "delta_e_76", "delta_e_2000"];

/// What to evaluate and where to put it.
#[derive(Clone, Debug)]
pub struct EvaluationRequest {
    /// The checkpoint.
    pub weights: PathBuf,
    /// A paired folder, or `sample` for the test part of the embedded set.
    pub data: String,
    /// The target folder's name, where there are several.
    pub target: Option<String>,
    /// List of ids to evaluate; all pairs without it.
    pub split: Option<PathBuf>,
    /// The folder for tables, sheet and report; created.
    pub out: PathBuf,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// The configuration of a checkpoint that carries none.
    pub model: Option<ModelConfig>,
}

/// Where an evaluation was written and what it found.
#[derive(Clone, Debug)]
pub struct EvaluationSummary {
    /// The table as Markdown.
    pub table: String,
    /// Scores of the model's outputs.
    pub scores: Scores,
    /// Scores of the inputs themselves: what doing nothing gets.
    pub input_scores: Scores,
    /// The folder.
    pub out: PathBuf,
}

impl fmt::Display for EvaluationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table)?;
        write!(f, "Report: {}", self.out.join("report.html").display())
    }
}

/// Scores of inputs and outputs, and the pictures themselves for sheet and report.
pub(crate) struct Evaluated {
    pub input_scores: Scores,
    pub scores: Scores,
    pub outputs: Vec<Array3<f32>>,
}

/// Enhances and scores every pair.
///
/// Fails if any pair fails: a mean is never taken over fewer photographs than there are.
pub(crate) fn score_pairs(enhancer: &Enhancer, pairs: &PairSource) -> Result<Evaluated> {
    let metrics = metrics_by_key(METRICS)?;
    let described = || -> Vec<Metric> { metrics.iter().map(|metric| metric.metric()).collect() };
    let mut evaluated = Evaluated {
        input_scores: Scores::new(described()),
        scores: Scores::new(described()),
        outputs: Vec::with_capacity(pairs.len()),
    };
    let mut failures = Vec::new();
    let bar = ProgressBar::new(pairs.len() as u64).with_message("evaluating");
    for index in 0..pairs.len() {
        let mut score = || -> Result<()> {
            let pair = pairs.load(index)?;
            let output = enhancer.enhance(pair.input.view())?.image;
            let ours = score_image(&metrics, &pair.id, output.view(), pair.target.view())?;
            let input = score_image(&metrics, &pair.id, pair.input.view(), pair.target.view())?;
            evaluated.scores.insert(ours)?;
            evaluated.input_scores.insert(input)?;
            evaluated.outputs.push(output);
            Ok(())
        };
        if let Err(error) = score() {
            failures.push(format!("{}: {error}", pairs.id(index)));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failures.is_empty() {
        Ok(evaluated)
    } else {
        Err(ExperimentError::Photographs { total: pairs.len(), failures })
    }
}

/// The model of a checkpoint, ready to enhance.
pub(crate) fn load_enhancer(
    weights: &Path,
    model: Option<&ModelConfig>,
    device: &str,
) -> Result<Enhancer> {
    let device = select_device(device)?;
    Ok(Enhancer::new(Checkpoint::read(weights)?.model(model, DType::F32, &device)?)?)
}

/// Enhances every pair's input, scores it against the target, and writes `metrics.json`,
/// `per_image.csv`, `table.md`, `table.csv`, `contact_sheet.png` and `report.html`.
///
/// # Errors
/// A checkpoint or pair that cannot be used, or a folder that cannot be written. If some pairs
/// fail, all are tried and all failures are named.
pub fn evaluate(request: &EvaluationRequest) -> Result<EvaluationSummary> {
    let tested = test_pairs(&request.data, request.target.as_deref(), request.split.as_deref())?;
    let enhancer = load_enhancer(&request.weights, request.model.as_ref(), &request.device)?;
    let evaluated = score_pairs(&enhancer, &tested.pairs)?;
    fs::create_dir_all(&request.out).map_err(ExperimentError::io("create", &request.out))?;
    let method = "DeepLPF".to_string();
    let weights = request.weights.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let outputs = Outputs {
        title: format!("Evaluation of {weights}"),
        tested: &tested,
        notes: vec![format!(
            "Filters {}, dialect {}, fixes {}.",
            enhancer.model().describe_filters(),
            enhancer.model().config().dialect,
            enhancer.model().config().fixes
        )],
        facts: vec![
            ("Weights".into(), weights),
            ("Filters".into(), enhancer.model().describe_filters()),
            ("Parameters".into(), enhancer.model().parameters().count().to_string()),
        ],
        judged: vec![
            Judged { label: "input, unchanged".into(), scores: &evaluated.input_scores },
            Judged { label: method.clone(), scores: &evaluated.scores },
        ],
        curves: Vec::new(),
        sheet: Sheet { label: method, outputs: &evaluated.outputs, scores: &evaluated.scores },
    };
    let table = outputs.write(&request.out)?;
    evaluated.scores.write_json(&request.out.join("metrics.json"))?;
    evaluated.scores.write_csv(&request.out.join("per_image.csv"))?;
    Ok(EvaluationSummary {
        table,
        scores: evaluated.scores,
        input_scores: evaluated.input_scores,
        out: request.out.clone(),
    })
}
