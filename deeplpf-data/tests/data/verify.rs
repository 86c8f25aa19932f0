//! Every kind of problem in a folder made for it, and nothing in one that is sound.

use std::path::{Path, PathBuf};

use crate::common::icc::{Curve, DISPLAY_P3, PRO_PHOTO, SRGB, rgb};
use crate::common::{Source, bytes_of, tell};
use deeplpf_data::protocol::{Protocol, ProtocolName};
use deeplpf_data::verify::{Options, ProblemKind, Report, verify};
use deeplpf_data::{decode, sample};
use image::ExtendedColorType;

const WIDTH: usize = 120;
const HEIGHT: usize = 90;

/// A folder of pairs, each of a scene of its own.
struct Set(tempfile::TempDir);

impl Set {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    /// Four pairs, sound in every respect.
    fn sound() -> Self {
        let set = Self::new();
        for id in ["a0001", "a0002", "a0003", "a0004"] {
            set.pair(id);
        }
        set
    }

    fn pair(&self, id: &str) {
        self.write(&format!("input/{id}.png"), png(&scene(id, (0, 0), 0.6)));
        self.write(&format!("expertC/{id}.png"), png(&scene(id, (0, 0), 1.1)));
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("has a folder")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(name)).expect("was there");
    }

    fn verify(&self, protocol: Option<ProtocolName>) -> Report {
        let options = Options { protocol: protocol.map(Protocol::new), target: None };
        verify(self.0.path(), &options, &|_, _| {}).expect("verified")
    }

    /// Without a protocol: exactly these problems.
    fn expect(&self, problems: &[(&str, &str)]) -> Report {
        let report = self.verify(None);
        let found: Vec<(&str, &str)> =
            report.problems.iter().map(|p| (p.kind.as_str(), p.id.as_str())).collect();
        assert_eq!(found, problems, "{report}");
        assert_eq!(report.usable, problems.is_empty());
        report
    }
}

/// Random squares on grey, different for each name, moved by whole pixels; values times `gain`.
fn scene(name: &str, (down, right): (i64, i64), gain: f64) -> Vec<u8> {
    let mut state = name.bytes().fold(7u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(b));
    let mut random = |n: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        ((state >> 33) as i64) % n
    };
    let mut values = vec![90.0f64; WIDTH * HEIGHT * 3];
    for _ in 0..160 {
        let (y, x) = (random(HEIGHT as i64 + 40) - 20, random(WIDTH as i64 + 40) - 20);
        let (height, width) = (3 + random(14), 3 + random(14));
        let colour = [random(200), random(200), random(200)];
        for row in (y + down).max(0)..(y + down + height).clamp(0, HEIGHT as i64) {
            for column in (x + right).max(0)..(x + right + width).clamp(0, WIDTH as i64) {
                let at = 3 * (row as usize * WIDTH + column as usize);
                for c in 0..3 {
                    values[at + c] = colour[c] as f64;
                }
            }
        }
    }
    values.iter().map(|v| (v * gain).clamp(0.0, 255.0).round() as u8).collect()
}

fn source() -> Source<'static> {
    Source::new(WIDTH as u32, HEIGHT as u32, ExtendedColorType::Rgb8)
}

fn png(samples: &[u8]) -> Vec<u8> {
    source().png(samples)
}

fn wide(samples: &[u8]) -> Vec<u8> {
    let samples: Vec<u16> = samples.iter().map(|&v| u16::from(v) * 257).collect();
    let source = Source::new(WIDTH as u32, HEIGHT as u32, ExtendedColorType::Rgb16);
    source.png(&bytes_of(&samples))
}

#[test]
fn a_sound_folder_has_no_problems() {
    let report = Set::sound().expect(&[]);
    assert_eq!((report.inputs, report.targets, report.pairs), (4, 4, 4));
    assert!(report.layout.contains("input/ and expertC/"), "{}", report.layout);
    let text = report.to_string();
    assert!(text.contains("Usable: no problems") && text.contains("4 pairs compared"), "{text}");
}

