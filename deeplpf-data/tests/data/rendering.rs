//! Pictures and renderings in their own bit depth give the same as whole arrays of floats.

use std::path::Path;

use crate::common::icc::{self, Curve, PRO_PHOTO};
use crate::common::{Source, exif_with_orientation, gradient};
use deeplpf_data::{
    DecodeLimits, EncodeOptions, OutputFormat, Picture, Rendering, decode, decode_bytes, encode,
};
use image::ExtendedColorType::{self, L8, La16, Rgb8, Rgb16, Rgba8, Rgba16};
use ndarray::s;

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7u32;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn open(file: &[u8]) -> Picture {
    Picture::from_bytes(file, Path::new("x"), &DecodeLimits::default()).expect("decodes")
}

#[test]
fn rows_are_those_of_the_whole_picture() {
    let profile = icc::rgb(&PRO_PHOTO, Curve::Gamma256(461));
    // Wider and higher than a band of the rotation, and no multiple of it.
    let (width, height) = (75, 41);
    let layouts: [(ExtendedColorType, usize, usize); 6] =
        [(L8, 1, 1), (Rgb8, 3, 3), (Rgba8, 4, 3), (La16, 4, 2), (Rgb16, 6, 6), (Rgba16, 8, 6)];
    for (layout, stored, kept) in layouts {
        for orientation in 1..=8 {
            for icc in [None, Some(&profile[..])] {
                let exif = exif_with_orientation(orientation);
                let source =
                    Source { icc, exif: Some(&exif), ..Source::new(width, height, layout) };
                let file = source.png(&noise(width as usize * height as usize * stored));
                let picture = open(&file);
                assert_eq!(picture.bytes(), width as usize * height as usize * kept);
                let whole = decode_bytes(&file, Path::new("x")).expect("decodes").pixels;
                assert_eq!(whole.dim(), (3, picture.height(), picture.width()));
                let mut row = vec![0.0; 3 * picture.width()];
                for y in 0..picture.height() {
                    let (red, rest) = row.split_at_mut(picture.width());
                    let (green, blue) = rest.split_at_mut(picture.width());
                    picture.read_row(y, [red, green, blue]);
                    let expected = whole.slice(s![.., y, ..]);
                    assert!(row.iter().eq(expected.iter()), "{layout:?} {orientation} row {y}");
                }
            }
        }
    }
}

/// Bands of any height, in any order, make the file that the whole picture makes.
#[test]
fn bands_make_the_same_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pixels = gradient(53, 38);
    for format in OutputFormat::ALL {
        let (whole, banded) = (folder.path().join("whole"), folder.path().join("banded"));
        encode(&whole, pixels.view(), format, None).expect("written");
        let options = EncodeOptions::default();
        let mut rendering =
            Rendering::new(&banded, (38, 53), format, None, &options).expect("a rendering");
        for (first, end) in [(20, 53), (0, 1), (1, 20)] {
            rendering.put_rows(first, pixels.slice(s![.., first..end, ..]));
        }
        rendering.write().expect("written");
        let read = |path| std::fs::read(path).expect("readable");
        assert!(read(whole) == read(banded), "{format}");
    }
}

#[test]
fn extreme_shapes_survive() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (height, width) in [(32, 20_000), (20_000, 32), (1, 65_535), (65_535, 1)] {
        let pixels = gradient(height, width);
        for format in [OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Tiff16] {
            let path = folder.path().join(format!("x.{}", format.extension()));
            encode(&path, pixels.view(), format, None).expect("written");
            let found = decode(&path).expect("decodes").pixels;
            let levels = if format == OutputFormat::Jpeg { 6.0 } else { 0.6 };
            let difference = crate::common::largest_difference(found.view(), pixels.view());
            assert!(difference < levels / 255.0, "{format} {height}x{width}: {difference}");
        }
    }
}

/// JPEG's sizes have 16 bits.
#[test]
fn a_jpeg_that_is_too_wide_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("x.jpg");
    let error =
        encode(&path, gradient(1, 65_536).view(), OutputFormat::Jpeg, None).expect_err("too wide");
    assert!(error.to_string().contains("65536 pixels are more than its 65535"), "{error}");
    assert!(crate::common::names(folder.path()).is_empty());
}

/// The quality is that of libjpeg's scale, and colour is never subsampled.
#[test]
fn jpeg_quality_and_sampling() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("x.jpg");
    let write = |quality| {
        let options = EncodeOptions { quality, ..Default::default() };
        let mut rendering = Rendering::new(&path, (64, 64), OutputFormat::Jpeg, None, &options)
            .expect("a rendering");
        rendering.put_rows(0, gradient(64, 64).view());
        rendering.write().expect("written");
        std::fs::read(&path).expect("readable")
    };
    // The first step of luminance is 16 in annex K: scaled by 2 - 2q/100 from 50 up, 50/q below.
    for (quality, step) in [(100, 1), (95, 2), (75, 8), (50, 16), (25, 32), (1, 255)] {
        let file = write(quality);
        let find = |marker: u8| file.windows(2).position(|w| w == [0xFF, marker]).expect("there");
        assert_eq!(file[find(0xDB) + 5], step, "{quality}");
        let frame = find(0xC0);
        let sampling: Vec<u8> = (0..3).map(|k| file[frame + 11 + 3 * k]).collect();
        assert_eq!(sampling, [0x11; 3], "{quality}");
    }
}
