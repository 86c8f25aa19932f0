//! `reproduce --submit`: runs as processes of their own, here and with a stand-in for Slurm's `sbatch`.
#![cfg(unix)]

use crate::room::Room;

const RECIPE: &str = r#"
title = "Tiny"
description = "Three runs."
shown = "one"
[test]
data = "sample"
[base]
epochs = 1
initialisation = "identity"
[base.data]
source = "sample"
crop = 32
[base.model]
fixes = "all"
widths = [4, 4, 4, 4, 4]
features = 8
head_width = 8
head_size = 43
[[run]]
name = "one"
[[run]]
name = "two"
set = { DEVICE seed = 2 }
[[run]]
name = "three"
set = { weights = "@runs/two", seed = 3 }
"#;

fn room(device: &str) -> Room {
    let room = Room::new();
    room.write("it's tiny.toml", RECIPE.replace("DEVICE", device));
    room
}

const REPRODUCE: &str =
    r#"PATH="$PWD/bin:$PATH" "$deeplpf" reproduce "it's tiny.toml" -o "my results" "#;

#[test]
fn a_sweep_goes_on_after_a_failure_and_makes_the_tables() {
    let room = room("device = \"cuda:99\",");
    let sweep = || room.shell(&format!("{REPRODUCE} --submit local -j 2"));
    let failed = sweep();
    let words =
        ["1 of the runs failed: two", "two.log", "1 finished runs", "not started were three"];
    failed.one_error_at_end(&words);
    assert!(!room.path("my results/table.md").exists());
    let weights = room.path("my results/runs/one/checkpoints/best.safetensors");
    let made = || std::fs::metadata(&weights).unwrap().modified().unwrap();
    let before = made();
    let early = room.shell(&format!("{REPRODUCE} --tables"));
    early.one_error_at_end(&["not finished: two, three"]);

    room.write("it's tiny.toml", RECIPE.replace("DEVICE", ""));
    let done = sweep();
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(made(), before);
    let started = |run: &str| done.stderr.find(&format!("{run}: started"));
    let trained = done.stderr.find("two: trained and evaluated").unwrap();
    assert!(started("one").is_none() && started("three").unwrap() > trained, "{done:?}");
    // Runs without a label are called by their names.
    let table = String::from_utf8(room.read("my results/table.md")).unwrap();
    assert!(["| one |", "| two |", "| three |"].iter().all(|row| table.contains(row)), "{table}");
    let alone = room.shell(&format!("{REPRODUCE} --only four"));
    alone.one_error_at_end(&["no run `four`; its runs are one, two, three"]);
}

#[test]
fn jobs_are_submitted_with_their_dependencies() {
    let room = room("");
    room.write(
        "bin/sbatch",
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >> asked.txt\necho -- >> asked.txt\n\
         grep -c '^--$' asked.txt | sed 's/^/10/'\n",
    );
    let dry = room.shell(&format!("chmod +x bin/sbatch; {REPRODUCE} --submit slurm --dry-run"));
    assert_eq!((dry.code, room.path("asked.txt").exists()), (0, false), "{dry:?}");
    let submit = format!("{REPRODUCE} --submit slurm --time 10 --sbatch=--mem=2G");
    let run = room.shell(&submit);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("squeue -j 101,102,103"), "{run:?}");
    let asked = String::from_utf8(room.read("asked.txt")).unwrap();
    let jobs: Vec<Vec<&str>> = asked.split("--\n").map(|job| job.lines().collect()).collect();
    let wanted: [&[&str]; 3] = [
        &["--array=0-1", "--requeue", "--signal=B:USR1@90", "--time=10", "--mem=2G"],
        &["--array=0-0", "--dependency=afterok:101_1", "--kill-on-invalid-dep=yes"],
        &["--dependency=afterany:101:102"],
    ];
    for (job, wanted) in jobs.iter().zip(wanted) {
        assert!(wanted.iter().all(|option| job.contains(option)), "{job:?}");
    }
    // The scripts do what they say, names with blanks and quotes included.
    let script = |name: &str, task: u32| {
        room.shell(&format!("SLURM_ARRAY_TASK_ID={task} bash 'my results/slurm/{name}.sh'"))
    };
    for (name, task) in [("train-1", 0), ("train-1", 1), ("train-2", 0), ("table", 0)] {
        let run = script(name, task);
        assert_eq!(run.code, 0, "{name} {task}: {run:?}");
    }
    assert!(room.path("my results/table.md").exists());
    assert_eq!(script("train-1", 7).code, 2);
}