#[test]
fn partners_that_are_missing_and_ids_that_are_there_twice() {
    let set = Set::sound();
    set.remove("expertC/a0001.png");
    set.remove("input/a0002.png");
    set.write("input/a0003-again.png", png(&scene("a0003", (0, 0), 0.6)));
    set.expect(&[
        ("missing-target", "a0001"),
        ("missing-input", "a0002"),
        ("duplicate-id", "a0003"),
    ]);
}

#[test]
fn sizes_that_differ() {
    let set = Set::sound();
    let turned = Source::new(HEIGHT as u32, WIDTH as u32, ExtendedColorType::Rgb8);
    set.write("expertC/a0002.png", turned.png(&scene("a0002", (0, 0), 1.1)));
    let report = set.expect(&[("unequal-size", "a0002")]);
    let detail = &report.problems[0].detail;
    assert!(detail.contains("120x90") && detail.ends_with("turned"), "{detail}");
}

#[test]
fn targets_that_are_shifted_or_of_another_picture() {
    let set = Set::sound();
    set.write("expertC/a0001.png", png(&scene("a0001", (1, -2), 1.1)));
    set.write("expertC/a0002.png", png(&scene("other", (0, 0), 1.1)));
    set.write("expertC/a0003.png", png(&[40; 3 * WIDTH * HEIGHT]));
    let kinds = ["a0001", "a0002", "a0003"].map(|id| ("misregistered", id));
    let report = set.expect(&kinds);
    let detail = &report.problems[0].detail;
    assert!(detail.contains("+1.0") && detail.contains("-2.0"), "{detail}");
    assert!(report.problems[1].detail.contains("do not show the same"), "{report}");
}

#[test]
fn a_target_that_is_its_input() {
    let set = Set::sound();
    std::fs::copy(set.0.path().join("input/a0001.png"), set.0.path().join("expertC/a0001.png"))
        .expect("copied");
    set.write("expertC/a0002.png", wide(&scene("a0002", (0, 0), 0.6)));
    let report =
        set.expect(&[("identical", "a0001"), ("identical", "a0002"), ("bit-depth", "a0002")]);
    assert!(report.problems[0].detail.contains("0.00 of 255"), "{report}");
}

#[test]
fn an_input_that_is_black() {
    let set = Set::sound();
    set.write("input/a0004.png", png(&[0; 3 * WIDTH * HEIGHT]));
    set.expect(&[("brightness", "a0004")]);
}

#[test]
fn sixteen_bits_beside_eight() {
    let set = Set::sound();
    set.write("input/a0003.png", wide(&scene("a0003", (0, 0), 0.6)));
    let report = set.expect(&[("bit-depth", "a0003")]);
    assert!(report.problems[0].detail.contains("most inputs have 8"), "{report}");
    // All targets in 16 bits are no mixture; the protocol has 8.
    let set = Set::sound();
    for id in ["a0001", "a0002", "a0003", "a0004"] {
        set.write(&format!("expertC/{id}.png"), wide(&scene(id, (0, 0), 1.1)));
    }
    set.expect(&[]);
    let report = set.verify(Some(ProtocolName::Dpe));
    let deep = report.problems.iter().filter(|p| p.kind == ProblemKind::BitDepth).count();
    assert_eq!(deep, 4, "{report}");
}

#[test]
fn profiles() {
    let set = Set::sound();
    let tag = |icc: &[u8], id: &str| {
        let tagged = Source { icc: Some(icc), ..source() };
        set.write(&format!("expertC/{id}.png"), tagged.png(&scene(id, (0, 0), 1.1)));
    };
    // An sRGB profile is as good as none, in either common form of its curve.
    tag(&rgb(&SRGB, Curve::SrgbTable), "a0001");
    tag(&rgb(&SRGB, Curve::Srgb), "a0002");
    set.expect(&[]);
    tag(&rgb(&PRO_PHOTO, Curve::Gamma256(461)), "a0003");
    tag(&rgb(&DISPLAY_P3, Curve::Srgb), "a0004");
    set.expect(&[("profile", "a0003"), ("profile", "a0004")]);
    let report = set.verify(Some(ProtocolName::Dpe));
    let profiles = report.problems.iter().filter(|p| p.kind == ProblemKind::Profile);
    assert_eq!(profiles.map(|p| p.id.as_str()).collect::<Vec<_>>(), ["a0003", "a0004"]);
    // One that cannot be used at all.
    tag(b"no profile", "a0003");
    set.expect(&[("profile", "a0003"), ("profile", "a0004")]);
}

