//! Places that cannot be written to, and disks that are full.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::room::{PROGRAM, Room, Run};

fn room() -> Room {
    let room = Room::with_weights();
    room.picture("in/a.png", 64, 64);
    room.picture("in/b.png", 64, 64);
    room.write("file", "a regular file");
    room
}

#[test]
fn places_that_do_not_exist() {
    let room = room();
    let before = room.files("");
    for (line, place) in [
        ("enhance in/a.png -o missing/x.png --weights w.safetensors", "missing/x.png"),
        ("enhance in/a.png -o file/x.png --weights w.safetensors", "file/x.png"),
        ("enhance in -o file/sub --weights w.safetensors", "file/sub"),
        ("enhance in -o file --weights w.safetensors", "file"),
        ("weights convert w.safetensors file/v.safetensors", "file/v.safetensors"),
        ("data sample -o file/sample", "file/sample"),
        ("metrics in in --json file/s.json", "file/s.json"),
        ("metrics in in --csv file/s.csv", "file/s.csv"),
        ("train --config train.toml --set run=file/run", "file/run"),
        ("eval --weights w.safetensors --data pairs -o file/evaluation", "file/evaluation"),
    ] {
        room.write("train.toml", "epochs = 1\n[model]\nhead_size = 64\n");
        for side in ["input", "target"] {
            room.picture(&format!("pairs/{side}/a.png"), 48, 48);
        }
        // What to do about it stands behind a semicolon.
        room.run(line).fails(&[place, "; "]);
        for name in ["train.toml", "pairs/input/a.png", "pairs/target/a.png"] {
            std::fs::remove_file(room.path(name)).unwrap();
        }
        assert_eq!(room.files(""), before, "{line}");
    }
}

/// A file system in which even the superuser cannot make files.
#[cfg(target_os = "linux")]
#[test]
fn proc_cannot_be_written() {
    let room = room();
    room.run("enhance in/a.png -o /proc/x.png --weights w.safetensors").fails(&["/proc/x.png"]);
    room.run("enhance in -o /proc/out --weights w.safetensors").fails(&["/proc/out", "-o"]);
    room.run("weights convert w.safetensors /proc/v.safetensors").fails(&["/proc/v.safetensors"]);
}

/// A limit on the size of files stops writing half-way, as a full disk does.
#[cfg(unix)]
#[test]
fn writing_that_stops_half_way_leaves_nothing() {
    let room = room();
    // 64x64 at 16 bit is 24 KiB, the converted weights 170 KiB; the limit is two blocks of 512
    // bytes, or 1024 in some shells.
    let limited =
        |line: &str| room.shell(&format!("trap '' XFSZ; ulimit -f 2; \"$deeplpf\" {line}"));
    let before = room.files("");
    limited("enhance in/a.png -o x.tif --weights w.safetensors --save-params").fails(&["x."]);
    limited("weights convert w.safetensors v.safetensors")
        .fails(&["v.safetensors", "free some space"]);
    assert_eq!(room.files(""), before);

    let run = limited("enhance in -o out --format tiff16 --weights w.safetensors");
    assert_eq!((run.code, run.stdout.as_str()), (1, "0 enhanced, 2 failed: out\n"), "{run:?}");
    run.error(&["out/a.tif", "check that its folder"]);
    run.error(&["out/b.tif"]);
    assert!(room.files("out").is_empty(), "{:?}", room.files("out"));

    // A result that was there before stays as it was.
    room.write("x.tif", "before");
    limited("enhance in/a.png -o x.tif --weights w.safetensors").fails(&["x.tif"]);
    assert_eq!(room.read("x.tif"), b"before");
}

/// Parameters that cannot be written fail the input; its picture stays, and so does what is there.
#[test]
fn the_picture_stays_without_its_parameters() {
    let room = room();
    std::fs::create_dir_all(room.path("out/a.params.json")).unwrap();
    let run = room.run("enhance in -o out --weights w.safetensors --save-params");
    assert_eq!((run.code, run.stdout.as_str()), (1, "1 enhanced, 1 failed: out\n"), "{run:?}");
    run.one_error(&["out/a.png was written", "out/a.params.json", "not a regular file", "; "]);
    assert_eq!(room.files("out"), ["a.png", "b.params.json", "b.png"]);
    assert!(room.path("out/a.params.json").is_dir());
}

