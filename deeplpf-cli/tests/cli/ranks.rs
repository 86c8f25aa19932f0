//! A training shared out over processes by mpirun.
#![cfg(unix)]

use std::process::Command;

use crate::room::{PROGRAM, Room, Run};

/// Ten pairs of which nine are trained on, one a batch, the smallest model. Four batches a step: an
/// epoch is of three steps, the last over one batch.
fn room() -> Room {
    let room = Room::new();
    for id in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        room.picture(&format!("pairs/input/{id}.png"), 36, 32);
        room.plain(&format!("pairs/target/{id}.png"), 36, 32, [90, 120, 60]);
    }
    room.write(
        "train.toml",
        "initialisation = \"identity\"\nsave_every = 2\naverage = 0.9\n\
         [data]\nsource = \"pairs\"\nvalid_fraction = 0.1\ncrop = 32\naccumulate = 4\nthreads = 1\n\
         [adam]\nlearning_rate = 1e-3\n\
         [model]\nfixes = \"all\"\nwidths = [3, 3, 3, 3, 3]\nfeatures = 4\nhead_width = 3\n\
         head_size = 43\n",
    );
    room
}

/// One of several processes, as OpenMPI says it, is told what its program lacks.
#[cfg(not(feature = "mpi"))]
#[test]
fn a_program_without_mpi_says_so_when_it_is_started_several_times() {
    let room = room();
    let mut command = Command::new(PROGRAM);
    command.args(["train", "--config", "train.toml"]).current_dir(room.path(""));
    let run = Run::of(command.env("OMPI_COMM_WORLD_SIZE", "2").env("OMPI_COMM_WORLD_RANK", "0"));
    run.one_error(&["2 processes were started together", "--features mpi"]);
    assert!(!room.path("runs").exists());
    println!(
        "SKIPPED: trainings on several ranks: this test program is built without feature `mpi`"
    );
}

#[test]
fn a_reproduction_is_not_started_several_times() {
    let room = room();
    let mut command = Command::new(PROGRAM);
    command.args(["reproduce", "ablation", "--scale", "sample"]).current_dir(room.path(""));
    Run::of(command.env("PMI_SIZE", "3")).one_error(&["started 3 times", "deeplpf train"]);
}

/// The same, as torchrun says it.
#[cfg(not(feature = "nccl"))]
#[test]
fn a_program_without_nccl_says_so_when_it_is_told_to_meet_others() {
    let room = room();
    let mut command = Command::new(PROGRAM);
    command.args(["train", "--config", "train.toml"]).current_dir(room.path(""));
    command.envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")]);
    Run::of(&mut command).one_error(&["2 processes were started together", "--features nccl"]);
    assert!(!room.path("runs").exists());
}

#[test]
fn variables_that_say_half_of_it_are_refused() {
    let room = room();
    let mut command = Command::new(PROGRAM);
    command.args(["train", "--config", "train.toml"]).current_dir(room.path(""));
    command.envs([("RANK", "0"), ("MASTER_ADDR", "127.0.0.1")]);
    Run::of(&mut command).one_error(&["WORLD_SIZE is not set", "torchrun", "unset"]);
}

