//! Recipes: which runs, from what configuration, judged on what.

use std::{fs, path::Path};

use deeplpf_train::{TrainConfig, TrainError, config::parse};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    ExperimentError, Result, Scale,
    scale::{DataDefinition, Scales, check_array},
};

/// Name and text of the recipes in this crate.
const BUILT_IN: &[(&str, &str)] = &[
    ("sample", include_str!("../recipes/sample.toml")),
    ("ablation", include_str!("../recipes/ablation.toml")),
    ("dpe", include_str!("../recipes/dpe.toml")),
    ("upe", include_str!("../recipes/upe.toml")),
    ("lut480", include_str!("../recipes/lut480.toml")),
    ("sid-fuji", include_str!("../recipes/sid-fuji.toml")),
    ("sid-sony", include_str!("../recipes/sid-sony.toml")),
    ("release", include_str!("../recipes/release.toml")),
    ("fixes", include_str!("../recipes/fixes.toml")),
    ("ms-ssim-weight", include_str!("../recipes/ms-ssim-weight.toml")),
    ("instances", include_str!("../recipes/instances.toml")),
    ("dialect", include_str!("../recipes/dialect.toml")),
    ("loss", include_str!("../recipes/loss.toml")),
    ("fusion", include_str!("../recipes/fusion.toml")),
    ("batch", include_str!("../recipes/batch.toml")),
    ("backbones", include_str!("../recipes/backbones.toml")),
    ("seeds", include_str!("../recipes/seeds.toml")),
    ("default-weights", include_str!("../recipes/default-weights.toml")),
];

/// Several training runs compared on the same pairs.
///
/// ```toml
/// title = "Filter ablation"
/// description = "One sentence."
/// shown = "full"              # the run whose pictures are shown
/// seeds = [1, 2, 3]           # every run is trained with each; without it, with that of `base`
///
/// [test]
/// data = "sample"             # or a paired folder
/// list = ""                   # ids of the test pairs; empty: all
///
/// [scales]                    # instead of [test]: built-in definitions of data and length
/// mini = "distill"            # on which `--scale mini` runs it
///
/// [base]                      # keys of a training configuration, shared by all runs
/// epochs = 60
///
/// [[run]]
/// name = "full"               # also the run's folder
/// label = "all three filters" # in tables and plots
/// set = { model = { elliptical = 0 } }   # on top of `base`; weights = "@runs/NAME" starts from the
///                                        # best weights of a run before it
/// seeds = [1, 2, 3, 4, 5]     # instead of the recipe's
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Title of table, plots and report.
    pub title: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// What it is called at scales whose data are not those that its title names.
    pub rehearsal: Rehearsal,
    /// Name of the run whose pictures are shown.
    pub shown: String,
    /// The seeds every run is trained with; empty: that of its configuration alone.
    pub seeds: Vec<u64>,
    /// What the runs are judged on.
    pub test: TestSpec,
    /// Further sets they are judged on.
    pub also_test: Vec<TestSpec>,
    /// The built-in data definitions of each scale, for a recipe that has scales.
    pub scales: Scales,
    /// What the paper reports of it.
    pub paper: PaperSpec,
    /// Keys of [`TrainConfig`] shared by all runs.
    pub base: Table,
    /// The runs, in the order of the table.
    pub run: Vec<RunSpec>,
}

/// Title and description of a recipe at other scales than `paper`; empty where its own hold there too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rehearsal {
    /// Instead of [`Recipe::title`].
    pub title: String,
    /// Instead of [`Recipe::description`].
    pub description: String,
}

/// The pairs the runs are judged on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TestSpec {
    /// `sample`, or a paired folder.
    pub data: String,
    /// The target folder's name, where there are several; empty: the only one.
    pub target: String,
    /// List of ids; empty: all pairs of the folder.
    pub list: String,
    /// The protocol for the caption, e.g. `dpe`, under which published results stand beside the
    /// measured ones of all its test pictures; `sid-fuji` and `sid-sony` choose the test list of See-in-the-Dark. Empty: the
    /// name of the data.
    pub protocol: String,
}

