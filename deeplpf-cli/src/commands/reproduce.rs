//! `deeplpf reproduce`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use deeplpf_experiments::{
    ExperimentError, ReproduceRequest, Scale, plan, recipes, reproduce, reproduce_only, tasks_left,
};

use super::submit;
use crate::{console, ranks, training_progress::TrainingProgress};

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The name of a built-in recipe (see --list), or a recipe file (.toml).
    #[arg(required_unless_present = "list")]
    recipe: Option<String>,

    /// How large: `sample` (minutes, embedded data, shows that it runs), `mini` (some hundred
    /// pairs), `paper` (the data and the length of published numbers).
    #[arg(long, value_name = "SCALE")]
    scale: Option<Scale>,

    /// The folder that holds the data sets of `mini` and `paper`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data_root: PathBuf,

    /// The folder of the results; by default `runs/RECIPE-SCALE`.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print what would be done and stop: runs, what the paper reports of them, data, disk, and time,
    /// measured by a few steps on this machine.
    #[arg(long)]
    dry_run: bool,

    /// Train again the runs whose configuration, code or data changed since; the old ones are kept
    /// as `NAME.before-1`. Without it they are an error.
    #[arg(long)]
    redo: bool,

    /// List the built-in recipes and stop.
    #[arg(long)]
    list: bool,

    /// Train and evaluate the run of this folder alone; no table.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["dry_run", "submit"])]
    only: Option<String>,

    /// Make the tables of finished runs and train nothing; a run that is not finished is an error.
    #[arg(long, conflicts_with_all = ["dry_run", "submit", "only"])]
    tables: bool,

    #[command(flatten)]
    sweep: submit::Args,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf reproduce --list
  deeplpf reproduce sample
  deeplpf reproduce ablation --scale sample
  deeplpf reproduce ablation --scale paper --dry-run
  deeplpf reproduce ablation --scale mini --data-root data
  deeplpf reproduce my-recipe.toml -o results
  deeplpf reproduce ablation --scale mini --submit local -j 4
  deeplpf reproduce ablation --scale paper --submit slurm --time 12:00:00 --gpus 1

What is finished is skipped: a recipe that was interrupted goes on when it is called again.";

/// Runs a recipe and prints its table.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(recipe) = args.recipe.as_deref().filter(|_| !args.list) else {
        let lines: String = recipes()?
            .into_iter()
            .map(|recipe| {
                format!("{:<16} {:<18} {}\n", recipe.name, recipe.scales, recipe.description)
            })
            .collect();
        console::print(&lines)?;
        return Ok(ExitCode::SUCCESS);
    };
    ranks::require_alone("reproduce")?;
    let request = ReproduceRequest {
        recipe: recipe.into(),
        scale: args.scale,
        out: args.out.clone(),
        data_root: args.data_root.clone(),
        redo: args.redo,
    };
    if args.sweep.is_asked() {
        return args.sweep.run(&request, args.dry_run);
    }
    if args.tables {
        let left = tasks_left(&request)?;
        if !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|task| task.folder.as_str()).collect();
            bail!("no table yet, these runs are not finished: {}", names.join(", "));
        }
    }
    if args.dry_run {
        console::print(&format!("{}\n", plan(&request)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut progress = TrainingProgress::new(console::progress)?;
    let result = match &args.only {
        Some(run) => reproduce_only(&request, run, &mut progress).map(|()| None),
        None => reproduce(&request, &mut progress).map(Some),
    };
    let summary = match result {
        Err(error @ ExperimentError::Interrupted { .. }) => {
            drop(progress);
            console::print(&format!("{error}\n"))?;
            return Ok(ExitCode::from(console::INTERRUPTED));
        }
        result => result?,
    };
    drop(progress);
    if let Some(summary) = summary {
        console::print(&format!("{summary}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
