//! Enhancing photographs on a GPU.
//!
//! Small photographs run as one program per shape. Large ones run the U-Net in strips of rows with a
//! halo as wide as its field of view, so that the result is the same up to rounding; heads and filters
//! then work on the whole picture, of which only 24 bytes a pixel lie in GPU memory.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use cudarc::driver::{CudaEvent, result};
use deeplpf_filters::FilterStack;
use half::bf16;
use ndarray::{Array3, ArrayView3, s};
use rayon::prelude::*;

use super::{
    Device, Execution, Precision,
    error::{CudaError, Doing},
    gpu::Gpu,
    memory::{Buffer, Pinned},
    network::{Backbone, Filters, HeadInput, Maps, Number, Recorder, Shared, require_supported},
    parameters::Weights,
    prediction::Prediction,
    span::Span,
    staging::Staging,
    tape::{Arena, Program, Tensor},
};
use crate::{
    CoreError, EnhanceOptions, Enhancement, GivenParameters, MIN_SIDE, Model, ModelConfig,
    PredictedParameters, RowSource, edit,
};

type Result<T, E = CoreError> = std::result::Result<T, E>;

/// Rows beyond a strip that its result depends on. The two 3x3 convolutions of level l (l = 0 the
/// finest) reach 2 * 2^l rows: 62 down the five levels and 30 up the four; pooling and doubling shift
/// by up to 15 each, the last three convolutions reach 3. Rounded up to the 16 rows that four
/// halvings keep apart.
const HALO: usize = 128;
/// Strips begin at multiples of this, so that their pooling windows are the whole picture's.
const GRID: usize = 16;
/// Pixels of a photograph, or of a strip with its halo, that one program works on if memory allows.
const MOST_PIXELS: usize = 1 << 25;
/// Least rows of a strip beside its halo.
const LEAST_ROWS: usize = 64;
/// Programs kept for shapes that come again; FiveK has 16.
const KEPT: usize = 32;
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
        let gpu = Arc::new(Gpu::new(device, &config.stack())?);
        let weights = Arc::new(Weights::new(device, model)?);
        let rounded = match precision {
            Precision::Bf16 => {
                let bytes = weights.layout().trained() * size_of::<bf16>();
                Some(Arc::new(Buffer::zeros(device, "rounded weights", bytes)?))
            }
            _ => None,
        };
        let shared = Shared { gpu, weights, rounded, gradients: None, precision };
        shared.round_weights()?;
        let worker = Worker {
            device: device.clone(),
            arena: Arena::new(device, "a photograph"),
            staging: Staging::new(device)?,
            back: None,
            whole: BTreeMap::new(),
            strips: BTreeMap::new(),
            across: None,
            config: config.clone(),
            shared,
        };
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

/// A photograph on its way back.
struct Returning {
    number: usize,
    pinned: Pinned<f32>,
    event: CudaEvent,
    size: (usize, usize),
    raw_len: usize,
}

impl Returning {
    /// Image and raw parameters, once `event` has come.
    fn values(&self) -> Result<(&[f32], &[f32]), CudaError> {
        let count = 3 * self.size.0 * self.size.1;
        let values = self.pinned.values()?;
        Ok((&values[..count], &values[count..count + self.raw_len]))
    }
}

/// What is asked of a photograph in strips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Y1 alone.
    Backbone,
    /// Y1 and the raw parameters.
    Parameters,
    /// Y and the raw parameters.
    Filtered,
}

/// Programs and memory.
struct Worker {
    // Dropped before the memory their launches name.
    whole: BTreeMap<[usize; 3], Prediction>,
    strips: BTreeMap<(usize, usize), Strip>,
    /// Once a photograph came in strips.
    across: Option<Across>,
    arena: Arena,
    staging: Staging,
    /// Page-locked memory of the last result, for the next one.
    back: Option<Pinned<f32>>,
    config: ModelConfig,
    shared: Shared,
    device: Device,
}

/// Memory that the strips of a photograph fill together.
struct Across {
    /// What the heads read; the strips write the encoder's levels of it.
    heads: Buffer,
    /// Which rows of the photograph the strip is: [`StripRows::rows`](super::kernels::StripRows).
    rows: Buffer,
}

impl Across {
    fn new<T: Number>(device: &Device, config: &ModelConfig) -> Result<Self, CudaError> {
        let heads = Buffer::zeros(device, "the heads' input", HeadInput::<T>::bytes(config, 1))?;
        let rows = Buffer::zeros(device, "a strip's place", 4 * size_of::<f32>())?;
        Ok(Self { heads, rows })
    }
}

