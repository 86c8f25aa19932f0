//! Sets with everything wrong that sets have: every command says it in one clear sentence, none makes a
//! wrong pair of it.

use std::fs::File;
use std::process::Command;

use crate::room::{PROGRAM, Room, Run};

/// The sample set, a small model's configuration, and weights.
fn room() -> Room {
    let room = Room::with_weights();
    room.run("data sample -o set").succeeds();
    room.write(
        "train.toml",
        "run = \"runs/a\"\nepochs = 1\n[data]\nsource = \"set\"\ntrain = \"list.txt\"\n\
         valid_fraction = 0.0\n[model]\nfixes = \"all\"\nwidths = [4, 4, 4, 4, 4]\nfeatures = 8\n\
         head_width = 8\nhead_size = 43\n",
    );
    room
}

const TRAIN: &str = "train --config train.toml";
const EVAL: &str = "eval --weights w.safetensors --data set --split list.txt -o evaluation";

#[test]
fn lists_with_unknown_or_double_ids_are_refused_with_their_lines() {
    let room = room();
    for (list, says) in [
        ("coffee-1\nnobody\n", &["list.txt:2", "'nobody' is not a pair of set"][..]),
        ("coffee-1\ncoffee-2\r\ncoffee-1\n", &["list.txt:3", "coffee-1", "1"]),
        ("\u{feff}\r\n \r\n", &["list.txt lists no ids"]),
    ] {
        room.write("list.txt", list);
        room.run(TRAIN).fails(says);
        room.run(EVAL).fails(says);
    }
    // UTF-16, as some editors save.
    let wide: Vec<u8> = "\u{feff}coffee-1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    room.write("list.txt", wide);
    room.run(TRAIN).fails(&["list.txt is not a UTF-8 text file"]);
    // Nothing is left of any of them.
    assert!(!room.path("runs").exists() && !room.path("evaluation").exists());
}

#[test]
fn lists_with_windows_line_ends_and_a_mark_are_read() {
    let room = room();
    room.write("list.txt", "\u{feff}coffee-1\r\ncoffee-2\r\n");
    let run = room.run(TRAIN);
    assert!(run.code == 0 && run.stdout.starts_with("1 epochs, 2 steps"), "{run:?}");
    assert_eq!(room.read("runs/a/splits/train.txt"), b"coffee-1\ncoffee-2\n");
    let run = room.run(EVAL).succeeds();
    assert!(run.stdout.contains("2 images"), "{run:?}");
}

/// The header of a JPEG with four components, and nothing behind it to decode.
fn cmyk_jpeg() -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 20, 8, 0, 60, 0, 90, 4];
    file.extend((1..=4).flat_map(|component| [component, 0x11, 0]));
    file.extend([0xFF, 0xDA, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0, 0, 0, 0xFF, 0xD9]);
    file
}

/// Five sound pairs, and one each of unequal size, of 16 bits, in CMYK, and cut short.
fn bad_set() -> Room {
    let room = Room::with_weights();
    for k in 1..=9 {
        room.picture(&format!("set/input/a{k:04}.png"), 90, 60);
        room.plain(&format!("set/expertC/a{k:04}.png"), 90, 60, [120, 130, 140]);
    }
    room.picture("set/expertC/a0006.png", 80, 60);
    room.picture16("set/input/a0007.png", 90, 60);
    std::fs::remove_file(room.path("set/input/a0008.png")).expect("was there");
    room.write("set/input/a0008.jpg", cmyk_jpeg());
    let whole = room.read("set/input/a0009.png");
    room.write("set/input/a0009.png", &whole[..whole.len() / 2]);
    room
}

#[test]
fn verify_finds_each_bad_pair() {
    let room = bad_set();
    let run = room.run("data verify set --json report.json");
    assert!(run.code == 1 && run.stdout.contains("Not usable"), "{run:?}");
    let report = room.json("report.json");
    assert_eq!(report["usable"], false);
    for (kind, id, says) in [
        ("unequal-size", "a0006", "the input is 90x60, the target 80x60"),
        ("bit-depth", "a0007", "the input has 16 bits, most inputs have 8"),
        ("unreadable", "a0008", "CMYK"),
        ("unreadable", "a0009", "truncated"),
    ] {
        let problems = report["problems"].as_array().expect("an array");
        let found = problems.iter().find(|problem| problem["kind"] == kind && problem["id"] == id);
        let detail = found.and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
        assert!(detail.contains(says), "{kind} {id}: {report}");
    }
}

