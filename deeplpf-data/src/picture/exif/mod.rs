//! EXIF blocks: kept, with what no longer holds put right.
//!
//! A block is a small TIFF file (EXIF 2.32, 4.5; TIFF 6.0, section 2): directories of entries whose
//! values lie in the entry or at an offset from the block's start. Maker notes hold offsets of their
//! own that only their makers know, so a block from a JPEG, PNG or WebP file is edited in place
//! ([`normalise`]) and nothing in it moves. Only where the container is a TIFF file itself, on either
//! side, its fields are taken out and laid down anew ([`Fields`]).
//!
//! Blocks come from untrusted files: every offset and length is checked, nothing here panics.

mod block;
mod erase;
mod fields;
mod normalise;
mod tag;
#[cfg(test)]
mod tests;

pub(super) use fields::{Field, Fields};
pub(super) use normalise::{Upright, normalise};

/// A block that has no readable first directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The EXIF fields of a TIFF file as a block of their own, or `None` where it has none.
pub(super) fn of_tiff(file: &[u8]) -> Option<Vec<u8>> {
    let fields = Fields::read(file).ok()?;
    if fields.is_empty() { None } else { fields.to_block() }
}

/// A block without the marker that JPEG puts before it and some writers put into WebP and PNG too.
pub(super) fn without_prefix(mut block: Vec<u8>) -> Vec<u8> {
    const PREFIX: &[u8] = b"Exif\0\0";
    if block.starts_with(PREFIX) {
        block.drain(..PREFIX.len());
    }
    block
}
