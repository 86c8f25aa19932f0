//! `metrics`.

use crate::room::Room;

fn pairs() -> Room {
    let room = Room::new();
    room.picture("p/a.png", 32, 24);
    room.picture("p/b.jpg", 32, 24);
    room.picture("t/a.png", 32, 24);
    room.picture("t/b.png", 32, 24);
    room
}

#[test]
fn folders_are_matched_by_stem() {
    let room = pairs();
    room.picture("p/left-over.png", 32, 24);
    let run = room.run("metrics p t --json scores.json --csv scores.csv");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.starts_with("note: ") && run.stderr.contains("left-over"), "{run:?}");
    assert!(run.stdout.contains("PSNR (dB)") && run.stdout.contains("2 images"), "{run:?}");

    let json = room.json("scores.json");
    let b = json["images"]["b"]["psnr"].as_f64().unwrap();
    assert!(b > 30.0 && b < 70.0, "{b}");
    assert_eq!(json["images"]["a"]["psnr"], "inf");
    assert_eq!(json["images"]["a"]["ssim"], 1.0);
    assert_eq!(json["images"].as_object().unwrap().len(), 2);
    assert_eq!(json["mean"]["psnr"], "inf");
    let ssim = ["a", "b"].map(|id| json["images"][id]["ssim"].as_f64().unwrap());
    let mean = json["mean"]["ssim"].as_f64().unwrap();
    assert!((mean - (ssim[0] + ssim[1]) / 2.0).abs() < 1e-12);

    let csv = String::from_utf8(room.read("scores.csv")).unwrap();
    let firsts: Vec<_> = csv.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(firsts, ["image", "a", "b", "mean"]);
}

/// The value is known: every sample differs by 10 of 255.
#[test]
fn two_files_whatever_their_stems() {
    let room = Room::new();
    for (name, grey) in [("x.png", 100), ("y.png", 110)] {
        room.plain(name, 20, 20, [grey; 3]);
    }
    room.run("metrics x.png y.png --metrics psnr,ssim --json s.json").succeeds();
    let json = room.json("s.json");
    let expected = 20.0 * (255.0f64 / 10.0).log10();
    // The pictures are decoded to single precision.
    assert!((json["images"]["y"]["psnr"].as_f64().unwrap() - expected).abs() < 1e-5);
    assert_eq!(json["images"]["y"].as_object().unwrap().len(), 2);
}

#[test]
fn a_target_without_prediction_is_named() {
    let room = pairs();
    room.picture("t/c.png", 32, 24);
    room.run("metrics p t --json s.json").fails(&["1 of 3 targets", "p", "c", "same stem"]);
    room.run("metrics p/a.png t/nothing.png").fails(&["t/nothing.png"]);
    room.run("metrics p t/a.png").fails(&["t/a.png", "two folders or two files"]);
    assert!(!room.path("s.json").exists());
}

#[test]
fn unequal_sizes_do_not_stop_the_others_and_leave_no_mean() {
    let room = pairs();
    room.picture("p/c.png", 33, 24);
    room.picture("t/c.png", 32, 24);
    room.write("p/d.png", "no picture");
    room.picture("t/d.png", 32, 24);
    let run = room.run("metrics p t --json s.json --csv s.csv");
    assert_eq!((run.code, run.stdout.as_str()), (1, "2 compared, 2 failed: no means and no CSV\n"));
    assert_eq!(run.stderr.lines().count(), 2, "{run:?}");
    run.error(&["`c`", "33x24", "32x24", "one size"]);
    run.error(&["p/d.png", "not a PNG"]);
    let json = room.json("s.json");
    assert!(json["mean"].is_null() && json["images"]["a"].is_object());
    assert!(json["failures"]["c"].as_str().unwrap().contains("33x24"));
    assert!(!room.path("s.csv").exists());
}

#[test]
fn pictures_of_one_stem_are_named() {
    let room = pairs();
    room.picture("p/a.jpg", 32, 24);
    let parts = ["p/a.jpg has the stem of p/a.png", "'a'", "told apart", "; rename one"];
    room.run("metrics p p").fails(&parts);
    room.run("metrics p t").fails(&parts);
}

#[test]
fn an_unknown_metric_is_named() {
    pairs().run("metrics p t --metrics psnrr").fails(&["`psnrr`", "psnr_8bit"]);
}
