//! `reproduce`: what it plans, what it takes for finished, what it refuses.

use crate::room::{Room, Run};

/// Four pairs and a recipe of two runs on them.
fn room() -> Room {
    let room = Room::new();
    for id in ["a", "b", "c", "d"] {
        room.picture(&format!("pairs/input/{id}.png"), 48, 40);
        room.plain(&format!("pairs/target/{id}.png"), 48, 40, [90, 120, 60]);
    }
    room.write("test.txt", "d\n");
    room.write("tiny.toml", RECIPE);
    room
}

const RECIPE: &str = r#"
title = "Tiny"
description = "Two runs."
shown = "full"
[test]
data = "pairs"
list = "test.txt"
[[also_test]]
data = "sample"
[base]
epochs = 2
initialisation = "identity"
[base.data]
source = "pairs"
exclude = "test.txt"
valid_fraction = 0.4
crop = 32
[base.model]
fixes = "all"
widths = [4, 4, 4, 4, 4]
features = 8
head_width = 8
head_size = 43
[[run]]
name = "unet"
label = "U-Net alone"
set = { model = { polynomial = "none", graduated = 0, elliptical = 0 } }
[[run]]
name = "full"
label = "all filters"
"#;

fn reproduce(room: &Room, options: &str) -> Run {
    room.run(&format!("reproduce tiny.toml -o results {options}"))
}

#[test]
fn finished_runs_are_known_by_configuration_code_and_data() {
    let room = room();
    let first = reproduce(&room, "");
    assert_eq!(first.code, 0, "{first:?}");
    // Both sets that were tested on have their table.
    for table in ["results/table.md", "results/sample/table.md", "results/sample/report.html"] {
        assert!(room.path(table).exists(), "{table}");
    }
    let weights = "results/runs/full/checkpoints/best.safetensors";
    let made = || std::fs::metadata(room.path(weights)).unwrap().modified().unwrap();
    let before = made();
    let again = reproduce(&room, "");
    assert_eq!((again.code, &again.stdout), (0, &first.stdout), "{again:?}");
    assert!(again.stderr.contains("run 2 of 2: all filters, already trained"), "{again:?}");
    assert_eq!(made(), before);

    // Another configuration.
    room.write("tiny.toml", RECIPE.replace("crop = 32", "crop = 40"));
    let words = "results/runs/unet: the configuration (data.crop was 32, now 40) changed";
    reproduce(&room, "").one_error_at_end(&[words, "--redo", "--out"]);
    // Another recipe would replace the tables.
    room.write("other.toml", RECIPE.replace("crop = 32", "crop = 40"));
    for options in ["", "--dry-run", "--submit local"] {
        let other = room.run(&format!("reproduce other.toml -o results {options}"));
        other.one_error_at_end(&["results", "recipe `tiny`", "`other`", "--out"]);
    }
    room.write("tiny.toml", RECIPE);
    assert_eq!(reproduce(&room, "").code, 0);

    // Another program.
    let path = "results/runs/full/fingerprint.json";
    let original = String::from_utf8(room.read(path)).unwrap();
    let mut other = room.json(path);
    let code = other["code"].as_str().unwrap().to_owned();
    other["code"] = "0.0.1+src.abc".into();
    room.write(path, other.to_string());
    let words = format!("the code (0.0.1+src.abc, now {code}) changed");
    reproduce(&room, "").one_error_at_end(&["results/runs/full", &words]);
    room.write(path, original);

    // Other data: one value of one pixel.
    let mut picture = image::open(room.path("pairs/input/a.png")).unwrap().to_rgb8();
    picture.get_pixel_mut(3, 3)[1] ^= 1;
    picture.save(room.path("pairs/input/a.png")).unwrap();
    let changed = ["results/runs/unet: the training data changed"];
    reproduce(&room, "").one_error_at_end(&changed);
    assert_eq!(made(), before, "nothing was trained");

    // Trained anew when asked to, and the old run is kept.
    let redone = reproduce(&room, "--redo");
    assert_eq!(redone.code, 0, "{redone:?}");
    assert!(room.path("results/runs/full.before-1/checkpoints/best.safetensors").exists());
    assert_ne!(made(), before);
    // What is aside is no row.
    assert_eq!(redone.stdout.matches("| all filters |").count(), 2, "{redone:?}");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let room = room();
    let before = room.files("");
    let plan = reproduce(&room, "--dry-run").succeeds().stdout;
    for part in ["unet", "full", "to be trained", "2 runs, ", "MB", "a step", "free there: "] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert_eq!(room.files(""), before);
    assert_eq!(reproduce(&room, "").code, 0);
    let plan = reproduce(&room, "--dry-run").succeeds().stdout;
    assert_eq!(plan.matches("trained already").count(), 2, "{plan}");
}

