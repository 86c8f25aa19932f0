//! `deeplpf weights`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use deeplpf_core::checkpoint::{Format, write_half_safetensors, write_safetensors};
use deeplpf_core::{Checkpoint, DType, Device, Model, ModelConfig};
use deeplpf_data::atomic_file;
use deeplpf_experiments::PublishedWeights;
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
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
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
    /// Fetch weights that others have published, and check that they are the ones (feature `hub`).
    #[command(after_long_help = PULL_EXAMPLES)]
    Pull {
        /// Which: `release-dpe`, the authors' checkpoint for FiveK under the DPE protocol.
        name: String,
        /// The file to write [default: NAME.pt]
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

const PULL_EXAMPLES: &str = "\
Examples:
  deeplpf weights pull release-dpe
  deeplpf enhance photo.jpg --weights release-dpe.pt

The file is fetched from its authors' repository, under their terms; its git blob id is checked before \
anything is written.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  deeplpf weights inspect best.safetensors
  deeplpf weights inspect deeplpf.pt --json | jq .config";

const CONVERT_EXAMPLES: &str = "\
Examples:
  deeplpf weights convert deeplpf.pt deeplpf.safetensors
  deeplpf weights convert deeplpf.pt fixed.safetensors --fixes all";

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Inspect { file, json } => inspect(file, *json),
        Command::Convert { input, output, model, half } => convert(input, output, model, *half),
        Command::Pull { name, out } => pull(name, out.as_deref()),
    }
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

fn inspect(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::read(file)?;
    // A file that fits no model is shown too: seeing why is what one inspects it for.
    let model = checkpoint.model(None, DType::F32, &Device::Cpu);
    let health = health_beside(file)?;
    let inspection = Inspection::new(&checkpoint, model.as_ref().ok(), health)?;
    if json {
        console::print(&(serde_json::to_string_pretty(&inspection)? + "\n"))?;
    } else {
        console::print(&inspection.to_text()?)?;
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
            config: checkpoint.resolve_config(None)?,
            filters: model.map(Model::describe_filters),
            parameters: model.map(|model| model.parameters().count()),
            unused_parameters: model.map(unused),
            complaints: health.as_ref().map(Health::complaints).unwrap_or_default(),
            health,
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
