//! A sweep on this machine: several processes of the program at a time.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{available_parallelism, sleep},
    time::Duration,
};

use deeplpf_train::Watch;

use super::{SweepTask, arguments, tasks_left};
use crate::{ExperimentError, ReproduceRequest, Result};

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How a sweep ended.
#[derive(Clone, Debug, Default)]
pub struct LocalSweep {
    /// Runs that are trained now.
    pub done: Vec<String>,
    /// Runs that failed, and their log files.
    pub failed: Vec<(String, PathBuf)>,
    /// Runs that were not started because the one they start from failed.
    pub left_out: Vec<String>,
    /// Whether it was stopped from outside; everything is saved.
    pub interrupted: bool,
}

impl LocalSweep {
    /// Trains what is left of the recipe with at most `jobs` processes of `program` at a time, which
    /// share this machine's processors. Each writes a log, `logs/RUN.log` in the results' folder.
    ///
    /// # Errors
    /// Those of [`tasks_left`], and a log or process that cannot be made. A run that fails is none.
    pub fn run(
        request: &ReproduceRequest,
        program: &Path,
        jobs: usize,
        watch: &mut dyn Watch,
    ) -> Result<Self> {
        let mut waiting = tasks_left(request)?;
        let all = waiting.len();
        let logs = request.folder().join("logs");
        fs::create_dir_all(&logs).map_err(ExperimentError::io("create", &logs))?;
        let processors = available_parallelism().map_or(1, usize::from);
        let threads = (processors / jobs.min(all).max(1)).max(1);
        let mut running: Vec<(String, PathBuf, Child)> = Vec::new();
        let mut sweep = Self::default();
        loop {
            if watch.stop() && !sweep.interrupted {
                sweep.interrupted = true;
                waiting.clear();
                running.iter_mut().for_each(|(.., child)| end(child));
            }
            while let Some(index) = waiting
                .iter()
                .position(|task| sweep.may_start(task))
                .filter(|_| running.len() < jobs)
            {
                let task = waiting.remove(index);
                let log = logs.join(format!("{}.log", task.folder));
                match start(request, program, &task.folder, &log, threads) {
                    Ok(child) => {
                        watch.note(&format!("{}: started, log in {}", task.folder, log.display()));
                        running.push((task.folder, log, child));
                    }
                    Err(error) => {
                        watch.note(&format!("{}: {error}", task.folder));
                        sweep.failed.push((task.folder, log));
                    }
                }
            }
            let mut index = 0;
            while index < running.len() {
                let (_, log, child) = &mut running[index];
                let Some(status) = child.try_wait().map_err(ExperimentError::io("follow", log))?
                else {
                    index += 1;
                    continue;
                };
                let (folder, log, _) = running.remove(index);
                if status.success() {
                    sweep.done.push(folder.clone());
                    let done = sweep.done.len();
                    watch.note(&format!("{folder}: trained and evaluated, {done} of {all} done"));
                } else if sweep.interrupted {
                    watch.note(&format!("{folder}: stopped"));
                } else {
                    let what = last_line(&log).unwrap_or_else(|| status.to_string());
                    watch.note(&format!("{folder}: FAILED ({what}), log in {}", log.display()));
                    sweep.failed.push((folder, log));
                }
            }
            while let Some(index) = waiting.iter().position(|task| sweep.is_in_vain(task)) {
                let task = waiting.remove(index);
                watch.note(&format!("{}: not started, for want of the run before", task.folder));
                sweep.left_out.push(task.folder);
            }
            if running.is_empty() && waiting.is_empty() {
                return Ok(sweep);
            }
            sleep(LOOK);
        }
    }

    fn may_start(&self, task: &SweepTask) -> bool {
        task.after.as_ref().is_none_or(|run| self.done.contains(run))
    }

    fn is_in_vain(&self, task: &SweepTask) -> bool {
        task.after.as_ref().is_some_and(|run| {
            self.left_out.contains(run) || self.failed.iter().any(|(failed, _)| failed == run)
        })
    }
}

fn start(
    request: &ReproduceRequest,
    program: &Path,
    run: &str,
    log: &Path,
    threads: usize,
) -> Result<Child> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(ExperimentError::io("write", log))?;
    let second = file.try_clone().map_err(ExperimentError::io("write", log))?;
    let mut command = Command::new(program);
    command.args(arguments(request, &["--only", run]));
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command.stdin(Stdio::null()).stdout(file).stderr(second);
    // A terminal's Ctrl-C must not reach it beside ours: a second one ends it before it has saved.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(ExperimentError::io("start", program))
}

/// Asks a process to save and exit; where a system has no such question, it is killed, and what it
/// saved last is whole.
fn end(child: &mut Child) {
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    if !asked.is_ok_and(|status| status.success()) {
        // It has ended by itself.
        let _ = child.kill();
    }
}

fn last_line(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned)
}
