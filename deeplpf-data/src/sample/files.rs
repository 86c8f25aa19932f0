//! The files of `deeplpf-data/sample`, inside the library.

/// One pair's files.
pub(super) struct Files {
    pub id: &'static str,
    pub input: &'static [u8],
    pub target: &'static [u8],
}

macro_rules! picture {
    ($id:literal) => {
        Files {
            id: $id,
            input: include_bytes!(concat!("../../sample/input/", $id, ".png")),
            target: include_bytes!(concat!("../../sample/target/", $id, ".png")),
        }
    };
}

pub(super) const TRUTH: &str = include_str!("../../sample/truth.json");
pub(super) const CREDITS: &str = include_str!("../../sample/CREDITS.md");

/// In the order of `truth.json`.
pub(super) const PICTURES: &[Files] = &[
    picture!("astronaut-1"),
    picture!("astronaut-2"),
    picture!("astronaut-3"),
    picture!("chelsea-1"),
    picture!("chelsea-2"),
    picture!("chelsea-3"),
    picture!("seeding-1"),
    picture!("seeding-2"),
    picture!("seeding-3"),
    picture!("seeding-4"),
    picture!("rocket-1"),
    picture!("rocket-2"),
    picture!("coffee-1"),
    picture!("coffee-2"),
    picture!("coffee-3"),
    picture!("coffee-4"),
];
