//! Files that are either wholly there or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::DataError;

/// Writes `bytes` through a temporary in the same folder, which is flushed to disk and then renamed.
/// When anything fails the temporary is removed and a file that was there before stays as it was.
///
/// # Errors
/// The operating system's; they do not name the file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, name) = temporary(path)?.into_parts();
    file.write_all(bytes)?;
    file.sync_all()?;
    name.persist(path).map_err(|e| e.error)
}

/// As [`write`], for what writes piece by piece.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<Recorder>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let failed = |e| DataError::write(path, e);
    let (file, name) = temporary(path).map_err(failed)?.into_parts();
    write_through(file, path, write)?;
    name.persist(path).map_err(|e| failed(e.error))
}

/// An empty file beside `path`.
fn temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".deeplpf-").suffix(".partial");
    // Temporaries are private by default; the finished file should be as readable as any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(|e| plain(&e))
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
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).expect("folder");
        assert!(write_atomically(&taken, |_| Ok(())).is_err());
        assert_eq!(names(folder.path()), ["a-file", "taken"]);
    }
}
