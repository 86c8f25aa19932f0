//! Sets of pairs from any photographs.

use std::path::{Path, PathBuf};

use image::{ImageBuffer, Rgb, imageops};
use ndarray::{Array3, ArrayView3, s};
use rand_core::Rng;
use rayon::prelude::*;

use super::truth::TRUTH_FILE;
use super::{Flattening, Look, LookRange, Part, Picture, Truth, pair};
use crate::atomic_file::write_atomically;
use crate::find::images_in;
use crate::random::{below, shuffle, uniform};
use crate::{DataError, OutputFormat, decode, encode};

/// What set to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetOptions {
    /// From photographs to inputs.
    pub flattening: Flattening,
    /// The looks.
    pub range: LookRange,
    /// Whether each picture has a look of its own. A network can learn one look from pictures, but
    /// not looks that do not depend on the pictures; sets of many looks are for fitting filters.
    pub look_per_picture: bool,
    /// Pairs from each photograph: the first shows the whole of it, the others parts of at least
    /// half its sides.
    pub per_photograph: usize,
    /// Longest side in pixels; photographs are never enlarged.
    pub long_edge: u32,
    /// Share of the photographs for validation.
    pub valid: f64,
    /// Share of the photographs for test.
    pub test: f64,
}

impl Default for SetOptions {
    /// The flattening of the sample set; a tenth of the photographs each for validation and test.
    fn default() -> Self {
        Self {
            flattening: Flattening { black: 0.05, white: 0.75 },
            range: LookRange::default(),
            look_per_picture: false,
            per_photograph: 1,
            long_edge: 512,
            valid: 0.1,
            test: 0.1,
        }
    }
}

const METHOD: &str = "input = round8(flattening(photograph, cropped and scaled)); \
    target = round8(Y), where Y is the filter stack of the look (or of the picture's own params) \
    applied to Y1 = input / 2 in double precision. round8 rounds to the nearest of 256 levels. \
    Input and target are stored as 8-bit PNG, so each target can be computed again from its input. \
    Filter instances with scale 1 change nothing.";

/// Smallest side of a part of a photograph that can be trained on.
const SMALLEST: u32 = 32;

