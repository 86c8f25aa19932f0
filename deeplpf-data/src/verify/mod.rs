//! What is wrong with a paired folder, before anything is trained or measured on it.
//!
//! [`verify`] reads every picture of a folder and says what would make numbers differ: files without a
//! partner, unequal sizes, targets that are shifted or show something else, profiles, bit depths, a
//! rendering that is not the protocol's, and lists that mix training with test.

mod lists;
mod manifest;
mod pair;
mod profile;
pub mod registration;
mod rendering;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::DataError;
use crate::find::{Entry, stem};
use crate::layout::{self, Layout, Location, fivek_id, id_of};
use crate::natural_order::compare;
use crate::pairs::PairPaths;
use crate::protocol::{Expert, Protocol};
use crate::raw::RENDERING;
use crate::tree::Disk;
use pair::{Facts, Side};
pub(crate) use profile::Space;
pub(crate) use rendering::{Settings, lightroom};
pub use report::{Overlap, Problem, ProblemKind, Report};
use report::{count, few};

/// How to judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The protocol the folder should follow. Without one, only pairs and lists are judged.
    pub protocol: Option<Protocol>,
    /// The target folder, where there are several.
    pub target: Option<&'a str>,
}

/// Looks at every pair of a folder of any [`Layout`], on all threads of the current rayon pool.
/// `progress` is told how many of how many pairs are done.
///
/// With a protocol and several target folders, the protocol's expert is taken.
///
/// # Errors
/// As [`layout::locate`]. What is wrong with files is in the report.
pub fn verify(
    root: impl AsRef<Path>,
    options: &Options<'_>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Report, DataError> {
    let location = locate(root.as_ref(), options)?;
    let expert = location.expert();
    let protocol =
        options.protocol.map(|protocol| expert.map_or(protocol, |e| protocol.with_target(e)));
    let mut problems = Vec::new();
    let inputs = by_id(location.input_entries(&Disk), "input", &mut problems);
    let targets = by_id(location.target_entries(&Disk), "target", &mut problems);
    let pairs = match_ids(&inputs, &targets, &mut problems);
    let files: BTreeSet<&str> = inputs.keys().chain(targets.keys()).map(String::as_str).collect();
    let listed = protocol.map(|protocol| compare_ids(&files, protocol, &mut problems));
    let paired: BTreeSet<&str> = pairs.iter().map(|pair| pair.id.as_str()).collect();
    let of_lists = lists::judge(&location.root, &files, &paired, protocol);
    problems.extend(of_lists.problems);

    let mut notes = Vec::new();
    let prepared_raw = manifest::judge(&location.root, &files, protocol, &mut problems, &mut notes);
    if location.layout == Layout::Archive && !cfg!(feature = "raw") {
        let detail = "the inputs are camera raw files (DNG), which this build does not decode; build \
                      with --features raw, or render them to PNG or TIFF in a folder `input`";
        problems.push(Problem::new(ProblemKind::Unreadable, "*", detail));
        notes.push("names were compared; no picture was looked at".to_owned());
    } else {
        let done = AtomicUsize::new(0);
        let facts: Vec<Facts> = pairs
            .par_iter()
            .map(|pair| {
                let facts = pair::judge(pair, protocol);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, pairs.len());
                facts
            })
            .collect();
        if protocol.is_none() {
            find_odd_depths(&pairs, &facts, &mut problems);
        }
        let raw = |facts: &&Facts| facts.input.as_ref().is_some_and(|i| i.bit_depth.is_none());
        let in_place = facts.iter().filter(raw).count();
        if in_place > 0 {
            notes.push(format!(
                "camera raw: {}, looked at as {RENDERING} renders them",
                count(in_place, "input")
            ));
        }
        // Of a rendering of our own the brightness need not be judged: it is not the protocol's.
        let of_others = protocol.filter(|_| prepared_raw + in_place == 0);
        judge_brightness(&facts, of_others, protocol, &mut problems, &mut notes);
        describe(&pairs, &facts, &mut notes);
        problems.extend(facts.into_iter().flat_map(|facts| facts.problems));
    }
    problems.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| compare(&a.id, &b.id)));
    let folder =
        |path: &Path| path.strip_prefix(&location.root).unwrap_or(path).display().to_string();
    let layout = match &location.inputs[..] {
        [input] => format!("{}/ and {}/", folder(input), folder(&location.target)),
        inputs => format!("{} folders of inputs and {}/", inputs.len(), folder(&location.target)),
    };
    Ok(Report {
        usable: problems.iter().all(|problem| problem.harmless),
        layout: format!("{}: {layout}", location.layout),
        protocol: protocol.map(|protocol| protocol.to_string()),
        inputs: inputs.len(),
        targets: targets.len(),
        pairs: pairs.len(),
        listed,
        problems,
        overlaps: of_lists.overlaps,
        notes,
    })
}

