//! Formats, places and parameters of `enhance` where all is well, and arguments that contradict.

use deeplpf_core::{Initialisation, ModelConfig};
use deeplpf_data::decode;

use crate::room::{Room, model};

/// The model returns its input, so 8-bit pictures come back within one level.
#[test]
fn an_identity_model_returns_the_picture_in_every_format() {
    let room = Room::with_weights();
    let original = room.picture("a.png", 48, 40);
    for (out, bits) in [("x.png", 8), ("x.jpg", 8), ("x.tif", 16), ("x.tiff", 16)] {
        let run = room.run(&format!("enhance a.png -o {out} --weights w.safetensors")).succeeds();
        assert_eq!(run.stdout, format!("1 enhanced, 0 failed: {out}\n"));
        let result = decode(room.path(out)).unwrap();
        assert_eq!(result.info.bit_depth, bits);
        assert_eq!(result.pixels.dim(), (3, 40, 48));
        // JPEG loses colour detail; the ramps are smooth, so not much.
        let levels = if out == "x.jpg" { 6.0 } else { 1.0 };
        for ((channel, y, x), value) in result.pixels.indexed_iter() {
            let expected = f32::from(original.get_pixel(x as u32, y as u32)[channel]);
            let difference = (value * 255.0 - expected).abs();
            assert!(difference <= levels + 1e-3, "{out} at {channel} {y} {x}: {difference}");
        }
    }
}

#[test]
fn format_decides_the_depth_behind_one_extension() {
    let room = Room::with_weights();
    room.picture("a.png", 40, 40);
    for (format, out, bits) in [
        ("png", "x.png", 8),
        ("png16", "x.png", 16),
        ("tiff16", "x.tif", 16),
        ("jpeg", "x.jpeg", 8),
    ] {
        let line = format!("enhance a.png -o {out} --weights w.safetensors --format {format}");
        room.run(&line).succeeds();
        assert_eq!(decode(room.path(out)).unwrap().info.bit_depth, bits, "{format}");
    }
}

/// Values of an .npy file, height x width x 3.
fn npy(bytes: &[u8], height: usize, width: usize) -> Vec<f32> {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0);
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    let shape =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}");
    assert_eq!(header.trim_end(), shape);
    assert!(header.ends_with('\n'));
    let data = &bytes[10 + length..];
    assert_eq!(data.len(), height * width * 3 * 4);
    data.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect()
}

/// The npy holds the numbers the others are rounded from: to the nearest, never down.
#[test]
fn integers_are_the_npy_rounded() {
    let room = Room::with_weights();
    let original = room.picture16("a.png", 50, 36);
    for format in ["npy", "png", "png16"] {
        let line = format!("enhance a.png -o {format} --weights w.safetensors --format {format}");
        room.run(&line).succeeds();
    }
    let values = npy(&room.read("npy/a.npy"), 36, 50);
    let eight = image::open(room.path("png/a.png")).unwrap().into_rgb8();
    let sixteen = image::open(room.path("png16/a.png")).unwrap().into_rgb16();
    let mut rounded_up = 0;
    for (index, value) in values.iter().enumerate() {
        let levels = (value * 255.0).round();
        assert_eq!(f32::from(eight.as_raw()[index]), levels);
        rounded_up += usize::from(levels > value * 255.0);
        assert_eq!(f32::from(sixteen.as_raw()[index]), (value * 65535.0).round());
        // And the model returns its input: single precision keeps 16 bits to about a level.
        let original = f32::from(original.as_raw()[index]);
        assert!((value * 65535.0 - original).abs() < 2.0, "{value} {original}");
    }
    // Truncation would round none up.
    assert!(rounded_up > values.len() / 3, "{rounded_up} of {}", values.len());
}

#[test]
fn parameters_are_saved_raw_and_named() {
    let room = Room::new();
    room.write_model(&model(&ModelConfig::small(), Initialisation::Release), "some/w.safetensors");
    room.picture("photo.v2.png", 64, 32);
    room.run("enhance photo.v2.png -o out --weights some/w.safetensors --save-params").succeeds();
    assert_eq!(room.files("out"), ["photo.v2.params.json", "photo.v2.png"]);
    let file = room.json("out/photo.v2.params.json");
    assert_eq!(file["input"], "photo.v2.png");
    assert_eq!((&file["width"], &file["height"]), (&64.into(), &32.into()));
    assert_eq!(file["weights"], "w.safetensors");
    assert_eq!(file["dialect"], "release");
    assert_eq!(file["fixes"].as_array().unwrap().len(), 6);
    assert_eq!(file["raw"].as_array().unwrap().len(), 60 + 24 + 24);
    let filters = &file["filters"];
    assert_eq!(filters["polynomial"]["kind"], "cubic20");
    for channel in filters["polynomial"]["coefficients"].as_array().unwrap() {
        assert_eq!(channel.as_array().unwrap().len(), 20);
    }
    for (filter, key) in [("graduated", "slope"), ("elliptical", "angle")] {
        let instances = filters[filter].as_array().unwrap();
        assert_eq!(instances.len(), 3);
        for instance in instances {
            assert!(instance[key].is_f64() && instance["scale"].as_array().unwrap().len() == 3);
        }
    }
    // The named numbers are the raw ones constrained: an angle is pi t(raw).
    let raw = file["raw"][60 + 24 + 12].as_f64().unwrap();
    let angle = std::f64::consts::PI * (raw.tanh() + 1.0) / 2.0;
    assert!((filters["elliptical"][0]["angle"].as_f64().unwrap() - angle).abs() < 1e-5);
}

