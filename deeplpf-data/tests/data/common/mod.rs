//! Files and generators that the tests make for themselves.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod icc;

use std::io::Write;
use std::path::Path;

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, tiff::TiffEncoder, webp::WebPEncoder};
use image::{ExtendedColorType, ImageEncoder};
use ndarray::{Array3, ArrayView3};
use rand_core::{Infallible, TryRng};

/// Prints past the capture of `cargo test`, which would keep it from everyone.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough for tests, and seeded.
pub struct SplitMix(pub u64);

impl TryRng for SplitMix {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|v| (v >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// What a picture file is made of.
pub struct Source<'a> {
    pub width: u32,
    pub height: u32,
    pub layout: ExtendedColorType,
    pub icc: Option<&'a [u8]>,
    pub exif: Option<&'a [u8]>,
}

impl Source<'_> {
    pub fn new(width: u32, height: u32, layout: ExtendedColorType) -> Self {
        Source { width, height, layout, icc: None, exif: None }
    }

    fn finish(&self, mut encoder: impl ImageEncoder, samples: &[u8]) {
        if let Some(icc) = self.icc {
            encoder.set_icc_profile(icc.to_vec()).expect("format takes profiles");
        }
        if let Some(exif) = self.exif {
            encoder.set_exif_metadata(exif.to_vec()).expect("format takes EXIF");
        }
        encoder.write_image(samples, self.width, self.height, self.layout).expect("encodable");
    }

    pub fn png(&self, samples: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        self.finish(PngEncoder::new(&mut file), samples);
        file
    }

    pub fn jpeg(&self, samples: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        self.finish(JpegEncoder::new_with_quality(&mut file, 100), samples);
        file
    }

    pub fn webp(&self, samples: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        self.finish(WebPEncoder::new_lossless(&mut file), samples);
        file
    }

    pub fn tiff(&self, samples: &[u8]) -> Vec<u8> {
        let mut file = std::io::Cursor::new(Vec::new());
        self.finish(TiffEncoder::new(&mut file), samples);
        file.into_inner()
    }
}

/// 16-bit samples as the encoders want them: native byte order.
pub fn bytes_of(samples: &[u16]) -> Vec<u8> {
    samples.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

/// A smooth picture of 3 x H x W with every channel different.
pub fn gradient(height: usize, width: usize) -> Array3<f32> {
    Array3::from_shape_fn((3, height, width), |(c, y, x)| {
        let (y, x) = (y as f32 / height as f32, x as f32 / width as f32);
        [x, y, 0.5 * (x + y)][c] * 0.9 + 0.05
    })
}

/// The smallest EXIF block that tells an orientation: a little-endian TIFF header and one entry.
pub fn exif_with_orientation(orientation: u8) -> Vec<u8> {
    let mut exif = b"II\x2a\0\x08\0\0\0\x01\0".to_vec();
    exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    exif.extend([0; 4]);
    exif
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub fn largest_difference(a: ArrayView3<'_, f32>, b: ArrayView3<'_, f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// CRC-32 as PNG wants it.
pub fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}
