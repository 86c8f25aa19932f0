//! A small data set inside the library: 16 pairs from five photographs, with known truth.
//!
//! The photographs are in the public domain or CC0 (`CREDITS.md` beside the files). Each input is a
//! crop, scaled down and flattened; each target is that input through one look, the same for all:
//! see [`Truth`]. Training, validation and test have no photograph in common.
//!
//! The example `make_sample` makes the files from the photographs.

mod files;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file::write_atomically;
use crate::synthetic::{Flattening, Look};
use crate::{DataError, Pair, Split, decode_bytes};

/// How the sample set was made: everything needed to make every target again from its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// How to read this, in words.
    pub method: String,
    /// From photograph to input.
    pub flattening: Flattening,
    /// From input to target.
    pub look: Look,
    /// The pairs, in order.
    pub pictures: Vec<Picture>,
}

/// Where one pair comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// The pair's id.
    pub id: String,
    /// What the pair is for.
    pub part: Part,
    /// File name of the photograph.
    pub photograph: String,
    /// Left, top, width and height of the part of the photograph that was used, in its pixels.
    pub crop: [u32; 4],
    /// Width and height it was scaled to.
    pub size: [u32; 2],
}

/// What a pair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Training.
    Train,
    /// Choosing the best checkpoint.
    Valid,
    /// Reporting.
    Test,
}

impl Part {
    /// All parts with the names of their lists.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Train, "train.txt"), (Self::Valid, "valid.txt"), (Self::Test, "test.txt")];
}

impl Truth {
    /// Ids of one part, in order.
    #[must_use]
    pub fn ids(&self, part: Part) -> Vec<String> {
        let of_part = self.pictures.iter().filter(|picture| picture.part == part);
        of_part.map(|picture| picture.id.clone()).collect()
    }
}

/// How the set was made.
///
/// # Errors
/// [`DataError::Sample`] if the library was built with damaged files.
pub fn truth() -> Result<Truth, DataError> {
    serde_json::from_str(files::TRUTH).map_err(|e| DataError::Sample { reason: e.to_string() })
}

/// All pairs, in the order of [`Truth::pictures`].
///
/// # Errors
/// What [`decode_bytes`] says, if the library was built with damaged files.
pub fn pairs() -> Result<Vec<Pair>, DataError> {
    files::PICTURES
        .iter()
        .map(|file| {
            let read = |bytes, folder: &str| {
                let name = format!("sample/{folder}/{}.png", file.id);
                decode_bytes(bytes, Path::new(&name)).map(|image| image.pixels)
            };
            Ok(Pair {
                id: file.id.to_owned(),
                input: read(file.input, "input")?,
                target: read(file.target, "target")?,
            })
        })
        .collect()
}

/// Ids for training, validation and test, split by photograph.
///
/// # Errors
/// As [`truth`].
pub fn split() -> Result<Split, DataError> {
    let truth = truth()?;
    Split::new(truth.ids(Part::Train), truth.ids(Part::Valid), truth.ids(Part::Test))
}

/// Writes the set as a paired folder: `input/`, `target/`, `train.txt`, `valid.txt`, `test.txt`,
/// `truth.json` and `CREDITS.md`. Files of these names are replaced.
///
/// # Errors
/// [`DataError::Write`] or [`DataError::DiskFull`]; no file is left half-written.
pub fn write_to(folder: impl AsRef<Path>) -> Result<(), DataError> {
    let folder = folder.as_ref();
    let write = |path: &Path, bytes: &[u8]| {
        write_atomically(path, |writer| {
            std::io::Write::write_all(writer, bytes).map_err(|e| DataError::write(path, e))
        })
    };
    for name in ["input", "target"] {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map_err(|e| DataError::write(&path, e))?;
    }
    for file in files::PICTURES {
        let name = format!("{}.png", file.id);
        write(&folder.join("input").join(&name), file.input)?;
        write(&folder.join("target").join(&name), file.target)?;
    }
    let truth = truth()?;
    for (part, name) in Part::ALL {
        let list = truth.ids(part).join("\n") + "\n";
        write(&folder.join(name), list.as_bytes())?;
    }
    write(&folder.join("truth.json"), files::TRUTH.as_bytes())?;
    write(&folder.join("CREDITS.md"), files::CREDITS.as_bytes())
}
