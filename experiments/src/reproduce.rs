//! Running a recipe.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use deeplpf_train::{RunFolder, train};

use crate::{
    ExperimentError, Recipe, Result,
    evaluation::{load_predictor, record_evaluation},
    methods::Method,
    outputs::Outputs,
    recipe::Training,
    runs::{Run, read_run},
    test_pairs::{TestPairs, test_pairs},
};

/// Where a recipe's results are.
#[derive(Clone, Debug)]
pub struct ReproduceSummary {
    /// The table as Markdown.
    pub table: String,
    /// The folder.
    pub out: PathBuf,
}

impl fmt::Display for ReproduceSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table)?;
        write!(f, "Open {}", self.out.join("report.html").display())
    }
}

/// Trains every run of the recipe (built-in name or path) that is not trained yet, evaluates all on
/// the same pairs, and writes table, plots, contact sheet and report into `out` (by default
/// `runs/<recipe>`). Interrupt it at any time; called again it goes on where it was. `announce` is
/// given one sentence at a time for the user.
///
/// # Errors
/// A recipe that is not valid, an output folder that holds another recipe's runs, or a run that
/// fails (named; finished runs are kept).
pub fn reproduce(
    recipe: &str,
    out: Option<&Path>,
    announce: &mut dyn FnMut(&str),
) -> Result<ReproduceSummary> {
    let name = recipe;
    let recipe = Recipe::find(name)?;
    let stem = Path::new(name).file_stem().unwrap_or_default();
    let out = out.map_or_else(|| Path::new("runs").join(stem), Path::to_path_buf);
    let list = (!recipe.test.list.is_empty()).then(|| Path::new(&recipe.test.list));
    let target = (!recipe.test.target.is_empty()).then_some(recipe.test.target.as_str());
    let tested = test_pairs(&recipe.test.data, target, list)?;
    fs::create_dir_all(&out).map_err(ExperimentError::io("create", &out))?;

    let trainings: Vec<Vec<Training>> =
        recipe.run.iter().map(|run| recipe.trainings(run, name)).collect::<Result<_>>()?;
    let all = trainings.iter().map(Vec::len).sum::<usize>();
    let mut number = 0;
    let mut methods = Vec::new();
    for (spec, trainings) in recipe.run.iter().zip(trainings) {
        let mut runs = Vec::new();
        for training in trainings {
            number += 1;
            let place = format!("run {number} of {all}: {}", training.label);
            let folder = training.folder.clone();
            let run = train_and_judge(training, &spec.label, &out, &tested, &place, announce);
            runs.push(run.map_err(|source| ExperimentError::Run {
                run: folder,
                source: Box::new(source),
            })?);
        }
        methods.push(Method { label: spec.label.clone(), runs });
    }
    let table = write_outputs(&recipe, &methods, &out)?;
    Ok(ReproduceSummary { table, out })
}

fn train_and_judge(
    training: Training,
    label: &str,
    out: &Path,
    tested: &TestPairs,
    place: &str,
    announce: &mut dyn FnMut(&str),
) -> Result<Run> {
    let mut config = training.config;
    config.run = out.join("runs").join(&training.folder);
    let folder = RunFolder::new(&config.run);
    let before = if folder.metrics().exists() { folder.records()?.len() as u64 } else { 0 };
    if before < config.epochs {
        announce(&match before {
            0 => format!("{place}, {} epochs", config.epochs),
            _ => format!("{place}, continued after epoch {before} of {}", config.epochs),
        });
    } else {
        announce(&format!("{place}, already trained"));
    }
    let started = Instant::now();
    for note in train(&config, true)?.notes {
        announce(&note);
    }
    if before < config.epochs {
        announce(&format!("    trained in {:.0} s", started.elapsed().as_secs_f64()));
    }
    let predictor = load_predictor(&folder.best(), None, &config.device)?;
    let label = label.to_owned();
    let record = record_evaluation(&predictor, tested, label, &folder.best(), &config.run)?;
    record.scores.write_json(&config.run.join("evaluation.json"))?;
    read_run(&config.run)
}

fn write_outputs(recipe: &Recipe, methods: &[Method], out: &Path) -> Result<String> {
    // The recipe was checked to name one of its runs.
    let Some(shown) = recipe.run.iter().position(|run| run.name == recipe.shown) else {
        return Err(ExperimentError::Recipe {
            recipe: recipe.title.clone(),
            reason: format!("shown = \"{}\" is not the name of a run", recipe.shown),
        });
    };
    let outputs = Outputs {
        title: recipe.title.clone(),
        notes: vec![recipe.description.clone()],
        methods,
        shown,
        metric: "psnr".into(),
    };
    outputs.write(out)
}
