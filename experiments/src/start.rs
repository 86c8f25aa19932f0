//! Runs that start from the best weights of an earlier run of their recipe, say to adapt a trained
//! model to another retoucher: `weights = "@runs/NAME"`.

use std::path::PathBuf;

use deeplpf_train::{RunFolder, TrainConfig};

use crate::{
    ExperimentError, Recipe, Result,
    fingerprint::hash_of_file,
    recipe::{RunSpec, Training},
    scale::Places,
};

const RUNS: &str = "@runs/";

/// The folder of the run that a configuration starts from, as recipes write it.
pub(crate) fn run_of(config: &TrainConfig) -> Option<String> {
    config.weights.to_str()?.strip_prefix(RUNS).map(str::to_owned)
}

impl Recipe {
    /// Points the trainings of `run` that start from an earlier run of several seeds to the one of
    /// their own seed.
    ///
    /// # Errors
    /// A run that is not before `run` in the recipe, or that is not trained with the seed.
    pub(crate) fn find_starts(
        &self,
        run: &RunSpec,
        trainings: &mut [Training],
        name: &str,
    ) -> Result<()> {
        for training in trainings {
            let Some(start) = run_of(&training.config) else { continue };
            let refuse = |reason: String| {
                let reason = format!("run `{}` starts from {RUNS}{start}, {reason}", run.name);
                Err(ExperimentError::Recipe { recipe: name.into(), reason })
            };
            let earlier = self.run.iter().take_while(|other| other.name != run.name);
            let Some(earlier) = earlier.into_iter().find(|other| other.name == start) else {
                return refuse("which is none of the runs before it".into());
            };
            let folders = self.trainings(earlier, name)?;
            let seed = training.config.seed;
            let folder = match &folders[..] {
                [only] => &only.folder,
                several => match several.iter().find(|other| other.config.seed == seed) {
                    Some(same) => &same.folder,
                    None => return refuse(format!("which is not trained with seed {seed}")),
                },
            };
            training.config.weights = format!("{RUNS}{folder}").into();
        }
        Ok(())
    }
}

/// The file a configuration starts from; empty for none.
pub(crate) fn starting_weights(config: &TrainConfig, places: &Places) -> PathBuf {
    match run_of(config) {
        Some(folder) => RunFolder::new(places.runs.join(folder)).best(),
        None => places.resolve(&config.weights.to_string_lossy()).into(),
    }
}

/// SHA-256 of the file that a resolved configuration starts from; `None` for none.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn starting_hash(config: &TrainConfig) -> Result<Option<String>> {
    match config.weights.as_os_str().is_empty() {
        true => Ok(None),
        false => hash_of_file(&config.weights).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        shown = \"b\"
        seeds = [1, 2]
        [test]
        data = \"sample\"
        [[run]]
        name = \"a\"
        [[run]]
        name = \"b\"
        set = { weights = \"@runs/a\" }
    ";

    #[test]
    fn a_run_starts_from_the_one_of_its_seed() {
        let recipe = Recipe::parse(TEXT, "test").unwrap();
        let starts = |run: usize| -> Vec<PathBuf> {
            let trainings = recipe.trainings(&recipe.run[run], "test").unwrap();
            trainings.into_iter().map(|training| training.config.weights).collect()
        };
        assert_eq!(starts(0), [PathBuf::new(), PathBuf::new()]);
        assert_eq!(starts(1), [PathBuf::from("@runs/a-seed1"), PathBuf::from("@runs/a-seed2")]);
        let one = TEXT.replace("name = \"a\"", "name = \"a\"\n seeds = [9]");
        let recipe = Recipe::parse(&one, "test").unwrap();
        let trainings = recipe.trainings(&recipe.run[1], "test").unwrap();
        assert!(
            trainings.iter().all(|training| training.config.weights.to_str() == Some("@runs/a"))
        );

        let places = Places { data: "d".into(), lists: "l".into(), runs: "r".into() };
        let file = starting_weights(&trainings[0].config, &places);
        assert_eq!(file, PathBuf::from("r/a/checkpoints/best.safetensors"));
        let named = TrainConfig { weights: "@data/w.safetensors".into(), ..TrainConfig::default() };
        assert_eq!(starting_weights(&named, &places), PathBuf::from("d/w.safetensors"));
        assert_eq!(starting_weights(&TrainConfig::default(), &places), PathBuf::new());
    }

    #[test]
    fn a_start_that_does_not_come_before_is_refused() {
        let error = |from: &str, to: &str| {
            Recipe::parse(&TEXT.replace(from, to), "test").unwrap_err().to_string()
        };
        for start in ["@runs/b", "@runs/c"] {
            let error = error("@runs/a", start);
            let wanted = format!("run `b` starts from {start}, which is none of the runs before");
            assert!(error.contains(&wanted), "{error}");
        }
        let seeds = error("name = \"a\"", "name = \"a\"\n seeds = [1, 3]");
        assert!(seeds.contains("not trained with seed 2"), "{seeds}");
    }
}