/// What was saved makes the same picture; what is edited makes another; the network's own heads have
/// no say in either.
#[test]
fn saved_parameters_are_applied_again_and_can_be_edited() {
    let room = Room::new();
    room.write_model(&model(&ModelConfig::small(), Initialisation::Release), "w.safetensors");
    room.picture("a.png", 64, 48);
    let enhance = |rest: &str| room.run(&format!("enhance a.png --weights w.safetensors {rest}"));
    enhance("-o one.npy --save-params").succeeds();
    enhance("-o again.npy --params one.params.json --save-params").succeeds();
    assert_eq!(room.read("again.npy"), room.read("one.npy"));
    let (first, again) = (room.json("one.params.json"), room.json("again.params.json"));
    assert_eq!((&again["filters"], &again["strength"]), (&first["filters"], &1.0.into()));
    assert!(again.get("raw").is_none());

    let mut edited = first.clone();
    for filter in ["graduated", "elliptical"] {
        for k in 0..3 {
            edited["filters"][filter][k]["scale"] = [1.0, 1.0, 1.0].as_slice().into();
        }
    }
    room.write("edited.json", edited.to_string());
    enhance("-o edited.npy --params edited.json").succeeds();
    assert_ne!(room.read("edited.npy"), room.read("one.npy"));

    // A strength in the file holds until the command line says another.
    edited["strength"] = 0.25.into();
    room.write("weak.json", edited.to_string());
    enhance("-o weak.npy --params weak.json").succeeds();
    enhance("-o same.npy --params edited.json --strength 0.25").succeeds();
    assert_eq!(room.read("weak.npy"), room.read("same.npy"));
    enhance("-o whole.npy --params weak.json --strength 1").succeeds();
    assert_eq!(room.read("whole.npy"), room.read("edited.npy"));

    enhance("-o none.npy --strength 0").succeeds();
    let original = decode(room.path("a.png")).unwrap().pixels;
    let found = npy(&room.read("none.npy"), 48, 64);
    for (index, value) in found.iter().enumerate() {
        let expected = original[[index % 3, index / 3 / 64, index / 3 % 64]];
        assert!((value - expected).abs() < 1e-6, "{value} {expected}");
    }
}

#[test]
fn parameters_that_cannot_be_applied() {
    let room = Room::new();
    room.write_model(&model(&ModelConfig::small(), Initialisation::Release), "w.safetensors");
    room.picture("a.png", 40, 40);
    room.run("enhance a.png -o one.png --weights w.safetensors --save-params").succeeds();
    let whole = room.json("one.params.json");
    let with = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut file = whole.clone();
        change(&mut file);
        room.write(name, file.to_string());
    };
    with("dialect.json", &|file| file["dialect"] = "paper".into());
    with("fewer.json", &|file| {
        file["filters"]["elliptical"].as_array_mut().unwrap().pop();
    });
    with("typo.json", &|file| file["filters"]["graduated"][0]["slop"] = 1.0.into());
    with("zero.json", &|file| file["filters"]["elliptical"][1]["semi_axis_a"] = 0.0.into());
    with("strong.json", &|file| file["strength"] = 2.0.into());
    room.write("text.json", "no parameters");
    let before = room.files("");
    for (rest, parts) in [
        ("--params dialect.json", &["dialect.json", "dialect paper", "dialect release"][..]),
        ("--params fewer.json", &["fewer.json", "elliptical"]),
        ("--params typo.json", &["typo.json", "slop", "slope"]),
        ("--params zero.json", &["zero.json", "elliptical", "semi_axis_a"]),
        ("--params strong.json", &["strong.json", "strength 2", "1.5"]),
        ("--params text.json", &["text.json", "--save-params"]),
        ("--params missing.json", &["missing.json"]),
        ("--strength 1.6", &["--strength 1.6", "1.5"]),
        ("--strength -1", &["--strength -1", "1.5"]),
    ] {
        room.run(&format!("enhance a.png -o x.png --weights w.safetensors {rest}")).fails(parts);
        assert_eq!(room.files(""), before, "{rest}");
    }
}

#[test]
fn folders_and_files_mix() {
    let room = Room::with_weights();
    for name in ["in/a.png", "in/b.jpg", "c.png"] {
        room.picture(name, 40, 33);
    }
    room.write("in/notes.txt", "no picture");
    let run = room.run("enhance in c.png -o out/new --weights w.safetensors").succeeds();
    assert_eq!(run.stdout, "3 enhanced, 0 failed: out/new\n");
    assert_eq!(room.files("out/new"), ["a.png", "b.png", "c.png"]);
}

