//! Running a recipe.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use deeplpf_core::Precision;
use deeplpf_train::{RunFolder, TrainConfig, TrainingData, Watch, train_watched};
use serde::{Deserialize, Serialize};

use crate::{
    ExperimentError, Recipe, Result, Scale,
    evaluation::record_evaluation,
    fingerprint::{CODE_VERSION, Fingerprint, hash_of_file, hash_pairs, read_json, write_json},
    methods::Method,
    outputs::Outputs,
    placement::load_predictor,
    recipe::{TestSpec, Training},
    record::has_record,
    runs::{Run, read_run},
    scale::{Places, set_name},
    start::starting_hash,
    test_pairs::{TestPairs, named_test_pairs},
    words::counted,
};

/// What to reproduce and where to put it.
#[derive(Clone, Debug)]
pub struct ReproduceRequest {
    /// A built-in recipe's name, or the path of a file.
    pub recipe: String,
    /// How large; `None` for a recipe without scales.
    pub scale: Option<Scale>,
    /// The folder of the results; by default `runs/<recipe>` or `runs/<recipe>-<scale>`.
    pub out: Option<PathBuf>,
    /// The folder that holds the data sets a scale names.
    pub data_root: PathBuf,
    /// Train anew the runs whose configuration, code or data changed, instead of refusing.
    pub redo: bool,
}

impl ReproduceRequest {
    /// The folder of the results.
    pub fn folder(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let Owner { recipe, scale } = self.owner();
            Path::new("runs").join(match scale {
                Some(scale) => format!("{recipe}-{scale}"),
                None => recipe,
            })
        })
    }

    /// Whose the folder of the results is.
    pub(crate) fn owner(&self) -> Owner {
        let stem = Path::new(&self.recipe).file_stem().unwrap_or_default().to_string_lossy();
        Owner { recipe: stem.into_owned(), scale: self.scale.map(|scale| scale.to_string()) }
    }

    /// Every training of the recipe with its configuration's paths resolved, in order.
    pub(crate) fn trainings(&self) -> Result<Vec<(Training, TrainConfig)>> {
        let name = self.recipe.as_str();
        let recipe = Recipe::find(name)?.at_scale(self.scale, name)?;
        let places = self.places();
        let mut all = Vec::new();
        for run in &recipe.run {
            for training in recipe.trainings(run, name)? {
                let mut config = places.resolve_config(&training.config);
                config.run = places.runs.join(&training.folder);
                all.push((training, config));
            }
        }
        Ok(all)
    }

    pub(crate) fn places(&self) -> Places {
        let out = self.folder();
        let (lists, runs) = (out.join("lists"), out.join("runs"));
        Places { data: self.data_root.clone(), lists, runs }
    }
}

/// Where a recipe's results are.
#[derive(Clone, Debug)]
pub struct ReproduceSummary {
    /// The tables as Markdown, one for each set that was tested on.
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

/// Whose a folder of results is: `recipe.json` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    /// Name of the recipe.
    recipe: String,
    scale: Option<String>,
}

