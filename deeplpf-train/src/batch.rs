//! Pairs to tensors: order, crops and flips are functions of the seed and a counter.

use candle_core::{DType, Device, Tensor};
use deeplpf_core::random::{Generator, Purpose};
use deeplpf_data::{
    Pair, PairPaths,
    augment::{Crop, Flip},
};
use ndarray::Array3;

use crate::{DataConfig, Result};

/// Where pairs come from.
#[derive(Clone, Debug)]
pub enum PairSource {
    /// Held in memory.
    Memory(Vec<Pair>),
    /// Decoded when they are needed.
    Files(Vec<PairPaths>),
}

impl PairSource {
    /// How many pairs.
    pub fn len(&self) -> usize {
        match self {
            PairSource::Memory(pairs) => pairs.len(),
            PairSource::Files(paths) => paths.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pair's id. Panics past the end.
    pub fn id(&self, index: usize) -> &str {
        match self {
            PairSource::Memory(pairs) => &pairs[index].id,
            PairSource::Files(paths) => &paths[index].id,
        }
    }

    /// The pair itself. Panics past the end.
    ///
    /// # Errors
    /// A file that cannot be decoded, or a pair of unequal sizes.
    pub fn load(&self, index: usize) -> Result<Pair> {
        Ok(match self {
            PairSource::Memory(pairs) => pairs[index].clone(),
            PairSource::Files(paths) => paths[index].load()?,
        })
    }
}

/// Images for one step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Ids, in the order of the images.
    pub ids: Vec<String>,
    /// (N, 3, H, W).
    pub input: Tensor,
    /// (N, 3, H, W).
    pub target: Tensor,
}

impl Batch {
    /// Stacks pairs of one size.
    ///
    /// # Errors
    /// Sizes that differ.
    pub fn stack(pairs: &[Pair], dtype: DType, device: &Device) -> Result<Self> {
        let images = |of: fn(&Pair) -> &Array3<f32>| -> Result<Tensor> {
            let images = pairs
                .iter()
                .map(|pair| image_tensor(of(pair), dtype, device))
                .collect::<Result<Vec<_>>>()?;
            Ok(Tensor::cat(&images, 0)?)
        };
        Ok(Self {
            ids: pairs.iter().map(|pair| pair.id.clone()).collect(),
            input: images(|pair| &pair.input)?,
            target: images(|pair| &pair.target)?,
        })
    }
}

/// (3, H, W) to (1, 3, H, W).
pub(crate) fn image_tensor(image: &Array3<f32>, dtype: DType, device: &Device) -> Result<Tensor> {
    let (channels, height, width) = image.dim();
    let values: Vec<f32> = image.iter().copied().collect();
    let tensor = Tensor::from_vec(values, (1, channels, height, width), &Device::Cpu)?;
    Ok(tensor.to_dtype(dtype)?.to_device(device)?)
}

/// The order of the pairs in an epoch.
pub(crate) fn epoch_order(seed: u64, epoch: u64, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    Generator::new(seed, Purpose::Order, epoch).shuffle(&mut order);
    order
}

/// Loads, crops and flips the pairs of one step.
pub(crate) fn augmented(
    source: &PairSource,
    indices: &[usize],
    config: &DataConfig,
    seed: u64,
    step: u64,
) -> Result<Vec<Pair>> {
    let mut generator = Generator::new(seed, Purpose::Augmentation, step);
    indices
        .iter()
        .map(|&index| {
            let mut pair = source.load(index)?;
            if config.crop > 0 {
                let crop = Crop::draw(&pair, config.crop, config.crop, &mut generator)?;
                pair = crop.apply(&pair);
            }
            if config.flips {
                pair = Flip::draw(&mut generator).apply(pair);
            }
            Ok(pair)
        })
        .collect()
}
