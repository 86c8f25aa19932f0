//! Files that are either wholly there or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::DataError;

/// Writes `bytes` through a temporary in the same folder, which is flushed to disk and then renamed.
/// When anything fails the temporary is removed and a file that was there before stays as it was.
/// Where `path` is a symbolic link, the file it leads to is replaced and the link stays.
///
/// # Errors
/// The operating system's, and [`io::ErrorKind::InvalidInput`] where there is something that is not
/// a regular file: a rename would replace a device or a pipe by a file. They do not name the file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = resolve(path)?;
    let mut temporary = Temporary::beside(&place)?;
    temporary.file.write_all(bytes)?;
    temporary.file.sync_all()?;
    temporary.rename(&place)
}

/// Whether files can be made in `folder`: makes one and removes it.
///
/// # Errors
/// The operating system's.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    Temporary::beside(&folder.join("x")).map(drop)
}

/// Removes every file that is being written at this moment by any thread of the process, and lets no
/// more be begun or finished: for a program that ends right afterwards and would leave halves behind.
pub fn remove_unfinished() {
    let mut unfinished = unfinished();
    for path in unfinished.drain(..) {
        // The program is about to end, and there is nothing better to do about it.
        let _ = fs::remove_file(path);
    }
    // Kept for ever: whoever begins or finishes a file now waits until the program is gone.
    std::mem::forget(unfinished);
}

/// Temporaries that exist. Held while one is made, renamed or removed.
fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    // A list of paths is whole whatever panicked.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file that [`write()`] replaces: `path`, or where it is a symbolic link the file it leads to.
///
/// # Errors
/// As [`write()`].
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    replaceable(path)?.ok_or_else(|| {
        let words = "it is not a regular file; choose another name";
        io::Error::new(io::ErrorKind::InvalidInput, words)
    })
}

/// As [`write()`], for what writes piece by piece.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<Recorder>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let failed = |e| DataError::write(path, e);
    let place = replaceable(path)
        .map_err(failed)?
        .ok_or_else(|| DataError::NotRegularFile { path: path.to_path_buf() })?;
    let mut temporary = Temporary::beside(&place).map_err(failed)?;
    let file = temporary.file.try_clone().map_err(failed)?;
    write_through(file, path, write)?;
    temporary.rename(&place).map_err(failed)
}

/// The file a rename may replace: `path`, or what it links to. `None` where there is something that
/// is not a regular file: a folder, a device, a pipe, a link that leads nowhere.
fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
    let found = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(path.to_path_buf())),
        found => found?,
    };
    if !found.is_symlink() {
        return Ok(found.is_file().then(|| path.to_path_buf()));
    }
    match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(real) if !fs::metadata(&real)?.is_file() => Ok(None),
        real => real.map(Some),
    }
}

/// What the names of temporaries begin and end with.
const PREFIX: &str = ".deeplpf-";
const SUFFIX: &str = ".partial";

/// Whether a file of the name is a temporary; where nobody is writing, a killed process has left it.
pub(crate) fn is_partial(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}

/// Removes the temporaries that killed processes left in `folder`, which nobody else may write to at
/// the moment. A folder that is not there has none.
///
/// # Errors
/// The operating system's.
pub fn remove_stale(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_partial(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that is removed again unless it is renamed.
struct Temporary {
    file: File,
    /// `None` once it was renamed.
    name: Option<tempfile::TempPath>,
}

impl Temporary {
    /// An empty file beside `path`.
    fn beside(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        // Temporaries are private by default; the finished file should be as readable as any other.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut unfinished = unfinished();
        let (file, name) = builder.tempfile_in(folder).map_err(|e| plain(&e))?.into_parts();
        unfinished.push(name.to_path_buf());
        Ok(Self { file, name: Some(name) })
    }

    fn rename(&mut self, place: &Path) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let mut unfinished = unfinished();
        unfinished.retain(|path| *path != *name);
        name.persist(place).map_err(|e| e.error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        let mut unfinished = unfinished();
        unfinished.retain(|path| *path != *name);
        // As `tempfile` itself: a temporary that cannot be removed is left.
        drop(name);
    }
}

/// Writes to an open file and flushes it to disk.
fn write_through(
    file: File,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<Recorder>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let failed = |e| DataError::write(path, e);
    let mut writer = BufWriter::new(Recorder { file, failure: None });
    let result = write(&mut writer).and_then(|()| writer.flush().map_err(failed));
    if let Some(failure) = writer.get_mut().failure.take() {
        return Err(failed(failure));
    }
    result?;
    writer.get_ref().file.sync_all().map_err(failed)
}

/// A file that remembers its first failure. Encoders pass errors on as text, in which a full disk
/// can no longer be told from other trouble.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: File,
    failure: Option<io::Error>,
}

impl Recorder {
    fn record<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            // An interrupted write is tried again by the caller.
            if error.kind() != io::ErrorKind::Interrupted && self.failure.is_none() {
                let code = error.raw_os_error();
                self.failure =
                    Some(code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
            }
        })
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.record(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.record(result)
    }
}

impl Seek for Recorder {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let result = self.file.seek(position);
        self.record(result)
    }
}

