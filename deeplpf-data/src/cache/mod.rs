//! Decoded pairs in one memory-mapped file.
//!
//! Decoding a picture of 512 pixels takes a hundred times as long as reading its samples. A
//! [`PairCache`] is decoded once and then shared by every epoch, run and process; the operating
//! system keeps in memory what is used and drops it where memory is short.
//!
//! Nothing is lost: a cached pair has the same bits as the decoded files. 8-bit sRGB pictures are
//! kept as bytes (FiveK's 2250 training pairs of 512 pixels: 2.3 GB), 16-bit ones in 16 bits, and
//! pictures of another colour space as the `f32` values their profile makes of them.
//!
//! # The file
//!
//! | bytes | what |
//! |---|---|
//! | 0..128 | header: magic `DLPFPAIR`, version, byte order, key, place of the index, length, CRC-32 |
//! | ... | the samples of every picture, 3 x H x W in planes, each from a multiple of 64 bytes on |
//! | to the end | the index: JSON with id, size, depth, place and CRC-32 of every picture |
//!
//! The key is a SHA-256 of the program's version and of path, size and time of change of every
//! file, so that a cache of other files, or of files that have changed, is not mistaken for this
//! one. Opening checks everything, samples included. The file appears under its name only when all
//! of it is on the disk, and is never written to afterwards.

mod build;
mod error;
mod format;
mod key;
mod map;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use error::CacheError;
use format::{Block, Index, Unusable};
use key::Sources;
use map::Mapped;

use crate::feed::{PairView, Samples};
use crate::pairs::PairPaths;

/// Name of the folder for caches inside a data folder.
pub const FOLDER: &str = ".deeplpf-cache";

/// What is being done on the way to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The file that is there is being checked.
    Check,
    /// Another process is making the same cache.
    Wait,
    /// Pictures are being decoded.
    Decode,
}

/// How a cache came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Found,
    /// It was made.
    Made,
    /// One was there that could not be used, for this reason, and was replaced.
    Remade(String),
}

/// Decoded pairs in a memory-mapped file. See the [module](self).
#[derive(Debug)]
pub struct PairCache {
    path: PathBuf,
    map: Mapped,
    index: Index,
    origin: Origin,
}

impl PairCache {
    /// The cache of `pairs` in `folder`: opened if it is there and whole, made otherwise.
    ///
    /// The folder may hold the caches of many sets; the file's name comes from the paths of the
    /// pictures. Pictures are decoded on `threads` threads. `progress` is told the stage, and how
    /// many pairs of how many are done.
    ///
    /// Where two processes want the same cache, one makes it and the other waits.
    ///
    /// # Errors
    /// [`CacheError`]; a picture that cannot be decoded among them. No half-made file is left.
    pub fn open_or_make(
        folder: &Path,
        pairs: &[PairPaths],
        threads: usize,
        progress: &(dyn Fn(Stage, usize, usize) + Sync),
    ) -> Result<Self, CacheError> {
        std::fs::create_dir_all(folder).map_err(|e| CacheError::folder(folder, e))?;
        let sources = Sources::of(pairs)?;
        let path = folder.join(sources.file_name());
        let check = &|done, all| progress(Stage::Check, done, all);
        let open = || Self::open(&path, &sources, pairs, check);
        match open()? {
            Ok(cache) => return Ok(cache),
            Err(Unusable::Missing | Unusable::Damaged(_)) => {}
        }
        let lock = path.with_extension("lock");
        let file = std::fs::File::create(&lock).map_err(|e| CacheError::folder(folder, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                progress(Stage::Wait, 0, pairs.len());
                file.lock().map_err(|e| CacheError::folder(folder, e))?;
            }
            // A file system without locks. The file appears whole or not at all, so at worst two
            // processes make it twice.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        // Another process may have made it by now.
        let origin = match open()? {
            Ok(cache) => return Ok(cache),
            Err(Unusable::Missing) => Origin::Made,
            Err(Unusable::Damaged(reason)) => Origin::Remade(reason),
        };
        build::build(&path, &sources, pairs, threads, &|done| {
            progress(Stage::Decode, done, pairs.len());
        })?;
        match open()? {
            Ok(cache) => Ok(Self { origin, ..cache }),
            Err(problem) => Err(CacheError::NotKept { path, reason: problem.to_string() }),
        }
    }

    /// Opens and checks a file. The inner error says why it cannot be used, and that it may be
    /// replaced.
    fn open(
        path: &Path,
        sources: &Sources,
        pairs: &[PairPaths],
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Result<Self, Unusable>, CacheError> {
        let Some(map) = Mapped::open(path).map_err(|e| CacheError::read(path, e))? else {
            return Ok(Err(Unusable::Missing));
        };
        if !format::is_ours(map.bytes()) {
            return Err(CacheError::Foreign { path: path.to_path_buf() });
        }
        let checked = format::read(map.bytes(), sources.key(), pairs)
            .and_then(|index| check_samples(map.bytes(), &index, progress).map(|()| index));
        Ok(checked.map(|index| Self {
            path: path.to_path_buf(),
            map,
            index,
            origin: Origin::Found,
        }))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was there or had to be made.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_size(&self) -> usize {
        self.map.bytes().len()
    }

    /// How many pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.pairs.is_empty()
    }

    /// Pair number `index`, in the order of the pairs the cache was asked for.
    ///
    /// # Panics
    /// Past the end.
    #[must_use]
    pub fn pair(&self, index: usize) -> PairView<'_> {
        let entry = &self.index.pairs[index];
        PairView {
            id: &entry.id,
            height: entry.height,
            width: entry.width,
            input: samples(self.map.bytes(), &entry.input),
            target: samples(self.map.bytes(), &entry.target),
        }
    }
}

/// Samples of a block whose place has been checked. Blocks begin at multiples of 64 bytes of a
/// page, so every kind of sample is aligned.
fn samples<'a>(file: &'a [u8], block: &Block) -> Samples<'a> {
    let bytes = &file[block.range()];
    match block.depth {
        format::Depth::Eight => Samples::Eight(bytes),
        format::Depth::Sixteen => Samples::Sixteen(bytemuck::cast_slice(bytes)),
        format::Depth::Float => Samples::Float(bytemuck::cast_slice(bytes).into()),
    }
}

/// Compares every block with its checksum.
fn check_samples(
    file: &[u8],
    index: &Index,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), Unusable> {
    let done = std::sync::atomic::AtomicUsize::new(0);
    index.pairs.par_iter().try_for_each(|pair| {
        for (block, side) in [(&pair.input, "input"), (&pair.target, "target")] {
            if crc32fast::hash(&file[block.range()]) != block.crc {
                let reason = format!("the {side} of '{}' has another checksum", pair.id);
                return Err(Unusable::Damaged(reason));
            }
        }
        let done = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        progress(done, index.pairs.len());
        Ok(())
    })
}
