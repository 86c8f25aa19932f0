//! `deeplpf data`: sets are made, checked, and told what is wrong with them.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::room::{PROGRAM, Room};

#[test]
fn the_exit_status_says_whether_a_set_is_usable() {
    let room = Room::new();
    room.run("data sample -o set").succeeds();
    let sound = room.run("data verify set --json report.json").succeeds();
    assert!(sound.stdout.contains("16 pairs"), "{sound:?}");
    assert!(sound.stdout.contains("Usable: no problems"), "{sound:?}");

    std::fs::remove_file(room.path("set/target/coffee-1.png")).expect("was there");
    assert_eq!(room.run("data verify set --json report.json").code, 1);
    let json = room.json("report.json");
    let expected = serde_json::json!({"usable": false, "problems": [
        {"kind": "missing-target", "id": "coffee-1", "detail": "the input has no target"},
    ]});
    assert_eq!(json, expected);
}

#[test]
fn what_is_no_set_or_no_protocol_is_one_sentence() {
    let room = Room::new();
    room.run("data verify .").fails(&["(it is empty)", "input/ or low/", "raw_photos/HQ*/photos/"]);
    let unknown = room.run("data verify . --protocol dpee");
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("did you mean dpe? use one of dpe, dpe-id-order"),
        "{unknown:?}"
    );
    room.run("data verify . --protocol DPE").fails(&["(it is empty)"]);
}

/// Originals of some pairs of FiveK's names.
fn originals(room: &Room, pairs: u32, (width, height): (u32, u32)) {
    for k in 1..=pairs {
        room.picture(&format!("from/input/a{k:04}-x.png"), width + k, height);
        room.picture16(&format!("from/expertC/a{k:04}-x.png"), width + k, height);
    }
}

#[test]
fn a_set_is_prepared_and_what_is_missing_is_said() {
    let room = Room::new();
    originals(&room, 2, (90, 60));
    let prepare = "data prepare --protocol dpe --from from --to to";
    let plan = room.run(&format!("{prepare} --dry-run --allow-missing")).succeeds();
    assert!(plan.stdout.contains("2 pairs to prepare\n4996 ids of the protocol"), "{plan:?}");
    assert!(!room.path("to").exists());
    // Most of the protocol is missing: said, and a failure unless that is fine.
    let partial = room.run(prepare);
    assert_eq!(partial.code, 1);
    partial.one_error(&["4996 of the 4998 pairs of dpe are not in from; "]);
    let there = room.run(&format!("{prepare} --allow-missing --expert c --jobs 1")).succeeds();
    assert_eq!(
        there.stdout,
        "0 prepared, 2 already there, 0 failed, 4996 missing: to/manifest.jsonl\n"
    );
    // A pair that fails is named, the other one stays.
    room.write("from/input/a0001-x.png", b"no picture");
    let failed = room.run(&format!("{prepare} --allow-missing"));
    assert_eq!(failed.code, 1);
    failed.one_error(&["a0001 is left out: ", "a0001-x.png is not a PNG"]);
    assert_eq!(room.files("to/input"), ["a0002.png"]);
    room.run("data prepare --protocol upe --from from --to to").fails(&["holds FiveK dpe: "]);
    room.run("data prepare --protocol dpe --from s3://x/y --to z").fails(&["s3://x/y"]);
    room.run("data prepare --protocol dpe --from ftp://x/y --to z").fails(&["ftp://", "s3, gs"]);
    room.run("data prepare --protocol dpe --from none --to z").fails(&["none cannot be read"]);
    let expert = room.run("data prepare --protocol dpe --from from --to z --expert f");
    assert_eq!(expert.code, 2);
    assert!(!room.path("z").exists());
}

/// What `prepare` noted stands in the table written out; numbers published under it only beside those of
/// the whole test list; and another protocol is refused.
#[test]
fn a_table_says_the_protocol_of_a_prepared_set() {
    let room = Room::with_weights();
    originals(&room, 2, (90, 60));
    room.run("data prepare --protocol upe --from from --to to --allow-missing").succeeds();
    let eval = "eval --weights w.safetensors --data";
    let says = "FiveK upe: 4500/0/500 ids, input as shot, Expert C, long edge 512, 8-bit sRGB";
    for line in [format!("{eval} to -o e"), format!("{eval} to --protocol upe -o e")] {
        // Not `succeeds`: a note says what of the protocol these are not.
        let run = room.run(&line);
        assert_eq!(run.code, 0, "{run:?}");
        let departs = "0 of the 500 ids of its test list were evaluated, 2 others were evaluated, 2 of 2 \
                       do not have its long edge 512";
        assert!(run.stderr.contains(departs) && run.stdout.contains(departs), "{run:?}");
        assert!(run.stdout.contains(says) && !run.stdout.contains("24.48"), "{run:?}");
        let page = String::from_utf8(room.read("e/report.html")).unwrap();
        assert!(page.contains(says));
    }
    room.run(&format!("{eval} to --protocol dpe -o f")).fails(&[
        "to was prepared for",
        "upe",
        "dpe",
    ]);
    assert!(!room.path("f").exists());
    // Not `succeeds`: the originals' depths differ, and a note says so.
    let named = room.run(&format!("{eval} from --protocol dpe -o g"));
    assert_eq!(named.code, 0, "{named:?}");
    assert!(named.stdout.contains("FiveK dpe: 2250/2250/498 ids, "), "{named:?}");
    assert!(!named.stdout.contains("23.93"), "{named:?}");
}

