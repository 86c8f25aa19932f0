//! Sets prepared by a protocol: what is written, what happens when it is interrupted, what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::icc::{Curve, PRO_PHOTO, rgb};
use crate::common::{Source, bytes_of, names, tell};
use deeplpf_data::prepare::{MANIFEST, Manifest, Plan, PrepareError, Progress, Request, Summary};
use deeplpf_data::protocol::{Expert, Protocol, ProtocolName};
use deeplpf_data::verify::{Options, Problem, ProblemKind, verify};
use deeplpf_data::{DataError, decode};
use image::ExtendedColorType;

/// Originals in `from`, the prepared set in `to`.
struct Room(tempfile::TempDir);

/// Bytes of every file below a folder but the hidden ones, by name.
type Files = BTreeMap<String, Vec<u8>>;

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    /// Three pairs: a large one whose target is a 16-bit TIFF in ProPhoto RGB, a small one, and a JPEG
    /// beside a PNG.
    fn with_pairs() -> Self {
        let room = Self::new();
        room.write("from/input/a0001-jmac_DSC1459.png", &png(600, 400, 1));
        room.write("from/expertC/a0001-jmac_DSC1459.tif", &pro_photo(600, 400, 2));
        room.write("from/input/a0002-x.png", &png(90, 60, 3));
        room.write("from/expertC/a0002-x.tif", &pro_photo(90, 60, 4));
        room.write("from/input/a0003.jpg", &jpeg(400, 700, 5));
        room.write("from/expertC/a0003.png", &png(400, 700, 6));
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("has a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("was there");
    }

    fn plan_for(&self, protocol: Protocol) -> Result<Plan, DataError> {
        let from = self.path("from").display().to_string();
        Plan::new(&Request { protocol, from: &from, inputs: None })
    }

    fn plan(&self) -> Plan {
        self.plan_for(Protocol::new(ProtocolName::Dpe)).expect("a plan")
    }

    fn run(&self, to: &str) -> Summary {
        self.plan().run(&self.path(to), 2, &|_| {}).expect("prepared")
    }

    fn files(&self, folder: &str) -> Files {
        let mut files = Files::new();
        for name in visible(&self.path(folder)) {
            let path = self.path(folder).join(&name);
            if path.is_file() {
                files.insert(name, std::fs::read(path).expect("read"));
                continue;
            }
            for inner in names(&path) {
                let bytes = std::fs::read(path.join(&inner)).expect("read");
                files.insert(format!("{name}/{inner}"), bytes);
            }
        }
        files
    }

    fn manifest(&self, to: &str) -> Manifest {
        let path = self.path(to).join(MANIFEST);
        Manifest::parse(&std::fs::read(&path).expect("read"), &path).expect("a manifest")
    }
}

fn visible(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| !name.starts_with('.')).collect()
}

fn samples(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let value = |k: u32| {
        let (pixel, c) = (k / 3, k % 3);
        let (x, y) = (pixel % width, pixel / width);
        30 + (x * (seed + c) / 3 + y * 2 + (x * y * seed) / 97) % 200
    };
    (0..3 * width * height).map(|k| value(k) as u8).collect()
}

fn png(width: u32, height: u32, seed: u32) -> Vec<u8> {
    Source::new(width, height, ExtendedColorType::Rgb8).png(&samples(width, height, seed))
}

fn jpeg(width: u32, height: u32, seed: u32) -> Vec<u8> {
    Source::new(width, height, ExtendedColorType::Rgb8).jpeg(&samples(width, height, seed))
}

/// 16 bits in ProPhoto RGB, as FiveK's targets are.
fn pro_photo(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let profile = rgb(&PRO_PHOTO, Curve::Gamma256(461));
    let wide: Vec<u16> =
        samples(width, height, seed).iter().map(|&v| u16::from(v) * 200 + 3000).collect();
    let source =
        Source { icc: Some(&profile), ..Source::new(width, height, ExtendedColorType::Rgb16) };
    source.tiff(&bytes_of(&wide))
}

