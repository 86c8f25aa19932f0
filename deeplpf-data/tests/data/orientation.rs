//! EXIF and TIFF orientation, all eight, against pictures written out by hand.

use std::path::Path;

use crate::common::{Source, exif_with_orientation};
use deeplpf_data::{OutputFormat, decode, decode_bytes, encode};
use image::ExtendedColorType;
use ndarray::{Array2, s};

/// Two rows of three blocks, upright: dark to bright in reading order.
const UPRIGHT: [[u8; 3]; 2] = [[0, 50, 100], [150, 200, 250]];

/// How the upright picture lies in a file of each orientation (EXIF 2.32, 4.6.5: where row 0 and
/// column 0 of the file are in the picture).
fn stored(orientation: u8) -> Vec<Vec<u8>> {
    match orientation {
        1 => vec![vec![0, 50, 100], vec![150, 200, 250]],
        2 => vec![vec![100, 50, 0], vec![250, 200, 150]],
        3 => vec![vec![250, 200, 150], vec![100, 50, 0]],
        4 => vec![vec![150, 200, 250], vec![0, 50, 100]],
        // Row 0 is the left side, column 0 the top.
        5 => vec![vec![0, 150], vec![50, 200], vec![100, 250]],
        // Row 0 is the right side, column 0 the top.
        6 => vec![vec![100, 250], vec![50, 200], vec![0, 150]],
        // Row 0 is the right side, column 0 the bottom.
        7 => vec![vec![250, 100], vec![200, 50], vec![150, 0]],
        // Row 0 is the left side, column 0 the bottom.
        8 => vec![vec![150, 0], vec![200, 50], vec![250, 100]],
        _ => unreachable!("1 to 8"),
    }
}

/// Each level as a block of 8 x 8, which JPEG keeps exactly enough.
fn blocks(levels: &[Vec<u8>]) -> (u32, u32, Vec<u8>) {
    let (rows, columns) = (levels.len() * 8, levels[0].len() * 8);
    let picture = Array2::from_shape_fn((rows, columns), |(y, x)| levels[y / 8][x / 8]);
    (columns as u32, rows as u32, picture.iter().flat_map(|&v| [v; 3]).collect())
}

fn check(image: &deeplpf_data::Image, what: &str) {
    assert_eq!(image.pixels.dim(), (3, 16, 24), "{what}");
    for (y, row) in UPRIGHT.iter().enumerate() {
        for (x, &level) in row.iter().enumerate() {
            let block = image.pixels.slice(s![.., y * 8..y * 8 + 8, x * 8..x * 8 + 8]);
            for value in block {
                // JPEG at quality 100 stays within one level on flat blocks.
                assert!((value * 255.0 - f32::from(level)).abs() < 1.5, "{what} block {y},{x}");
            }
        }
    }
}

#[test]
fn all_eight_orientations_come_out_upright() {
    for orientation in 1..=8 {
        let (width, height, samples) = blocks(&stored(orientation));
        let exif = exif_with_orientation(orientation);
        let source =
            Source { exif: Some(&exif), ..Source::new(width, height, ExtendedColorType::Rgb8) };
        for (name, file) in [
            ("x.jpg", source.jpeg(&samples)),
            ("x.png", source.png(&samples)),
            ("x.webp", source.webp(&samples)),
        ] {
            let image = decode_bytes(&file, Path::new(name)).expect("decodes");
            check(&image, &format!("{name} orientation {orientation}"));
            assert_eq!(image.info.orientation, orientation);
            assert_eq!(image.info.exif.as_deref(), Some(&exif[..]));
        }
    }
}

/// The encoder at hand writes no orientation into a TIFF, so the entry (tag 274) is put into its
/// directory here; entries must be in order of their tags.
#[test]
fn a_tiffs_own_orientation_is_applied() {
    for orientation in 1..=8u8 {
        let (width, height, samples) = blocks(&stored(orientation));
        let mut file = Source::new(width, height, ExtendedColorType::Rgb8).tiff(&samples);
        let ifd = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize;
        let entries = usize::from(u16::from_le_bytes([file[ifd], file[ifd + 1]]));
        let tags: Vec<u16> = (0..entries)
            .map(|k| ifd + 2 + 12 * k)
            .map(|at| u16::from_le_bytes([file[at], file[at + 1]]))
            .collect();
        let mut table: Vec<[u8; 12]> = (0..entries)
            .map(|k| file[ifd + 2 + 12 * k..ifd + 14 + 12 * k].try_into().expect("12 bytes"))
            .collect();
        let mut entry = [0u8; 12];
        entry[0..2].copy_from_slice(&274u16.to_le_bytes());
        entry[2..4].copy_from_slice(&3u16.to_le_bytes());
        entry[4..8].copy_from_slice(&1u32.to_le_bytes());
        entry[8] = orientation;
        let place = tags.iter().position(|&t| t > 274).unwrap_or(entries);
        table.insert(place, entry);
        // A longer directory goes to the end of the file.
        let start = file.len().next_multiple_of(2);
        file.resize(start, 0);
        file.extend((table.len() as u16).to_le_bytes());
        file.extend(table.concat());
        file.extend([0; 4]);
        file[4..8].copy_from_slice(&(start as u32).to_le_bytes());

        let image = decode_bytes(&file, Path::new("x.tif")).expect("decodes");
        check(&image, &format!("TIFF orientation {orientation}"));
        assert_eq!(image.info.orientation, orientation);
    }
}

/// What is written is upright and says so, with the rest of the EXIF kept.
#[test]
fn written_pictures_say_upright() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (width, height, samples) = blocks(&stored(6));
    let exif = exif_with_orientation(6);
    let source =
        Source { exif: Some(&exif), ..Source::new(width, height, ExtendedColorType::Rgb8) };
    let image = decode_bytes(&source.png(&samples), Path::new("x.png")).expect("decodes");
    for format in [OutputFormat::Png, OutputFormat::Png16, OutputFormat::Jpeg] {
        let path = folder.path().join(format!("{format}.{}", format.extension()));
        encode(&path, image.pixels.view(), format, Some(&image.info)).expect("written");
        let again = decode(&path).expect("decodes");
        assert_eq!(again.info.orientation, 1);
        assert_eq!(again.info.exif, Some(exif_with_orientation(1)));
        check(&again, format.name());
    }
}