/// The four components are in the frame header; there is nothing behind it to decode.
fn cmyk_jpeg() -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 20, 8, 0, 8, 0, 8, 4];
    file.extend((1..=4).flat_map(|component| [component, 0x11, 0]));
    file.extend([0xFF, 0xDA, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0, 0, 0, 0xFF, 0xD9]);
    file
}

#[test]
fn files_that_cannot_be_read() {
    let set = Set::sound();
    set.remove("input/a0001.png");
    set.write("input/a0001.jpg", cmyk_jpeg());
    let whole = png(&scene("a0002", (0, 0), 1.1));
    set.write("expertC/a0002.png", &whole[..whole.len() / 2]);
    set.write("input/a0003.png", "no picture");
    let report = set.expect(&["a0001", "a0002", "a0003"].map(|id| ("unreadable", id)));
    assert!(report.problems[0].detail.contains("CMYK"), "{report}");
    assert!(report.problems[1].detail.contains("truncated"), "{report}");
}

/// Whoever may read everything (root) sees no problem here.
#[cfg(unix)]
#[test]
fn a_folder_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let set = Set::sound();
    let folder = set.0.path().join("expertC");
    let permit = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&folder, permissions).expect("own folder");
    };
    permit(0o000);
    let refused = std::fs::read_dir(&folder).is_err();
    let report = set.verify(None);
    permit(0o755);
    if !refused {
        tell("NOTE: this user may read any folder: the test of one without permission saw nothing");
        return assert!(report.usable, "{report}");
    }
    assert!(!report.usable);
    let first = report.problems.iter().find(|p| p.kind == ProblemKind::Unreadable).expect("told");
    assert!(first.id == "expertC" && first.detail.contains("cannot be read"), "{report}");
}

#[test]
fn lists_with_everything_wrong() {
    let set = Set::sound();
    // A byte order mark, Windows line ends and long names are no problem.
    set.write("train.txt", "\u{feff}a0001-jmac_DSC1459\r\na0002\r\n\r\n");
    set.write("test.txt", "a0003\r\na0004\r\n");
    set.expect(&[]);
    set.write("train.txt", "a0001\r\na0002\r\na0001\r\nzebra\r\n");
    set.write("test.txt", "a0003\na0002\n");
    set.write("valid.txt", [0xFF, 0xFE, 0x61, 0x00]);
    let report = set.expect(&[
        ("unknown-id", "zebra"),
        ("duplicate-id", "a0001"),
        ("duplicate-id", "a0002"),
        ("unreadable", "valid.txt"),
    ]);
    let text = report.to_string();
    assert!(text.contains("line 3 of train.txt repeats line 1 of train.txt"), "{text}");
    assert!(text.contains("line 4 of train.txt names it"), "{text}");
    assert!(text.contains("line 2 of train.txt and line 2 of test.txt"), "{text}");
}

#[test]
fn lists_are_compared_with_known_splits() {
    let set = Set::sound();
    let upe = Protocol::new(ProtocolName::Upe).split();
    set.write("test.txt", upe.test.join("\r\n"));
    let report = set.verify(None);
    let shared = |protocol: &str, part: &str| {
        let of = |o: &&deeplpf_data::verify::Overlap| o.protocol == protocol && o.part == part;
        report.overlaps.iter().find(of).map(|overlap| overlap.shared)
    };
    assert_eq!(shared("dpe", "test"), Some(45));
    assert_eq!(shared("dpe", "training"), Some(235));
    assert_eq!(shared("dpe", "validation"), Some(220));
    assert_eq!(shared("upe", "test"), Some(500));
    assert_eq!(shared("upe", "training"), None);
    let text = report.to_string();
    assert!(text.contains("235 training, 220 validation, 45 test"), "{text}");
}

