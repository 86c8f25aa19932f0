//! `compare`.

use crate::room::Room;

/// Scores of three methods on eleven pictures: `near` differs from `first` by turns up and down,
/// `worse` is darker than both.
fn scored() -> Room {
    let room = Room::new();
    for i in 0..11u8 {
        let grey = 90 + 5 * i;
        room.plain(&format!("t/{i}.png"), 16, 16, [grey; 3]);
        room.plain(&format!("first/{i}.png"), 16, 16, [grey + 8 + i; 3]);
        room.plain(&format!("near/{i}.png"), 16, 16, [grey + 8 + (i ^ 1).min(10); 3]);
        room.plain(&format!("worse/{i}.png"), 16, 16, [grey + 30 + i; 3]);
    }
    for method in ["first", "near", "worse"] {
        room.run(&format!("metrics {method} t --metrics psnr,delta_e_76 --json {method}.json"))
            .succeeds();
    }
    room
}

#[test]
fn differences_come_with_the_word_whether_they_are_ones() {
    let room = scored();
    let run = room.run("compare first.json near.json worse.json -o out").succeeds();
    let line = |start: &str| {
        let found = run.stdout.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("{start}: {run:?}")).to_owned()
    };
    assert!(line("| first | near |").ends_with("| no difference shown |"), "{run:?}");
    assert!(line("| first | worse |").ends_with("| better |"), "{run:?}");
    assert!(line("| near | worse |").contains("| 11 / 0 / 0 |"), "{run:?}");
    assert!(run.stdout.contains("Holm's correction over the 3 comparisons"), "{run:?}");
    assert!(run.stdout.contains("were not recorded"), "{run:?}");
    let mut files = room.files("out");
    files.sort();
    let expected: Vec<String> = ["differences", "table"]
        .iter()
        .flat_map(|name| ["csv", "json", "md", "tex"].map(|form| format!("{name}.{form}")))
        .collect();
    assert_eq!(files, expected);
    // The second is a hair better on average.
    let standing =
        |row: usize| room.json("out/table.json")["rows"][row]["values"]["psnr"]["standing"].clone();
    assert_eq!([0, 1, 2].map(standing), ["near", "best", "different"]);
}

#[test]
fn other_forms_hold_the_differences() {
    let room = scored();
    let csv = room.run("compare first.json worse.json --metrics psnr --format csv").succeeds();
    assert_eq!(csv.stdout.lines().count(), 2, "{csv:?}");
    assert!(csv.stdout.lines().nth(1).unwrap().ends_with(",better"), "{csv:?}");
    let json = room.run("compare a=first.json b=worse.json --baseline b --format json").succeeds();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let first = &json["differences"][0];
    assert_eq!((first["a"].as_str(), first["b"].as_str()), (Some("a"), Some("b")));
    assert_eq!((&first["wins"], &first["verdict"]), (&11.into(), &"better".into()));
    let latex = room.run("compare first.json worse.json --format latex").succeeds().stdout;
    assert!(latex.contains("\\toprule"), "{latex}");
}

#[test]
fn what_cannot_be_compared_is_named_and_nothing_is_written() {
    let room = scored();
    room.run("compare first.json -o out").fails(&["only one method, `first`", "; "]);
    room.run("compare first.json t -o out").fails(&["t holds no scores", "metrics.json"]);
    room.run("compare first.json missing.json").fails(&["missing.json"]);
    room.run("compare first.json near.json --baseline x").fails(&["`x`", "first, near"]);
    room.run("compare first.json near.json --metrics ssim").fails(&["`ssim`", "`first`"]);
    std::fs::remove_file(room.path("near/3.png")).unwrap();
    std::fs::remove_file(room.path("t/3.png")).unwrap();
    room.run("metrics near t --metrics psnr --json fewer.json").succeeds();
    room.run("compare first.json fewer.json -o out").fails(&["`fewer`", "`3`", "same images"]);
    room.write("broken.json", "{}");
    room.run("compare first.json broken.json").fails(&["broken.json", "`metrics`"]);
    assert!(room.files("out").is_empty(), "{:?}", room.files("out"));
}

/// The weights return their input, so nothing differs from the unchanged input.
#[test]
fn the_unchanged_input_is_a_row_and_a_baseline() {
    let room = Room::with_weights();
    for id in ["a", "b", "c"] {
        room.picture(&format!("pairs/input/{id}.png"), 96, 64);
        room.plain(&format!("pairs/target/{id}.png"), 96, 64, [90, 120, 60]);
    }
    room.run("eval --weights w.safetensors --data pairs -o one").succeeds();
    let run = room.run("compare one --baseline input --metrics psnr").succeeds();
    assert!(run.stdout.contains("| input, unchanged |"), "{run:?}");
    let line = run.stdout.lines().find(|line| line.starts_with("| one | input, unchanged |"));
    assert!(line.is_some_and(|line| line.contains("no difference shown")), "{run:?}");
    room.run("metrics pairs/input pairs/target --json s.json").succeeds();
    let parts = ["unchanged inputs are not known", "deeplpf eval"];
    room.run("compare a=s.json b=s.json --baseline input").fails(&parts);
}
