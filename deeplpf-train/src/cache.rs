//! Training from a cache of decoded pairs.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};

use deeplpf_data::{
    DataError,
    address::Address,
    atomic_file,
    cache::{FOLDER, Origin, PairCache, Stage},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{PairSource, Result, TrainConfig, TrainError, TrainingData};

/// Value of `data.cache` that chooses the folder.
pub(crate) const AUTO: &str = "auto";

impl TrainingData {
    /// The same pairs out of one cache in `folder`, which is made if it is missing; pairs in memory
    /// stay there. The second value is a sentence for the user, if there is something to know.
    ///
    /// # Errors
    /// What [`PairCache::open_or_make`] says.
    pub fn cached(self, folder: &Path) -> Result<(Self, Option<String>)> {
        let (PairSource::Files(train), PairSource::Files(valid)) = (&self.train, &self.valid)
        else {
            return Ok((self, None));
        };
        let mut pairs: Vec<_> = train.iter().chain(valid).cloned().collect();
        // One cache for all ways to divide a set.
        pairs.sort_by(|a, b| a.id.cmp(&b.id));
        let bar = ProgressBar::new(pairs.len() as u64).with_style(
            ProgressStyle::with_template("{bar:30} {msg} {pos}/{len}, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let progress = |stage: Stage, done: usize, pairs: usize| {
            bar.set_message(match stage {
                Stage::Check => "checking the cache",
                Stage::Wait => "another process makes the cache",
                Stage::Decode => "decoding into the cache",
            });
            bar.set_length(pairs as u64);
            bar.set_position(done as u64);
        };
        let threads = available_parallelism().map_or(1, usize::from);
        let cache = PairCache::open_or_make(folder, &pairs, threads, &progress)?;
        bar.finish_and_clear();
        let note = match cache.origin() {
            Origin::Found => None,
            Origin::Made => Some(format!(
                "{} pairs decoded into {} ({:.1} MB)",
                cache.len(),
                cache.path().display(),
                cache.file_size() as f64 / 1e6
            )),
            Origin::Remade(reason) => {
                Some(format!("{} was made again: {reason}", cache.path().display()))
            }
        };
        let cache = Arc::new(cache);
        let numbers = |paths: &[deeplpf_data::PairPaths]| {
            // Every pair is there: the list was made from the same ones.
            let number = |id: &String| pairs.binary_search_by(|pair| pair.id.cmp(id)).ok();
            paths.iter().filter_map(|path| number(&path.id)).collect()
        };
        let (train, valid) = (numbers(train), numbers(valid));
        let train = PairSource::Cached(cache.clone(), train);
        Ok((Self { train, valid: PairSource::Cached(cache, valid) }, note))
    }
}

/// The folder that `data.cache` means, and a sentence if it is not the expected one; `None` for no
/// cache.
///
/// # Errors
/// `auto` for a data folder whose state cannot be told.
pub(crate) fn folder(config: &TrainConfig) -> Result<Option<(PathBuf, Option<String>)>> {
    match config.data.cache.as_str() {
        "" => Ok(None),
        AUTO => {
            // What was downloaded lies in the user's cache folder: the run's own is as good.
            let Address::Path(source) =
                Address::parse(&config.data.source).map_err(DataError::from)?
            else {
                return Ok(Some((config.run.join("cache"), None)));
            };
            let beside = source.join(FOLDER);
            let usable = std::fs::create_dir_all(&beside)
                .and_then(|()| atomic_file::check_writable(&beside));
            match usable {
                Ok(()) => Ok(Some((beside, None))),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                    ) =>
                {
                    let inside = config.run.join("cache");
                    let note = format!(
                        "{} cannot be written to, so the cache is in {}",
                        config.data.source,
                        inside.display()
                    );
                    Ok(Some((inside, Some(note))))
                }
                Err(error) => Err(TrainError::io("use", &beside)(error)),
            }
        }
        folder => Ok(Some((folder.into(), None))),
    }
}
