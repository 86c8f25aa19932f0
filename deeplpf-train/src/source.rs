//! Where pairs come from: a folder of any layout, or the URL of one.

use deeplpf_data::{
    PairedFolder,
    address::local_folder,
    layout::{self, Location},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;

/// The pairs of a folder of any [`deeplpf_data::layout::Layout`], or of the URL of one, whose files are
/// downloaded into the cache folder first (feature `remote` of `deeplpf-data`). `target` names the
/// target folder where there are several; empty, there must be one. Ids of FiveK are short (`a0001`),
/// whatever the files are called.
///
/// # Errors
/// As [`local_folder`] and [`layout::open`]; files without a partner.
pub fn open_pairs(source: &str, target: &str) -> Result<(Location, PairedFolder)> {
    let target = Some(target).filter(|name| !name.is_empty());
    let bar = download_bar();
    let folder = local_folder(source, target, &|done, files| {
        bar.set_length(files as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let (location, folder) = layout::open(folder?, target)?;
    folder.require_complete()?;
    Ok((location, folder))
}

/// Drawn on a terminal only, and only where there is something to download.
fn download_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {per_sec}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
