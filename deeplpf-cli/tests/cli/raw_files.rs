//! Camera raw files: with the feature `raw`, and what is said without it.

use crate::room::Room;

fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deeplpf-data/tests/fixtures/raw")
}

#[cfg(not(feature = "raw"))]
#[test]
fn without_the_feature_a_raw_file_is_refused_in_one_sentence() {
    let room = Room::with_weights();
    room.write("photo.dng", std::fs::read(fixtures().join("bayer.dng")).unwrap());
    let run = room.run("enhance photo.dng -o x.png --weights w.safetensors");
    run.fails(&["photo.dng is a camera raw file", "--features raw", "TIFF"]);
    assert!(!room.path("x.png").exists());
}

#[cfg(feature = "raw")]
mod built_in {
    use super::*;

    #[test]
    fn a_raw_file_is_enhanced() {
        let room = Room::with_weights();
        for name in ["bayer", "xtrans"] {
            room.write("photo.dng", std::fs::read(fixtures().join(format!("{name}.dng"))).unwrap());
            room.run(&format!("enhance photo.dng -o {name}.png --weights w.safetensors"))
                .succeeds();
            let rendered = deeplpf_data::decode(room.path("photo.dng")).unwrap().pixels;
            let enhanced = deeplpf_data::decode(room.path(&format!("{name}.png"))).unwrap().pixels;
            // The model returns its input; a PNG of 8 bits is half a level from it at most.
            assert_eq!(rendered.dim(), enhanced.dim());
            let far =
                rendered.iter().zip(&enhanced).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far <= 0.51 / 255.0, "{name}: {far}");
        }
    }

    /// Cut in the mosaic, an absurd black level, absurd sizes: one sentence, and no file.
    #[test]
    fn damaged_raw_files_are_one_sentence() {
        let room = Room::with_weights();
        let sound = std::fs::read(fixtures().join("bayer.dng")).unwrap();
        // Entries of the directory are 12 bytes: tag, type, count, value.
        let value = |tag: u16| {
            let found = (0..600).find(|&at| {
                sound[at..at + 2] == tag.to_le_bytes()
                    && (1..13).contains(&sound[at + 2])
                    && sound[at + 3] == 0
            });
            found.expect("the tag is there") + 8
        };
        let with = |changes: &[(usize, u32)]| {
            let mut bytes = sound.clone();
            for &(at, value) in changes {
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            bytes
        };
        let (width, height, black) = (value(256), value(257), value(50714));
        let levels = u32::from_le_bytes(sound[black..black + 4].try_into().unwrap()) as usize;
        for (name, bytes, says) in [
            ("cut", sound[..sound.len() / 2].to_vec(), "truncated raw file"),
            ("end", sound[..sound.len() - 10].to_vec(), "truncated raw file"),
            (
                "black",
                with(&[(levels, u32::MAX)]),
                "black level of 65535 and a white level of 16383",
            ),
            ("one-black", with(&[(black - 4, 1)]), "contradict each other"),
            ("wide", with(&[(width, u32::MAX)]), "4294967295x96, more than the limit"),
            ("huge", with(&[(width, 100_000), (height, 100_000)]), "more than the limit"),
            ("none", with(&[(width, 0)]), "0x96"),
            ("tall", with(&[(height, 60_000)]), "damaged raw file"),
        ] {
            room.write(&format!("{name}.dng"), bytes);
            room.run(&format!("enhance {name}.dng -o out.png --weights w.safetensors"))
                .fails(&[&format!("{name}.dng"), says]);
            assert!(!room.path("out.png").exists());
        }
    }

    /// A room with the small folder of See-in-the-Dark, its training list for validation and test.
    fn dark_room() -> Room {
        let room = Room::new();
        for camera in ["Sony", "Fuji"] {
            let list =
                std::fs::read(fixtures().join(format!("sid/{camera}_train_list.txt"))).unwrap();
            for part in ["train", "val", "test"] {
                room.write(&format!("sid/{camera}_{part}_list.txt"), &list);
            }
            for file in ["short/00001_00_0.1s.dng", "long/00001_00_10s.dng"] {
                let bytes = std::fs::read(fixtures().join("sid").join(camera).join(file)).unwrap();
                room.write(&format!("sid/{camera}/{file}"), bytes);
            }
        }
        room.write(
            "train.toml",
            "epochs = 3\n[data]\nsource = \"sid\"\n[model]\nfixes = \"all\"\n\
             widths = [4, 4, 4, 4, 4]\nfeatures = 8\nhead_width = 8\nhead_size = 43\n",
        );
        room
    }

    /// Trains: stderr has the table of epochs.
    #[track_caller]
    fn trains(room: &Room, options: &str) {
        let run = room.run(&format!("train --config train.toml {options}"));
        assert!(run.code == 0 && run.stderr.starts_with("epoch "), "{run:?}");
    }

    #[test]
    fn see_in_the_dark_is_trained_on_and_evaluated() {
        let room = dark_room();
        for (protocol, input, says) in [
            ("sid-sony", "bayer", "packed raw (4 channels"),
            ("sid-fuji", "xtrans", "packed raw (9 channels"),
            ("sid-sony", "rgb", "RGB by deeplpf-render-1"),
        ] {
            trains(
                &room,
                &format!(
                    "--set run={input} --set data.protocol={protocol} --set model.input={input}"
                ),
            );
            let run = room
                .run(&format!(
                    "eval --weights {input}/checkpoints/best.safetensors --data sid --protocol \
                     {protocol} -o {input}-evaluation"
                ))
                .succeeds();
            assert!(run.stdout.contains("PSNR") && run.stdout.contains(says), "{run:?}");
            let report = String::from_utf8(room.read(&format!("{input}-evaluation/report.html")));
            assert!(report.unwrap().contains(&format!("SID {protocol}: {says}")));
            // One pair is all there is: the evaluation must find what validation found.
            let metrics = room.json(&format!("{input}-evaluation/metrics.json"));
            let found = metrics["images"]["00001_00_0.1s"]["psnr"].as_f64().unwrap();
            let lines = String::from_utf8(room.read(&format!("{input}/metrics.jsonl"))).unwrap();
            let best = lines.lines().map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                record["valid_psnr"].as_f64().unwrap()
            });
            let best = best.fold(f64::MIN, f64::max);
            assert!((found - best).abs() < 1e-3, "{input}: {found} dB, in training {best} dB");
        }
    }

    #[test]
    fn a_run_on_see_in_the_dark_is_evaluated_for_its_report() {
        let room = dark_room();
        trains(
            &room,
            "--set run=run --set data.protocol=sid-fuji --set model.input=xtrans --set epochs=1",
        );
        let report = room.run("report run");
        assert!(report.code == 0 && report.stderr.contains("was never evaluated"), "{report:?}");
        let page = String::from_utf8(room.read("run/report.html")).unwrap();
        assert!(page.contains("SID sid-fuji: packed raw (9 channels"));
    }

    #[test]
    fn weights_and_data_of_see_in_the_dark_must_fit() {
        let room = dark_room();
        trains(
            &room,
            "--set run=run --set data.protocol=sid-sony --set model.input=bayer --set epochs=1",
        );
        let eval = "eval --weights run/checkpoints/last.safetensors -o out --data sid";
        room.run(eval).fails(&["input = \"bayer\"", "--protocol sid-sony"]);
        room.run(&format!("{eval} --protocol sid-fuji")).fails(&["bayer", "sid-fuji"]);
        room.run(&format!("{eval} --protocol sid-sony --split l.txt"))
            .fails(&["its own test list"]);
        room.write("sid/Sony_test_list.txt", "");
        room.run(&format!("{eval} --protocol sid-sony")).fails(&["Sony_test_list.txt", "no pairs"]);
        assert!(!room.path("out").exists());
    }
}
