//! Methods: runs that differ in their seed only.

use deeplpf_eval::Scores;

use crate::{Result, runs::Run};

/// A row of a table: one run, or several trainings of one configuration with different seeds.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    /// Its name in tables; unique among the methods of a report.
    pub label: String,
    /// At least one.
    pub runs: Vec<Run>,
}

impl Method {
    /// One run alone, under its own name.
    pub fn of_run(run: Run) -> Self {
        Self { label: run.label.clone(), runs: vec![run] }
    }

    /// The run whose pictures are shown.
    pub fn first(&self) -> &Run {
        &self.runs[0]
    }

    /// Name of the pictures of [`Method::first`].
    pub fn picture_label(&self) -> String {
        match &self.first().training {
            Some(training) if self.runs.len() > 1 => {
                format!("{}, seed {}", self.label, training.config.seed)
            }
            _ => self.label.clone(),
        }
    }

    /// The scores of every seed.
    pub fn scores(&self) -> Vec<Scores> {
        self.runs.iter().map(|run| run.record.scores.clone()).collect()
    }

    /// Per image the mean over seeds.
    pub fn mean_scores(&self) -> Result<Scores> {
        Ok(Scores::mean_over_seeds(&self.label, &self.scores())?)
    }

    /// In words: `seed 1` or `seeds 1, 2, 3`; nothing where nothing was trained.
    pub fn seeds(&self) -> Option<String> {
        let seeds: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| Some(run.training.as_ref()?.config.seed.to_string()))
            .collect();
        match &seeds[..] {
            [] => None,
            [seed] => Some(format!("seed {seed}")),
            seeds => Some(format!("seeds {}", seeds.join(", "))),
        }
    }
}

/// Runs of one configuration with different seeds become one method, in the order of their first.
/// A second run of the same seed stands alone: it says nothing about the spread over seeds.
pub(crate) fn group(runs: Vec<Run>) -> Vec<Method> {
    let key = |run: &Run| run.training.as_ref().map(|training| training.without_seed());
    let seed = |run: &Run| run.training.as_ref().map(|training| training.config.seed);
    let mut methods: Vec<Method> = Vec::new();
    for run in runs {
        let same = methods.iter_mut().find(|method| {
            key(&run).is_some()
                && key(method.first()) == key(&run)
                && method.runs.iter().all(|other| seed(other) != seed(&run))
        });
        match same {
            Some(method) => method.runs.push(run),
            None => methods.push(Method::of_run(run)),
        }
    }
    for method in &mut methods {
        method.label = common_label(&method.runs);
    }
    name_apart(&mut methods);
    methods
}

/// What the names of runs that differ in their seed have in common, or all of them.
fn common_label(runs: &[Run]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.label.as_str()).collect();
    let [first, others @ ..] = &names[..] else { return String::new() };
    if others.iter().all(|other| other == first) {
        return (*first).to_owned();
    }
    let mut common = *first;
    while !others.iter().all(|other| other.starts_with(common)) {
        let end = common.char_indices().next_back().map_or(0, |(index, _)| index);
        common = &common[..end];
    }
    let trim = |text: &str| -> String {
        text.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ')').to_owned()
    };
    let common = trim(common);
    let common = trim(common.strip_suffix("seed").unwrap_or(&common));
    if common.is_empty() { names.join(", ") } else { common }
}

/// Methods of one label are told apart by the names of their folders, and by numbers where these
/// are the same too.
fn name_apart(methods: &mut [Method]) {
    let double = |methods: &[Method]| -> Vec<bool> {
        let is_double = |one: &Method| methods.iter().filter(|m| m.label == one.label).count() > 1;
        methods.iter().map(is_double).collect()
    };
    for (index, double) in double(methods).into_iter().enumerate() {
        let method = &mut methods[index];
        if !double {
            continue;
        }
        let folder = &method.first().folder;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        method.label = format!("{} ({name})", method.label);
    }
    for (index, double) in double(methods).into_iter().enumerate() {
        if double {
            methods[index].label = format!("{}, {}", methods[index].label, index + 1);
        }
    }
}
