//! Photographs as cameras make them: their depth, profile, EXIF, size and shape, through `enhance`.

use std::io::Cursor;

use deeplpf_core::{Initialisation, ModelConfig};
use deeplpf_data::decode;
use exif::{In, Reader, Tag};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::room::{Room, model};

/// Without --format a PNG has its photograph's depth; with it, what was asked for.
#[test]
fn a_png_has_the_depth_of_its_photograph() {
    let room = Room::with_weights();
    room.picture("in/eight.png", 40, 36);
    room.picture16("in/sixteen.png", 40, 36);
    let depth = |path: &str| decode(room.path(path)).unwrap().info.bit_depth;
    room.run("enhance in -o out --weights w.safetensors").succeeds();
    assert_eq!((depth("out/eight.png"), depth("out/sixteen.png")), (8, 16));
    room.run("enhance in -o asked --format png --weights w.safetensors").succeeds();
    assert_eq!((depth("asked/eight.png"), depth("asked/sixteen.png")), (8, 8));
    room.run("enhance in/sixteen.png -o x.png --weights w.safetensors").succeeds();
    assert_eq!(depth("x.png"), 16);
}

/// A model that changes the picture, strongly and everywhere.
fn strong() -> Room {
    let room = Room::new();
    room.write_model(&model(&ModelConfig::small(), Initialisation::Release), "w.safetensors");
    room
}

fn npy(room: &Room, name: &str) -> Vec<f32> {
    let bytes = room.read(name);
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values = bytes[10 + length..].chunks_exact(4);
    values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect()
}

/// Tiles of one row, of odd heights, larger than the picture; any number of threads.
#[test]
fn tiles_and_threads_change_nothing() {
    let room = strong();
    // Wider than high, odd, and no multiple of 16.
    room.picture16("a.png", 211, 173);
    room.run("enhance a.png -o whole.npy --weights w.safetensors").succeeds();
    let whole = npy(&room, "whole.npy");
    for options in [
        "--tile 1",
        "--tile 16",
        "--tile 37",
        "--tile 172",
        "--tile 173",
        "--tile 100000",
        "--threads 1",
        "--threads 3",
        "--threads 3 --tile 50",
    ] {
        room.run(&format!("enhance a.png -o x.npy --weights w.safetensors {options}")).succeeds();
        let differences = npy(&room, "x.npy");
        let differences = differences.iter().zip(&whole).map(|(a, b)| (a - b).abs());
        // Not f32::max, which would pass over NaN.
        let worst = differences.fold(0.0, |worst, d| if d <= worst { worst } else { d });
        assert!(worst <= 1e-6, "{options}: {worst:e}");
        if !options.contains("tile") {
            assert!(room.read("x.npy") == room.read("whole.npy"), "{options}");
        }
    }
}

#[test]
fn numbers_that_make_no_sense_are_named() {
    let room = Room::with_weights();
    room.picture("a.png", 40, 40);
    for (options, part) in [
        ("--tile 0", "whole number of at least 1"),
        ("--tile -4", "'-4'"),
        ("--threads 0", "whole number of at least 1"),
        ("--threads many", "whole number of at least 1"),
        ("--quality 0", "1..=100"),
        ("--quality 101", "1..=100"),
    ] {
        let run = room.run(&format!("enhance a.png -o x.jpg --weights w.safetensors {options}"));
        assert!(run.code == 2 && run.stderr.contains(part), "{options}: {run:?}");
    }
    for (options, parts) in [
        ("-o x.png --quality 90", &["--quality", "png", "--format jpeg"][..]),
        ("-o out --quality 90", &["--quality", "png", "--format jpeg"]),
        ("-o x.npy --keep-profile", &["--keep-profile", "npy"]),
        ("-o x.png --threads 100000", &["--threads 100000", "; "]),
    ] {
        room.run(&format!("enhance a.png --weights w.safetensors {options}")).fails(parts);
    }
    assert_eq!(room.files(""), ["a.png", "w.safetensors"]);
}

/// Long and thin, both ways: the model returns its input, at every pixel.
#[test]
fn extreme_shapes_are_enhanced() {
    let room = Room::with_weights();
    for (width, height) in [(20_000, 32), (32, 20_000)] {
        let original = room.picture("a.png", width, height);
        room.run("enhance a.png -o x.png --weights w.safetensors").succeeds();
        let result = image::open(room.path("x.png")).unwrap().into_rgb8();
        assert_eq!(result.dimensions(), (width, height));
        let off = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 1;
        assert_eq!(result.iter().zip(original.iter()).filter(|&pair| off(pair)).count(), 0);
    }
    for (width, height) in [(31, 200), (200, 31), (1, 1)] {
        room.picture("small.png", width, height);
        room.run("enhance small.png -o y.png --weights w.safetensors").fails(&[
            "small.png",
            "at least 32",
            "; enlarge",
        ]);
    }
    assert!(!room.path("y.png").exists());
}

