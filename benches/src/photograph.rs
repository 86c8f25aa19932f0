//! A synthetic photograph of any size: slow and fast ramps, edges, and noise. Whole numbers only,
//! so that `peers/measuring/photograph.py` makes the same bits.

use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use candle_core::{Device, Tensor};
use deeplpf_core::RowSource;
use image::codecs::jpeg::JpegEncoder;
use ndarray::Array3;

/// Height and width in pixels; in text `341x512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let side = |text: &str| text.parse().ok().filter(|&side| (1..=1 << 20).contains(&side));
        text.split_once('x')
            .and_then(|(height, width)| Some(Self { height: side(height)?, width: side(width)? }))
            .with_context(|| format!("`{text}` is not HEIGHTxWIDTH, e.g. 341x512"))
    }
}

/// Rises from 0 to period / 2 - 1 and falls again.
fn triangle(n: u64, period: u64) -> u64 {
    let place = n % period;
    place.min(period - 1 - place)
}

/// Bits without pattern (the finaliser of MurmurHash3, 32 bits).
fn noise(n: u32) -> u32 {
    let mut h = n;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// The value of a channel (0 to 2) at a pixel, 0 to 254.
fn value(row: u64, column: u64, channel: u64) -> u8 {
    let fast = triangle(3 * row + 2 * column + 40 * channel, 512);
    let slow = triangle(row / 4 + column / 2 + 97 * channel, 512);
    let edge = (row / 96 + column / 64) % 2 * 31;
    let place = (row as u32).wrapping_mul(0x9e37_79b1) ^ (column as u32).wrapping_mul(3);
    let grain = u64::from(noise(place.wrapping_add(channel as u32)) & 31);
    // At most (3 * 255 + 3 * 255) / 8 + 31 + 31 = 253.
    ((3 * fast + 3 * slow) / 8 + edge + grain) as u8
}

/// The photograph, 8 bits per channel, as a decoder leaves it.
pub struct Photograph {
    /// Its size.
    pub size: Size,
    /// Red, green and blue of each pixel, row by row.
    interleaved: Vec<u8>,
}

impl Photograph {
    /// Makes it.
    pub fn new(size: Size) -> Self {
        let mut interleaved = Vec::with_capacity(3 * size.height * size.width);
        for row in 0..size.height as u64 {
            for column in 0..size.width as u64 {
                interleaved.extend((0..3).map(|channel| value(row, column, channel)));
            }
        }
        Self { size, interleaved }
    }

    /// Red, green and blue of each pixel, row by row.
    #[cfg(feature = "cuda")]
    pub fn into_bytes(self) -> Vec<u8> {
        self.interleaved
    }

    /// (3, H, W) in [0, 1].
    pub fn to_floats(&self) -> Array3<f32> {
        let Size { height, width } = self.size;
        Array3::from_shape_fn((3, height, width), |(channel, row, column)| {
            f32::from(self.interleaved[3 * (row * width + column) + channel]) / 255.0
        })
    }

    /// (1, 3, H, W) in [0, 1].
    ///
    /// # Errors
    /// None that a photograph of [`Size`] can cause.
    pub fn to_tensor(&self) -> anyhow::Result<Tensor> {
        let Size { height, width } = self.size;
        let values = self.to_floats().into_raw_vec_and_offset().0;
        Ok(Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)?)
    }

    /// Writes a JPEG of quality 95.
    ///
    /// # Errors
    /// A side above JPEG's 65535, or a file that cannot be written.
    pub fn write_jpeg(&self, path: &Path) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", path.display());
        let side = |side: usize| {
            u16::try_from(side)
                .ok()
                .with_context(|| format!("{side} pixels are more than a JPEG's side can have"))
        };
        let (height, width) = (side(self.size.height)?, side(self.size.width)?);
        let file = std::io::BufWriter::new(std::fs::File::create(path).with_context(failed)?);
        JpegEncoder::new_with_quality(file, 95)
            .encode(&self.interleaved, width.into(), height.into(), image::ExtendedColorType::Rgb8)
            .with_context(failed)
    }
}

impl RowSource for Photograph {
    fn size(&self) -> (usize, usize) {
        (self.size.height, self.size.width)
    }

    fn read_row(&self, row: usize, planes: [&mut [f32]; 3]) {
        let length = 3 * self.size.width;
        let line = &self.interleaved[row * length..][..length];
        for (channel, plane) in planes.into_iter().enumerate() {
            for (to, pixel) in plane.iter_mut().zip(line.chunks_exact(3)) {
                *to = f32::from(pixel[channel]) / 255.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same numbers as in `peers/measuring/photograph.py`, which checks them when it is run.
    #[test]
    fn the_photograph_is_the_one_the_peers_make() {
        let pixels = Photograph::new(Size { height: 300, width: 200 }).interleaved;
        let sum: u64 = pixels.iter().map(|&v| u64::from(v)).sum();
        let weighted: u64 = pixels.iter().enumerate().map(|(i, &v)| i as u64 * u64::from(v)).sum();
        assert_eq!((sum, weighted), (SUM, WEIGHTED));
    }

    const SUM: u64 = 24_789_881;
    const WEIGHTED: u64 = 2_253_523_864_506;

    #[test]
    fn rows_and_planes_agree() {
        let photograph = Photograph::new(Size { height: 5, width: 7 });
        let floats = photograph.to_floats();
        let mut planes = [[0.0f32; 7]; 3];
        let [red, green, blue] = &mut planes;
        photograph.read_row(3, [red, green, blue]);
        for (channel, plane) in planes.iter().enumerate() {
            assert_eq!(&plane[..], floats.slice(ndarray::s![channel, 3, ..]).as_slice().unwrap());
        }
        assert_eq!("341x512".parse::<Size>().unwrap(), Size { height: 341, width: 512 });
        assert!("341".parse::<Size>().is_err() && "0x3".parse::<Size>().is_err());
    }
}
