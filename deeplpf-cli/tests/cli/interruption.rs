//! Ctrl-C while pictures are being made.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::room::{PROGRAM, Room};

/// Interrupted while a file is being written: the half is removed, what is whole stays.
#[test]
fn an_interruption_leaves_whole_files_only() {
    let room = Room::with_weights();
    room.picture("in/0.png", 64, 64);
    for k in 1..4 {
        // Large enough for writing to be seen: 36 MB as npy.
        room.plain(&format!("in/{k}.png"), 2000, 1500, [90, 120, 60]);
    }
    let mut command = Command::new(PROGRAM);
    command.args("enhance in -o out --format npy --weights w.safetensors".split(' '));
    command.current_dir(room.path("")).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut program = command.spawn().expect("the program starts");
    // Until a large one is being written, or long enough for any machine.
    let end = Instant::now() + Duration::from_secs(120);
    let mut seen = false;
    while !seen && Instant::now() < end && program.try_wait().expect("a child").is_none() {
        let files = room.files("out");
        seen = files.contains(&"0.npy".into()) && files.iter().any(|n| n.ends_with(".partial"));
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = program.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    let output = program.wait_with_output().expect("it ends");
    let files = room.files("out");
    assert!(files.iter().all(|name| !name.ends_with(".partial")), "{files:?}");
    for name in &files {
        let pixels = if name == "0.npy" { 64 * 64 } else { 2000 * 1500 };
        assert_eq!(room.read(&format!("out/{name}")).len(), 128 + pixels * 12, "{name}");
    }
    assert!(files.contains(&"0.npy".into()), "{files:?}");
    if seen && killed.success() && output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(130));
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(told, "error: interrupted; every result that is there is whole\n");
    }
}