/// What the paper reports of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaperSpec {
    /// Where, in a sentence.
    pub what: String,
    /// The protocol in the list of published results.
    pub protocol: String,
}

/// What the paper reports of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportedSpec {
    /// The method's name in the list of published results.
    pub method: String,
    /// Whether a number may be printed.
    pub status: ReportedStatus,
}

/// How a published number is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportedStatus {
    /// There is none.
    #[default]
    Absent,
    /// Read in the source that the list names.
    Seen,
    /// Commonly quoted, source not at hand: the number is not printed.
    Recalled,
}

/// One run of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSpec {
    /// Short name: letters, digits, `-` and `_`. Also the folder of the run; with several seeds
    /// followed by `-seed1` and so on.
    pub name: String,
    /// Name in tables and plots; without one, `name`.
    pub label: String,
    /// Keys of [`TrainConfig`] on top of the recipe's `base`.
    pub set: Table,
    /// Its seeds, if they are others than the recipe's.
    pub seeds: Vec<u64>,
    /// What the paper reports of it.
    pub paper: ReportedSpec,
    /// Keys on top of `set` at one scale: `at = { sample = { ... } }`.
    pub at: Table,
}

/// One training of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Name of its folder.
    pub folder: String,
    /// Name for people: the run's label, and the seed where there are several.
    pub label: String,
    /// The configuration, seed included; its `run` is still to be set.
    pub config: TrainConfig,
}

/// The name of a run without the `-seed1` of its folder.
pub(crate) fn without_seed(folder: &str) -> &str {
    match folder.rsplit_once("-seed") {
        Some((name, seed)) if !seed.is_empty() && seed.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => folder,
    }
}

/// A recipe of this crate, to be listed.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// The scales it has, joined by commas; empty for one size only.
    pub scales: String,
    /// What it shows.
    pub description: String,
}

/// The built-in recipes.
///
/// # Errors
/// A built-in recipe that does not parse, which a test excludes.
pub fn recipes() -> Result<Vec<BuiltIn>> {
    let describe = |&(name, text): &(&'static str, &str)| {
        let recipe = Recipe::parse(text, name)?;
        let scales = recipe.scales.present().iter().map(|scale| scale.name()).collect::<Vec<_>>();
        let (scales, description) = (scales.join(","), recipe.description);
        Ok(BuiltIn { name, scales, description })
    };
    BUILT_IN.iter().map(describe).collect()
}

