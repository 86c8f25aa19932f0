//! The weights a command enhances with when none are named.

use std::path::Path;

use deeplpf_core::Checkpoint;

/// The weights in `file`, or those built into the program (`weights/README.md` says what they are).
///
/// # Errors
/// A file that is not one of weights; no file in a program built without feature `default-weights`.
pub fn read(file: Option<&Path>) -> anyhow::Result<Checkpoint> {
    match file {
        Some(file) => Ok(Checkpoint::read(file)?),
        None => built_in(),
    }
}

#[cfg(feature = "default-weights")]
fn built_in() -> anyhow::Result<Checkpoint> {
    const BYTES: &[u8] = include_bytes!("../../weights/default.safetensors");
    Ok(Checkpoint::from_bytes(BYTES, Path::new("default.safetensors"))?)
}

#[cfg(not(feature = "default-weights"))]
fn built_in() -> anyhow::Result<Checkpoint> {
    anyhow::bail!(
        "no weights were given, and this program was built without the feature default-weights: train \
         some with `deeplpf train`, or fetch the authors' (`deeplpf weights pull release-dpe`), and name \
         them with --weights FILE"
    )
}
