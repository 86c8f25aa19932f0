//! Decoding into a file.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::CacheError;
use super::format::{ALIGNMENT, Block, Depth, Entry, HEADER, Index, header};
use super::key::Sources;
use crate::DataError;
use crate::atomic_file::write_atomically;
use crate::feed::Prefetch;
use crate::pairs::PairPaths;
use crate::picture::Planes;

/// Decodes all pairs into `path`, which appears when it is whole. `progress` is told how many are
/// done.
pub(super) fn build(
    path: &Path,
    sources: &Sources,
    pairs: &[PairPaths],
    threads: usize,
    progress: &dyn Fn(usize),
) -> Result<(), CacheError> {
    progress(0);
    let shared: Arc<[PairPaths]> = pairs.into();
    let decoded = Prefetch::new(threads, move |number| {
        shared.get(number as usize).map(PairPaths::load_planes)
    })
    .map_err(|e| CacheError::read(path, e))?;
    let mut failure = None;
    let written = write_atomically(path, |file| {
        let mut writer = Writer { file, path, at: 0 };
        writer.put(&[0; HEADER])?;
        let mut index = Index { pairs: Vec::with_capacity(pairs.len()) };
        for (number, (pair, planes)) in pairs.iter().zip(decoded).enumerate() {
            let ((height, width), input, target) = planes?;
            if let Err(error) = sources.still(number, pair) {
                failure = Some(error);
                // Any error: it ends the writing, and the one above is reported.
                return Err(DataError::Empty { path: pair.input.clone() });
            }
            let (input, target) = (writer.block(&input)?, writer.block(&target)?);
            index.pairs.push(Entry { id: pair.id.clone(), width, height, input, target });
            progress(number + 1);
        }
        writer.align()?;
        let start = writer.at;
        let index = serde_json::to_vec(&index)
            .map_err(|e| DataError::write(path, std::io::Error::other(e)))?;
        writer.put(&index)?;
        let header = header(sources.key(), &index, start);
        let rewind = writer.file.seek(SeekFrom::Start(0));
        rewind.map_err(|e| DataError::write(path, e))?;
        writer.put(&header)
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(written?),
    }
}

struct Writer<'a, W> {
    file: &'a mut W,
    path: &'a Path,
    at: u64,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| DataError::write(self.path, e))
    }

    fn align(&mut self) -> Result<(), DataError> {
        let gap = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.put(&[0; ALIGNMENT as usize][..gap as usize])
    }

    fn block(&mut self, planes: &Planes) -> Result<Block, DataError> {
        self.align()?;
        let (depth, bytes): (_, &[u8]) = match planes {
            Planes::Eight(levels) => (Depth::Eight, levels),
            Planes::Sixteen(levels) => (Depth::Sixteen, bytemuck::cast_slice(levels)),
            Planes::Float(values) => (Depth::Float, bytemuck::cast_slice(values)),
        };
        let start = self.at;
        self.put(bytes)?;
        Ok(Block { depth, start, length: bytes.len() as u64, crc: crc32fast::hash(bytes) })
    }
}
