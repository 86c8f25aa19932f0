//! Preparing, in parallel, again and again until everything is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::PrepareError;
use super::journal::{self, Finished, JOURNAL, Journal, Known};
use super::manifest::{Header, MANIFEST, Manifest, ManifestEntry, sha256_of};
use super::picture;
use super::plan::Plan;
use crate::pairs::PairPaths;
use crate::{DataError, atomic_file};

/// The file that is held locked while a process works in the folder.
const LOCK: &str = ".deeplpf-prepare.lock";

/// The lists that are written, in the order of a split's parts.
const LISTS: [&str; 3] = ["train.txt", "valid.txt", "test.txt"];

/// How far a preparation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pairs that are done, or could not be.
    pub done: usize,
    /// All pairs of the plan.
    pub pairs: usize,
}

/// What a preparation came to.
#[derive(Debug)]
pub struct Summary {
    /// Pairs that were made now.
    pub prepared: usize,
    /// Pairs that were there already.
    pub kept: usize,
    /// Pairs that could not be made, and why; in the order of the ids.
    pub failures: Vec<(String, DataError)>,
}

/// What the threads share.
struct Work<'a> {
    plan: &'a Plan,
    to: &'a Path,
    known: &'a Known,
    journal: Mutex<Journal>,
    /// The manifest is gone: files are being changed.
    manifest_removed: Mutex<bool>,
    next: AtomicUsize,
    done: AtomicUsize,
    stopped: AtomicBool,
    progress: &'a (dyn Fn(Progress) + Sync),
}

/// What became of a pair.
enum Outcome {
    Kept(ManifestEntry),
    Prepared(ManifestEntry),
}

/// What became of pairs, each with its place in the plan.
type Outcomes = Vec<(usize, Result<Outcome, DataError>)>;

