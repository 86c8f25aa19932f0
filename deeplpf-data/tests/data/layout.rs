//! The folder trees in which sets are found.

use std::path::Path;

use deeplpf_data::layout::{self, Layout, fivek_id};
use deeplpf_data::{DataError, Split};

/// Files without content: nothing is decoded here.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("has a folder")).expect("made");
        std::fs::write(path, []).expect("written");
    }
    folder
}

fn ids(root: &Path, target: Option<&str>) -> (Layout, Vec<String>) {
    let (location, folder) = layout::open(root, target).expect("opens");
    folder.require_complete().expect("complete");
    (location.layout, folder.ids().map(str::to_owned).collect())
}

#[test]
fn ids_of_fivek_end_at_the_first_dash() {
    let long = "a0001-jmac_DSC1459";
    assert_eq!(
        [long, "a5000", "a4783-2009-03-21"].map(fivek_id),
        [Some("a0001"), Some("a5000"), Some("a4783")]
    );
    for other in ["a0000", "a5001", "a001-x", "a00012", "b0001", "a0001_x", "A0001", "a00é", ""] {
        assert_eq!(fivek_id(other), None, "{other}");
        assert_eq!(layout::id_of(other), other);
    }
}

#[test]
fn every_tree_opens() {
    let plain = tree(&["input/a0001-jmac_DSC1459.tif", "output/a0001.png"]);
    assert_eq!(ids(plain.path(), None), (Layout::Paired, vec!["a0001".into()]));

    let expert = tree(&["input/x-1.png", "expertC/x-1.png", "input/x-2.png", "expertC/x-2.png"]);
    assert_eq!(ids(expert.path(), None), (Layout::Paired, vec!["x-1".into(), "x-2".into()]));

    for top in ["", "fiveK/", "FiveK/"] {
        let files = ["input/JPG/480p/a0002.jpg", "expertC/JPG/480p/a0002.jpg"];
        let files = files.map(|file| format!("{top}{file}"));
        let lut = tree(&files.each_ref().map(String::as_str));
        assert_eq!(ids(lut.path(), None), (Layout::Lut480, vec!["a0002".into()]));
    }

    let archive = tree(&[
        "fivek_dataset/raw_photos/HQa1to700/photos/a0001-jmac_DSC1459.dng",
        "fivek_dataset/raw_photos/HQa4201to5000/photos/a5000-kme_0204.dng",
        "fivek_dataset/raw_photos/HQa1to700/readme.txt",
        "fivek_dataset/tiff16_c/a0001-jmac_DSC1459.tif",
        "fivek_dataset/tiff16_c/a5000-kme_0204.tif",
    ]);
    for target in [None, Some("tiff16_c"), Some("expertC")] {
        let expected = (Layout::Archive, vec!["a0001".into(), "a5000".into()]);
        assert_eq!(ids(archive.path(), target), expected);
    }
}

#[test]
fn the_archives_raw_inputs_are_rendered_or_refused() {
    let archive = tree(&["raw_photos/HQa1to700/photos/a0001-x.dng", "tiff16_c/a0001-x.tif"]);
    let raw = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raw/bayer.dng");
    let input = archive.path().join("raw_photos/HQa1to700/photos/a0001-x.dng");
    std::fs::copy(&raw, &input).expect("copied");
    let (_, folder) = layout::open(archive.path(), None).expect("opens");
    let loaded = folder.pairs[0].load();
    let error = loaded.expect_err("the target is no picture, or the input is raw").to_string();
    if deeplpf_data::raw::BUILT_IN {
        let rendered = deeplpf_data::decode(&input).expect("rendered").pixels;
        assert_eq!(rendered.dim().0, 3);
        assert!(error.contains("a0001-x.tif"), "{error}");
    } else {
        assert!(error.contains("a0001-x.dng is a camera raw file"), "{error}");
        assert!(error.contains("build with --features raw, or export"), "{error}");
    }
}

#[test]
fn several_experts_are_a_choice() {
    let files = ["input/JPG/480p/a1.jpg", "expertA/JPG/480p/a1.jpg", "expertC/JPG/480p/a1.jpg"];
    let lut = tree(&files);
    let error = layout::open(lut.path(), None).expect_err("two experts");
    assert!(matches!(error, DataError::AmbiguousFolder { .. }), "{error}");
    assert_eq!(ids(lut.path(), Some("expertA")).1, ["a1"]);
    let error = layout::open(lut.path(), Some("expertB")).expect_err("not there");
    assert!(matches!(error, DataError::NoTargetFolder { .. }), "{error}");
}

#[test]
fn two_files_of_one_id_are_not_a_pair() {
    let folder = tree(&[
        "input/a0001-x.png",
        "input/a0001-y.png",
        "input/b.png",
        "gt/a0001.png",
        "gt/b.png",
    ]);
    let (_, found) = layout::open(folder.path(), None).expect("opens");
    assert_eq!(found.ids().collect::<Vec<_>>(), ["b"]);
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn a_published_list_finds_exported_names() {
    let folder = tree(&["input/a0001-x.png", "target/a0001-x.png", "input/b.png", "target/b.png"]);
    let pairs = deeplpf_data::PairedFolder::open(folder.path()).expect("opens");
    let split = |id: &str| Split::new(vec![id.into()], vec![], vec![]).expect("one id");
    assert_eq!(split("a0001").apply(&pairs).expect("found").train[0].id, "a0001-x");
    assert_eq!(split("a0001-x").apply(&pairs).expect("found").train[0].id, "a0001-x");
    assert!(split("a0002").apply(&pairs).is_err());
}
