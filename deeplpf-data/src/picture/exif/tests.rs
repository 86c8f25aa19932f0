//! Blocks written byte by byte here, read by another library (`kamadak-exif`), and damaged at random.

use exif::{Context, Exif, In, Reader, Tag, Value};
use image::metadata::Orientation;
use proptest::prelude::*;

use super::block::ByteOrder;
use super::{Fields, Upright, normalise, of_tiff, without_prefix};

/// Tag, type, value in the block's order.
type Entry = (u16, u16, Vec<u8>);

const RESULT: Upright = Upright { width: 300, height: 200, srgb: true };

/// A block in which values follow each directory, as cameras write it, and the thumbnail is last.
struct Writer {
    order: ByteOrder,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(order: ByteOrder) -> Self {
        let header = if order == ByteOrder::Little { b"II\x2a\0" } else { b"MM\0\x2a" };
        Self { order, bytes: [&header[..], &[0; 4]].concat() }
    }

    fn short(&self, value: u16) -> Vec<u8> {
        self.order.u16_bytes(value).to_vec()
    }

    fn long(&self, value: usize) -> Vec<u8> {
        self.order.u32_bytes(value as u32).to_vec()
    }

    /// Appends a directory; returns its offset and the place of the offset of the next.
    fn directory(&mut self, entries: &[Entry]) -> (usize, usize) {
        let start = self.bytes.len();
        self.bytes.extend(self.order.u16_bytes(entries.len() as u16));
        let mut values: Vec<u8> = Vec::new();
        let values_at = start + 2 + 12 * entries.len() + 4;
        for (tag, kind, value) in entries {
            let width = super::block::width(*kind).unwrap_or(1);
            self.bytes.extend(self.order.u16_bytes(*tag));
            self.bytes.extend(self.order.u16_bytes(*kind));
            self.bytes.extend(self.long(value.len() / width));
            if value.len() <= 4 {
                self.bytes.extend(value);
                self.bytes.extend(vec![0; 4 - value.len()]);
            } else {
                self.bytes.extend(self.long(values_at + values.len()));
                values.extend(value);
            }
        }
        let next = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(values);
        (start, next)
    }

    fn set(&mut self, at: usize, offset: usize) {
        let offset = self.long(offset);
        self.bytes[at..at + 4].copy_from_slice(&offset);
    }
}

const MAKER_NOTE: &[u8] = b"Maker\0\x01\x02\x03 whose offsets count from the start of the block";
const THUMBNAIL: &[u8] = b"\xFF\xD8 the old picture, small \xFF\xD9";

/// What a camera set to Adobe RGB writes.
fn photograph(order: ByteOrder) -> Vec<u8> {
    let mut w = Writer::new(order);
    let (rules, _) = w.directory(&[(0x0001, 2, b"R03\0".to_vec())]);
    let exposure = [w.long(1), w.long(250)].concat();
    let exif = [
        (0x829A, 5, exposure),
        (0x927C, 7, MAKER_NOTE.to_vec()),
        (0xA001, 3, w.short(0xFFFF)),
        (0xA002, 3, w.short(6000)),
        (0xA003, 4, w.long(4000)),
        (0xA005, 4, w.long(rules)),
    ];
    let (exif, _) = w.directory(&exif);
    let degrees = [48, 1, 51, 1, 24, 1].map(|v| w.long(v)).concat();
    let (gps, _) = w.directory(&[(1, 2, b"N\0".to_vec()), (2, 5, degrees)]);
    let first = [
        (0x0100, 3, w.short(6000)),
        (0x0101, 3, w.short(4000)),
        (0x010F, 2, b"A maker of cameras\0".to_vec()),
        (0x0112, 3, w.short(6)),
        (0x0132, 2, b"2026:11:22 10:00:00\0".to_vec()),
        (0x8769, 4, w.long(exif)),
        (0x8825, 4, w.long(gps)),
    ];
    let (first, next) = w.directory(&first);
    w.set(4, first);
    let at = w.bytes.len();
    // Two entries of 12 bytes, a count and a next offset come before the thumbnail.
    let second = [(0x0201, 4, w.long(at + 30)), (0x0202, 4, w.long(THUMBNAIL.len()))];
    let (second, _) = w.directory(&second);
    w.bytes.extend(THUMBNAIL);
    w.set(next, second);
    w.bytes
}

