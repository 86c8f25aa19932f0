//! The inference engine: a model's weights packed once, a photograph worked through in strips.
//!
//! It computes what [`crate::Model::forward`] computes in evaluation mode, up to rounding, with
//! less work and in memory that grows with the width of the photograph and three numbers a pixel:
//!
//! - Feature maps exist for a few rows at a time ([`schedule`]), so a photograph of any size runs,
//!   and no row is computed twice.
//! - Convolutions run directly on blocks of channels ([`kernel`]), with padding, bias and
//!   activation in the same pass.
//! - Convolutions over doubled features run at the low resolution ([`upsampled`]).
//! - The features the heads read are never made ([`head_input`]).

mod backbone;
mod head;
mod head_input;
mod kernel;
mod memory;
mod packed;
mod planar;
mod pool;
mod schedule;
mod sum;
mod upsampled;
mod weights;

use std::num::NonZeroUsize;
use std::sync::Mutex;

use deeplpf_filters::{FilterStack, StackConfig};
use ndarray::{Array2, Array3, ArrayView3, s};
use rayon::prelude::*;

use crate::{
    CoreError, EnhanceOptions, Fix, GivenParameters, Input, Model, PredictedParameters, Result,
    RowSource, edit, ops::colour_stage, simd::Instructions,
};
use backbone::Backbone;
use head::Head;
use head_input::{Channels, Corners, Square};
use memory::{Rows, Workspace};
use planar::Planes;
use upsampled::around;
use weights::ModelWeights;

/// Pixels of the bands the filters are applied in.
const BAND_PIXELS: usize = 1 << 18;
/// Encoder levels the fix `wiring` reads.
const WIRED_LEVELS: usize = 3;

/// A model made ready for inference on the CPU, in single precision.
pub(crate) struct Engine {
    instructions: Instructions,
    stack: StackConfig,
    backbone: Backbone,
    /// From the backbone's image to Y1.
    image: Planes,
    heads: Heads,
    head_side: usize,
    channels: Channels,
    /// Widths of the wired encoder levels.
    wired: Vec<usize>,
    /// Memory of the last photograph.
    workspace: Mutex<Workspace>,
}

/// The heads a model has.
struct Heads {
    colour: Option<Head>,
    polynomial: Option<Head>,
    graduated: Option<Head>,
    elliptical: Option<Head>,
}

impl Heads {
    fn any(&self) -> bool {
        [&self.colour, &self.polynomial, &self.graduated, &self.elliptical]
            .into_iter()
            .any(Option::is_some)
    }
}

/// What the heads said.
struct Parameters {
    /// In the order of [`StackConfig`].
    raw: Vec<f32>,
    /// Numbers of the colour stage.
    colour: Option<Vec<f32>>,
}

/// What makes the result of Y1.
struct Finish<'a> {
    photograph: &'a dyn RowSource,
    stack: FilterStack<f32>,
    colour: Option<Vec<f32>>,
    strength: f32,
}

impl Engine {
    /// Packs the weights of `model` for the best instructions of this processor, or those the
    /// environment asks for.
    pub fn new(model: &Model) -> Result<Self> {
        Self::with_instructions(model, Instructions::selected()?)
    }

    fn with_instructions(model: &Model, instructions: Instructions) -> Result<Self> {
        let config = model.config();
        if config.input != Input::Rgb {
            return Err(CoreError::Config(format!(
                "input = \"{}\": this model enhances packed raw mosaics, not photographs; use weights \
                 with input = \"rgb\"",
                config.input.name()
            )));
        }
        let lanes = instructions.lanes::<f32>();
        let weights = ModelWeights::read(model)?;
        let wired = if config.fixes.contains(Fix::Wiring) && weights.has_heads() {
            config.widths[..WIRED_LEVELS].to_vec()
        } else {
            Vec::new()
        };
        let channels = Channels::new(lanes, &wired);
        Ok(Self {
            instructions,
            stack: config.stack(),
            backbone: Backbone::new(&weights.backbone, lanes),
            image: Planes::new(&weights.features, 1.0),
            heads: weights.heads(&channels, lanes),
            head_side: config.head_size,
            channels,
            wired,
            workspace: Mutex::default(),
        })
    }

    /// Bytes [`Engine::run`] needs for a photograph of `size` (height, width), about.
    pub fn bytes(&self, size: (usize, usize), tile: Option<NonZeroUsize>) -> u64 {
        // Input of at most twice the channels of a head, corners and feature maps.
        let wired: usize = self.wired.iter().map(|width| width + 16).sum();
        let heads = (self.head_side * self.head_side * (4 * (64 + wired) + 200)) as u64;
        let bands = (4 * 3 * size_of::<f32>() * BAND_PIXELS.max(size.1)) as u64;
        let tile = tile.map(NonZeroUsize::get);
        self.backbone.bytes(size, tile, self.instructions.lanes::<f32>()) + heads + bands
    }

