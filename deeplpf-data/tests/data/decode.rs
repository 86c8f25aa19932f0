//! Every pixel layout of every format becomes 3 x H x W in [0, 1].

use std::path::Path;

use crate::common::{Source, bytes_of};
use deeplpf_data::{SourceFormat, decode, decode_bytes};
use image::ExtendedColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgba8, Rgba16};

/// Two pixels of a layout, and what they are: (r, g, b) each, as fractions of the largest sample.
fn check(name: &str, file: &[u8], bit_depth: u8, expected: [[f32; 3]; 2]) {
    let image = decode_bytes(file, Path::new(name)).expect("decodes");
    assert_eq!(image.pixels.dim(), (3, 1, 2), "{name}");
    assert_eq!((image.width(), image.height()), (2, 1));
    assert_eq!(image.info.bit_depth, bit_depth, "{name}");
    assert_eq!(image.info.orientation, 1);
    assert_eq!(image.info.icc_profile, None);
    for (x, pixel) in expected.iter().enumerate() {
        for (c, value) in pixel.iter().enumerate() {
            assert_eq!(image.pixels[[c, 0, x]], *value, "{name} pixel {x} channel {c}");
        }
    }
}

#[test]
fn eight_bit_layouts() {
    let v = |level: u8| f32::from(level) / 255.0;
    let rgb = [[v(1), v(2), v(3)], [v(253), v(254), v(255)]];
    let grey = [[v(7); 3], [v(250); 3]];
    for (layout, samples, expected) in [
        (Rgb8, vec![1, 2, 3, 253, 254, 255], rgb),
        // Alpha is dropped, not multiplied in: transparent pixels keep their colour.
        (Rgba8, vec![1, 2, 3, 0, 253, 254, 255, 128], rgb),
        (L8, vec![7, 250], grey),
        (La8, vec![7, 0, 250, 128], grey),
    ] {
        let source = Source::new(2, 1, layout);
        check("x.png", &source.png(&samples), 8, expected);
        if layout != La8 {
            check("x.tif", &source.tiff(&samples), 8, expected);
        }
        check("x.webp", &source.webp(&samples), 8, expected);
    }
}

/// 16-bit samples are fractions of 65535, to the last bit that f32 has.
#[test]
fn sixteen_bit_layouts() {
    let v = |level: u16| f32::from(level) / 65535.0;
    let rgb = [[v(1), v(256), v(257)], [v(32768), v(65534), v(65535)]];
    let grey = [[v(300); 3], [v(65000); 3]];
    for (layout, samples, expected) in [
        (Rgb16, vec![1, 256, 257, 32768, 65534, 65535], rgb),
        (Rgba16, vec![1, 256, 257, 0, 32768, 65534, 65535, 128], rgb),
        (L16, vec![300, 65000], grey),
        (La16, vec![300, 0, 65000, 128], grey),
    ] {
        let source = Source::new(2, 1, layout);
        check("x.png", &source.png(&bytes_of(&samples)), 16, expected);
        if layout != La16 {
            check("x.tif", &source.tiff(&bytes_of(&samples)), 16, expected);
        }
    }
}

#[test]
fn grey_and_colour_jpegs() {
    let grey = Source::new(8, 8, L8).jpeg(&[100; 64]);
    let image = decode_bytes(&grey, Path::new("x.jpg")).expect("decodes");
    assert_eq!(image.pixels.dim(), (3, 8, 8));
    assert!(image.pixels.iter().all(|v| (v * 255.0 - 100.0).abs() < 1.5));
    assert_eq!(image.info.format, SourceFormat::Jpeg);
}

/// FiveK pairs, where DEEPLPF_FIVEK names a folder of them.
#[test]
fn real_photographs_decode() {
    let Some(folder) = std::env::var_os("DEEPLPF_FIVEK") else {
        crate::common::tell("DEEPLPF_FIVEK is not set: real photographs were NOT decoded");
        return;
    };
    let folder = deeplpf_data::PairedFolder::open(folder).expect("a paired folder");
    folder.require_complete().expect("complete");
    for paths in &folder.pairs {
        let pair = paths.load().expect("loads");
        assert!(pair.input.iter().all(|v| (0.0..=1.0).contains(v)));
        let converted = decode(&paths.input).expect("decodes").info.icc_profile.is_some();
        eprintln!("{}: {:?}, profile {converted}", pair.id, pair.input.dim());
    }
}
