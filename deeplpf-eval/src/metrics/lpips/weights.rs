//! The weights of LPIPS: read, checked, and laid out for the convolutions.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use safetensors::{Dtype, SafeTensors};

use super::convolution::Convolution;
use super::network::{Layer, LayerShape, Network};
use crate::error::{EvalError, Result};

/// AlexNet's convolutions in half precision. BSD-3-Clause (torchvision); see `NOTICE`.
const ALEXNET: &[u8] = include_bytes!("../../../data/lpips/alexnet_features.safetensors");
/// LPIPS v0.1's linear layers. BSD-2-Clause (PerceptualSimilarity); see `NOTICE`.
const LIN_ALEX: &[u8] = include_bytes!("../../../data/lpips/lin_alex.safetensors");
const LIN_VGG: &[u8] = include_bytes!("../../../data/lpips/lin_vgg.safetensors");

/// Largest file of weights read: torchvision's whole VGG16 has 528 MiB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Euclidean norms of the 13 kernels of torchvision's `vgg16` (`IMAGENET1K_V1`, the weights LPIPS
/// v0.1 was fitted to), in double precision. Other trainings of the same network load as well and
/// give other numbers under the same name.
const VGG16_KERNEL_NORMS: [f64; 13] = [
    10.427_133, 10.726_373, 13.492_078, 14.789_606, 17.272_297, 18.870_046, 19.490_475, 23.452_836,
    25.170_526, 25.109_802, 26.629_064, 26.132_624, 24.712_283,
];
/// Half precision moves a norm by less than 1e-4 of it, another training by far more than this.
const NORM_TOLERANCE: f64 = 1e-3;

/// A tensor of weights in single precision.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTensor {
    /// Sizes of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// Tensors by name, e.g. `features.0.weight`.
pub type WeightTensors = BTreeMap<String, WeightTensor>;

