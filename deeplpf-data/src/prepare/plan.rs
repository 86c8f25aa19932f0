//! What there is to prepare.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::PrepareError;
use super::picture::Names;
use crate::DataError;
use crate::address;
use crate::find::{Entry, has_picture_extension};
use crate::layout::{self, Layout, Location, id_of, is_raw};
use crate::natural_order::compare;
use crate::pairs::{PairPaths, PairProblem, PairedFolder};
use crate::protocol::{Expert, Protocol};
use crate::tree::{Disk, Tree};

/// From what a set is to be prepared.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The protocol and whose version is the target.
    pub protocol: Protocol,
    /// A folder of any [`Layout`], or the URL of one.
    pub from: &'a str,
    /// The folder of inputs, where they lie elsewhere than the layout says: pictures exported from
    /// Lightroom beside the archive's targets, for example. On this machine's disk.
    pub inputs: Option<&'a Path>,
}

/// What a preparation would do. `Display` is a few lines for a user.
pub struct Plan {
    /// The protocol and whose version is the target.
    pub protocol: Protocol,
    /// The layout that was recognised.
    pub layout: Layout,
    /// Pairs that the protocol lists and that are there, in natural order of their ids.
    pub pairs: Vec<PairPaths>,
    /// Ids of the protocol without a complete pair, in natural order.
    pub missing: Vec<String>,
    /// Ids that are there and that the protocol does not list, in natural order.
    pub surplus: Vec<String>,
    /// Files that cannot be used, a sentence each.
    pub problems: Vec<String>,
    /// Where inputs and targets are read from.
    pub(super) trees: [Arc<dyn Tree>; 2],
    /// The top of each.
    roots: [PathBuf; 2],
    /// The source as the user named it.
    source: String,
}

impl Plan {
    /// Looks at what there is; nothing is decoded and nothing written.
    ///
    /// # Errors
    /// As [`layout::locate`]; what is wrong with a URL; [`PrepareError::NothingToPrepare`].
    pub fn new(request: &Request<'_>) -> Result<Self, DataError> {
        let Request { protocol, from, inputs } = *request;
        let (tree, root) = address::open(from)?;
        let location = match inputs {
            None => locate(&*tree, &root, protocol.target)?,
            Some(_) => layout::locate_targets(&*tree, &root, protocol.target)?,
        };
        let mut problems = Vec::new();
        let mut sound = |entries: Vec<Entry>| -> Vec<(String, PathBuf)> {
            let sound = entries
                .into_iter()
                .filter_map(|entry| entry.map_err(|e| problems.push(e.to_string())).ok());
            sound.collect()
        };
        let (tree_of_inputs, found): (Arc<dyn Tree>, _) = match inputs {
            None => (Arc::clone(&tree), sound(location.input_entries(&*tree)?)),
            Some(folder) => {
                let entries =
                    Disk.entries(folder, &|path| has_picture_extension(path) || is_raw(path))?;
                let with_id = |(stem, path): (String, _)| (id_of(&stem).to_owned(), path);
                (Arc::new(Disk), sound(entries).into_iter().map(with_id).collect())
            }
        };
        let targets = sound(location.target_entries(&*tree)?);
        let listed: BTreeSet<String> = {
            let split = protocol.split();
            split.train.into_iter().chain(split.valid).chain(split.test).collect()
        };
        let in_order = |mut ids: Vec<String>| {
            ids.sort_by(|a, b| compare(a, b));
            ids
        };
        let surplus: BTreeSet<&String> = found.iter().chain(&targets).map(|(id, _)| id).collect();
        let surplus =
            in_order(surplus.into_iter().filter(|id| !listed.contains(*id)).cloned().collect());
        let of_protocol = |files: Vec<(String, PathBuf)>| -> Vec<(String, PathBuf)> {
            files.into_iter().filter(|(id, _)| listed.contains(id)).collect()
        };
        let nothing = |reason: Option<String>| PrepareError::NothingToPrepare {
            source_name: from.to_owned(),
            protocol: protocol.name.as_str(),
            reason,
        };
        let folder = PairedFolder::match_ids(&root, of_protocol(found), of_protocol(targets));
        let folder = match folder {
            Err(DataError::NoPairs { .. }) => Err(nothing(problems.first().cloned()))?,
            folder => folder?,
        };
        problems.extend(folder.problems.iter().map(PairProblem::to_string));
        let there: BTreeSet<&str> = folder.ids().collect();
        let missing =
            in_order(listed.iter().filter(|id| !there.contains(id.as_str())).cloned().collect());
        let root_of_inputs = match inputs {
            // The folder's name is part of the sources' names.
            Some(folder) => folder.parent().unwrap_or(folder).to_path_buf(),
            None => root.clone(),
        };
        Ok(Self {
            protocol,
            layout: location.layout,
            pairs: folder.pairs,
            missing,
            surplus,
            problems,
            trees: [tree_of_inputs, tree],
            roots: [root_of_inputs, root],
            source: from.to_owned(),
        })
    }

    /// What the files of a pair are called.
    pub(super) fn names(&self, pair: &PairPaths) -> Names {
        let below = |path: &Path, root: &Path| {
            let below = path.strip_prefix(root).unwrap_or(path);
            let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
            parts.join("/")
        };
        let [inputs, targets] = &self.roots;
        let file = |folder: &str| format!("{folder}/{}.png", pair.id);
        Names {
            sources: [below(&pair.input, inputs), below(&pair.target, targets)],
            files: [file("input"), file(self.protocol.target.folder())],
        }
    }
}

/// Inputs and the expert's targets. A target folder that says of no expert whose it is will do.
fn locate(tree: &dyn Tree, root: &Path, expert: Expert) -> Result<Location, DataError> {
    let named = layout::locate_in(tree, root, Some(expert.folder()));
    let Err(DataError::NoTargetFolder { .. }) = &named else { return named };
    match layout::locate_in(tree, root, None) {
        Ok(location) if location.expert().is_none() => Ok(location),
        _ => named,
    }
}

/// Ids or problems that are printed.
const SHOWN: usize = 8;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "From: {} ({})", self.source, self.layout)?;
        writeln!(f, "To follow: {}", self.protocol)?;
        writeln!(f, "{} pairs to prepare", self.pairs.len())?;
        let list = |f: &mut fmt::Formatter<'_>, ids: &[String], what: &str| {
            if ids.is_empty() {
                return Ok(());
            }
            let more = ids.len().saturating_sub(SHOWN);
            let tail = if more > 0 { format!(", and {more} more") } else { String::new() };
            writeln!(f, "{} {what}: {}{tail}", ids.len(), ids[..ids.len() - more].join(", "))
        };
        list(f, &self.missing, "ids of the protocol are missing")?;
        list(f, &self.surplus, "ids are not the protocol's and are left out")?;
        for problem in self.problems.iter().take(SHOWN) {
            writeln!(f, "- {problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "- and {more} more"),
        }
    }
}
