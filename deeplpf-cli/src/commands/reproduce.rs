//! `deeplpf reproduce`.

use std::path::PathBuf;
use std::process::ExitCode;

use deeplpf_experiments::{recipes, reproduce};

use crate::console;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The name of a built-in recipe (see --list), or a recipe file (.toml).
    #[arg(required_unless_present = "list")]
    recipe: Option<String>,

    /// The folder of the results; by default the one the recipe names.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// List the built-in recipes and stop.
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  deeplpf reproduce --list
  deeplpf reproduce sample
  deeplpf reproduce my-recipe.toml -o results

What is finished is skipped: a recipe that was interrupted goes on when it is called again.";

/// Runs a recipe and prints its table.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(recipe) = args.recipe.as_deref().filter(|_| !args.list) else {
        let lines: String = recipes()?
            .into_iter()
            .map(|(name, description)| format!("{name:<16} {description}\n"))
            .collect();
        console::print(&lines)?;
        return Ok(ExitCode::SUCCESS);
    };
    let summary =
        reproduce(recipe, args.out.as_deref(), &mut |sentence| console::progress(sentence))?;
    console::print(&format!("{summary}\n"))?;
    Ok(ExitCode::SUCCESS)
}
