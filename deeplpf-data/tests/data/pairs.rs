//! Paired folders and the pictures a user names.

use std::path::Path;

use crate::common::gradient;
use deeplpf_data::{
    DataError, OutputFormat, PairProblem, PairedFolder, encode, find_each, find_images,
};
use ndarray::{Array3, s};

fn folder_with(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, b"x").expect("file");
    }
    folder
}

fn write(path: &Path, pixels: &Array3<f32>) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    let format =
        OutputFormat::from_extension(&path.extension().expect("extension").to_string_lossy())
            .expect("known");
    encode(path, pixels.view(), format, None).expect("written");
}

#[test]
fn pairs_are_matched_by_stem_and_naturally_ordered() {
    let folder = folder_with(&[
        "input/a10.png",
        "input/a2.jpg",
        "input/a1.PNG",
        "expertC/a2.tif",
        "expertC/a1.webp",
        "expertC/a10.png",
        "input/notes.txt",
        "input/.a3.png",
        "expertC/Thumbs.db",
    ]);
    let paired = PairedFolder::open(folder.path()).expect("opens");
    assert_eq!(paired.ids().collect::<Vec<_>>(), ["a1", "a2", "a10"]);
    assert!(paired.problems.is_empty());
    paired.require_complete().expect("complete");
    let pair = paired.get("a2").expect("known");
    assert!(pair.input.ends_with("input/a2.jpg") && pair.target.ends_with("expertC/a2.tif"));
    assert!(paired.get("a3").is_none());
}

#[test]
fn every_known_folder_name_works() {
    for input in deeplpf_data::pairs::INPUT_FOLDERS {
        for target in deeplpf_data::pairs::TARGET_FOLDERS {
            let folder = folder_with(&[&format!("{input}/x.png"), &format!("{target}/x.png")]);
            assert_eq!(PairedFolder::open(folder.path()).expect("opens").pairs.len(), 1);
        }
    }
}

#[test]
fn what_is_left_over_is_listed() {
    let folder = folder_with(&[
        "input/a.png",
        "input/b.png",
        "input/c.png",
        "input/c.jpg",
        "input/d.png",
        "target/b.png",
        "target/c.png",
        "target/e.png",
    ]);
    let paired = PairedFolder::open(folder.path()).expect("opens");
    assert_eq!(paired.ids().collect::<Vec<_>>(), ["b"]);
    let kinds: Vec<(&str, char)> = paired
        .problems
        .iter()
        .map(|p| match p {
            PairProblem::MissingTarget { id, .. } => (id.as_str(), 't'),
            PairProblem::MissingInput { id, .. } => (id.as_str(), 'i'),
            PairProblem::SameStem { id, .. } => (id.as_str(), 's'),
            _ => ("", '?'),
        })
        .collect();
    assert_eq!(kinds, [("a", 't'), ("c", 's'), ("d", 't'), ("e", 'i')]);
    let error = paired.require_complete().expect_err("incomplete");
    let text = error.to_string();
    assert!(text.contains("a.png has no target of the same stem"), "{text}");
    assert!(text.contains("c.jpg") && text.contains("c.png have one stem"), "{text}");
    assert!(text.contains("and 1 more"), "{text}");
    assert!(text.contains("; add what is missing, or remove"), "{text}");
}

#[test]
fn folders_that_are_no_paired_folders() {
    let open = |files: &[&str]| PairedFolder::open(folder_with(files).path()).expect_err("no");
    assert!(matches!(open(&["target/a.png"]), DataError::NoInputFolder { .. }));
    assert!(matches!(open(&["input/a.png"]), DataError::NoTargetFolder { .. }));
    assert!(matches!(open(&["input/a.png", "target/b.png"]), DataError::NoPairs { .. }));
    let error = open(&["input/a.png", "expertA/a.png", "expertC/a.png"]);
    assert!(matches!(error, DataError::AmbiguousFolder { .. }), "{error}");
    assert!(error.to_string().contains("expertA, expertC"), "{error}");
    assert!(
        error.to_string().contains("--target for eval, `data.target` in a configuration"),
        "{error}"
    );
    let error = open(&["input/a.png", "low/a.png", "target/a.png"]);
    assert!(error.to_string().contains("several input folders (input, low); keep one"), "{error}");
    let error = PairedFolder::open("no-such-folder").expect_err("missing");
    assert!(matches!(error, DataError::Read { .. }), "{error}");
}

#[test]
fn the_target_folder_can_be_named() {
    let folder = folder_with(&["input/a.png", "expertA/a.png", "expertC/a.png"]);
    let paired = PairedFolder::open_with_target(folder.path(), "expertA").expect("opens");
    assert!(paired.pairs[0].target.ends_with("expertA/a.png"));
    assert!(matches!(
        PairedFolder::open_with_target(folder.path(), "expertB"),
        Err(DataError::NoTargetFolder { .. })
    ));
}

