//! `train`, and data sets that are not fit for it.

use crate::room::{Room, Run};

/// Three pairs, one for validation, and a small model.
fn room() -> Room {
    let room = Room::new();
    for id in ["a", "b", "c"] {
        for side in ["input", "target"] {
            room.picture(&format!("pairs/{side}/{id}.png"), 40, 36);
        }
    }
    room.write(
        "train.toml",
        "run = \"run\"\nepochs = 2\n[data]\nsource = \"pairs\"\nvalid_fraction = 0.3\n\
         [model]\nfixes = \"all\"\nwidths = [4, 4, 4, 4, 4]\nfeatures = 8\nhead_width = 8\nhead_size = 43\n",
    );
    room
}

fn train(room: &Room, options: &str) -> Run {
    room.run(&format!("train --config train.toml {options}"))
}

/// Trains without notes: stderr has the table of epochs alone, with the numbers of these.
fn trains(room: &Room, options: &str, epochs: &[u64]) -> Run {
    let run = train(room, options);
    assert_eq!(run.code, 0, "{run:?}");
    let mut lines = run.stderr.lines();
    if !epochs.is_empty() {
        let head = lines.next().unwrap_or_default();
        assert!(head.contains("epoch") && head.contains("PSNR (dB)"), "{run:?}");
    }
    let rows: Vec<u64> = lines
        .map(|line| line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0))
        .collect();
    assert_eq!(rows, epochs, "{run:?}");
    run
}

