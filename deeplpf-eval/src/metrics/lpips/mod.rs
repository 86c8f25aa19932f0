//! Learned perceptual image patch similarity.

mod convolution;
mod network;
mod weights;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::{EvalError, Result};
use convolution::Features;
use network::{Layer, Network};

pub use weights::{WeightTensor, WeightTensors};

/// Mean and deviation by which LPIPS shifts and scales an image in \[-1, 1\], per channel
/// (`ScalingLayer` of the authors' program: ImageNet's, moved from \[0, 1\] to \[-1, 1\]).
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Added to the length of a pixel's features before dividing by it (the authors' program).
const EPSILON: f32 = 1e-10;
/// Pixels summed together; fixed so that the sum does not depend on the number of threads.
const BLOCK: usize = 1024;
/// Sums kept side by side so that the compiler can use vector instructions; every network's
/// channels are a multiple of it.
const LANES: usize = 16;

/// LPIPS version 0.1 (R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The unreasonable
/// effectiveness of deep features as a perceptual metric", CVPR 2018, equation 1):
///
/// `sum over layers of mean over pixels of sum over channels of w (p / |p| - t / |t|)^2`
///
/// where p and t are the feature maps of prediction and target and w the layer's learned weights.
/// 0 for identical images, at most about 1; lower is better. It is not a metric in the
/// mathematician's sense, and neither network sees much of what a colourist does.
///
/// Reference: the package `lpips` 0.1.4. Cloning is cheap: the weights are shared.
#[derive(Clone, Debug)]
pub struct Lpips {
    network: Network,
    layers: Arc<Vec<Layer>>,
}

impl Lpips {
    /// With AlexNet, the authors' choice for comparing; key `lpips_alex`. The weights are inside
    /// the library, the convolutions in half precision: LPIPS is up to 6e-5 from that of single
    /// precision. Images of 31 pixels a side and more.
    pub fn alexnet() -> Self {
        static LAYERS: OnceLock<Arc<Vec<Layer>>> = OnceLock::new();
        let layers = LAYERS.get_or_init(|| {
            Arc::new(weights::embedded_alexnet().expect("a test reads the embedded weights"))
        });
        Self { network: Network::AlexNet, layers: layers.clone() }
    }

    /// With VGG16, the authors' choice for optimising; key `lpips_vgg`. `features` are the tensors
    /// `features.*` of torchvision's `vgg16` (others are ignored), `path` is where they are from,
    /// for messages. LPIPS's own linear layers are inside the library. Images of 16 pixels a side
    /// and more.
    ///
    /// # Errors
    /// [`EvalError::LpipsWeights`] where a tensor is missing, has another shape, or the weights
    /// are not those LPIPS v0.1 was fitted to.
    pub fn vgg16(features: &WeightTensors, path: &Path) -> Result<Self> {
        let layers = Arc::new(weights::vgg16(features, path)?);
        Ok(Self { network: Network::Vgg16, layers })
    }

    /// [`Lpips::vgg16`] with the tensors of a safetensors file, single or half precision.
    ///
    /// # Errors
    /// As there, and [`EvalError::Read`].
    pub fn vgg16_from_safetensors(path: &Path) -> Result<Self> {
        Self::vgg16(&weights::read_safetensors(path)?, path)
    }
}

impl ImageMetric for Lpips {
    fn metric(&self) -> Metric {
        let (key, label, name) = match self.network {
            Network::AlexNet => ("lpips_alex", "LPIPS", "LPIPS v0.1 AlexNet"),
            Network::Vgg16 => ("lpips_vgg", "LPIPS VGG", "LPIPS v0.1 VGG16"),
        };
        Metric::new(key, label, name, "", Direction::LowerIsBetter, 4)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        let (size, minimum) = (pair.size(), self.network.minimum_side());
        if size.width.min(size.height) < minimum {
            let metric = self.metric().name.into_owned();
            return Err(EvalError::TooSmall { metric, minimum, size });
        }
        let (prediction, target) = pair.values();
        let mut maps = [prediction, target].map(|values| scaled(values, size.width, size.height));
        let mut total = 0.0;
        for layer in self.layers.iter() {
            if let Layer::Compare(weights) = layer {
                total += mean_distance(&maps[0], &maps[1], weights);
            }
            for map in &mut maps {
                if let Some(next) = layer.forward(map) {
                    *map = next;
                }
            }
        }
        Ok(total)
    }
}

/// A planar image in \[0, 1\] (clamped) as the networks take it, pixel by pixel.
fn scaled(planar: &[f32], width: usize, height: usize) -> Features {
    let pixels = width * height;
    let values = (0..pixels)
        .flat_map(|pixel| {
            std::array::from_fn::<f32, 3, _>(|channel| {
                let value = planar[channel * pixels + pixel].clamp(0.0, 1.0);
                (2.0 * value - 1.0 - SHIFT[channel]) / SCALE[channel]
            })
        })
        .collect();
    Features { values, width, height, channels: 3 }
}

