//! A prepared folder against its manifest.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::report::{Problem, ProblemKind};
use crate::DataError;
use crate::prepare::{JOURNAL, MANIFEST, Manifest, PreparedFile, sha256_of};
use crate::protocol::Protocol;

/// Judges the manifest of a folder, where there is one. `files` are the ids of all inputs and targets.
pub(super) fn judge(
    root: &Path,
    files: &BTreeSet<&str>,
    protocol: Option<Protocol>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) {
    let problem = |id: &str, detail: String| Problem::new(ProblemKind::Manifest, id, detail);
    let path = root.join(MANIFEST);
    if path.try_exists().is_ok_and(|exists| !exists) {
        if root.join(JOURNAL).exists() {
            let detail = "`data prepare` has not come to its end in this folder; run it again";
            problems.push(problem("*", detail.into()));
        }
        return;
    }
    let read = std::fs::read(&path).map_err(|e| DataError::read(&path, e));
    let manifest = match read.and_then(|bytes| Ok(Manifest::parse(&bytes, &path)?)) {
        Ok(manifest) => manifest,
        Err(error) => return problems.push(problem(MANIFEST, error.to_string())),
    };
    let found = manifest.header.protocol;
    if let Some(protocol) = protocol.filter(|protocol| *protocol != found) {
        problems.push(problem("*", format!("it was prepared as {found}, not as {protocol}")));
    }
    let pairs = manifest.entries.len();
    let of_files: Vec<Problem> = manifest
        .entries
        .par_iter()
        .flat_map_iter(|entry| {
            let sides = [&entry.input, &entry.target].into_iter();
            sides.filter_map(|file| Some(problem(&entry.id, changed(root, file)?)))
        })
        .collect();
    let whole = of_files.is_empty();
    problems.extend(of_files);
    let listed: BTreeSet<&str> = manifest.entries.iter().map(|entry| entry.id.as_str()).collect();
    for id in files.difference(&listed) {
        problems.push(problem(id, "it is not in the manifest; it was added by hand".into()));
    }
    let same = if whole { ", all files as they were written" } else { "" };
    notes.push(format!("manifest: {pairs} pairs{same}"));
    let mut renderings: Vec<&str> =
        manifest.entries.iter().filter_map(|entry| entry.input.rendering.as_deref()).collect();
    renderings.sort_unstable();
    for of_one in renderings.chunk_by(|a, b| a == b) {
        notes.push(format!("{} inputs were rendered by {}", of_one.len(), of_one[0]));
    }
}

/// What is wrong with a file of the manifest.
fn changed(root: &Path, file: &PreparedFile) -> Option<String> {
    match std::fs::read(root.join(&file.file)) {
        Err(error) => Some(format!("{} cannot be read: {error}", file.file)),
        Ok(bytes) if sha256_of(&bytes) != file.sha256 => {
            Some(format!("{} was changed after it was prepared", file.file))
        }
        Ok(_) => None,
    }
}
