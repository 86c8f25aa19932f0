//! Header and index.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::pairs::PairPaths;

/// Version of the file's form.
pub(super) const VERSION: u32 = 1;
/// The first bytes of every cache.
const MAGIC: [u8; 8] = *b"DLPFPAIR";
/// Written in the machine's byte order, as 16-bit and `f32` samples are.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Length of the header.
pub(super) const HEADER: usize = 128;
/// Where blocks may begin: multiples of a cache line.
pub(super) const ALIGNMENT: u64 = 64;
/// Where the header's own checksum is; what follows it is zero.
const CHECKSUM: Range<usize> = 80..84;

/// Why a file cannot be used as the cache, and may be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    Missing,
    Damaged(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is gone"),
            Self::Damaged(reason) => f.write_str(reason),
        }
    }
}

/// Samples of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Depth {
    Eight,
    Sixteen,
    Float,
}

impl Depth {
    fn bytes(self) -> u64 {
        match self {
            Self::Eight => 1,
            Self::Sixteen => 2,
            Self::Float => 4,
        }
    }
}

/// One picture's samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    pub(super) depth: Depth,
    /// First byte in the file.
    pub(super) start: u64,
    /// Bytes.
    pub(super) length: u64,
    /// CRC-32 (IEEE) of the bytes.
    pub(super) crc: u32,
}

impl Block {
    /// The bytes in the file; checked by [`read`].
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }

    /// Whether it holds 3 x `height` x `width` samples between header and `end`.
    fn fits(&self, height: usize, width: usize, end: u64) -> bool {
        let samples = (height as u64).checked_mul(width as u64).and_then(|n| n.checked_mul(3));
        let length = samples.and_then(|n| n.checked_mul(self.depth.bytes()));
        let last = self.start.checked_add(self.length);
        length == Some(self.length)
            && self.length > 0
            && self.start >= HEADER as u64
            && self.start.is_multiple_of(ALIGNMENT)
            && last.is_some_and(|last| last <= end)
    }
}

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) input: Block,
    pub(super) target: Block,
}

/// All pairs, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) pairs: Vec<Entry>,
}

/// Whether a file is a cache of any version, also a damaged one. What is not is never replaced.
pub(super) fn is_ours(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// The header of a file with `index` (as JSON) from byte `index_start` on.
pub(super) fn header(key: &[u8; 32], index: &[u8], index_start: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&MAGIC);
    put(&VERSION.to_le_bytes());
    put(&BYTE_ORDER.to_ne_bytes());
    put(key);
    put(&index_start.to_le_bytes());
    put(&(index_start + index.len() as u64).to_le_bytes());
    let checksum = checksum(&header, index);
    header[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Of all but itself.
fn checksum(header: &[u8], index: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CHECKSUM.start]);
    hasher.update(&header[CHECKSUM.end..HEADER]);
    hasher.update(index);
    hasher.finalize()
}

/// Reads and checks header and index, so that every block is inside the file; not the blocks' own
/// checksums.
pub(super) fn read(file: &[u8], key: &[u8; 32], pairs: &[PairPaths]) -> Result<Index, Unusable> {
    let damaged = |reason: &str| Unusable::Damaged(reason.to_owned());
    let header = file.get(..HEADER).ok_or_else(|| damaged("it is cut short"))?;
    // Infallible: both ranges are inside the header and of these lengths.
    let four = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).expect("four bytes");
    let eight = |at: usize| <[u8; 8]>::try_from(&header[at..at + 8]).expect("eight bytes");
    if u32::from_le_bytes(four(8)) != VERSION {
        return Err(damaged("it was made by another version of the program"));
    }
    if u32::from_ne_bytes(four(12)) != BYTE_ORDER {
        return Err(damaged("it was made on a machine of another byte order"));
    }
    let (start, end) = (u64::from_le_bytes(eight(48)), u64::from_le_bytes(eight(56)));
    if end != file.len() as u64 {
        return Err(damaged("it has another length than it says"));
    }
    let index = usize::try_from(start).ok().and_then(|start| file.get(start..));
    let index = index.ok_or_else(|| damaged("its index is outside the file"))?;
    if checksum(header, index) != u32::from_le_bytes(four(CHECKSUM.start)) {
        return Err(damaged("its header or index has another checksum"));
    }
    if header[16..48] != key[..] {
        return Err(damaged("the pictures or the program have changed since it was made"));
    }
    let index: Index =
        serde_json::from_slice(index).map_err(|e| Unusable::Damaged(format!("its index: {e}")))?;
    let ids = index.pairs.iter().map(|pair| &pair.id);
    if !ids.eq(pairs.iter().map(|pair| &pair.id)) {
        return Err(damaged("it is of other pairs"));
    }
    for Entry { id, width, height, input, target } in &index.pairs {
        if ![input, target].into_iter().all(|block| block.fits(*height, *width, start)) {
            return Err(Unusable::Damaged(format!("the place of '{id}' is outside the file")));
        }
    }
    Ok(index)
}
