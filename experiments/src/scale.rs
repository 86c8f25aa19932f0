//! How large a recipe is run, and on which data: definitions shared by all recipes.
//!
//! A recipe names a definition for each scale it has. The definition's keys lie below the recipe's
//! `base`, so that a recipe can insist on its own; keys that belong to one scale alone are the
//! recipe's and the run's `at`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use deeplpf_data::atomic_file;
use deeplpf_train::{
    TrainConfig,
    config::{check_keys, parse},
};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{ExperimentError, Result, recipe::TestSpec, start::starting_weights};

/// How large a recipe is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A narrow network on the embedded set: that everything runs, in minutes.
    Sample,
    /// The paper's network on some hundred pairs, for as long as a processor can be given.
    Mini,
    /// The data and the length that published numbers belong to.
    Paper,
}

impl Scale {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sample, Self::Mini, Self::Paper];

    /// As it is written in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Mini => "mini",
            Self::Paper => "paper",
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scale| scale.name() == name);
        found.ok_or_else(|| format!("`{name}` is not a scale; use sample, mini or paper"))
    }
}

/// The definition of the data at each scale a recipe has; empty for a scale it does not have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scales {
    /// At [`Scale::Sample`].
    pub sample: String,
    /// At [`Scale::Mini`].
    pub mini: String,
    /// At [`Scale::Paper`].
    pub paper: String,
}

impl Scales {
    /// The definition's name at `scale`; empty for none.
    pub fn at(&self, scale: Scale) -> &str {
        match scale {
            Scale::Sample => &self.sample,
            Scale::Mini => &self.mini,
            Scale::Paper => &self.paper,
        }
    }

    /// The scales there are.
    pub fn present(&self) -> Vec<Scale> {
        Scale::ALL.into_iter().filter(|&scale| !self.at(scale).is_empty()).collect()
    }
}

/// Data and the settings that go with them, shared by recipes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DataDefinition {
    /// What must be there, in a sentence.
    pub needs: String,
    /// Training pairs, where the data are not at hand to be counted.
    pub train_pairs: u64,
    /// Validation pairs, likewise.
    pub valid_pairs: u64,
    /// Tested pairs, likewise.
    pub test_pairs: u64,
    /// Rows and columns of a typical photograph.
    pub size: [u64; 2],
    /// Keys of a training configuration.
    pub set: Table,
    /// What runs are judged on.
    pub test: TestSpec,
    /// Further sets they are judged on.
    pub also_test: Vec<TestSpec>,
}

const DEFINITIONS: &[(&str, &str)] = &[
    ("sample", include_str!("../recipes/data/sample.toml")),
    ("distill", include_str!("../recipes/data/distill.toml")),
    ("default-weights", include_str!("../recipes/data/default-weights.toml")),
    ("fivek-dpe", include_str!("../recipes/data/fivek-dpe.toml")),
    ("fivek-dpe-id-order", include_str!("../recipes/data/fivek-dpe-id-order.toml")),
    ("fivek-upe", include_str!("../recipes/data/fivek-upe.toml")),
    ("fivek-lut480", include_str!("../recipes/data/fivek-lut480.toml")),
    ("sid-fuji", include_str!("../recipes/data/sid-fuji.toml")),
    ("sid-sony", include_str!("../recipes/data/sid-sony.toml")),
];

/// Lists of ids that come with the program.
const LISTS: &[(&str, &str)] = &[
    ("distill-test.txt", include_str!("../recipes/lists/distill-test.txt")),
    ("distill-valid.txt", include_str!("../recipes/lists/distill-valid.txt")),
    (
        "default-weights-fivek-test.txt",
        include_str!("../recipes/lists/default-weights-fivek-test.txt"),
    ),
    (
        "default-weights-distill-test.txt",
        include_str!("../recipes/lists/default-weights-distill-test.txt"),
    ),
];

impl DataDefinition {
    /// The definition of that name, which the recipe `recipe` asks for.
    pub fn find(name: &str, recipe: &str) -> Result<Self> {
        let Some((_, text)) = DEFINITIONS.iter().find(|(known, _)| *known == name) else {
            let nearest = DEFINITIONS
                .iter()
                .map(|(known, _)| *known)
                .min_by_key(|known| strsim::damerau_levenshtein(known, name))
                .unwrap_or_default();
            return Err(ExperimentError::Recipe {
                recipe: recipe.into(),
                reason: format!(
                    "[scales]: there is no data definition `{name}`; did you mean `{nearest}`?"
                ),
            });
        };
        let source = format!("data definition {name}");
        check_array::<TestSpec>(text, "also_test", &source)?;
        Ok(parse(text, &source, &[])?)
    }
}