fn locate(root: &Path, options: &Options<'_>) -> Result<Location, DataError> {
    match (layout::locate(root, options.target), options.protocol) {
        (Err(DataError::AmbiguousFolder { role: "target", .. }), Some(protocol)) => {
            layout::locate(root, Some(protocol.target.folder()))
        }
        (found, _) => found,
    }
}

/// Files by id. What cannot be used is a problem; so is a folder that cannot be listed.
fn by_id(
    entries: Result<Vec<Entry>, DataError>,
    role: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Vec<PathBuf>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let unreadable = |error: DataError| {
        let name = match &error {
            // A file: the pair's id.
            DataError::DanglingLink { path } | DataError::NotRegularFile { path } => {
                stem(path).ok().map(|stem| id_of(&stem).to_owned())
            }
            // A folder, or a file without an id.
            DataError::NotUnicode { path } | DataError::Read { path, .. } => {
                path.file_name().map(|n| n.display().to_string())
            }
            _ => None,
        };
        Problem::new(ProblemKind::Unreadable, name.as_deref().unwrap_or(role), error.to_string())
    };
    match entries {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok((id, path)) => files.entry(id).or_default().push(path),
                    Err(error) => problems.push(unreadable(error)),
                }
            }
        }
        Err(error) => problems.push(unreadable(error)),
    }
    files
}

fn match_ids(
    inputs: &BTreeMap<String, Vec<PathBuf>>,
    targets: &BTreeMap<String, Vec<PathBuf>>,
    problems: &mut Vec<Problem>,
) -> Vec<PairPaths> {
    let mut pairs = Vec::new();
    for (files, role) in [(inputs, "inputs"), (targets, "targets")] {
        for (id, paths) in files.iter().filter(|(_, paths)| paths.len() > 1) {
            let names: Vec<String> = paths
                .iter()
                .filter_map(|path| Some(path.file_name()?.display().to_string()))
                .collect();
            let detail = format!("{} {role} have this id: {}", paths.len(), names.join(", "));
            problems.push(Problem::new(ProblemKind::DuplicateId, id, detail));
        }
    }
    for (id, input) in inputs {
        match targets.get(id) {
            None => {
                let detail = "the input has no target";
                problems.push(Problem::new(ProblemKind::MissingTarget, id, detail));
            }
            Some(target) => {
                if let ([input], [target]) = (&input[..], &target[..]) {
                    let (input, target) = (input.clone(), target.clone());
                    pairs.push(PairPaths { id: id.clone(), input, target });
                }
            }
        }
    }
    for id in targets.keys().filter(|id| !inputs.contains_key(*id)) {
        let detail = "the target has no input";
        problems.push(Problem::new(ProblemKind::MissingInput, id, detail));
    }
    pairs.sort_by(|a, b| compare(&a.id, &b.id));
    pairs
}

/// The folder's ids against the protocol's: how many are there, of how many.
fn compare_ids(
    files: &BTreeSet<&str>,
    protocol: Protocol,
    problems: &mut Vec<Problem>,
) -> (usize, usize) {
    let split = protocol.split();
    let parts = [("training", &split.train), ("validation", &split.valid), ("test", &split.test)];
    let mut listed = BTreeSet::new();
    for (part, ids) in parts {
        for id in ids {
            listed.insert(id.as_str());
            if !files.contains(id.as_str()) {
                let detail = format!("of the {part} list of {}; there is no file", protocol.name);
                problems.push(Problem::new(ProblemKind::MissingId, id, detail));
            }
        }
    }
    for id in files.difference(&listed) {
        let mut problem =
            Problem::new(ProblemKind::UnknownId, id, format!("is in no list of {}", protocol.name));
        // The lists do not lead to it. A name that is not FiveK's at all may be a picture misnamed.
        problem.harmless = fivek_id(id).is_some();
        problems.push(problem);
    }
    (listed.intersection(files).count(), listed.len())
}

/// One side of a pair: its input or its target.
type ChooseSide = fn(&Facts) -> Option<&Side>;

