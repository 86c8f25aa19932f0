//! `deeplpf weights`.

mod average;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use deeplpf_core::checkpoint::{Format, write_half_safetensors, write_safetensors};
use deeplpf_core::{Checkpoint, DType, Device, Model, ModelConfig};
use deeplpf_data::atomic_file;
use deeplpf_experiments::{
    FilterHealthReport, FilterHealthRequest, HubRepository, PublishedWeights, PullRequest,
    PullSummary, PushRequest, PushSummary, filter_health, pull_run, push_run,
};
use deeplpf_train::{Health, RunFolder};
use serde::Serialize;

use crate::console;
use crate::model_options::ModelOptions;

/// The arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show what a file of weights holds: configuration, filters, parameters, every tensor.
    #[command(after_long_help = INSPECT_EXAMPLES)]
    Inspect {
        /// A .safetensors or PyTorch .pt file. Nothing in it is ever executed.
        file: PathBuf,
        /// Also look at what the filters do over photographs, and say which are stuck: a folder of
        /// photographs, or of pairs (their inputs), or `sample`. At least 8 are needed to judge by.
        #[arg(long, value_name = "DIR")]
        data: Option<String>,
        /// At most N of the photographs, spread evenly over them.
        #[arg(long, value_name = "N", requires = "data")]
        limit: Option<NonZeroUsize>,
        /// Where to compute the filters: `auto`, `cpu` or `cuda:N`.
        #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "data")]
        device: String,
        #[command(flatten)]
        model: ModelOptions,
        /// Print JSON instead of text, or write it to FILE beside the text.
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        json: Option<Option<PathBuf>>,
    },
    /// Convert weights to safetensors with their configuration inside.
    #[command(after_long_help = CONVERT_EXAMPLES)]
    Convert {
        /// A PyTorch .pt file or a .safetensors file.
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// The file to write; must end in .safetensors.
        #[arg(value_name = "OUT")]
        output: PathBuf,
        #[command(flatten)]
        model: ModelOptions,
        /// Write half-precision numbers: half the size, each weight rounded to 11 significant bits.
        #[arg(long)]
        half: bool,
    },
    /// Write weights between two, of which one was trained from the other.
    Average(average::Args),
    /// Fetch weights that others have published, or a run or weights from the Hugging Face hub, and check
    /// that they are the ones (feature `hub`).
    #[command(after_long_help = PULL_EXAMPLES)]
    Pull {
        /// `release-dpe`, the authors' checkpoint for FiveK under the DPE protocol; or OWNER/NAME, a
        /// repository on the hub that holds a run or a file of weights.
        name: String,
        /// The file to write [default: release-dpe.pt], or for OWNER/NAME the folder to make
        /// [default: NAME]
        #[arg(short, long, value_name = "PATH")]
        out: Option<PathBuf>,
        /// Of OWNER/NAME: a branch, a tag or a commit [default: main]
        #[arg(long)]
        revision: Option<String>,
        /// Of OWNER/NAME: which file of weights, where there are several.
        #[arg(long, value_name = "PATH")]
        file: Option<String>,
    },
    /// Send a run to the Hugging Face hub: configuration, best weights, metrics, a model card
    /// (feature `hub`).
    #[command(after_long_help = PUSH_EXAMPLES)]
    Push {
        /// The folder of the run.
        #[arg(value_name = "RUN_DIR")]
        run: PathBuf,
        /// The repository, OWNER/NAME; it is made if it is missing.
        #[arg(long, value_name = "OWNER/NAME")]
        to: String,
        /// The branch; it is made if it is missing.
        #[arg(long, default_value = "main")]
        revision: String,
        /// Make the repository private; refuse to send to one that is there and public.
        #[arg(long)]
        private: bool,
    },
}

const PUSH_EXAMPLES: &str = "\
Examples:
  deeplpf weights push runs/small --to me/deeplpf-small --private

