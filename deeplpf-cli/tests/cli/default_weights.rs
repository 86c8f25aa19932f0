//! Weights inside the program: a photograph is all that `enhance` and `inspect` need.

use std::path::Path;

use deeplpf_core::{Checkpoint, Fixes};
use deeplpf_data::{OutputFormat, Pair, decode, encode, sample};
use ndarray::Array3;

use crate::room::Room;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../weights/default.safetensors");

fn photograph(room: &Room, name: &str, pixels: &Array3<f32>) {
    encode(room.path(name), pixels.view(), OutputFormat::Png, None).expect("written");
}

/// Mean squared difference as PSNR in dB.
fn psnr(a: &Array3<f32>, b: &Array3<f32>) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    -10.0 * (squares / a.len() as f64).log10()
}

/// Targets of the sample set: photographs in the public domain or under CC0, retouched.
fn photographs() -> Vec<Pair> {
    sample::pairs().expect("the embedded set").into_iter().take(6).collect()
}

/// What the photograph is two stops darker, the arithmetic on linear light.
fn darkened(pixels: &Array3<f32>, stops: f32) -> Array3<f32> {
    pixels.mapv(|v| {
        let light = if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
        let light = light * (-stops).exp2();
        if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
    })
}

#[test]
fn one_photograph_and_nothing_else() {
    let room = Room::new();
    photograph(&room, "photo.png", &photographs()[0].input);
    let run = room.run("enhance photo.png").succeeds();
    assert_eq!(run.stdout, "1 enhanced, 0 failed: photo-enhanced.png\n");
    let first = room.read("photo-enhanced.png");
    // A second time it would replace a result.
    room.run("enhance photo.png").fails(&["photo-enhanced.png", "--force"]);
    assert_eq!(room.read("photo-enhanced.png"), first);
    room.run("enhance photo.png --force").succeeds();
    assert_eq!(room.read("photo-enhanced.png"), first, "the same again");
}

#[test]
fn what_is_built_in_is_the_file_in_the_repository() {
    let room = Room::new();
    photograph(&room, "photo.png", &photographs()[1].input);
    std::fs::copy(SHIPPED, room.path("default.safetensors")).expect("copied");
    room.run("enhance photo.png -o a.png --save-params").succeeds();
    let file = "--save-params --weights default.safetensors";
    room.run(&format!("enhance photo.png -o b.png {file} --highlights keep")).succeeds();
    assert_eq!(room.read("a.png"), room.read("b.png"));
    assert_eq!(room.json("a.params.json"), room.json("b.params.json"));
    assert_eq!(room.json("a.params.json")["weights"], "default.safetensors");
}

/// White stays white, all of a picture or a part with a soft edge; unless the network's own is asked
/// for, as it is with named weights. A file of parameters says which it was.
#[test]
fn white_stays_white() {
    let room = Room::new();
    std::fs::copy(SHIPPED, room.path("default.safetensors")).expect("copied");
    std::fs::create_dir(room.path("in")).expect("made");
    photograph(&room, "in/white.png", &Array3::ones((3, 64, 80)));
    let lamp = Array3::from_shape_fn((3, 96, 96), |(_, y, x)| {
        let distance = (y as f32 - 48.0).hypot(x as f32 - 48.0);
        (1.6 - distance / 40.0).clamp(0.2, 1.0)
    });
    photograph(&room, "in/lamp.png", &lamp);
    let least = |folder: &str| {
        let mut least = 1.0f32;
        for name in ["white", "lamp"] {
            let read = |folder: &str| decode(room.path(&format!("{folder}/{name}.png")));
            let (before, after) = (read("in").expect("there"), read(folder).expect("there"));
            let pairs = before.pixels.iter().zip(&after.pixels);
            least = pairs.filter(|(b, _)| **b == 1.0).fold(least, |least, (_, a)| least.min(*a));
        }
        least
    };
    room.run("enhance in -o kept --save-params").succeeds();
    assert_eq!(least("kept"), 1.0);
    room.run("enhance in -o changed --highlights change --save-params").succeeds();
    assert!(least("changed") < 0.95, "or the option is of no use");
    room.run("enhance in -o named --weights default.safetensors").succeeds();
    for name in ["white.png", "lamp.png"] {
        let read = |folder: &str| room.read(&format!("{folder}/{name}"));
        assert_eq!(read("named"), read("changed"), "{name}");
    }
    for (folder, kept) in [("kept", true), ("changed", false)] {
        let file = format!("{folder}/lamp.params.json");
        assert_eq!(room.json(&file)["keep_highlights"], kept);
        room.run(&format!("enhance in/lamp.png -o again.png --params {file}")).succeeds();
        assert_eq!(room.read("again.png"), room.read(&format!("{folder}/lamp.png")), "{folder}");
    }
}

