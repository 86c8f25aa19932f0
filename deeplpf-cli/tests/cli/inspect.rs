//! `inspect`.

use crate::room::Room;

#[test]
fn one_photograph_is_drawn_mapped_and_listed() {
    let room = Room::with_weights();
    room.picture("p.png", 96, 64);
    let run = room.run("inspect p.png --weights w.safetensors -o seen").succeeds();
    let mut files = room.files("seen");
    files.sort();
    let expected = [
        "elliptical.png",
        "elliptical.svg",
        "filters.png",
        "graduated.png",
        "graduated.svg",
        "params.json",
        "polynomial.png",
        "polynomial.svg",
    ];
    assert_eq!(files, expected);
    for name in expected {
        assert!(run.stdout.contains(name), "{run:?}");
    }
    let picture = image::open(room.path("seen/filters.png")).unwrap();
    // Enlarged, so that the names of the filters can be read.
    assert_eq!((picture.width(), picture.height()), (800, 534));
    // The numbers are those of `enhance`.
    room.run("enhance p.png -o e --weights w.safetensors --save-params").succeeds();
    let (ours, theirs) = (room.json("seen/params.json"), room.json("e/p.params.json"));
    for key in ["input", "width", "height", "weights", "dialect", "fixes", "filters", "raw"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    assert_eq!((&ours["map_width"], &ours["map_height"]), (&96.into(), &64.into()));
}

#[test]
fn what_cannot_be_inspected_is_named_and_nothing_is_written() {
    let room = Room::with_weights();
    room.picture("small.png", 20, 64);
    room.write("text.png", "no picture");
    let inspect =
        |photo: &str| room.run(&format!("inspect {photo} --weights w.safetensors -o out"));
    inspect("small.png").fails(&["32"]);
    inspect("text.png").fails(&["text.png"]);
    inspect("missing.png").fails(&["missing.png"]);
    room.picture("p.png", 96, 64);
    room.run("inspect p.png --weights none.safetensors -o out").fails(&["none.safetensors"]);
    let inspect_on = "inspect p.png --weights w.safetensors -o out --device";
    room.run(&format!("{inspect_on} cuda:99")).fails(&["cuda:99"]);
    assert!(!room.path("out").exists());
}