#[test]
fn pairs_load_and_sizes_must_agree() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let picture = gradient(6, 9);
    write(&folder.path().join("input/a.png"), &picture);
    write(&folder.path().join("target/a.tif"), &picture.mapv(|v| v / 2.0));
    write(&folder.path().join("input/b.png"), &picture);
    write(&folder.path().join("target/b.png"), &picture.slice(s![.., .., ..8]).to_owned());
    let paired = PairedFolder::open(folder.path()).expect("opens");
    let pair = paired.pairs[0].load().expect("loads");
    assert_eq!((pair.id.as_str(), pair.input.dim()), ("a", (3, 6, 9)));
    assert!(pair.input.iter().zip(&pair.target).all(|(i, t)| (i / 2.0 - t).abs() < 0.5 / 255.0));
    let error = paired.pairs[1].load().expect_err("sizes");
    let text = error.to_string();
    assert!(matches!(error, DataError::SizeMismatch { .. }), "{text}");
    for part in ["input", "b.png is 9x6", "target", "b.png is 8x6"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn images_are_found_in_files_and_folders() {
    let folder = folder_with(&["p/b10.png", "p/b9.jpg", "p/readme.txt", "p/sub/z.png", "q/a.bin"]);
    let at = |name: &str| folder.path().join(name);
    let found = find_images(&[at("p"), at("q/a.bin")]).expect("found");
    // A file named outright is taken whatever its extension; its content will tell.
    assert_eq!(found, [at("q/a.bin"), at("p/b9.jpg"), at("p/b10.png")]);
    // Named twice, once by its folder: once.
    assert_eq!(find_images(&[at("p"), at("p/b9.jpg")]).expect("found").len(), 2);
}

#[test]
fn images_that_cannot_be_found() {
    let folder = folder_with(&["p/readme.txt", "q/a.png", "r/a.jpg"]);
    let at = |name: &str| folder.path().join(name);
    let error = find_images(&[at("p")]).expect_err("no pictures");
    assert!(matches!(&error, DataError::NoImages { path } if *path == at("p")), "{error}");
    let error = find_images(&[at("q"), at("r")]).expect_err("one stem");
    assert!(matches!(&error, DataError::SameStem { stem, .. } if stem == "a"), "{error}");
    assert!(error.to_string().contains("a.png") && error.to_string().contains("a.jpg"));
    assert!(matches!(find_images(&[at("s")]), Err(DataError::Read { .. })));
}

/// Every picture of a shared stem is a problem, the others are found.
#[test]
fn problems_do_not_stop_the_rest() {
    let folder = folder_with(&["p/a.png", "p/a.jpg", "p/b.png", "q/a.tif", "q/c.png", "r/no.txt"]);
    let at = |name: &str| folder.path().join(name);
    let found = find_each(&[at("missing"), at("p"), at("p/a.png"), at("r"), at("q")]);
    assert_eq!(found.images, [at("p/b.png"), at("q/c.png")]);
    let told: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[0].contains("missing") && told[1].contains("has no PNG"), "{told:?}");
    for (text, names) in
        told[2..].iter().zip([["a.jpg", "a.png"], ["a.png", "a.jpg"], ["a.tif", "a.jpg"]])
    {
        let sentence = format!("{} has the stem of ", names[0]);
        assert!(text.contains(&sentence) && text.contains(names[1]), "{text}");
        assert!(text.contains("'a'") && text.ends_with("; rename one"), "{text}");
    }
}

/// Links that lead nowhere and pipes among the pictures of a folder are told, not passed over.
#[cfg(unix)]
#[test]
fn what_only_looks_like_a_picture_is_a_problem() {
    use std::os::unix::ffi::OsStrExt;

    let folder = folder_with(&["input/a.png", "input/b.png", "target/a.png"]);
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("gone.png", at("input/link.png")).expect("link");
    std::os::unix::fs::symlink("a.png", at("input/good.png")).expect("link");
    std::fs::create_dir(at("input/folder.png")).expect("folder");
    let made = std::process::Command::new("mkfifo").arg(at("input/pipe.png")).status();
    assert!(made.expect("mkfifo runs").success());
    let odd = at("input").join(std::ffi::OsStr::from_bytes(b"odd-\xff.png"));
    // Some file systems refuse such names.
    let odd_exists = std::fs::write(odd, b"x").is_ok();

    let found = find_each(&[at("input")]);
    assert_eq!(found.images, [at("input/a.png"), at("input/b.png"), at("input/good.png")]);
    let told: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2 + usize::from(odd_exists), "{told:?}");
    for part in ["link.png is a link to a file that does not", "pipe.png is not a regular file"] {
        assert!(told.iter().any(|text| text.contains(part)), "{told:?}");
    }
    assert_eq!(told.iter().any(|text| text.contains("not valid Unicode")), odd_exists);
    let error = PairedFolder::open(folder.path()).expect_err("not fit");
    assert!(matches!(error, DataError::DanglingLink { .. }), "{error}");
}