impl Plan {
    /// Prepares the pairs into a folder, which is made if it is missing, with `threads` pictures at a
    /// time. A photograph of 24 megapixels takes 300 MB while it is worked on.
    ///
    /// A pair whose sources cannot be used is left out and told in the summary; the others go on.
    ///
    /// # Errors
    /// What stops everything: [`PrepareError::Locked`], [`PrepareError::NotEmpty`],
    /// [`PrepareError::OtherSet`], [`DataError::DiskFull`], [`DataError::Write`]. Everything that was
    /// finished by then stays and is used the next time.
    pub fn run(
        &self,
        to: &Path,
        threads: usize,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Summary, DataError> {
        refuse_foreign(to)?;
        let failed = |e| DataError::write(to, e);
        fs::create_dir_all(to).map_err(failed)?;
        let _lock = lock(to)?;
        let header = Header::new(self.protocol);
        let known = self.known(to, &header)?;
        let folders = ["input", self.protocol.target.folder()].map(|name| to.join(name));
        remove_partials(to)?;
        // Before the folders: they without a journal would be somebody else's after a kill here.
        let journal = Journal::open(to, &header, &known)?;
        for folder in &folders {
            fs::create_dir_all(folder).map_err(|e| DataError::write(folder, e))?;
            remove_partials(folder)?;
        }
        let work = Work {
            plan: self,
            to,
            known: &known,
            journal: Mutex::new(journal),
            manifest_removed: Mutex::new(false),
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            progress,
        };
        work.remove_what_has_no_source()?;
        let mut outcomes = work.on_threads(threads.max(1))?;
        outcomes.sort_by_key(|(index, _)| *index);
        let mut summary = Summary { prepared: 0, kept: 0, failures: Vec::new() };
        let mut entries = Vec::new();
        for (index, outcome) in outcomes {
            match outcome {
                Ok(Outcome::Kept(entry)) => {
                    summary.kept += 1;
                    entries.push(entry);
                }
                Ok(Outcome::Prepared(entry)) => {
                    summary.prepared += 1;
                    entries.push(entry);
                }
                Err(error) => summary.failures.push((self.pairs[index].id.clone(), error)),
            }
        }
        self.write_lists(to, &entries)?;
        let path = to.join(MANIFEST);
        let manifest = Manifest { header, entries };
        let failed = |e| DataError::write(&path, e);
        let bytes = manifest.to_bytes().map_err(|e| failed(e.into()))?;
        write_where_different(&path, &bytes)?;
        Ok(summary)
    }

    /// What earlier runs have finished, if they made the same set.
    fn known(&self, to: &Path, header: &Header) -> Result<Known, DataError> {
        let known = journal::read(to)?;
        // A set that was copied without its hidden files has its manifest only.
        let of_manifest = || {
            let path = to.join(MANIFEST);
            Manifest::parse(&fs::read(&path).ok()?, &path).ok().map(|manifest| manifest.header)
        };
        if let Some(found) = known.header.clone().or_else(of_manifest)
            && found.protocol != header.protocol
        {
            Err(PrepareError::OtherSet {
                path: to.to_path_buf(),
                found: found.description,
                asked: header.description.clone(),
            })?;
        }
        if known.header.as_ref() == Some(header) {
            return Ok(known);
        }
        // Without a header nothing says what the entries are, and another version of the program did
        // other things to the pictures.
        Ok(Known { header: None, finished: BTreeMap::new() })
    }

    /// The protocol's lists, of the pairs that are there.
    fn write_lists(&self, to: &Path, entries: &[ManifestEntry]) -> Result<(), DataError> {
        let there: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let split = self.protocol.split();
        for (name, ids) in LISTS.into_iter().zip([split.train, split.valid, split.test]) {
            let path = to.join(name);
            let lines: String = ids
                .iter()
                .filter(|id| there.contains(id.as_str()))
                .map(|id| format!("{id}\n"))
                .collect();
            if lines.is_empty() {
                remove(&path)?;
            } else {
                write_where_different(&path, lines.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Work<'_> {
    /// Takes pair after pair on several threads. The first error that concerns the whole stops all.
    fn on_threads(&self, threads: usize) -> Result<Outcomes, DataError> {
        let threads = threads.min(self.plan.pairs.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.take())).collect();
            let mut outcomes = Vec::with_capacity(self.plan.pairs.len());
            let mut fatal = None;
            for worker in workers {
                match worker.join() {
                    Ok(Ok(of_worker)) => outcomes.extend(of_worker),
                    Ok(Err(error)) => fatal = fatal.or(Some(error)),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            fatal.map_or(Ok(outcomes), Err)
        })
    }

    /// What one thread does.
    fn take(&self) -> Result<Outcomes, DataError> {
        let mut outcomes = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(pair) = self.plan.pairs.get(index) else { break };
            let outcome = self.pair(pair);
            if let Err(error) = outcome {
                if !is_fatal(&error) {
                    outcomes.push((index, Err(error)));
                } else {
                    self.stopped.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            } else {
                outcomes.push((index, outcome));
            }
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            (self.progress)(Progress { done, pairs: self.plan.pairs.len() });
        }
        Ok(outcomes)
    }

    fn pair(&self, pair: &PairPaths) -> Result<Outcome, DataError> {
        let names = self.plan.names(pair);
        let [inputs, targets] = &self.plan.trees;
        // Before the files are read: one that is exchanged meanwhile will have another.
        let stamps = [inputs.stamp(&pair.input)?, targets.stamp(&pair.target)?];
        if let Some(finished) = self.known.finished.get(&pair.id) {
            let entry = &finished.entry;
            let same = finished.stamps == stamps
                && [&entry.input.source, &entry.target.source] == names.sources.each_ref()
                && [&entry.input.file, &entry.target.file] == names.files.each_ref();
            if same && self.is_whole(entry) {
                return Ok(Outcome::Kept(entry.clone()));
            }
        }
        self.remove_manifest()?;
        // Whatever was there is of other sources, and must not stay beside a target that fails.
        for file in &names.files {
            remove(&self.to.join(file))?;
        }
        let rule = self.plan.protocol.size();
        let [input, target] = picture::prepare([&**inputs, &**targets], pair, rule, &names)?;
        for ready in [&input, &target] {
            let path = self.to.join(&ready.file.file);
            atomic_file::write(&path, &ready.png).map_err(|e| DataError::write(&path, e))?;
        }
        let (input, target) = (input.file, target.file);
        let entry = ManifestEntry { id: pair.id.clone(), input, target };
        let finished = Finished { stamps, entry };
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).add(&finished)?;
        Ok(Outcome::Prepared(finished.entry))
    }

    /// Whether both files are there with their hashes.
    fn is_whole(&self, entry: &ManifestEntry) -> bool {
        [&entry.input, &entry.target].into_iter().all(|file| {
            fs::read(self.to.join(&file.file)).is_ok_and(|bytes| sha256_of(&bytes) == file.sha256)
        })
    }

    /// Removes the files of pairs that are no longer in the source.
    fn remove_what_has_no_source(&self) -> Result<(), DataError> {
        let planned: BTreeSet<&str> = self.plan.pairs.iter().map(|pair| pair.id.as_str()).collect();
        let gone = self.known.finished.iter().filter(|(id, _)| !planned.contains(id.as_str()));
        for (_, finished) in gone {
            self.remove_manifest()?;
            for file in [&finished.entry.input.file, &finished.entry.target.file] {
                remove(&self.to.join(file))?;
            }
        }
        Ok(())
    }

    /// The manifest does not outlive the first change to what it describes.
    fn remove_manifest(&self) -> Result<(), DataError> {
        let mut removed = self.manifest_removed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*removed {
            remove(&self.to.join(MANIFEST))?;
            *removed = true;
        }
        Ok(())
    }
}

/// Whether the error will meet every other pair, too.
fn is_fatal(error: &DataError) -> bool {
    matches!(error, DataError::DiskFull { .. } | DataError::Write { .. })
}

/// A folder with files in it that no preparation made. Hidden files do not count.
fn refuse_foreign(to: &Path) -> Result<(), DataError> {
    let entries = match fs::read_dir(to) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotADirectory => return Err(DataError::write(to, e)),
        found => found.map_err(|e| DataError::read(to, e))?,
    };
    if to.join(JOURNAL).is_file() || to.join(MANIFEST).is_file() {
        return Ok(());
    }
    for entry in entries {
        let name = entry.map_err(|e| DataError::read(to, e))?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            let name = name.to_string_lossy().into_owned();
            Err(PrepareError::NotEmpty { path: to.to_path_buf(), name })?;
        }
    }
    Ok(())
}

/// Holds the folder for this process until the result is dropped.
fn lock(to: &Path) -> Result<File, DataError> {
    let path = to.join(LOCK);
    let failed = |e| DataError::write(&path, e);
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(PrepareError::Locked { path: to.to_path_buf() }.into())
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Removes what a killed process has left half-written; nobody else writes here now.
fn remove_partials(folder: &Path) -> Result<(), DataError> {
    let failed = |e| DataError::write(folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if atomic_file::is_partial(&entry.file_name()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), DataError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(DataError::write(path, e)),
        _ => Ok(()),
    }
}

/// A file that is as it should be is not touched.
fn write_where_different(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    atomic_file::write(path, bytes).map_err(|e| DataError::write(path, e))
}