/// Reads the tensors of a safetensors file (single or half precision).
pub(super) fn read_safetensors(path: &Path) -> Result<WeightTensors> {
    let read = |source| EvalError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > MAX_FILE_BYTES {
        return Err(refused(path, "it is larger than 1 GiB, more than any VGG16".into()));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    parse(&bytes).map_err(|reason| refused(path, reason))
}

/// The layers of LPIPS AlexNet, from the library itself.
pub(super) fn embedded_alexnet() -> Result<Vec<Layer>> {
    let inside = Path::new("the embedded AlexNet");
    let features = parse(ALEXNET).map_err(|reason| refused(inside, reason))?;
    layers(Network::AlexNet, &features, &lin(LIN_ALEX)?, inside)
}

/// The layers of LPIPS VGG16. `path` is for messages.
pub(super) fn vgg16(features: &WeightTensors, path: &Path) -> Result<Vec<Layer>> {
    let linear_layers = lin(LIN_VGG)?;
    require_same_linear_layers(features, &linear_layers, path)?;
    let layers = layers(Network::Vgg16, features, &linear_layers, path)?;
    let convolutions = layers.iter().filter_map(|layer| match layer {
        Layer::Convolution(convolution) => Some(convolution),
        _ => None,
    });
    for (convolution, expected) in convolutions.zip(VGG16_KERNEL_NORMS) {
        let squares = convolution.weights.iter().map(|&w| f64::from(w).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        if norm.is_nan() || (norm - expected).abs() > NORM_TOLERANCE * expected {
            let reason = "these are other weights than torchvision's vgg16 (IMAGENET1K_V1), which \
                          LPIPS v0.1 was fitted to";
            return Err(refused(path, reason.into()));
        }
    }
    Ok(layers)
}

/// Files of the package lpips carry linear layers of their own; those of version 0.0 give other
/// numbers.
fn require_same_linear_layers(
    tensors: &WeightTensors,
    own: &WeightTensors,
    path: &Path,
) -> Result<()> {
    /// Half precision moves a weight by less than this part of it, or this much.
    const TOLERANCE: f32 = 1e-3;
    let mut compared = 0;
    for (name, own) in own {
        let Some(other) = tensors.get(name) else { continue };
        compared += 1;
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * b.abs().max(0.01);
        if other.values.len() != own.values.len() || !other.values.iter().zip(&own.values).all(near)
        {
            let reason = format!("its `{name}` is not that of LPIPS v0.1 with VGG16");
            return Err(refused(path, reason));
        }
    }
    if compared > 0 && compared == tensors.len() {
        let reason = "it holds LPIPS's linear layers only, which are inside the program already";
        return Err(refused(path, reason.into()));
    }
    Ok(())
}

/// VGG16 without the check of whose weights they are.
#[cfg(test)]
pub(super) fn any_vgg16(features: &WeightTensors) -> Result<Vec<Layer>> {
    layers(Network::Vgg16, features, &lin(LIN_VGG)?, Path::new("test"))
}

fn lin(bytes: &[u8]) -> Result<WeightTensors> {
    parse(bytes).map_err(|reason| refused(Path::new("the embedded linear layers"), reason))
}

fn refused(path: &Path, reason: String) -> EvalError {
    EvalError::LpipsWeights { path: path.to_owned(), reason }
}

fn parse(bytes: &[u8]) -> std::result::Result<WeightTensors, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("it is not a whole safetensors file ({error})"))?;
    let mut tensors = WeightTensors::new();
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Dtype::F32 => {
                view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
            }
            Dtype::F16 => {
                let halves = view.data().as_chunks::<2>().0.iter();
                halves.map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            other => return Err(format!("tensor `{name}` is {other}, expected F32 or F16")),
        };
        tensors.insert(name.to_owned(), WeightTensor { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// Joins a network's shape with its tensors.
fn layers(
    network: Network,
    features: &WeightTensors,
    lin: &WeightTensors,
    path: &Path,
) -> Result<Vec<Layer>> {
    let (mut channels, mut compared) = (3, 0);
    let mut layers = Vec::new();
    for shape in network.layers() {
        layers.push(match *shape {
            LayerShape::Convolution { index, kernel, stride, padding, outputs } => {
                let inputs = std::mem::replace(&mut channels, outputs);
                let name = format!("features.{index}");
                let weight =
                    find(features, &name, "weight", &[outputs, inputs, kernel, kernel], path)?;
                let bias = find(features, &name, "bias", &[outputs], path)?;
                Layer::Convolution(Convolution {
                    kernel,
                    stride,
                    padding,
                    inputs,
                    outputs,
                    weights: pixel_major(weight, outputs, inputs, kernel),
                    bias: bias.to_vec(),
                })
            }
            LayerShape::MaxPool { window, stride } => Layer::MaxPool { window, stride },
            LayerShape::Compare => {
                let name = format!("lin{compared}.model.1");
                compared += 1;
                Layer::Compare(find(lin, &name, "weight", &[1, channels, 1, 1], path)?.to_vec())
            }
        });
    }
    Ok(layers)
}

/// A tensor of the expected shape. A state dict of `vgg16().features` alone lacks the prefix; the
/// package lpips cuts the network in five, `net.slice1.0.weight` to `net.slice5.28.weight`.
fn find<'a>(
    tensors: &'a WeightTensors,
    layer: &str,
    kind: &str,
    shape: &[usize],
    path: &Path,
) -> Result<&'a [f32]> {
    let name = format!("{layer}.{kind}");
    let short = name.strip_prefix("features.").unwrap_or(&name);
    let sliced = (1..=5).map(|slice| format!("net.slice{slice}.{short}"));
    let found = tensors.get(&name).or_else(|| tensors.get(short));
    let Some(tensor) = found.or_else(|| sliced.into_iter().find_map(|name| tensors.get(&name)))
    else {
        return Err(refused(path, format!("it has no tensor `{name}`")));
    };
    if tensor.shape != shape || tensor.values.len() != shape.iter().product::<usize>() {
        let reason = format!("tensor `{name}` is {:?}, expected {shape:?}", tensor.shape);
        return Err(refused(path, reason));
    }
    Ok(&tensor.values)
}

/// `outputs x inputs x kernel x kernel` to `kernel x kernel x inputs x outputs`.
fn pixel_major(weight: &[f32], outputs: usize, inputs: usize, kernel: usize) -> Vec<f32> {
    let window = kernel * kernel;
    let mut turned = vec![0.0; weight.len()];
    for (output, of_output) in weight.chunks_exact(inputs * window).enumerate() {
        for (input, of_input) in of_output.chunks_exact(window).enumerate() {
            for (place, &value) in of_input.iter().enumerate() {
                turned[(place * inputs + input) * outputs + output] = value;
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_weights_are_whole() {
        let layers = embedded_alexnet().unwrap();
        assert_eq!(layers.len(), Network::AlexNet.layers().len());
        for layer in layers {
            if let Layer::Compare(weights) = layer {
                // LPIPS trains them under the condition that none is negative.
                assert!(weights.iter().all(|&weight| weight >= 0.0));
            }
        }
    }

    #[test]
    fn what_is_not_the_right_vgg_is_refused_with_the_reason() {
        let path = Path::new("vgg.safetensors");
        let error = |tensors: &WeightTensors| vgg16(tensors, path).unwrap_err().to_string();
        let mut tensors = super::super::tests::made_up_vgg();
        assert!(error(&tensors).contains("IMAGENET1K_V1"), "{}", error(&tensors));
        for tensor in tensors.values_mut() {
            tensor.values[0] = f32::NAN;
        }
        assert!(error(&tensors).contains("IMAGENET1K_V1"));
        let kernel = tensors.get_mut("features.14.weight").unwrap();
        kernel.shape = vec![256, 256, 1, 9];
        assert!(error(&tensors).contains("[256, 256, 1, 9]"), "{}", error(&tensors));
        tensors.remove("features.14.weight");
        assert!(error(&tensors).contains("no tensor `features.14.weight`"));
        assert!(error(&tensors).contains("vgg.safetensors"));
    }

    #[test]
    fn the_names_of_the_package_lpips_are_known_and_its_other_versions_refused() {
        let path = Path::new("lpips.pth");
        let mut tensors: WeightTensors = super::super::tests::made_up_vgg()
            .into_iter()
            .map(|(name, tensor)| (name.replace("features.", "net.slice3."), tensor))
            .collect();
        assert_eq!(any_vgg16(&tensors).unwrap().len(), Network::Vgg16.layers().len());
        let lin = lin(LIN_VGG).unwrap();
        let error = vgg16(&lin, path).unwrap_err().to_string();
        assert!(error.contains("linear layers only"), "{error}");
        tensors.extend(lin);
        let error = vgg16(&tensors, path).unwrap_err().to_string();
        assert!(error.contains("IMAGENET1K_V1"), "{error}");
        tensors.get_mut("lin2.model.1.weight").unwrap().values[5] += 0.5;
        let error = vgg16(&tensors, path).unwrap_err().to_string();
        assert!(error.contains("`lin2.model.1.weight` is not that of LPIPS v0.1"), "{error}");
    }

    #[test]
    fn files_that_are_not_safetensors_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgg.safetensors");
        assert!(matches!(read_safetensors(&path), Err(EvalError::Read { .. })));
        for bytes in [&b"no weights"[..], &ALEXNET[..ALEXNET.len() / 2]] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_safetensors(&path).unwrap_err().to_string();
            assert!(error.contains("vgg.safetensors") && error.contains("safetensors file"));
        }
    }
}
