//! Colour management: profiles built here, colours computed here.

use std::path::Path;

use crate::common::icc::{self, ADOBE_RGB, Curve, DISPLAY_P3, PRO_PHOTO, Primaries, SRGB};
use crate::common::{Source, bytes_of, crc};
use deeplpf_data::{
    DataError, DecodeLimits, EncodeOptions, OutputFormat, Picture, Rendering, decode, decode_bytes,
};
use image::ExtendedColorType;

/// Against f64. A profile stores primaries in 1/65536 and the library works in f32 after the curves;
/// where a channel is nearly 0 the encoding is 12.92 times as steep. Measured: 6.5e-5 at worst.
const TOLERANCE: f64 = 1e-4;

/// The 125 colours with levels 0, 1/4, ..., 1.
fn colours() -> Vec<[u16; 3]> {
    let level = |k: usize| (k * 65535 / 4) as u16;
    (0..125).map(|k| [level(k / 25), level(k / 5 % 5), level(k % 5)]).collect()
}

fn check(name: &str, primaries: &Primaries, curve: Curve) {
    let colours = colours();
    let profile = icc::rgb(primaries, curve);
    let source = Source { icc: Some(&profile), ..Source::new(25, 5, ExtendedColorType::Rgb16) };
    let samples = bytes_of(&colours.concat());
    for (format, file) in [("tiff", source.tiff(&samples)), ("png", source.png(&samples))] {
        let image = decode_bytes(&file, Path::new(name)).expect("decodes");
        assert_eq!(image.info.icc_profile.as_deref(), Some(&profile[..]));
        assert_eq!(image.info.bit_depth, 16);
        let mut worst = (0.0, [0; 3]);
        for (k, colour) in colours.iter().enumerate() {
            let expected = icc::to_srgb(primaries, curve, colour.map(|v| f64::from(v) / 65535.0));
            for (c, expected) in expected.iter().enumerate() {
                let found = f64::from(image.pixels[[c, k / 25, k % 25]]);
                let difference = (found - expected).abs();
                if difference.is_nan() || difference > worst.0 {
                    worst = (difference, *colour);
                }
            }
        }
        assert!(worst.0 < TOLERANCE, "{name} {format}: {worst:?}");
        eprintln!("{name} {format}: largest difference {:.1e}", worst.0);
    }
}

#[test]
fn pro_photo_16_bit_becomes_srgb() {
    check("ProPhoto RGB", &PRO_PHOTO, Curve::Gamma256(461));
}

#[test]
fn adobe_rgb_becomes_srgb() {
    check("Adobe RGB", &ADOBE_RGB, Curve::Gamma256(563));
}

#[test]
fn display_p3_becomes_srgb() {
    check("Display P3", &DISPLAY_P3, Curve::Srgb);
}

/// The same pixels with and without the profile: a ProPhoto picture read as sRGB looks pale, so a
/// reader that ignores the profile cannot pass.
#[test]
fn a_pro_photo_tiff_is_not_read_as_srgb() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("prophoto.tif");
    let profile = icc::rgb(&PRO_PHOTO, Curve::Gamma256(461));
    let source = Source { icc: Some(&profile), ..Source::new(1, 1, ExtendedColorType::Rgb16) };
    // A warm brown within sRGB. Expected: the published matrices, computed by NumPy.
    std::fs::write(&path, source.tiff(&bytes_of(&[32768, 26214, 19661]))).expect("written");
    let image = decode(&path).expect("decodes");
    let found = [0, 1, 2].map(|c| image.pixels[[c, 0, 0]]);
    for (found, expected) in found.iter().zip([0.671_94, 0.449_86, 0.350_90]) {
        assert!((found - expected).abs() < 2e-4, "{found} for {expected}");
    }
    assert!((found[0] - 0.5).abs() > 0.1);
}