#[test]
fn a_set_is_made_and_described() {
    let room = Room::with_pairs();
    let summary = room.run("to");
    assert_eq!((summary.prepared, summary.kept, summary.failures.len()), (3, 0, 0));
    let expected = [
        "expertC/a0001.png",
        "expertC/a0002.png",
        "expertC/a0003.png",
        "input/a0001.png",
        "input/a0002.png",
        "input/a0003.png",
        "manifest.jsonl",
        "train.txt",
        "valid.txt",
    ];
    let files = room.files("to");
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    let manifest = room.manifest("to");
    assert_eq!(manifest.header.protocol, Protocol::new(ProtocolName::Dpe));
    assert!(manifest.header.description.contains("2250/2250/498"));
    let sizes: Vec<_> = manifest.entries.iter().map(|e| (e.input.width, e.input.height)).collect();
    // The long edge 512, upright ones too; the small one is not enlarged.
    assert_eq!(sizes, [(512, 341), (90, 60), (293, 512)]);
    let first = &manifest.entries[0];
    assert_eq!(first.id, "a0001");
    assert_eq!(first.input.source, "input/a0001-jmac_DSC1459.png");
    assert_eq!((first.input.bit_depth, first.target.bit_depth), (8, 16));
    assert!(first.input.profile.starts_with("no profile"), "{}", first.input.profile);
    assert_ne!(first.target.profile, first.input.profile);
    let original = std::fs::read(room.path("from/expertC/a0001-jmac_DSC1459.tif")).expect("read");
    assert_eq!(first.target.source_bytes, original.len() as u64);

    // Every list is the protocol's, of what is there.
    let split = Protocol::new(ProtocolName::Dpe).split();
    for (name, ids) in [("train.txt", &split.train), ("valid.txt", &split.valid)] {
        let listed = String::from_utf8(files[name].clone()).expect("text");
        let expected: String = ids
            .iter()
            .filter(|id| ["a0001", "a0002", "a0003"].contains(&id.as_str()))
            .map(|id| format!("{id}\n"))
            .collect();
        assert_eq!(listed, expected);
    }

    // The small target only changed its space: the nearest 8-bit levels of what decoding gives.
    let source = decode(room.path("from/expertC/a0002-x.tif")).expect("reads");
    let made = decode(room.path("to/expertC/a0002.png")).expect("reads");
    assert_eq!((made.info.bit_depth, made.pixels.dim()), (8, source.pixels.dim()));
    for (made, source) in made.pixels.iter().zip(&source.pixels) {
        // Half a level of 8 bits, and the rounding to 16 bits in between.
        assert!((made - source).abs() <= 0.5 / 255.0 + 1.0 / 65535.0, "{made} {source}");
    }

    // And the check of sets finds nothing to say about the manifest.
    let options = Options { protocol: Some(Protocol::new(ProtocolName::Dpe)), target: None };
    let report = verify(room.path("to"), &options, &|_, _| {}).expect("verified");
    assert!(report.problems.iter().all(|p| p.kind != ProblemKind::Unreadable), "{report}");
    assert!(report.notes.contains(&"manifest: 3 pairs, all files as they were written".into()));
}

/// The same pictures give the same folder, whatever the number of threads.
#[test]
fn threads_change_nothing() {
    let room = Room::with_pairs();
    let plan = room.plan();
    for (to, threads) in [("one", 1), ("five", 5)] {
        plan.run(&room.path(to), threads, &|_| {}).expect("prepared");
    }
    assert!(room.files("one") == room.files("five"));
}

/// What a killed process may leave behind, each beside a finished set: the next run makes the same
/// files, and does not make again what is whole.
#[test]
fn whatever_was_left_is_finished() {
    let room = Room::with_pairs();
    room.run("reference");
    let reference = room.files("reference");
    let journal = ".deeplpf-prepare.jsonl";
    let cut = |name: &str, part: usize| {
        let path = room.path("to").join(name);
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() * part / 100]).expect("written");
    };
    let cases: [(&str, usize, &dyn Fn()); 8] = [
        ("nothing", 3, &|| {}),
        ("no manifest", 3, &|| room.remove("to/manifest.jsonl")),
        ("a file is gone", 2, &|| room.remove("to/input/a0002.png")),
        ("a file is half", 2, &|| cut("expertC/a0001.png", 50)),
        ("a file is empty", 2, &|| cut("expertC/a0003.png", 0)),
        ("the last line of the journal is half", 2, &|| cut(journal, 95)),
        ("the journal is gone and its folder new", 0, &|| {
            std::fs::remove_dir_all(room.path("to")).expect("removed");
        }),
        ("halves of files", 3, &|| {
            room.write("to/.deeplpf-abc.partial", b"half");
            room.write("to/input/.deeplpf-def.partial", b"half");
        }),
    ];
    for (name, kept, damage) in cases {
        room.run("to");
        damage();
        let summary = room.run("to");
        assert_eq!((summary.kept, summary.prepared), (kept, 3 - kept), "{name}");
        assert!(room.files("to") == reference, "{name}");
        let left = names(&room.path("to/input")).iter().any(|name| name.starts_with('.'));
        assert!(!left, "{name}");
    }
}