/// The mean over pixels of one layer's distance.
fn mean_distance(prediction: &Features, target: &Features, weights: &[f32]) -> f64 {
    let channels = prediction.channels;
    let sums: Vec<f64> = prediction
        .values
        .par_chunks(BLOCK * channels)
        .zip(target.values.par_chunks(BLOCK * channels))
        .map(|(prediction, target)| {
            let pixels = prediction.chunks_exact(channels).zip(target.chunks_exact(channels));
            pixels.map(|(p, t)| f64::from(distance(p, t, weights))).sum()
        })
        .collect();
    sums.iter().sum::<f64>() / (prediction.width * prediction.height) as f64
}

/// `sum of w (p / |p| - t / |t|)^2` of one pixel.
fn distance(prediction: &[f32], target: &[f32], weights: &[f32]) -> f32 {
    let (p, t) = (1.0 / (length(prediction) + EPSILON), 1.0 / (length(target) + EPSILON));
    let mut sums = [0.0f32; LANES];
    let pairs = prediction.as_chunks::<LANES>().0.iter().zip(target.as_chunks::<LANES>().0);
    for ((a, b), weights) in pairs.zip(weights.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let difference = p * a[lane] - t * b[lane];
            sums[lane] += weights[lane] * difference * difference;
        }
    }
    sums.iter().sum()
}

/// Euclidean length.
fn length(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for values in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            sums[lane] += values[lane] * values[lane];
        }
    }
    sums.iter().sum::<f32>().sqrt()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::network::LayerShape;
    use super::*;
    use ndarray::Array3;

    /// VGG16 with the made-up weights of `tests/fixtures/lpips.py`.
    pub(crate) fn made_up_vgg() -> WeightTensors {
        let mut tensors = WeightTensors::new();
        let (mut inputs, mut number) = (3usize, 0usize);
        for layer in Network::Vgg16.layers() {
            let LayerShape::Convolution { index, kernel, outputs, .. } = *layer else { continue };
            let gain = (6.0 / inputs as f64 / 9.0).sqrt();
            let value =
                |i: usize| (((i * 7919 + number * 104_729) % 997) as f64 - 498.0) / 498.0 * gain;
            let shape = vec![outputs, inputs, kernel, kernel];
            let values = (0..shape.iter().product()).map(|i| value(i) as f32).collect();
            tensors.insert(format!("features.{index}.weight"), WeightTensor { shape, values });
            let bias = WeightTensor { shape: vec![outputs], values: vec![0.0; outputs] };
            tensors.insert(format!("features.{index}.bias"), bias);
            (inputs, number) = (outputs, number + 1);
        }
        tensors
    }

    fn read(name: &str, role: &str) -> Array3<f32> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pairs");
        let picture = image::open(folder.join(name).join(format!("{role}.png"))).unwrap();
        let picture = picture.to_rgb8();
        let (width, height) = picture.dimensions();
        Array3::from_shape_fn((3, height as usize, width as usize), |(channel, y, x)| {
            f32::from(picture.get_pixel(x as u32, y as u32).0[channel]) / 255.0
        })
    }

    #[test]
    fn golden_vgg_of_made_up_weights_agrees_with_pytorch() {
        let json = include_str!("../../../tests/fixtures/lpips.json");
        let expected: serde_json::Value = serde_json::from_str(json).unwrap();
        let layers = Arc::new(weights::any_vgg16(&made_up_vgg()).unwrap());
        let lpips = Lpips { network: Network::Vgg16, layers };
        for name in ["astronaut", "chelsea", "coffee"] {
            let (prediction, target) = (read(name, "prediction"), read(name, "target"));
            let pair = ImagePair::new(prediction.view(), target.view()).unwrap();
            let found = lpips.score(&pair).unwrap();
            let expected = expected[name]["vgg_of_made_up_weights"].as_f64().unwrap();
            // Two orders of summation in single precision through 13 layers.
            assert!((found - expected).abs() < 2e-6, "{name}: {found}, expected {expected}");
        }
    }

    #[test]
    fn the_least_size_is_stated_and_works() {
        let image = |side| Array3::<f32>::from_elem((3, side, side + 9), 0.4);
        let (small, least) = (image(30), image(31));
        let score = |image: &Array3<f32>| {
            Lpips::alexnet().score(&ImagePair::new(image.view(), image.view()).unwrap())
        };
        let error = score(&small).unwrap_err().to_string();
        assert!(error.contains("LPIPS v0.1 AlexNet needs at least 31"), "{error}");
        assert_eq!(score(&least).unwrap(), 0.0);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let (prediction, target) = (read("chelsea", "prediction"), read("chelsea", "target"));
        let pair = ImagePair::new(prediction.view(), target.view()).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Lpips::alexnet().score(&pair).unwrap())
        };
        assert_eq!(run(1).to_bits(), run(3).to_bits());
    }
}