/// By variables alone, on CPUs: on GPUs deeplpf-train's tests do it, on its stand-in driver.
#[cfg(feature = "nccl")]
#[test]
fn ranks_that_are_told_where_to_meet_are_one_run() {
    use std::{net::TcpListener, process::Stdio};

    let room = room();
    let line = "train --config train.toml --device cpu --set run=alone --set epochs=2";
    assert_eq!(room.run(line).code, 0);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let start = |rank: usize| {
        let mut command = Command::new(PROGRAM);
        command.args(line.replace("run=alone", "run=together").split(' '));
        command.envs([("MASTER_ADDR", "127.0.0.1"), ("WORLD_SIZE", "2")]);
        command.env("RANK", rank.to_string()).env("MASTER_PORT", port.to_string());
        command.current_dir(room.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let [first, second] = [0, 1].map(start).map(|child| child.wait_with_output().unwrap());
    assert!(first.status.success() && second.status.success(), "{first:?}\n{second:?}");
    assert!(second.stdout.is_empty() && second.stderr.is_empty(), "{second:?}");
    let weights = |run: &str| room.read(&format!("{run}/checkpoints/last.safetensors"));
    assert!(weights("together") == weights("alone"));
}

#[cfg(feature = "mpi")]
mod with_mpi {
    use std::{
        fs,
        io::Read,
        process::{Child, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// Where there is no mpirun nothing here can run, which is said by name.
    fn mpirun(test: &str) -> Option<Command> {
        let found = Command::new("mpirun").arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: {test}: no mpirun on this machine");
            return None;
        }
        let mut command = Command::new("mpirun");
        // More ranks than cores, and as root in a container: OpenMPI 4, and 5's PRRTE.
        for variable in [
            "OMPI_ALLOW_RUN_AS_ROOT",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
            "OMPI_MCA_rmaps_base_oversubscribe",
            "PRTE_ALLOW_RUN_AS_ROOT",
            "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
        ] {
            command.env(variable, "1");
        }
        command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
        command.env("RAYON_NUM_THREADS", "1");
        Some(command)
    }

    const TRAIN: [&str; 5] = [PROGRAM, "train", "--config", "train.toml", "--resume"];

    /// Trains `run` for `epochs` on `ranks`.
    fn train(room: &Room, mut command: Command, ranks: usize, run: &str, epochs: u64) -> Run {
        command.args(["-n", &ranks.to_string()]).args(TRAIN);
        command.args(["--set", &format!("run={run}"), "--set", &format!("epochs={epochs}")]);
        Run::of(command.current_dir(room.path("")))
    }

    /// The numbers of both files are equal to the bit, which is more than the 1e-6 that is promised
    /// between machines.
    fn is_the_same_run(room: &Room, run: &str, other: &str) {
        for name in ["last", "best"] {
            let of = |run: &str| room.read(&format!("{run}/checkpoints/{name}.safetensors"));
            assert!(of(run) == of(other), "{name} of {run} and {other}");
        }
        let records = |run: &str| {
            let text = String::from_utf8(room.read(&format!("{run}/metrics.jsonl"))).unwrap();
            let lines = text.lines().map(|line| line.split(",\"seconds\"").next().unwrap().into());
            lines.collect::<Vec<String>>()
        };
        assert_eq!(records(run), records(other));
    }

    fn alone(room: &Room, run: &str, epochs: u64) {
        let line =
            format!("train --config train.toml --resume --set run={run} --set epochs={epochs}");
        let done = room.run(&line);
        assert_eq!(done.code, 0, "{done:?}");
    }

    /// 17 epochs of three steps.
    #[test]
    fn fifty_steps_on_2_and_4_ranks_are_those_of_one_process() {
        let room = room();
        alone(&room, "alone", 17);
        for ranks in [2, 4] {
            let test = "fifty_steps_on_2_and_4_ranks_are_those_of_one_process";
            let Some(command) = mpirun(test) else { return };
            let run = format!("on-{ranks}");
            let done = train(&room, command, ranks, &run, 17);
            assert_eq!(done.code, 0, "{done:?}");
            assert!(done.stderr.contains(&format!("note: {ranks} ranks, ")), "{done:?}");
            // What it says, it says once.
            assert_eq!(done.stdout.matches("17 epochs, 51 steps, loss ").count(), 1, "{done:?}");
            assert_eq!(done.stderr.matches("epoch   step     loss").count(), 1, "{done:?}");
            is_the_same_run(&room, &run, "alone");
        }
    }

    /// Ranks of one launch with different arguments: one sentence, and no folder.
    #[test]
    fn ranks_that_differ_are_told_once() {
        let room = room();
        let Some(mut command) = mpirun("ranks_that_differ_are_told_once") else { return };
        let apart = ["-n", "1"];
        command.args(apart).args(TRAIN).arg(":").args(apart).args(TRAIN).args(["--set", "seed=5"]);
        let run = Run::of(command.current_dir(room.path("")));
        assert_ne!(run.code, 0);
        assert_eq!(run.stderr.matches("error: ").count(), 1, "{run:?}");
        assert!(run.stderr.contains("rank 1 on "), "{run:?}");
        assert!(run.stderr.contains("seed is 1 there, here 5; start all ranks"), "{run:?}");
        assert!(!room.path("runs").exists());

        let Some(command) = mpirun("too few batches") else { return };
        let run = train(&room, command, 5, "run", 1);
        assert_ne!(run.code, 0);
        assert_eq!(run.stderr.matches("error: ").count(), 1, "{run:?}");
        assert!(run.stderr.contains("set data.accumulate to 5 or more"), "{run:?}");

        // A configuration that only one rank cannot read.
        let Some(mut command) = mpirun("a configuration that is missing") else { return };
        command.args(apart).args(TRAIN).arg(":").args(apart);
        command.args([PROGRAM, "train", "--config", "missing.toml"]);
        let run = Run::of(command.current_dir(room.path("")));
        assert_ne!(run.code, 0);
        assert_eq!(run.stderr.matches("error: ").count(), 1, "{run:?}");
        assert!(run.stderr.contains("cannot read missing.toml"), "{run:?}");
    }

    /// A child that goes when its test fails.
    struct Started(Child);

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(room: &Room, mut command: Command, ranks: usize, run: &str) -> Started {
        command.args(["-n", &ranks.to_string()]).args(TRAIN);
        command.args(["--set", &format!("run={run}"), "--set", "epochs=100000"]);
        command.current_dir(room.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let before = records(room, run);
        let started = Started(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(120);
        while records(room, run) < before + 2 {
            assert!(Instant::now() < end, "no 2 epochs in two minutes");
            thread::sleep(Duration::from_millis(2));
        }
        started
    }

    fn records(room: &Room, run: &str) -> u64 {
        let text = fs::read_to_string(room.path(&format!("{run}/metrics.jsonl")));
        text.map_or(0, |text| text.lines().filter(|line| line.ends_with('}')).count() as u64)
    }

    /// The process that is this rank of those that `mpirun` started: its environment says so.
    fn process_of(rank: usize, run: &str) -> String {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let has = |bytes: &[u8], part: &str| {
                bytes.split(|byte| *byte == 0).any(|item| item == part.as_bytes())
            };
            let ranked = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"]
                .iter()
                .any(|name| has(&read("environ"), &format!("{name}={rank}")));
            if ranked && has(&read("cmdline"), &format!("run={run}")) {
                return entry.file_name().into_string().unwrap();
            }
        }
        panic!("no rank {rank} of {run} is there");
    }

    fn signal(name: &str, process: &str) {
        assert!(Command::new("kill").args([name, process]).status().unwrap().success());
    }

    /// A rank that is lost ends all; the state is whole, and goes on with fewer ranks, or one.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_lost_rank_ends_the_job_which_goes_on_with_another_number() {
        let room = room();
        // No other test's process has this name.
        let run = format!("lost-{}", std::process::id());
        for (ranks, lost) in [(3, 2), (2, 0), (4, 1)] {
            let test = "a_lost_rank_ends_the_job_which_goes_on_with_another_number";
            let Some(command) = mpirun(test) else { return };
            let mut started = start(&room, command, ranks, &run);
            signal("-KILL", &process_of(lost, &run));
            let killed = Instant::now();
            let status = started.0.wait().unwrap();
            assert!(!status.success());
            assert!(killed.elapsed() < Duration::from_secs(60), "it hung");
        }
        let epochs = records(&room, &run) + 2;
        let Some(command) = mpirun("resume") else { return };
        let done = train(&room, command, 2, &run, epochs);
        assert_eq!(done.code, 0, "{done:?}");
        alone(&room, "whole", epochs);
        is_the_same_run(&room, &run, "whole");
    }

    /// One rank that is asked to end is enough: all save after the same step and say how to go on.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_rank_asked_to_end_has_all_save() {
        let room = room();
        let run = format!("asked-{}", std::process::id());
        let Some(command) = mpirun("a_rank_asked_to_end_has_all_save") else { return };
        let mut started = start(&room, command, 3, &run);
        signal("-TERM", &process_of(1, &run));
        let mut told = String::new();
        started.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(!started.0.wait().unwrap().success());
        assert!(told.contains("stopped after ") && told.contains("--resume"), "{told}");
        let epochs = records(&room, &run) + 1;
        alone(&room, &run, epochs);
        alone(&room, "whole", epochs);
        is_the_same_run(&room, &run, "whole");
    }
}
