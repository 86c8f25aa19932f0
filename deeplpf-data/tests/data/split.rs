//! Split lists from text and from chance.

use std::path::{Path, PathBuf};

use crate::common::SplitMix;
use deeplpf_data::{DataError, PairPaths, PairedFolder, Split, split};

fn folder_of(ids: &[&str]) -> PairedFolder {
    let pairs = ids
        .iter()
        .map(|id| PairPaths {
            id: (*id).into(),
            input: format!("input/{id}.png").into(),
            target: format!("target/{id}.png").into(),
        })
        .collect();
    PairedFolder { root: PathBuf::from("data"), pairs, problems: Vec::new() }
}

fn list(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("written");
    path
}

#[test]
fn lists_are_read_as_people_write_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = list(folder.path(), "l.txt", "\u{feff}a1\r\n  a2\t\r\n\r\na10");
    assert_eq!(split::read_ids(path).expect("reads"), ["a1", "a2", "a10"]);
    // The line ends of old Macs, alone and among others; lines are still counted as editors do.
    let read = |text: &str| split::parse_ids(text.as_bytes(), Path::new("l.txt"));
    assert_eq!(read("a1\ra2\r\ra3\r\na4").expect("reads"), ["a1", "a2", "a3", "a4"]);
    let told = read("a1\r\na2\r\n\r\na1").expect_err("twice").to_string();
    assert!(told.starts_with("l.txt:4: 'a1'"), "{told}");
}

/// The short and the long form of one FiveK id are one pair.
#[test]
fn both_forms_of_an_id_find_a_pair_once() {
    let split = |train: &[&str], test: &[&str]| {
        let own = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
        Split::new(own(train), Vec::new(), own(test)).expect("no id twice")
    };
    let (short, long) = (folder_of(&["a0001", "a0002"]), folder_of(&["a0001-x", "a0002-y"]));
    let found = split(&["a0001-x"], &["a0002"]).apply(&short).expect("found");
    assert_eq!((found.train[0].id.as_str(), found.test[0].id.as_str()), ("a0001", "a0002"));
    let found = split(&["a0001"], &["a0002-y"]).apply(&long).expect("found");
    assert_eq!((found.train[0].id.as_str(), found.test[0].id.as_str()), ("a0001-x", "a0002-y"));
    for folder in [&short, &long] {
        let error = split(&["a0001"], &["a0001-x"]).apply(folder).expect_err("trained on its test");
        assert!(matches!(error, DataError::DuplicateId { .. }), "{error}");
    }
}

#[test]
fn a_folder_of_lists_becomes_pairs() {
    let folder = tempfile::tempdir().expect("temporary folder");
    list(folder.path(), "train.txt", "c\na\n");
    list(folder.path(), "test.txt", "b\n");
    let split = Split::read_folder(folder.path()).expect("reads");
    assert_eq!((split.train.len(), split.valid.len(), split.test.len()), (2, 0, 1));
    let pairs = split.apply(&folder_of(&["a", "b", "c"])).expect("all known");
    // The list's order, not the folder's.
    assert_eq!(pairs.train.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    assert_eq!(pairs.test[0].id, "b");
    let one = split::select(&folder_of(&["a", "b", "c"]), folder.path().join("test.txt"));
    assert_eq!(one.expect("known").len(), 1);
}

#[test]
fn an_id_listed_twice_is_named_with_both_lines() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let train = list(folder.path(), "train.txt", "a\nb\n\na\n");
    let error = Split::read(&train, None, None).expect_err("twice");
    let text = error.to_string();
    assert!(matches!(error, DataError::DuplicateId { .. }), "{text}");
    assert!(text.contains("train.txt:4: 'a'") && text.contains("train.txt:1"), "{text}");

    // The same in two lists: training on the test set.
    let train = list(folder.path(), "train.txt", "a\nb\n");
    let test = list(folder.path(), "test.txt", "c\nb\n");
    let text = Split::read(&train, None, Some(&test)).expect_err("in both").to_string();
    assert!(text.contains("test.txt:2: 'b'") && text.contains("train.txt:2"), "{text}");
}

#[test]
fn an_unknown_id_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let train = list(folder.path(), "train.txt", "a\nzebra\n");
    let split = Split::read(&train, None, None).expect("reads");
    let error = split.apply(&folder_of(&["a", "b"])).expect_err("unknown");
    assert!(matches!(error, DataError::UnknownId { .. }), "{error}");
    assert!(error.to_string().contains("train.txt:2: 'zebra'"), "{error}");
}

#[test]
fn lists_that_are_no_lists() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let read = |content: &[u8]| {
        split::read_ids(list(folder.path(), "l.txt", content)).expect_err("no list")
    };
    assert!(matches!(read(b""), DataError::EmptyList { .. }));
    assert!(matches!(read(b"\n \r\n"), DataError::EmptyList { .. }));
    assert!(matches!(read(b"a\xFF\xFE\n"), DataError::NotText { .. }));
    assert!(matches!(split::read_ids("no-such-list"), Err(DataError::Read { .. })));
}

#[test]
fn random_splits_are_seeded_partitions() {
    let ids: Vec<String> = (0..40).map(|k| format!("a{k}")).collect();
    let draw = |seed| {
        Split::random(ids.iter().map(String::as_str), 5, 7, &mut SplitMix(seed)).expect("splits")
    };
    let split = draw(1);
    assert_eq!((split.train.len(), split.valid.len(), split.test.len()), (28, 5, 7));
    let mut all: Vec<&String> = split.train.iter().chain(&split.valid).chain(&split.test).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40);
    assert_eq!(split, draw(1));
    assert_ne!(split, draw(2));
}

#[test]
fn every_id_is_held_out_equally_often() {
    let ids = ["a", "b", "c", "d", "e"];
    let mut held_out = [0u32; 5];
    let mut rng = SplitMix(3);
    for _ in 0..5000 {
        let split = Split::random(ids, 1, 1, &mut rng).expect("splits");
        for (count, id) in held_out.iter_mut().zip(ids) {
            *count += u32::from(!split.train.iter().any(|t| t == id));
        }
    }
    // Binomial with 5000 draws of 2/5: mean 2000, standard deviation 35; five of them.
    assert!(held_out.iter().all(|&n| (1825..=2175).contains(&n)), "{held_out:?}");
}

#[test]
fn a_random_split_keeps_something_to_train_on() {
    let error = Split::random(["a", "b"], 1, 1, &mut SplitMix(0)).expect_err("nothing left");
    assert!(matches!(error, DataError::SplitTooLarge { count: 2, valid: 1, test: 1 }), "{error}");
    assert!(Split::random(["a", "b"], usize::MAX, 1, &mut SplitMix(0)).is_err());
}

/// The lists that DPE's numbers were made with, where DEEPLPF_SPLITS names their folder.
#[test]
fn published_lists_are_read() {
    let Some(folder) = std::env::var_os("DEEPLPF_SPLITS").map(PathBuf::from) else {
        crate::common::tell("DEEPLPF_SPLITS is not set: published lists were NOT read");
        return;
    };
    let dpe = folder.join("dpe_mrrobot");
    let split = Split::read(
        dpe.join("train_input.txt"),
        Some(&dpe.join("train_label.txt")),
        Some(&dpe.join("test.txt")),
    )
    .expect("reads");
    assert_eq!((split.train.len(), split.valid.len(), split.test.len()), (2250, 2250, 498));
}
