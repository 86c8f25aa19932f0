//! Writing: rounded, clamped, whole or not at all.

use std::str::FromStr;

use crate::common::{gradient, largest_difference, names};
use deeplpf_data::{DataError, OutputFormat, decode, encode};
use ndarray::{Array3, s};

/// Every level of 16 bits, with more of them than pixels of a row, survives a round trip exactly.
#[test]
fn sixteen_bit_round_trips_are_exact() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pixels = Array3::from_shape_fn((3, 256, 256), |(c, y, x)| {
        let level = (y * 256 + x + c * 21_845) % 65_536;
        level as f32 / 65535.0
    });
    for format in [OutputFormat::Png16, OutputFormat::Tiff16] {
        let path = folder.path().join(format.name()).with_extension(format.extension());
        encode(&path, pixels.view(), format, None).expect("written");
        let image = decode(&path).expect("decodes");
        assert_eq!(image.info.bit_depth, 16);
        assert_eq!(image.pixels, pixels, "{format}");
    }
}

#[test]
fn eight_bit_round_trips_are_exact() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pixels = Array3::from_shape_fn((3, 16, 16), |(c, y, x)| {
        ((y * 16 + x + c * 85) % 256) as f32 / 255.0
    });
    let path = folder.path().join("x.png");
    encode(&path, pixels.view(), OutputFormat::Png, None).expect("written");
    assert_eq!(decode(&path).expect("decodes").pixels, pixels);
}

/// Rounded, not truncated: 0.7 of a level up goes up. Outside [0, 1] is clamped.
#[test]
fn values_are_rounded_and_clamped() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (format, max) in [(OutputFormat::Png, 255.0), (OutputFormat::Tiff16, 65535.0)] {
        let levels = [10.3, 10.7, -5.0, max + 9.0, 0.49, max - 0.51];
        let expected = [10.0, 11.0, 0.0, max, 0.0, max - 1.0];
        let pixels = Array3::from_shape_fn((3, 1, 6), |(_, _, x)| levels[x] / max);
        let path = folder.path().join("x").with_extension(format.extension());
        encode(&path, pixels.view(), format, None).expect("written");
        let found = decode(&path).expect("decodes").pixels;
        for (x, expected) in expected.iter().enumerate() {
            assert_eq!((found[[0, 0, x]] * max).round(), *expected, "{format} {x}");
        }
    }
}

#[test]
fn jpeg_is_close() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pixels = gradient(40, 50);
    let path = folder.path().join("x.jpg");
    encode(&path, pixels.view(), OutputFormat::Jpeg, None).expect("written");
    let image = decode(&path).expect("decodes");
    // Quality 95 on a smooth picture: within four levels everywhere.
    assert!(largest_difference(image.pixels.view(), pixels.view()) < 4.0 / 255.0);
    assert!(image.info.icc_profile.is_some());
}

/// Byte for byte what NumPy 2.4's `np.save` writes for the same array (H x W x 3, '<f4').
#[test]
fn npy_is_numpys_format_with_unrounded_values() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pixels =
        Array3::from_shape_fn((3, 2, 5), |(c, y, x)| c as f32 + 0.1 * y as f32 - 0.01 * x as f32);
    let path = folder.path().join("x.npy");
    encode(&path, pixels.view(), OutputFormat::Npy, None).expect("written");
    let file = std::fs::read(&path).expect("readable");
    let mut expected =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 5, 3), }"
            .to_vec();
    expected.resize(127, b' ');
    expected.push(b'\n');
    assert_eq!(file[..128], expected[..]);
    assert_eq!(file.len(), 128 + 4 * 30);
    for (k, bytes) in file[128..].chunks_exact(4).enumerate() {
        let (y, x, c) = (k / 15, k / 3 % 5, k % 3);
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert_eq!(value, pixels[[c, y, x]]);
    }
}

/// Same picture, same file: no time, no chance in it. More than a second lies between the two, which
/// is the unit in which profiles and TIFFs tell the time.
#[test]
fn files_are_reproducible() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str| {
        OutputFormat::ALL.map(|format| {
            let path = folder.path().join(name).with_extension(format.name());
            encode(&path, gradient(20, 30).view(), format, None).expect("written");
            std::fs::read(&path).expect("readable")
        })
    };
    let first = write("a");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(first == write("b"));
}

/// A view with any strides is written as it looks.
#[test]
fn views_are_written_as_they_look() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pixels = gradient(20, 30);
    let view = pixels.slice(s![.., 2..18;3, ..;-2]);
    let path = folder.path().join("x.tif");
    encode(&path, view, OutputFormat::Tiff16, None).expect("written");
    let found = decode(&path).expect("decodes").pixels;
    assert!(largest_difference(found.view(), view) <= 0.5 / 65535.0 + 1e-7);
}

#[test]
fn what_is_no_number_is_not_written() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for format in OutputFormat::ALL {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut pixels = gradient(4, 5);
            pixels[[1, 2, 3]] = value;
            let error = encode(folder.path().join("x"), pixels.view(), format, None)
                .expect_err("not finite");
            assert!(
                matches!(error, DataError::NotFinite { channel: 1, row: 2, column: 3, .. }),
                "{error}"
            );
        }
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_is_no_picture_is_not_written() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for shape in [(1, 4, 4), (4, 4, 4), (3, 0, 4), (3, 4, 0)] {
        let error = encode(
            folder.path().join("x.png"),
            Array3::zeros(shape).view(),
            OutputFormat::Png,
            None,
        )
        .expect_err("shape");
        assert!(matches!(error, DataError::Shape { .. }), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn unwritable_places_leave_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("missing").join("x.png");
    let error =
        encode(&path, gradient(4, 4).view(), OutputFormat::Png, None).expect_err("no folder");
    assert!(matches!(error, DataError::Write { .. }), "{error}");
    assert!(error.to_string().contains("x.png"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn written_files_are_as_readable_as_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("temporary folder");
    let (ours, other) = (folder.path().join("x.png"), folder.path().join("other"));
    encode(&ours, gradient(4, 4).view(), OutputFormat::Png, None).expect("written");
    std::fs::write(&other, b"x").expect("written");
    let mode = |path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(ours), mode(other));
}

#[test]
fn names_of_formats() {
    for format in OutputFormat::ALL {
        assert_eq!(OutputFormat::from_str(format.name()).expect("known"), format);
        assert_eq!(format.to_string(), format.name());
    }
    let error = OutputFormat::from_str("gif").expect_err("unknown");
    assert!(error.to_string().contains("png, png16, tiff16, jpeg, npy"), "{error}");
    for (extension, format) in [
        ("png", OutputFormat::Png),
        ("JPG", OutputFormat::Jpeg),
        ("jpeg", OutputFormat::Jpeg),
        ("tif", OutputFormat::Tiff16),
        ("TIFF", OutputFormat::Tiff16),
        ("npy", OutputFormat::Npy),
    ] {
        assert_eq!(OutputFormat::from_extension(extension), Some(format));
    }
    assert_eq!(OutputFormat::from_extension("gif"), None);
}