impl Owner {
    /// Refuses a folder with results of another recipe, whose tables would be replaced.
    ///
    /// # Errors
    /// [`ExperimentError::OtherRecipe`], or a file that cannot be read.
    pub fn require(&self, out: &Path) -> Result<()> {
        match read_json::<Self>(&out.join("recipe.json"))? {
            Some(before) if before != *self => Err(ExperimentError::OtherRecipe {
                path: out.to_path_buf(),
                before: before.to_string(),
                now: self.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// As [`Owner::require`], and leaves the file.
    fn take(&self, out: &Path) -> Result<()> {
        self.require(out)?;
        write_json(&out.join("recipe.json"), self)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.recipe)?;
        self.scale.iter().try_for_each(|scale| write!(f, " at scale {scale}"))
    }
}

/// A set of pairs and where its results go.
struct Tested {
    pairs: TestPairs,
    hash: String,
    /// The folder with `runs/` and the outputs.
    out: PathBuf,
}

/// What an evaluation was made from, in `evaluated.json` beside its record.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evaluated {
    code: String,
    weights: String,
    data: String,
}

/// Trains every run of the recipe that is not trained yet, evaluates all on the same pairs, and
/// writes table, plots, contact sheet and report into the request's folder; those of further test
/// sets into folders named after them. Interrupt it at any time; called again it goes on where it
/// was. `watch` is given sentences for the user and can stop it between two steps.
///
/// # Errors
/// A recipe that is not valid, an output folder that holds other runs (configuration, code or data
/// changed), [`ExperimentError::Interrupted`], or a run that fails (named; finished runs are kept).
pub fn reproduce(request: &ReproduceRequest, watch: &mut dyn Watch) -> Result<ReproduceSummary> {
    let done = go(request, None, watch)?;
    let tables = write_tables(request, &done)?;
    Ok(ReproduceSummary { table: tables.join("\n"), out: request.folder() })
}

/// Trains and evaluates the one run of the recipe whose folder is named, and makes no table: the task
/// of a sweep.
///
/// # Errors
/// Those of [`reproduce`], and a name that is no run's.
pub fn reproduce_only(request: &ReproduceRequest, run: &str, watch: &mut dyn Watch) -> Result<()> {
    let known: Vec<String> =
        request.trainings()?.into_iter().map(|(training, _)| training.folder).collect();
    if !known.iter().any(|folder| folder == run) {
        let reason = format!("it has no run `{run}`; its runs are {}", known.join(", "));
        return Err(ExperimentError::Recipe { recipe: request.recipe.clone(), reason });
    }
    go(request, Some(run), watch).map(|_| ())
}

/// What was judged: the recipe, and the methods of every set that was tested on.
struct Judged {
    recipe: Recipe,
    sets: Vec<(PathBuf, Vec<Method>)>,
}

fn write_tables(request: &ReproduceRequest, judged: &Judged) -> Result<Vec<String>> {
    let write = |(out, methods): &(PathBuf, Vec<Method>)| {
        write_outputs(&judged.recipe, request.scale, methods, out)
    };
    judged.sets.iter().map(write).collect()
}

/// Trains and evaluates all runs, or `only` the one of a folder.
fn go(request: &ReproduceRequest, only: Option<&str>, watch: &mut dyn Watch) -> Result<Judged> {
    let name = request.recipe.as_str();
    let recipe = Recipe::find(name)?.at_scale(request.scale, name)?;
    let (out, places) = (request.folder(), request.places());
    let trainings: Vec<Vec<Training>> =
        recipe.run.iter().map(|run| recipe.trainings(run, name)).collect::<Result<_>>()?;
    // What comes later must not fail for want of data after hours.
    let specs: Vec<&TestSpec> = std::iter::once(&recipe.test).chain(&recipe.also_test).collect();
    let lists = named_lists(&specs, trainings.iter().flatten());
    places.write_lists(&lists)?;
    let mut tested = Vec::new();
    for (index, spec) in specs.into_iter().enumerate() {
        let pairs = named_test_pairs(spec, &places)?;
        let hash = hash_pairs(&[&pairs.pairs])?;
        let out = if index == 0 { out.clone() } else { out.join(set_name(&spec.data)) };
        tested.push(Tested { pairs, hash, out });
    }
    fs::create_dir_all(&out).map_err(ExperimentError::io("create", &out))?;
    request.owner().take(&out)?;

    let all = trainings.iter().map(Vec::len).sum::<usize>();
    let mut number = 0;
    let mut methods: Vec<Vec<Method>> = tested.iter().map(|_| Vec::new()).collect();
    let mut hashes = DataHashes::default();
    for (spec, trainings) in recipe.run.iter().zip(trainings) {
        let mut runs: Vec<Vec<Run>> = tested.iter().map(|_| Vec::new()).collect();
        for training in trainings {
            number += 1;
            if only.is_some_and(|only| only != training.folder) {
                continue;
            }
            let place = format!("run {number} of {all}: {}", training.label);
            let folder = training.folder.clone();
            let mut steps = || -> Result<()> {
                let data = hashes.of(&training.config, &places)?;
                let weights = train_run(&training, request, &places, data, &place, watch)?;
                for (tested, runs) in tested.iter().zip(&mut runs) {
                    runs.push(judge(&training, &spec.label, &weights, tested, watch)?);
                }
                Ok(())
            };
            steps().map_err(|source| match source {
                stopped @ ExperimentError::Interrupted { .. } => stopped,
                source => ExperimentError::Run { run: folder, source: Box::new(source) },
            })?;
        }
        for (methods, runs) in methods.iter_mut().zip(runs) {
            methods.push(Method { label: spec.label.clone(), runs });
        }
    }
    let sets = tested.into_iter().map(|tested| tested.out).zip(methods).collect();
    Ok(Judged { recipe, sets })
}

/// The lists that tests and configurations name.
pub(crate) fn named_lists<'a>(
    tests: &[&TestSpec],
    trainings: impl Iterator<Item = &'a Training>,
) -> Vec<String> {
    let mut lists: Vec<String> = tests.iter().map(|test| test.list.clone()).collect();
    for training in trainings {
        let data = &training.config.data;
        let named = [&data.train, &data.valid, &data.exclude];
        lists.extend(named.map(|list| list.to_string_lossy().into_owned()));
    }
    lists.sort();
    lists.dedup();
    lists
}

/// Hashes of training data, each set read once however many runs it trains.
#[derive(Default)]
pub(crate) struct DataHashes(Vec<(String, String)>);

impl DataHashes {
    pub fn of(&mut self, config: &TrainConfig, places: &Places) -> Result<String> {
        let data = places.resolve_config(config);
        // The seed draws the validation pairs where no list names them.
        let key = format!("{:?} {}", data.data, data.seed);
        if let Some((_, hash)) = self.0.iter().find(|(known, _)| *known == key) {
            return Ok(hash.clone());
        }
        let pairs = TrainingData::of(&data)?;
        let hash = hash_pairs(&[&pairs.train, &pairs.valid])?;
        self.0.push((key, hash.clone()));
        Ok(hash)
    }
}

/// Trains what is not trained yet and returns the best weights.
fn train_run(
    training: &Training,
    request: &ReproduceRequest,
    places: &Places,
    data: String,
    place: &str,
    watch: &mut dyn Watch,
) -> Result<PathBuf> {
    let mut config = places.resolve_config(&training.config);
    config.run = request.folder().join("runs").join(&training.folder);
    let folder = RunFolder::new(&config.run);
    let now = Fingerprint::new(&training.config, data, starting_hash(&config)?);
    let begun = folder.state().exists() || folder.previous_state().exists();
    if begun {
        let change = match Fingerprint::read(&config.run)? {
            Some(before) => now.change_from(&before, &folder, &config),
            None => Some("its configuration, code and data, of which it has no record,".into()),
        };
        if let Some(change) = change {
            if !request.redo {
                return Err(ExperimentError::Changed { path: config.run, change });
            }
            watch.note(&format!("{place}: {change} changed; the run before is kept aside"));
            set_aside(&config.run)?;
        }
    }
    now.write(&config.run)?;
    let before = if folder.metrics().exists() { folder.records()?.len() as u64 } else { 0 };
    if before < config.epochs {
        watch.note(&match before {
            0 => format!("{place}, {}", counted(config.epochs, "epoch")),
            _ => format!("{place}, continued after epoch {before} of {}", config.epochs),
        });
    } else {
        watch.note(&format!("{place}, already trained"));
    }
    let started = Instant::now();
    if train_watched(&config, true, watch)?.interrupted {
        return Err(ExperimentError::Interrupted { run: training.folder.clone() });
    }
    if before < config.epochs {
        watch.note(&format!("    trained in {:.0} s", started.elapsed().as_secs_f64()));
    }
    Ok(folder.best())
}

/// Renames a run folder to the first free `NAME.before-N`.
fn set_aside(run: &Path) -> Result<()> {
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 1;
    loop {
        let place = run.with_file_name(format!("{name}.before-{number}"));
        if !place.exists() {
            return fs::rename(run, &place).map_err(ExperimentError::io("rename", run));
        }
        number += 1;
    }
}

/// Evaluates weights on a set unless these weights were by this code on these pairs.
fn judge(
    training: &Training,
    label: &str,
    weights: &Path,
    tested: &Tested,
    watch: &mut dyn Watch,
) -> Result<Run> {
    let folder = tested.out.join("runs").join(&training.folder);
    let marker = folder.join("evaluated.json");
    let now = Evaluated {
        code: CODE_VERSION.into(),
        weights: hash_of_file(weights)?,
        data: tested.hash.clone(),
    };
    if has_record(&folder) && read_json::<Evaluated>(&marker)?.is_some_and(|old| old == now) {
        let mut run = read_run(&folder)?;
        if run.label != label {
            run.label = label.to_owned();
        }
        return Ok(run);
    }
    let announce = &mut |sentence: &str| watch.note(sentence);
    // In single precision whatever it was trained in: the scores are the checkpoint's own.
    let predictor =
        load_predictor(weights, None, &training.config.device, Precision::Fp32, announce)?.computes;
    let label = label.to_owned();
    let record = record_evaluation(&predictor, &tested.pairs, label, weights, &folder, announce)?;
    record.scores.write_json(&folder.join("evaluation.json"))?;
    write_json(&marker, &now)?;
    read_run(&folder)
}

fn write_outputs(
    recipe: &Recipe,
    scale: Option<Scale>,
    methods: &[Method],
    out: &Path,
) -> Result<String> {
    // The recipe was checked to name one of its runs.
    let Some(shown) = recipe.run.iter().position(|run| run.name == recipe.shown) else {
        return Err(ExperimentError::Recipe {
            recipe: recipe.title.clone(),
            reason: format!("shown = \"{}\" is not the name of a run", recipe.shown),
        });
    };
    let mut notes = vec![recipe.description.clone()];
    notes.extend(scale.map(|scale| scale_note(scale, methods)));
    let title = match scale {
        Some(scale) => format!("{}, scale {scale}", recipe.title),
        None => recipe.title.clone(),
    };
    let outputs = Outputs { title, notes, methods, shown, metric: "psnr".into() };
    outputs.write(out)
}

/// What a reader must know about numbers of this scale.
fn scale_note(scale: Scale, methods: &[Method]) -> String {
    let records = methods.iter().flat_map(|method| &method.runs).filter_map(|run| {
        let last = run.training.as_ref()?.epochs.last()?;
        Some((last.epoch, last.step))
    });
    let length = records.max().map_or(String::new(), |(epochs, steps)| {
        format!(" ({}, {} a run)", counted(epochs, "epoch"), counted(steps, "step"))
    });
    match scale {
        Scale::Sample => format!(
            "Scale sample{length}: a narrow network on the embedded set shows that everything runs; \
             these are no measurements of the method."
        ),
        Scale::Mini => format!(
            "Scale mini{length}: trained for minutes and far from converged, so neither the numbers \
             nor their order say what full training gives; they cannot be compared with published ones."
        ),
        Scale::Paper => format!("Scale paper{length}."),
    }
}