/// Files whose bit depth is not that of most files on their side.
fn find_odd_depths(pairs: &[PairPaths], facts: &[Facts], problems: &mut Vec<Problem>) {
    let sides: [(&str, ChooseSide); 2] =
        [("input", |facts| facts.input.as_ref()), ("target", |facts| facts.target.as_ref())];
    for (name, side) in sides {
        let depths = || facts.iter().filter_map(side).filter_map(|side| side.bit_depth);
        let (eight, sixteen) =
            (depths().filter(|&d| d == 8).count(), depths().filter(|&d| d == 16).count());
        if eight == 0 || sixteen == 0 {
            continue;
        }
        let usual = if eight >= sixteen { 8 } else { 16 };
        for (pair, facts) in pairs.iter().zip(facts) {
            let depth = side(facts).and_then(|side| side.bit_depth);
            let Some(depth) = depth.filter(|depth| *depth != usual) else { continue };
            let detail = format!("the {name} has {depth} bits, most {name}s have {usual}");
            problems.push(Problem::new(ProblemKind::BitDepth, &pair.id, detail));
        }
    }
}

/// `judged` is the protocol where its rendering is to be compared, `protocol` the protocol in any case.
fn judge_brightness(
    facts: &[Facts],
    judged: Option<Protocol>,
    protocol: Option<Protocol>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) {
    let gaps: Vec<f64> = facts.iter().filter_map(|facts| facts.gap).collect();
    if !gaps.is_empty() {
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        notes.push(format!("targets are {mean:+.2} EV brighter than inputs in the mean"));
        match judged.filter(|protocol| protocol.target == Expert::C) {
            Some(protocol) => {
                if let Some(detail) = rendering::judge(mean, gaps.len(), protocol.input()) {
                    problems.push(Problem::new(ProblemKind::Brightness, "*", detail));
                }
            }
            None if protocol.is_some_and(|protocol| protocol.target != Expert::C) => notes.push(
                "brightness was not judged: only Expert C's targets have been measured".to_owned(),
            ),
            None => {}
        }
    }
    let settings: Vec<_> = facts.iter().filter_map(|facts| facts.settings).collect();
    if !settings.is_empty() {
        let zeroed = settings.iter().filter(|s| s.as_shot && s.zeroed).count();
        notes.push(format!(
            "{} with Lightroom's settings: {zeroed} as shot and zeroed, {} otherwise",
            count(settings.len(), "input"),
            settings.len() - zeroed
        ));
    }
}

/// What there is, in a few lines.
fn describe(pairs: &[PairPaths], facts: &[Facts], notes: &mut Vec<String>) {
    let sides = || facts.iter().flat_map(|facts| [&facts.input, &facts.target]).flatten();
    let tally = |name: &str, of: &dyn Fn(&Side) -> String| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for side in sides() {
            *counts.entry(of(side)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let more = counts.len().saturating_sub(6);
        let shown: Vec<String> =
            counts.iter().take(6).map(|(what, count)| format!("{what} ({count})")).collect();
        let tail = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{name}: {}{tail}", shown.join(", "))
    };
    if sides().next().is_some() {
        let depth = |depth: u8| format!("{depth} bits");
        notes.push(tally("size", &|side| format!("{}x{}", side.width, side.height)));
        notes.push(tally("depth", &|side| side.bit_depth.map_or("camera raw".into(), depth)));
        notes.push(tally("colour", &|side| match side.bit_depth {
            Some(_) => side.space.to_string(),
            None => "the camera's".into(),
        }));
        notes.push(tally("format", &|side| side.format.clone()));
        let square = |facts: &Facts| facts.input.as_ref().is_some_and(|s| s.width == s.height);
        let square: Vec<&str> = pairs
            .iter()
            .zip(facts)
            .filter(|(_, facts)| square(facts))
            .map(|(pair, _)| pair.id.as_str())
            .collect();
        if !square.is_empty() {
            let are = if square.len() == 1 { "is" } else { "are" };
            notes.push(format!(
                "{} {are} square, which cameras' pictures are not: squeezed or cropped ({})",
                count(square.len(), "input"),
                few(&square)
            ));
        }
    }
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let compared = facts.iter().filter(|facts| facts.shift.is_some()).count();
    if compared > 0 {
        notes.push(format!(
            "registration: {} compared, largest shift {:.2} pixels, of a quarter {:.2}",
            count(compared, "pair"),
            largest(&mut facts.iter().filter_map(|facts| facts.shift)),
            largest(&mut facts.iter().filter_map(|facts| facts.shift_of_a_quarter)),
        ));
    }
    let whole = facts.iter().filter(|facts| facts.input.is_some() && facts.target.is_some());
    let unknown = whole.filter(|facts| facts.shift.is_none() && facts.problems.is_empty()).count();
    if unknown > 0 {
        let pairs = count(unknown, "pair");
        notes.push(format!("{pairs} too small or too plain to compare the position"));
    }
}