One commit holds config.toml (paths shortened to their last names), checkpoints/best.safetensors, \
metrics.jsonl, where there are any health.json, evaluation.json and record/record.json, and README.md, a \
model card written from them. Photographs are never sent. The token is HF_TOKEN or in the usual file \
(~/.cache/huggingface/token); HF_ENDPOINT names another hub.";

const PULL_EXAMPLES: &str = "\
Examples:
  deeplpf weights pull release-dpe
  deeplpf enhance photo.jpg --weights release-dpe.pt
  deeplpf weights pull me/deeplpf-small -o small
  deeplpf enhance photo.jpg --weights small/checkpoints/best.safetensors

The first file is fetched from its authors' repository, under their terms; its git blob id is checked before \
anything is written. What comes from the hub is checked against the hashes that the hub lists, and the \
folder appears whole or not at all; HF_TOKEN opens private repositories, HF_ENDPOINT names another hub.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  deeplpf weights inspect best.safetensors
  deeplpf weights inspect deeplpf.pt --json | jq .config
  deeplpf weights inspect best.safetensors --data photos --limit 100 --json health.json";

const CONVERT_EXAMPLES: &str = "\
Examples:
  deeplpf weights convert deeplpf.pt deeplpf.safetensors
  deeplpf weights convert deeplpf.pt fixed.safetensors --fixes all";

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Inspect { file, data, limit, device, model, json } => {
            let photographs =
                data.as_deref().map(|data| Photographs { data, limit: *limit, device });
            inspect(file, photographs.as_ref(), model, json.as_ref().map(Option::as_deref))
        }
        Command::Convert { input, output, model, half } => convert(input, output, model, *half),
        Command::Average(args) => average::run(args),
        Command::Pull { name, out, revision, file } if name.contains('/') => {
            pull_from_hub(name, out.as_deref(), revision.as_deref(), file.clone())
        }
        Command::Pull { revision: Some(_), .. } | Command::Pull { file: Some(_), .. } => {
            bail!("--revision and --file go with a repository on the hub, OWNER/NAME")
        }
        Command::Pull { name, out, .. } => pull(name, out.as_deref()),
        Command::Push { run, to, revision, private } => push(run, to, revision, *private),
    }
}

fn push(run: &Path, to: &str, revision: &str, private: bool) -> anyhow::Result<ExitCode> {
    let request =
        PushRequest { run: run.into(), to: to.parse()?, revision: revision.into(), private };
    let PushSummary { page, commit, files, bytes } = push_run(&request)?;
    console::print(&format!("{} files, {bytes} bytes, commit {commit}: {page}\n", files.len()))?;
    Ok(ExitCode::SUCCESS)
}