/// The usual sRGB profiles must not move a single value.
#[test]
fn srgb_profiles_leave_values_exactly_alone() {
    for curve in [Curve::Srgb, Curve::SrgbTable] {
        let profile = icc::rgb(&SRGB, curve);
        let source = Source { icc: Some(&profile), ..Source::new(25, 5, ExtendedColorType::Rgb16) };
        let file = source.png(&bytes_of(&colours().concat()));
        let image = decode_bytes(&file, Path::new("srgb.png")).expect("decodes");
        for (k, colour) in colours().iter().enumerate() {
            for (c, &level) in colour.iter().enumerate() {
                assert_eq!(image.pixels[[c, k / 25, k % 25]], f32::from(level) / 65535.0);
            }
        }
    }
}

#[test]
fn grey_profiles_are_applied() {
    let profile = icc::grey(Curve::Gamma256(461));
    let source = Source { icc: Some(&profile), ..Source::new(5, 1, ExtendedColorType::L16) };
    let levels = [0u16, 16384, 32768, 49152, 65535];
    let image =
        decode_bytes(&source.png(&bytes_of(&levels)), Path::new("grey.png")).expect("decodes");
    for (x, level) in levels.iter().enumerate() {
        let linear = Curve::Gamma256(461).to_linear(f64::from(*level) / 65535.0);
        for c in 0..3 {
            let found = f64::from(image.pixels[[c, 0, x]]);
            assert!((found - icc::encode_srgb(linear)).abs() < TOLERANCE, "{level}: {found}");
        }
    }
}

/// A grey picture may carry an RGB profile; its grey axis counts.
#[test]
fn grey_pixels_with_an_rgb_profile_are_converted() {
    let profile = icc::rgb(&PRO_PHOTO, Curve::Gamma256(461));
    let source = Source { icc: Some(&profile), ..Source::new(1, 1, ExtendedColorType::L8) };
    let image = decode_bytes(&source.png(&[128]), Path::new("grey.png")).expect("decodes");
    let expected = icc::to_srgb(&PRO_PHOTO, Curve::Gamma256(461), [128.0 / 255.0; 3]);
    for (c, expected) in expected.iter().enumerate() {
        assert!((f64::from(image.pixels[[c, 0, 0]]) - expected).abs() < TOLERANCE);
    }
}

/// Profiles of tables, as scanners and some cameras have: the cube's corners, where no interpolation
/// blurs the comparison.
#[test]
fn table_profiles_are_applied() {
    let lab = |corner: [u8; 3]| {
        let [r, g, b] = corner.map(f64::from);
        [10.0 + 30.0 * r + 40.0 * g + 10.0 * b, 20.0 * (r - g), 20.0 * (g - b)]
    };
    let profile = icc::tables(lab);
    for (layout, white) in [(ExtendedColorType::Rgb8, 255), (ExtendedColorType::Rgb16, 65535)] {
        let source = Source { icc: Some(&profile), ..Source::new(8, 1, layout) };
        let corners: Vec<[u8; 3]> = (0..8).map(|k| [k >> 2, k >> 1 & 1, k & 1]).collect();
        let samples: Vec<u16> = corners.concat().iter().map(|&v| u16::from(v) * white).collect();
        let samples = match layout {
            ExtendedColorType::Rgb8 => samples.iter().map(|&v| v as u8).collect(),
            _ => bytes_of(&samples),
        };
        let image = decode_bytes(&source.png(&samples), Path::new("scan.png")).expect("decodes");
        for (x, corner) in corners.iter().enumerate() {
            for (c, expected) in icc::lab_to_srgb(lab(*corner)).iter().enumerate() {
                let found = f64::from(image.pixels[[c, 0, x]]);
                // The engine's own tables: a quarter of an 8-bit level.
                assert!((found - expected).abs() < 1e-3, "{corner:?} {c}: {found} {expected}");
            }
        }
    }
}