/// The operating system's words without the temporary's name, which would only puzzle a reader.
///
/// `tempfile` appends the name to the message and keeps the kind.
fn plain(error: &io::Error) -> io::Error {
    let message = error.to_string();
    let words = message.split(" at path ").next().unwrap_or(&message);
    io::Error::new(error.kind(), words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the test's own folder")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("picture.png");
        std::fs::write(&path, b"old").expect("old file");
        let error = write_atomically(&path, |writer| {
            writer.write_all(b"half of the new").map_err(|e| DataError::write(&path, e))?;
            Err(DataError::write(&path, std::io::ErrorKind::StorageFull.into()))
        })
        .expect_err("the disk is full");
        assert!(matches!(&error, DataError::DiskFull { path: p } if p == &path));
        assert!(error.to_string().contains("picture.png"));
        assert_eq!(std::fs::read(&path).expect("old file"), b"old");
        assert_eq!(names(folder.path()), ["picture.png"]);
    }

    /// The device that is always full, behind encoders that turn its error into text.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_apart_behind_an_encoder() {
        let path = Path::new("picture.png");
        let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
        let text = |_| DataError::Encode {
            path: path.to_path_buf(),
            format: "png",
            reason: "an encoder's text".into(),
        };
        // More than the buffer, so that the device is reached inside the closure ...
        let error = write_through(full(), path, |w| w.write_all(&[0; 1 << 16]).map_err(text));
        assert!(matches!(error, Err(DataError::DiskFull { .. })), "{error:?}");
        // ... and less, so that it is reached by the flush after it.
        let error = write_through(full(), path, |w| w.write_all(&[0; 16]).map_err(text));
        assert!(matches!(error, Err(DataError::DiskFull { .. })), "{error:?}");
    }

    #[test]
    fn what_is_unfinished_can_be_removed_from_outside() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("picture.png");
        let error = write_atomically(&path, |writer| {
            writer.write_all(b"half").map_err(|e| DataError::write(&path, e))?;
            let temporary = names(folder.path()).pop().expect("there is one");
            assert!(temporary.ends_with(".partial"), "{temporary}");
            // What `remove_unfinished` does, but for this test's own: others run beside it.
            let mut unfinished = unfinished();
            let ours = unfinished.iter().position(|path| path.starts_with(folder.path()));
            let ours = unfinished.swap_remove(ours.expect("is known"));
            std::fs::remove_file(ours).expect("there");
            Ok(())
        })
        .expect_err("gone");
        assert!(matches!(error, DataError::Write { .. }), "{error}");
        assert!(names(folder.path()).is_empty());
        check_writable(folder.path()).expect("writable");
        assert!(names(folder.path()).is_empty());
        check_writable(&folder.path().join("missing")).expect_err("no folder");
    }

    #[test]
    fn success_replaces_the_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("picture.png");
        std::fs::write(&path, b"old").expect("old file");
        write_atomically(&path, |w| w.write_all(b"new").map_err(|e| DataError::write(&path, e)))
            .expect("writable");
        assert_eq!(std::fs::read(&path).expect("new file"), b"new");
        assert_eq!(names(folder.path()), ["picture.png"]);
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("a-file");
        std::fs::write(&file, b"x").expect("file");
        for path in [folder.path().join("missing/picture.png"), file.join("picture.png")] {
            let error = write_atomically(&path, |_| Ok(())).expect_err("no such folder");
            assert!(matches!(error, DataError::Write { .. }), "{error}");
            assert!(error.to_string().contains("picture.png"), "{error}");
            assert!(!error.to_string().contains("partial"), "{error}");
        }
        assert_eq!(names(folder.path()), ["a-file"]);
    }

    /// What is not a regular file stays what it is, whichever way it is named.
    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_replaced() {
        use std::os::unix::fs::{FileTypeExt, symlink};

        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.expect("mkfifo runs").success());
        std::fs::create_dir(at("folder")).expect("folder");
        symlink("pipe", at("to-pipe")).expect("link");
        symlink("missing", at("to-nothing")).expect("link");
        let before = names(folder.path());
        for name in ["pipe", "folder", "to-pipe", "to-nothing"] {
            let error = write_atomically(&at(name), |_| Ok(())).expect_err("refused");
            assert!(matches!(error, DataError::NotRegularFile { .. }), "{error}");
            assert!(error.to_string().contains(&format!("{name} is not a regular file; ")));
            let error = write(&at(name), b"x").expect_err("refused");
            assert!(error.to_string().contains("is not a regular file; "), "{error}");
        }
        assert_eq!(names(folder.path()), before);
        let kind = std::fs::symlink_metadata(at("pipe")).expect("still there").file_type();
        assert!(kind.is_fifo());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("elsewhere")).expect("folder");
        std::fs::write(at("elsewhere/real"), b"old").expect("file");
        std::os::unix::fs::symlink("elsewhere/real", at("link")).expect("link");
        write(&at("link"), b"new").expect("writable");
        assert_eq!(std::fs::read(at("elsewhere/real")).expect("file"), b"new");
        assert!(std::fs::symlink_metadata(at("link")).expect("link").is_symlink());
        assert_eq!(names(&at("elsewhere")), ["real"]);
    }
}
