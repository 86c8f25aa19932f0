//! Files that are not what they say: each has its own error, which names the file and the remedy.

use std::path::Path;

use crate::common::{Source, crc};
use deeplpf_data::{
    DataError, DecodeLimits, SourceFormat, decode, decode_bytes, decode_bytes_with,
};
use image::ExtendedColorType;

fn noise(width: u32, height: u32, channels: u32) -> Vec<u8> {
    // Incompressible enough that half a file is not nearly all of it.
    let mut state = 1u32;
    (0..width * height * channels)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// A picture of 40 x 30 in every format.
fn all_formats() -> [(&'static str, SourceFormat, Vec<u8>); 4] {
    let source = Source::new(40, 30, ExtendedColorType::Rgb8);
    let samples = noise(40, 30, 3);
    [
        ("x.png", SourceFormat::Png, source.png(&samples)),
        ("x.jpg", SourceFormat::Jpeg, source.jpeg(&samples)),
        ("x.tif", SourceFormat::Tiff, source.tiff(&samples)),
        ("x.webp", SourceFormat::WebP, source.webp(&samples)),
    ]
}

/// A PNG of one pixel whose header says another size, checksum and all.
fn png_saying(width: u32, height: u32) -> Vec<u8> {
    let mut file = Source::new(1, 1, ExtendedColorType::Rgb8).png(&[1, 2, 3]);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.to_be_bytes());
    file
}

fn jpeg_saying(width: u16, height: u16) -> Vec<u8> {
    let mut file = Source::new(8, 8, ExtendedColorType::Rgb8).jpeg(&[7; 192]);
    let at = file.windows(2).position(|w| w == [0xFF, 0xC0]).expect("baseline frame");
    file[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    file[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    file
}

fn tiff_saying(width: u32, height: u32) -> Vec<u8> {
    let mut file = Source::new(1, 1, ExtendedColorType::Rgb8).tiff(&[1, 2, 3]);
    let ifd = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize;
    let entries = usize::from(u16::from_le_bytes([file[ifd], file[ifd + 1]]));
    for at in (0..entries).map(|k| ifd + 2 + 12 * k) {
        let value = match u16::from_le_bytes([file[at], file[at + 1]]) {
            256 => width,
            257 => height,
            _ => continue,
        };
        // Type 4: one 32-bit number.
        file[at + 2..at + 4].copy_from_slice(&4u16.to_le_bytes());
        file[at + 8..at + 12].copy_from_slice(&value.to_le_bytes());
    }
    file
}

#[test]
fn an_empty_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("nothing.png");
    std::fs::write(&path, []).expect("written");
    let error = decode(&path).expect_err("empty");
    assert!(matches!(error, DataError::Empty { .. }), "{error}");
    assert!(error.to_string().contains("nothing.png is empty (0 bytes)"), "{error}");
}

#[test]
fn a_file_that_is_not_there() {
    let error = decode("no-such-folder/x.png").expect_err("missing");
    assert!(matches!(error, DataError::Read { .. }), "{error}");
    assert!(error.to_string().contains("no-such-folder"), "{error}");
}

#[test]
fn text_named_png() {
    for content in
        [&b"this is a text file, not a picture"[..], b"\x89", b"GIF89a..........", b"BM12"]
    {
        let error = decode_bytes(content, Path::new("x.png")).expect_err("text");
        assert!(matches!(error, DataError::NotAPicture { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "x.png is not a PNG, JPEG, TIFF or WebP picture; convert it to one of these"
        );
    }
}

/// The content decides, not the extension.
#[test]
fn a_jpeg_named_png_is_a_jpeg() {
    let file = Source::new(8, 8, ExtendedColorType::Rgb8).jpeg(&[128; 192]);
    let image = decode_bytes(&file, Path::new("x.png")).expect("decodes");
    assert_eq!(image.info.format, SourceFormat::Jpeg);
}

/// Cut anywhere after the first bytes, every format is refused; nothing is filled in.
#[test]
fn truncated_pictures() {
    for (name, format, file) in all_formats() {
        assert!(decode_bytes(&file, Path::new(name)).is_ok(), "{name} whole");
        for part in [30, 50, 70, 90, 99] {
            let cut = &file[..file.len() * part / 100];
            let error = decode_bytes(cut, Path::new(name)).expect_err("cut");
            match &error {
                DataError::Truncated { format: found, .. } => assert_eq!(*found, format),
                // A TIFF's directory is at its end: a cut file has lost what says how long it is.
                DataError::Damaged { .. } if format == SourceFormat::Tiff => {}
                other => panic!("{name} at {part}%: {other}"),
            }
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

/// The end of a JPEG's thumbnail is not the end of the JPEG.
#[test]
fn a_truncated_jpeg_with_a_thumbnail() {
    let thumbnail = Source::new(8, 8, ExtendedColorType::Rgb8).jpeg(&[128; 192]);
    let exif = [crate::common::exif_with_orientation(1), thumbnail].concat();
    let source = Source { exif: Some(&exif), ..Source::new(40, 30, ExtendedColorType::Rgb8) };
    let file = source.jpeg(&noise(40, 30, 3));
    assert!(decode_bytes(&file, Path::new("x.jpg")).is_ok());
    let error = decode_bytes(&file[..file.len() * 3 / 4], Path::new("x.jpg")).expect_err("cut");
    assert!(matches!(error, DataError::Truncated { .. }), "{error}");
}

/// Bytes changed in the middle: an error or some picture of the right size, never a panic.
#[test]
fn damaged_pictures_do_not_panic() {
    for (name, _, file) in all_formats() {
        for at in (0..file.len()).step_by(7) {
            for value in [0x00, 0xFF, 0x55] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let limits = DecodeLimits { max_pixels: 1 << 16 };
                if let Ok(image) = decode_bytes_with(&damaged, Path::new(name), &limits) {
                    assert!(image.pixels.iter().all(|v| (0.0..=1.0).contains(v)));
                }
            }
        }
    }
}

#[test]
fn a_damaged_png_says_so() {
    let mut file = Source::new(40, 30, ExtendedColorType::Rgb8).png(&noise(40, 30, 3));
    let at = file.windows(4).position(|w| w == b"IDAT").expect("data");
    file[at + 40] ^= 0xFF;
    let error = decode_bytes(&file, Path::new("x.png")).expect_err("damaged");
    assert!(matches!(error, DataError::Damaged { .. }), "{error}");
}

/// It is the network that needs 32 pixels; a single one decodes.
#[test]
fn a_single_pixel() {
    for (name, file) in [
        ("x.png", Source::new(1, 1, ExtendedColorType::Rgb8).png(&[0, 51, 255])),
        ("x.tif", Source::new(1, 1, ExtendedColorType::Rgb8).tiff(&[0, 51, 255])),
        ("x.webp", Source::new(1, 1, ExtendedColorType::Rgb8).webp(&[0, 51, 255])),
    ] {
        let image = decode_bytes(&file, Path::new(name)).expect("decodes");
        assert_eq!(image.pixels.dim(), (3, 1, 1));
        assert_eq!(image.pixels.as_slice(), Some(&[0.0, 0.2, 1.0][..]));
    }
}

/// 900 megapixels announced by a file of a few hundred bytes: refused from the header alone.
#[test]
fn header_bombs() {
    for (name, file) in [
        ("x.png", png_saying(30_000, 30_000)),
        ("x.jpg", jpeg_saying(30_000, 30_000)),
        ("x.tif", tiff_saying(30_000, 30_000)),
        ("widest.png", png_saying(0x7FFF_FFFF, 0x7FFF_FFFF)),
    ] {
        let error = decode_bytes(&file, Path::new(name)).expect_err("bomb");
        assert!(matches!(error, DataError::TooManyPixels { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = decode_bytes(&png_saying(30_000, 30_000), Path::new("x.png")).expect_err("bomb");
    assert_eq!(
        error.to_string(),
        "x.png says it is 30000x30000 = 900 megapixels, more than the limit of 268; \
         scale it down with another program"
    );
}

/// 100 and 200 megapixels are within the limit: what stops these is that there are no pixels.
#[test]
fn large_photographs_are_within_the_limit() {
    for (width, height) in [(12_247, 8_165), (17_320, 11_547)] {
        let cut = png_saying(width, height);
        // Nothing after the header: refused before anything is allocated.
        let error = decode_bytes(&cut[..60], Path::new("x.png")).expect_err("cut");
        assert!(matches!(error, DataError::Truncated { .. }), "{error}");
    }
}

/// Just under the limit, but with no pixels behind it: an error, and quickly.
#[test]
fn a_header_without_its_pixels() {
    let error = decode_bytes(&png_saying(3_000, 3_000), Path::new("x.png")).expect_err("no pixels");
    assert!(matches!(error, DataError::Damaged { .. } | DataError::Truncated { .. }), "{error}");
}

#[test]
fn the_limit_is_the_callers() {
    let file = Source::new(4, 4, ExtendedColorType::Rgb8).png(&[0; 48]);
    let decode = |max_pixels| {
        decode_bytes_with(&file, Path::new("x.png"), &DecodeLimits { max_pixels }).is_ok()
    };
    assert!(decode(16));
    assert!(!decode(15));
}

/// A JPEG with four components is CMYK or YCCK. Written by hand, as no encoder here makes one: the
/// frame and scan headers of a grey JPEG get three more components.
#[test]
fn cmyk_is_refused() {
    let grey = Source::new(8, 8, ExtendedColorType::L8).jpeg(&[128; 64]);
    let find = |marker: u8| grey.windows(2).position(|w| w == [0xFF, marker]).expect("segment");
    let (frame, scan) = (find(0xC0), find(0xDA));
    let length = |at: usize| usize::from(u16::from_be_bytes([grey[at + 2], grey[at + 3]]));
    let mut file = grey[..frame].to_vec();
    file.extend([0xFF, 0xC0, 0, 20, 8, 0, 8, 0, 8, 4]);
    for id in 1..=4 {
        file.extend([id, 0x11, 0]);
    }
    file.extend(&grey[frame + 2 + length(frame)..scan]);
    file.extend([0xFF, 0xDA, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
    file.extend(&grey[scan + 2 + length(scan)..]);
    let error = decode_bytes(&file, Path::new("print.jpg")).expect_err("CMYK");
    assert!(matches!(error, DataError::UnsupportedPixels { .. }), "{error}");
    assert!(error.to_string().contains("print.jpg has CMYK pixels"), "{error}");
}

#[test]
fn float_tiffs_are_refused() {
    let samples: Vec<u8> = [0.5f32; 3].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let file = Source::new(1, 1, ExtendedColorType::Rgb32F).tiff(&samples);
    let error = decode_bytes(&file, Path::new("x.tif")).expect_err("float");
    assert!(matches!(error, DataError::UnsupportedPixels { .. }), "{error}");
}

/// TIFF's larger sibling, in both byte orders, is told apart from what is no picture at all.
#[test]
fn big_tiffs_are_refused_by_name() {
    for magic in [*b"II\x2b\0", *b"MM\0\x2b"] {
        let error = decode_bytes(&magic, Path::new("x.tif")).expect_err("BigTIFF");
        assert!(matches!(error, DataError::BigTiff { .. }), "{error}");
        assert!(error.to_string().contains("x.tif is a BigTIFF"), "{error}");
        assert!(error.to_string().contains("classic TIFF"), "{error}");
    }
}

/// A TIFF of palette colours: a feature the decoder lacks.
#[test]
fn palette_tiffs_are_refused() {
    let mut file = Source::new(1, 1, ExtendedColorType::L8).tiff(&[0]);
    let ifd = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize;
    let entries = usize::from(u16::from_le_bytes([file[ifd], file[ifd + 1]]));
    for at in (0..entries).map(|k| ifd + 2 + 12 * k) {
        // Photometric interpretation 3 is a palette.
        if u16::from_le_bytes([file[at], file[at + 1]]) == 262 {
            file[at + 8] = 3;
        }
    }
    let error = decode_bytes(&file, Path::new("x.tif")).expect_err("palette");
    assert!(matches!(error, DataError::UnsupportedFeature { .. }), "{error}");
}

/// As a TIFF it would decode to its thumbnail.
#[cfg(not(feature = "raw"))]
#[test]
fn raw_files_are_refused_by_a_build_without_a_decoder() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raw/bayer.dng");
    let bytes = std::fs::read(path).unwrap();
    let refused = |bytes: &[u8], name: &str| {
        deeplpf_data::decode_bytes(bytes, Path::new(name)).unwrap_err().to_string()
    };
    for error in [refused(&bytes, "photo.dng"), refused(&bytes, "photo.tif")] {
        assert!(
            error.contains("which this build does not decode; build with --features raw"),
            "{error}"
        );
    }
    assert!(refused(b"FUJIFILMCCD-RAW 0201", "photo.raf").contains("--features raw"));
}