/// Parameters of an earlier run outlive a picture that cannot be written.
#[cfg(unix)]
#[test]
fn older_parameters_are_never_deleted() {
    let room = room();
    let line = "enhance in/a.png -o out --weights w.safetensors --save-params --format tiff16";
    room.write("out/a.params.json", "older");
    std::fs::create_dir(room.path("out/a.tif")).unwrap();
    room.run(line).one_error(&["out/a.tif is not a regular file", "; "]);
    assert_eq!(room.read("out/a.params.json"), b"older");
    let limited =
        room.shell(&format!("rmdir out/a.tif; trap '' XFSZ; ulimit -f 2; \"$deeplpf\" {line}"));
    limited.one_error(&["out/a.tif"]);
    assert_eq!(room.files("out"), ["a.params.json"]);
    assert_eq!(room.read("out/a.params.json"), b"older");
}

/// A pipe stands for every device: a rename would replace it by a file.
#[cfg(unix)]
#[test]
fn what_is_not_a_regular_file_is_not_replaced() {
    use std::os::unix::fs::FileTypeExt;

    let room = room();
    room.shell("mkfifo pipe pipe.png pipe.safetensors && ln -s pipe link").succeeds();
    for (line, place) in [
        ("metrics in in --json pipe", "pipe"),
        ("metrics in in --csv link", "link"),
        ("enhance in/a.png -o pipe.png --weights w.safetensors", "pipe.png"),
        ("weights convert w.safetensors pipe.safetensors", "pipe.safetensors"),
    ] {
        let run = room.run(line);
        assert_eq!(run.code, 1, "{run:?}");
        run.one_error(&[place, "is not a regular file", "; "]);
    }
    for name in ["pipe", "pipe.png", "pipe.safetensors"] {
        let kind = std::fs::symlink_metadata(room.path(name)).unwrap().file_type();
        assert!(kind.is_fifo(), "{name}");
    }
}

/// A real full disk: a file system of 64 KiB, where the machine lets us mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_called_so_and_the_small_pictures_still_fit() {
    let room = room();
    // 24 KiB each; five do not fit, some do.
    for name in ["in/c.png", "in/d.png", "in/e.png"] {
        room.picture(name, 64, 64);
    }
    std::fs::create_dir(room.path("disk")).unwrap();
    let run = room.shell(
        "exec unshare -rm sh -c 'mount -t tmpfs -o size=64k none disk || { echo unmounted; exit 0; }
         \"$deeplpf\" enhance in -o disk --format tiff16 --weights w.safetensors
         echo \"code $?\"; ls -A disk'",
    );
    if !run.stdout.contains("code ") {
        // Not `eprintln!`, which `cargo test` keeps to itself when the test passes.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: no file system of our own can be mounted here: {run:?}"
        );
        return;
    }
    let lines: Vec<_> = run.stdout.lines().collect();
    let written = lines.len() - 2;
    assert!((1..5).contains(&written), "{run:?}");
    assert_eq!(lines[0], format!("{written} enhanced, {} failed: disk", 5 - written), "{run:?}");
    assert_eq!(lines[1], "code 1");
    assert!(lines[2..].iter().all(|name| name.ends_with(".tif") && !name.starts_with('.')));
    assert_eq!(run.stderr.lines().count(), 5 - written, "{run:?}");
    run.error(&[".tif", "the disk is full", "free some space"]);
}

#[cfg(target_os = "linux")]
#[test]
fn stdout_on_a_full_disk_is_an_error() {
    let room = room();
    let run = room.shell("\"$deeplpf\" weights inspect w.safetensors > /dev/full");
    run.fails(&["standard output", "No space left", "free some space"]);
}

/// `deeplpf ... | head` ends quietly.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let room = room();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(PROGRAM);
    command.args(["weights", "inspect", "w.safetensors"]).current_dir(room.path(""));
    let status = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = status.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let help = Run::of(Command::new("sh").args(["-c", "\"$0\" --help | true", PROGRAM]));
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
}
