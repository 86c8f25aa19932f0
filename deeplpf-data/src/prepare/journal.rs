//! What a preparation has finished, so that it goes on where it was stopped.
//!
//! A line is added after both files of a pair are on the disk. A line that was cut short, or is damaged
//! in any other way, is passed over: its pair is prepared again. Even a whole line is believed only
//! where the sources' sizes and times are as they were and the files have their hashes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::{Header, ManifestEntry};
use crate::{DataError, atomic_file};

/// The name of the journal in a prepared folder.
pub(crate) const JOURNAL: &str = ".deeplpf-prepare.jsonl";

/// A finished pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {
    /// Sizes and times of the sources of input and target.
    pub(super) stamps: [String; 2],
    pub(super) entry: ManifestEntry,
}

/// The journal's header and what it says of each id.
pub(super) struct Known {
    pub(super) header: Option<Header>,
    pub(super) finished: BTreeMap<String, Finished>,
}

/// Reads a journal; one that is not there is empty.
pub(super) fn read(folder: &Path) -> Result<Known, DataError> {
    let path = folder.join(JOURNAL);
    let bytes = match std::fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        found => found.map_err(|e| DataError::read(&path, e))?,
    };
    Ok(parse(&bytes))
}

/// Whatever can be understood.
pub(super) fn parse(bytes: &[u8]) -> Known {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let header = lines.next().and_then(|line| serde_json::from_slice(line).ok());
    let finished = lines
        .filter_map(|line| serde_json::from_slice::<Finished>(line).ok())
        .filter(|finished| finished.entry.check().is_ok())
        .map(|finished| (finished.entry.id.clone(), finished))
        .collect();
    Known { header, finished }
}

/// A journal that is written to.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Writes what is known and opens the journal for more. A line that was cut short is gone then.
    pub(super) fn open(folder: &Path, header: &Header, known: &Known) -> Result<Self, DataError> {
        let path = folder.join(JOURNAL);
        let failed = |e| DataError::write(&path, e);
        let mut lines = line(header).map_err(failed)?;
        for finished in known.finished.values() {
            lines.extend(line(finished).map_err(failed)?);
        }
        atomic_file::write(&path, &lines).map_err(failed)?;
        let file = File::options().append(true).open(&path).map_err(failed)?;
        Ok(Self { file, path })
    }

    /// Adds a line, in one piece.
    pub(super) fn add(&mut self, finished: &Finished) -> Result<(), DataError> {
        line(finished)
            .and_then(|line| self.file.write_all(&line))
            .map_err(|e| DataError::write(&self.path, e))
    }
}

fn line(value: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
