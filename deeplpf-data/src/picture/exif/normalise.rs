//! Putting right, in place, what no longer holds.

use super::block::{ASCII, ByteOrder, Directory, Entry, LONG, SHORT};
use super::erase::erase;
use super::{Unreadable, tag};

/// What a result is: upright, of this size.
#[derive(Debug, Clone, Copy)]
pub(in crate::picture) struct Upright {
    pub(in crate::picture) width: u32,
    pub(in crate::picture) height: u32,
    /// Its colours are sRGB, whatever the photograph's were.
    pub(in crate::picture) srgb: bool,
}

/// Corrects a block for the result of a photograph: orientation 1 and the result's size where they
/// are told, sRGB as colour space, and no thumbnail, which would go on showing the old picture (in
/// file managers, and to whoever looks into the file). Everything else stays as it is, byte for
/// byte and in its place.
///
/// # Errors
/// The block has no readable first directory; it may be changed in part then.
pub(in crate::picture) fn normalise(
    block: &mut Vec<u8>,
    result: Upright,
) -> Result<(), Unreadable> {
    let order = ByteOrder::of(block)?;
    let first = Directory::first(block, order)?;
    let exif = first.child(block, order, tag::EXIF_DIRECTORY);
    let gps = first.child(block, order, tag::GPS_DIRECTORY);
    let rules =
        exif.as_ref().and_then(|exif| exif.child(block, order, tag::INTEROPERABILITY_DIRECTORY));
    remove_thumbnail(block, order, &first, &[exif.as_ref(), gps.as_ref(), rules.as_ref()]);

    for entry in exif.iter().flat_map(|exif| &exif.entries) {
        match entry.tag {
            tag::PIXEL_X_DIMENSION => set_size(block, order, entry, result.width),
            tag::PIXEL_Y_DIMENSION => set_size(block, order, entry, result.height),
            // 1 is sRGB, 0xFFFF anything else.
            tag::COLOR_SPACE if result.srgb => set_short(block, order, entry, 1),
            _ => {}
        }
    }
    for entry in rules.iter().flat_map(|rules| &rules.entries).filter(|_| result.srgb) {
        // R03 says Adobe RGB, R98 sRGB (DCF 2.0).
        let value = entry.value.clone().unwrap_or_default();
        if entry.tag == tag::INTEROPERABILITY_INDEX
            && entry.kind == ASCII
            && block.get(value.clone()) == Some(b"R03\0")
        {
            put(block, value.start, b"R98\0");
        }
    }
    for entry in &first.entries {
        match entry.tag {
            tag::IMAGE_WIDTH => set_size(block, order, entry, result.width),
            tag::IMAGE_LENGTH => set_size(block, order, entry, result.height),
            _ => {}
        }
    }
    // Read again: in a damaged block directories may overlap, and the changes above may have made
    // an orientation where there was none. Setting it makes no further one.
    for entry in &Directory::first(block, order)?.entries {
        if entry.tag == tag::ORIENTATION {
            set_short(block, order, entry, 1);
        }
    }
    Ok(())
}

/// Unlinks the second directory, which describes the thumbnail, and erases both.
fn remove_thumbnail(
    block: &mut Vec<u8>,
    order: ByteOrder,
    first: &Directory,
    others: &[Option<&Directory>],
) {
    let Some(next_at) = first.next_at else { return };
    let next = order.u32(block, next_at).unwrap_or(0);
    put(block, next_at, &[0; 4]);
    if next == 0 {
        return;
    }
    let Some(second) = Directory::read(block, order, next) else { return };
    let header = std::iter::once(0..8);
    let kept: Vec<_> = header
        .chain(first.ranges())
        .chain(others.iter().copied().flatten().flat_map(Directory::ranges))
        .collect();
    let number = |tag| {
        let entry = second.entries.iter().find(|entry| entry.tag == tag)?;
        entry.number(block, order).and_then(|number| usize::try_from(number).ok())
    };
    let mut unwanted: Vec<_> = second.ranges().collect();
    for (start, length) in
        [(tag::THUMBNAIL, tag::THUMBNAIL_LENGTH), (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS)]
    {
        if let (Some(start), Some(length)) = (number(start), number(length)) {
            let end = start.saturating_add(length).min(block.len());
            unwanted.push(start.min(end)..end);
        }
    }
    erase(block, &unwanted, &kept);
}

/// A size as a short if it is one and fits, else as a long; either lies within the entry.
fn set_size(block: &mut [u8], order: ByteOrder, entry: &Entry, size: u32) {
    match u16::try_from(size) {
        Ok(size) if entry.kind == SHORT => set_short(block, order, entry, size),
        _ => set(block, order, entry, LONG, order.u32_bytes(size)),
    }
}

fn set_short(block: &mut [u8], order: ByteOrder, entry: &Entry, value: u16) {
    let [a, b] = order.u16_bytes(value);
    set(block, order, entry, SHORT, [a, b, 0, 0]);
}

/// Makes an entry one number.
fn set(block: &mut [u8], order: ByteOrder, entry: &Entry, kind: u16, value: [u8; 4]) {
    put(block, entry.at + 2, &order.u16_bytes(kind));
    put(block, entry.at + 4, &order.u32_bytes(1));
    put(block, entry.at + 8, &value);
}

/// Writes where there is room: a block may have been cut after its directories were read.
fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
