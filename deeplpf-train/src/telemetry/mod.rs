//! What TensorBoard shows of a run: curves, some validation photographs, the distributions of the
//! filters' numbers.
//!
//! | tag | what |
//! |---|---|
//! | `train/loss` | mean loss of the last `tensorboard` steps |
//! | `epoch/loss`, `epoch/lab`, `epoch/ms_ssim`, `epoch/skipped` | of `metrics.jsonl` |
//! | `epoch/learning_rate` | of the next step |
//! | `validation/psnr` | in decibels |
//! | `validation/ID` | a photograph: input, output, target |
//! | `filters/polynomial/...`, `filters/graduated-1/...`, ... | the numbers of a filter over the validation photographs |
//!
//! The step is that of the run, skipped ones included. Files of a resumed run begin with a mark, by
//! which readers drop what an earlier process wrote beyond the saved state.

mod event;

use std::{collections::BTreeMap, io::Cursor, path::Path};

use deeplpf_data::synthetic::crop_and_scale;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ndarray::{Array3, ArrayView3, Axis, concatenate};

use self::event::{EventFile, Histogram, Image, Value};
use crate::{EpochRecord, Result, StepLine, TrainConfig, TrainError, Watch, validation::Validated};

/// Photographs shown of each validation.
const SHOWN: usize = 4;
/// Longest side, in px, of each of a photograph's three pictures.
const LONG_EDGE: u32 = 320;

/// The event file of this process, if the configuration wants one.
pub(crate) struct Telemetry {
    file: Option<EventFile>,
    /// Steps to a point of the curve.
    every: u64,
    /// Sum and number of the losses since the last point.
    losses: (f64, u64),
    /// The first thing that went wrong where no error could be given back.
    failed: Option<TrainError>,
}

impl Telemetry {
    /// Goes on after `step` in a new file of `folder`; does nothing if `config` has no use for it.
    pub fn start(config: &TrainConfig, folder: &Path, step: u64) -> Result<Self> {
        let every = config.tensorboard;
        let file = (every > 0).then(|| EventFile::create(folder, step + 1)).transpose()?;
        Ok(Self { file, every, losses: (0.0, 0), failed: None })
    }

    /// Writes nothing.
    pub fn off() -> Self {
        Self { file: None, every: 0, losses: (0.0, 0), failed: None }
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Looks on beside `watch`.
    pub fn beside<'a>(&'a mut self, watch: &'a mut dyn Watch) -> Beside<'a> {
        Beside { telemetry: self, watch }
    }

    fn step(&mut self, line: &StepLine) {
        let Some(file) = &mut self.file else { return };
        if let Some(loss) = line.last {
            self.losses = (self.losses.0 + loss, self.losses.1 + 1);
        }
        if line.step.is_multiple_of(self.every) && self.losses.1 > 0 {
            let (sum, count) = std::mem::take(&mut self.losses);
            let loss = scalar("train/loss", sum / count as f64);
            let written = file.add(line.step, vec![loss]).and_then(|()| file.flush());
            if let (Err(error), None) = (written, &self.failed) {
                self.failed = Some(error);
            }
        }
    }

    /// An epoch that ended with `step`.
    pub fn epoch(&mut self, step: u64, record: &EpochRecord, learning_rate: f64) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let EpochRecord { loss, lab, ms_ssim, skipped, valid_psnr, .. } = record;
        let mut values = vec![
            scalar("epoch/loss", *loss),
            scalar("epoch/lab", *lab),
            scalar("epoch/ms_ssim", *ms_ssim),
            scalar("epoch/skipped", *skipped as f64),
            scalar("epoch/learning_rate", learning_rate),
        ];
        values.extend(valid_psnr.map(|psnr| scalar("validation/psnr", psnr)));
        file.add(step, values)?;
        file.flush()
    }

