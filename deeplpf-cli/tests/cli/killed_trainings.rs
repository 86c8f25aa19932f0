//! Trainings that end before their time: killed, interrupted, or with two of them in one folder.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::room::{PROGRAM, Room};

/// How often the training is killed.
const KILLS: usize = 20;
/// More epochs than it can reach between kills.
const ENDLESS: &str = "--set epochs=100000";

/// Four pairs of 32 pixels, one for validation, and the smallest model: some milliseconds an epoch.
fn room() -> Room {
    let room = Room::new();
    for id in ["a", "b", "c", "d"] {
        room.picture(&format!("pairs/input/{id}.png"), 36, 32);
        room.plain(&format!("pairs/target/{id}.png"), 36, 32, [90, 120, 60]);
    }
    room.write(
        "train.toml",
        "initialisation = \"identity\"\nsave_every = 2\naverage = 0.9\n\
         [data]\nsource = \"pairs\"\nvalid_fraction = 0.25\ncrop = 32\nthreads = 1\n\
         [adam]\nlearning_rate = 1e-3\n\
         [model]\nfixes = \"all\"\nwidths = [3, 3, 3, 3, 3]\nfeatures = 4\nhead_width = 3\n\
         head_size = 43\n",
    );
    room
}

fn start(room: &Room, options: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command
        .args("train --config train.toml --resume".split(' '))
        .args(options.split(' '))
        // One thread, so that the test is as fast beside others.
        .env("RAYON_NUM_THREADS", "1")
        .current_dir(room.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

/// The records of a run without their seconds.
fn records(room: &Room, run: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(room.path(&format!("{run}/metrics.jsonl")));
    let lines = text.unwrap_or_default();
    let whole = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    whole
        .map(|mut record: serde_json::Value| {
            record.as_object_mut().expect("a record").remove("seconds");
            record
        })
        .collect()
}

/// Waits until the run has so many records.
fn wait_for(room: &Room, run: &str, count: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while records(room, run).len() < count {
        assert!(Instant::now() < end, "no {count} epochs in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The run and an uninterrupted one of as many epochs have the same weights, to the bit.
fn is_the_uninterrupted_one(room: &Room, run: &str) {
    let epochs = records(room, run).len() + 1;
    let finish = |run: &str| {
        let line =
            format!("train --config train.toml --resume --set run={run} --set epochs={epochs}");
        let done = room.run(&line);
        assert_eq!(done.code, 0, "{done:?}");
    };
    finish(run);
    finish("whole");
    for name in ["last", "best"] {
        let of = |run: &str| room.read(&format!("{run}/checkpoints/{name}.safetensors"));
        assert!(of(run) == of("whole"), "{name} after {epochs} epochs");
    }
    assert_eq!(records(room, run), records(room, "whole"));
    assert_eq!(records(room, run).len(), epochs);
    let files = room.files(run);
    assert!(files.iter().all(|name| !name.ends_with(".partial")), "{files:?}");
}

/// `kill -9` at random moments: in the start, in a step, in the writing of a state, between a state
/// and its record.
#[test]
fn a_training_killed_twenty_times_is_the_uninterrupted_one_to_the_bit() {
    let room = room();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let mut random = clock.subsec_nanos() as u64 | 1;
    println!("moments from {random}");
    let mut lives_with_progress = 0;
    for _ in 0..KILLS {
        let before = records(&room, "run").len();
        let mut training = start(&room, &format!("--set run=run {ENDLESS}"));
        // xorshift64; at most a third of a second.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 300_000));
        training.kill().expect("SIGKILL");
        let status = training.wait().expect("it is over");
        assert!(!status.success(), "it cannot have come to its end");
        lives_with_progress += usize::from(records(&room, "run").len() > before);
    }
    // However slow the machine, one life must come somewhere for the comparison to mean anything.
    if records(&room, "run").is_empty() {
        let mut training = start(&room, &format!("--set run=run {ENDLESS}"));
        wait_for(&room, "run", 1);
        training.kill().expect("SIGKILL");
        training.wait().expect("it is over");
    }
    println!("{lives_with_progress} of {KILLS} lives finished an epoch");
    is_the_uninterrupted_one(&room, "run");
}

/// Asked to end, a training saves between two steps, says how to go on, and ends as shells expect.
#[test]
fn a_training_asked_to_end_saves_and_goes_on_later() {
    let room = room();
    for (signal, count) in [("-TERM", 2), ("-INT", 5)] {
        let training = start(&room, &format!("--set run=run {ENDLESS}"));
        wait_for(&room, "run", count);
        let pid = training.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        let output = training.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{signal}");
        let told = String::from_utf8(output.stdout).expect("UTF-8");
        let state = "run/state/state.safetensors";
        assert!(told.starts_with("stopped after ") && told.contains("--resume"), "{told}");
        assert!(told.contains(state) && room.path(state).exists(), "{told}");
    }
    is_the_uninterrupted_one(&room, "run");
}

/// The second of two trainings in one folder is told who holds it, and changes nothing.
#[test]
fn a_second_training_in_a_folder_is_told_who_is_there() {
    let room = room();
    let mut first = start(&room, &format!("--set run=run {ENDLESS}"));
    wait_for(&room, "run", 1);
    let second = room.run("train --config train.toml --resume --set run=run --set epochs=100000");
    first.kill().expect("SIGKILL");
    let pid = first.id();
    first.wait().expect("it is over");
    second.fails(&["run is being trained in by another process", &format!("process {pid} on ")]);
    is_the_uninterrupted_one(&room, "run");
}
