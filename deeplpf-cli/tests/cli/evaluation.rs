//! `eval` and `reproduce`.

use crate::room::Room;

/// A room with weights and two pairs. The first target is its input, the second one is not; the
/// model returns its input.
fn room() -> Room {
    let room = Room::with_weights();
    for id in ["a", "b"] {
        room.picture(&format!("pairs/input/{id}.png"), 96, 64);
    }
    room.picture("pairs/target/a.png", 96, 64);
    image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x + y) as u8, 2 * y as u8, 40]))
        .save(room.path("pairs/target/b.png"))
        .unwrap();
    room
}

const EVAL: &str = "eval --weights w.safetensors --data pairs -o evaluation";

#[test]
fn a_folder_is_scored_and_reported() {
    let room = room();
    let run = room.run(EVAL).succeeds();
    assert!(run.stdout.contains("PSNR") && run.stdout.contains("report.html"), "{run:?}");
    let files = room.files("evaluation");
    for name in ["metrics.json", "per_image.csv", "report.html", "table.csv", "table.md"] {
        assert!(files.iter().any(|file| file == name), "{files:?}");
    }
    let json = room.json("evaluation/metrics.json");
    let psnr = |id: &str| json["images"][id]["psnr"].clone();
    assert!(psnr("a") == "inf" || psnr("a").as_f64().unwrap() > 60.0, "{}", psnr("a"));
    room.run("metrics pairs/input/b.png pairs/target/b.png --json s.json").succeeds();
    let expected = room.json("s.json")["images"]["b"]["psnr"].as_f64().unwrap();
    assert!((psnr("b").as_f64().unwrap() - expected).abs() < 1e-3, "{} {expected}", psnr("b"));
}

