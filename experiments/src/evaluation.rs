//! One checkpoint judged on a set of pairs.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use deeplpf_core::{Checkpoint, DType, Enhancer, ModelConfig, select_device};
use deeplpf_eval::{
    Metric, PublishedResult, Scores, Size,
    metrics::metrics_by_key,
    published::{all_published_results, published_results},
    score_image,
};
use deeplpf_train::PairSource;
use indicatif::ProgressBar;
use ndarray::Array3;

use crate::{
    ExperimentError, Result,
    outputs::{Judged, Outputs, Sheet},
    test_pairs::test_pairs,
};

/// Columns of every table, in order: the release's PSNR and SSIM, scikit-image's standard SSIM,
/// LPIPS, and colour differences. MS-SSIM is not among them because it needs images of 161 pixels a
/// side.
const METRICS: &[&str] =
    &["psnr", "ssim_release", "ssim", "lpips_alex", "delta_e_76", "delta_e_2000"];

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
    /// The protocol the data follow, e.g. `DPE`: stands in the caption, and published results
    /// under it stand beside the measured ones. By default the folder's name.
    pub protocol: Option<String>,
    /// Whether published results under other protocols are shown too, labelled not comparable.
    pub all_published: bool,
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
    /// In the order of the pairs.
    pub sizes: Vec<Size>,
    /// Median time of enhancing one photograph, without decoding.
    pub seconds_per_image: f64,
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
        sizes: Vec::with_capacity(pairs.len()),
        seconds_per_image: f64::NAN,
    };
    let mut seconds = Vec::with_capacity(pairs.len());
    let mut failures = Vec::new();
    let bar = ProgressBar::new(pairs.len() as u64).with_message("evaluating");
    for index in 0..pairs.len() {
        let mut score = || -> Result<()> {
            let pair = pairs.load(index)?;
            let started = Instant::now();
            let output = enhancer.enhance(pair.input.view())?.image;
            seconds.push(started.elapsed().as_secs_f64());
            let ours = score_image(&metrics, &pair.id, output.view(), pair.target.view())?;
            let input = score_image(&metrics, &pair.id, pair.input.view(), pair.target.view())?;
            evaluated.scores.insert(ours)?;
            evaluated.input_scores.insert(input)?;
            let (_, height, width) = output.dim();
            evaluated.sizes.push(Size { width, height });
            evaluated.outputs.push(output);
            Ok(())
        };
        if let Err(error) = score() {
            failures.push(format!("{}: {error}", pairs.id(index)));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    seconds.sort_by(f64::total_cmp);
    if let Some(&median) = seconds.get(seconds.len() / 2) {
        evaluated.seconds_per_image = median;
    }
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

/// Enhances every pair's input, scores it against the target, and writes `metrics.json` (the
/// model's scores), `input_metrics.json` (the inputs' own), `per_image.csv`, the table as `.md`,
/// `.csv`, `.tex` and `.json`, `contact_sheet.png` and `report.html`.
///
/// # Errors
/// A checkpoint or pair that cannot be used, or a folder that cannot be written. If some pairs
/// fail, all are tried and all failures are named.
pub fn evaluate(request: &EvaluationRequest) -> Result<EvaluationSummary> {
    let mut tested =
        test_pairs(&request.data, request.target.as_deref(), request.split.as_deref())?;
    if let Some(protocol) = &request.protocol {
        tested.protocol = protocol.clone();
    }
    let enhancer = load_enhancer(&request.weights, request.model.as_ref(), &request.device)?;
    let evaluated = score_pairs(&enhancer, &tested.pairs)?;
    fs::create_dir_all(&request.out).map_err(ExperimentError::io("create", &request.out))?;
    let method = "DeepLPF".to_string();
    let parameters = enhancer.model().parameters().count();
    let weights = request.weights.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let outputs = Outputs {
        title: format!("Evaluation of {weights}"),
        tested: &tested,
        notes: vec![
            format!(
                "Filters {}, dialect {}, fixes {}.",
                enhancer.model().describe_filters(),
                enhancer.model().config().dialect,
                enhancer.model().config().fixes
            ),
            format!(
                "Time: median over the images on device `{}`, {} threads, without decoding.",
                request.device,
                std::thread::available_parallelism().map_or(1, usize::from)
            ),
        ],
        facts: vec![
            ("Weights".into(), weights),
            ("Filters".into(), enhancer.model().describe_filters()),
            ("Parameters".into(), parameters.to_string()),
        ],
        judged: vec![
            Judged::new("input, unchanged", &evaluated.input_scores),
            Judged {
                parameters: Some(parameters as u64),
                seconds_per_image: Some(evaluated.seconds_per_image),
                ..Judged::new(&method, &evaluated.scores)
            },
        ],
        sizes: &evaluated.sizes,
        published: published(&tested.protocol, request.all_published)?,
        curves: Vec::new(),
        sheet: Sheet { label: method, outputs: &evaluated.outputs, scores: &evaluated.scores },
    };
    let table = outputs.write(&request.out)?;
    evaluated.scores.write_json(&request.out.join("metrics.json"))?;
    evaluated.input_scores.write_json(&request.out.join("input_metrics.json"))?;
    evaluated.scores.write_csv(&request.out.join("per_image.csv"))?;
    Ok(EvaluationSummary {
        table,
        scores: evaluated.scores,
        input_scores: evaluated.input_scores,
        out: request.out.clone(),
    })
}

/// Published results under a protocol, or under all of them.
fn published(protocol: &str, all: bool) -> Result<Vec<PublishedResult>> {
    Ok(if all { all_published_results()? } else { published_results(protocol)? })
}
