//! The folder's own lists, and what they have in common with known splits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::report::{Overlap, Problem, ProblemKind};
use crate::layout::{fivek_id, id_of};
use crate::protocol::{Protocol, ProtocolName};
use crate::split::{Origin, read_lines};

/// What a list is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Training,
    /// `train_label.txt`: the second half of the training pictures, which protocols with a validation
    /// list use for that.
    Label,
    Validation,
    Test,
}

/// Names under which lists are found beside the pictures.
const NAMES: [(&str, Part); 10] = [
    ("train.txt", Part::Training),
    ("train_input.txt", Part::Training),
    ("images_train.txt", Part::Training),
    ("train_label.txt", Part::Label),
    ("valid.txt", Part::Validation),
    ("val.txt", Part::Validation),
    ("images_valid.txt", Part::Validation),
    ("test.txt", Part::Test),
    ("images_test.txt", Part::Test),
    ("images_inference.txt", Part::Test),
];

/// One list.
struct List {
    name: &'static str,
    part: Part,
    lines: Vec<(String, Origin)>,
}

impl List {
    fn ids(&self) -> BTreeSet<&str> {
        self.lines.iter().map(|(id, _)| id_of(id)).collect()
    }
}

/// What there is to say about the lists.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) overlaps: Vec<Overlap>,
}

/// Judges the lists of a folder. `files` are the ids of all inputs and targets, `pairs` those of which
/// there are both.
pub(super) fn judge(
    root: &Path,
    files: &BTreeSet<&str>,
    pairs: &BTreeSet<&str>,
    protocol: Option<Protocol>,
) -> Findings {
    let mut findings = Findings::default();
    let mut lists = Vec::new();
    for (name, part) in NAMES {
        let path = root.join(name);
        // A name that cannot even be looked at is read too, for the error.
        if path.try_exists().is_ok_and(|exists| !exists) {
            continue;
        }
        match read_lines(&path) {
            Ok(lines) => lists.push(List { name, part, lines }),
            Err(e) => {
                findings.problems.push(Problem::new(ProblemKind::Unreadable, name, e.to_string()));
            }
        }
    }
    find_duplicates(&lists, &mut findings.problems);
    find_unknown(&lists, files, protocol, &mut findings.problems);
    if let Some(protocol) = protocol {
        compare(&lists, files, protocol, &mut findings.problems);
    }
    if lists.is_empty() {
        overlaps("all pairs", pairs, &mut findings.overlaps);
    }
    for list in &lists {
        overlaps(list.name, &list.ids(), &mut findings.overlaps);
    }
    findings
}

fn line(origin: &Origin) -> String {
    match origin {
        Origin::Line { path, line } => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            format!("line {line} of {}", name.display())
        }
        Origin::List(name) => format!("the {name} list"),
    }
}

/// Twice in a list, or in two lists for different purposes. (Distributions have lists that are the sum
/// of others, for the same purpose.)
fn find_duplicates(lists: &[List], problems: &mut Vec<Problem>) {
    let mut purposes: BTreeMap<&str, (Part, &Origin)> = BTreeMap::new();
    for list in lists {
        let mut seen: BTreeMap<&str, &Origin> = BTreeMap::new();
        for (id, origin) in &list.lines {
            let id = id_of(id);
            if let Some(first) = seen.insert(id, origin) {
                let detail = format!("{} repeats {}", line(origin), line(first));
                problems.push(Problem::new(ProblemKind::DuplicateId, id, detail));
                continue;
            }
            let (part, first) = *purposes.entry(id).or_insert((list.part, origin));
            let same = part == list.part
                || matches!((part, list.part), (Part::Training, Part::Label))
                || list.name == "images_inference.txt";
            if !same {
                let detail = format!("is in two lists: {} and {}", line(first), line(origin));
                problems.push(Problem::new(ProblemKind::DuplicateId, id, detail));
            }
        }
    }
}

fn find_unknown(
    lists: &[List],
    files: &BTreeSet<&str>,
    protocol: Option<Protocol>,
    problems: &mut Vec<Problem>,
) {
    // What the protocol lists and is not there is told once, as missing.
    let split = protocol.map(Protocol::split).unwrap_or_default();
    let known: BTreeSet<&str> = [&split.train, &split.valid, &split.test]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let mut told = BTreeSet::new();
    for (id, origin) in lists.iter().flat_map(|list| &list.lines) {
        let id = id_of(id);
        if !files.contains(id) && !known.contains(id) && told.insert(id) {
            let detail = format!("{} names it, and there are no pictures of it", line(origin));
            problems.push(Problem::new(ProblemKind::UnknownId, id, detail));
        }
    }
}

/// Lists that are there and differ from the protocol's.
///
/// Ids without files are told elsewhere, once: as missing where the protocol lists them, else as
/// unknown.
fn compare(
    lists: &[List],
    files: &BTreeSet<&str>,
    protocol: Protocol,
    problems: &mut Vec<Problem>,
) {
    let split = protocol.split();
    let has_validation = !split.valid.is_empty();
    // Without a validation list of the protocol's, one of one's own is taken from the training ids.
    let part_of = |part| match part {
        Part::Label | Part::Validation if has_validation => "validation",
        Part::Training | Part::Label | Part::Validation => "training",
        Part::Test => "test",
    };
    for (part, theirs) in
        [("training", &split.train), ("validation", &split.valid), ("test", &split.test)]
    {
        let own: Vec<&List> = lists
            .iter()
            .filter(|list| part_of(list.part) == part && list.name != "images_inference.txt")
            .collect();
        if own.is_empty() {
            continue;
        }
        let theirs: BTreeSet<&str> = theirs.iter().map(String::as_str).collect();
        let mut listed = BTreeSet::new();
        for (id, origin) in own.iter().flat_map(|list| &list.lines) {
            let id = id_of(id);
            if listed.insert(id) && !theirs.contains(id) && files.contains(id) {
                let detail = format!(
                    "{} names it, and it is not in the {part} list of {}",
                    line(origin),
                    protocol.name
                );
                problems.push(Problem::new(ProblemKind::UnknownId, id, detail));
            }
        }
        let names: Vec<&str> = own.iter().map(|list| list.name).collect();
        for id in theirs.difference(&listed).filter(|id| files.contains(*id)) {
            let detail = format!(
                "{} does not name it, and it is in the {part} list of {}",
                names.join(" and "),
                protocol.name
            );
            problems.push(Problem::new(ProblemKind::MissingId, id, detail));
        }
    }
}

fn overlaps(list: &str, ids: &BTreeSet<&str>, into: &mut Vec<Overlap>) {
    if !ids.iter().any(|id| fivek_id(id).is_some()) {
        return;
    }
    for name in ProtocolName::ALL {
        let split = Protocol::new(name).split();
        for (part, theirs) in
            [("training", &split.train), ("validation", &split.valid), ("test", &split.test)]
        {
            let shared = theirs.iter().filter(|id| ids.contains(id.as_str())).count();
            if shared > 0 {
                let list = list.to_owned();
                let protocol = name.as_str();
                into.push(Overlap { list, ids: ids.len(), protocol, part, shared });
            }
        }
    }
}
