//! What a prepared folder holds: `manifest.jsonl`.
//!
//! The first line says what the set is, each of the others describes a pair, in the order of the ids.
//! The same pictures give the same manifest, byte for byte, so that its hash names a data set.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::PrepareError;
use super::resize::FILTER;
use crate::protocol::Protocol;

/// The name of the manifest in a prepared folder.
pub const MANIFEST: &str = "manifest.jsonl";

/// The version of what preparing does to pictures; another one gives other files.
pub const VERSION: u32 = 1;

/// The first line: what the set is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`] of the program that made it.
    pub deeplpf_prepare: u32,
    /// The protocol and the expert.
    pub protocol: Protocol,
    /// The protocol in words.
    pub description: String,
    /// The filter by which pictures were made smaller.
    pub filter: String,
}

impl Header {
    pub(super) fn new(protocol: Protocol) -> Self {
        let (description, filter) = (protocol.to_string(), FILTER.to_owned());
        Self { deeplpf_prepare: VERSION, protocol, description, filter }
    }
}

/// A line: one pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// FiveK's id.
    pub id: String,
    /// The input.
    pub input: PreparedFile,
    /// The target.
    pub target: PreparedFile,
}

/// A picture of a prepared folder and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparedFile {
    /// The file, below the prepared folder, with forward slashes.
    pub file: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The file it was made from, below the source.
    pub source: String,
    /// Bytes of the source.
    pub source_bytes: u64,
    /// SHA-256 of the source.
    pub source_sha256: String,
    /// The colour space of the source.
    pub profile: String,
    /// Bits a sample of the source.
    pub bit_depth: u8,
    /// Who rendered camera raw data into the source's pixels, where that is known: Lightroom and its
    /// settings as the file tells them, or this program (`deeplpf-render`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<String>,
}

/// A whole manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What the set is.
    pub header: Header,
    /// Its pairs.
    pub entries: Vec<ManifestEntry>,
}

impl Manifest {
    /// Reads a manifest's bytes; `name` is what errors call it.
    ///
    /// Everything is checked that does not need the files: the version, hashes that are hashes, names
    /// that stay inside the folder, no id and no file twice.
    ///
    /// # Errors
    /// [`PrepareError::Manifest`] with the line.
    pub fn parse(bytes: &[u8], name: &Path) -> Result<Self, PrepareError> {
        let wrong = |line: usize, reason: &str| PrepareError::Manifest {
            path: name.to_path_buf(),
            line,
            reason: reason.to_owned(),
        };
        let mut header = None;
        let (mut entries, mut ids, mut files) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            if header.is_none() {
                let found: Header = serde_json::from_slice(line)
                    .map_err(|e| wrong(number, &format!("not the head of a manifest ({e})")))?;
                if found.deeplpf_prepare != VERSION {
                    let reason = format!(
                        "version {} of the manifest is not this program's, {VERSION}",
                        found.deeplpf_prepare
                    );
                    return Err(wrong(number, &reason));
                }
                header = Some(found);
                continue;
            }
            let entry: ManifestEntry = serde_json::from_slice(line)
                .map_err(|e| wrong(number, &format!("not an entry of a manifest ({e})")))?;
            entry.check().map_err(|reason| wrong(number, &reason))?;
            if !ids.insert(entry.id.clone()) {
                return Err(wrong(number, &format!("'{}' is there twice", entry.id)));
            }
            for file in [&entry.input.file, &entry.target.file] {
                if !files.insert(file.clone()) {
                    return Err(wrong(number, &format!("the file {file} is there twice")));
                }
            }
            entries.push(entry);
        }
        let header = header.ok_or_else(|| wrong(1, "the manifest is empty"))?;
        Ok(Self { header, entries })
    }

    /// The manifest as it is written.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(&self.header)?;
        for entry in &self.entries {
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, entry)?;
        }
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl ManifestEntry {
    /// What is wrong with an entry by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        for file in [&self.input, &self.target] {
            for hash in [&file.sha256, &file.source_sha256] {
                let digits = hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if hash.len() != 64 || !digits {
                    return Err(format!("'{hash}' is not a SHA-256 in lower-case hexadecimal"));
                }
            }
            let inside = Path::new(&file.file)
                .components()
                .all(|component| matches!(component, Component::Normal(_)));
            if file.file.is_empty() || !inside || file.file.contains('\\') {
                return Err(format!("'{}' is not a file below the folder", file.file));
            }
        }
        if (self.input.width, self.input.height) != (self.target.width, self.target.height) {
            return Err(format!("input and target of '{}' differ in size", self.id));
        }
        Ok(())
    }
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
