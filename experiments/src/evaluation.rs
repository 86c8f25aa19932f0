//! One checkpoint judged on a set of pairs.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use deeplpf_core::{Input, ModelConfig, Precision};
use deeplpf_data::{
    DataError, Pair,
    sid::{SidInput, SidProtocol},
};
use deeplpf_eval::{Metric, Scores, metrics::metrics_by_key, score_image};
use deeplpf_train::PairSource;
use indicatif::ProgressBar;

use crate::{
    ExperimentError, Result,
    departures::departures,
    fivek,
    methods::Method,
    outputs::Outputs,
    pair_files::{JudgedPair, load_opaque},
    placement::{Placed, load_predictor},
    predictor::Predictor,
    record::{RecordedPhotograph, RecordedPictures, RunRecord},
    recovery,
    runs::Run,
    test_pairs::{TestPairs, sid_pairs, test_pairs},
};

/// Columns of every table, in order: the release's PSNR and SSIM, scikit-image's standard SSIM,
/// LPIPS, and colour differences. MS-SSIM is not among them because it needs images of 161 pixels a
/// side.
pub(crate) const METRICS: &[&str] =
    &["psnr", "ssim_release", "ssim", "lpips_alex", "delta_e_76", "delta_e_2000"];

/// What to evaluate and where to put it.
#[derive(Clone, Debug)]
pub struct EvaluationRequest {
    /// The checkpoint.
    pub weights: PathBuf,
    /// A paired folder, or `sample` for the test part of the embedded set, or a folder of
    /// See-in-the-Dark where `protocol` is one of its.
    pub data: String,
    /// The target folder's name, where there are several.
    pub target: Option<String>,
    /// List of ids to evaluate; all pairs without it.
    pub split: Option<PathBuf>,
    /// The folder for tables, sheet and report; created.
    pub out: PathBuf,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// Numbers of the convolutions on a GPU; the CPU computes in single precision.
    pub precision: Precision,
    /// The configuration of a checkpoint that carries none.
    pub model: Option<ModelConfig>,
    /// The protocol the data follow, for the caption. A protocol of FiveK (`dpe`, `dpe-id-order`, `upe`,
    /// `lut480`) is written out, and results published under it stand below those of its whole test
    /// list; other words stand as they are. By default what `data prepare` noted in the folder, else
    /// the name of the data. `sid-sony` and `sid-fuji` choose the test list of See-in-the-Dark, with the input that the model takes.
    pub protocol: Option<String>,
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

/// What came of enhancing and scoring every pair.
struct Evaluated {
    input_scores: Scores,
    scores: Scores,
    photographs: BTreeMap<String, RecordedPhotograph>,
    pictures: BTreeMap<String, RecordedPictures>,
    /// Ids of the pairs with 8 bits on one side and 16 on the other.
    mixed_depths: Vec<String>,
    /// Of enhancing, all photographs together.
    seconds: f64,
}

/// Enhances and scores every pair.
///
/// Fails if any pair fails: a mean is never taken over fewer photographs than there are.
fn score_pairs(predictor: &Predictor, pairs: &PairSource) -> Result<Evaluated> {
    let metrics = metrics_by_key(METRICS)?;
    let described = || -> Vec<Metric> { metrics.iter().map(|metric| metric.metric()).collect() };
    let mut evaluated = Evaluated {
        input_scores: Scores::new(described()),
        scores: Scores::new(described()),
        photographs: BTreeMap::new(),
        pictures: BTreeMap::new(),
        mixed_depths: Vec::new(),
        seconds: 0.0,
    };
    let mut failures = Vec::new();
    let bar = ProgressBar::new(pairs.len() as u64).with_message("evaluating");
    for index in 0..pairs.len() {
        let mut score = || -> Result<()> {
            let JudgedPair { pair, mixed_depths } = match pairs {
                PairSource::Files(paths) => load_opaque(&paths[index])?,
                _ => JudgedPair { pair: pairs.load(index)?, mixed_depths: false },
            };
            let Pair { id, input, target } = pair;
            let started = Instant::now();
            let (output, filters) = predictor.predict(input.view())?;
            evaluated.seconds += started.elapsed().as_secs_f64();
            // A packed mosaic is no picture: its rendering stands for doing nothing.
            let input = match pairs {
                PairSource::Sid(files) => files[index].picture().map_err(DataError::from)?,
                _ => input,
            };
            let ours = score_image(&metrics, &id, output.view(), target.view())?;
            let unchanged = score_image(&metrics, &id, input.view(), target.view())?;
            let pictures = RecordedPictures::new(input.view(), output.view(), target.view())?;
            if mixed_depths {
                evaluated.mixed_depths.push(id.clone());
            }
            evaluated.scores.insert(ours)?;
            evaluated.input_scores.insert(unchanged)?;
            let (_, height, width) = input.dim();
            let photograph = RecordedPhotograph { width, height, filters };
            evaluated.photographs.insert(id.clone(), photograph);
            evaluated.pictures.insert(id, pictures);
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

/// Enhances and scores every pair, and leaves the record of it in `folder`, which is created.
/// Announces what a reader of the scores must know about the pairs.
pub(crate) fn record_evaluation(
    predictor: &Predictor,
    tested: &TestPairs,
    label: String,
    weights: &Path,
    folder: &Path,
    announce: &mut dyn FnMut(&str),
) -> Result<RunRecord> {
    let Evaluated { input_scores, scores, photographs, pictures, mixed_depths, seconds } =
        score_pairs(predictor, &tested.pairs)?;
    if !mixed_depths.is_empty() {
        announce(&format!(
            "{} of {} pairs have 8 bits on one side and 16 on the other, so that rounding is part of \
             their difference: {}",
            mixed_depths.len(),
            tested.pairs.len(),
            mixed_depths.join(", ")
        ));
    }
    fs::create_dir_all(folder).map_err(ExperimentError::io("create", folder))?;
    let model = predictor.model();
    let record = RunRecord::new(
        label,
        (tested.protocol.clone(), tested.split.clone()),
        weights.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        model.config().clone(),
        (model.describe_filters(), model.parameters().count()),
        seconds / tested.pairs.len() as f64,
        (input_scores, scores),
        photographs,
    );
    record.write(folder, &pictures)?;
    Ok(record)
}

/// The pairs that `request` asks for, with inputs such as a model that takes `input` needs.
fn requested_pairs(request: &EvaluationRequest, input: Input) -> Result<TestPairs> {
    let named = request.protocol.as_deref();
    if let Some(protocol) = named.and_then(|name| name.parse::<SidProtocol>().ok()) {
        if request.target.is_some() || request.split.is_some() {
            return Err(ExperimentError::SidHasItsOwnSplit { protocol: protocol.name() });
        }
        let (channels, packed) = (input.channels(), protocol.camera.packing().channels());
        let kind = match input {
            Input::Rgb => SidInput::Rgb,
            _ if channels == packed => SidInput::Packed,
            _ => {
                let (model, protocol) = (input.name(), protocol.name());
                return Err(ExperimentError::OtherSensor { model, protocol });
            }
        };
        return sid_pairs(&request.data, protocol.with_input(kind));
    }
    if input != Input::Rgb {
        return Err(ExperimentError::NeedsRawFiles { model: input.name() });
    }
    let mut tested =
        test_pairs(&request.data, request.target.as_deref(), request.split.as_deref())?;
    let paths = match &tested.pairs {
        PairSource::Files(paths) => paths.as_slice(),
        _ => &[],
    };
    if let Some(caption) = fivek::caption(named, tested.folder.as_deref(), paths)? {
        tested.protocol = caption;
    } else if let Some(protocol) = named {
        tested.protocol = protocol.to_owned();
    }
    Ok(tested)
}

/// Enhances every pair's input, scores it against the target, and writes `metrics.json`,
/// `per_image.csv`, the table as `.md`, `.csv`, `.tex` and `.json`, plots, `contact_sheet.png`, `report.html` and the record
/// from which [`crate::report`] makes others. `announce` is given one sentence at a time for the user.
///
/// # Errors
/// A checkpoint or pair that cannot be used, or a folder that cannot be written. If some pairs
/// fail, all are tried and all failures are named.
pub fn evaluate(
    request: &EvaluationRequest,
    announce: &mut dyn FnMut(&str),
) -> Result<EvaluationSummary> {
    let Placed { computes: predictor, place } = load_predictor(
        &request.weights,
        request.model.as_ref(),
        &request.device,
        request.precision,
        announce,
    )?;
    let tested = requested_pairs(request, predictor.model().config().input)?;
    let label = "DeepLPF".to_string();
    let mut remarks = Vec::new();
    let mut remark = |text: &str| {
        announce(text);
        remarks.push(format!("Note: {text}."));
    };
    let record =
        record_evaluation(&predictor, &tested, label, &request.weights, &request.out, &mut remark)?;
    departures(&record).iter().for_each(|text| remark(text));
    let run =
        Run { label: record.label.clone(), folder: request.out.clone(), record, training: None };
    let method = Method::of_run(run);
    let record = &method.first().record;
    let config = predictor.model().config();
    let recovery = recovery::write(tested.folder.as_deref(), &tested.pairs, record, &request.out)?;
    let outputs = Outputs {
        title: format!("Evaluation of {}", record.weights),
        notes: vec![
            format!(
                "Filters {}, dialect {}, fixes {}.",
                record.filters, config.dialect, config.fixes
            ),
            format!(
                "Time: mean over the images on the {place}, {} threads, without decoding.",
                std::thread::available_parallelism().map_or(1, usize::from)
            ),
        ]
        .into_iter()
        .chain(recovery)
        .chain(remarks)
        .collect(),
        methods: std::slice::from_ref(&method),
        shown: 0,
        metric: METRICS[0].into(),
    };
    let table = outputs.write(&request.out)?;
    let RunRecord { scores, input_scores, .. } = record.clone();
    scores.write_json(&request.out.join("metrics.json"))?;
    scores.write_csv(&request.out.join("per_image.csv"))?;
    Ok(EvaluationSummary { table, scores, input_scores, out: request.out.clone() })
}
