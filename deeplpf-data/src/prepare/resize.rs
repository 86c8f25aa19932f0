//! Making pictures smaller.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U16x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use ndarray::Array3;

use crate::picture::Picture;

/// The name of the filter, for the manifest.
pub(super) const FILTER: &str = "Lanczos 3, sRGB encoded";

/// The picture's sRGB values at another size: 3 x H x W in [0, 1].
///
/// The filter is Lanczos' windowed sinc, sinc(x) sinc(x/3) for |x| < 3, stretched by the factor of
/// reduction so that nothing folds over, pixel centres on pixel centres, applied to the encoded
/// values. That is what Pillow calls `LANCZOS`. It keeps the detail that the square pixels of a mean
/// lose and a bilinear filter blurs. Encoded values, and not linear light, because the filter's
/// negative lobes would otherwise cut black seams around lights, and because the other tools of the
/// field resize encoded values.
///
/// The work is done on 16-bit levels in whole numbers, so that every processor gives the same bits
/// whatever its vector instructions. One level is 1/257 of an 8-bit step. A picture that has the size
/// already keeps its values.
///
/// # Errors
/// What the resizer says, for example that there is no memory for it.
pub(super) fn resize(
    picture: &Picture,
    (width, height): (usize, usize),
) -> Result<Array3<f32>, String> {
    let (from_width, from_height) = (picture.width(), picture.height());
    let levels = levels(picture).ok_or("there is not enough memory to make it smaller")?;
    let to_planes = |level: &dyn Fn(usize) -> [u16; 3]| {
        let mut planes = Array3::zeros((3, height, width));
        for y in 0..height {
            for x in 0..width {
                for (c, v) in level(y * width + x).into_iter().enumerate() {
                    planes[[c, y, x]] = f32::from(v) / 65535.0;
                }
            }
        }
        planes
    };
    if (width, height) == (from_width, from_height) {
        return Ok(to_planes(&|at| [levels[3 * at], levels[3 * at + 1], levels[3 * at + 2]]));
    }
    // Infallible: a picture has at most 2^28 pixels.
    let size = |side: usize| side as u32;
    let from = TypedImageRef::<U16x3>::from_buffer(
        size(from_width),
        size(from_height),
        bytemuck::cast_slice(&levels),
    )
    .map_err(|e| e.to_string())?;
    let mut to = TypedImage::<U16x3>::new(size(width), size(height));
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize_typed(&from, &mut to, &options).map_err(|e| e.to_string())?;
    Ok(to_planes(&|at| to.pixels()[at].0))
}

/// Interleaved 16-bit levels of sRGB values; `None` where there is no memory for them.
fn levels(picture: &Picture) -> Option<Vec<u16>> {
    let (width, height) = (picture.width(), picture.height());
    let mut levels: Vec<u16> = Vec::new();
    levels.try_reserve_exact(3 * width * height).ok()?;
    let mut row = vec![0.0f32; 3 * width];
    let (red, rest) = row.split_at_mut(width);
    let (green, blue) = rest.split_at_mut(width);
    // In [0, 1], so that half a level more and the cut make the nearest.
    let level = |v: f32| (v * 65535.0 + 0.5) as u16;
    for y in 0..height {
        picture.read_row(y, [&mut *red, &mut *green, &mut *blue]);
        for ((&r, &g), &b) in red.iter().zip(&*green).zip(&*blue) {
            levels.extend([level(r), level(g), level(b)]);
        }
    }
    Some(levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::DecodeLimits;
    use std::path::Path;

    /// A PNG of smooth and busy parts.
    fn picture(width: u32, height: u32) -> Picture {
        let image = image::RgbImage::from_fn(width, height, |x, y| {
            let busy = (x * 7919 + y * 104_729) % 251;
            let smooth = 40 + x * 170 / width + y * 40 / height;
            image::Rgb([smooth as u8, busy as u8, ((x / 5 + y / 3) % 2 * 200 + 20) as u8])
        });
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).expect("encodes");
        Picture::from_bytes(file.get_ref(), Path::new("x.png"), &DecodeLimits::default())
            .expect("decodes")
    }

    /// The definition, in f64: one axis after the other, weights that add to 1, no intermediate
    /// rounding.
    fn by_definition(picture: &Picture, (width, height): (usize, usize)) -> Array3<f64> {
        let sinc = |x: f64| {
            let x = std::f64::consts::PI * x;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        };
        let lanczos = |x: f64| if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 };
        let axis = |from: usize, to: usize| -> Vec<Vec<(usize, f64)>> {
            let scale = from as f64 / to as f64;
            let row = |k: usize| {
                let centre = (k as f64 + 0.5) * scale;
                let weight = |i: usize| lanczos((i as f64 + 0.5 - centre) / scale);
                let sum: f64 = (0..from).map(weight).sum();
                (0..from).map(|i| (i, weight(i) / sum)).filter(|w| w.1 != 0.0).collect()
            };
            (0..to).map(row).collect()
        };
        let (rows, columns) = (axis(picture.height(), height), axis(picture.width(), width));
        let mut full = Array3::<f64>::zeros((3, picture.height(), picture.width()));
        for (at, v) in levels(picture).expect("memory").chunks(3).enumerate() {
            for c in 0..3 {
                full[[c, at / picture.width(), at % picture.width()]] = f64::from(v[c]) / 65535.0;
            }
        }
        let narrow = Array3::from_shape_fn((3, picture.height(), width), |(c, y, x)| {
            columns[x].iter().map(|&(i, w)| w * full[[c, y, i]]).sum::<f64>().clamp(0.0, 1.0)
        });
        Array3::from_shape_fn((3, height, width), |(c, y, x)| {
            rows[y].iter().map(|&(i, w)| w * narrow[[c, i, x]]).sum::<f64>().clamp(0.0, 1.0)
        })
    }

    /// Two roundings to 16 bits, and weights in whole numbers: within three 16-bit levels, 1/85 of an
    /// 8-bit step.
    #[test]
    fn it_is_lanczos_by_definition() {
        for (from, to) in [((97, 61), (31, 20)), ((64, 48), (63, 47)), ((40, 200), (8, 40))] {
            let picture = picture(from.0, from.1);
            let found = resize(&picture, to).expect("resizes");
            let expected = by_definition(&picture, to);
            let worst = found
                .iter()
                .zip(&expected)
                .map(|(a, b)| (f64::from(*a) - b).abs())
                .fold(0.0, f64::max);
            assert!(worst < 3.0 / 65535.0, "{from:?} to {to:?}: {} levels", worst * 65535.0);
        }
    }

    #[test]
    fn a_picture_of_the_size_keeps_its_values() {
        let picture = picture(30, 20);
        let found = resize(&picture, (30, 20)).expect("the same");
        let image = picture.into_image().expect("memory");
        for (a, b) in found.iter().zip(&image.pixels) {
            assert_eq!((a * 255.0).round(), (b * 255.0).round());
        }
    }
}
