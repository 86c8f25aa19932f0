//! What a verification found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::DataError;
use crate::atomic_file::write_atomically;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// An input without a target.
    MissingTarget,
    /// A target without an input.
    MissingInput,
    /// Input and target differ in size, or the size is not what the protocol's rule gives.
    UnequalSize,
    /// The target is shifted against the input, or is another picture.
    Misregistered,
    /// Input and target are the same picture.
    Identical,
    /// The colour profile is not the protocol's, or differs between input and target.
    Profile,
    /// The bit depth is not the protocol's, or not that of most files beside it.
    BitDepth,
    /// An id without a pair in a list, an id that the protocol does not have.
    UnknownId,
    /// An id of the protocol of which there is no file.
    MissingId,
    /// An id of two files in one folder, of two lines of a list, or of two lists.
    DuplicateId,
    /// A file that cannot be read or decoded, or whose bytes are not those in the manifest.
    Unreadable,
    /// Inputs of another rendering than the protocol's, or black ones.
    Brightness,
}

impl ProblemKind {
    /// As in the JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingTarget => "missing-target",
            Self::MissingInput => "missing-input",
            Self::UnequalSize => "unequal-size",
            Self::Misregistered => "misregistered",
            Self::Identical => "identical",
            Self::Profile => "profile",
            Self::BitDepth => "bit-depth",
            Self::UnknownId => "unknown-id",
            Self::MissingId => "missing-id",
            Self::DuplicateId => "duplicate-id",
            Self::Unreadable => "unreadable",
            Self::Brightness => "brightness",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// The id of the pair; the name of the file or folder where it is about one; `*` where it is about
    /// all pairs.
    pub id: String,
    /// One sentence.
    pub detail: String,
    /// Whether the set can be used in spite of it.
    #[serde(skip)]
    pub harmless: bool,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, id: &str, detail: impl Into<String>) -> Self {
        Self { kind, id: id.to_owned(), detail: detail.into(), harmless: false }
    }
}

/// How many ids a list has in common with a part of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// File name of the list, or `all pairs` where the folder has no lists.
    pub list: String,
    /// Different ids in it.
    pub ids: usize,
    /// The protocol.
    pub protocol: &'static str,
    /// `training`, `validation` or `test`.
    pub part: &'static str,
    /// Ids in both.
    pub shared: usize,
}

/// What a verification found. `Display` tells all of it; as JSON it is
/// `{"usable": ..., "problems": [{"kind": ..., "id": ..., "detail": ...}]}` and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether the set can be used: no problem but harmless ones (pictures of FiveK that a protocol's
    /// lists do not name).
    pub usable: bool,
    /// The layout that was recognised, in words.
    #[serde(skip)]
    pub layout: String,
    /// The protocol it was judged by, in words.
    #[serde(skip)]
    pub protocol: Option<String>,
    /// Inputs, by different ids.
    #[serde(skip)]
    pub inputs: usize,
    /// Targets, by different ids.
    #[serde(skip)]
    pub targets: usize,
    /// Complete pairs.
    #[serde(skip)]
    pub pairs: usize,
    /// Of the ids that the protocol lists, how many there are files of, and how many it lists.
    #[serde(skip)]
    pub listed: Option<(usize, usize)>,
    /// Everything wrong: by kind, then in the natural order of the ids.
    pub problems: Vec<Problem>,
    /// What lists have in common with known splits.
    #[serde(skip)]
    pub overlaps: Vec<Overlap>,
    /// Facts that are no problems.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Report {
    /// Writes `{"usable": ..., "problems": [{"kind": ..., "id": ..., "detail": ...}]}`.
    ///
    /// # Errors
    /// [`DataError::Write`] or [`DataError::DiskFull`]; nothing is left half-written.
    pub fn write_json(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let path = path.as_ref();
        write_atomically(path, |writer| {
            serde_json::to_writer_pretty(&mut *writer, self)
                .map_err(|e| DataError::write(path, e.into()))?;
            writer.write_all(b"\n").map_err(|e| DataError::write(path, e))
        })
    }
}

/// Lines of one kind of problem that are printed; the JSON has all problems.
const SHOWN: usize = 8;

/// Ids that are printed of those that one sentence is true of.
const IDS_SHOWN: usize = 4;

/// `1 pair`, `2 pairs`: a count with its noun.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The first ids of many.
pub(super) fn few(ids: &[&str]) -> String {
    let more = ids.len().saturating_sub(IDS_SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", ids[..ids.len() - more].join(", "))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Layout: {}", self.layout)?;
        match &self.protocol {
            Some(protocol) => writeln!(f, "Judged by: {protocol}")?,
            None => writeln!(f, "Judged by: the pairs alone (no --protocol)")?,
        }
        let (inputs, targets) = (count(self.inputs, "input"), count(self.targets, "target"));
        writeln!(f, "{inputs}, {targets}, {}", count(self.pairs, "pair"))?;
        if let Some((there, all)) = self.listed {
            writeln!(f, "{there} of the {all} ids of the protocol are there")?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        let mut lists: BTreeMap<(&str, usize), BTreeMap<&str, Vec<String>>> = BTreeMap::new();
        for Overlap { list, ids, protocol, part, shared } in &self.overlaps {
            let of_list = lists.entry((list, *ids)).or_default();
            of_list.entry(protocol).or_default().push(format!("{shared} {part}"));
        }
        for ((list, ids), protocols) in lists {
            writeln!(f, "\n{list} ({}) has in common with", count(ids, "id"))?;
            for (protocol, parts) in protocols {
                writeln!(f, "  {protocol:<13} {}", parts.join(", "))?;
            }
        }
        let mut kinds: BTreeMap<ProblemKind, Vec<&Problem>> = BTreeMap::new();
        for problem in &self.problems {
            kinds.entry(problem.kind).or_default().push(problem);
        }
        for (kind, problems) in &kinds {
            writeln!(f, "\n{}: {}", kind.as_str(), problems.len())?;
            let groups = same_detail(problems);
            for (detail, ids) in groups.iter().take(SHOWN) {
                writeln!(f, "  {}: {detail}", few(ids))?;
            }
            let more: usize = groups.iter().skip(SHOWN).map(|(_, ids)| ids.len()).sum();
            if more > 0 {
                writeln!(f, "  and {more} more")?;
            }
        }
        let (harmless, grave): (Vec<&Problem>, Vec<&Problem>) =
            self.problems.iter().partition(|problem| problem.harmless);
        let missing = grave.iter().filter(|p| p.kind == ProblemKind::MissingId).count();
        let mut counts = Vec::new();
        if grave.len() > missing {
            counts.push(count(grave.len() - missing, "problem"));
        }
        if missing > 0 {
            counts.push(count(missing, "missing id"));
        }
        if !harmless.is_empty() {
            counts.push(format!("{} harmless", harmless.len()));
        }
        match (grave.is_empty(), counts.is_empty()) {
            (true, true) => writeln!(f, "\nUsable: no problems"),
            (true, false) => writeln!(f, "\nUsable: {}", counts.join(", ")),
            (false, _) => writeln!(f, "\nNot usable: {}", counts.join(", ")),
        }
    }
}

/// The ids of each sentence, in the order in which the sentences come first.
fn same_detail<'a>(problems: &[&'a Problem]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in problems {
        let place = *places.entry(&problem.detail).or_insert_with(|| {
            groups.push((&problem.detail, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(&problem.id);
    }
    groups
}
