//! A small data set inside the library: 16 pairs from five photographs, with known truth.
//!
//! The photographs are in the public domain or CC0 (`CREDITS.md` beside the files). Each input is a
//! crop, scaled down and flattened; each target is that input through one look, the same for all:
//! see [`Truth`]. Training, validation and test have no photograph in common.
//!
//! The example `make_sample` makes the files from the photographs.

mod files;

use std::path::Path;

use crate::atomic_file::write_atomically;
use crate::{DataError, Pair, Split, decode_bytes};

pub use crate::synthetic::{Part, Picture, Truth};

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
