//! A prepared folder against its manifest.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;

use super::rendering;
use super::report::{Problem, ProblemKind, count};
use crate::DataError;
use crate::prepare::{JOURNAL, MANIFEST, Manifest, PreparedFile, sha256_of};
use crate::protocol::{InputRendering, Protocol};
use crate::raw::RENDERING;

/// Judges the manifest of a folder, where there is one. `files` are the ids of all inputs and targets.
/// Says how many inputs were rendered by this program.
pub(super) fn judge(
    root: &Path,
    files: &BTreeSet<&str>,
    protocol: Option<Protocol>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> usize {
    let problem = |kind, id: &str, detail: String| Problem::new(kind, id, detail);
    let path = root.join(MANIFEST);
    if path.try_exists().is_ok_and(|exists| !exists) {
        if root.join(JOURNAL).exists() {
            let detail = "`data prepare` has not come to its end in this folder; run it again";
            problems.push(problem(ProblemKind::MissingId, "*", detail.into()));
        }
        return 0;
    }
    let read = std::fs::read(&path).map_err(|e| DataError::read(&path, e));
    let manifest = match read.and_then(|bytes| Ok(Manifest::parse(&bytes, &path)?)) {
        Ok(manifest) => manifest,
        Err(error) => {
            problems.push(problem(ProblemKind::Unreadable, MANIFEST, error.to_string()));
            return 0;
        }
    };
    let found = manifest.header.protocol;
    if let Some(protocol) = protocol.filter(|protocol| *protocol != found) {
        let detail = format!("it was prepared as {found}, not as {protocol}");
        problems.push(problem(first_difference(found, protocol), "*", detail));
    }
    let pairs = manifest.entries.len();
    let of_files: Vec<Problem> = manifest
        .entries
        .par_iter()
        .flat_map_iter(|entry| {
            if !files.contains(entry.id.as_str()) {
                let detail = "it is in the manifest, and both files are gone".to_owned();
                return vec![problem(ProblemKind::MissingId, &entry.id, detail)];
            }
            let sides = [
                (&entry.input, ProblemKind::MissingInput),
                (&entry.target, ProblemKind::MissingTarget),
            ];
            let judged = sides.into_iter().filter_map(|(file, if_gone)| {
                let (kind, detail) = changed(root, file, if_gone)?;
                Some(problem(kind, &entry.id, detail))
            });
            judged.collect()
        })
        .collect();
    let whole = of_files.is_empty();
    for found in of_files {
        // A file that is gone was missed before where its partner or the protocol asks for it.
        let told = |known: &Problem| known.kind == found.kind && known.id == found.id;
        if !problems.iter().any(told) {
            problems.push(found);
        }
    }
    let listed: BTreeSet<&str> = manifest.entries.iter().map(|entry| entry.id.as_str()).collect();
    for id in files.difference(&listed) {
        let detail = "it is not in the manifest; it was added by hand".into();
        problems.push(problem(ProblemKind::UnknownId, id, detail));
    }
    let same = if whole { ", all files as they were written" } else { "" };
    notes.push(format!("manifest: {}{same}", count(pairs, "pair")));
    for (entry, input) in
        manifest.entries.iter().filter_map(|entry| Some((entry, entry.input.rendering.as_deref()?)))
    {
        if let Some(protocol) = protocol.filter(|_| input == RENDERING) {
            let detail = rendering::of_our_own(protocol.input());
            problems.push(problem(ProblemKind::Brightness, &entry.id, detail));
        } else if let Some(reason) = protocol.and_then(|asked| contradiction(input, asked.input()))
        {
            let detail = format!("{input}, the manifest says; the protocol's inputs are {reason}");
            problems.push(problem(ProblemKind::Brightness, &entry.id, detail));
        }
    }
    let mut renderings: Vec<&str> =
        manifest.entries.iter().filter_map(|entry| entry.input.rendering.as_deref()).collect();
    renderings.sort_unstable();
    for of_one in renderings.chunk_by(|a, b| a == b) {
        let were = if of_one.len() == 1 { "was" } else { "were" };
        let inputs = count(of_one.len(), "input");
        notes.push(format!("{inputs} {were} rendered by {}", of_one[0]));
    }
    renderings.iter().filter(|rendering| **rendering == RENDERING).count()
}

/// What a protocol's inputs are, where a rendering by Lightroom that the manifest noted (the words are
/// those of `prepare`) is another one.
fn contradiction(found: &str, expected: InputRendering) -> Option<&'static str> {
    let settings = found.strip_prefix("Lightroom, ")?;
    match (settings, expected) {
        ("as shot, zeroed", InputRendering::AsShotZeroed) | ("as shot", InputRendering::AsShot) => {
            None
        }
        (_, InputRendering::AsShotZeroed) => Some("as shot, zeroed"),
        (_, InputRendering::AsShot) => Some("as shot"),
    }
}

/// In what a set prepared for one protocol cannot serve for another.
fn first_difference(found: Protocol, asked: Protocol) -> ProblemKind {
    if found.input() != asked.input() {
        ProblemKind::Brightness
    } else if found.size() != asked.size() {
        ProblemKind::UnequalSize
    } else {
        // Lists or expert.
        ProblemKind::UnknownId
    }
}

/// What is wrong with a file of the manifest.
fn changed(
    root: &Path,
    file: &PreparedFile,
    if_gone: ProblemKind,
) -> Option<(ProblemKind, String)> {
    match std::fs::read(root.join(&file.file)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some((if_gone, format!("{} of the manifest is gone", file.file)))
        }
        Err(error) => {
            Some((ProblemKind::Unreadable, format!("{} cannot be read: {error}", file.file)))
        }
        Ok(bytes) if sha256_of(&bytes) != file.sha256 => Some((
            ProblemKind::Unreadable,
            format!("{} was changed after it was prepared", file.file),
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_another_rendering_are_seen_after_preparing_too() {
        use InputRendering::{AsShot, AsShotZeroed};
        for (found, expected, wanted) in [
            ("Lightroom, as shot, zeroed", AsShotZeroed, None),
            ("Lightroom, as shot, zeroed", AsShot, Some("as shot")),
            ("Lightroom, as shot", AsShot, None),
            ("Lightroom, as shot", AsShotZeroed, Some("as shot, zeroed")),
            ("Lightroom, white balance set", AsShot, Some("as shot")),
            ("Lightroom, white balance set, zeroed", AsShotZeroed, Some("as shot, zeroed")),
            ("deeplpf-render-1", AsShotZeroed, None),
        ] {
            assert_eq!(contradiction(found, expected), wanted, "{found}");
        }
    }
}