fn pull_from_hub(
    name: &str,
    out: Option<&Path>,
    revision: Option<&str>,
    file: Option<String>,
) -> anyhow::Result<ExitCode> {
    let from: HubRepository = name.parse()?;
    let request = PullRequest {
        out: out.map_or_else(|| from.name().into(), Into::into),
        from,
        revision: revision.unwrap_or("main").into(),
        file,
    };
    let PullSummary { commit, is_run, weights, files, bytes, .. } = pull_run(&request)?;
    let what = if is_run { "a run" } else { "weights" };
    console::print(&format!(
        "{what} of {}, {} files, {bytes} bytes, commit {commit}: {}\n",
        request.from,
        files.len(),
        weights.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn pull(name: &str, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let weights = PublishedWeights::find(name)?;
    let default = PathBuf::from(format!("{name}.pt"));
    let out = out.unwrap_or(&default);
    if out.exists() {
        bail!("{} is there already; remove it, or name another file with --out", out.display());
    }
    let place =
        atomic_file::resolve(out).with_context(|| format!("cannot write {}", out.display()))?;
    let bytes = weights.fetch(&place)?;
    console::print(&format!(
        "{} of {}, {bytes} bytes, git blob {}: {}\n",
        weights.description,
        weights.page(),
        weights.blob,
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The photographs to look at the filters on.
struct Photographs<'a> {
    data: &'a str,
    limit: Option<NonZeroUsize>,
    device: &'a str,
}

fn inspect(
    file: &Path,
    photographs: Option<&Photographs>,
    options: &ModelOptions,
    json: Option<Option<&Path>>,
) -> anyhow::Result<ExitCode> {
    // Before photographs are looked at for minutes.
    let place = match json.flatten() {
        Some(out) => Some((
            out,
            atomic_file::resolve(out).with_context(|| format!("cannot write {}", out.display()))?,
        )),
        None => None,
    };
    let checkpoint = Checkpoint::read(file)?;
    let asked = options.configuration(&checkpoint);
    // A file that fits no model is shown too: seeing why is what one inspects it for.
    let model = checkpoint.model(asked.as_ref(), DType::F32, &Device::Cpu);
    let over = match (photographs, &model) {
        (Some(Photographs { data, limit, device }), Ok(_)) => {
            let request = FilterHealthRequest {
                weights: checkpoint.clone(),
                data: (*data).into(),
                limit: limit.map(NonZeroUsize::get),
                device: (*device).into(),
                model: asked,
            };
            Some(filter_health(&request, &mut |text| console::note(text))?)
        }
        _ => None,
    };
    let inspection = Inspection::new(&checkpoint, model.as_ref().ok(), health_beside(file)?, over)?;
    let text = serde_json::to_string_pretty(&inspection)? + "\n";
    match (json, place) {
        (Some(_), None) => console::print(&text)?,
        (_, Some((out, place))) => {
            atomic_file::write(&place, text.as_bytes())
                .with_context(|| format!("cannot write {}", out.display()))?;
            console::print(&inspection.to_text()?)?;
        }
        (None, None) => console::print(&inspection.to_text()?)?,
    }
    model?;
    Ok(ExitCode::SUCCESS)
}

/// The health of the run whose `checkpoints/` the file lies in, if it lies in one.
fn health_beside(file: &Path) -> anyhow::Result<Option<Health>> {
    let Some(folder) = file.parent().filter(|folder| folder.ends_with("checkpoints")) else {
        return Ok(None);
    };
    let path = RunFolder::new(folder.parent().unwrap_or(Path::new(""))).health();
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{} is damaged; delete it to do without", path.display()))
}

fn convert(
    input: &Path,
    output: &Path,
    options: &ModelOptions,
    half: bool,
) -> anyhow::Result<ExitCode> {
    if output.extension().is_none_or(|extension| extension != "safetensors") {
        bail!("{} does not end in .safetensors, the only format written", output.display());
    }
    if let (Ok(from), Ok(to)) = (input.canonicalize(), output.canonicalize())
        && from == to
    {
        bail!("{} is the file to convert; choose another name for the result", output.display());
    }
    let place = atomic_file::resolve(output)
        .with_context(|| format!("cannot write {}", output.display()))?;
    let checkpoint = Checkpoint::read(input)?;
    let asked = options.configuration(&checkpoint);
    let model = checkpoint.model(asked.as_ref(), DType::F32, &Device::Cpu)?;
    if half {
        write_half_safetensors(&model, &place)?;
    } else {
        write_safetensors(&model, &place)?;
    }
    let config = model.config();
    let dialect = serde_json::to_value(config.dialect)?;
    console::print(&format!(
        "{} parameters, dialect {}, fixes {}: {}\n",
        model.parameters().count(),
        dialect.as_str().unwrap_or_default(),
        config.fixes,
        output.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What `inspect` shows; its JSON is this.
#[derive(Serialize)]
struct Inspection {
    file: String,
    format: &'static str,
    /// Whether the file carries its configuration; if not, `config` is the release's.
    config_in_file: bool,
    config: ModelConfig,
    /// Absent, with the two counts, where the tensors fit no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<usize>,
    /// Parameters the model stores but no output depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    unused_parameters: Option<usize>,
    /// Of the run folder the file lies in: what was stuck at its last validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    /// What is wrong of it, and what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    complaints: Vec<String>,
    /// What the filters did over the photographs that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_health: Option<FilterHealthReport>,
    tensors: Vec<TensorSummary>,
}

#[derive(Serialize)]
struct TensorSummary {
    name: String,
    shape: Vec<usize>,
    dtype: &'static str,
    mean: f64,
    min: f64,
    max: f64,
}

impl Inspection {
    fn new(
        checkpoint: &Checkpoint,
        model: Option<&Model>,
        health: Option<Health>,
        filter_health: Option<FilterHealthReport>,
    ) -> anyhow::Result<Self> {
        let unused = |model: &Model| {
            let parameters = model.parameters();
            let size = |name| parameters.get(name).map_or(0, |variable| variable.elem_count());
            model.unused_parameters().map(size).sum()
        };
        Ok(Self {
            file: checkpoint.path.display().to_string(),
            format: match checkpoint.format {
                Format::Safetensors => "safetensors",
                Format::PyTorch => "PyTorch",
            },
            config_in_file: checkpoint.config.is_some(),
            config: match model {
                Some(model) => model.config().clone(),
                None => checkpoint.resolve_config(None)?,
            },
            filters: model.map(Model::describe_filters),
            parameters: model.map(|model| model.parameters().count()),
            unused_parameters: model.map(unused),
            complaints: health.as_ref().map(Health::complaints).unwrap_or_default(),
            health,
            filter_health,
            tensors: summaries(checkpoint).context("the tensors cannot be summed up")?,
        })
    }

    fn to_text(&self) -> anyhow::Result<String> {
        let mut text = format!("{}: {}\n", self.file, self.format);
        if let Some(filters) = &self.filters {
            text += &format!("filters: {filters}\n");
        }
        if let (Some(parameters), Some(unused)) = (self.parameters, self.unused_parameters) {
            text += &format!("parameters: {parameters}, of which {unused} are never used\n");
        }
        text += if self.config_in_file {
            "\nconfiguration\n"
        } else {
            "\nconfiguration (the file carries none; this is the release's)\n"
        };
        let config = serde_json::to_value(&self.config)?;
        for (key, value) in config.as_object().into_iter().flatten() {
            text += &format!("  {key} = {value}\n");
        }
        if let Some(health) = &self.health {
            text += &format!("\nhealth at the run's last validation, {health}");
        }
        if let Some(FilterHealthReport { data, available, filters, judged, complaints }) =
            &self.filter_health
        {
            let count = filters.photographs;
            text += &format!(
                "\nfilters over {count} of the {available} photographs of {data}\n{filters}"
            );
            match &complaints[..] {
                _ if !judged => {
                    text += "  too few photographs to judge by: at least 8 are needed\n"
                }
                [] => text += "  nothing stuck\n",
                lines => lines.iter().for_each(|line| text += &format!("  ! {line}\n")),
            }
        }
        let longest = self.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
        text += &format!(
            "\n{:longest$}  {:>16}  {:>5} {:>11} {:>11} {:>11}\n",
            "tensor", "shape", "type", "mean", "min", "max"
        );
        for TensorSummary { name, shape, dtype, mean, min, max } in &self.tensors {
            let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            text += &format!(
                "{name:longest$}  {shape:>16}  {dtype:>5} {mean:>11.3e} {min:>11.3e} {max:>11.3e}\n"
            );
        }
        Ok(text)
    }
}

fn summaries(checkpoint: &Checkpoint) -> deeplpf_core::Result<Vec<TensorSummary>> {
    let mut summaries = Vec::with_capacity(checkpoint.tensors.len());
    for (name, tensor) in &checkpoint.tensors {
        let mut summary = TensorSummary {
            name: name.clone(),
            shape: tensor.dims().to_vec(),
            dtype: tensor.dtype().as_str(),
            mean: 0.0,
            min: 0.0,
            max: 0.0,
        };
        if tensor.elem_count() > 0 {
            let values = tensor.to_dtype(DType::F64)?;
            summary.mean = values.mean_all()?.to_scalar()?;
            summary.min = values.min_all()?.to_scalar()?;
            summary.max = values.max_all()?.to_scalar()?;
        }
        summaries.push(summary);
    }
    Ok(summaries)
}