/// Little-endian EXIF: maker "Cam", orientation 6 (turned by a quarter).
const EXIF: &[u8] = b"II\x2a\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x04\0\0\0Cam\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";

fn jpeg_with_exif(exif: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.write_image(&[120; 64 * 48 * 3], 64, 48, ExtendedColorType::Rgb8).unwrap();
    file
}

#[test]
fn exif_is_kept_upright_or_left_out() {
    let room = Room::with_weights();
    room.write("a.jpg", jpeg_with_exif(EXIF));
    for out in ["x.jpg", "x.png", "x.tif"] {
        room.run(&format!("enhance a.jpg -o {out} --weights w.safetensors")).succeeds();
        let exif = Reader::new().read_from_container(&mut Cursor::new(room.read(out))).unwrap();
        let make = exif.get_field(Tag::Make, In::PRIMARY).expect("kept");
        assert_eq!(make.display_value().to_string(), "\"Cam\"", "{out}");
        let orientation = exif.get_field(Tag::Orientation, In::PRIMARY);
        assert!(orientation.is_none_or(|field| field.value.get_uint(0) == Some(1)), "{out}");
        let result = decode(room.path(out)).unwrap();
        assert_eq!((result.width(), result.height()), (48, 64), "{out}");
    }
    room.run("enhance a.jpg -o y.jpg --strip-metadata --weights w.safetensors").succeeds();
    let exif = Reader::new().read_from_container(&mut Cursor::new(room.read("y.jpg")));
    assert!(matches!(exif, Err(exif::Error::NotFound(_))));
}

/// EXIF that cannot be kept is a note; the picture is there and counts.
#[test]
fn damaged_exif_is_noted() {
    let room = Room::with_weights();
    room.write("a.jpg", jpeg_with_exif(b"this is no TIFF header"));
    let run = room.run("enhance a.jpg -o x.jpg --weights w.safetensors");
    assert_eq!((run.code, run.stdout.as_str()), (0, "1 enhanced, 0 failed: x.jpg\n"), "{run:?}");
    assert_eq!(run.stderr, "note: a.jpg: its EXIF data is damaged and was left out\n");
}

#[test]
fn quality_is_that_of_the_file() {
    let room = Room::with_weights();
    room.picture("a.png", 200, 150);
    let mut sizes = Vec::new();
    for options in ["--quality 100", "", "--quality 95", "--quality 60"] {
        room.run(&format!("enhance a.png -o x.jpg --weights w.safetensors {options}")).succeeds();
        sizes.push(room.read("x.jpg").len());
    }
    assert!(sizes[0] > sizes[1] && sizes[1] == sizes[2] && sizes[2] > sizes[3], "{sizes:?}");
}

/// Pictures are read, computed and written at the same time; what is said keeps their order.
#[test]
fn messages_come_in_the_order_of_the_pictures() {
    let room = Room::with_weights();
    let mut expected = Vec::new();
    for k in 0..12 {
        let name = format!("in/{k}.png");
        match k % 4 {
            1 => room.write(&name, "no picture"),
            // Fails later than the ones after it are read.
            2 => drop(room.picture(&name, 16, 400)),
            3 => {
                room.picture(&name, 40, 40);
                std::fs::create_dir_all(room.path(&format!("out/{k}.png"))).unwrap();
            }
            _ => drop(room.picture(&name, 300, 200)),
        }
        if k % 4 != 0 {
            expected.push(k);
        }
    }
    for options in ["", "--threads 1", "--threads 2"] {
        let run = room.run(&format!("enhance in -o out --weights w.safetensors {options}"));
        assert_eq!(run.stdout, "3 enhanced, 9 failed: out\n", "{run:?}");
        let told: Vec<i32> = run
            .stderr
            .lines()
            .map(|line| line.split(['/', '.']).nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(told, expected, "{run:?}");
    }
}

/// The instruction sets give one result within rounding; what is none is refused before anything is
/// read or written.
#[test]
fn instruction_sets_are_forced_by_name() {
    let room = strong();
    room.picture("a.png", 75, 61);
    room.run("enhance a.png -o best.npy --weights w.safetensors").succeeds();
    let best = npy(&room, "best.npy");
    for set in deeplpf_filters::Instructions::available() {
        let script =
            format!("DEEPLPF_SIMD={set} $deeplpf enhance a.png -o x.npy --weights w.safetensors");
        room.shell(&script).succeeds();
        let differences = npy(&room, "x.npy");
        let differences = differences.iter().zip(&best).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, |worst, d| if d <= worst { worst } else { d });
        assert!(worst <= 1e-5, "{set}: {worst:e}");
    }
    room.shell("DEEPLPF_SIMD= $deeplpf enhance a.png -o y.npy --weights w.safetensors").succeeds();
    assert!(room.read("y.npy") == room.read("best.npy"), "empty means unset");
    let run = room.shell("DEEPLPF_SIMD=sse9 $deeplpf train --config train.toml");
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("DEEPLPF_SIMD") && run.stderr.contains("portable"), "{run:?}");
}
