//! A sweep on a cluster under Slurm: job arrays of the trainings, and a job for the tables.

use std::{env, ffi::OsStr, fs, io::ErrorKind, path::Path, process::Command};

use deeplpf_data::atomic_file;

use super::{SlurmJob, SlurmOptions, SweepTask, arguments, tasks_left};
use crate::{ExperimentError, ReproduceRequest, Result};

/// How often a task that was killed (137: by the memory's guard, or by hand) is queued again.
const LIVES: u32 = 3;

/// Seconds before its time limit at which a task saves and is put back into the queue.
const BEFORE_THE_LIMIT: u32 = 90;

/// Writes `slurm/train-N.sh` and `slurm/table.sh` into the results' folder and, unless `dry`, submits
/// them: an array of the trainings that start from nothing, one array for each training that others
/// start from (after that task went well), and, after all have ended, the job that makes the tables. Where
/// one of them is refused, those before it are cancelled.
///
/// # Errors
/// Those of [`tasks_left`]; no `sbatch`, or what it says where it refuses.
pub fn submit_slurm(
    request: &ReproduceRequest,
    program: &Path,
    options: &SlurmOptions,
    dry: bool,
) -> Result<Vec<SlurmJob>> {
    let mut jobs = Vec::new();
    match submit_all(request, program, options, dry, &mut jobs) {
        Ok(()) => Ok(jobs),
        Err(error) => Err(take_back(&jobs, error)),
    }
}

/// Cancels the jobs submitted before an error: half a sweep would train runs that the next attempt
/// submits again.
fn take_back(jobs: &[SlurmJob], error: ExperimentError) -> ExperimentError {
    let ids: Vec<&str> = jobs.iter().filter_map(|job| job.id.as_deref()).collect();
    if ids.is_empty() {
        return error;
    }
    let cancelled = Command::new("scancel").args(&ids).output();
    let names = ids.join(" ");
    ExperimentError::Submit(match cancelled.is_ok_and(|output| output.status.success()) {
        true => format!("{error}; what was submitted before it is cancelled (jobs {names})"),
        false => {
            format!("{error}; submitted before it, and not cancelled: run `scancel {names}`")
        }
    })
}

fn submit_all(
    request: &ReproduceRequest,
    program: &Path,
    options: &SlurmOptions,
    dry: bool,
    jobs: &mut Vec<SlurmJob>,
) -> Result<()> {
    let left = tasks_left(request)?;
    let here = env::current_dir().map_err(ExperimentError::io("find", Path::new(".")))?;
    let folder = here.join(request.folder()).join("slurm");
    fs::create_dir_all(&folder).map_err(ExperimentError::io("create", &folder))?;
    // A run comes after the one it starts from, so that one's array is in `jobs` already.
    let mut groups: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for SweepTask { folder, after } in left {
        match groups.iter_mut().find(|(known, _)| *known == after) {
            Some((_, runs)) => runs.push(folder),
            None => groups.push((after, vec![folder])),
        }
    }
    for (number, (after, runs)) in groups.into_iter().enumerate() {
        let script = folder.join(format!("train-{}.sh", number + 1));
        write(&script, &training_script(request, program, &runs)?)?;
        let mut asked = options.arguments();
        asked.extend([
            format!("--array=0-{}", runs.len() - 1),
            "--requeue".into(),
            format!("--signal=B:USR1@{BEFORE_THE_LIMIT}"),
            format!("--output={}", pattern(&folder, "train-%A_%a.log")?),
        ]);
        if let Some(run) = &after {
            asked.push(format!("--dependency=afterok:{}", task_id(jobs, run)));
            asked.push("--kill-on-invalid-dep=yes".into());
        }
        let id = submit(&asked, &here, &script, dry)?;
        jobs.push(SlurmJob { script, id, runs });
    }
    let script = folder.join("table.sh");
    let line = command_line(program, request, &["--tables"])?;
    write(
        &script,
        &format!("#!/bin/bash\n# Makes the tables of the recipe; trains nothing.\nexec {line}\n"),
    )?;
    let mut asked = options.arguments();
    asked.push(format!("--output={}", pattern(&folder, "table-%j.log")?));
    if !jobs.is_empty() {
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_deref().unwrap_or("ID")).collect();
        asked.push(format!("--dependency=afterany:{}", ids.join(":")));
    }
    let id = submit(&asked, &here, &script, dry)?;
    jobs.push(SlurmJob { script, id, runs: Vec::new() });
    Ok(())
}