#[test]
fn inspect_takes_them_too() {
    let room = Room::new();
    photograph(&room, "photo.png", &photographs()[2].input);
    room.run("inspect photo.png -o inspection").succeeds();
    assert!(room.files("inspection").contains(&"params.json".to_string()));
    assert_eq!(room.json("inspection/params.json")["weights"], "default.safetensors");
}

/// Small enough for a program, in half precision, with every correction of the release.
#[test]
fn the_shipped_file_is_what_its_card_says() {
    let bytes = std::fs::read(SHIPPED).expect("there");
    assert!(bytes.len() < 4_000_000, "{} bytes", bytes.len());
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    for (name, tensor) in header.as_object().expect("tensors") {
        assert!(name == "__metadata__" || tensor["dtype"] == "F16", "{name}");
    }
    let checkpoint = Checkpoint::read(Path::new(SHIPPED)).expect("a checkpoint");
    let config = checkpoint.config.expect("it says which model it is");
    assert_eq!(config.fixes, Fixes::ALL);
    assert_eq!((config.graduated, config.elliptical), (3, 3));
}

/// Too dark a photograph comes closer to the one it was, by a good deal; the fate of each is looked
/// at, for a mean could hide one that is spoilt.
#[test]
fn dark_photographs_become_better() {
    let room = Room::new();
    std::fs::create_dir(room.path("in")).expect("made");
    let pairs = photographs();
    for pair in &pairs {
        photograph(&room, &format!("in/{}.png", pair.id), &darkened(&pair.target, 2.0));
    }
    room.run("enhance in -o out").succeeds();
    for pair in &pairs {
        let read = |folder: &str| decode(room.path(&format!("{folder}/{}.png", pair.id)));
        let dark = read("in").expect("there").pixels;
        let enhanced = read("out").expect("there").pixels;
        let (before, after) = (psnr(&dark, &pair.target), psnr(&enhanced, &pair.target));
        assert!(after > before + 3.0, "{}: {before:.2} dB, then {after:.2} dB", pair.id);
    }
}

/// Grey wedges and a grey photograph stay grey: no cast that an eye would see.
#[test]
fn greys_stay_grey() {
    let room = Room::new();
    std::fs::create_dir(room.path("in")).expect("made");
    let wedge = Array3::from_shape_fn((3, 240, 360), |(_, _, x)| x as f32 / 359.0);
    photograph(&room, "in/wedge.png", &wedge);
    for pair in photographs() {
        let grey = Array3::from_shape_fn(pair.target.dim(), |(_, y, x)| {
            let channel = |c: usize| pair.target[[c, y, x]];
            0.2126 * channel(0) + 0.7152 * channel(1) + 0.0722 * channel(2)
        });
        photograph(&room, &format!("in/{}.png", pair.id), &grey);
    }
    room.run("enhance in -o out").succeeds();
    for name in room.files("out") {
        let pixels = decode(room.path(&format!("out/{name}"))).expect("there").pixels;
        let (_, height, width) = pixels.dim();
        let spread = |y: usize, x: usize| {
            let colour = [0, 1, 2].map(|c| pixels[[c, y, x]]);
            colour.iter().copied().fold(0.0, f32::max) - colour.iter().copied().fold(1.0, f32::min)
        };
        let all = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let mean = all.map(|(y, x)| f64::from(spread(y, x))).sum::<f64>() / (height * width) as f64;
        println!("{name}: {:.2} levels", 255.0 * mean);
        assert!(255.0 * mean < MOST_CAST, "{name}: {:.2} levels", 255.0 * mean);
    }
}

/// Levels of 255 between the strongest and the weakest channel, in the mean over a picture; 4.0 at most
/// when the weights were made.
const MOST_CAST: f64 = 6.0;