/// Makes a synthetic set in `out`, which must be new or empty: `input/`, `target/`, the lists
/// `train.txt`, `valid.txt` and `test.txt` (no photograph in two of them) and `truth.json`.
///
/// `generator` gives stream number n of a seed: stream 0 decides the look of the set, 1 the parts, and
/// 2 + n everything about photograph n in natural order of the names. So the same photographs,
/// options and seed give the same bytes, for any number of threads. `progress` is told how many of
/// how many photographs are done.
///
/// # Errors
/// A photograph that cannot be decoded or is smaller than 32 pixels a side, no photographs, two of
/// one stem, a folder with something in it, a disk without room.
pub fn synthesise<R: Rng>(
    photographs: &Path,
    out: &Path,
    options: &SetOptions,
    generator: &(dyn Fn(u64) -> R + Sync),
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Truth, DataError> {
    let found = images_in(photographs)?;
    if found.is_empty() {
        return Err(DataError::NoImages { path: photographs.to_path_buf() });
    }
    for neighbours in found.windows(2) {
        if neighbours[0].0 == neighbours[1].0 {
            let [(stem, other), (_, path)] = [neighbours[0].clone(), neighbours[1].clone()];
            return Err(DataError::SameStem { stem, path, other });
        }
    }
    let make = |path: &Path| std::fs::create_dir_all(path).map_err(|e| DataError::write(path, e));
    make(out)?;
    let mut entries = std::fs::read_dir(out).map_err(|e| DataError::read(out, e))?;
    if entries.next().is_some() {
        return Err(DataError::NotEmpty { path: out.to_path_buf() });
    }
    make(&out.join("input"))?;
    make(&out.join("target"))?;

    let look = options.range.draw(options.flattening, &mut generator(0));
    let parts = parts(found.len(), options, &mut generator(1))?;
    let done = std::sync::atomic::AtomicUsize::new(0);
    progress(0, found.len());
    let made: Vec<Vec<Picture>> = found
        .par_iter()
        .zip(&parts)
        .enumerate()
        .map(|(number, ((stem, path), &part))| {
            let mut rng = generator(2 + number as u64);
            let made = of_photograph(stem, path, part, &look, options, out, &mut rng)?;
            let done = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            progress(done, found.len());
            Ok::<_, DataError>(made)
        })
        .collect::<Result<_, _>>()?;
    let pictures = made.into_iter().flatten().collect();
    let flattening = options.flattening;
    let truth = Truth { method: METHOD.into(), flattening, look, pictures };
    for (part, name) in Part::ALL {
        let ids = truth.ids(part);
        if !ids.is_empty() {
            write(&out.join(name), (ids.join("\n") + "\n").as_bytes())?;
        }
    }
    // Last: a set that has it is whole.
    let path = out.join(TRUTH_FILE);
    let json = serde_json::to_string_pretty(&truth)
        .map_err(|e| DataError::Truth { path: path.clone(), reason: e.to_string() })?;
    write(&path, (json + "\n").as_bytes())?;
    Ok(truth)
}

/// All pairs of one photograph.
fn of_photograph(
    stem: &str,
    path: &Path,
    part: Part,
    look: &Look,
    options: &SetOptions,
    out: &Path,
    rng: &mut impl Rng,
) -> Result<Vec<Picture>, DataError> {
    let photograph = decode(path)?.pixels;
    let (_, height, width) = photograph.dim();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (0..options.per_photograph)
        .map(|number| {
            let crop = draw_crop(width as u32, height as u32, number == 0, rng);
            let own = options.look_per_picture.then(|| options.range.draw(options.flattening, rng));
            let size = fitted([crop[2], crop[3]], options.long_edge);
            if size.iter().any(|&side| side < SMALLEST) {
                let (path, size) = (path.to_path_buf(), (size[0], size[1]));
                return Err(DataError::TooSmall { path, size, smallest: SMALLEST });
            }
            let id = match options.per_photograph {
                1 => stem.to_owned(),
                _ => format!("{stem}-{}", number + 1),
            };
            let scaled = crop_and_scale(photograph.view(), crop, size);
            let made = pair(id, scaled.view(), options.flattening, own.as_ref().unwrap_or(look))?;
            for (folder, pixels) in [("input", &made.input), ("target", &made.target)] {
                let file: PathBuf = out.join(folder).join(format!("{}.png", made.id));
                encode(file, pixels.view(), OutputFormat::Png, None)?;
            }
            let (photograph, params) = (name.clone(), own.map(|look| look.params));
            Ok(Picture { id: made.id, part, photograph, crop, size, params })
        })
        .collect()
}

/// The part of each photograph, by random shares.
fn parts(count: usize, options: &SetOptions, rng: &mut impl Rng) -> Result<Vec<Part>, DataError> {
    let share = |share: f64| (count as f64 * share).round() as usize;
    let (valid, test) = (share(options.valid), share(options.test));
    if valid + test >= count {
        return Err(DataError::SplitTooLarge { count, valid, test });
    }
    let mut parts = vec![Part::Train; count];
    parts[..valid].fill(Part::Valid);
    parts[valid..valid + test].fill(Part::Test);
    shuffle(&mut parts, rng);
    Ok(parts)
}

/// The whole, or a part of the same aspect with sides of half to all of the photograph's.
fn draw_crop(width: u32, height: u32, whole: bool, rng: &mut impl Rng) -> [u32; 4] {
    if whole {
        return [0, 0, width, height];
    }
    let share = 0.5 + 0.5 * uniform(rng);
    let part = |side: u32| ((f64::from(side) * share).round() as u32).clamp(1, side);
    let (w, h) = (part(width), part(height));
    let left = below(u64::from(width - w) + 1, rng) as u32;
    let top = below(u64::from(height - h) + 1, rng) as u32;
    [left, top, w, h]
}

/// A size of the same aspect whose longer side is at most `long_edge`.
fn fitted(size: [u32; 2], long_edge: u32) -> [u32; 2] {
    let long = size[0].max(size[1]);
    if long <= long_edge {
        return size;
    }
    let scale = f64::from(long_edge) / f64::from(long);
    size.map(|side| ((f64::from(side) * scale).round() as u32).max(1))
}

/// Cuts a part (left, top, width, height) out of a 3 x H x W photograph and scales it to a width and
/// height with Lanczos' filter on the encoded values, clipped to [0, 1].
///
/// # Panics
/// If the part is not inside the photograph, or a side is 0.
#[must_use]
pub fn crop_and_scale(
    photograph: ArrayView3<'_, f32>,
    [left, top, width, height]: [u32; 4],
    [to_width, to_height]: [u32; 2],
) -> Array3<f32> {
    let (x, y) = (left as usize, top as usize);
    let cut = photograph.slice(s![.., y..y + height as usize, x..x + width as usize]);
    if [width, height] == [to_width, to_height] {
        return cut.to_owned();
    }
    let interleaved: Vec<f32> = cut.permuted_axes([1, 2, 0]).iter().copied().collect();
    let buffer: ImageBuffer<Rgb<f32>, _> =
        // Infallible: three samples for each of width x height pixels.
        ImageBuffer::from_raw(width, height, interleaved).expect("a buffer of the crop's size");
    let scaled = imageops::resize(&buffer, to_width, to_height, imageops::FilterType::Lanczos3);
    let shape = (3, to_height as usize, to_width as usize);
    Array3::from_shape_fn(shape, |(c, y, x)| {
        scaled.get_pixel(x as u32, y as u32)[c].clamp(0.0, 1.0)
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    write_atomically(path, |writer| {
        std::io::Write::write_all(writer, bytes).map_err(|e| DataError::write(path, e))
    })
}
