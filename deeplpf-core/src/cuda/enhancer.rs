//! Enhancing photographs on a GPU.
//!
//! Small photographs run as one program per shape. Large ones run the U-Net in strips of rows with a
//! halo as wide as its field of view, so that the result is the same up to rounding; heads and filters
//! then work on the whole picture, of which only 24 bytes a pixel lie in GPU memory.

mod strips;
mod worker;

use std::{collections::VecDeque, sync::Mutex};

use deeplpf_filters::FilterStack;
use ndarray::{Array3, ArrayView3, s};
use rayon::prelude::*;

use super::{Device, Precision, error::Doing, memory::Pinned, network::require_supported};
use crate::{
    CoreError, EnhanceOptions, Enhancement, GivenParameters, MIN_SIDE, Model, ModelConfig,
    PredictedParameters, RowSource, edit,
};

use worker::{Returning, Wanted, Worker};

type Result<T, E = CoreError> = std::result::Result<T, E>;

/// Pixels of a photograph, or of a strip with its halo, that one program works on if memory allows.
const MOST_PIXELS: usize = 1 << 25;
/// Photographs of a stream that are under way at once.
const UNDER_WAY: usize = 3;

/// A model ready to enhance photographs on a GPU. One works at a time; calls from several threads
/// take turns.
pub struct Enhancer {
    config: ModelConfig,
    worker: Mutex<Worker>,
}

/// Bands handed to a sink, in pixels.
const BAND_PIXELS: usize = 1 << 20;

impl Enhancer {
    /// Copies the parameters of `model` to `device`.
    ///
    /// # Errors
    /// A model option that CUDA does not support, or the GPU refuses.
    pub fn new(device: &Device, model: &Model, precision: Precision) -> Result<Self> {
        let config = model.config().clone();
        require_supported(model)?;
        let worker = Worker::new(device, model, precision)?;
        Ok(Self { config, worker: Mutex::new(worker) })
    }

    fn worker(&self) -> std::sync::MutexGuard<'_, Worker> {
        // A panic of another caller leaves programs and buffers whole.
        self.worker.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Enhances one photograph (3, H, W), RGB in [0, 1], at least [`MIN_SIDE`] pixels on each side.
    ///
    /// # Errors
    /// A photograph too small, too little memory, or numbers that are not finite.
    pub fn enhance(&self, photograph: ArrayView3<'_, f32>) -> Result<Enhancement> {
        let (channels, height, width) = photograph.dim();
        require_image(channels, height, width)?;
        let mut image = Array3::zeros((3, height, width));
        let parameters = self.enhance_rows(
            &photograph,
            &EnhanceOptions::default(),
            &mut |_| {},
            &mut |first, band| {
                image.slice_mut(s![.., first..first + band.dim().1, ..]).assign(&band);
            },
        )?;
        Ok(Enhancement { image, parameters })
    }