#[test]
fn a_run_ends_with_the_paths_of_its_checkpoints() {
    let room = room();
    let run = trains(&room, "", &[1, 2]);
    assert!(run.stdout.starts_with("2 epochs, 4 steps, loss 0."), "{run:?}");
    assert!(run.stdout.contains("best validation PSNR"), "{run:?}");
    for name in ["run/checkpoints/best.safetensors", "run/checkpoints/last.safetensors"] {
        assert!(run.stdout.contains(name) && room.path(name).exists(), "{run:?}");
    }
    let records = String::from_utf8(room.read("run/metrics.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 2);

    // The weights are good for what weights are for.
    let line = "enhance pairs/input -o out --weights run/checkpoints/best.safetensors";
    assert_eq!(room.run(line).succeeds().stdout, "3 enhanced, 0 failed: out\n");

    train(&room, "").fails(&["run already holds a run", "--resume"]);
    train(&room, "--resume --set seed=9").fails(&["seed was 1, now 9"]);
}

/// What the last validation found is shown with the weights it is about.
/// A model says what its backbone is: nothing else need be told.
#[test]
fn a_residual_network_trains_resumes_and_enhances() {
    let room = room();
    let model = "--set model.backbone=resnet --set model.blocks=2 --set model.block_width=5 \
                 --set model.fixes=ellipse,fusion";
    let wired = train(&room, &format!("{model} --set model.fixes=all"));
    wired.fails(&["`wiring`", "backbone = \"resnet\"", "ellipse,fusion,ste,blend,msssim"]);
    trains(&room, &format!("{model} --set epochs=1"), &[1]);
    trains(&room, &format!("{model} --set epochs=2 --resume"), &[2]);
    let weights = "run/checkpoints/best.safetensors";
    let told = room.run(&format!("weights inspect {weights}")).succeeds().stdout;
    assert!(
        told.contains("backbone = \"resnet\"") && told.contains("block2.conv2.weight"),
        "{told}"
    );
    room.picture("photo.png", 50, 37);
    room.run(&format!("enhance photo.png --weights {weights} -o out.png")).succeeds();
    assert!(room.path("out.png").exists());
}

#[test]
fn weights_of_a_run_are_inspected_with_its_health() {
    let room = room();
    trains(&room, "", &[1, 2]);
    let file = "run/checkpoints/best.safetensors";
    let text = room.run(&format!("weights inspect {file}")).succeeds().stdout;
    let health = "health at the run's last validation, after 4 steps, over 1 photographs";
    assert!(text.contains(health) && text.contains("graduated 1: scale "), "{text}");
    let json = room.run(&format!("weights inspect {file} --json")).succeeds().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["health"]["filters"]["elliptical"].as_array().unwrap().len(), 3);

    // A set of photographs in which the first filter is dead and the others are never inverted.
    let mut told = room.json("run/health.json");
    told["filters"]["photographs"] = 20.into();
    told["filters"]["graduated"][0]["least"] = vec![0.0, 0.0, 0.0].into();
    told["filters"]["graduated"][0]["most"] = vec![0.0, 0.0, 0.001].into();
    for number in 0..3 {
        told["filters"]["graduated"][number]["inverted"] = 0.into();
    }
    room.write("run/health.json", told.to_string());
    let text = room.run(&format!("weights inspect {file}")).succeeds().stdout;
    assert!(text.contains("! graduated 1: dead") && text.contains("learning_rate"), "{text}");
    assert!(text.contains("! graduated 1, 2, 3: the inversion never flips"), "{text}");
    room.write("run/health.json", "{");
    room.run(&format!("weights inspect {file}")).fails(&["run/health.json is damaged"]);
}

/// Three epochs at once and two plus one are the same run, to the bit.
#[test]
fn resuming_continues_to_the_bit() {
    let room = room();
    trains(&room, "", &[1, 2]);
    let longer = trains(&room, "--resume --set epochs=3", &[3]);
    assert!(longer.stdout.starts_with("3 epochs, 6 steps"), "{longer:?}");
    trains(&room, "--set run=whole --set epochs=3", &[1, 2, 3]);
    let [resumed, whole] =
        ["run", "whole"].map(|run| format!("{run}/checkpoints/last.safetensors"));
    assert!(room.read(&resumed) == room.read(&whole));
}

/// What the library notes is printed: here that a damaged state was passed over.
#[test]
fn notes_of_a_run_are_told() {
    let room = room();
    trains(&room, "", &[1, 2]);
    room.write("run/state/state.safetensors", "damaged");
    let run = train(&room, "--resume --set epochs=3");
    assert!(run.code == 0 && run.stdout.starts_with("3 epochs, 6 steps"), "{run:?}");
    // The note, the head and the rows of the epochs since the state before.
    let notes = run.stderr.lines().filter(|line| line.starts_with("note: ")).count();
    assert_eq!(notes, 1, "{run:?}");
    assert!(run.stderr.starts_with("note: ") && run.stderr.contains("went on from"), "{run:?}");
}

#[test]
fn print_config_is_a_configuration() {
    let room = Room::new();
    let defaults = room.run("train --print-config").succeeds().stdout;
    assert!(defaults.contains("learning_rate = 0.0001"), "{defaults}");
    room.write("train.toml", &defaults);
    let again = room.run("train --print-config --config train.toml").succeeds().stdout;
    assert_eq!(again, defaults);
    let changed = room.run("train --print-config --set epochs=7").succeeds().stdout;
    assert_eq!(changed, defaults.replace("epochs = 100", "epochs = 7"));
}

#[test]
fn wrong_configurations_are_named() {
    let room = room();
    room.write("unknown.toml", "seed = 3\n\n[adam]\nlerning_rate = 1e-3\n");
    room.run("train --config unknown.toml").fails(&[
        "unknown.toml:4",
        "adam.lerning_rate",
        "did you mean `adam.learning_rate`?",
    ]);
    train(&room, "--set model.graduate=2").fails(&["model.graduate=2", "`model.graduated`"]);
    train(&room, "--set epochs").fails(&["--set epochs", "key=value"]);
    train(&room, "--set epochs=0").fails(&["epochs must be at least 1"]);
    train(&room, "--set data.source=nowhere").fails(&["nowhere"]);
    room.run("train --config missing.toml").fails(&["missing.toml"]);
    assert!(!room.path("run").exists());
}

/// The parser's own message shows the place over several lines.
#[test]
fn broken_toml_is_shown_with_its_line() {
    let room = Room::new();
    room.write("broken.toml", "epochs = 3\nseed = = 4\n");
    let run = room.run("train --config broken.toml");
    assert_eq!(run.code, 1);
    for part in ["error: broken.toml", "line 2", "seed = = 4"] {
        assert!(run.stderr.contains(part), "{run:?}");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_names_the_step() {
    let room = room();
    let run = train(&room, "--set adam.learning_rate=1e30");
    run.fails(&["step 1", "epoch 1", "learning_rate"]);
    assert!(!room.files("run").iter().any(|name| name.contains("best") || name.contains("last")));
}

#[test]
fn incomplete_pairs_are_named() {
    let room = room();
    room.picture("pairs/input/lonely.png", 40, 36);
    train(&room, "").fails(&["pairs/input/lonely.png", "no target of the same stem"]);
    assert!(!room.path("run").exists());
}

#[test]
fn pairs_of_unequal_size_are_named() {
    let room = room();
    for id in ["a", "b", "c"] {
        room.picture(&format!("pairs/target/{id}.png"), 41, 36);
    }
    train(&room, "").fails(&["pairs/input/", "40x36", "41x36", "one size"]);
}

/// Two blocks are too few for the state, so the run cannot keep what it computed.
#[cfg(unix)]
#[test]
fn a_full_disk_stops_the_run() {
    let room = room();
    let run = room.shell("trap '' XFSZ; ulimit -f 8; exec \"$deeplpf\" train --config train.toml");
    run.fails(&["run/", "free some space"]);
    let left: Vec<_> =
        room.files("run").into_iter().filter(|name| name.ends_with("safetensors")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!room.files("run").iter().any(|name| name.contains("/.")), "{:?}", room.files("run"));
}
