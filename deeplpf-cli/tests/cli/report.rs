//! `report`.

use std::fs;

use crate::room::Room;

/// A room with two evaluations of the same pairs by one model, in `a` and `b`.
fn evaluated() -> Room {
    let room = Room::with_weights();
    for id in ["one", "two"] {
        room.picture(&format!("pairs/input/{id}.png"), 96, 64);
        room.plain(&format!("pairs/target/{id}.png"), 96, 64, [90, 120, 60]);
    }
    for out in ["a", "b"] {
        room.run(&format!("eval --weights w.safetensors --data pairs -o {out}")).succeeds();
    }
    room
}

#[test]
fn evaluations_become_one_page() {
    let room = evaluated();
    // An evaluation leaves its own page, and `report` makes the same again from the record.
    let left = fs::read_to_string(room.path("a/report.html")).unwrap();
    assert!(left.contains("data-name=\"one\"") && left.contains("data-filter=\"E1\""));
    fs::remove_file(room.path("a/report.html")).unwrap();
    let run = room.run("report a").succeeds();
    assert!(run.stdout.contains("1 run, 2 photographs") && run.stdout.contains("a/report.html"));
    assert!(room.path("a/report.html").is_file());

    let both = room.run("report a b -o both.html --plots plots").succeeds();
    assert!(both.stdout.starts_with("2 runs, 2 photographs"), "{both:?}");
    let page = fs::read_to_string(room.path("both.html")).unwrap();
    // Two runs of one label are told apart by their folders.
    for text in ["DeepLPF (a)", "DeepLPF (b)", "error of DeepLPF (b)", "data-label=\"target\""] {
        assert!(page.contains(text), "{text}");
    }
    let files = room.files("plots");
    for name in ["ablation.svg", "ablation.png", "scatter.svg", "contact_sheet.png"] {
        assert!(files.iter().any(|file| file == name), "{files:?}");
    }
}

#[test]
fn a_trained_run_is_evaluated_on_its_validation_pairs() {
    let room = Room::new();
    for id in ["one", "two", "three"] {
        room.picture(&format!("pairs/input/{id}.png"), 96, 64);
        room.plain(&format!("pairs/target/{id}.png"), 96, 64, [90, 120, 60]);
    }
    for seed in [1, 2] {
        let config = format!(
            "run = \"run-seed{seed}\"\nseed = {seed}\nepochs = 2\ninitialisation = \"identity\"\n\
             [data]\nsource = \"pairs\"\nvalid = \"valid.txt\"\ncrop = 32\n[model]\nfixes = \"all\"\n\
             widths = [4, 4, 4, 4, 4]\nfeatures = 8\nhead_width = 8\nhead_size = 43\n"
        );
        room.write("valid.txt", "two\n");
        room.write("train.toml", config);
        let run = room.run("train --config train.toml");
        assert_eq!(run.code, 0, "{run:?}");
    }
    let run = room.run("report run-seed1 run-seed2 -o r.html");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("run-seed1 was never evaluated"), "{run:?}");
    let page = fs::read_to_string(room.path("r.html")).unwrap();
    // Runs that differ in their seed share a curve, and the page says so.
    for text in ["data-name=\"two\"", "over seeds", "seeds 1, 2", "Split: validation."] {
        assert!(page.contains(text), "{text}");
    }
    // The record is kept: the second time nothing is computed.
    let again = room.run("report run-seed1 run-seed2 -o r.html").succeeds();
    assert_eq!(again.stderr, "");
    assert_eq!(fs::read_to_string(room.path("r.html")).unwrap(), page);
}

#[test]
fn runs_on_other_pairs_are_not_compared() {
    let room = evaluated();
    room.write("one.txt", "one\n");
    let eval = "eval --weights w.safetensors --data pairs";
    room.run(&format!("{eval} --split one.txt -o few")).succeeds();
    room.run("report a few -o r.html").fails(&["2 photographs against 1", "`two`", "; evaluate"]);
    room.plain("pairs/target/two.png", 96, 64, [10, 20, 160]);
    room.run(&format!("{eval} -o other")).succeeds();
    room.run("report a other -o r.html").fails(&["`two` is not the same pair", "PSNR"]);
    assert!(!room.path("r.html").exists());
}

#[test]
fn what_cannot_be_reported_is_named() {
    let room = evaluated();
    room.run("report nowhere").fails(&["nowhere", "no such folder"]);
    fs::create_dir(room.path("empty")).unwrap();
    room.run("report empty").fails(&["empty", "neither a trained run nor an evaluation"]);
    room.run("report a --metric sim").fails(&["`sim`", "psnr"]);
    room.run("report a -o page.pdf").fails(&["page.pdf", ".html"]);
    room.run("report a --size-limit 0").fails(&["--size-limit"]);
    fs::remove_file(room.path("a/record/0002-output.jpg")).unwrap();
    room.run("report a").fails(&["0002-output.jpg", "evaluate again"]);
    fs::write(room.path("b/record/0001-input.jpg"), "no picture").unwrap();
    room.run("report b").fails(&["0001-input.jpg"]);
    let record = room.path("b/record/record.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"format\":2", "\"format\":7")).unwrap();
    room.run("report b").fails(&["record.json", "form 7"]);
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    room.run("report b").fails(&["record.json"]);
    fs::write(&record, text.replace("\"semi_axis_a\":", "\"semi_axis_a\":-")).unwrap();
    room.run("report b").fails(&["record.json", "semi_axis_a"]);
}
