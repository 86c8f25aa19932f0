//! Enhancing photographs with a trained model.

use std::num::NonZeroUsize;

use deeplpf_filters::StackParams;
use ndarray::{Array3, ArrayView3, s};
use serde::Serialize;

use crate::{
    Compute, CoreError, GivenParameters, MIN_SIDE, Model, Precision, Result, edit, engine::Engine,
    highlights,
};

/// A model ready to enhance photographs of any size.
pub struct Enhancer {
    model: Model,
    backend: Backend,
}

/// What it runs on.
enum Backend {
    Cpu(Box<Engine>),
    #[cfg(feature = "cuda")]
    Cuda(Box<crate::cuda::Enhancer>),
}

/// An enhanced photograph and what was done to it.
pub struct Enhancement {
    /// The result: (3, H, W); in [0, 1] under the `release` dialect, without limits under `paper`.
    pub image: Array3<f32>,
    /// The filters' parameters.
    pub parameters: PredictedParameters,
}

/// Filter parameters as the network predicted them and as named geometry, or as they were given;
/// before any [strength](EnhanceOptions::strength) other than 1.
#[derive(Clone, Debug, Serialize)]
pub struct PredictedParameters {
    /// Unconstrained numbers, in the order of [`deeplpf_filters::StackConfig`]; none where the
    /// filters were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
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

/// How a photograph is enhanced.
#[derive(Clone, Debug)]
pub struct EnhanceOptions {
    /// Rows of the photograph worked on at once; chosen by its width when `None`. The result is the
    /// same.
    pub tile: Option<NonZeroUsize>,
    /// How much of the network's change is applied, in [0, [`MAX_STRENGTH`](crate::MAX_STRENGTH)]:
    /// 0 returns the photograph (its values limited to [0, 1] under the `release` dialect), 1 is
    /// the network's own result.
    pub strength: f32,
    /// Filters instead of those the network predicts; of the network only the backbone runs.
    pub given: Option<GivenParameters>,
    /// Whether what is nearly white in the photograph stays so, whatever the network made of it: with
    /// x the photograph, y the network's result and S the smooth step t^2 (3 - 2 t) of t limited to
    /// [0, 1], y + S((min(x_r, x_g, x_b) - 0.7) / 0.3) max(x - y, 0). Not in the paper.
    pub keep_highlights: bool,
}

impl Default for EnhanceOptions {
    fn default() -> Self {
        Self { tile: None, strength: 1.0, given: None, keep_highlights: false }
    }
}

impl Enhancer {
    /// Packs the weights of `model`; photographs are worked on in single precision.
    ///
    /// # Errors
    /// The environment variable `DEEPLPF_SIMD` names an instruction set that is unknown or not the
    /// processor's (see [`deeplpf_filters::Instructions`]).
    pub fn new(model: Model) -> Result<Self> {
        Ok(Self { backend: Backend::Cpu(Box::new(Engine::new(&model)?)), model })
    }

    /// The same on the CPU or a GPU. `precision` is the GPU's; the CPU works in single precision.
    ///
    /// # Errors
    /// As [`Enhancer::new`]; on a GPU a model option that CUDA does not support, or the GPU refuses.
    pub fn on(model: Model, compute: &Compute, precision: Precision) -> Result<Self> {
        match compute {
            Compute::Cpu => {
                let _ = precision;
                Self::new(model)
            }
            #[cfg(feature = "cuda")]
            Compute::Cuda(device) => {
                let enhancer = crate::cuda::Enhancer::new(device, &model, precision)?;
                Ok(Self { backend: Backend::Cuda(Box::new(enhancer)), model })
            }
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Enhances one photograph (3, H, W), RGB in [0, 1], at least [`MIN_SIDE`] pixels on each
    /// side.
    ///
    /// # Errors
    /// A photograph too small, more memory than there is, or numbers that are not finite.
    pub fn enhance(&self, photograph: ArrayView3<'_, f32>) -> Result<Enhancement> {
        let (channels, height, width) = photograph.dim();
        if channels != 3 {
            return Err(CoreError::Shape {
                what: "photograph",
                found: vec![channels, height, width],
                expected: "(3, H, W)".into(),
            });
        }
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

    /// Enhances one photograph of at least [`MIN_SIDE`] pixels on each side, in memory that grows
    /// with its width and with three numbers a pixel. `sink` gets the result from the top in bands
    /// of rows: the first row's number and (3, rows, W). `progress` gets the share that is done, in
    /// [0, 1]. Both are called from the calling thread; the work is done on the current rayon pool.
    ///
    /// # Errors
    /// As [`Enhancer::enhance`], a strength out of range, or given filters that are not those of
    /// this model's configuration; `sink` has not been called then.
    pub fn enhance_rows(
        &self,
        photograph: &dyn RowSource,
        options: &EnhanceOptions,
        progress: &mut dyn FnMut(f64),
        sink: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<PredictedParameters> {
        let (height, width) = photograph.size();
        if height < MIN_SIDE || width < MIN_SIDE {
            return Err(CoreError::ImageTooSmall { height, width, least: MIN_SIDE });
        }
        edit::check_strength(options.strength)?;
        if options.keep_highlights {
            let options = EnhanceOptions { keep_highlights: false, ..options.clone() };
            return self.enhance_rows(photograph, &options, progress, &mut |first, band| {
                sink(first, highlights::kept(photograph, first, band).view());
            });
        }
        match &self.backend {
            Backend::Cpu(engine) => {
                require_memory(engine, (height, width), options.tile)?;
                engine.run(photograph, (height, width), options, progress, sink)
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda(enhancer) => enhancer.enhance_rows(photograph, options, progress, sink),
        }
    }
}

/// Refuses what would end in the system killing the program.
fn require_memory(engine: &Engine, size: (usize, usize), tile: Option<NonZeroUsize>) -> Result<()> {
    let needed = engine.bytes(size, tile);
    let pixels = size.0.saturating_mul(size.1);
    match available_memory() {
        Some(available) if needed > available => {
            return Err(CoreError::OutOfMemory { pixels, needed, available });
        }
        _ => {}
    }
    // A limit on addresses shows only when they are asked for; pages are not touched here.
    let mut probe: Vec<u8> = Vec::new();
    usize::try_from(needed)
        .ok()
        .and_then(|needed| probe.try_reserve_exact(needed).ok())
        .ok_or(CoreError::OutOfMemory { pixels, needed, available: 0 })
}

/// Bytes that can be had without swapping, where the system tells (Linux): what the machine has
/// free, or less where the process's control group allows less.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let machine = kibibytes * 1024;
    Some(control_group_memory().map_or(machine, |group| group.min(machine)))
}

/// What the control group (version 2) of this process leaves, its file cache counted as free.
fn control_group_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = std::path::Path::new("/sys/fs/cgroup").join(group);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (most, used) = (number("memory.max")?, number("memory.current")?);
    let cache = read("memory.stat")?
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(most.saturating_sub(used.saturating_sub(cache)))
}
