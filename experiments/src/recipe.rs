//! Recipes: which runs, from what configuration, judged on what.

use std::{fs, path::Path};

use deeplpf_train::{TrainConfig, config::parse};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{ExperimentError, Result};

/// Name and text of the recipes in this crate.
const BUILT_IN: &[(&str, &str)] = &[("sample", include_str!("../recipes/sample.toml"))];

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
/// [base]                      # keys of a training configuration, shared by all runs
/// epochs = 60
///
/// [[run]]
/// name = "full"               # also the run's folder
/// label = "all three filters" # in tables and plots
/// set = { model = { elliptical = 0 } }   # on top of `base`
/// seeds = [1, 2, 3, 4, 5]     # instead of the recipe's
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Title of table, plots and report.
    pub title: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// Name of the run whose pictures are shown.
    pub shown: String,
    /// The seeds every run is trained with; empty: that of its configuration alone.
    pub seeds: Vec<u64>,
    /// What the runs are judged on.
    pub test: TestSpec,
    /// Keys of [`TrainConfig`] shared by all runs.
    pub base: Table,
    /// The runs, in the order of the table.
    pub run: Vec<RunSpec>,
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
}

/// One run of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSpec {
    /// Short name: letters, digits, `-` and `_`. Also the folder of the run; with several seeds
    /// followed by `-seed1` and so on.
    pub name: String,
    /// Name in tables and plots.
    pub label: String,
    /// Keys of [`TrainConfig`] on top of the recipe's `base`.
    pub set: Table,
    /// Its seeds, if they are others than the recipe's.
    pub seeds: Vec<u64>,
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

/// Name and description of the built-in recipes.
///
/// # Errors
/// A built-in recipe that does not parse, which a test excludes.
pub fn recipes() -> Result<Vec<(&'static str, String)>> {
    BUILT_IN
        .iter()
        .map(|(name, text)| Ok((*name, Recipe::parse(text, name)?.description)))
        .collect()
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
        let recipe: Self = parse(text, name, &[])?;
        let refuse = |reason: String| Err(ExperimentError::Recipe { recipe: name.into(), reason });
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
            recipe.train_config(run, name)?;
        }
        if !recipe.run.iter().any(|run| run.name == recipe.shown) {
            return refuse(format!("shown = \"{}\" is not the name of a run", recipe.shown));
        }
        Ok(recipe)
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
        Ok(seeds.iter().map(with_seed).collect())
    }

    /// The training configuration of one run, with the seed of `base` or its own keys.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn train_config(&self, run: &RunSpec, name: &str) -> Result<TrainConfig> {
        let mut table = self.base.clone();
        merge(&mut table, &run.set);
        let source = format!("recipe {name}, run {}", run.name);
        let config: TrainConfig = parse(&table.to_string(), &source, &[])?;
        config.validate(&source)?;
        Ok(config)
    }
}

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
    fn built_in_recipes_are_valid() {
        assert!(recipes().unwrap().iter().all(|(_, description)| !description.is_empty()));
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
        assert!(changed("name = \"b\"", "name = \"a\"").contains("two runs are called `a`"));
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
