//! Writing a file so that it appears whole or not at all.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

/// Writes through a temporary file in the same folder, synced and renamed.
///
/// # Errors
/// An unwritable place or a full disk; a file that was there before is untouched.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    try_write(path, bytes).with_context(|| {
        format!(
            "cannot write {}; check that its folder exists, may be written to and has free space",
            path.display()
        )
    })
}

fn try_write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".deeplpf-").suffix(".partial");
    // Temporaries are private by default; the finished file should be as readable as any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
