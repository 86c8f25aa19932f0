//! A file as memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A whole file, mapped for reading.
#[derive(Debug)]
pub(super) struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps a file; `None` where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        // An empty file cannot be mapped everywhere.
        if metadata.len() == 0 {
            return Ok(Some(Self(None)));
        }
        // SAFETY: the bytes behind a mapping must not change while a slice of them is alive. Caches
        // are written under another name, renamed when they are whole, and never written to again;
        // replacing one by a rename leaves this file alive until it is unmapped. Only somebody who
        // writes into or cuts a hidden file of ours by hand could break this.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Some(Self(Some(map))))
    }

    /// The bytes of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