/// A profile that cannot be used is an error in every format: the colours are unknown.
#[test]
fn unusable_profiles_are_errors() {
    let good = icc::rgb(&PRO_PHOTO, Curve::Gamma256(461));
    let cut = &good[..good.len() / 2];
    let grey = icc::grey(Curve::Srgb);
    let cmyk = icc::cmyk();
    let profiles: [(&str, &[u8]); 4] =
        [("cut", cut), ("noise", b"not a profile"), ("grey", &grey), ("cmyk", &cmyk)];
    for (what, profile) in profiles {
        let source = Source { icc: Some(profile), ..Source::new(2, 1, ExtendedColorType::Rgb8) };
        let samples = [10, 20, 30, 40, 50, 60];
        for (name, file) in [
            ("x.png", source.png(&samples)),
            ("x.jpg", source.jpeg(&samples)),
            ("x.tif", source.tiff(&samples)),
            ("x.webp", source.webp(&samples)),
        ] {
            let error = decode_bytes(&file, Path::new(name)).expect_err(what);
            assert!(matches!(error, DataError::Profile { .. }), "{what} {name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

/// Decoders that drop a profile they cannot read must not make the picture sRGB.
#[test]
fn profiles_broken_in_the_container_are_errors() {
    let profile = icc::rgb(&PRO_PHOTO, Curve::Gamma256(461));
    let source = Source { icc: Some(&profile), ..Source::new(2, 1, ExtendedColorType::Rgb8) };
    let samples = [10, 20, 30, 40, 50, 60];

    // PNG: the compressed profile is damaged. Its checksum is recomputed so that only that is wrong.
    let mut png = source.png(&samples);
    let at = png.windows(4).position(|w| w == b"iCCP").expect("has a profile");
    let length = u32::from_be_bytes([png[at - 4], png[at - 3], png[at - 2], png[at - 1]]) as usize;
    for byte in &mut png[at + 4 + length / 2..at + 4 + length] {
        *byte ^= 0x5A;
    }
    let checksum = crc(&png[at..at + 4 + length]);
    png[at + 4 + length..at + 8 + length].copy_from_slice(&checksum.to_be_bytes());

    // JPEG: the only chunk says it is the first of two.
    let mut jpeg = source.jpeg(&samples);
    let at = jpeg.windows(12).position(|w| w == b"ICC_PROFILE\0").expect("has a profile");
    jpeg[at + 13] = 2;

    // TIFF: the profile's offset points behind the end of the file.
    let mut tiff = source.tiff(&samples);
    let tag = 34675u16.to_le_bytes();
    let at = tiff.windows(2).rposition(|w| w == tag).expect("has a profile");
    tiff[at + 8..at + 12].copy_from_slice(&0x00FF_FFFFu32.to_le_bytes());

    for (name, file) in [("x.png", png), ("x.jpg", jpeg), ("x.tif", tiff)] {
        let error = decode_bytes(&file, Path::new(name)).expect_err(name);
        assert!(matches!(error, DataError::Profile { .. }), "{name}: {error}");
    }
}

/// sRGB back to the profile it came from: what the written levels stand for, computed in f64, is
/// the sRGB picture that was given.
#[test]
fn kept_profiles_give_the_same_colours() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("x.png");
    let keep = EncodeOptions { keep_profile: true, ..Default::default() };
    for (name, primaries, curve) in [
        ("ProPhoto RGB", &PRO_PHOTO, Curve::Gamma256(461)),
        ("Adobe RGB", &ADOBE_RGB, Curve::Gamma256(563)),
        ("Display P3", &DISPLAY_P3, Curve::Srgb),
        ("Display P3, tables of 1024", &DISPLAY_P3, Curve::SrgbTable),
    ] {
        let profile = icc::rgb(primaries, curve);
        let source = Source { icc: Some(&profile), ..Source::new(25, 5, ExtendedColorType::Rgb16) };
        let file = source.png(&bytes_of(&colours().concat()));
        let picture = Picture::from_bytes(&file, Path::new(name), &DecodeLimits::default());
        let picture = picture.expect("decodes");
        // All of sRGB lies within these spaces.
        let srgb = ndarray::Array3::from_shape_fn((3, 5, 25), |(c, y, x)| {
            f32::from(colours()[y * 25 + x][c]) / 65535.0
        });
        let mut rendering =
            Rendering::new(&path, (25, 5), OutputFormat::Png16, Some(picture.info()), &keep)
                .expect("a rendering");
        rendering.put_rows(0, srgb.view());
        rendering.write().expect("written");

        let file = std::fs::File::open(&path).expect("there");
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
        assert_eq!(reader.info().icc_profile.as_deref(), Some(&profile[..]));
        let mut bytes = vec![0; 25 * 5 * 6];
        reader.next_frame(&mut bytes).expect("pixels");
        let mut worst = 0.0f64;
        for (k, pixel) in bytes.chunks_exact(6).enumerate() {
            let level = |c: usize| u16::from_be_bytes([pixel[2 * c], pixel[2 * c + 1]]);
            let values = [0, 1, 2].map(|c| f64::from(level(c)) / 65535.0);
            let found = icc::to_srgb(primaries, curve, values);
            for (c, found) in found.iter().enumerate() {
                let given = f64::from(srgb[[c, k / 25, k % 25]]);
                // In linear light half a level of each channel counts 1.8 times after ProPhoto's
                // curve, times 3.1 (the sum of a row of its matrix to sRGB); the encoding makes of
                // that 12.92 times as much near black. The rest is as for reading.
                let rounding = 3.1 * 1.8 * 0.5 / 65535.0;
                let linear = Curve::Srgb.to_linear(given);
                let steepest = icc::encode_srgb(linear + rounding) - given;
                let difference = (found - given).abs();
                assert!(difference < TOLERANCE + steepest.max(rounding), "{name}: {difference:e}");
                worst = worst.max(difference);
            }
        }
        eprintln!("{name} kept: largest difference {worst:.1e}");
    }
}

/// A profile that is sRGB by another name is kept as it is, and the levels are not touched.
#[test]
fn a_kept_srgb_profile_changes_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("x.png");
    let profile = icc::rgb(&SRGB, Curve::SrgbTable);
    let source = Source { icc: Some(&profile), ..Source::new(25, 5, ExtendedColorType::Rgb16) };
    let file = source.png(&bytes_of(&colours().concat()));
    let image = decode_bytes(&file, Path::new("x.png")).expect("decodes");
    let keep = EncodeOptions { keep_profile: true, ..Default::default() };
    let mut rendering =
        Rendering::new(&path, (25, 5), OutputFormat::Png16, Some(&image.info), &keep)
            .expect("a rendering");
    rendering.put_rows(0, image.pixels.view());
    rendering.write().expect("written");
    let again = decode(&path).expect("decodes");
    assert_eq!(again.pixels, image.pixels);
    assert_eq!(again.info.icc_profile, Some(profile));
}

/// Profiles without a way back are errors before anything is written; npy stays sRGB.
#[test]
fn profiles_that_cannot_be_kept_are_errors() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("x.png");
    let keep = EncodeOptions { keep_profile: true, ..Default::default() };
    let tables = icc::tables(|[r, g, b]| [f64::from(r + g + b) * 30.0, 0.0, 0.0]);
    let grey = icc::grey(Curve::Gamma256(461));
    for (profile, layout, reason) in
        [(tables, ExtendedColorType::Rgb8, "tables"), (grey, ExtendedColorType::L8, "Gray pixels")]
    {
        let source = Source { icc: Some(&profile), ..Source::new(2, 1, layout) };
        let samples = [10; 6];
        let count = if layout == ExtendedColorType::L8 { 2 } else { 6 };
        let image = decode_bytes(&source.png(&samples[..count]), Path::new("x.png"));
        let info = image.expect("decodes").info;
        let new = |format| Rendering::new(&path, (2, 1), format, Some(&info), &keep);
        let error = new(OutputFormat::Png).err().expect("no way back");
        assert!(matches!(error, DataError::KeepProfile { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains("; leave out --keep-profile"), "{error}");
        assert!(new(OutputFormat::Npy).is_ok());
    }
    assert!(crate::common::names(folder.path()).is_empty());
}