/// Refuses unknown keys of the tables of an array, with the nearest known one.
pub(crate) fn check_array<T: Default + Serialize>(
    text: &str,
    array: &str,
    path: &str,
) -> Result<()> {
    // What is no TOML is refused, with its line, by whoever reads the whole.
    let Ok(table) = toml::from_str::<Table>(text) else { return Ok(()) };
    for entry in table.get(array).and_then(toml::Value::as_array).into_iter().flatten() {
        if let Some(entry) = entry.as_table() {
            check_keys::<T>(entry, &format!("{array}."), text, path)?;
        }
    }
    Ok(())
}

/// Where `@data/...`, `@lists/...` and `@runs/...` of recipes are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The folder that holds the data sets.
    pub data: PathBuf,
    /// The folder that lists are written to.
    pub lists: PathBuf,
    /// The folder of the recipe's runs.
    pub runs: PathBuf,
}

impl Places {
    pub fn resolve(&self, path: &str) -> String {
        let (folder, rest) = match (path.strip_prefix("@data/"), path.strip_prefix("@lists/")) {
            (Some(rest), _) => (&self.data, rest),
            (_, Some(rest)) => (&self.lists, rest),
            _ => return path.to_owned(),
        };
        folder.join(rest).display().to_string()
    }

    /// The configuration with the paths of this machine.
    pub fn resolve_config(&self, config: &TrainConfig) -> TrainConfig {
        let mut config = config.clone();
        config.weights = starting_weights(&config, self);
        config.data.source = self.resolve(&config.data.source);
        let data = &mut config.data;
        for list in [&mut data.train, &mut data.valid, &mut data.exclude] {
            *list = PathBuf::from(self.resolve(&list.to_string_lossy()));
        }
        config
    }

    /// Writes the lists that `config` and `tests` name.
    pub fn write_lists(&self, named: &[String]) -> Result<()> {
        for list in named.iter().filter_map(|path| path.strip_prefix("@lists/")) {
            let Some((_, text)) = LISTS.iter().find(|(known, _)| *known == list) else {
                return Err(ExperimentError::Recipe {
                    recipe: format!("@lists/{list}"),
                    reason: "no list of that name comes with the program".into(),
                });
            };
            fs::create_dir_all(&self.lists).map_err(ExperimentError::io("create", &self.lists))?;
            let path = self.lists.join(list);
            atomic_file::write(&path, text.as_bytes())
                .map_err(ExperimentError::io("write", &path))?;
        }
        Ok(())
    }
}

/// The name of the folder or set at the end of a path.
pub(crate) fn set_name(path: &str) -> String {
    let path = Path::new(path);
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_valid_and_says_what_it_needs() {
        for (name, _) in DEFINITIONS {
            let definition = DataDefinition::find(name, "test").unwrap();
            assert!(!definition.needs.is_empty(), "{name}");
            assert!(definition.train_pairs > 0 && definition.test_pairs > 0, "{name}");
            assert!(!definition.test.data.is_empty(), "{name}");
        }
        let error = DataDefinition::find("fivek-dep", "r").unwrap_err().to_string();
        assert!(error.contains("did you mean `fivek-dpe`?"), "{error}");
    }

    #[test]
    fn lists_of_one_set_do_not_overlap() {
        let ids = |index: usize| LISTS[index].1.lines().collect::<Vec<_>>();
        assert_eq!((ids(0).len(), ids(1).len()), (50, 10));
        assert!(ids(0).iter().all(|id| !ids(1).contains(id)));
    }

    #[test]
    fn marked_paths_are_found_and_others_stay() {
        let places = Places { data: "d".into(), lists: "l".into(), runs: "r".into() };
        assert_eq!(places.resolve("@data/set/train.txt"), "d/set/train.txt");
        assert_eq!(places.resolve("@lists/a.txt"), "l/a.txt");
        assert_eq!(places.resolve("set"), "set");
    }
}
