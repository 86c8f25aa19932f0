//! Pairs to tensors: order, crops and flips are functions of the seed and a counter.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use deeplpf_core::random::{Generator, Purpose};
use deeplpf_data::{
    DataError, Pair, PairPaths,
    cache::PairCache,
    feed::{PairView, PlanarBatch},
    sid::{SidFiles, SidPair},
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
    /// Decoded already, in a file: pairs of a cache by their numbers.
    Cached(Arc<PairCache>, Vec<usize>),
    /// Exposures of See-in-the-Dark, decoded when they are needed.
    Sid(Vec<SidFiles>),
}

impl PairSource {
    /// How many pairs.
    pub fn len(&self) -> usize {
        match self {
            PairSource::Memory(pairs) => pairs.len(),
            PairSource::Files(paths) => paths.len(),
            PairSource::Cached(_, numbers) => numbers.len(),
            PairSource::Sid(files) => files.len(),
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
            PairSource::Cached(cache, numbers) => cache.pair(numbers[index]).id,
            PairSource::Sid(files) => &files[index].id,
        }
    }

    /// The pair itself, of See-in-the-Dark with an input as its protocol says. Panics past the end.
    ///
    /// # Errors
    /// A file that cannot be decoded, or a pair of unequal sizes.
    pub fn load(&self, index: usize) -> Result<Pair> {
        Ok(match self {
            PairSource::Memory(pairs) => pairs[index].clone(),
            PairSource::Files(paths) => paths[index].load()?,
            PairSource::Cached(cache, numbers) => cache.pair(numbers[index]).to_pair(),
            PairSource::Sid(files) => {
                let SidPair { id, input, target, .. } =
                    files[index].load().map_err(DataError::from)?;
                Pair { id, input, target }
            }
        })
    }
}

/// Images for one step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Ids, in the order of the images.
    pub ids: Vec<String>,
    /// (N, 3, H, W); packed mosaics (N, 4 or 9, H, W).
    pub input: Tensor,
    /// (N, 3, H, W), twice or three times as high and wide for packed mosaics.
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

impl Batch {
    /// Tensors of prepared pictures.
    ///
    /// # Errors
    /// A device without room.
    pub fn from_planes(batch: PlanarBatch, dtype: DType, device: &Device) -> Result<Self> {
        let target_shape = batch.target_shape();
        let PlanarBatch { ids, shape, input, target } = batch;
        let tensor = |values: Vec<f32>, shape: [usize; 4]| -> Result<Tensor> {
            let tensor = Tensor::from_vec(values, &shape, &Device::Cpu)?;
            Ok(tensor.to_dtype(dtype)?.to_device(device)?)
        };
        Ok(Self { ids, input: tensor(input, shape)?, target: tensor(target, target_shape)? })
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

/// The side of a batch's crops: that of the configuration, or one of several.
pub(crate) fn draw_side(config: &DataConfig, generator: &mut Generator) -> usize {
    match config.crops.len() {
        // Nothing is drawn, so that runs with one side stay as they were.
        0 => config.crop,
        count => config.crops[generator.below(count as u32) as usize],
    }
}

/// The pictures of batch `number` of the whole run: cut, mirrored and augmented as the seed says.
pub(crate) fn prepare(
    source: &PairSource,
    indices: &[usize],
    config: &DataConfig,
    seed: u64,
    number: u64,
) -> Result<PlanarBatch> {
    let mut generator = Generator::new(seed, Purpose::Augmentation, number);
    let preparation = &config.preparation(draw_side(config, &mut generator));
    let mut batch = PlanarBatch::default();
    for &index in indices {
        let mut push = |pair: PairView<'_>| batch.push(&pair, preparation, &mut generator);
        match source {
            PairSource::Memory(pairs) => push(PairView::of(&pairs[index]))?,
            PairSource::Files(paths) => push(PairView::of(&paths[index].load()?))?,
            PairSource::Cached(cache, numbers) => push(cache.pair(numbers[index]))?,
            PairSource::Sid(files) => {
                let pair = files[index].load().map_err(DataError::from)?;
                batch.push_sid(&pair, preparation, &mut generator)?;
            }
        }
    }
    Ok(batch)
}
