//! The pictures of a gallery as JPEG thumbnails, as large as the report's size allows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::imageops::{self, FilterType};
use rayon::prelude::*;

use super::gallery::{GalleryItem, PictureSource};
use crate::error::{EvalError, Result};
use crate::image_encoding::{fitted_size, thumbnail, to_jpeg};

/// Longest side in pixels and JPEG quality, from the best to the smallest that still shows what
/// was done to a photograph. All pictures of a report have the same.
const STEPS: [(u32, u8); 9] = [
    (800, 90),
    (640, 88),
    (512, 85),
    (416, 82),
    (336, 80),
    (272, 76),
    (224, 72),
    (176, 68),
    (144, 64),
];
/// Photographs that are encoded to find out which step fits.
const PROBES: usize = 12;

/// A picture ready to be embedded.
#[derive(Clone, Debug)]
pub(super) struct Thumbnail {
    /// JPEG as base64.
    pub data: String,
    pub width: u32,
    pub height: u32,
}

/// Thumbnails of every picture of every item, at most `budget` bytes of base64 in all.
///
/// The step is first guessed from some photographs spread over the gallery, then checked by what
/// all of them came to, so that the same gallery always gets the same step.
pub(super) fn thumbnails(items: &[GalleryItem], budget: usize) -> Result<Vec<Vec<Thumbnail>>> {
    let probes: Vec<&GalleryItem> = items.iter().step_by(items.len().div_ceil(PROBES)).collect();
    let share = probes.len() as f64 / items.len().max(1) as f64;
    let largest = probes
        .par_iter()
        .map(|item| item.pictures.iter().map(|p| load(&p.source, STEPS[0].0)).collect())
        .collect::<Result<Vec<Vec<RgbImage>>>>()?;
    let mut least = 0;
    for (step, (edge, quality)) in STEPS.into_iter().enumerate() {
        let size = |picture: &RgbImage| Ok(encode(shrunk(picture, edge), quality)?.data.len());
        let probed: Result<Vec<usize>> = largest.par_iter().flatten().map(size).collect();
        least = (probed?.iter().sum::<usize>() as f64 / share) as usize;
        // A guess a little above the budget may still turn out below it.
        if least as f64 > budget as f64 * 1.1 && step + 1 < STEPS.len() {
            continue;
        }
        let all = items
            .par_iter()
            .map(|item| {
                let encoded = |source| encode(load(source, edge)?, quality);
                item.pictures.iter().map(|picture| encoded(&picture.source)).collect()
            })
            .collect::<Result<Vec<Vec<Thumbnail>>>>()?;
        least = all.iter().flatten().map(|thumbnail| thumbnail.data.len()).sum();
        if least <= budget {
            return Ok(all);
        }
    }
    let pictures = items.iter().map(|item| item.pictures.len()).sum();
    Err(EvalError::ReportTooLarge { pictures, least, budget })
}

fn encode(picture: RgbImage, quality: u8) -> Result<Thumbnail> {
    let data = STANDARD.encode(to_jpeg(&picture, quality)?);
    Ok(Thumbnail { data, width: picture.width(), height: picture.height() })
}

fn load(source: &PictureSource, edge: u32) -> Result<RgbImage> {
    match source {
        PictureSource::Pixels(pixels) => thumbnail(pixels.view(), edge),
        PictureSource::Painted(picture) => Ok(shrunk(picture, edge)),
        PictureSource::File(path) => {
            let picture = deeplpf_data::decode(path)?;
            thumbnail(picture.pixels.view(), edge)
        }
    }
}

fn shrunk(picture: &RgbImage, edge: u32) -> RgbImage {
    let (columns, rows) = fitted_size(picture.dimensions(), edge);
    if (columns, rows) == picture.dimensions() {
        return picture.clone();
    }
    imageops::resize(picture, columns, rows, FilterType::CatmullRom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn items(count: usize) -> Vec<GalleryItem> {
        let noise = |seed: usize| {
            Array3::from_shape_fn((3, 90, 120), |(c, y, x)| {
                ((c * 31 + y * 57 + x * 91 + seed * 13) % 255) as f32 / 255.0
            })
        };
        let item = |i: usize| GalleryItem::new(format!("{i}")).with_picture("input", noise(i));
        (0..count).map(item).collect()
    }

    #[test]
    fn thumbnails_shrink_until_they_fit() {
        let items = items(30);
        let wide = thumbnails(&items, 10_000_000).unwrap();
        assert_eq!((wide[0][0].width, wide[0][0].height), (120, 90));
        let size = |all: &[Vec<Thumbnail>]| -> usize {
            all.iter().flatten().map(|thumbnail| thumbnail.data.len()).sum()
        };
        // The pictures are smaller than every step: only the quality falls.
        let budget = size(&wide) * 8 / 10;
        let tight = thumbnails(&items, budget).unwrap();
        assert!(size(&tight) <= budget && tight.len() == 30);
        let error = thumbnails(&items, 1000).unwrap_err();
        assert!(matches!(error, EvalError::ReportTooLarge { pictures: 30, .. }), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let item = GalleryItem::new("a")
            .with_picture("input", std::path::PathBuf::from("nowhere/0001.jpg"));
        let error = thumbnails(&[item], 10_000).unwrap_err().to_string();
        assert!(error.contains("nowhere/0001.jpg"), "{error}");
    }
}
