//! Whole runs on two GPUs, one for each of two processes, beside the same runs on the CPU.

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use deeplpf_core::cuda::device_count;
use deeplpf_data::augment::ColourAugmentation;
use deeplpf_train::{
    OnFailure, Result, RunFolder, RunSummary, StepLine, TrainConfig, Watch,
    distribution::{Meeting, Sockets},
    train, train_together,
};

use crate::{config, stand_in};

const RANKS: usize = 2;

/// Five batches an epoch in three steps, of which the last is over one batch.
fn case(name: &str, run: &Path, device: &str) -> TrainConfig {
    let mut config = config(run, device);
    config.data.accumulate = RANKS;
    match name {
        // Pairs are uploaded step by step, all that an update can do is done.
        "uploaded" => {
            config.data.augment = ColourAugmentation { exposure: 0.5, ..Default::default() };
            config.average = 0.99;
            config.adam.clip_norm = 0.01;
            config.adam.backbone_rate = 0.25;
        }
        // Shapes that differ from step to step and from rank to rank.
        "whole images" => (config.data.batch, config.data.crop, config.epochs) = (1, 0, 1),
        "saved" | "lost" => config.save_every = 1,
        "limit" => config.guard.max_loss = 1e-6,
        "skipped" => {
            config.guard.max_loss = 1e-6;
            config.guard.on_failure = OnFailure::Skip;
        }
        "accumulate" => config.data.accumulate = 3,
        "others" if env::var("RANKS_TEST_RANK").as_deref() == Ok("1") => config.seed = 4,
        _ => {}
    }
    config
}

struct StopAfter {
    after: u64,
    dies_after: u64,
    made: u64,
}

impl Watch for StopAfter {
    fn stop(&self) -> bool {
        self.made >= self.after
    }

