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

#[test]
fn all_metrics_are_printed_as_json_or_csv() {
    let room = Room::new();
    for (name, shift) in [("p/a.png", 9), ("t/a.png", 0)] {
        std::fs::create_dir_all(room.path(name).parent().unwrap()).unwrap();
        image::RgbImage::from_fn(170, 165, |x, y| {
            image::Rgb([(x + shift) as u8, (y + shift) as u8, (x + y) as u8 / 2])
        })
        .save(room.path(name))
        .unwrap();
    }
    let run = room.run("metrics p t --metrics all --format json");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.starts_with("note: lpips_vgg is left out"), "{run:?}");
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let values = json["images"]["a"].as_object().unwrap();
    let mut keys: Vec<_> = values.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "delta_e_2000",
        "delta_e_76",
        "lpips_alex",
        "ms_ssim",
        "psnr",
        "psnr_8bit",
        "ssim",
        "ssim_population",
        "ssim_release",
    ];
    assert_eq!(keys, expected);
    assert!(values.values().all(|value| value.as_f64().is_some_and(|value| value > 0.0)));
    let csv = room.run("metrics p t --metrics psnr,lpips_alex --format csv").succeeds().stdout;
    assert!(csv.starts_with("image,psnr,lpips_alex\r\na,"), "{csv}");
}

#[test]
fn lpips_says_what_it_lacks() {
    let room = pairs();
    room.run("metrics p t --metrics lpips_vgg").fails(&["lpips_vgg", "--lpips-vgg-weights"]);
    room.write("vgg.safetensors", "no weights");
    let vgg = "metrics p t --metrics lpips_vgg --lpips-vgg-weights";
    room.run(&format!("{vgg} vgg.safetensors")).fails(&["vgg.safetensors", "safetensors"]);
    room.run(&format!("{vgg} missing.pth")).fails(&["missing.pth"]);
    let nowhere = "metrics nowhere t --metrics lpips_vgg --lpips-vgg-weights missing.pth";
    room.run(nowhere).fails(&["no file or folder nowhere"]);
    // The weights of another network.
    room.write_model(&crate::room::small_model(), "w.safetensors");
    room.run(&format!("{vgg} w.safetensors")).fails(&["w.safetensors", "features.0.weight"]);
    room.picture("p/small.png", 30, 40);
    room.picture("t/small.png", 30, 40);
    let run = room.run("metrics p t --metrics lpips_alex");
    assert_eq!((run.code, run.stdout.as_str()), (1, "0 compared, 3 failed: no means\n"));
    run.error(&["`small`", "LPIPS v0.1 AlexNet needs at least 31", "30x40"]);
}

#[test]
fn depths_may_differ_and_transparency_is_refused() {
    let room = Room::new();
    for folder in ["p", "t"] {
        std::fs::create_dir_all(room.path(folder)).unwrap();
    }
    let level = |x: u32, y: u32| (x * 7 + y * 5) as u8;
    image::RgbImage::from_fn(20, 20, |x, y| image::Rgb([level(x, y); 3]))
        .save(room.path("t/a.png"))
        .unwrap();
    image::ImageBuffer::from_fn(20, 20, |x, y| image::Rgb([u16::from(level(x, y)) * 257; 3]))
        .save(room.path("p/a.png"))
        .unwrap();
    let run = room.run("metrics p t --metrics psnr --json s.json");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.starts_with("note: 1 of 1 pairs have 8 bits on one side"), "{run:?}");
    assert_eq!(room.json("s.json")["images"]["a"]["psnr"], "inf");
    image::RgbaImage::from_fn(20, 20, |x, y| {
        let value = level(x, y);
        image::Rgba([value, value, value, 128])
    })
    .save(room.path("p/a.png"))
    .unwrap();
    let run = room.run("metrics p t --metrics psnr --json s.json");
    assert_eq!((run.code, run.stdout.as_str()), (1, "0 compared, 1 failed: no means\n"));
    run.one_error(&["prediction", "a.png", "400 pixels", "not wholly opaque"]);
    assert!(room.json("s.json")["mean"].is_null());
}

#[test]
fn a_damaged_file_among_many_is_counted_in_every_form() {
    let room = Room::new();
    for i in 0..12 {
        room.picture(&format!("p/{i}.png"), 16, 16);
        room.picture(&format!("t/{i}.png"), 16, 16);
    }
    room.write("p/7.png", &room.read("p/7.png")[..60]);
    let run = room.run("metrics p t --format csv");
    assert_eq!(run.stdout, "11 compared, 1 failed: no means and no CSV\n");
    assert_eq!(run.code, 1);
    run.one_error(&["p/7.png"]);
    let run = room.run("metrics p t --format json");
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(run.code == 1 && json["mean"].is_null(), "{run:?}");
    assert_eq!(json["failures"].as_object().unwrap().len(), 1);
    room.write("s.json", &run.stdout);
    room.run("compare a=s.json b=s.json").fails(&["s.json", "only 11 images", "`7`"]);
}