#[test]
fn a_dry_run_names_data_that_are_not_there_and_prints_only_numbers_with_a_source() {
    let room = Room::new();
    let line = "reproduce ablation --scale sample --dry-run";
    let plan = room.run(line).succeeds().stdout;
    assert!(plan.contains("embedded sample set"), "{plan}");
    assert!(plan.contains("DeepLPF (all three): 23.93 dB") && plan.contains("poster"), "{plan}");
    // Numbers that are only recalled.
    for number in ["21.57", "22.56", "22.64", "22.88", "22.69", "23.44"] {
        assert!(!plan.contains(number), "{plan}");
    }
    assert!(room.files("").is_empty());
    room.run("reproduce ablation --scale mini --data-root data").fails(&["data/distill-pairs"]);
}

#[test]
fn scales_are_asked_for_and_named() {
    let room = Room::new();
    room.run("reproduce ablation").fails(&["--scale", "sample, mini, paper"]);
    room.run("reproduce sid-fuji --scale mini").fails(&["no scale `mini`", "it has paper"]);
    room.run("reproduce sample --scale mini").fails(&["one size only"]);
    let wrong = room.run("reproduce ablation --scale huge");
    assert!(wrong.code == 2 && wrong.stderr.contains("sample, mini or paper"), "{wrong:?}");
}

#[test]
fn mistakes_in_a_recipe_are_named_with_the_nearest_key() {
    let room = room();
    let wrong = |from: &str, to: &str, parts: &[&str]| {
        assert!(RECIPE.contains(from), "{from}");
        room.write("tiny.toml", RECIPE.replacen(from, to, 1));
        reproduce(&room, "").fails(parts);
    };
    wrong("label = \"U-Net", "lable = \"U-Net", &["tiny.toml:26", "run.lable", "`run.label`"]);
    wrong("crop = 32", "corp = 32", &["tiny.toml", "`data.corp`", "`data.crop`"]);
    wrong("name = \"full\"", "name = \"unet\"", &["tiny.toml", "two runs are called `unet`"]);
    wrong("data = \"sample\"", "date = \"sample\"", &["also_test.date", "`also_test.data`"]);
    wrong("graduated = 0", "graduate = 0", &["run unet", "`model.graduated`"]);
    assert!(!room.path("results").exists());
}

/// A run that starts from another one's weights and hardly learns scores what that one does, and it
/// is not taken for finished when that one changed.
#[test]
fn a_run_can_start_from_an_earlier_one() {
    let room = room();
    let more = "[[run]]\nname = \"on\"\nlabel = \"further\"\n\
        set = { weights = \"@runs/full\", epochs = 1, adam = { learning_rate = 1e-12 } }\n";
    room.write("tiny.toml", format!("{RECIPE}{more}"));
    let planned = reproduce(&room, "--dry-run");
    assert_eq!(planned.code, 0, "{planned:?}");
    let first = reproduce(&room, "");
    assert_eq!(first.code, 0, "{first:?}");
    let score = |run: &str| {
        let record = room.json(&format!("results/runs/{run}/evaluation.json"));
        let text = record.to_string();
        text.split("\"psnr\":").nth(1).expect("a PSNR").chars().take(8).collect::<String>()
    };
    assert_eq!(score("on"), score("full"));
    assert_ne!(score("on"), score("unet"));
    let again = reproduce(&room, "");
    assert!(again.stderr.contains("run 3 of 3: further, already trained"), "{again:?}");

    let path = "results/runs/on/fingerprint.json";
    let mut other = room.json(path);
    other["start"] = "0".into();
    room.write(path, other.to_string());
    reproduce(&room, "")
        .one_error_at_end(&["results/runs/on", "the weights it starts from changed"]);
}
