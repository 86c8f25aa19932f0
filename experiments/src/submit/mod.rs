//! Sweeps: the trainings of a recipe as tasks that processes of their own do, here or on a cluster.

use std::{ffi::OsString, path::PathBuf};

use deeplpf_train::RunFolder;

use crate::{
    ExperimentError, ReproduceRequest, Result,
    fingerprint::Fingerprint,
    reproduce::{DataHashes, named_lists},
    start::{run_of, starting_hash},
};

pub(crate) mod local;
pub(crate) mod slurm;

/// One training that is still to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepTask {
    /// The run's folder in `runs/`.
    pub folder: String,
    /// The run before it whose best weights it starts from, where that one is still to be trained.
    pub after: Option<String>,
}

/// What a cluster is asked for; empty or `None` leaves it to the cluster.
#[derive(Clone, Debug, Default)]
pub struct SlurmOptions {
    /// The partition.
    pub partition: Option<String>,
    /// The time limit of a task, as Slurm writes it (`12:00:00`).
    pub time: Option<String>,
    /// The account that is charged.
    pub account: Option<String>,
    /// GPUs a task.
    pub gpus: Option<u32>,
    /// Processors a task.
    pub cpus_per_task: Option<u32>,
    /// Further options of `sbatch`, as they are.
    pub further: Vec<String>,
}

/// A job that was submitted.
#[derive(Clone, Debug)]
pub struct SlurmJob {
    /// Its script.
    pub script: PathBuf,
    /// Its number; `None` where only the script was written.
    pub id: Option<String>,
    /// Runs of its tasks, in order; none for the table's.
    pub runs: Vec<String>,
}

/// The trainings of a recipe that are not finished, in order.
///
/// # Errors
/// A recipe that is not valid, data that are not there, or (without `redo`) a run that was begun with
/// another configuration, code or data.
pub fn tasks_left(request: &ReproduceRequest) -> Result<Vec<SweepTask>> {
    request.owner().require(&request.folder())?;
    let all = request.trainings()?;
    let places = request.places();
    places.write_lists(&named_lists(&[], all.iter().map(|(training, _)| training)))?;
    let mut hashes = DataHashes::default();
    let mut left: Vec<SweepTask> = Vec::new();
    for (training, config) in all {
        let data = hashes.of(&training.config, &places)?;
        let after = run_of(&training.config).filter(|run| left.iter().any(|t| t.folder == *run));
        let folder = training.folder;
        if after.is_none()
            && let Some(before) = Fingerprint::read(&config.run)?
        {
            let now = Fingerprint::new(&training.config, data, starting_hash(&config)?);
            let run = RunFolder::new(&config.run);
            let begun = run.state().exists() || run.previous_state().exists();
            match now.change_from(&before, &run, &config) {
                Some(change) if begun && !request.redo => {
                    return Err(ExperimentError::Changed { path: config.run, change });
                }
                Some(_) => {}
                None if run.metrics().exists()
                    && run.best().exists()
                    && run.records()?.len() as u64 >= config.epochs =>
                {
                    continue;
                }
                None => {}
            }
        }
        left.push(SweepTask { folder, after });
    }
    Ok(left)
}

/// The arguments with which the program does a part of the request: `part` says which.
fn arguments(request: &ReproduceRequest, part: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["reproduce".into()];
    if let Some(scale) = request.scale {
        arguments.extend(["--scale".into(), scale.to_string().into()]);
    }
    arguments.extend(["--data-root".into(), request.data_root.clone().into()]);
    arguments.extend(["--out".into(), request.folder().into()]);
    if request.redo {
        arguments.push("--redo".into());
    }
    arguments.extend(part.iter().map(OsString::from));
    arguments.extend(["--".into(), request.recipe.clone().into()]);
    arguments
}