impl Recipe {
    /// The built-in recipe of that name, or the file of that path.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownRecipe`], or a file that is not a recipe.
    pub fn find(name_or_path: &str) -> Result<Self> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_path);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(path).map_err(ExperimentError::io("read", path))?;
            return Self::parse(&text, name_or_path);
        }
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let nearest = names
            .iter()
            .min_by_key(|name| strsim::damerau_levenshtein(name, name_or_path))
            .unwrap_or(&"");
        Err(ExperimentError::UnknownRecipe {
            name: name_or_path.into(),
            nearest: nearest.to_string(),
            known: names.join(", "),
        })
    }

    /// Reads a recipe and checks every run's configuration.
    ///
    /// # Errors
    /// Unknown keys (with the nearest one), runs without or with equal names, values out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        check_array::<RunSpec>(text, "run", name)?;
        check_array::<TestSpec>(text, "also_test", name)?;
        let mut recipe: Self = parse(text, name, &[])?;
        for run in recipe.run.iter_mut().filter(|run| run.label.is_empty()) {
            run.label.clone_from(&run.name);
        }
        let refuse = |reason: String| Err(ExperimentError::Recipe { recipe: name.into(), reason });
        let scales = recipe.scales.present();
        if scales.is_empty() == recipe.test.data.is_empty() {
            return refuse(
                "it needs either [test], the pairs its runs are judged on, or [scales], whose data \
                 definitions have their own"
                    .into(),
            );
        }
        if recipe.run.is_empty() {
            return refuse("it has no [[run]]".into());
        }
        for (index, run) in recipe.run.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if run.name.is_empty() || !run.name.chars().all(plain) {
                return refuse(format!(
                    "run {}: `name` must be letters, digits, - and _, not `{}`",
                    index + 1,
                    run.name
                ));
            }
            if without_seed(&run.name) != run.name {
                return refuse(format!(
                    "run `{}` is named like one seed of a run; name it otherwise, and list seeds \
                     as `seeds`",
                    run.name
                ));
            }
            for seeds in [&recipe.seeds, &run.seeds] {
                if let Some(seed) = (1..seeds.len()).find(|&i| seeds[..i].contains(&seeds[i])) {
                    return refuse(format!("seed {} is listed twice", seeds[seed]));
                }
            }
            if recipe.run[..index].iter().any(|other| other.name == run.name) {
                return refuse(format!("two runs are called `{}`", run.name));
            }
            if recipe.run[..index].iter().any(|other| other.label == run.label) {
                return refuse(format!("two runs have the label `{}`", run.label));
            }
            if let Some(reason) = recipe.without_effect(run) {
                return refuse(format!("run `{}`: {reason}", run.name));
            }
            if let Some(key) = run.at.keys().find(|key| key.parse::<Scale>().is_err()) {
                return refuse(format!("run `{}`: at.{key} is not a scale", run.name));
            }
            recipe.trainings(run, name)?;
        }
        if !recipe.run.iter().any(|run| run.name == recipe.shown) {
            let names: Vec<&str> = recipe.run.iter().map(|run| run.name.as_str()).collect();
            let names = names.join(", ");
            return refuse(match recipe.shown.as_str() {
                "" => {
                    format!("`shown` is missing: the run whose pictures are shown, one of {names}")
                }
                other => format!("shown = \"{other}\" is not the name of a run; they are {names}"),
            });
        }
        for scale in scales {
            recipe.definition(scale, name)?;
            recipe.at_scale(Some(scale), name)?;
        }
        Ok(recipe)
    }

    /// What a run sets that something else decides.
    fn without_effect(&self, run: &RunSpec) -> Option<String> {
        let at = run.at.values().filter_map(Value::as_table);
        let tables: Vec<&Table> = [&self.base, &run.set].into_iter().chain(at).collect();
        if tables.iter().any(|table| table.contains_key("run")) {
            return Some(
                "the key `run` has no effect, for the folder follows from its name".into(),
            );
        }
        let seeds = if run.seeds.is_empty() { &self.seeds } else { &run.seeds };
        let own = tables.iter().skip(1).any(|table| table.contains_key("seed"));
        (own && !seeds.is_empty())
            .then(|| "the key `seed` has no effect beside `seeds`; leave one of them out".into())
    }

    /// The recipe with everything that `scale` says filled in: its data definition below `base`, and
    /// what runs have `at` that scale. A recipe without scales is taken as it is.
    ///
    /// # Errors
    /// A scale the recipe does not have, or none asked of a recipe that has some.
    pub fn at_scale(&self, scale: Option<Scale>, name: &str) -> Result<Self> {
        let present = self.scales.present();
        let names = present.iter().map(|scale| scale.name()).collect::<Vec<_>>().join(", ");
        let refuse = |reason: String| Err(ExperimentError::Recipe { recipe: name.into(), reason });
        let scale = match scale {
            None if present.is_empty() => return Ok(self.clone()),
            None => return refuse(format!("say how large, with --scale; it has {names}")),
            Some(scale) if present.is_empty() => {
                return refuse(format!("it has one size only; leave out --scale {scale}"));
            }
            Some(scale) if !present.contains(&scale) => {
                return refuse(format!("it has no scale `{scale}`; it has {names}"));
            }
            Some(scale) => scale,
        };
        let DataDefinition { set, test, also_test, .. } = self.definition(scale, name)?;
        let mut filled = self.clone();
        if scale != Scale::Paper && !self.rehearsal.title.is_empty() {
            filled.title.clone_from(&self.rehearsal.title);
            filled.description.clone_from(&self.rehearsal.description);
        }
        filled.base = set;
        merge(&mut filled.base, &self.base);
        (filled.test, filled.also_test, filled.scales) = (test, also_test, Scales::default());
        for run in &mut filled.run {
            match std::mem::take(&mut run.at).get(scale.name()) {
                Some(Value::Table(table)) => merge(&mut run.set, table),
                Some(_) => {
                    return refuse(format!("run `{}`: at.{scale} must be a table", run.name));
                }
                None => {}
            }
        }
        for run in &filled.run {
            filled.trainings(run, name)?;
        }
        Ok(filled)
    }

    /// The data definition of a scale it has.
    pub(crate) fn definition(&self, scale: Scale, name: &str) -> Result<DataDefinition> {
        DataDefinition::find(self.scales.at(scale), name)
    }

    /// The trainings of one run, one for each seed.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn trainings(&self, run: &RunSpec, name: &str) -> Result<Vec<Training>> {
        let config = self.train_config(run, name)?;
        let seeds = if run.seeds.is_empty() { &self.seeds } else { &run.seeds };
        let several = seeds.len() > 1;
        let with_seed = |&seed: &u64| {
            let (mut folder, mut label) = (run.name.clone(), run.label.clone());
            if several {
                folder.push_str(&format!("-seed{seed}"));
                label.push_str(&format!(", seed {seed}"));
            }
            Training { folder, label, config: TrainConfig { seed, ..config.clone() } }
        };
        let own = [config.seed];
        let seeds = if seeds.is_empty() { &own[..] } else { &seeds[..] };
        let mut trainings: Vec<Training> = seeds.iter().map(with_seed).collect();
        self.find_starts(run, &mut trainings, name)?;
        Ok(trainings)
    }

    /// The training configuration of one run, with the seed of `base` or its own keys.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn train_config(&self, run: &RunSpec, name: &str) -> Result<TrainConfig> {
        let mut table = self.base.clone();
        merge(&mut table, &run.set);
        let source = format!("recipe {name}, run {}", run.name);
        let config: TrainConfig =
            parse(&table.to_string(), &source, &[]).map_err(|error| match error {
                // Lines of the keys put together are nobody's.
                TrainError::UnknownKey { path, key, nearest, .. } => {
                    TrainError::UnknownKey { path, line: None, key, nearest }
                }
                other => other,
            })?;
        config.validate(&source)?;
        Ok(config)
    }
}