/// The U-Net on some rows: Y1 and the U-Net's image, without border.
struct Strip {
    program: Program,
    input: Buffer,
    image: Tensor,
    residual: Tensor,
}

impl Worker {
    fn prediction(&mut self, shape: [usize; 3]) -> Result<&mut Prediction, CudaError> {
        if !self.whole.contains_key(&shape) {
            if self.whole.len() == KEPT {
                // All at once: which shape comes again cannot be known.
                self.device.synchronize()?;
                self.whole.clear();
            }
            let prediction = Prediction::new(&self.shared, &self.config, shape)?;
            self.whole.insert(shape, prediction);
        }
        self.whole.get_mut(&shape).ok_or(CudaError::Argument {
            what: "shape",
            found: format!("{shape:?}"),
            expected: "a recorded one".into(),
        })
    }

    /// Whether the arena can hold `bytes`.
    fn fits(&self, bytes: usize) -> Result<bool, CudaError> {
        let (free, _) = self.device.memory()?;
        // Room for input, output and what the driver itself takes.
        Ok(bytes <= self.arena.bytes() || bytes < (free + self.arena.bytes()) / 10 * 9)
    }

    /// Queues a photograph and its way back; `None` if it does not fit at once.
    fn enhance_whole(
        &mut self,
        pixels: &[f32],
        (height, width): (usize, usize),
    ) -> Result<Option<Returning>, CudaError> {
        let shape = [1, height, width];
        let bytes = self.prediction(shape)?.arena_bytes();
        if !self.fits(bytes)? {
            self.whole.remove(&shape);
            return Ok(None);
        }
        let back = self.back.take();
        self.queue(0, pixels, (height, width), back).map(Some)
    }

    /// Queues a photograph and its way back.
    fn queue(
        &mut self,
        number: usize,
        pixels: &[f32],
        (height, width): (usize, usize),
        pinned: Option<Pinned<f32>>,
    ) -> Result<Returning, CudaError> {
        let shape = [1, height, width];
        let raw_len = self.config.stack().raw_len();
        let input = self.prediction(shape)?.input(pixels.len())?;
        self.staging.upload(&[(pixels, input)])?;
        let count = pixels.len() + raw_len;
        let mut pinned = match pinned {
            Some(pinned) if pinned.values()?.len() >= count => pinned,
            _ => Pinned::zeros(&self.device, count)?,
        };
        let Some(prediction) = self.whole.get_mut(&shape) else {
            return Err(CudaError::Argument {
                what: "shape",
                found: format!("{shape:?}"),
                expected: "a recorded one".into(),
            });
        };
        prediction.queue(&mut self.arena, execution(height * width), pinned.values_mut()?)?;
        let event = self.device.stream().record_event(None).doing("record an event")?;
        Ok(Returning { number, pinned, event, size: (height, width), raw_len })
    }

    /// The U-Net in strips, then heads and filters on the whole.
    fn enhance_strips(
        &mut self,
        pixels: &[f32],
        (height, width): (usize, usize),
        tile: Option<NonZeroUsize>,
        wanted: Wanted,
        progress: &mut dyn FnMut(f64),
    ) -> Result<(Vec<f32>, Vec<f32>), CudaError> {
        // Programs of whole photographs would keep their inputs beside this one's.
        self.device.synchronize()?;
        self.whole.clear();
        if self.across.is_none() {
            let (device, config) = (&self.device, &self.config);
            self.across = Some(match self.shared.precision {
                Precision::Bf16 => Across::new::<bf16>(device, config)?,
                Precision::Fp32 | Precision::Tf32 => Across::new::<f32>(device, config)?,
            });
        }
        let plane = height * width;
        let bytes = 3 * plane * size_of::<f32>();
        let image = Buffer::zeros(&self.device, "a photograph", bytes)?;
        let residual = Buffer::zeros(&self.device, "a photograph", bytes)?;
        let rows = match tile {
            Some(rows) => rows.get(),
            None => (MOST_PIXELS / width).saturating_sub(2 * HALO),
        };
        let rows = self.strip_rows(rows, (height, width))?;
        let mut first = 0;
        while first < height {
            let strip = StripPlace::new(first, rows, height);
            self.run_strip(pixels, (height, width), strip, (&image, &residual))?;
            first = strip.end;
            progress(0.9 * first as f64 / height as f64);
        }
        let raw = match wanted {
            Wanted::Backbone => Vec::new(),
            _ => self.heads((&residual, &image), (height, width), wanted)?,
        };
        let mut out = vec![0.0; 3 * plane];
        image.read(0, &mut out)?;
        progress(1.0);
        Ok((out, raw))
    }

