//! `deeplpf reproduce --submit`: the trainings of a recipe as processes of their own.

use std::{env, num::NonZeroUsize, process::ExitCode};

use anyhow::{Context, bail};
use deeplpf_experiments::{LocalSweep, ReproduceRequest, SlurmOptions, reproduce, submit_slurm};

use crate::{console, training_progress::TrainingProgress};

/// Where.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    /// Processes on this machine, -j at a time.
    Local,
    /// A job array under Slurm; with --dry-run only its scripts are written.
    Slurm,
}

/// The arguments.
#[derive(clap::Args)]
#[command(next_help_heading = "Sweeps")]
pub struct Args {
    /// Train the runs in processes of their own.
    #[arg(long, value_name = "WHERE")]
    submit: Option<Place>,

    /// How many at a time on this machine; they share its processors.
    #[arg(short, long, value_name = "N", default_value = "1", requires = "submit")]
    jobs: NonZeroUsize,

    /// Slurm: the partition.
    #[arg(long, requires = "submit")]
    partition: Option<String>,

    /// Slurm: the time limit of a training; 90 s before, it saves and is queued again.
    #[arg(long, requires = "submit")]
    time: Option<String>,

    /// Slurm: the account that is charged.
    #[arg(long, requires = "submit")]
    account: Option<String>,

    /// Slurm: GPUs a training (the recipe's `device` says whether it uses one).
    #[arg(long, value_name = "N", requires = "submit")]
    gpus: Option<u32>,

    /// Slurm: processors a training.
    #[arg(long, value_name = "N", requires = "submit")]
    cpus_per_task: Option<u32>,

    /// Slurm: a further option for sbatch as it is, e.g. --sbatch=--mem=8G; may be repeated.
    #[arg(long, value_name = "OPTION", requires = "submit", allow_hyphen_values = true)]
    sbatch: Vec<String>,
}

impl Args {
    /// Whether there is a sweep to submit.
    pub fn is_asked(&self) -> bool {
        self.submit.is_some()
    }

    /// Runs or submits the sweep.
    pub fn run(&self, request: &ReproduceRequest, dry_run: bool) -> anyhow::Result<ExitCode> {
        let program = env::current_exe().context("the program does not find itself")?;
        if self.submit == Some(Place::Slurm) {
            let options = SlurmOptions {
                partition: self.partition.clone(),
                time: self.time.clone(),
                account: self.account.clone(),
                gpus: self.gpus,
                cpus_per_task: self.cpus_per_task,
                further: self.sbatch.clone(),
            };
            let mut text = String::new();
            let mut ids = Vec::new();
            for job in submit_slurm(request, &program, &options, dry_run)? {
                let what = match job.runs.is_empty() {
                    true => "tables".into(),
                    false => job.runs.join(", "),
                };
                let id = job.id.as_deref().map_or("written".into(), |id| format!("job {id}"));
                text.push_str(&format!("{id}: {} ({what})\n", job.script.display()));
                ids.extend(job.id);
            }
            if !ids.is_empty() {
                let logs = request.folder().join("slurm");
                let ids = ids.join(",");
                text.push_str(&format!("watch: squeue -j {ids}; logs in {}\n", logs.display()));
            }
            console::print(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let slurm_only = self.partition.is_some()
            || self.time.is_some()
            || self.account.is_some()
            || self.gpus.is_some()
            || self.cpus_per_task.is_some()
            || !self.sbatch.is_empty();
        if slurm_only {
            bail!(
                "--partition, --time, --account, --gpus, --cpus-per-task and --sbatch go with --submit slurm"
            );
        }
        if dry_run {
            bail!(
                "--dry-run does not go with --submit local; without --submit it prints the same plan"
            );
        }
        let mut progress = TrainingProgress::new(console::progress)?;
        let sweep = LocalSweep::run(request, &program, self.jobs.get(), &mut progress)?;
        if sweep.interrupted {
            drop(progress);
            console::print("stopped; what is done is saved, and the same command goes on\n")?;
            return Ok(ExitCode::from(console::INTERRUPTED));
        }
        if !sweep.failed.is_empty() {
            let failed: Vec<String> = sweep
                .failed
                .iter()
                .map(|(run, log)| format!("{run} (log in {})", log.display()))
                .collect();
            bail!(
                "{} of the runs failed: {}; {} finished runs are kept{}, and the same command goes on",
                failed.len(),
                failed.join(", "),
                sweep.done.len(),
                match sweep.left_out.is_empty() {
                    true => String::new(),
                    false => format!(", not started were {}", sweep.left_out.join(", ")),
                }
            );
        }
        let summary = reproduce(request, &mut progress)?;
        drop(progress);
        console::print(&format!("{summary}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