/// A pair that is there counts only as long as its originals are what they were.
#[test]
fn originals_that_change_are_made_again() {
    let room = Room::with_pairs();
    room.run("to");
    // Of the same size, in another rendering: time alone tells.
    let other = png(90, 60, 30);
    let path = room.path("from/input/a0002-x.png");
    std::fs::write(&path, &other).expect("written");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    let file = std::fs::File::options().write(true).open(&path).expect("opens");
    file.set_modified(later).expect("set");
    let summary = room.run("to");
    assert_eq!((summary.prepared, summary.kept), (1, 2));
    assert_eq!(
        decode(room.path("to/input/a0002.png")).expect("reads").pixels,
        decode(&path).expect("reads").pixels
    );
    // One that is gone takes its files with it.
    room.remove("from/expertC/a0003.png");
    let summary = room.run("to");
    assert_eq!((summary.prepared, summary.kept), (0, 2));
    assert_eq!(names(&room.path("to/input")), ["a0001.png", "a0002.png"]);
    assert_eq!(room.manifest("to").entries.len(), 2);
}

/// The four components are in the frame header; there is nothing behind it to decode.
fn cmyk_jpeg() -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 20, 8, 0, 8, 0, 8, 4];
    file.extend((1..=4).flat_map(|component| [component, 0x11, 0]));
    file.extend([0xFF, 0xDA, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0, 0, 0, 0xFF, 0xD9]);
    file
}

/// Originals that cannot be used are told, the others are made, and nothing stays of a pair that was
/// there before.
#[test]
fn one_bad_original_does_not_stop_the_others() {
    let room = Room::with_pairs();
    room.run("to");
    let whole = pro_photo(600, 400, 2);
    room.write("from/expertC/a0001-jmac_DSC1459.tif", &whole[..whole.len() / 2]);
    room.write("from/input/a0003.jpg", &cmyk_jpeg());
    room.write("from/input/a0005.png", &png(60, 40, 1));
    room.write("from/expertC/a0005.png", &png(60, 45, 1));
    let summary = room.run("to");
    let failed: Vec<_> = summary.failures.iter().map(|(id, e)| (id.as_str(), e)).collect();
    assert_eq!(failed.iter().map(|f| f.0).collect::<Vec<_>>(), ["a0001", "a0003", "a0005"]);
    assert!(failed[1].1.to_string().contains("CMYK"), "{}", failed[1].1);
    assert!(matches!(failed[2].1, DataError::SizeMismatch { .. }), "{}", failed[2].1);
    assert_eq!(names(&room.path("to/input")), ["a0002.png"]);
    assert_eq!(names(&room.path("to/expertC")), ["a0002.png"]);
    assert_eq!(room.manifest("to").entries.len(), 1);
    // Mended, they come back.
    room.write("from/expertC/a0001-jmac_DSC1459.tif", &whole);
    assert_eq!(room.run("to").prepared, 1);
}

/// One of the two was exported at the size by a program that rounds down.
#[test]
fn a_pixel_of_rounding_is_taken_from_the_input() {
    let room = Room::new();
    room.write("from/input/a0001.png", &png(512, 340, 1));
    room.write("from/tiff16_c/a0001-x.tif", &pro_photo(1024, 682, 2));
    room.run("to");
    let entry = &room.manifest("to").entries[0];
    assert_eq!((entry.target.width, entry.target.height), (512, 340));
}

#[test]
fn the_expert_is_the_one_asked_for() {
    let room = Room::with_pairs();
    room.write("from/expertA/a0002.png", &png(90, 60, 8));
    let dpe = Protocol::new(ProtocolName::Dpe);
    let plan = room.plan_for(dpe.with_target(Expert::A)).expect("a plan");
    plan.run(&room.path("to-a"), 1, &|_| {}).expect("prepared");
    assert_eq!(names(&room.path("to-a/expertA")), ["a0002.png"]);
    let error = room.plan_for(dpe.with_target(Expert::E)).err().expect("no such folder");
    assert!(matches!(error, DataError::NoTargetFolder { .. }), "{error}");
    // A folder that does not say whose versions it has will do.
    let unnamed = Room::new();
    unnamed.write("from/input/a0002.png", &png(90, 60, 3));
    unnamed.write("from/output/a0002.png", &png(90, 60, 4));
    unnamed.run("to");
    assert_eq!(names(&unnamed.path("to/expertC")), ["a0002.png"]);
}

