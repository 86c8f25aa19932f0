//! Enhancing photographs with a trained model.

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Tensor};
use deeplpf_filters::{FilterStack, StackParams};
use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use crate::{CoreError, MIN_SIDE, Mode, Model, Result};

/// A model ready to enhance photographs of any size.
pub struct Enhancer {
    model: Model,
}

/// An enhanced photograph and what was done to it.
pub struct Enhancement {
    /// The result: (3, H, W); in [0, 1] under the `release` dialect, without limits under `paper`.
    pub image: Array3<f32>,
    /// The filters' parameters.
    pub parameters: PredictedParameters,
}

/// Filter parameters as the network predicted them and as named geometry.
#[derive(Clone, Debug, Serialize)]
pub struct PredictedParameters {
    /// Unconstrained numbers, in the order of [`deeplpf_filters::StackConfig`].
    pub raw: Vec<f32>,
    /// Named geometric parameters of every instance.
    pub filters: StackParams<f32>,
    /// Numbers of the colour stage, if the model has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<Vec<f32>>,
}

/// A photograph that is read row by row, so that it can stay in its own bit depth.
pub trait RowSource: Sync {
    /// Height and width in pixels.
    fn size(&self) -> (usize, usize);

    /// Writes row `row` as red, green and blue in [0, 1], each `width` numbers.
    fn read_row(&self, row: usize, planes: [&mut [f32]; 3]);
}

impl RowSource for ArrayView3<'_, f32> {
    fn size(&self) -> (usize, usize) {
        (self.dim().1, self.dim().2)
    }

    fn read_row(&self, row: usize, planes: [&mut [f32]; 3]) {
        for (channel, plane) in planes.into_iter().enumerate() {
            let line = self.slice(ndarray::s![channel, row, ..]);
            plane.iter_mut().zip(line).for_each(|(to, &from)| *to = from);
        }
    }
}

/// How a photograph is worked through. Nothing of it changes the result.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnhanceOptions {
    /// Rows of the photograph worked on at once; chosen by its width when `None`.
    pub tile: Option<NonZeroUsize>,
}

impl Enhancer {
    /// Uses `model`, in single precision.
    pub fn new(model: Model) -> Self {
        Self { model }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Enhances one photograph (3, H, W), RGB in [0, 1], at least [`MIN_SIDE`] pixels on each
    /// side.
    ///
    /// # Errors
    /// A photograph too small, or numbers that are not finite.
    pub fn enhance(&self, photograph: ArrayView3<'_, f32>) -> Result<Enhancement> {
        let (channels, height, width) = photograph.dim();
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
        self.require_memory(height * width)?;
        let parameters = self.model.parameters();
        let values: Vec<f32> = photograph.iter().copied().collect();
        let x = Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)?
            .to_dtype(parameters.dtype())?
            .to_device(parameters.device())?;
        let prediction = self.model.forward(&x, Mode::Evaluate)?;
        let numbers = |tensor: &Tensor| -> Result<Vec<f32>> {
            Ok(tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
        };
        let output = numbers(&prediction.output)?;
        let image = Array3::from_shape_vec((3, height, width), output).map_err(|error| {
            CoreError::Shape {
                what: "network output",
                found: vec![3, height, width],
                expected: error.to_string(),
            }
        })?;
        let raw = numbers(&prediction.raw)?;
        let filters = FilterStack::from_raw(&self.model.config().stack(), &raw)?.params().clone();
        let colour = prediction.colour.as_ref().map(numbers).transpose()?;
        Ok(Enhancement { image, parameters: PredictedParameters { raw, filters, colour } })
    }
}

impl Enhancer {
    /// Enhances one photograph of at least [`MIN_SIDE`] pixels on each side, in memory that grows
    /// with its width and with three numbers a pixel. `sink` gets the result from the top in bands
    /// of rows: the first row's number and (3, rows, W). `progress` gets the share that is done, in
    /// [0, 1]. Both are called from the calling thread; the work is done on the current rayon pool.
    ///
    /// # Errors
    /// As [`Enhancer::enhance`]; `sink` has not been called then.
    pub fn enhance_rows(
        &self,
        photograph: &dyn RowSource,
        _options: EnhanceOptions,
        progress: &mut dyn FnMut(f64),
        sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<PredictedParameters> {
        let (height, width) = photograph.size();
        let mut whole = Array3::zeros((3, height, width));
        let mut row = vec![0.0f32; 3 * width];
        for y in 0..height {
            let (red, rest) = row.split_at_mut(width);
            let (green, blue) = rest.split_at_mut(width);
            photograph.read_row(y, [red, green, blue]);
            for (channel, line) in row.chunks_exact(width.max(1)).enumerate() {
                whole
                    .slice_mut(ndarray::s![channel, y, ..])
                    .iter_mut()
                    .zip(line)
                    .for_each(|(to, &from)| *to = from);
            }
        }
        progress(0.0);
        let enhancement = self.enhance(whole.view())?;
        progress(1.0);
        sink(0, enhancement.image.view());
        Ok(enhancement.parameters)
    }

    /// Peak memory of [`Enhancer::enhance`] per pixel of the photograph, about: at the finest level
    /// of the expanding arm the concatenated input, the outputs and the skip connection are alive at
    /// once, or later the features; and the photograph itself three times. The estimate lies a
    /// little above what was measured: 560 to 680 bytes a pixel for the release's sizes (740 here),
    /// 255 for a narrow model (340).
    fn bytes_per_pixel(&self) -> u64 {
        let config = self.model.config();
        let [first, second, ..] = config.widths;
        let channels = (5 * first + 3 * second).max(config.features + first) + 9;
        (channels * self.model.parameters().dtype().size_in_bytes()) as u64
    }

    /// Refuses what would end in the system killing the program.
    fn require_memory(&self, pixels: usize) -> Result<()> {
        let needed = self.bytes_per_pixel().saturating_mul(pixels as u64);
        match available_memory() {
            Some(available) if needed > available => {
                Err(CoreError::OutOfMemory { pixels, needed, available })
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that can be had without swapping, where the system tells (Linux).
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The device called `auto`, `cpu` or `cuda:N`. In this build `auto` is the CPU.
///
/// # Errors
/// An unknown name, or a GPU this build or machine does not have.
pub fn select_device(name: &str) -> Result<Device> {
    let refuse =
        |reason: &str| Err(CoreError::Device { given: name.into(), reason: reason.into() });
    match name {
        "auto" | "cpu" => Ok(Device::Cpu),
        cuda if cuda == "cuda" || cuda.starts_with("cuda:") => {
            let index = cuda.strip_prefix("cuda:").unwrap_or("0");
            if index.parse::<usize>().is_err() {
                return refuse("write cuda:N with N the number of the GPU, from 0");
            }
            refuse("this build runs on the CPU only; use --device cpu")
        }
        _ => refuse("known devices are auto, cpu and cuda:N"),
    }
}
