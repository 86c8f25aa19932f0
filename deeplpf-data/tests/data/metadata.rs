//! EXIF and profiles of written files, read back by libraries that did not write them.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use crate::common::icc::{self, ADOBE_RGB, Curve};
use crate::common::{Source, gradient};
use deeplpf_data::{
    DecodeLimits, EncodeOptions, ExifLeftOut, ImageInfo, OutputFormat, Picture, Rendering,
};
use exif::{Exif, In, Reader, Tag, Value};
use image::ExtendedColorType;

const MAKER_NOTE: [u8; 200] = [0xA7; 200];

/// A little-endian EXIF block: maker, orientation, exposure, maker note, size, and a thumbnail.
fn camera_exif(orientation: u8, maker_note: &[u8]) -> Vec<u8> {
    fn entry(tag: u16, kind: u16, count: u32, value: u32) -> Vec<u8> {
        let mut bytes = [tag.to_le_bytes(), kind.to_le_bytes()].concat();
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    }
    let first = 8;
    let values = first + 2 + 3 * 12 + 4;
    let exif = values + 10;
    let exif_values = exif + 2 + 4 * 12 + 4;
    let note = exif_values + 8;
    let second = note + maker_note.len() as u32;
    let thumbnail = second + 2 + 2 * 12 + 4;
    [
        b"II\x2a\0".to_vec(),
        first.to_le_bytes().to_vec(),
        vec![3, 0],
        entry(0x010F, 2, 10, values),
        entry(0x0112, 3, 1, u32::from(orientation)),
        entry(0x8769, 4, 1, exif),
        second.to_le_bytes().to_vec(),
        b"Camera Co\0".to_vec(),
        vec![4, 0],
        entry(0x829A, 5, 1, exif_values),
        entry(0x927C, 7, maker_note.len() as u32, note),
        entry(0xA002, 4, 1, 9999),
        entry(0xA003, 4, 1, 8888),
        vec![0; 4],
        1u32.to_le_bytes().to_vec(),
        250u32.to_le_bytes().to_vec(),
        maker_note.to_vec(),
        vec![2, 0],
        entry(0x0201, 4, 1, thumbnail),
        entry(0x0202, 4, 1, 8),
        vec![0; 4],
        b"\xFF\xD8old!\xFF\xD9".to_vec(),
    ]
    .concat()
}

fn open(file: &[u8], name: &str) -> Picture {
    Picture::from_bytes(file, Path::new(name), &DecodeLimits::default()).expect("decodes")
}

/// Writes a gradient with what is known about a photograph.
fn write(
    folder: &Path,
    format: OutputFormat,
    info: &ImageInfo,
    options: &EncodeOptions,
) -> PathBuf {
    let path = folder.join(format!("{format}.{}", format.extension()));
    let mut rendering =
        Rendering::new(&path, (48, 64), format, Some(info), options).expect("a rendering");
    rendering.put_rows(0, gradient(64, 48).view());
    rendering.write().expect("written");
    assert_eq!(rendering.exif_left_out(), None);
    path
}

fn read(path: &Path) -> Result<Exif, exif::Error> {
    let file = std::fs::read(path).expect("readable");
    Reader::new().read_from_container(&mut Cursor::new(file))
}

fn check(exif: &Exif, what: &str) {
    let field =
        |tag| exif.get_field(tag, In::PRIMARY).unwrap_or_else(|| panic!("{what} has no {tag}"));
    let text = |tag| field(tag).display_value().to_string();
    assert_eq!(text(Tag::Make), "\"Camera Co\"", "{what}");
    assert_eq!(text(Tag::ExposureTime), "1/250", "{what}");
    assert!(matches!(&field(Tag::MakerNote).value, Value::Undefined(v, _) if v[..] == MAKER_NOTE));
    assert_eq!(field(Tag::PixelXDimension).value.get_uint(0), Some(48), "{what}");
    assert_eq!(field(Tag::PixelYDimension).value.get_uint(0), Some(64), "{what}");
    let orientation = exif.get_field(Tag::Orientation, In::PRIMARY);
    assert!(orientation.is_none_or(|f| f.value.get_uint(0) == Some(1)), "{what}");
    assert!(exif.fields().all(|field| field.ifd_num == In::PRIMARY), "{what} has a thumbnail");
}

const WITH_EXIF: [OutputFormat; 4] =
    [OutputFormat::Png, OutputFormat::Png16, OutputFormat::Jpeg, OutputFormat::Tiff16];

#[test]
fn exif_goes_from_every_format_to_every_format() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let exif = camera_exif(6, &MAKER_NOTE);
    let source = Source { exif: Some(&exif), ..Source::new(64, 48, ExtendedColorType::Rgb8) };
    let samples = vec![100; 64 * 48 * 3];
    // A TIFF with EXIF is made by writing one.
    let jpeg = open(&source.jpeg(&samples), "x.jpg");
    let tiff = write(folder.path(), OutputFormat::Tiff16, jpeg.info(), &EncodeOptions::default());
    let inputs = [
        ("jpeg", jpeg),
        ("png", open(&source.png(&samples), "x.png")),
        ("webp", open(&source.webp(&samples), "x.webp")),
        ("tiff", open(&std::fs::read(tiff).expect("readable"), "x.tif")),
    ];
    for (from, picture) in inputs {
        assert_eq!((picture.width(), picture.height()), (48, 64), "{from} is upright");
        for format in WITH_EXIF {
            let path = write(folder.path(), format, picture.info(), &EncodeOptions::default());
            check(&read(&path).expect("has EXIF"), &format!("{from} to {format}"));
            assert!(!std::fs::read(&path).expect("there").windows(4).any(|w| w == b"old!"));
        }
    }
}