/// Inputs exported from Lightroom beside the archive's targets.
#[test]
fn inputs_may_lie_elsewhere() {
    let room = Room::new();
    room.write("from/raw_photos/HQa1to700/photos/a0002-x.dng", b"raw");
    room.write("from/tiff16_c/a0002-x.tif", &pro_photo(90, 60, 4));
    room.write("export/a0002-x.jpg", &jpeg(90, 60, 3));
    let (from, inputs) = (room.path("from").display().to_string(), room.path("export"));
    let protocol = Protocol::new(ProtocolName::Upe);
    let plan =
        Plan::new(&Request { protocol, from: &from, inputs: Some(&inputs) }).expect("a plan");
    plan.run(&room.path("to"), 1, &|_| {}).expect("prepared");
    assert_eq!(room.manifest("to").entries[0].input.source, "export/a0002-x.jpg");
}

/// The archive as it is downloaded: camera raw inputs become this program's rendering, which the
/// manifest names, also where Lightroom has left its settings in the file.
#[test]
fn the_archives_raw_inputs_are_rendered_by_this_program() {
    let room = Room::new();
    let raw = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raw/bayer.dng");
    let mut raw = std::fs::read(raw).expect("a fixture");
    raw.extend_from_slice(
        b"<x:xmpmeta crs:Exposure=\"0.0\" crs:Shadows=\"0\" crs:WhiteBalance=\"As Shot\"></x:xmpmeta>",
    );
    room.write("from/raw_photos/HQa1to700/photos/a0002-x.dng", &raw);
    room.write("from/tiff16_c/a0002-x.tif", &pro_photo(128, 96, 4));
    let summary = room.run("to");
    if !deeplpf_data::raw::BUILT_IN {
        let [(id, error)] = &summary.failures[..] else { panic!("one failure") };
        assert_eq!(id, "a0002");
        let error = error.to_string();
        assert!(error.contains("a0002-x.dng is a camera raw file"), "{error}");
        assert!(error.contains("--features raw"), "{error}");
        assert_eq!(room.files("to").keys().filter(|name| name.ends_with(".png")).count(), 0);
        return;
    }
    assert_eq!((summary.prepared, summary.failures.len()), (1, 0));
    let entry = &room.manifest("to").entries[0];
    let rendering = entry.input.rendering.as_deref();
    assert_eq!(rendering, Some(deeplpf_data::raw::RENDERING));
    assert_eq!((entry.input.profile.as_str(), entry.input.bit_depth), ("camera raw", 16));
    assert_eq!(entry.input.source, "raw_photos/HQa1to700/photos/a0002-x.dng");
    assert_eq!(entry.target.rendering, None);
    // At its own size nothing is resampled: the rendering, rounded to 8 bits.
    let source = room.path("from/raw_photos/HQa1to700/photos/a0002-x.dng");
    let rendered = decode(source).expect("rendered").pixels;
    let prepared = decode(room.path("to/input/a0002.png")).expect("prepared").pixels;
    assert_eq!(rendered.dim(), prepared.dim());
    let most = rendered.iter().zip(&prepared).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Half a level of 8 bits and half a level of 16.
    assert!(most <= 0.5 / 255.0 + 1e-5, "{most}");

    // Under a protocol it is another rendering, for each input; by itself it is a note.
    let judged = |protocol| {
        let options = Options { protocol, target: None };
        verify(room.path("to"), &options, &|_, _| {}).expect("verified")
    };
    let report = judged(Some(Protocol::new(ProtocolName::Dpe)));
    let other: Vec<_> =
        report.problems.iter().filter(|p| p.kind == ProblemKind::Brightness).collect();
    assert!(!report.usable && other.len() == 1 && other[0].id == "a0002", "{report}");
    assert!(other[0].detail.contains("rendered by deeplpf-render-1"), "{report}");
    let report = judged(None);
    assert!(report.problems.iter().all(|p| p.kind != ProblemKind::Brightness), "{report}");
    assert!(report.notes.iter().any(|n| n == "1 input was rendered by deeplpf-render-1"));
}