#[test]
fn what_cannot_be_submitted_is_said() {
    let room = room("");
    room.write("bin/sbatch", "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n");
    let refused = room.shell(&format!("chmod +x bin/sbatch; {REPRODUCE} --submit slurm"));
    refused.one_error_at_end(&["sbatch refused", "train-1.sh", "invalid partition"]);
    let absent = r#"PATH=/nowhere "$deeplpf" reproduce "it's tiny.toml" --submit slurm"#;
    room.shell(absent).one_error_at_end(&["no sbatch on PATH", "--submit local"]);
    assert_ne!(room.shell(&format!("{REPRODUCE} --submit local -j 0")).code, 0);
    let dry = room.shell(&format!("{REPRODUCE} --submit local --dry-run"));
    dry.one_error_at_end(&["--dry-run does not go with --submit local"]);
    let misplaced = room.shell(&format!("{REPRODUCE} --submit local --time 10"));
    misplaced.one_error_at_end(&["go with --submit slurm"]);
}

/// Half a sweep would be trained twice by the next attempt.
#[test]
fn a_refusal_in_the_middle_takes_back_what_was_submitted() {
    let room = room("");
    room.write(
        "bin/sbatch",
        "#!/bin/sh\ncase \"$*\" in *table.sh) echo 'sbatch: error: too many jobs' >&2; exit 1;; esac\n\
         echo 7 >> asked.txt; wc -l < asked.txt\n",
    );
    let refused = room.shell(&format!("chmod +x bin/sbatch; {REPRODUCE} --submit slurm"));
    refused.one_error_at_end(&["table.sh", "too many jobs", "run `scancel 1 2`"]);
    room.write("bin/scancel", "#!/bin/sh\necho \"$@\" > cancelled.txt\n");
    let refused = room.shell(&format!("chmod +x bin/scancel; {REPRODUCE} --submit slurm"));
    refused.one_error_at_end(&["too many jobs", "cancelled (jobs 3 4)"]);
    assert_eq!(room.read("cancelled.txt"), b"3 4\n");
}

/// A training that was killed is queued again, a few times; one that failed is not.
#[test]
fn a_killed_task_is_queued_again() {
    let room = room("");
    room.write("bin/sbatch", "#!/bin/sh\necho 1\n");
    room.write("bin/scontrol", "#!/bin/sh\necho \"$@\" >> queued.txt\n");
    let dry = room.shell(&format!("chmod +x bin/*; {REPRODUCE} --submit slurm --dry-run"));
    assert_eq!(dry.code, 0, "{dry:?}");
    let task = |ending: &str, restarts: u32| {
        room.shell(&format!(
            "sed \"s|'.*/deeplpf' .* &|sh -c '{ending}' \\&|\" 'my results/slurm/train-1.sh' > task.sh; \
             PATH=\"$PWD/bin:$PATH\" SLURM_ARRAY_JOB_ID=5 SLURM_ARRAY_TASK_ID=1 \
             SLURM_RESTART_COUNT={restarts} bash task.sh"
        ))
    };
    let (killed, failed) = ("exit 137", "exit 1");
    assert_eq!(task(killed, 0).code, 0);
    assert_eq!(room.read("queued.txt"), b"requeue 5_1\n");
    assert_eq!((task(killed, 3).code, task(failed, 0).code), (137, 1));
    assert_eq!(room.read("queued.txt"), b"requeue 5_1\n");
}

/// Interrupted as a terminal does it, a sweep lets each of its processes save, and says how to go on.
#[test]
fn an_interrupted_sweep_is_saved_and_goes_on() {
    let room = room("");
    room.write(
        "endless.toml",
        RECIPE.replace("DEVICE", "").replace("epochs = 1", "epochs = 99999"),
    );
    let sweep = "exec \"$deeplpf\" reproduce endless.toml -o out --submit local -j 2 2> said.txt";
    let both = "[ -s out/runs/one/metrics.jsonl ] && [ -s out/runs/two/metrics.jsonl ]";
    let stopped = room.shell(&format!(
        "sh -c '{sweep}' & sweep=$!\n\
         for i in $(seq 600); do if {both}; then break; fi; sleep 0.1; done\n\
         # A shell's background processes ignore INT; TERM goes the same way.\n\
         kill -TERM $sweep; wait $sweep"
    ));
    assert_eq!(stopped.code, 130, "{stopped:?}");
    assert_eq!(stopped.stdout, "stopped; what is done is saved, and the same command goes on\n");
    let said = String::from_utf8(room.read("said.txt")).unwrap();
    for run in ["one", "two"] {
        assert!(said.contains(&format!("{run}: stopped")), "{said}");
        assert!(room.path(&format!("out/runs/{run}/state/state.safetensors")).exists());
        // Nobody trains there any more.
        let log = String::from_utf8(room.read(&format!("out/logs/{run}.log"))).unwrap();
        assert!(log.contains("saving after this step") && log.contains("stopped in run"), "{log}");
    }
    assert!(!said.contains("three: started"), "{said}");
}
