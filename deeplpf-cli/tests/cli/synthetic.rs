//! `data synthesise`, `data mix`, and what `eval` says of filters that are known.

use crate::room::Room;

#[test]
fn a_synthetic_set_is_made_trained_on_and_its_filters_compared() {
    let room = Room::with_weights();
    for name in ["a", "b", "c"] {
        room.picture(&format!("photographs/{name}.png"), 128, 96);
    }
    let set =
        "data synthesise photographs -o set --seed 4 --per-photograph 2 --valid 0 --test 0.34";
    let run = room.run(set);
    assert_eq!((run.code, run.stdout.as_str()), (0, "6 pairs: set\n"), "{run:?}");
    let run = room.run(set);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("set is not empty; name a new folder"), "{run:?}");
    let run = room.run("data synthesise photographs -o other --strength 2");
    assert!(run.stderr.contains("--strength must be at least 0 and at most 1"), "{run:?}");

    let run =
        room.run("eval --weights w.safetensors --data set --split set/test.txt -o evaluation");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("Filters known: the predicted scale map is "), "{run:?}");
    let text = std::fs::read(room.path("evaluation/recovery.json")).expect("written");
    let recovery: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(recovery["pictures"].as_object().expect("an object").len(), 2);
    // The untrained model returns its input: its filters are neutral.
    let mean = |key: &str| recovery["mean"][key].as_f64().expect("a number");
    assert!((mean("scale_map") - mean("scale_map_of_neutral")).abs() < 1e-6, "{recovery}");
    assert!(mean("scale_map_of_neutral") > 0.02, "{recovery}");

    // A folder of pairs whose filters nobody knows has no such file.
    std::fs::remove_file(room.path("set/truth.json")).expect("removed");
    let run = room.run("eval --weights w.safetensors --data set -o plain");
    assert!(run.code == 0 && !run.stdout.contains("Filters known"), "{run:?}");
    assert!(!room.path("plain/recovery.json").exists());
}

#[test]
fn a_mixed_set_follows_its_plan_and_a_wrong_plan_is_named() {
    let room = Room::new();
    let run = room.run("data sample -o one");
    assert_eq!(run.code, 0, "{run:?}");
    let source = "[[source]]\nfolder = \"one\"\ntest = { every = 4 }\nunchanged = 3\n";
    room.write("plan.toml", source);
    let run = room.run("data mix plan.toml -o mixed");
    let said = "15 pairs to train on, 0 for validation, 4 for the test: mixed\n";
    assert_eq!((run.code, run.stdout.as_str()), (0, said), "{run:?}");
    let run = room.run("data mix plan.toml -o mixed");
    assert!(run.code == 1 && run.stderr.contains("mixed is not empty"), "{run:?}");
    room.write("plan.toml", format!("short_egde = 20\n{source}"));
    let run = room.run("data mix plan.toml -o other");
    let wanted = "plan.toml:1: unknown key `short_egde`; did you mean `short_edge`?";
    assert!(run.code == 1 && run.stderr.contains(wanted), "{run:?}");
    room.write("plan.toml", source.replace("unchanged", "unchangd"));
    let run = room.run("data mix plan.toml -o other");
    assert!(run.code == 1 && run.stderr.contains("unchangd"), "{run:?}");
}
