//! Pictures that are none: each gives one sentence, the others are still processed.

use crate::room::{Room, Run};

/// A file in a folder called `in`, and what the message about it must say.
const DAMAGED: [(&str, &[&str]); 5] = [
    ("bomb.png", &["30000x30000", "limit", "scale it down with another program"]),
    ("empty.png", &["0 bytes", "again"]),
    ("text.png", &["not a PNG, JPEG, TIFF or WebP", "convert it"]),
    ("tiny.png", &["1x1", "at least 32", "enlarge"]),
    ("truncated.png", &["truncated PNG", "again"]),
];

/// CRC-32 of a PNG chunk (RFC 2083, appendix 15), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

fn damaged() -> Room {
    let room = Room::with_weights();
    room.write("in/text.png", "This is no picture.\n");
    room.write("in/empty.png", "");
    room.picture("in/tiny.png", 1, 1);
    room.picture("whole.png", 64, 64);
    let whole = room.read("whole.png");
    room.write("in/truncated.png", &whole[..whole.len() / 2]);
    // The header of another picture: length 4, name 4, width 4, height 4, five more, checksum.
    let mut bomb = whole;
    bomb[16..20].copy_from_slice(&30000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&30000u32.to_be_bytes());
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    room.write("in/bomb.png", bomb);
    room
}

#[test]
fn a_single_damaged_picture_is_one_sentence() {
    let room = damaged();
    for (name, parts) in DAMAGED {
        let path = format!("in/{name}");
        let parts = [&[&*path], parts].concat();
        let enhance = format!("enhance {path} --weights w.safetensors --save-params");
        room.run(&format!("{enhance} -o result.png")).fails(&parts);
        assert!(!room.files("").iter().any(|name| name.contains("result")), "{name}");
        room.run(&format!("{enhance} -o out")).fails(&parts);
        assert!(room.files("out").is_empty(), "{name}");
    }
}

#[test]
fn among_others_each_is_named_and_the_rest_is_done() {
    let room = damaged();
    for name in ["in/a.png", "in/m.png", "in/z.png"] {
        room.picture(name, 40, 36);
    }
    let run = room.run("enhance in missing.png -o out --weights w.safetensors --save-params");
    assert_eq!((run.code, run.stdout.as_str()), (1, "3 enhanced, 6 failed: out\n"), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 6, "{run:?}");
    for (name, parts) in DAMAGED {
        run.error(&[&[&*format!("in/{name}")], parts].concat());
    }
    run.error(&["missing.png"]);
    let stems = ["a", "m", "z"];
    let expected: Vec<String> =
        stems.iter().flat_map(|s| [format!("{s}.params.json"), format!("{s}.png")]).collect();
    assert_eq!(room.files("out"), expected);
}

#[test]
fn nothing_to_do_is_an_error() {
    let room = Room::with_weights();
    std::fs::create_dir(room.path("nothing")).unwrap();
    room.write("notes/notes.txt", "no picture");
    for folder in ["nothing", "notes"] {
        room.run(&format!("enhance {folder} -o out --weights w.safetensors"))
            .fails(&[folder, "no PNG, JPEG, TIFF or WebP pictures"]);
    }
    room.run("enhance missing.png -o out --weights w.safetensors").fails(&["missing.png"]);
    assert!(!room.path("out").exists());
    room.picture("a.png", 40, 40);
    let run = room.run("enhance nothing a.png -o out --weights w.safetensors");
    assert_eq!((run.code, run.stdout.as_str()), (1, "1 enhanced, 1 failed: out\n"), "{run:?}");
    run.one_error(&["nothing"]);
}

#[test]
fn inputs_of_one_stem_all_fail_and_the_rest_is_done() {
    let room = Room::with_weights();
    for name in ["in/a.png", "in/a.jpg", "in/b.png", "other/b.tif", "other/c.png"] {
        room.picture(name, 40, 40);
    }
    let run = room.run("enhance in other -o out --weights w.safetensors");
    assert_eq!((run.code, run.stdout.as_str()), (1, "1 enhanced, 4 failed: out\n"), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 4, "{run:?}");
    for (path, other, stem) in [
        ("in/a.png", "in/a.jpg", "'a'"),
        ("in/a.jpg", "in/a.png", "'a'"),
        ("in/b.png", "other/b.tif", "'b'"),
        ("other/b.tif", "in/b.png", "'b'"),
    ] {
        run.error(&[&format!("error: {path} has the stem of {other}"), stem, "; rename one"]);
    }
    assert_eq!(room.files("out"), ["c.png"]);

    let run = room.run("enhance in/a.png in/a.jpg -o none --weights w.safetensors");
    assert_eq!((run.code, run.stdout.as_str()), (1, "0 enhanced, 2 failed: none\n"), "{run:?}");
    assert!(room.files("none").is_empty());

    // One file named twice is one input.
    let run: Run =
        room.run("enhance in/b.png ./in/b.png -o out --weights w.safetensors").succeeds();
    assert_eq!(run.stdout, "1 enhanced, 0 failed: out\n");
}

#[cfg(unix)]
#[test]
fn names_and_links_that_cannot_be_used_fail_and_the_rest_is_done() {
    use std::os::unix::ffi::OsStrExt;

    let room = Room::with_weights();
    room.picture("in/a.png", 40, 40);
    std::os::unix::fs::symlink("gone.png", room.path("in/link.png")).unwrap();
    let odd = room.path("in").join(std::ffi::OsStr::from_bytes(b"odd-\xff.png"));
    // Some file systems refuse such names.
    let failed = 1 + usize::from(std::fs::copy(room.path("in/a.png"), odd).is_ok());
    let run = room.run("enhance in -o out --weights w.safetensors");
    let summary = format!("1 enhanced, {failed} failed: out\n");
    assert_eq!((run.code, &run.stdout), (1, &summary), "{run:?}");
    assert_eq!(run.stderr.lines().count(), failed, "{run:?}");
    run.error(&["in/link.png is a link to a file that does not exist", "; mend or remove it"]);
    if failed == 2 {
        run.error(&["in/odd-", "not valid Unicode", "; rename it"]);
    }
    assert_eq!(room.files("out"), ["a.png"]);
}

#[test]
fn a_big_tiff_is_told_from_other_files() {
    let room = Room::with_weights();
    room.write("big.tif", b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0");
    room.run("enhance big.tif -o x.png --weights w.safetensors")
        .fails(&["big.tif is a BigTIFF", "; save it as a classic TIFF"]);
}
