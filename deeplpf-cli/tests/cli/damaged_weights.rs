//! Weights that are none, do not fit, or are hostile.

use std::collections::HashMap;

use deeplpf_core::ModelConfig;
use deeplpf_core::checkpoint::serialize_tensors;

use crate::pickles;
use crate::room::{Room, small_model};

/// Every command that reads weights says the same and leaves nothing.
fn refused(room: &Room, weights: &str, parts: &[&str]) {
    room.picture("pairs/input/a.png", 40, 40);
    room.picture("pairs/target/a.png", 40, 40);
    let before = room.files("");
    for line in [
        format!("enhance pairs/input/a.png -o out.png --save-params --weights {weights}"),
        format!("enhance pairs/input -o out --weights {weights}"),
        format!("weights inspect {weights}"),
        format!("weights convert {weights} out.safetensors"),
        format!("eval --weights {weights} --data pairs -o evaluation"),
    ] {
        let run = room.run(&line);
        assert_eq!(run.code, 1, "{run:?}");
        run.one_error(&[&[weights], parts].concat());
        assert_eq!(room.files(""), before, "{line}");
    }
}

#[test]
fn missing() {
    refused(&Room::new(), "nowhere.safetensors", &["No such file", "check the name"]);
}

#[test]
fn empty() {
    let room = Room::new();
    room.write("w.safetensors", "");
    refused(&room, "w.safetensors", &["empty", "again"]);
}

#[test]
fn text() {
    let room = Room::new();
    room.write("w.safetensors", "These are not the weights that you are looking for.\n");
    refused(&room, "w.safetensors", &["neither safetensors nor a PyTorch archive", "again"]);
}

#[test]
fn truncated() {
    let room = Room::with_weights();
    let whole = room.read("w.safetensors");
    room.write("w.safetensors", &whole[..whole.len() * 2 / 3]);
    refused(&room, "w.safetensors", &["cut short", "again"]);
}

#[test]
fn truncated_pytorch_file() {
    let room = Room::new();
    let whole = pickles::state_dict(&small_model());
    room.write("w.pt", &whole[..whole.len() * 2 / 3]);
    refused(&room, "w.pt", &["cut short"]);
}

#[test]
fn another_shape() {
    let room = Room::new();
    let other = ModelConfig { head_width: 24, ..ModelConfig::small() };
    let metadata = HashMap::from([("config".into(), serde_json::to_string(&other).unwrap())]);
    let path = room.path("w.safetensors");
    let tensors = small_model().parameters().frozen();
    room.write("w.safetensors", serialize_tensors(&tensors, metadata, &path).unwrap());
    refused(&room, "w.safetensors", &["does not fit", "has shape", "expected [24"]);
}

/// A .pt file of another network than the release's.
#[test]
fn another_network() {
    let room = Room::new();
    room.write("w.pt", pickles::state_dict(&small_model()));
    refused(&room, "w.pt", &["does not fit", "1769347 numbers", "holds 92400"]);
}

#[test]
fn a_pickle_that_runs_code_is_refused_and_not_run() {
    let room = Room::new();
    room.write("w.pt", pickles::that_runs("touch executed"));
    refused(&room, "w.pt", &["posix.system", "nothing was run", "torch.save"]);
    assert!(!room.path("executed").exists());
}

#[test]
fn options_that_contradict_the_file() {
    let room = Room::with_weights();
    room.picture("a.png", 40, 40);
    let before = room.files("");
    for (options, part) in
        [("--fixes none", "fixes"), ("--dialect paper --fixes wiring", "dialect")]
    {
        room.run(&format!("enhance a.png -o b.png --weights w.safetensors {options}")).fails(&[
            "w.safetensors",
            "another configuration",
            part,
        ]);
        room.run(&format!("weights convert w.safetensors v.safetensors {options}")).fails(&[
            "w.safetensors",
            "another configuration",
            part,
        ]);
    }
    assert_eq!(room.files(""), before);
    room.run("enhance a.png -o b.png --weights w.safetensors --fixes all --dialect release")
        .succeeds();
}