    /// Rows of a strip, a multiple of [`GRID`], fewer than asked for where memory is short.
    fn strip_rows(
        &mut self,
        asked: usize,
        (height, width): (usize, usize),
    ) -> Result<usize, CudaError> {
        let mut rows = asked.max(GRID).next_multiple_of(GRID);
        loop {
            let shape = (StripPlace::new(0, rows, height).height(), width);
            let bytes = self.strip(shape)?.program.arena_bytes();
            if rows <= LEAST_ROWS || self.fits(bytes)? {
                return Ok(rows);
            }
            self.strips.remove(&shape);
            rows = (rows.min(height) / 2).next_multiple_of(GRID);
        }
    }

    fn strip(&mut self, shape: (usize, usize)) -> Result<&mut Strip, CudaError> {
        if !self.strips.contains_key(&shape) {
            if self.strips.len() == KEPT {
                self.device.synchronize()?;
                self.strips.clear();
            }
            let strip = match self.shared.precision {
                Precision::Bf16 => self.record_strip::<bf16>(shape)?,
                Precision::Fp32 | Precision::Tf32 => self.record_strip::<f32>(shape)?,
            };
            self.strips.insert(shape, strip);
        }
        self.strips.get_mut(&shape).ok_or(CudaError::Argument {
            what: "strip",
            found: format!("{shape:?}"),
            expected: "a recorded one".into(),
        })
    }

    /// What the heads of a photograph in strips read.
    fn head_input<T: Number>(&self, recorder: &mut Recorder) -> HeadInput<T> {
        let memory = self.across.as_ref().map(|across| across.heads.pointer());
        HeadInput::new(recorder, &self.config, 1, None, memory)
    }

    fn record_strip<T: Number>(&self, (height, width): (usize, usize)) -> Result<Strip, CudaError> {
        let recorder = &mut Recorder::new(&self.shared, false)?;
        let shape = [1, 3, height, width];
        let bytes = shape.iter().product::<usize>() * size_of::<f32>();
        let buffer = Buffer::zeros(&self.device, "a strip of a photograph", bytes)?;
        let arrived = Maps::<f32>::of(recorder.tape.fixed(buffer.pointer(), bytes), shape, 0);
        let input = recorder.maps::<f32>(shape, 1);
        recorder.convert(arrived, input);
        let rounded = T::image(recorder, input);
        let heads = self.head_input::<T>(recorder);
        let rows = self.across.as_ref().map(|across| Span::new(across.rows.pointer(), 4));
        let (seen, levels) = ((input, rounded), heads.encoder());
        let backbone = Backbone::<T>::record(recorder, self.config.widths, seen, &levels, rows)?;
        let residual = recorder.maps::<f32>(shape, 0);
        recorder.convert(backbone.residual, residual);
        let (image, residual) = (backbone.image.tensor, residual.tensor);
        recorder.tape.keep(image);
        recorder.tape.keep(residual);
        let program = std::mem::take(&mut recorder.tape).compile(&self.device);
        Ok(Strip { program, input: buffer, image, residual })
    }

    fn run_strip(
        &mut self,
        pixels: &[f32],
        (height, width): (usize, usize),
        place: StripPlace,
        (image, residual): (&Buffer, &Buffer),
    ) -> Result<(), CudaError> {
        let (plane, strip_plane) = (height * width, place.height() * width);
        let shape = (place.height(), width);
        let input = self.strip(shape)?.input.pointer();
        // Whole numbers below 2^24, as no photograph has so many rows.
        let rows = [height, place.top, place.first, place.end].map(|row| row as f32);
        let mut parts: Vec<(&[f32], u64)> = (0..3)
            .map(|channel| {
                let rows = &pixels[channel * plane + place.top * width..][..strip_plane];
                (rows, input + (channel * strip_plane * size_of::<f32>()) as u64)
            })
            .collect();
        parts.extend(self.across.as_ref().map(|across| (&rows[..], across.rows.pointer())));
        self.staging.upload(&parts)?;
        let Some(strip) = self.strips.get_mut(&shape) else { return Ok(()) };
        // Strips of one picture: one or two shapes, a few times each. A graph does not pay.
        strip.program.run(&mut self.arena, Execution::Eager)?;
        let stream = self.device.stream();
        for (tensor, whole) in [(strip.image, image), (strip.residual, residual)] {
            for channel in 0..3 {
                let skipped = channel * strip_plane + (place.first - place.top) * width;
                let from = strip.program.pointer(tensor) + (skipped * size_of::<f32>()) as u64;
                let at = channel * plane + place.first * width;
                let to = whole.pointer() + (at * size_of::<f32>()) as u64;
                let bytes = (place.end - place.first) * width * size_of::<f32>();
                // SAFETY: rows first..end lie in the strip and in the picture.
                unsafe { result::memcpy_dtod_async(to, from, bytes, stream.cu_stream()) }
                    .doing("copy within its memory")?;
            }
        }
        Ok(())
    }