#[test]
fn prepare_leaves_bad_pairs_out_by_name() {
    let room = bad_set();
    let run = room.run("data prepare --protocol dpe --from set --to to --allow-missing");
    assert_eq!(run.code, 1, "{run:?}");
    for says in [
        "a0006 is left out: set/input/a0006.png is 90x60 but set/expertC/a0006.png is 80x60",
        "a0008 is left out: set/input/a0008.jpg has CMYK pixels",
        "a0009 is left out: set/input/a0009.png is a truncated PNG",
    ] {
        run.error(&[says]);
    }
    let sound: Vec<String> = [1, 2, 3, 4, 5, 7].map(|k| format!("a{k:04}.png")).into();
    assert_eq!(room.files("to/input"), sound);
    assert_eq!(room.files("to/expertC"), sound);
    // 16 bits became the protocol's 8.
    let sixteen = deeplpf_data::decode(room.path("to/input/a0007.png")).expect("a picture");
    assert_eq!(sixteen.info.bit_depth, 8);
}

#[test]
fn a_cache_of_bad_pairs_is_not_made() {
    let room = bad_set();
    room.write("train.toml", "");
    for k in [6, 8, 9] {
        let list: String = [1, 2, k].map(|k| format!("a{k:04}\n")).concat();
        room.write("list.txt", list);
        room.run(
            "train --config train.toml --set run=run --set data.source=set --set data.train=list.txt \
             --set data.valid_fraction=0 --set data.cache=auto",
        )
        .one_error_at_end(&[&format!("set/input/a{k:04}.")]);
        assert!(room.files("set/.deeplpf-cache").iter().all(|name| name.ends_with(".lock")));
        assert!(!room.path("run").exists(), "{:?}", room.files("run"));
    }
}

#[test]
fn two_preparations_of_one_folder_are_refused() {
    let room = bad_set();
    std::fs::create_dir(room.path("to")).expect("made");
    let held = File::create(room.path("to/.deeplpf-prepare.lock")).expect("made");
    held.lock().expect("ours");
    let prepare = "data prepare --protocol dpe --from set --to to --allow-missing";
    room.run(prepare).fails(&["to is being prepared by another process; wait for it"]);
    assert_eq!(room.files("to"), [".deeplpf-prepare.lock"]);
    drop(held);
    assert!(room.run(prepare).stdout.starts_with("6 prepared"));
}

/// A small file system of its own, where this user may mount one; the limit of file sizes in
/// `data.rs` stands in elsewhere.
#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_is_said_and_left_in_order() {
    let room = Room::new();
    for k in 1..=6 {
        room.picture16(&format!("from/input/a{k:04}.png"), 400, 300);
        room.picture16(&format!("from/expertC/a{k:04}.png"), 400, 301);
    }
    std::fs::create_dir(room.path("small")).expect("made");
    let script = |size: &str| {
        format!(
            "mount -t tmpfs -o size={size} tmpfs small && \
             \"$deeplpf\" data prepare --protocol dpe --from from --to small/to --allow-missing; \
             code=$?; ls -A small/to/input small/to/expertC; umount small; exit $code"
        )
    };
    let mut probe = Command::new("sh");
    let probe =
        probe.args(["-c", "unshare -m true"]).output().is_ok_and(|run| run.status.success());
    if !probe {
        return println!("NOTE: this user may mount nothing: no full file system was tried");
    }
    // A name space of its own: the mount goes with it, whatever happens.
    let run = room.shell(&format!("unshare -m sh -c '{}'", script("700k")));
    assert_eq!(run.code, 1, "{run:?}");
    run.one_error(&["small/to/", "the disk is full; free some space"]);
    assert!(!run.stdout.contains(".partial"), "{run:?}");
}

/// Whoever may read everything (root) reads here as nobody, if a program to become that is at hand.
#[cfg(target_os = "linux")]
#[test]
fn folders_without_permission_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let room = bad_set();
    let permit = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(room.path(name), permissions).expect("own folder");
    };
    permit("", 0o755);
    permit("set/input", 0o000);
    let as_nobody = "--reuid=65534 --regid=65534 --clear-groups";
    let root = std::fs::read_dir(room.path("set/input")).is_ok();
    let run = |arguments: &str| -> Option<Run> {
        if !root {
            return Some(room.run(arguments));
        }
        let mut command = Command::new("setpriv");
        command.args(as_nobody.split(' ')).arg(PROGRAM).args(arguments.split(' '));
        let probe = Command::new("setpriv")
            .args(as_nobody.split(' '))
            .args([PROGRAM, "--version"])
            .output();
        let able = probe.is_ok_and(|probe| probe.status.success());
        able.then(|| Run::of(command.current_dir(room.path(""))))
    };
    let prepare = "data prepare --protocol dpe --allow-missing";
    let Some(refused) = run(&format!("{prepare} --from set --to to")) else {
        permit("set/input", 0o755);
        return println!(
            "NOTE: nobody may not run the program: nothing was seen without permission"
        );
    };
    refused.fails(&["set/input cannot be read", "check that you may read"]);
    let verified = run("data verify set").expect("as before");
    permit("set/input", 0o755);
    assert!(
        verified.code == 1 && verified.stdout.contains("set/input cannot be read"),
        "{verified:?}"
    );
    permit("", 0o555);
    let refused = run(&format!("{prepare} --from set --to to")).expect("as before");
    permit("", 0o755);
    refused.fails(&["to cannot be written", "Permission denied"]);
}