fn read(block: &[u8]) -> Exif {
    Reader::new().read_raw(block.to_vec()).expect("readable")
}

fn number(exif: &Exif, tag: Tag) -> Option<u32> {
    exif.get_field(tag, In::PRIMARY)?.value.get_uint(0)
}

fn find(block: &[u8], bytes: &[u8]) -> Option<usize> {
    block.windows(bytes.len()).position(|window| window == bytes)
}

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

#[test]
fn what_no_longer_holds_is_put_right_and_the_rest_stays_in_its_place() {
    for order in ORDERS {
        let original = photograph(order);
        let before = read(&original);
        assert_eq!(number(&before, Tag::Orientation), Some(6));
        assert!(before.fields().any(|field| field.ifd_num == In::THUMBNAIL));

        let mut block = original.clone();
        normalise(&mut block, RESULT).expect("readable");
        let after = read(&block);
        for (tag, expected) in [
            (Tag::Orientation, 1),
            (Tag::ImageWidth, 300),
            (Tag::ImageLength, 200),
            (Tag::PixelXDimension, 300),
            (Tag::PixelYDimension, 200),
            (Tag::ColorSpace, 1),
        ] {
            assert_eq!(number(&after, tag), Some(expected), "{tag}");
        }
        let index = after.get_field(Tag::InteroperabilityIndex, In::PRIMARY).expect("kept");
        assert_eq!(index.value.display_as(index.tag).to_string(), "\"R98\"");
        assert!(after.fields().all(|field| field.ifd_num == In::PRIMARY));
        assert_eq!(
            before.fields().filter(|f| f.ifd_num == In::PRIMARY).count(),
            after.fields().count()
        );
        for tag in [Tag::Make, Tag::DateTime, Tag::ExposureTime, Tag::GPSLatitude, Tag::MakerNote] {
            let value =
                |exif: &Exif| exif.get_field(tag, In::PRIMARY).map(|f| format!("{:?}", f.value));
            assert_eq!(value(&before), value(&after), "{tag}");
        }
        assert_eq!(find(&block, MAKER_NOTE), find(&original, MAKER_NOTE));
        // The thumbnail and its directory were last: nothing is left of them.
        assert_eq!(find(&block, THUMBNAIL), None);
        assert_eq!(block.len(), original.len() - THUMBNAIL.len() - 30);
    }
}

#[test]
fn colours_that_are_not_srgb_are_not_called_so() {
    let mut block = photograph(ByteOrder::Big);
    normalise(&mut block, Upright { srgb: false, ..RESULT }).expect("readable");
    assert_eq!(number(&read(&block), Tag::ColorSpace), Some(0xFFFF));
    assert!(find(&block, b"R03\0").is_some());
}

/// A size that does not fit a short becomes a long.
#[test]
fn sizes_may_grow() {
    for order in ORDERS {
        let mut block = photograph(order);
        normalise(&mut block, Upright { width: 70_000, height: 32, srgb: true }).expect("readable");
        let exif = read(&block);
        assert_eq!(number(&exif, Tag::PixelXDimension), Some(70_000));
        assert_eq!(number(&exif, Tag::PixelYDimension), Some(32));
    }
}

/// A thumbnail in the middle is erased without moving what follows it.
#[test]
fn a_thumbnail_in_the_middle_is_zeroed() {
    let mut original = photograph(ByteOrder::Little);
    let behind = b"what a maker note may point to";
    original.extend(behind);
    let mut block = original.clone();
    normalise(&mut block, RESULT).expect("readable");
    assert_eq!(find(&block, THUMBNAIL), None);
    assert_eq!(find(&block, behind), find(&original, behind));
    assert_eq!(block.len(), original.len());
}

/// A second directory that claims the maker note as its thumbnail does not get it erased.
#[test]
fn a_thumbnail_over_other_values_is_unlinked_only() {
    let original = photograph(ByteOrder::Little);
    let note = find(&original, MAKER_NOTE).expect("there");
    let place = find(&original, THUMBNAIL).expect("there") - 30 + 2 + 8;
    let mut block = original.clone();
    block[place..place + 4].copy_from_slice(&(note as u32).to_le_bytes());
    normalise(&mut block, RESULT).expect("readable");
    assert_eq!(find(&block, MAKER_NOTE), Some(note));
    assert!(read(&block).fields().all(|field| field.ifd_num == In::PRIMARY));
}