    fn step(&mut self, _: &StepLine) {
        self.made += 1;
        if self.made == self.dies_after {
            std::process::abort();
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A rank; says what came of it.
#[test]
#[ignore = "a process of the tests below"]
fn rank() {
    assert!(stand_in::ready());
    let number = |name: &str| variable(name).parse::<u64>().unwrap();
    let rank = number("RANKS_TEST_RANK") as usize;
    let port = number("RANKS_TEST_PORT") as u16;
    let meeting = Meeting { rank, ranks: RANKS, address: "127.0.0.1".into(), port };
    let config = case(&variable("RANKS_TEST_CASE"), Path::new(&variable("RANKS_TEST_RUN")), "cuda");
    let sockets = Sockets::meet(&meeting, Duration::from_secs(60)).unwrap();
    // Rank 1 alone is told to stop.
    let after = if rank == 1 { number("RANKS_TEST_STOP") } else { u64::MAX };
    let dies = rank == 1 && variable("RANKS_TEST_CASE") == "lost";
    let mut watch = StopAfter { after, dies_after: if dies { 4 } else { 0 }, made: 0 };
    let result: Result<RunSummary> = train_together(&config, true, &mut watch, &sockets);
    println!("SAID: {}", result.map_or_else(|error| error.to_string(), |run| format!("{run:?}")));
}

/// Both ranks of a run.
fn start(name: &str, run: &Path, stop: u64) -> Vec<Child> {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let start = |rank: usize| {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "ranks::rank", "--ignored", "--nocapture"])
            .env("STAND_IN_DEVICES", RANKS.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("RANKS_TEST_RANK", rank.to_string())
            .env("RANKS_TEST_PORT", port.to_string())
            .env("RANKS_TEST_CASE", name)
            .env("RANKS_TEST_STOP", stop.to_string())
            .env("RANKS_TEST_RUN", run);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    (0..RANKS).map(start).collect()
}

/// What each rank of a run said.
fn ranks(name: &str, run: &Path, stop: u64) -> Vec<String> {
    let said = start(name, run, stop).into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        let [text, words] = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let line = text.lines().find_map(|line| line.split_once("SAID: "));
        line.unwrap_or_else(|| panic!("nothing was said: {text}{words}")).1.to_string()
    });
    said.collect()
}

fn two_gpus() -> bool {
    if !stand_in::ready() {
        return false;
    }
    if stand_in::stand_in_folder().is_none() && device_count().unwrap() < RANKS {
        stand_in::skipped("this machine has one GPU");
        return false;
    }
    true
}

fn records(run: &Path) -> Vec<(f64, f64)> {
    let records = RunFolder::new(run).records().unwrap();
    records.iter().map(|record| (record.loss, record.valid_psnr.unwrap())).collect()
}

#[test]
fn epochs_of_two_ranks_are_the_cpus() {
    if !two_gpus() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    for name in ["resident", "uploaded", "whole images"] {
        let [gpu, cpu] = ["gpu", "cpu"].map(|on| scratch.path().join(format!("{name}-{on}")));
        let said = ranks(name, &gpu, u64::MAX);
        assert!(said[0].starts_with("RunSummary") && said[0] == said[1], "{name}: {said:?}");
        train(&case(name, &cpu, "cpu"), false).unwrap();
        let (gpu, cpu) = (records(&gpu), records(&cpu));
        assert_eq!(gpu.len(), cpu.len());
        for ((loss, psnr), (cpu_loss, cpu_psnr)) in gpu.into_iter().zip(cpu) {
            // The same draws of order, crops, flips and dropout; sums differ in their order.
            let relative = (loss / cpu_loss - 1.0).abs();
            assert!(relative < 1e-3, "{name}: {loss} on the GPUs, {cpu_loss} on the CPU");
            assert!((psnr - cpu_psnr).abs() < 0.02, "{name}: {psnr} dB, {cpu_psnr} dB on the CPU");
        }
    }
}

/// One rank is told to stop after two steps; both save, and go on.
#[test]
fn a_run_that_goes_on_has_the_bits_of_an_uninterrupted_one() {
    if !two_gpus() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| scratch.path().join(name));
    let expected = ranks("saved", &whole, u64::MAX);
    let said = ranks("saved", &parts, 2);
    assert!(said.iter().all(|said| said.contains("interrupted: true")), "{said:?}");
    assert_eq!(ranks("saved", &parts, u64::MAX), expected);
    let weights = |run: &Path| fs::read(RunFolder::new(run).last()).unwrap();
    assert!(weights(&whole) == weights(&parts), "weights differ after a resume");
}

#[test]
fn what_ends_a_run_ends_it_on_both_ranks() {
    if !two_gpus() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    for (name, parts) in [
        ("limit", ["above guard.max_loss", "step 0"]),
        ("skipped", ["every step", "epoch 1"]),
        ("accumulate", ["data.accumulate = 3", "set data.accumulate to 2"]),
        ("others", ["rank 1 on", "seed is 3 there, here 4"]),
    ] {
        let said = ranks(name, &scratch.path().join(name), u64::MAX);
        assert_eq!(said[0], said[1], "{name}");
        parts.iter().for_each(|part| assert!(said[0].contains(part), "{name}: {}", said[0]));
    }
}

/// A rank that dies takes the other with it, which says so; what was saved is gone on with.
#[test]
fn a_lost_rank_ends_the_other() {
    if !two_gpus() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| scratch.path().join(name));
    let expected = ranks("saved", &whole, u64::MAX);
    let mut started = start("lost", &parts, u64::MAX);
    let (lost, left) = (started.pop().unwrap(), started.pop().unwrap());
    assert!(!lost.wait_with_output().unwrap().status.success());
    let left = left.wait_with_output().unwrap();
    assert_eq!(left.status.code(), Some(1));
    let words = String::from_utf8_lossy(&left.stderr);
    assert!(words.contains("error: rank 1 of 2 was lost"), "{words}");
    assert_eq!(ranks("saved", &parts, u64::MAX), expected);
    let weights = |run: &Path| fs::read(RunFolder::new(run).last()).unwrap();
    assert!(weights(&whole) == weights(&parts), "weights differ after a loss");
}