#[test]
fn a_single_file_goes_into_a_folder_too() {
    let room = Room::with_weights();
    room.picture("a.png", 32, 32);
    std::fs::create_dir(room.path("looks-like.png")).unwrap();
    room.run("enhance a.png -o looks-like.png --weights w.safetensors").succeeds();
    room.run("enhance a.png -o new --format npy --weights w.safetensors").succeeds();
    assert_eq!(room.files("looks-like.png"), ["a.png"]);
    assert_eq!(room.files("new"), ["a.npy"]);
}

/// The photograph's own format and quality, and no file replaced.
#[test]
fn a_photograph_alone_is_enough() {
    let room = Room::with_weights();
    let picture = room.picture("in/photo.jpg", 96, 64);
    let eighty = |path| image::codecs::jpeg::JpegEncoder::new_with_quality(path, 80);
    let mut file = Vec::new();
    picture.write_with_encoder(eighty(&mut file)).unwrap();
    std::fs::write(room.path("in/photo.jpg"), file).unwrap();

    let enhance = |rest: &str| room.run(&format!("enhance {rest} --weights w.safetensors"));
    let run = enhance("in/photo.jpg --save-params").succeeds();
    assert_eq!(run.stdout, "1 enhanced, 0 failed: in/photo-enhanced.jpg\n");
    let files = ["photo-enhanced.jpg", "photo-enhanced.params.json", "photo.jpg"];
    assert_eq!(room.files("in"), files);
    let result = decode(room.path("in/photo-enhanced.jpg")).unwrap();
    assert_eq!((result.width(), result.height()), (96, 64));
    assert_eq!(result.info.jpeg_quality, Some(80));

    let before = room.read("in/photo-enhanced.jpg");
    enhance("in/photo.jpg").fails(&["in/photo-enhanced.jpg is there already", "--force", "-o"]);
    assert_eq!(room.read("in/photo-enhanced.jpg"), before);
    enhance("in/photo.jpg --force --quality 60 --strength 0").succeeds();
    let info = decode(room.path("in/photo-enhanced.jpg")).unwrap().info;
    assert_eq!(info.jpeg_quality, Some(60));
    enhance("in").fails(&["in is a folder", "-o OUT"]);
}

/// `cargo test -p deeplpf-cli --no-default-features`.
#[cfg(not(feature = "default-weights"))]
#[test]
fn without_weights_the_user_learns_how_to_get_some() {
    let room = Room::new();
    room.picture("a.png", 32, 32);
    room.run("enhance a.png -o b.png").fails(&[
        "--weights FILE",
        "default-weights",
        "`deeplpf train`",
        "`deeplpf weights pull release-dpe`",
    ]);
    assert_eq!(room.files(""), ["a.png"]);
}

#[test]
fn contradictions_are_found_before_anything_is_written() {
    let room = Room::with_weights();
    room.picture("in/a.png", 32, 32);
    room.picture("in/b.png", 32, 32);
    let before = room.files("");
    for (line, parts) in [
        ("in/a.png -o x.jpg --format png16", &["x.jpg", "--format png16"][..]),
        ("in/a.png in/b.png -o x.png", &["x.png", "give a folder"]),
        ("in -o x.png", &["x.png", "give a folder"]),
        ("in/a.png -o x.webp", &["x.webp", ".png, .jpg, .tif or .npy"]),
        ("in/a.png -o w.safetensors", &["w.safetensors", "choose a folder"]),
        ("in/a.png -o in/a.png", &["in/a.png", "overwritten", "-o"]),
        ("in -o in", &["in/a.png", "overwritten", "-o"]),
        ("in/a.png -o x.png --device cuda:0", &["cuda:0", "--device cpu"]),
        ("in/a.png -o x.png --device gpu", &["gpu", "auto, cpu and cuda:N"]),
    ] {
        room.run(&format!("enhance {line} --weights w.safetensors")).fails(parts);
        assert_eq!(room.files(""), before, "{line}");
    }
}

/// Usage errors are clap's: exit code 2.
#[test]
fn wrong_options_are_named() {
    let room = Room::with_weights();
    for (line, part) in [
        ("enhance", "<INPUT>"),
        ("enhance a.png -o b.png --force", "cannot be used with '--force'"),
        ("enhance a.png -o b.png --fixes elipse", "did you mean `ellipse`?"),
        ("enhance a.png -o b.png --format gif", "png16"),
        ("enhance a.png -o b.png --dialect lua", "release"),
        ("train", "--config"),
        ("enhanse", "enhance"),
    ] {
        let run = room.run(line);
        assert!(run.code == 2 && run.stderr.contains(part), "{run:?}");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let room = Room::new();
    for command in [
        "enhance",
        "metrics",
        "train",
        "eval",
        "reproduce",
        "weights inspect",
        "weights convert",
        "data sample",
    ] {
        let help = room.run(&format!("{command} --help")).succeeds().stdout;
        assert!(
            help.contains("Example") && help.contains(&format!("deeplpf {command} ")),
            "{help}"
        );
    }
}