/// Taken out and laid down anew: every value is the same, in either byte order.
#[test]
fn fields_survive_another_container() {
    for order in ORDERS {
        let original = photograph(order);
        let block = of_tiff(&original).expect("has fields");
        let (before, after) = (read(&original), read(&block));
        for field in after.fields() {
            let tag = field.tag;
            let same = before.get_field(tag, In::PRIMARY).expect("was there");
            assert_eq!(format!("{:?}", same.value), format!("{:?}", field.value), "{tag}");
        }
        for tag in [Tag::Make, Tag::ExposureTime, Tag::GPSLatitude, Tag::InteroperabilityIndex] {
            assert!(after.get_field(tag, In::PRIMARY).is_some(), "{tag}");
        }
        // How pixels were stored stays behind.
        for tag in [Tag::ImageWidth, Tag::Orientation] {
            assert!(after.get_field(tag, In::PRIMARY).is_none(), "{tag}");
        }
        let note = after.get_field(Tag::MakerNote, In::PRIMARY).expect("there");
        assert!(matches!(&note.value, Value::Undefined(bytes, _) if bytes == MAKER_NOTE));
    }
    assert!(Tag::Make.context() == Context::Tiff);
}

/// Entries that share their bytes could claim gigabytes.
#[test]
fn values_that_are_too_many_are_refused() {
    let mut w = Writer::new(ByteOrder::Little);
    let entries: Vec<Entry> = (0..60_000u16).map(|tag| (tag, 7, vec![tag as u8; 4])).collect();
    let (exif, _) = w.directory(&entries);
    let (first, _) = w.directory(&[(0x8769, 4, w.long(exif))]);
    w.set(4, first);
    w.bytes.resize(1 << 20, 0);
    assert!(Fields::read(&w.bytes).is_ok());
    for k in 0..entries.len() {
        let at = exif + 2 + 12 * k;
        w.bytes[at + 4..at + 12].copy_from_slice(&[0, 0, 15, 0, 0, 0, 0, 0]);
    }
    assert!(Fields::read(&w.bytes).is_err());
}

#[test]
fn a_prefix_is_removed_once() {
    assert_eq!(without_prefix(b"Exif\0\0II".to_vec()), b"II");
    assert_eq!(without_prefix(b"II*\0".to_vec()), b"II*\0");
}

/// Whatever the bytes: no panic, no growth, and nobody turns the result once more.
fn check(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let length = bytes.len();
    if let Some((fields, block)) =
        Fields::read(&bytes).ok().and_then(|f| Some((f.clone(), f.to_block()?)))
    {
        prop_assert_eq!(Fields::read(&block).ok(), Some(fields));
    }
    let mut block = bytes;
    if normalise(&mut block, RESULT).is_ok() {
        prop_assert!(block.len() <= length);
        let orientation = Orientation::from_exif_chunk(&block);
        prop_assert!(matches!(orientation, None | Some(Orientation::NoTransforms)));
        let once = block.clone();
        if normalise(&mut block, RESULT).is_ok() {
            prop_assert!(
                Orientation::from_exif_chunk(&block).is_none_or(|o| o == Orientation::NoTransforms)
            );
            prop_assert!(block.len() <= once.len());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_blocks(
        big in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut block = photograph(if big { ByteOrder::Big } else { ByteOrder::Little });
        for (at, value) in changes {
            let at = at.index(block.len());
            block[at] = value;
        }
        if cut {
            let length = keep.index(block.len());
            block.truncate(length);
        }
        check(block)?;
    }

    /// Small numbers, so that offsets and counts lie within the block and directories overlap.
    #[test]
    fn noise_behind_a_header(noise in prop::collection::vec(0u8..32, 0..200)) {
        check([&b"II\x2a\0"[..], &noise].concat())?;
        check([&b"MM\0\x2a"[..], &noise].concat())?;
        check(noise)?;
    }
}