    /// Raw parameters of a whole picture; its Y1 becomes Y if that is wanted.
    fn heads(
        &mut self,
        pictures: (&Buffer, &Buffer),
        size: (usize, usize),
        wanted: Wanted,
    ) -> Result<Vec<f32>, CudaError> {
        match self.shared.precision {
            Precision::Bf16 => self.run_heads::<bf16>(pictures, size, wanted),
            Precision::Fp32 | Precision::Tf32 => self.run_heads::<f32>(pictures, size, wanted),
        }
    }

    fn run_heads<T: Number>(
        &mut self,
        (residual, image): (&Buffer, &Buffer),
        (height, width): (usize, usize),
        wanted: Wanted,
    ) -> Result<Vec<f32>, CudaError> {
        let recorder = &mut Recorder::new(&self.shared, false)?;
        let shape = [1, 3, height, width];
        let bytes = 3 * height * width * size_of::<f32>();
        let residual = recorder.tape.fixed(residual.pointer(), bytes);
        let image = recorder.tape.fixed(image.pointer(), bytes);
        let seen = (Maps::of(residual, shape, 0), Maps::of(image, shape, 0));
        let heads = self.head_input::<T>(recorder);
        let raw = match wanted {
            Wanted::Filtered => Filters::<T>::record(recorder, &self.config, heads, seen)?.raw,
            _ => Filters::<T>::record_parameters(recorder, &self.config, heads, seen)?,
        };
        recorder.tape.keep(raw);
        let mut program = std::mem::take(&mut recorder.tape).compile(&self.device);
        program.run(&mut self.arena, Execution::Eager)?;
        let mut values = vec![0.0; raw.bytes() / size_of::<f32>()];
        program.read(raw, &mut values)?;
        Ok(values)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Queued work names the buffers. An error at the end has nobody to go to.
        let _ = self.device.synchronize();
    }
}

/// Launch overhead counts for small pictures; a graph of a large one would be used once.
fn execution(pixels: usize) -> Execution {
    const SMALL: usize = 1 << 22;
    if pixels <= SMALL { Execution::Graph } else { Execution::Eager }
}

/// Rows `first`..`end` of a picture, computed from `top`..`bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StripPlace {
    top: usize,
    first: usize,
    end: usize,
    bottom: usize,
}

impl StripPlace {
    /// The strip that begins at row `first`, a multiple of [`GRID`], of a picture of `height` rows. All
    /// strips but the last have one height, so that one program serves them.
    fn new(first: usize, rows: usize, height: usize) -> Self {
        let all = rows + 2 * HALO;
        let top = first.saturating_sub(HALO);
        let bottom = top + all;
        // A rest too short for a strip of its own joins this one.
        if bottom + GRID >= height {
            // The last strip is as high as the others, where the picture is.
            let top = top.min(height.saturating_sub(all).next_multiple_of(GRID));
            return Self { top, first, end: height, bottom: height };
        }
        Self { top, first, end: first + rows, bottom }
    }

    fn height(self) -> usize {
        self.bottom - self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_cover_a_picture_with_their_halos() {
        for height in [32, 100, 300, 511, 1000, 4001] {
            for rows in [16, 64, 304, 1024] {
                let mut first = 0;
                let mut heights = std::collections::BTreeSet::new();
                while first < height {
                    let place = StripPlace::new(first, rows, height);
                    assert!(place.first == first && place.end > first && place.end <= height);
                    assert_eq!(place.top % GRID, 0);
                    let above = place.top == 0 || place.top + HALO <= place.first;
                    let below = place.bottom == height || place.end + HALO <= place.bottom;
                    assert!(above && below, "{height} {rows} {place:?}");
                    assert!(place.height() >= MIN_SIDE.min(height), "{height} {rows} {place:?}");
                    heights.insert(place.height());
                    first = place.end;
                }
                assert!(heights.len() <= 3, "{height} {rows}: {heights:?}");
            }
        }
    }
}