/// Puts the keys of `over` on top of `base`, table by table.
fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        shown = \"b\"
        [test]
        data = \"sample\"
        [base]
        epochs = 3
        model = { graduated = 1, elliptical = 2 }
        [[run]]
        name = \"a\"
        set = { model = { graduated = 0 } }
        [[run]]
        name = \"b\"
    ";

    #[test]
    fn runs_are_the_base_with_their_own_keys_on_top() {
        let recipe = Recipe::parse(TEXT, "test").unwrap();
        let config = recipe.train_config(&recipe.run[0], "test").unwrap();
        assert_eq!((config.epochs, config.model.graduated, config.model.elliptical), (3, 0, 2));
    }

    #[test]
    fn every_seed_is_a_training() {
        let with = |seeds: &str, own: &str| -> Vec<(String, String, u64)> {
            let text =
                format!("seeds = {seeds}\n{}\nlabel = \"B\"\nseeds = {own}", TEXT.trim_end());
            let recipe = Recipe::parse(&text, "test").unwrap();
            let trainings = recipe.trainings(&recipe.run[1], "test").unwrap();
            trainings.into_iter().map(|t| (t.folder, t.label, t.config.seed)).collect()
        };
        let training =
            |folder: &str, label: &str, seed| (folder.to_owned(), label.to_owned(), seed);
        let default = TrainConfig::default().seed;
        assert_eq!(with("[]", "[]"), [training("b", "B", default)]);
        assert_eq!(with("[]", "[7]"), [training("b", "B", 7)]);
        let two = [training("b-seed3", "B, seed 3", 3), training("b-seed4", "B, seed 4", 4)];
        assert_eq!(with("[3, 4]", "[]"), two);
        assert_eq!(with("[9]", "[3, 4]"), two);
        assert!(two.iter().all(|(folder, ..)| without_seed(folder) == "b"));
        assert_eq!((without_seed("b-seeds"), without_seed("b-seed")), ("b-seeds", "b-seed"));
    }

    #[test]
    fn keys_without_effect_are_refused() {
        let refused = |from: &str, to: &str| {
            Recipe::parse(&TEXT.replace(from, to), "test").unwrap_err().to_string()
        };
        let error = refused("set = { model", "seeds = [1, 2]\nset = { seed = 7, model");
        assert!(error.contains("run `a`") && error.contains("`seed` has no effect"), "{error}");
        let error = refused("set = { model", "set = { run = \"x\", model");
        assert!(error.contains("`run` has no effect"), "{error}");
        let error = refused("epochs = 3", "epochs = 3\nrun = \"x\"");
        assert!(error.contains("`run` has no effect"), "{error}");
        let error = refused("shown = \"b\"", "");
        assert!(error.contains("`shown` is missing") && error.contains("one of a, b"), "{error}");
    }

    #[test]
    fn built_in_recipes_are_valid() {
        assert!(recipes().unwrap().iter().all(|recipe| !recipe.description.is_empty()));
    }

    /// A number that is only recalled has no row to be printed from, and one called seen has one.
    #[test]
    fn what_recipes_say_of_the_paper_agrees_with_the_published_list() {
        for (name, text) in BUILT_IN {
            let recipe = Recipe::parse(text, name).unwrap();
            let published =
                deeplpf_eval::published::published_results(&recipe.paper.protocol).unwrap();
            for run in &recipe.run {
                let ReportedSpec { method, status } = &run.paper;
                let seen = published.iter().any(|result| result.method == *method);
                assert_eq!(seen, *status == ReportedStatus::Seen, "{name}: {}", run.name);
            }
        }
    }

    #[test]
    fn a_scale_lies_below_the_base_and_a_run_can_differ_at_one() {
        let text = TEXT
            .replace("[test]\n        data = \"sample\"", "[scales]\n sample = \"sample\"")
            .replace("name = \"b\"\n    ", "name = \"b\"\nat = { sample = { seed = 7 } }");
        let recipe = Recipe::parse(&text, "test").unwrap();
        let filled = recipe.at_scale(Some(Scale::Sample), "test").unwrap();
        let [a, b] = [0, 1].map(|run| filled.train_config(&filled.run[run], "test").unwrap());
        assert_eq!((a.epochs, a.validate_every, a.model.elliptical), (3, 2, 2));
        assert_eq!((a.seed, b.seed), (TrainConfig::default().seed, 7));
        assert_eq!(filled.test.data, "sample");
        for (scale, part) in [(None, "--scale"), (Some(Scale::Paper), "no scale `paper`")] {
            let error = recipe.at_scale(scale, "test").unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| Recipe::parse(text, "test").unwrap_err().to_string();
        let changed = |from: &str, to: &str| error(&TEXT.replace(from, to));
        assert!(changed("epochs", "epoch").contains("did you mean `epochs`?"));
        assert!(
            changed("graduated = 0", "graduate = 0").contains("did you mean `model.graduated`?")
        );
        assert!(changed("[test]", "[tests]").contains("did you mean `test`?"));
        assert!(
            changed("name = \"b\"", "nmae = \"b\"")
                .contains("`run.nmae`; did you mean `run.name`?")
        );
        assert!(changed("name = \"b\"", "name = \"a\"").contains("two runs are called `a`"));
        assert!(
            changed("name = \"b\"", "name = \"b\"\nlabel = \"a\"")
                .contains("two runs have the label `a`")
        );
        assert!(changed("name = \"b\"", "name = \"../b\"").contains("`name` must be"));
        assert!(changed("shown = \"b\"", "shown = \"c\"").contains("shown"));
        let twice = changed("shown", "seeds = [1, 2, 1]\nshown");
        assert!(twice.contains("seed 1 is listed twice"), "{twice}");
        let seed = changed("name = \"a\"", "name = \"a-seed2\"");
        assert!(seed.contains("named like one seed"), "{seed}");
        let unknown = Recipe::find("sampel").unwrap_err().to_string();
        assert!(unknown.contains("did you mean `sample`?"), "{unknown}");
    }
}
