//! Real files with random damage: decoders and parsers say what is wrong, or give something sound, and
//! never panic. The folder `fuzz/` holds the same entry points for a fuzzer to run for hours.

use std::path::Path;
use std::sync::LazyLock;

use crate::common::icc::{Curve, PRO_PHOTO, rgb};
use crate::common::{Source, bytes_of, exif_with_orientation};
use deeplpf_data::prepare::Manifest;
use deeplpf_data::{DecodeLimits, decode_bytes_with, split};
use image::ExtendedColorType;
use proptest::collection::vec;
use proptest::prelude::*;

/// Of every format and depth, with profile and EXIF.
static PICTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (width, height) = (23, 17);
    let icc = rgb(&PRO_PHOTO, Curve::Gamma256(461));
    let exif = exif_with_orientation(6);
    let count = (width * height * 3) as usize;
    let eight: Vec<u8> = (0..count).map(|k| (k * 7919 % 251) as u8).collect();
    let sixteen: Vec<u16> = (0..count).map(|k| (k * 104_729 % 65_521) as u16).collect();
    let plain = |layout| Source::new(width, height, layout);
    let full = |layout| Source { icc: Some(&icc), exif: Some(&exif), ..plain(layout) };
    let (rgb8, rgb16) = (ExtendedColorType::Rgb8, ExtendedColorType::Rgb16);
    vec![
        full(rgb8).png(&eight),
        full(rgb16).png(&bytes_of(&sixteen)),
        plain(ExtendedColorType::La8).png(&eight[..count * 2 / 3]),
        full(rgb8).jpeg(&eight),
        plain(ExtendedColorType::L8).jpeg(&eight[..count / 3]),
        full(rgb8).webp(&eight),
        plain(ExtendedColorType::Rgba8).webp(&[&eight[..], &eight[..count / 3]].concat()),
        Source { icc: Some(&icc), ..plain(rgb16) }.tiff(&bytes_of(&sixteen)),
        plain(ExtendedColorType::L16).tiff(&bytes_of(&sixteen[..count / 3])),
    ]
});

/// A change to some bytes; places are fractions of the length.
#[derive(Debug, Clone)]
enum Change {
    Cut(f64),
    Flip(f64, u8),
    Set(f64, Vec<u8>),
    Remove(f64, usize),
    Insert(f64, Vec<u8>),
    Repeat(f64, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |place: f64| (place * bytes.len() as f64) as usize;
        match self {
            Self::Cut(place) => bytes.truncate(at(*place)),
            Self::Flip(place, bit) => {
                let at = at(*place);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Set(place, values) => {
                let at = at(*place);
                for (to, from) in bytes.iter_mut().skip(at).zip(values) {
                    *to = *from;
                }
            }
            Self::Remove(place, count) => {
                let (from, length) = (at(*place), bytes.len());
                bytes.drain(from.min(length)..(from + count).min(length));
            }
            Self::Insert(place, values) => {
                let at = at(*place).min(bytes.len());
                bytes.splice(at..at, values.iter().copied());
            }
            Self::Repeat(place, count) => {
                let (from, length) = (at(*place), bytes.len());
                let part = bytes[from.min(length)..(from + count).min(length)].to_vec();
                bytes.splice(from.min(length)..from.min(length), part);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = || 0.0..1.0f64;
    // Headers are short and full of meaning.
    let place = move || prop_oneof![place(), 0.0..0.1f64];
    prop_oneof![
        1 => place().prop_map(Change::Cut),
        4 => (place(), any::<u8>()).prop_map(|(p, b)| Change::Flip(p, b)),
        3 => (place(), vec(prop_oneof![Just(0u8), Just(0xFF), any::<u8>()], 1..9))
            .prop_map(|(p, v)| Change::Set(p, v)),
        1 => (place(), 1..40usize).prop_map(|(p, n)| Change::Remove(p, n)),
        1 => (place(), vec(any::<u8>(), 1..20)).prop_map(|(p, v)| Change::Insert(p, v)),
        1 => (place(), 1..60usize).prop_map(|(p, n)| Change::Repeat(p, n)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    changes.iter().for_each(|change| change.apply(&mut bytes));
    bytes
}

/// 2^16 pixels, so that a header with a lie in it does not cost a gigabyte.
const LIMITS: DecodeLimits = DecodeLimits { max_pixels: 1 << 16 };

const MANIFEST: &str = include_str!("../fixtures/manifest.jsonl");

proptest! {
    // Some 15 000 pictures a second; `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_pictures_are_refused_or_sound(
        which in 0..9usize,
        changes in vec(change(), 1..6),
    ) {
        let bytes = changed(PICTURES[which].clone(), &changes);
        match decode_bytes_with(&bytes, Path::new("x.png"), &LIMITS) {
            Ok(image) => {
                prop_assert!(image.pixels.iter().all(|v| (0.0..=1.0).contains(v)));
                prop_assert!(image.pixels.len() <= 3 << 16);
            }
            Err(error) => prop_assert!(error.to_string().starts_with("x.png ")),
        }
    }

    #[test]
    fn lists_are_read_however_they_are_written(
        ids in vec("[a-z0-9äß][a-z0-9 ._-]{0,12}[a-z0-9]", 1..20),
        windows in any::<bool>(),
        mark in any::<bool>(),
        blank in any::<bool>(),
        last in any::<bool>(),
    ) {
        let end = if windows { "\r\n" } else { "\n" };
        let between = if blank { format!(" {end}\t{end}") } else { end.to_owned() };
        let mark = if mark { "\u{feff}" } else { "" };
        let text = format!("{mark}{}{}", ids.join(&between), if last { end } else { "" });
        let mut sorted = ids.clone();
        sorted.sort();
        sorted.dedup();
        match split::parse_ids(text.as_bytes(), Path::new("l.txt")) {
            Ok(read) => prop_assert_eq!(read, ids),
            Err(error) => {
                prop_assert!(sorted.len() < ids.len(), "{}", error);
                prop_assert!(error.to_string().contains("is listed already"));
            }
        }
    }

    #[test]
    fn damaged_lists_are_refused_or_sound(changes in vec(change(), 1..8)) {
        let list = "\u{feff}a0001\r\na0002-x\r\n\r\n a0003 \r\nä\r\n".repeat(3).into_bytes();
        if let Ok(ids) = split::parse_ids(&changed(list, &changes), Path::new("l.txt")) {
            prop_assert!(!ids.is_empty());
            for id in ids {
                prop_assert!(!id.is_empty() && id.trim() == id && !id.contains(['\n', '\r']));
            }
        }
    }

    #[test]
    fn damaged_manifests_are_refused_or_sound(changes in vec(change(), 1..4)) {
        let bytes = changed(MANIFEST.as_bytes().to_vec(), &changes);
        match Manifest::parse(&bytes, Path::new("m")) {
            Ok(manifest) => {
                for entry in manifest.entries {
                    for file in [entry.input, entry.target] {
                        prop_assert!(!file.file.contains("..") || !file.file.contains("../"));
                        prop_assert!(!Path::new(&file.file).is_absolute());
                        prop_assert_eq!(file.sha256.len(), 64);
                    }
                }
            }
            Err(error) => prop_assert!(error.to_string().starts_with("m:")),
        }
    }
}
