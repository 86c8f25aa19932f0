//! Photographs in strips of rows: the U-Net strip by strip, then heads and filters on the whole.

use std::num::NonZeroUsize;

use cudarc::driver::result;
use half::bf16;

use super::{
    super::{
        Device, Execution, Precision,
        error::{CudaError, Doing},
        memory::Buffer,
        network::{Backbone, Filters, HeadInput, Maps, Number, Recorder},
        span::Span,
        tape::{Program, Tensor},
    },
    MOST_PIXELS,
    worker::{KEPT, Wanted, Worker},
};
use crate::ModelConfig;

/// Rows beyond a strip that its result depends on. The two 3x3 convolutions of level l (l = 0 the
/// finest) reach 2 * 2^l rows: 62 down the five levels and 30 up the four; pooling and doubling shift
/// by up to 15 each, the last three convolutions reach 3. Rounded up to the 16 rows that four
/// halvings keep apart.
const HALO: usize = 128;
/// Strips begin at multiples of this, so that their pooling windows are the whole picture's.
const GRID: usize = 16;
/// Least rows of a strip beside its halo.
const LEAST_ROWS: usize = 64;

/// Memory that the strips of a photograph fill together.
pub(super) struct Across {
    /// What the heads read; the strips write the encoder's levels of it.
    heads: Buffer,
    /// Which rows of the photograph the strip is: [`StripRows::rows`](super::super::kernels::StripRows).
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
pub(super) struct Strip {
    program: Program,
    input: Buffer,
    image: Tensor,
    residual: Tensor,
}
impl Worker {
    /// The U-Net in strips, then heads and filters on the whole.
    pub fn enhance_strips(
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
    use crate::MIN_SIDE;

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