#[test]
fn a_plan_names_what_is_missing_surplus_and_double() {
    let room = Room::with_pairs();
    room.write("from/input/a0001-copy.png", &png(60, 40, 1));
    room.write("from/input/a0007.png", &png(60, 40, 1));
    room.write("from/input/a0160.png", &png(60, 40, 1));
    room.write("from/input/zebra.png", &png(60, 40, 1));
    let plan = room.plan();
    assert_eq!(plan.pairs.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["a0002", "a0003"]);
    assert_eq!(plan.missing.len(), 4998 - 2);
    assert!(plan.missing.contains(&"a0007".into()));
    assert_eq!(plan.surplus, ["a0160", "zebra"]);
    let text = plan.to_string();
    assert!(text.contains("2 pairs to prepare") && text.contains("4996 ids"), "{text}");
    assert!(plan.problems.iter().any(|p| p.contains("have one stem")), "{text}");
    assert!(plan.problems.iter().any(|p| p.contains("a0007.png has no target")), "{text}");
    assert!(!room.path("to").exists(), "a plan writes nothing");

    let nothing = Room::new();
    nothing.write("from/input/zebra.png", b"");
    nothing.write("from/target/zebra.png", b"");
    let error = nothing.plan_for(Protocol::new(ProtocolName::Dpe)).err().expect("nothing");
    assert!(matches!(error, DataError::Prepare(PrepareError::NothingToPrepare { .. })), "{error}");
    assert!(error.to_string().contains("no pair of the ids that dpe lists"), "{error}");
}

/// While one preparation is at work, another in the same folder is refused at once.
#[test]
fn two_at_once_are_refused() {
    let room = Room::with_pairs();
    let plan = room.plan();
    let refused = std::sync::Mutex::new(Vec::new());
    let to = room.path("to");
    let meanwhile = |_: Progress| {
        let error = room.plan().run(&to, 1, &|_| {}).expect_err("locked");
        refused.lock().expect("no panic").push(error.to_string());
    };
    plan.run(&to, 1, &meanwhile).expect("prepared");
    let refused = refused.into_inner().expect("no panic");
    assert_eq!(refused.len(), 3);
    assert!(refused[0].contains("to is being prepared by another process; "), "{refused:?}");
    room.run("to");
}

#[test]
fn folders_of_others_are_not_touched() {
    let room = Room::with_pairs();
    let run = |to: &str, protocol| {
        let plan = room.plan_for(Protocol::new(protocol)).expect("a plan");
        plan.run(&room.path(to), 1, &|_| {}).err().map(|error| error.to_string())
    };
    // The originals themselves, a folder of something else, a file.
    let told = run("from", ProtocolName::Dpe).expect("refused");
    assert!(told.contains("from has files in it (") && told.contains("new folder"), "{told}");
    room.write("other/notes.txt", b"mine");
    let told = run("other", ProtocolName::Dpe).expect("refused");
    assert!(told.contains("(notes.txt)"), "{told}");
    assert_eq!(names(&room.path("other")), ["notes.txt"]);
    let told = run("other/notes.txt", ProtocolName::Dpe).expect("refused");
    assert!(told.contains("notes.txt cannot be written"), "{told}");
    // A set of another protocol.
    assert_eq!(run("to", ProtocolName::Dpe), None);
    let before = room.files("to");
    let told = run("to", ProtocolName::Lut480).expect("refused");
    assert!(told.contains("holds FiveK dpe: ") && told.contains("lut480"), "{told}");
    assert!(room.files("to") == before);
}

/// Whoever may write everywhere (root) sees no problem here.
#[cfg(unix)]
#[test]
fn a_folder_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::with_pairs();
    std::fs::create_dir(room.path("to")).expect("made");
    let permit = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(room.path("to"), permissions).expect("own folder");
    };
    permit(0o555);
    let refused = std::fs::write(room.path("to/x"), b"").is_err();
    let _ = std::fs::remove_file(room.path("to/x"));
    let result = room.plan().run(&room.path("to"), 1, &|_| {});
    permit(0o755);
    if !refused {
        return tell("NOTE: this user may write everywhere: nothing was seen without permission");
    }
    let error = result.expect_err("refused");
    assert!(matches!(error, DataError::Write { .. }), "{error}");
}