#[test]
fn a_protocol_names_what_is_missing_and_surplus() {
    let set = Set::sound();
    set.pair("a0160");
    set.pair("zebra");
    let report = set.verify(Some(ProtocolName::Dpe));
    assert!(!report.usable);
    let of = |kind| report.problems.iter().filter(move |p| p.kind == kind);
    assert_eq!(of(ProblemKind::MissingId).count(), 4998 - 4);
    let unknown: Vec<_> = of(ProblemKind::UnknownId).map(|p| (p.id.as_str(), p.harmless)).collect();
    assert_eq!(unknown, [("a0160", true), ("zebra", false)]);
    assert!(report.protocol.expect("told").contains("2250/2250/498"));

    // A test list of another protocol.
    set.write("test.txt", "a0001\n");
    let report = set.verify(Some(ProtocolName::Dpe));
    let told = "line 1 of test.txt names it, and it is not in the test list of dpe";
    let found = report.problems.iter().any(|p| p.id == "a0001" && p.detail == told);
    assert!(found, "{report}");
    // An id of which there is no file is missing once, however many lists it is not in. One of those
    // with files is of dpe's test list and not of this one.
    let of = |kind| report.problems.iter().filter(move |p| p.kind == kind);
    assert_eq!(of(ProblemKind::MissingId).count(), 4998 - 4 + 1);
    let ids: std::collections::BTreeSet<_> =
        of(ProblemKind::MissingId).map(|p| p.id.as_str()).collect();
    assert_eq!(ids.len(), 4998 - 4 + 1);
    // They are counted, not listed.
    assert_eq!(report.listed, Some((4, 4998)));
    let text = report.to_string();
    assert!(text.contains("4 of the 4998 ids of the protocol are there"), "{text}");
    assert!(text.ends_with("3 problems, 4995 missing ids, 1 harmless\n"), "{text}");
    assert!(text.lines().count() < 60, "{text}");
}

#[test]
fn squeezed_and_too_large_pictures_break_the_size_rule() {
    let set = Set::sound();
    let sized = |id: &str, width: u32, height: u32| {
        let source = Source::new(width, height, ExtendedColorType::Rgb8);
        let noise = |seed: u32, gain: u32| -> Vec<u8> {
            let value = |k: u32| (k / 23 * 2_654_435_761u32.wrapping_add(seed)) >> 25;
            (0..3 * width * height).map(|k| (value(k) * gain / 2) as u8).collect()
        };
        set.write(&format!("input/{id}.png"), source.png(&noise(1, 2)));
        set.write(&format!("expertC/{id}.png"), source.png(&noise(1, 3)));
    };
    sized("a0002", 512, 512);
    sized("a0003", 600, 400);
    let report = set.verify(Some(ProtocolName::Dpe));
    let of_size = report.problems.iter().filter(|p| p.kind == ProblemKind::UnequalSize);
    let found: Vec<_> = of_size.map(|p| (p.id.as_str(), p.detail.as_str())).collect();
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), ["a0002", "a0003"]);
    assert!(found[0].1.starts_with("input and target are 512x512"), "{found:?}");
    assert!(found[0].1.contains("squeezed") && found[1].1.contains("600x400"), "{found:?}");
    // Without a protocol the square is a note, with its id.
    let notes = set.verify(None).notes;
    assert!(notes.iter().any(|n| n.starts_with("1 input is square") && n.contains("(a0002)")));
}

