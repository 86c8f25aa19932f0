//! `weights inspect` and `weights convert`, and `data sample`.

use deeplpf_core::{Checkpoint, Initialisation, ModelConfig};

use crate::pickles;
use crate::room::{Room, model};

#[test]
fn inspect_tells_configuration_filters_and_tensors() {
    let room = Room::with_weights();
    let text = room.run("weights inspect w.safetensors").succeeds().stdout;
    for part in [
        "filters: cubic20 + graduated x3 + elliptical x3",
        "dialect = \"release\"",
        "head_size = 64",
        "backbonenet.final_conv.weight",
        "16x3x3x3",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let json = room.run("weights inspect w.safetensors --json").succeeds().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let config: ModelConfig = serde_json::from_value(json["config"].clone()).unwrap();
    assert_eq!(config, ModelConfig::small());
    assert_eq!(json["config_in_file"], true);
    let tensors = json["tensors"].as_array().unwrap();
    let count: u64 = tensors
        .iter()
        .map(|tensor| -> u64 {
            tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product()
        })
        .sum();
    assert_eq!(json["parameters"], count);
    assert!(json["unused_parameters"].as_u64().unwrap() < count);
    // The identity halves the image in the first three outputs of the last convolution.
    let last = tensors.iter().find(|t| t["name"] == "backbonenet.final_conv.weight").unwrap();
    let (min, mean, max) = (&last["min"], &last["mean"], &last["max"]);
    assert!(min.as_f64() <= mean.as_f64() && mean.as_f64() <= max.as_f64());
    assert!(max.as_f64().unwrap() >= 0.5 - 1e-6);
}

/// A state dict becomes safetensors of the same numbers under the configuration asked for, and
/// both enhance alike.
#[test]
fn a_state_dict_is_converted_under_the_options() {
    let room = Room::new();
    room.picture("a.png", 48, 40);
    let release = model(&ModelConfig::default(), Initialisation::Identity);
    room.write("w.pt", pickles::state_dict(&release));
    let run = room.run("weights convert w.pt plain.safetensors").succeeds();
    assert_eq!(run.stdout, "1769347 parameters, dialect release, fixes none: plain.safetensors\n");
    room.run("weights convert w.pt fixed.safetensors --fixes ellipse,fusion").succeeds();

    let read = |name: &str| Checkpoint::read(&room.path(name)).unwrap();
    let (plain, fixed) = (read("plain.safetensors"), read("fixed.safetensors"));
    assert_eq!(plain.config.unwrap(), ModelConfig::default());
    assert_eq!(fixed.config.unwrap().fixes.to_string(), "ellipse,fusion");
    for (name, variable) in release.parameters().iter() {
        let stored = plain.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let original = variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(stored == original, "{name}");
    }

    room.run("enhance a.png -o 1.npy --weights w.pt").succeeds();
    room.run("enhance a.png -o 2.npy --weights plain.safetensors").succeeds();
    room.run("enhance a.png -o 3.npy --weights w.pt --fixes fusion,ellipse").succeeds();
    room.run("enhance a.png -o 4.npy --weights fixed.safetensors").succeeds();
    assert!(room.read("1.npy") == room.read("2.npy") && room.read("3.npy") == room.read("4.npy"));
    // Made for the release's fusion, so with the fix it is no identity.
    assert!(room.read("1.npy") != room.read("3.npy"));

    let text = room.run("weights inspect w.pt").succeeds().stdout;
    assert!(text.contains("the file carries none") && text.contains("1769347"), "{text}");
}

#[test]
fn results_of_convert_have_one_extension_and_never_replace_the_source() {
    let room = Room::with_weights();
    let before = room.read("w.safetensors");
    room.run("weights convert w.safetensors v.pt").fails(&["v.pt", ".safetensors"]);
    room.run("weights convert w.safetensors ./w.safetensors").fails(&["another name"]);
    assert_eq!(room.files(""), ["w.safetensors"]);
    assert!(room.read("w.safetensors") == before);
}

#[test]
fn the_sample_set_is_a_paired_folder() {
    let room = Room::new();
    let run = room.run("data sample -o sample").succeeds();
    assert_eq!(run.stdout, "16 pairs: sample\n");
    let folder = deeplpf_data::PairedFolder::open(room.path("sample")).unwrap();
    folder.require_complete().unwrap();
    assert_eq!(folder.pairs.len(), 16);
    assert!(room.path("sample/CREDITS.md").exists());
}

/// Nothing is fetched here: what can be refused without the network.
#[test]
fn pulling_weights_names_what_it_knows() {
    let room = Room::new();
    room.run("weights pull release-upe").fails(&["`release-upe`", "known: release-dpe"]);
    room.write("release-dpe.pt", "mine");
    room.run("weights pull release-dpe").fails(&["release-dpe.pt is there already", "--out"]);
    assert_eq!(room.read("release-dpe.pt"), b"mine");
    #[cfg(not(feature = "hub"))]
    room.run("weights pull release-dpe -o other.pt").fails(&[
        "--features hub",
        "https://github.com/sjmoran/DeepLPF",
        "dab59ab2cc7145ebe5c97e4abf637cebbcd3257e",
    ]);
    assert_eq!(room.files(""), ["release-dpe.pt"]);
}
