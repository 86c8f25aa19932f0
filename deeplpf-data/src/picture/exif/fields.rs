//! EXIF fields taken out of their container, to be laid down in another.

use super::block::{ByteOrder, Directory, LONG, width};
use super::{Unreadable, tag};

/// Most bytes of values that are taken out of a file. A JPEG holds 64 KiB; in a TIFF file entries may
/// share their bytes, so that a small file could claim gigabytes.
const MOST_BYTES: usize = 4 << 20;

/// A field with its value in the byte order of [`Fields::order`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::picture) struct Field {
    pub(in crate::picture) tag: u16,
    /// The number of its TIFF type, 1 to 13.
    pub(in crate::picture) kind: u16,
    value: Vec<u8>,
}

/// The fields that speak of a photograph, from the first directory, and the directories of
/// settings, places and rules for colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::picture) struct Fields {
    order: ByteOrder,
    pub(in crate::picture) photograph: Vec<Field>,
    pub(in crate::picture) exif: Vec<Field>,
    pub(in crate::picture) gps: Vec<Field>,
    pub(in crate::picture) interoperability: Vec<Field>,
}

impl Fields {
    /// The fields of an EXIF block or of a TIFF file. Values that are not wholly in it are left out.
    ///
    /// # Errors
    /// There is no readable first directory, or the values are more than [`MOST_BYTES`].
    pub(in crate::picture) fn read(file: &[u8]) -> Result<Self, Unreadable> {
        let order = ByteOrder::of(file)?;
        let first = Directory::first(file, order)?;
        let mut left = MOST_BYTES;
        let mut take = |directory: Option<&Directory>, wanted: &dyn Fn(u16) -> bool| {
            let mut fields = Vec::new();
            for entry in directory.iter().flat_map(|directory| &directory.entries) {
                let Some(value) = entry.value.clone().filter(|_| wanted(entry.tag)) else {
                    continue;
                };
                left = left.checked_sub(value.len()).ok_or(Unreadable)?;
                let value = file[value].to_vec();
                fields.push(Field { tag: entry.tag, kind: entry.kind, value });
            }
            // Directories are in the order of their tags, each once.
            fields.sort_by_key(|field: &Field| field.tag);
            fields.dedup_by_key(|field| field.tag);
            Ok(fields)
        };
        let exif = first.child(file, order, tag::EXIF_DIRECTORY);
        let gps = first.child(file, order, tag::GPS_DIRECTORY);
        let rules =
            exif.as_ref().and_then(|exif| exif.child(file, order, tag::INTEROPERABILITY_DIRECTORY));
        Ok(Self {
            order,
            photograph: take(Some(&first), &|tag| tag::OF_THE_PHOTOGRAPH.contains(&tag))?,
            exif: take(exif.as_ref(), &|tag| tag != tag::INTEROPERABILITY_DIRECTORY)?,
            gps: take(gps.as_ref(), &|_| true)?,
            interoperability: take(rules.as_ref(), &|_| true)?,
        })
    }

    /// Nothing but a resolution.
    pub(in crate::picture) fn is_empty(&self) -> bool {
        self.photograph.iter().all(|field| tag::RESOLUTION.contains(&field.tag))
            && self.exif.is_empty()
            && self.gps.is_empty()
    }

    /// A field's value in the byte order of this machine, as TIFF files are written.
    pub(in crate::picture) fn native_value(&self, field: &Field) -> Vec<u8> {
        let native =
            if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };
        let mut value = field.value.clone();
        if self.order != native {
            // Fractions are two numbers of half their width.
            let number = match field.kind {
                5 | 10 => 4,
                kind => width(kind).unwrap_or(1),
            };
            value.chunks_exact_mut(number).for_each(<[u8]>::reverse);
        }
        value
    }

    /// A block that holds the fields, in their own byte order: some maker notes rely on it.
    /// `None` where they do not fit 32-bit offsets or 16-bit counts.
    pub(super) fn to_block(&self) -> Option<Vec<u8>> {
        let order = self.order;
        let header = match order {
            ByteOrder::Little => *b"II\x2a\0",
            ByteOrder::Big => *b"MM\0\x2a",
        };
        let mut block = header.to_vec();
        block.extend([0; 4]);
        // Children first, so that parents can point to them.
        let mut exif = self.exif.clone();
        let mut photograph = self.photograph.clone();
        let pointer = |tag, offset| Field { tag, kind: LONG, value: offset };
        if !self.interoperability.is_empty() {
            let offset = append(&mut block, order, &self.interoperability)?;
            exif.push(pointer(tag::INTEROPERABILITY_DIRECTORY, order.u32_bytes(offset).to_vec()));
        }
        for (fields, tag) in
            [(&mut exif, tag::EXIF_DIRECTORY), (&mut self.gps.clone(), tag::GPS_DIRECTORY)]
        {
            if !fields.is_empty() {
                fields.sort_by_key(|field| field.tag);
                let offset = append(&mut block, order, fields)?;
                photograph.push(pointer(tag, order.u32_bytes(offset).to_vec()));
            }
        }
        photograph.sort_by_key(|field| field.tag);
        let first = append(&mut block, order, &photograph)?;
        block[4..8].copy_from_slice(&order.u32_bytes(first));
        Some(block)
    }
}

/// Appends a directory and then its values; returns where it begins.
fn append(block: &mut Vec<u8>, order: ByteOrder, fields: &[Field]) -> Option<u32> {
    // Directories and values begin at even offsets.
    block.resize(block.len().next_multiple_of(2), 0);
    let start = block.len();
    block.extend(order.u16_bytes(u16::try_from(fields.len()).ok()?));
    let mut values = Vec::new();
    let values_at = start + 2 + 12 * fields.len() + 4;
    for field in fields {
        let count = field.value.len() / width(field.kind)?;
        block.extend(order.u16_bytes(field.tag));
        block.extend(order.u16_bytes(field.kind));
        block.extend(order.u32_bytes(u32::try_from(count).ok()?));
        if field.value.len() <= 4 {
            let mut inline = [0; 4];
            inline[..field.value.len()].copy_from_slice(&field.value);
            block.extend(inline);
        } else {
            values.resize(values.len().next_multiple_of(2), 0);
            block.extend(order.u32_bytes(u32::try_from(values_at + values.len()).ok()?));
            values.extend(&field.value);
        }
    }
    block.extend([0; 4]);
    block.extend(values);
    u32::try_from(start).ok()
}
