//! `deeplpf data verify`, run as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deeplpf"));
    command.current_dir(folder).args(arguments).output().expect("runs")
}

#[test]
fn the_exit_status_says_whether_a_set_is_usable() {
    let folder = tempfile::tempdir().expect("temporary folder");
    assert!(run(folder.path(), &["data", "sample", "-o", "set"]).status.success());
    let verify = ["data", "verify", "set", "--json", "report.json"];
    let sound = run(folder.path(), &verify);
    let text = String::from_utf8_lossy(&sound.stdout).into_owned();
    assert_eq!(sound.status.code(), Some(0), "{text}");
    assert!(text.contains("16 pairs") && text.contains("Usable: no problems"), "{text}");
    assert!(sound.stderr.is_empty(), "{sound:?}");

    std::fs::remove_file(folder.path().join("set/target/coffee-1.png")).expect("was there");
    let broken = run(folder.path(), &verify);
    assert_eq!(broken.status.code(), Some(1));
    let json = std::fs::read(folder.path().join("report.json")).expect("written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["usable"], false);
    assert_eq!(json["problems"][0]["kind"], "missing-target");
    assert_eq!(json["problems"][0]["id"], "coffee-1");
}

#[test]
fn what_is_no_set_or_no_protocol_is_one_sentence() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let nothing = run(folder.path(), &["data", "verify", "."]);
    let text = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!((nothing.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("input, low"), "{text}");
    let unknown = run(folder.path(), &["data", "verify", ".", "--protocol", "DPE"]);
    let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text.contains("dpe-id-order"), "{text}");
}