    /// What was seen in a validation after `step`.
    pub fn validation(&mut self, step: u64, seen: Seen) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let images = seen.images.into_iter().map(|(tag, image)| (tag, Value::Image(image)));
        let histograms = seen.numbers.iter().filter_map(|(tag, values)| {
            Some((tag.clone(), Value::Histogram(Histogram::new(values)?)))
        });
        file.add(step, images.chain(histograms).collect())
    }
}

fn scalar(tag: &str, value: f64) -> (String, Value) {
    (tag.into(), Value::Scalar(value as f32))
}

/// A [`Watch`] whose steps are also written down.
pub(crate) struct Beside<'a> {
    telemetry: &'a mut Telemetry,
    watch: &'a mut dyn Watch,
}

impl Watch for Beside<'_> {
    fn stop(&self) -> bool {
        self.watch.stop()
    }

    fn step(&mut self, line: &StepLine) {
        self.telemetry.step(line);
        self.watch.step(line);
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.watch.epoch(record);
    }

    fn note(&mut self, sentence: &str) {
        self.watch.note(sentence);
    }
}

/// What there was to see in one validation.
#[derive(Default)]
pub(crate) struct Seen {
    images: Vec<(String, Image)>,
    numbers: BTreeMap<String, Vec<f64>>,
}

impl Seen {
    /// Takes in one photograph.
    pub fn take(&mut self, validated: &Validated<'_>) -> Result<()> {
        if self.images.len() < SHOWN {
            let tag = format!("validation/{}", validated.pair.id);
            self.images.push((tag, side_by_side(validated)?));
        }
        if let Some(filters) = validated.filters {
            let filters = serde_json::to_value(filters)
                .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
            self.collect("filters", &filters, 0);
        }
        Ok(())
    }

    /// Every number below `value`: names become parts of the tag, and so does the place of a filter
    /// among its kind; further lists (channels, coefficients) are one distribution.
    fn collect(&mut self, tag: &str, value: &serde_json::Value, depth: usize) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    self.collect(&format!("{tag}/{name}"), value, depth + 1);
                }
            }
            serde_json::Value::Array(values) => {
                for (place, value) in values.iter().enumerate() {
                    let instance = format!("{tag}-{}", place + 1);
                    let tag = if depth == 1 { &instance } else { tag };
                    self.collect(tag, value, depth + 1);
                }
            }
            _ => {
                if let Some(number) = value.as_f64() {
                    self.numbers.entry(tag.to_owned()).or_default().push(number);
                }
            }
        }
    }
}

/// Input, output and target from left to right; without an input that is packed.
fn side_by_side(validated: &Validated<'_>) -> Result<Image> {
    let failed = |reason: String| TrainError::from(candle_core::Error::Msg(reason));
    let (input, target) = (validated.pair.input.view(), validated.pair.target.view());
    let pictures = [input, validated.output, target];
    let same = pictures.iter().filter(|pixels| pixels.dim() == target.dim());
    let small: Vec<Array3<f32>> = same.map(|pixels| small(*pixels)).collect();
    let views: Vec<_> = small.iter().map(|pixels| pixels.view()).collect();
    let joined = concatenate(Axis(2), &views).map_err(|error| failed(error.to_string()))?;
    let (_, height, width) = joined.dim();
    let levels: Vec<u8> = joined
        .permuted_axes([1, 2, 0])
        .iter()
        .map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8)
        .collect();
    let mut png = Cursor::new(Vec::new());
    let size = [width as u32, height as u32];
    PngEncoder::new(&mut png)
        .write_image(&levels, size[0], size[1], ExtendedColorType::Rgb8)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Image::new(png.into_inner(), size))
}

fn small(pixels: ArrayView3<'_, f32>) -> Array3<f32> {
    let (_, height, width) = pixels.dim();
    let size = [width as u32, height as u32];
    let long = size[0].max(size[1]);
    if long <= LONG_EDGE {
        return pixels.to_owned();
    }
    let scale = f64::from(LONG_EDGE) / f64::from(long);
    let scaled = size.map(|side| (f64::from(side) * scale).round().max(1.0) as u32);
    crop_and_scale(pixels, [0, 0, size[0], size[1]], scaled)
}