#[test]
fn dark_inputs_are_another_rendering() {
    let set = Set::new();
    for k in 1..=6 {
        let id = format!("a{k:04}");
        set.write(&format!("input/{id}.png"), png(&scene(&id, (0, 0), 0.3)));
        set.write(&format!("expertC/{id}.png"), png(&scene(&id, (0, 0), 1.2)));
    }
    for name in [ProtocolName::Dpe, ProtocolName::Upe] {
        let report = set.verify(Some(name));
        let found: Vec<_> =
            report.problems.iter().filter(|p| p.kind == ProblemKind::Brightness).collect();
        assert!(found.len() == 1 && found[0].id == "*", "{report}");
        assert!(found[0].detail.contains("darker rendering"), "{report}");
    }
}

/// A link that leads nowhere belongs to the pair of its name.
#[cfg(unix)]
#[test]
fn a_dangling_link_has_the_pairs_id() {
    let set = Set::sound();
    set.remove("input/a0002.png");
    let link = set.0.path().join("input/a0002-jmac.png");
    std::os::unix::fs::symlink("nowhere.png", link).expect("made");
    set.expect(&[("missing-input", "a0002"), ("unreadable", "a0002")]);
}

/// The DNG of an archive is one, has no bits to blame, and is not the protocol's rendering.
#[test]
fn raw_inputs_are_named_and_no_protocols_rendering() {
    if !deeplpf_data::raw::BUILT_IN {
        return tell("NOTE: without the feature raw: verify saw no raw file");
    }
    let set = Set::new();
    let raw = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raw/bayer.dng");
    let rendered = decode(&raw).expect("rendered");
    let (height, width) = (rendered.height(), rendered.width());
    let level = |y: usize, x: usize, c: usize| {
        (255.0 * rendered.pixels[[c, y, x]].powf(0.8)).round().clamp(0.0, 255.0) as u8
    };
    let samples: Vec<u8> =
        (0..3 * width * height).map(|k| level(k / 3 / width, k / 3 % width, k % 3)).collect();
    let target = Source::new(width as u32, height as u32, ExtendedColorType::Rgb8);
    set.write("raw_photos/HQa1to700/photos/a0002-x.dng", std::fs::read(raw).expect("a fixture"));
    set.write("expertC/a0002-x.png", target.png(&samples));
    std::fs::rename(set.0.path().join("expertC"), set.0.path().join("tiff16_c")).expect("renamed");
    let report = set.expect(&[]);
    let text = report.to_string();
    assert!(text.contains("DNG (camera raw) (1)") && !text.contains("TIFF"), "{text}");
    assert!(text.contains("camera raw (1)") && !text.contains("16 bits"), "{text}");
    assert!(text.contains("1 input, 1 target, 1 pair\n"), "{text}");

    let report = set.verify(Some(ProtocolName::Dpe));
    let found: Vec<_> =
        report.problems.iter().filter(|p| p.kind != ProblemKind::MissingId).collect();
    let [found] = found[..] else { panic!("{report}") };
    assert_eq!((found.kind, found.id.as_str()), (ProblemKind::Brightness, "a0002"));
    assert!(found.detail.contains("deeplpf-render-1, those of the protocol by Lightroom"));
}

#[test]
fn the_archive_is_listed() {
    let set = Set::new();
    set.write("raw_photos/HQa1to700/photos/a0001-jmac_DSC1459.dng", "raw");
    set.write("tiff16_c/a0001-jmac_DSC1459.tif", "tiff");
    set.write("tiff16_c/a0002-dgw_005.tif", "tiff");
    if cfg!(feature = "raw") {
        // Both files of the pair are no pictures.
        let files = [("unreadable", "a0001"), ("unreadable", "a0001")];
        set.expect(&[&[("missing-input", "a0002")][..], &files].concat());
    } else {
        let report = set.expect(&[("missing-input", "a0002"), ("unreadable", "*")]);
        assert!(report.problems[1].detail.contains("--features raw"), "{report}");
    }
}