#[test]
fn a_split_chooses_the_pairs() {
    let room = room();
    room.write("test.txt", "b\n");
    room.run(&format!("{EVAL} --split test.txt")).succeeds();
    let json = room.json("evaluation/metrics.json");
    let ids: Vec<_> = json["images"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(ids, ["b"]);
    room.write("wrong.txt", "b\nc\n");
    room.run(&format!("{EVAL}2 --split wrong.txt")).fails(&["wrong.txt:2", "'c'"]);
    room.run(&format!("{EVAL}2 --split missing.txt")).fails(&["missing.txt"]);
    assert!(!room.path("evaluation2").exists());
}

#[test]
fn the_sample_set_can_be_evaluated() {
    let room = Room::with_weights();
    let run = room.run("eval --weights w.safetensors --data sample -o evaluation").succeeds();
    assert!(run.stdout.contains("test"), "{run:?}");
}

#[test]
fn the_target_folder_is_chosen_by_name() {
    let room = room();
    std::fs::rename(room.path("pairs/target"), room.path("pairs/expertA")).unwrap();
    for id in ["a", "b"] {
        room.plain(&format!("pairs/expertC/{id}.png"), 96, 64, [90, 120, 60]);
    }
    room.run(EVAL).fails(&["pairs", "(expertA, expertC)", "--target", "`data.target`"]);
    room.run(&format!("{EVAL} --target expertB")).fails(&["pairs", "no folder named expertB"]);
    room.run(&EVAL.replace("pairs", "sample --target expertA")).fails(&["sample", "; "]);
    assert!(!room.path("evaluation").exists());
    let score = |target: &str| {
        room.run(&format!("{EVAL} --target {target}")).succeeds();
        room.json("evaluation/metrics.json")["images"]["a"]["psnr"].clone()
    };
    let (a, c) = (score("expertA"), score("expertC"));
    assert!(a == "inf" || a.as_f64().unwrap() > 60.0, "{a}");
    assert!(c.as_f64().unwrap() < 30.0, "{c}");
}

#[test]
fn data_that_is_not_fit_is_named_and_nothing_is_written() {
    let room = room();
    room.picture("pairs/input/lonely.png", 40, 40);
    room.run(EVAL).fails(&["pairs/input/lonely.png", "no target of the same stem", "; add"]);
    std::fs::remove_file(room.path("pairs/input/lonely.png")).unwrap();

    room.picture("pairs/target/b.png", 97, 64);
    room.run(EVAL).fails(&["1 of 2", "pairs/input/b.png", "96x64", "97x64"]);

    std::fs::create_dir_all(room.path("half/input")).unwrap();
    let half = "eval --weights w.safetensors --data half -o evaluation";
    room.run(half).fails(&["half", "no folder named"]);
    std::fs::create_dir_all(room.path("half/target")).unwrap();
    room.run(half).fails(&["half", "no complete pair"]);
    room.run("eval --weights w.safetensors --data nowhere -o evaluation").fails(&["nowhere"]);
    assert!(room.files("evaluation").is_empty(), "{:?}", room.files("evaluation"));
}

#[test]
fn a_picture_that_is_not_opaque_is_refused() {
    let room = room();
    let opaque = image::DynamicImage::ImageRgb8(room.picture("pairs/input/a.png", 96, 64));
    let mut picture = opaque.to_rgba8();
    picture.save(room.path("pairs/input/a.png")).unwrap();
    room.run(EVAL).succeeds();
    for side in ["input", "target"] {
        let name = format!("pairs/{side}/b.png");
        let before = room.read(&name);
        picture.put_pixel(3, 5, image::Rgba([9, 8, 7, 254]));
        picture.save(room.path(&name)).unwrap();
        let run = EVAL.replace("-o evaluation", "-o refused");
        room.run(&run).fails(&["1 of 2", &name, "1 pixels", "not wholly opaque", "alpha"]);
        assert!(!room.path("refused").exists());
        room.write(&name, before);
    }
}

#[test]
fn mixed_depths_are_said_on_the_screen_and_under_the_table() {
    let room = room();
    let quiet = room.run(EVAL).succeeds();
    assert!(!quiet.stderr.contains("8 bits on one side"), "{quiet:?}");
    room.picture16("pairs/target/b.png", 96, 64);
    let run = room.run(EVAL);
    assert_eq!(run.code, 0, "{run:?}");
    let note = "1 of 2 pairs have 8 bits on one side and 16 on the other";
    assert!(run.stderr.contains(note), "{run:?}");
    let table = String::from_utf8(room.read("evaluation/table.md")).unwrap();
    assert!(table.contains(note) && table.contains(": b"), "{table}");
}

#[test]
fn the_device_is_chosen_by_name_and_stands_under_the_table() {
    let room = room();
    room.run(&format!("{EVAL} --device cpu --precision fp32")).succeeds();
    let table = String::from_utf8(room.read("evaluation/table.md")).unwrap();
    assert!(table.contains("on the CPU"), "{table}");
    room.run(&format!("{EVAL}2 --device gpu")).fails(&["gpu", "known devices"]);
    room.run(&format!("{EVAL}2 --device cuda:99")).fails(&["cuda:99"]);
    assert!(!room.path("evaluation2").exists());
}

const RECIPE: &str = r#"
title = "Tiny"
description = "Two runs."
shown = "full"
[test]
data = "pairs"
list = "test.txt"
[base]
epochs = 1
initialisation = "identity"
[base.data]
source = "pairs"
valid_fraction = 0.5
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

#[test]
fn a_recipe_is_run_once_and_skipped_when_it_is_called_again() {
    let room = room();
    room.write("tiny.toml", RECIPE);
    room.write("test.txt", "b\n");
    room.plain("pairs/target/a.png", 96, 64, [90, 120, 60]);
    let first = room.run("reproduce tiny.toml -o results");
    assert_eq!(first.code, 0, "{first:?}");
    for part in ["U-Net alone", "all filters", "report.html"] {
        assert!(first.stdout.contains(part), "{first:?}");
    }
    let files = room.files("results");
    for name in ["report.html", "table.md", "table.csv"] {
        assert!(files.iter().any(|file| file == name), "{files:?}");
    }
    let weights = "results/runs/full/checkpoints/best.safetensors";
    let changed = || std::fs::metadata(room.path(weights)).unwrap().modified().unwrap();
    let before = changed();
    let second = room.run("reproduce tiny.toml -o results");
    assert_eq!((second.code, &second.stdout), (0, &first.stdout), "{second:?}");
    assert_eq!(changed(), before);
}

#[test]
fn recipes_are_listed_and_the_nearest_is_named() {
    let room = Room::new();
    let list = room.run("reproduce --list").succeeds().stdout;
    assert!(list.lines().any(|line| line.starts_with("sample ")), "{list}");
    room.run("reproduce smaple").fails(&["`smaple`", "did you mean `sample`?", "sample"]);
    room.run("reproduce missing.toml").fails(&["missing.toml"]);
    room.write("wrong.toml", RECIPE.replace("epochs", "epoch"));
    room.run("reproduce wrong.toml").fails(&["wrong.toml", "`epochs`"]);
    assert_eq!(room.files(""), ["wrong.toml"]);
}