impl SlurmOptions {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            arguments.extend(value.map(|value| format!("--{name}={value}")));
        };
        add("partition", self.partition.clone());
        add("time", self.time.clone());
        add("account", self.account.clone());
        add("gpus", self.gpus.map(|n| n.to_string()));
        add("cpus-per-task", self.cpus_per_task.map(|n| n.to_string()));
        arguments.extend(self.further.iter().cloned());
        arguments
    }
}

/// `JOB_TASK` of a run in the arrays so far.
fn task_id(jobs: &[SlurmJob], run: &str) -> String {
    let place = |job: &SlurmJob| {
        let task = job.runs.iter().position(|known| known == run)?;
        Some(format!("{}_{task}", job.id.as_deref().unwrap_or("ID")))
    };
    jobs.iter().find_map(place).unwrap_or_default()
}

/// A log's place; Slurm takes `%` in a path for a pattern of its own.
fn pattern(folder: &Path, name: &str) -> Result<String> {
    Ok(format!("{}/{name}", text(folder.as_os_str())?.replace('%', "%%")))
}

fn text(path: &OsStr) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        ExperimentError::Submit(format!("{} is not UTF-8, which scripts need", path.display()))
    })
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn command_line(program: &Path, request: &ReproduceRequest, part: &[&str]) -> Result<String> {
    let mut words = vec![quoted(text(program.as_os_str())?)];
    for word in arguments(request, part) {
        words.push(quoted(text(&word)?));
    }
    Ok(words.join(" "))
}

/// The script of an array: task N trains the N-th run. Before the time limit it saves and is put back
/// into the queue, and so is one whose training was killed; a task that is cancelled is not.
fn training_script(request: &ReproduceRequest, program: &Path, runs: &[String]) -> Result<String> {
    let mut cases = String::new();
    for (number, run) in runs.iter().enumerate() {
        let line = command_line(program, request, &["--only", run])?;
        cases.push_str(&format!("  {number}) {line} & ;;\n"));
    }
    Ok(format!(
        "#!/bin/bash
# One training of the recipe a task; it goes on where it was when it is queued again.
[ -z \"$SLURM_CPUS_PER_TASK\" ] || export RAYON_NUM_THREADS=\"$SLURM_CPUS_PER_TASK\"
limit=
trap 'limit=1; kill -TERM \"$training\"' USR1
trap 'kill -TERM \"$training\"' TERM
case \"$SLURM_ARRAY_TASK_ID\" in
{cases}  *) echo \"no task $SLURM_ARRAY_TASK_ID\" >&2; exit 2 ;;
esac
training=$!
# A trapped signal ends a wait, not the training.
while :; do
  wait \"$training\"
  code=$?
  kill -0 \"$training\" 2>/dev/null || break
done
again=\"$limit\"
[ \"$code\" -ne 137 ] || [ \"${{SLURM_RESTART_COUNT:-0}}\" -ge {LIVES} ] || again=1
if [ -n \"$again\" ] && [ \"$code\" -ne 0 ]; then
  exec scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID\"
fi
exit \"$code\"
"
    ))
}

fn write(script: &Path, text: &str) -> Result<()> {
    atomic_file::write(script, text.as_bytes()).map_err(ExperimentError::io("write", script))
}

/// Submits a script and returns the job's number.
fn submit(asked: &[String], here: &Path, script: &Path, dry: bool) -> Result<Option<String>> {
    if dry {
        return Ok(None);
    }
    let mut command = Command::new("sbatch");
    command.arg("--parsable").arg("--chdir").arg(here).args(["--open-mode=append"]);
    command.args(asked).arg(script);
    let output = command.output().map_err(|error| {
        ExperimentError::Submit(match error.kind() {
            ErrorKind::NotFound => {
                "there is no sbatch on PATH: submit where Slurm is, write the scripts with --dry-run, or use --submit local".into()
            }
            _ => format!("sbatch cannot be run: {error}"),
        })
    })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', "; ");
    let answer = said(&output.stdout);
    // With several clusters it is `JOB;CLUSTER`.
    let id = answer.split(';').next().unwrap_or_default();
    if !output.status.success() || id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
        let script = script.display();
        let why = said(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        return Err(ExperimentError::Submit(format!("sbatch refused {script}: {why}")));
    }
    Ok(Some(id.to_owned()))
}