#[test]
fn verify_compares_files_with_the_manifest() {
    let room = Room::with_pairs();
    room.run("to");
    let problems = |protocol: Option<ProtocolName>| -> Vec<(&str, String, String)> {
        let options = Options { protocol: protocol.map(Protocol::new), target: None };
        let report = verify(room.path("to"), &options, &|_, _| {}).expect("verified");
        // The pictures are noise: what the pixels tell is not what this is about.
        let of_files = report.problems.into_iter().filter(|p| {
            p.id == "*" || !matches!(p.kind, ProblemKind::Misregistered | ProblemKind::MissingId)
        });
        of_files.map(|p| (p.kind.as_str(), p.id, p.detail)).collect()
    };
    let summary = |told: &[(&'static str, String, String)]| -> Vec<String> {
        told.iter().map(|(kind, id, _)| format!("{kind} {id}")).collect()
    };
    assert_eq!(summary(&problems(None)), [""; 0]);
    for (protocol, kind) in [
        (ProtocolName::Upe, "brightness"),
        (ProtocolName::Lut480, "brightness"),
        (ProtocolName::DpeIdOrder, "unknown-id"),
    ] {
        let told = problems(Some(protocol));
        let found = told.iter().find(|(.., detail)| detail.contains("prepared as FiveK dpe"));
        assert!(found.is_some_and(|(k, id, _)| *k == kind && id == "*"), "{told:?}");
    }
    room.write("to/input/a0001.png", &png(512, 341, 1));
    room.remove("to/expertC/a0002.png");
    room.write("to/input/a0009.png", &png(60, 40, 1));
    room.write("to/expertC/a0009.png", &png(60, 40, 2));
    let told = problems(None);
    let of = |kind: &str, id: &str| -> Vec<String> {
        let same = told.iter().filter(|p| p.0 == kind && p.1 == id);
        same.map(|(.., detail)| detail.clone()).collect()
    };
    assert!(of("unreadable", "a0001")[0].contains("input/a0001.png was changed after"), "{told:?}");
    assert_eq!(of("missing-target", "a0002"), ["the input has no target"]);
    assert!(of("unknown-id", "a0009")[0].contains("added by hand"), "{told:?}");
    room.remove("to/input/a0002.png");
    let options = Options::default();
    let report = verify(room.path("to"), &options, &|_, _| {}).expect("verified");
    let gone = |p: &Problem| p.kind == ProblemKind::MissingId && p.id == "a0002";
    assert!(report.problems.iter().any(gone) && !report.usable, "{report}");
    room.remove("to/manifest.jsonl");
    let told = problems(None);
    assert!(told.iter().any(|p| p.2.contains("has not come to its end")), "{told:?}");
    room.write("to/manifest.jsonl", b"{}\n");
    assert!(problems(None).iter().any(|p| p.2.contains("manifest.jsonl:1: not the head")));
}

#[test]
fn manifests_that_are_none() {
    let room = Room::with_pairs();
    room.run("to");
    let sound = String::from_utf8(room.files("to")["manifest.jsonl"].clone()).expect("text");
    let parse = |text: &str| Manifest::parse(text.as_bytes(), Path::new("m"));
    let windows = parse(&sound.replace('\n', "\r\n")).expect("sound");
    assert_eq!(parse(&sound).expect("sound"), windows);
    let lines: Vec<&str> = sound.lines().collect();
    let with = |k: usize, from: &str, to: &str| {
        let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert!(lines[k].contains(from), "{from}");
        lines[k] = lines[k].replacen(from, to, 1);
        lines.join("\n")
    };
    let hash = room.manifest("to").entries[1].input.sha256.clone();
    for (text, told) in [
        (String::new(), "m:1: the manifest is empty"),
        ("\u{feff}".to_owned() + &sound, "m:1: not the head"),
        (with(0, "\"deeplpf_prepare\":1", "\"deeplpf_prepare\":2"), "m:1: version 2"),
        (with(0, "dpe", "dqe"), "m:1: not the head"),
        (with(2, "input/a0002.png", "../a0002.png"), "m:3: '../a0002.png' is not a file below"),
        (with(2, "input/a0002.png", "/a0002.png"), "is not a file below"),
        (with(2, "input/a0002.png", ""), "is not a file below"),
        (with(2, "input/a0002.png", "input/a0001.png"), "input/a0001.png is there twice"),
        (with(2, "\"a0002\"", "\"a0001\""), "m:3: 'a0001' is there twice"),
        (with(2, &hash, &hash.to_uppercase()), "is not a SHA-256"),
        (with(2, &hash, "abc"), "'abc' is not a SHA-256"),
        (with(2, "\"width\":90", "\"width\":91"), "differ in size"),
        (with(3, "{", "["), "m:4: not an entry"),
        (sound.clone() + &sound[..40], "m:5: not an entry"),
    ] {
        let error = parse(&text).expect_err(told).to_string();
        assert!(error.contains(told) && error.contains("; prepare the set again"), "{error}");
    }
}
