//! Reading the directories of a block.

use std::ops::Range;

use super::Unreadable;

/// Type numbers of values.
pub(super) const ASCII: u16 = 2;
pub(super) const SHORT: u16 = 3;
pub(super) const LONG: u16 = 4;

/// Bytes of an entry: tag 2, type 2, count 4, value or offset 4.
pub(super) const ENTRY: usize = 12;

/// The order of a block's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// # Errors
    /// The bytes do not begin with a TIFF header.
    pub(super) fn of(block: &[u8]) -> Result<Self, Unreadable> {
        match block {
            [b'I', b'I', 42, 0, ..] => Ok(Self::Little),
            [b'M', b'M', 0, 42, ..] => Ok(Self::Big),
            _ => Err(Unreadable),
        }
    }

    /// The two bytes at `at`, if they are there.
    pub(super) fn u16(self, block: &[u8], at: usize) -> Option<u16> {
        let bytes = block.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(*bytes),
            Self::Big => u16::from_be_bytes(*bytes),
        })
    }

    /// The four bytes at `at`, if they are there.
    pub(super) fn u32(self, block: &[u8], at: usize) -> Option<u32> {
        let bytes = block.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(*bytes),
            Self::Big => u32::from_be_bytes(*bytes),
        })
    }

    pub(super) fn u16_bytes(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(super) fn u32_bytes(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// Bytes of a value of a type, `None` for a type that TIFF 6.0 does not know.
pub(super) fn width(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 => Some(8),
        _ => None,
    }
}

/// An entry of a directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) tag: u16,
    pub(super) kind: u16,
    /// Where the entry's twelve bytes begin.
    pub(super) at: usize,
    /// Where the value lies: within the entry, or elsewhere in the block. `None` where the type is
    /// unknown or the value would end behind the block.
    pub(super) value: Option<Range<usize>>,
}

impl Entry {
    /// The value as one number, if it is a short or a long.
    pub(super) fn number(&self, block: &[u8], order: ByteOrder) -> Option<u32> {
        let at = self.value.as_ref()?.start;
        match self.kind {
            SHORT => order.u16(block, at).map(u32::from),
            LONG => order.u32(block, at),
            _ => None,
        }
    }
}

/// A directory as far as it lies within the block.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) entries: Vec<Entry>,
    /// The bytes of count, entries and the offset of the next directory.
    pub(super) range: Range<usize>,
    /// Where the offset of the next directory is, if it is within the block.
    pub(super) next_at: Option<usize>,
}

impl Directory {
    /// The block's first directory.
    pub(super) fn first(block: &[u8], order: ByteOrder) -> Result<Self, Unreadable> {
        // A directory over the header could not be changed without moving itself.
        let at = order.u32(block, 4).filter(|&at| at >= 8).ok_or(Unreadable)?;
        Self::read(block, order, at).ok_or(Unreadable)
    }

    /// The directory at an offset; `None` where its count is not within the block.
    pub(super) fn read(block: &[u8], order: ByteOrder, offset: u32) -> Option<Self> {
        let start = usize::try_from(offset).ok()?;
        let count = usize::from(order.u16(block, start)?);
        let first = start + 2;
        let fitting = count.min((block.len() - first) / ENTRY);
        let entries =
            (0..fitting).filter_map(|k| Self::entry(block, order, first + k * ENTRY)).collect();
        let end = first + fitting * ENTRY;
        let next_at = (fitting == count && end + 4 <= block.len()).then_some(end);
        Some(Self { entries, range: start..next_at.map_or(end, |at| at + 4), next_at })
    }

    fn entry(block: &[u8], order: ByteOrder, at: usize) -> Option<Entry> {
        let (tag, kind) = (order.u16(block, at)?, order.u16(block, at + 2)?);
        let count = usize::try_from(order.u32(block, at + 4)?).ok();
        let length = width(kind).zip(count).and_then(|(width, count)| width.checked_mul(count));
        let value = length.and_then(|length| {
            let start = if length <= 4 {
                at + 8
            } else {
                usize::try_from(order.u32(block, at + 8)?).ok()?
            };
            let end = start.checked_add(length)?;
            (end <= block.len()).then_some(start..end)
        });
        Some(Entry { tag, kind, at, value })
    }

    /// The directory that an entry of this one points to.
    pub(super) fn child(&self, block: &[u8], order: ByteOrder, tag: u16) -> Option<Self> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        // Pointers are longs; some writers give them the type made for directories.
        let at = entry.value.clone().filter(|value| value.len() == 4)?.start;
        Self::read(block, order, order.u32(block, at)?)
    }

    /// Every range of bytes that belongs to the directory: itself and its values.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let values = self.entries.iter().filter_map(|entry| entry.value.clone());
        std::iter::once(self.range.clone()).chain(values)
    }
}