    /// As [`crate::Enhancer::enhance_rows`]: the result in bands of rows from the top, the progress in
    /// [0, 1]. `options.tile` is the number of rows the U-Net works on at once.
    ///
    /// # Errors
    /// As [`Enhancer::enhance`], a strength out of range, or given filters that are not those of this
    /// model; `sink` has not been called then.
    pub fn enhance_rows(
        &self,
        photograph: &dyn RowSource,
        options: &EnhanceOptions,
        progress: &mut dyn FnMut(f64),
        sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<PredictedParameters> {
        let (height, width) = photograph.size();
        require_image(3, height, width)?;
        edit::check_strength(options.strength)?;
        let stack = self.config.stack();
        if let Some(GivenParameters { filters, colour }) = &options.given {
            FilterStack::from_params(&stack, filters.clone())?;
            let given = colour.as_ref().map_or(0, Vec::len);
            if given > 0 {
                return Err(CoreError::GivenColour { given, expected: 0 });
            }
        }
        let pixels = read_rows(photograph, height, width);
        progress(0.1);
        let edited = options.strength != 1.0 || options.given.is_some();
        let small = height * width <= MOST_PIXELS && options.tile.is_none() && !edited;
        if small {
            let returning = self.worker().enhance_whole(&pixels, (height, width))?;
            if let Some(returning) = returning {
                returning.event.synchronize().doing("enhance a photograph")?;
                let (image, raw) = returning.values()?;
                let parameters = self.parameters(raw.to_vec())?;
                progress(0.9);
                hand_on(image, (height, width), progress, sink);
                self.worker().back = Some(returning.pinned);
                return Ok(parameters);
            }
        }
        let wanted = if options.given.is_some() { Wanted::Backbone } else { Wanted::Parameters };
        let wanted = if edited { wanted } else { Wanted::Filtered };
        let (mut image, raw) = self.worker().enhance_strips(
            &pixels,
            (height, width),
            options.tile,
            wanted,
            &mut |share| {
                progress(0.1 + 0.8 * share);
            },
        )?;
        let parameters = match &options.given {
            Some(GivenParameters { filters, .. }) => {
                PredictedParameters { raw: Vec::new(), filters: filters.clone(), colour: None }
            }
            None => self.parameters(raw)?,
        };
        if edited {
            // Rare, and a few percent of the work: the filters as they are to be, on the CPU.
            let strength = options.strength;
            let filters = match strength == 1.0 {
                true => parameters.filters.clone(),
                false => edit::scaled(&stack, &parameters.filters, strength),
            };
            let share = edit::neutral_share(&stack);
            image.par_iter_mut().zip(&pixels).for_each(|(y1, x)| {
                if strength != 1.0 {
                    *y1 = share * x + strength * (*y1 - share * x);
                }
            });
            let filters = FilterStack::from_params(&stack, filters)?;
            let y1 = Array3::from_shape_vec((3, height, width), image).map_err(shape_error)?;
            image = filters.apply(y1.view())?.into_raw_vec_and_offset().0;
        }
        hand_on(&image, (height, width), progress, sink);
        Ok(parameters)
    }

    /// Enhances a stream of photographs (3, H, W) from memory, several under way at once: while one is
    /// computed, the next one travels there and the last one back. `sink` gets each one's number and
    /// result, in order, on the calling thread.
    ///
    /// # Errors
    /// As [`Enhancer::enhance`], at the first photograph that fails; those before it were handed on.
    pub fn enhance_stream(
        &self,
        photographs: &mut dyn Iterator<Item = Array3<f32>>,
        sink: &mut dyn FnMut(usize, Enhancement),
    ) -> Result<()> {
        let mut worker = self.worker();
        let mut under_way: VecDeque<Returning> = VecDeque::new();
        let mut free: Vec<Pinned<f32>> = Vec::new();
        let mut take = |returning: Returning, free: &mut Vec<Pinned<f32>>| -> Result<()> {
            returning.event.synchronize().doing("enhance a photograph")?;
            let (height, width) = returning.size;
            let (image, raw) = returning.values()?;
            let image =
                Array3::from_shape_vec((3, height, width), image.to_vec()).map_err(shape_error)?;
            let parameters = self.parameters(raw.to_vec())?;
            sink(returning.number, Enhancement { image, parameters });
            free.push(returning.pinned);
            Ok(())
        };
        for (number, photograph) in photographs.enumerate() {
            let (channels, height, width) = photograph.dim();
            require_image(channels, height, width)?;
            if under_way.len() == UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                take(oldest, &mut free)?;
            }
            let pinned = free.pop();
            let standard = photograph.as_standard_layout();
            let pixels = standard.as_slice().unwrap_or_default();
            under_way.push_back(worker.queue(number, pixels, (height, width), pinned)?);
        }
        under_way.into_iter().try_for_each(|returning| take(returning, &mut free))
    }

    /// Named parameters of raw ones.
    fn parameters(&self, raw: Vec<f32>) -> Result<PredictedParameters> {
        if raw.iter().any(|value| !value.is_finite()) {
            return Err(CoreError::NotFinite);
        }
        let stack = FilterStack::from_raw(&self.config.stack(), &raw)?;
        Ok(PredictedParameters { raw, filters: stack.params().clone(), colour: None })
    }
}

fn shape_error(error: ndarray::ShapeError) -> CoreError {
    CoreError::Config(format!("result of another size: {error}"))
}

fn require_image(channels: usize, height: usize, width: usize) -> Result<()> {
    if channels != 3 {
        return Err(CoreError::Shape {
            what: "photograph",
            found: vec![channels, height, width],
            expected: "(3, H, W)".into(),
        });
    }
    if height < MIN_SIDE || width < MIN_SIDE {
        return Err(CoreError::ImageTooSmall { height, width, least: MIN_SIDE });
    }
    Ok(())
}

/// All rows, planar.
fn read_rows(photograph: &dyn RowSource, height: usize, width: usize) -> Vec<f32> {
    let mut pixels = vec![0.0; 3 * height * width];
    let (red, rest) = pixels.split_at_mut(height * width);
    let (green, blue) = rest.split_at_mut(height * width);
    red.par_chunks_exact_mut(width)
        .zip(green.par_chunks_exact_mut(width))
        .zip(blue.par_chunks_exact_mut(width))
        .enumerate()
        .for_each(|(row, ((red, green), blue))| photograph.read_row(row, [red, green, blue]));
    pixels
}

/// Gives `sink` the picture in bands.
fn hand_on(
    image: &[f32],
    (height, width): (usize, usize),
    progress: &mut dyn FnMut(f64),
    sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
) {
    let Ok(view) = ArrayView3::from_shape((3, height, width), image) else { return };
    let rows = (BAND_PIXELS / width).clamp(1, height);
    for first in (0..height).step_by(rows) {
        let end = (first + rows).min(height);
        sink(first, view.slice(s![.., first..end, ..]));
        progress(0.9 + 0.1 * end as f64 / height as f64);
    }
}