/// WebP files of some writers have JPEG's marker before the block.
#[test]
fn a_marker_before_the_block_is_no_part_of_it() {
    let exif = [b"Exif\0\0".to_vec(), camera_exif(6, &MAKER_NOTE)].concat();
    let source = Source { exif: Some(&exif), ..Source::new(64, 48, ExtendedColorType::Rgb8) };
    let picture = open(&source.webp(&vec![100; 64 * 48 * 3]), "x.webp");
    assert_eq!((picture.width(), picture.info().orientation), (48, 6));
    assert_eq!(picture.info().exif.as_deref(), Some(&exif[6..]));
}

#[test]
fn stripped_files_have_none() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let exif = camera_exif(1, &MAKER_NOTE);
    let source = Source { exif: Some(&exif), ..Source::new(48, 64, ExtendedColorType::Rgb8) };
    let picture = open(&source.jpeg(&vec![9; 64 * 48 * 3]), "x.jpg");
    let options = EncodeOptions { strip_metadata: true, ..Default::default() };
    for format in WITH_EXIF {
        let path = write(folder.path(), format, picture.info(), &options);
        assert!(!std::fs::read(&path).expect("there").windows(6).any(|w| w == b"Camera"));
        if format != OutputFormat::Tiff16 {
            // A TIFF's own fields are EXIF of a kind.
            assert!(matches!(read(&path), Err(exif::Error::NotFound(_))), "{format}");
        }
    }
}

/// What cannot be kept is told, and the picture is written nevertheless.
#[test]
fn exif_that_cannot_be_kept_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let huge = camera_exif(1, &vec![7; 66_000]);
    let bytes = huge.len() - 38;
    let source = Source { exif: Some(&huge), ..Source::new(48, 64, ExtendedColorType::Rgb8) };
    let picture = open(&source.png(&vec![9; 64 * 48 * 3]), "x.png");
    let path = folder.path().join("x");
    let options = EncodeOptions::default();
    let rendering = |format, info: &ImageInfo| {
        Rendering::new(&path, (48, 64), format, Some(info), &options).expect("a rendering")
    };
    let jpeg = rendering(OutputFormat::Jpeg, picture.info());
    assert_eq!(jpeg.exif_left_out(), Some(ExifLeftOut::TooLarge { bytes }));
    jpeg.write().expect("written");
    assert_eq!(rendering(OutputFormat::Png, picture.info()).exif_left_out(), None);
    let damaged = ImageInfo { exif: Some(vec![1, 2, 3]), ..picture.info().clone() };
    for format in WITH_EXIF {
        assert_eq!(rendering(format, &damaged).exif_left_out(), Some(ExifLeftOut::Damaged));
    }
    assert_eq!(rendering(OutputFormat::Npy, &damaged).exif_left_out(), None);
}

fn profile_of(path: &Path, format: OutputFormat) -> Option<Vec<u8>> {
    let file = std::fs::read(path).expect("readable");
    match format {
        OutputFormat::Png | OutputFormat::Png16 => {
            let reader = png::Decoder::new(Cursor::new(file)).read_info().expect("PNG");
            reader.info().icc_profile.as_ref().map(|profile| profile.to_vec())
        }
        OutputFormat::Jpeg => {
            let mut decoder =
                zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(file));
            decoder.decode_headers().expect("JPEG");
            decoder.icc_profile()
        }
        _ => {
            let exif = Reader::new().read_from_container(&mut Cursor::new(file)).expect("TIFF");
            let tag = Tag(exif::Context::Tiff, 34675);
            match &exif.get_field(tag, In::PRIMARY)?.value {
                Value::Undefined(bytes, _) => Some(bytes.clone()),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn files_are_tagged_with_srgb_or_the_profile_that_was_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let adobe = icc::rgb(&ADOBE_RGB, Curve::Gamma256(563));
    let source = Source { icc: Some(&adobe), ..Source::new(8, 8, ExtendedColorType::Rgb8) };
    let picture = open(&source.png(&[100; 192]), "x.png");
    for format in WITH_EXIF {
        let path = write(folder.path(), format, picture.info(), &EncodeOptions::default());
        let srgb = profile_of(&path, format).expect("tagged");
        assert!(
            srgb.windows(4).any(|w| w == b"sRGB") || srgb.windows(8).any(|w| w == b"s\0R\0G\0B\0"),
            "{format}"
        );
        let options = EncodeOptions { keep_profile: true, ..Default::default() };
        let path = write(folder.path(), format, picture.info(), &options);
        assert_eq!(profile_of(&path, format).as_ref(), Some(&adobe), "{format}");
        // A photograph without a profile is sRGB, and stays so.
        let plain = ImageInfo { icc_profile: None, ..picture.info().clone() };
        let path = write(folder.path(), format, &plain, &options);
        assert_eq!(profile_of(&path, format), Some(srgb), "{format}");
    }
}
