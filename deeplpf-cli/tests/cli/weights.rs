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

/// A branch whose scales are 0 whatever the photograph is named with a remedy, over a plain folder and
/// over the inputs of pairs; a branch that is well is not.
#[test]
fn inspect_finds_what_is_dead_over_photographs() {
    let room = Room::new();
    let weights = model(&ModelConfig::small(), Initialisation::Identity);
    let mut dead = 0;
    for (name, variable) in weights.parameters().iter() {
        if name.ends_with("bias") && name.contains(".fc_graduated.") {
            let low = (variable.as_tensor().zeros_like().unwrap() - 50.0).unwrap();
            variable.set(&low).unwrap();
            dead += 1;
        }
    }
    assert_eq!(dead, 1);
    room.write_model(&weights, "w.safetensors");
    for number in 0..9_u8 {
        room.plain(&format!("photos/{number}.png"), 40, 32, [number * 25, 128, 200 - number]);
        room.picture(&format!("pairs/input/{number}.png"), 40 + u32::from(number), 32);
        room.picture(&format!("pairs/target/{number}.png"), 40 + u32::from(number), 32);
    }
    for data in ["photos", "pairs"] {
        let run = room.run(&format!("weights inspect w.safetensors --data {data}")).succeeds();
        for part in [
            &format!("filters over 9 of the 9 photographs of {data}"),
            "graduated 1: scale 0.00 to 0.00, 0.00 to 0.00, 0.00 to 0.00; inverted for 0 of 9",
            "! graduated 1, 2, 3: dead",
            "do without (model.graduated)",
            "! graduated 1, 2, 3: the inversion never flips over 9 photographs",
            "elliptical 1: scale 1.00 to 1.00",
        ] {
            assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
        }
        assert!(!run.stdout.contains("! elliptical"), "{}", run.stdout);
    }

    let run = room.run("weights inspect w.safetensors --data photos --limit 4 --json h.json");
    assert!(run.succeeds().stdout.contains("too few photographs to judge by"));
    let json = &room.json("h.json")["filter_health"];
    assert_eq!((&json["available"], &json["judged"]), (&9.into(), &false.into()));
    assert_eq!(json["filters"]["photographs"], 4);
    assert!(json["filters"]["graduated"][2]["most"][0].as_f64().unwrap() < 1e-20);
    let run = room.run("weights inspect w.safetensors --data photos --json").succeeds();
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["filter_health"]["complaints"].as_array().unwrap().len(), 2);
}

#[test]
fn photographs_to_inspect_by_must_be_there() {
    let room = Room::with_weights();
    room.write("empty/notes.txt", "none");
    room.run("weights inspect w.safetensors --data empty").fails(&["empty"]);
    room.run("weights inspect w.safetensors --data nowhere").fails(&["nowhere"]);
    room.write("photos/a.png", "no picture");
    room.run("weights inspect w.safetensors --data photos").fails(&["a.png"]);
    room.run("weights inspect w.safetensors --data photos --json no/h.json").fails(&["a.png"]);
    let unet = ModelConfig { graduated: 0, elliptical: 0, ..ModelConfig::small() };
    room.write_model(&model(&unet, Initialisation::Identity), "u.safetensors");
    room.run("weights inspect u.safetensors --data photos")
        .fails(&["u.safetensors has neither graduated nor elliptical filters"]);
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

#[test]
fn average_lies_between_and_refuses_what_has_no_between() {
    let room = Room::with_weights();
    room.run("weights average w.safetensors w.safetensors same.safetensors --share 0.7").succeeds();
    let tensors = |name: &str| Checkpoint::read(&room.path(name)).unwrap().tensors;
    for (name, tensor) in tensors("same.safetensors") {
        let before = &tensors("w.safetensors")[&name];
        let difference = (tensor - before).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() <= 1e-7, "{name}");
    }
    let again = room.run("weights average w.safetensors w.safetensors same.safetensors");
    again.one_error_at_end(&["same.safetensors is there already"]);
    let share = room.run("weights average w.safetensors w.safetensors o.safetensors --share 2");
    share.one_error_at_end(&["the share 2 is not between 0 and 1"]);
    room.run("weights average w.safetensors w.safetensors o.pt")
        .one_error_at_end(&["o.pt does not end in .safetensors"]);
    assert!(!room.path("o.safetensors").exists());
}