#[cfg(not(feature = "remote"))]
#[test]
fn urls_without_the_feature_are_one_sentence() {
    let room = Room::with_weights();
    let remedy = ["https://host.invalid/set", "--features remote"];
    room.write("t.toml", "");
    room.run("train --config t.toml --set data.source=https://host.invalid/set").fails(&remedy);
    room.run("eval --weights w.safetensors --data https://host.invalid/set -o e").fails(&remedy);
    room.run("data prepare --protocol dpe --from https://host.invalid/set --to t").fails(&remedy);
    assert_eq!(room.files(""), ["t.toml", "w.safetensors"]);
}

/// A full disk, as a limit of the size of files: a sentence, a failure, and no half of a file. With
/// room again it goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_a_preparation_cleanly() {
    let room = Room::new();
    originals(&room, 2, (400, 300));
    let prepare = "data prepare --protocol dpe --from from --to to --allow-missing";
    // 512-byte blocks; a PNG of the 16-bit noise is larger, the journal is not.
    let full = room.shell(&format!("trap '' XFSZ; ulimit -f 100; \"$deeplpf\" {prepare}"));
    full.fails(&["/a000", "cannot be written"]);
    let files = room.files("to");
    assert!(!files.iter().any(|name| name.ends_with(".partial")), "{files:?}");
    assert!(!files.contains(&"manifest.jsonl".into()), "{files:?}");
    let verified = room.run("data verify to");
    assert_eq!(verified.code, 1);
    let done = room.run(prepare).succeeds();
    assert!(done.stdout.contains(" 0 failed"), "{done:?}");
    assert!(room.path("to/manifest.jsonl").exists());
}

/// Killed again and again, without a chance to clean up, until it comes to its end: the set is the same
/// as that of a run that nobody disturbed.
#[cfg(unix)]
#[test]
fn killed_at_any_moment_it_goes_on() {
    let room = Room::new();
    originals(&room, 6, (700, 500));
    let arguments = |to| {
        format!("data prepare --protocol dpe --from from --to {to} --allow-missing --threads 2")
    };
    room.run(&arguments("reference")).succeeds();
    let mut killed = 0;
    for k in 0.. {
        let mut command = Command::new(PROGRAM);
        command.args(arguments("to").split(' ')).current_dir(room.path(""));
        let mut program =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        // Longer each time, so that it comes to an end however slow the machine is.
        std::thread::sleep(Duration::from_millis(15 * (k + 1)));
        if let Some(status) = program.try_wait().expect("a child") {
            assert!(
                status.success(),
                "what a kill left was refused: {:?}",
                room.run(&arguments("to"))
            );
            break;
        }
        program.kill().expect("a child");
        program.wait().expect("a child");
        killed += 1;
    }
    println!("killed {killed} times");
    let set = |folder: &str| -> Vec<(String, Vec<u8>)> {
        let names = room.files(folder).into_iter().filter(|name| !name.starts_with('.'));
        names.map(|name| (name.clone(), room.read(&format!("{folder}/{name}")))).collect()
    };
    assert!(set("to") == set("reference"));
}

/// What is known of the inputs' rendering and is not the protocol's is told.
#[test]
fn another_rendering_is_told() {
    let room = Room::new();
    originals(&room, 2, (90, 60));
    let prepare = "data prepare --protocol dpe --from from --to to --allow-missing";
    let mut file = room.read("from/input/a0001-x.png");
    file.extend_from_slice(
        b"<x:xmpmeta crs:Exposure=\"0.0\" crs:Shadows=\"0\" crs:WhiteBalance=\"Daylight\"></x:xmpmeta>",
    );
    room.write("from/input/a0001-x.png", &file);
    let again = room.run(prepare);
    assert_eq!(again.code, 0, "{again:?}");
    let note =
        "1 input was rendered by Lightroom, white balance set, zeroed; dpe wants them as shot";
    assert!(again.stderr.contains(note), "{again:?}");
}
