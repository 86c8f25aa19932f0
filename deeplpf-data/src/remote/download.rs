//! A set's files, fetched into a folder of this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::RemoteError;
use super::store::{Remote, shown};
use crate::layout::locate_in;
use crate::prepare::{MANIFEST, Manifest, sha256_of};
use crate::tree::Tree;
use crate::{DataError, atomic_file};

/// Files that are fetched at a time: enough to fill a line whose answers take 100 ms.
const AT_A_TIME: usize = 8;

/// What was fetched, a line each.
const JOURNAL: &str = ".deeplpf-download.jsonl";

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Fetched {
    /// Below the folder.
    file: String,
    /// The stamp of the original.
    stamp: String,
    sha256: String,
}

/// Fetches the pairs, lists and manifest of a URL into the cache and returns their folder. Files that
/// are there and have not changed at the URL are not fetched again. Where a manifest is beside them,
/// their hashes are checked against it.
///
/// `target` is the target folder where there are several. Another process that wants the same URL
/// waits.
///
/// # Errors
/// [`RemoteError`]; as [`crate::layout::locate`]; [`DataError::Write`], [`DataError::DiskFull`].
pub fn download(
    url: &str,
    target: Option<&str>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<PathBuf, DataError> {
    let remote = Remote::open(url)?;
    let root = Path::new(url);
    let location = locate_in(&remote, root, target)?;
    let mut files = Vec::new();
    for entries in [location.input_entries(&remote)?, location.target_entries(&remote)?] {
        for entry in entries {
            files.push(entry?.1);
        }
    }
    let is_text =
        |path: &Path| path.extension().is_some_and(|e| e == "txt" || e == "jsonl" || e == "json");
    for entry in remote.entries(&location.root, &is_text)? {
        files.push(entry?.1);
    }
    let hashes = hashes(&remote, &location.root)?;

    let folder = cache(url)?;
    let failed = |e| DataError::write(&folder, e);
    fs::create_dir_all(&folder).map_err(failed)?;
    let lock = File::create(folder.join(".lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let known = known(&folder);
    let journal = folder.join(JOURNAL);
    let open = File::options().create(true).append(true).open(&journal);
    let journal = Mutex::new(open.map_err(failed)?);

    let (next, done, stopped) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<(), DataError> {
        while !stopped.load(Ordering::Relaxed) {
            let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let below = below(path, root)?;
            let place = folder.join(&below);
            let stamp = remote.stamp(path)?;
            if known.get(&below).is_some_and(|known| {
                known.stamp == stamp
                    && fs::read(&place).is_ok_and(|b| sha256_of(&b) == known.sha256)
            }) {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
                continue;
            }
            let bytes = remote.read(path)?;
            let sha256 = sha256_of(&bytes);
            if hashes.get(path).is_some_and(|expected| *expected != sha256) {
                Err(RemoteError::Hash { url: shown(path) })?;
            }
            let failed = |e| DataError::write(&place, e);
            fs::create_dir_all(place.parent().unwrap_or(&folder)).map_err(failed)?;
            atomic_file::write(&place, &bytes).map_err(failed)?;
            // A line break in front as well: the line before may have been cut short.
            let line = Fetched { file: below, stamp, sha256 };
            let line = serde_json::to_string(&line).map_err(|e| failed(e.into()))?;
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.write_all(format!("\n{line}\n").as_bytes()).map_err(failed)?;
            drop(journal);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
        }
        Ok(())
    };
    let work = || work().inspect_err(|_| stopped.store(true, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME.min(files.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    remove_what_is_gone(&folder, &known, &files, root)?;
    Ok(folder)
}

/// The SHA-256 of each file of a prepared set, by its URL.
fn hashes(remote: &Remote, root: &Path) -> Result<BTreeMap<PathBuf, String>, DataError> {
    let path = root.join(MANIFEST);
    if !remote.has(&path) {
        return Ok(BTreeMap::new());
    }
    let manifest = Manifest::parse(&remote.read(&path)?, &path)?;
    let files = manifest.entries.into_iter().flat_map(|entry| [entry.input, entry.target]);
    Ok(files.map(|file| (root.join(file.file), file.sha256)).collect())
}

/// Files of earlier downloads that are no longer at the URL: they would still make pairs.
fn remove_what_is_gone(
    folder: &Path,
    known: &BTreeMap<String, Fetched>,
    files: &[PathBuf],
    root: &Path,
) -> Result<(), DataError> {
    let there: Result<Vec<String>, DataError> =
        files.iter().map(|path| below(path, root)).collect();
    let there = there?;
    for gone in known.keys().filter(|file| !there.contains(file)) {
        let path = folder.join(gone);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(DataError::write(&path, e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lines of the journal that can be understood.
fn known(folder: &Path) -> BTreeMap<String, Fetched> {
    let bytes = fs::read(folder.join(JOURNAL)).unwrap_or_default();
    bytes
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Fetched>(line).ok())
        .filter(|fetched| is_below(Path::new(&fetched.file)))
        .map(|fetched| (fetched.file.clone(), fetched))
        .collect()
}

fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// A file's name below the URL, which must not lead out of a folder.
fn below(path: &Path, root: &Path) -> Result<String, DataError> {
    let below = path.strip_prefix(root).ok().filter(|below| is_below(below));
    let name = below.and_then(Path::to_str).map(|name| name.replace('\\', "/"));
    name.ok_or_else(|| DataError::NotUnicode { path: path.to_path_buf() })
}

/// Where the files of a URL are kept.
fn cache(url: &str) -> Result<PathBuf, DataError> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DEEPLPF_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("deeplpf")))
        .or_else(|| Some(variable("HOME")?.join(".cache/deeplpf")))
        .or_else(|| Some(variable("LOCALAPPDATA")?.join("deeplpf")))
        .ok_or(RemoteError::NoCache)?;
    let name = Path::new(url).file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_alphanumeric() || "-_.".contains(*c)).collect();
    Ok(folder.join("remote").join(format!("{name}-{}", &sha256_of(url.as_bytes())[..16])))
}
