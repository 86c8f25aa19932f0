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

/// Problems of one kind that are printed; the JSON has all.
const SHOWN: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Layout: {}", self.layout)?;
        match &self.protocol {
            Some(protocol) => writeln!(f, "Judged by: {protocol}")?,
            None => writeln!(f, "Judged by: the pairs alone (no --protocol)")?,
        }
        writeln!(f, "{} inputs, {} targets, {} pairs", self.inputs, self.targets, self.pairs)?;
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        let mut lists: BTreeMap<(&str, usize), BTreeMap<&str, Vec<String>>> = BTreeMap::new();
        for Overlap { list, ids, protocol, part, shared } in &self.overlaps {
            let of_list = lists.entry((list, *ids)).or_default();
            of_list.entry(protocol).or_default().push(format!("{shared} {part}"));
        }
        for ((list, ids), protocols) in lists {
            writeln!(f, "\n{list} ({ids} ids) has in common with")?;
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
            for problem in problems.iter().take(SHOWN) {
                writeln!(f, "  {}: {}", problem.id, problem.detail)?;
            }
            if problems.len() > SHOWN {
                writeln!(f, "  and {} more", problems.len() - SHOWN)?;
            }
        }
        let harmless = self.problems.iter().filter(|problem| problem.harmless).count();
        let grave = self.problems.len() - harmless;
        let problems = if grave == 1 { "problem" } else { "problems" };
        match (grave, harmless) {
            (0, 0) => writeln!(f, "\nUsable: no problems"),
            (0, _) => writeln!(f, "\nUsable: {harmless} harmless"),
            (_, 0) => writeln!(f, "\nNot usable: {grave} {problems}"),
            _ => writeln!(f, "\nNot usable: {grave} {problems}, and {harmless} harmless"),
        }
    }
}