#[test]
fn the_json_has_the_agreed_form() {
    let set = Set::sound();
    set.remove("expertC/a0001.png");
    let path = set.0.path().join("report.json");
    set.verify(None).write_json(&path).expect("written");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
    assert_eq!(json["usable"], false);
    let expected = serde_json::json!([
        {"kind": "missing-target", "id": "a0001", "detail": "the input has no target"}
    ]);
    assert_eq!(json["problems"], expected);
    // Nothing else: a reader may be strict.
    assert_eq!(json.as_object().expect("an object").len(), 2, "{json}");
}

#[test]
fn the_sample_set_is_sound() {
    let set = Set::new();
    sample::write_to(set.0.path()).expect("written");
    let report = set.expect(&[]);
    assert_eq!(report.pairs, 16);
}

/// What is known of the 28 pairs: all 8 bit and sRGB, six squeezed to 512x512, 17 with the settings of
/// Lightroom, all inputs zeroed. And each target moved by a few pixels is found to be.
#[test]
fn fivek_pairs_golden() {
    let Some(folder) = std::env::var_os("DEEPLPF_FIVEK") else {
        return tell("NOTE: DEEPLPF_FIVEK is not set: verify did not run on FiveK's pairs");
    };
    let folder = Path::new(&folder);
    let judge = |name: Option<ProtocolName>| {
        let options = Options { protocol: name.map(Protocol::new), target: None };
        verify(folder, &options, &|_, _| {}).expect("verified")
    };
    let report = judge(None);
    tell(&report.to_string());
    assert!(report.usable && report.pairs == 28, "{report}");
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("6 inputs are square") && note.contains("(a4670, ")),
        "{report}"
    );
    let report = judge(Some(ProtocolName::Dpe));
    tell(&report.to_string());
    let ids = |kind| -> Vec<&str> {
        let mut ids: Vec<&str> =
            report.problems.iter().filter(|p| p.kind == kind).map(|p| p.id.as_str()).collect();
        ids.dedup();
        ids
    };
    let squeezed = ["a4670", "a4680", "a4690", "a4970", "a4980", "a4990"];
    assert_eq!(ids(ProblemKind::UnequalSize), squeezed);
    assert_eq!(ids(ProblemKind::MissingId).len(), 4998 - 28);
    for kind in [ProblemKind::Brightness, ProblemKind::Profile, ProblemKind::UnknownId] {
        assert!(ids(kind).is_empty(), "{report}");
    }
    // The catalogue's settings say zeroed, UPE is as shot.
    let upe = judge(Some(ProtocolName::Upe));
    assert_eq!(upe.problems.iter().filter(|p| p.kind == ProblemKind::Brightness).count(), 17);

    let set = Set::new();
    let encode = |image: &deeplpf_data::Image, (down, right): (usize, usize), gain: f32| {
        let (height, width) = (image.height() - 4, image.width() - 4);
        let mut samples = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            for x in 0..width {
                let level = |c: usize| 255.0 * gain * image.pixels[[c, y + down, x + right]];
                samples.extend([0, 1, 2].map(|c| level(c).round() as u8));
            }
        }
        Source::new(width as u32, height as u32, ExtendedColorType::Rgb8).png(&samples)
    };
    let (_, pairs) = deeplpf_data::layout::open(folder, None).expect("opens");
    for (k, pair) in pairs.pairs.iter().enumerate() {
        let (input, target) =
            (decode(&pair.input).expect("reads"), decode(&pair.target).expect("reads"));
        set.write(&format!("input/{}.png", pair.id), encode(&input, (2, 2), 0.6));
        set.write(
            &format!("expertC/{}.png", pair.id),
            encode(&target, (2 + k % 3, 3 - k % 2), 1.0),
        );
    }
    let report = set.verify(Some(ProtocolName::Dpe));
    let shifted = report.problems.iter().filter(|p| p.kind == ProblemKind::Misregistered).count();
    let unmoved = (0..28).filter(|k| k % 3 == 0 && k % 2 == 1).count();
    assert_eq!(shifted, 28 - unmoved, "{report}");
    // 0.6 of the encoded values is about 1.5 EV less light.
    assert!(report.problems.iter().any(|p| p.kind == ProblemKind::Brightness), "{report}");
}