    /// Runs the network on a photograph of `size` (height, width), at least [`crate::MIN_SIDE`]
    /// pixels on each side, and hands the result on in bands of rows. The size is not asked of the
    /// photograph: it must not change on the way.
    pub fn run(
        &self,
        photograph: &dyn RowSource,
        size: (usize, usize),
        options: &EnhanceOptions,
        progress: &mut dyn FnMut(f64),
        sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<PredictedParameters> {
        // What was given can be wrong, and should be so before minutes of work.
        if let Some(given) = &options.given {
            self.check(given)?;
        }
        // Two photographs at once each have memory of their own.
        let mut workspace = match self.workspace.lock() {
            Ok(mut workspace) => std::mem::take(&mut *workspace),
            Err(_) => Workspace::default(),
        };
        let parameters = self.run_in(&mut workspace, photograph, size, options, progress, sink);
        if let Ok(mut kept) = self.workspace.lock() {
            *kept = workspace;
        }
        parameters
    }

    fn run_in(
        &self,
        workspace: &mut Workspace,
        photograph: &dyn RowSource,
        size: (usize, usize),
        options: &EnhanceOptions,
        progress: &mut dyn FnMut(f64),
        sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<PredictedParameters> {
        let square = Square::new(self.head_side, size);
        let lanes = self.instructions.lanes::<f32>();
        let (instructions, side) = (self.instructions, square.side);
        let mut resized: Vec<Rows> = (self.wired.iter())
            .map(|width| Rows::blocked(workspace, side, side, width.div_ceil(lanes), lanes))
            .collect();
        let mut taps: Vec<_> = resized
            .iter_mut()
            .enumerate()
            .map(|(level, out)| {
                let blocks = self.wired[level].div_ceil(lanes);
                square.tap((self.backbone.encoder[level], level), (blocks, lanes), out)
            })
            .collect();
        let strip = options.tile.map(NonZeroUsize::get);
        let engine = (instructions, &mut *workspace);
        let unet = self.backbone.run(engine, photograph, size, strip, &mut taps, &mut |share| {
            // The filters are the rest.
            progress(0.9 * share);
        });
        drop(taps);
        let predicted = match &options.given {
            Some(GivenParameters { filters, colour }) => PredictedParameters {
                raw: Vec::new(),
                filters: filters.clone(),
                colour: colour.clone(),
            },
            None => {
                let Parameters { raw, colour } =
                    self.predict(workspace, &square, size, &unet, &resized)?;
                let stack = FilterStack::from_raw(&self.stack, &raw)?;
                PredictedParameters { raw, filters: stack.params().clone(), colour }
            }
        };
        resized.into_iter().for_each(|rows| rows.release(workspace));
        let finish = Finish::new(&self.stack, photograph, &predicted, options.strength)?;
        self.finish(&finish, size, &unet, progress, sink)?;
        unet.release(workspace);
        Ok(predicted)
    }

    /// Refuses filters that are not this model's.
    fn check(&self, given: &GivenParameters) -> Result<()> {
        FilterStack::from_params(&self.stack, given.filters.clone())?;
        let expected = if self.heads.colour.is_some() { colour_stage::RAW_LEN } else { 0 };
        let numbers = given.colour.as_deref().unwrap_or_default();
        if numbers.len() != expected {
            return Err(CoreError::GivenColour { given: numbers.len(), expected });
        }
        if numbers.iter().all(|value| value.is_finite()) {
            Ok(())
        } else {
            Err(CoreError::NotFinite)
        }
    }

    /// Runs the heads.
    fn predict(
        &self,
        workspace: &mut Workspace,
        square: &Square,
        size: (usize, usize),
        unet: &Rows,
        wired: &[Rows],
    ) -> Result<Parameters> {
        let mut parameters = Parameters { raw: Vec::new(), colour: None };
        if !self.heads.any() {
            return Ok(parameters);
        }
        let engine = (self.instructions, &mut *workspace);
        let (mut input, mut image) =
            square.gather(engine, &self.channels, (unet, &self.image), wired);
        square.set_image(&self.channels, &mut input, &image);
        let mut run = |head: &Head, input: &Rows| -> Result<(Vec<f32>, Vec<f32>)> {
            let (raw, gates) = head.run(self.instructions, workspace, input, square.side);
            let finite = raw.iter().chain(&gates).all(|value| value.is_finite());
            if finite { Ok((raw, gates)) } else { Err(CoreError::NotFinite) }
        };
        if let Some(head) = &self.heads.colour {
            let numbers = run(head, &input)?.0;
            image.par_iter_mut().for_each(|corners| {
                for mut pixel in corners.values.columns_mut() {
                    let mapped = colour_stage::map(&numbers, [pixel[0], pixel[1], pixel[2]]);
                    pixel.iter_mut().zip(mapped).for_each(|(to, from)| *to = from);
                }
            });
            square.set_image(&self.channels, &mut input, &image);
            parameters.colour = Some(numbers);
        }
        if let Some(head) = &self.heads.polynomial {
            parameters.raw = run(head, &input)?.0;
        }
        let local = [&self.heads.graduated, &self.heads.elliptical];
        if local.iter().any(|head| head.is_some()) {
            self.filter_corners(&parameters.raw, size, &mut image)?;
            square.set_image(&self.channels, &mut input, &image);
        }
        let mut all_gates = Vec::new();
        for head in local.into_iter().flatten() {
            let (raw, gates) = run(head, &input)?;
            parameters.raw.extend(raw);
            all_gates.extend(gates);
        }
        parameters.raw.extend(all_gates);
        input.release(workspace);
        Ok(parameters)
    }

    /// From Y1 to Y2 at the corners.
    fn filter_corners(
        &self,
        polynomial: &[f32],
        size: (usize, usize),
        image: &mut [Corners],
    ) -> Result<()> {
        let mut raw = polynomial.to_vec();
        raw.resize(self.stack.raw_len(), 0.0);
        let stack = FilterStack::from_raw(&self.stack, &raw)?;
        image.par_iter_mut().try_for_each(|corners| -> Result<()> {
            let Corners { rows, columns, values } = corners;
            let mut filtered = Array2::zeros(values.raw_dim());
            stack.apply_polynomial_at(size, rows, columns, values.view(), filtered.view_mut())?;
            *values = filtered;
            Ok(())
        })
    }

    /// Y1, the colour stage and the filters, band by band.
    fn finish(
        &self,
        finish: &Finish<'_>,
        (height, width): (usize, usize),
        unet: &Rows,
        progress: &mut dyn FnMut(f64),
        sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<()> {
        let band = (BAND_PIXELS / width).clamp(1, height);
        let stride = Rows::planar_stride(width);
        let mut image = Array3::zeros((3, band, stride));
        let mut out = Array3::zeros((3, band, width));
        for first in (0..height).step_by(band) {
            let rows = band.min(height - first);
            let mut planes =
                image.as_slice_mut().unwrap_or_default().chunks_exact_mut(band * stride);
            let (Some(red), Some(green), Some(blue)) =
                (planes.next(), planes.next(), planes.next())
            else {
                break;
            };
            let lines = red
                .par_chunks_mut(stride)
                .zip(green.par_chunks_mut(stride))
                .zip(blue.par_chunks_mut(stride));
            lines.take(rows).enumerate().for_each(|(index, ((red, green), blue))| {
                let around = [0, 1, 2].map(|tap| around(first + index, tap, height));
                let planes = [&mut *red, &mut *green, &mut *blue].into_iter();
                self.image.row(self.instructions, unet, around, planes, width);
                finish.weaken(first + index, [&mut *red, &mut *green, &mut *blue], width);
                if let Some(numbers) = &finish.colour {
                    for x in 0..width {
                        [red[x], green[x], blue[x]] =
                            colour_stage::map(numbers, [red[x], green[x], blue[x]]);
                    }
                }
            });
            finish.stack.apply_rows_into(
                image.slice(s![.., ..rows, ..width]),
                first,
                height,
                out.slice_mut(s![.., ..rows, ..]),
            )?;
            sink(first, out.slice(s![.., ..rows, ..]));
            progress(0.9 + 0.1 * (first + rows) as f64 / height as f64);
        }
        Ok(())
    }
}

impl<'a> Finish<'a> {
    fn new(
        config: &StackConfig,
        photograph: &'a dyn RowSource,
        parameters: &PredictedParameters,
        strength: f32,
    ) -> Result<Self> {
        let PredictedParameters { filters, colour, .. } = parameters;
        let (filters, colour) = if strength == 1.0 {
            (filters.clone(), colour.clone())
        } else {
            let colour = colour.as_ref().map(|all| all.iter().map(|v| strength * v).collect());
            (edit::scaled(config, filters, strength), colour)
        };
        let stack = FilterStack::from_params(config, filters)?;
        Ok(Self { photograph, stack, colour, strength })
    }

    /// Y1 of one row at the strength.
    fn weaken(&self, row: usize, planes: [&mut [f32]; 3], width: usize) {
        if self.strength == 1.0 {
            return;
        }
        let share = edit::neutral_share(self.stack.config());
        let mut pixels = vec![0.0; 3 * width];
        let (red, rest) = pixels.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        self.photograph.read_row(row, [red, green, blue]);
        for (plane, original) in planes.into_iter().zip(pixels.chunks_exact(width)) {
            for (y1, x) in plane.iter_mut().zip(original) {
                *y1 = share * x + self.strength * (*y1 - share * x);
            }
        }
    }
}

#[cfg(test)]
mod tests;
