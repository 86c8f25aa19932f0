//! Who holds a run folder, and what is left of one in which nothing came about.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use crate::{Result, TrainError};

/// A run folder, held for this process until this is dropped.
///
/// If the folder was made for it and holds neither weights nor a state nor anything else worth having
/// by then, because training was refused, it goes again.
pub(crate) struct RunLock {
    folder: PathBuf,
    /// Open for as long as the folder is held.
    _file: fs::File,
    /// The folders that were made, the innermost first.
    made: Vec<PathBuf>,
}

/// The lock's file in the run folder.
const NAME: &str = "lock";

/// What a run writes before its first step, besides empty folders.
const BEGINNING: [&str; 3] = [NAME, "config.toml", "splits"];

impl RunLock {
    /// Creates the folder and holds it.
    ///
    /// # Errors
    /// [`TrainError::Locked`] if another process holds it; a folder that cannot be written to.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let absent = folder.ancestors().take_while(|path| {
            !path.as_os_str().is_empty() && path.try_exists().is_ok_and(|exists| !exists)
        });
        let made = absent.map(Path::to_path_buf).collect();
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let path = folder.join(NAME);
        // Not truncated: whoever holds it wrote its name there.
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(TrainError::io("create", &path))?;
        match file.try_lock() {
            // A lock that its holder removed in between holds nothing.
            Ok(()) if path.exists() => {
                let holder = format!("process {} on {}\n", std::process::id(), machine());
                file.set_len(0)
                    .and_then(|()| file.write_all(holder.as_bytes()))
                    .map_err(TrainError::io("write", &path))?;
                Ok(Self { folder: folder.to_path_buf(), _file: file, made })
            }
            Ok(()) | Err(fs::TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = match holder.trim() {
                    "" => "which did not say its name".into(),
                    name => name.to_owned(),
                };
                Err(TrainError::Locked { path: folder.to_path_buf(), holder })
            }
            Err(fs::TryLockError::Error(error)) => Err(TrainError::io("lock", &path)(error)),
        }
    }

    /// Whether the folder holds the beginning of a run and nothing else.
    fn is_bare(&self) -> bool {
        let Ok(mut entries) = fs::read_dir(&self.folder) else { return false };
        entries.all(|entry| {
            entry.is_ok_and(|entry| BEGINNING.iter().any(|name| entry.file_name() == *name))
        })
    }
}

impl Drop for RunLock {
    /// Best effort: what cannot be removed stays.
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        for name in ["checkpoints", "state", "cache"] {
            // Fails, as it should, where there is something inside.
            let _ = fs::remove_dir(self.folder.join(name));
        }
        if !self.is_bare() {
            return;
        }
        for name in ["splits/train.txt", "splits/valid.txt", "config.toml", NAME] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        let _ = fs::remove_dir(self.folder.join("splits"));
        for folder in &self.made {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

/// The name of this machine.
pub(crate) fn machine() -> String {
    let named = |text: String| Some(text.trim().to_owned()).filter(|name| !name.is_empty());
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .and_then(named)
        .or_else(|| std::env::var("HOSTNAME").ok().and_then(named))
        .or_else(|| std::env::var("COMPUTERNAME").ok().and_then(named))
        .unwrap_or_else(|| "a machine without a name".into())
}
