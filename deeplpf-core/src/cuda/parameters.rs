//! All parameters of a model in one flat buffer, so that Adam is one launch.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::{Device, error::CudaError, memory::Buffer};
use crate::{CoreError, Model};

type Result<T, E = CoreError> = std::result::Result<T, E>;

/// Start of every parameter, in numbers: 256 bytes.
const ALIGNMENT: usize = 64;

/// Where a parameter lies in the flat buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Number of its first value.
    pub first: usize,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Range {
    /// How many values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The places of all parameters of a model: the trained ones in the order of their names, then those no
/// gradient reaches. Between them lie zeros, which stay zero: their gradient is.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    ranges: BTreeMap<String, Range>,
    trained: usize,
    total: usize,
}

impl Layout {
    pub fn new(model: &Model) -> Self {
        let unused: Vec<&str> = model.unused_parameters().collect();
        let mut ranges = BTreeMap::new();
        let mut first = 0;
        let mut trained = 0;
        for with_gradient in [true, false] {
            for (name, variable) in model.parameters().iter() {
                if unused.contains(&name) != with_gradient {
                    let range = Range { first, shape: variable.dims().to_vec() };
                    first += range.count().next_multiple_of(ALIGNMENT);
                    ranges.insert(name.to_string(), range);
                }
            }
            if with_gradient {
                trained = first;
            }
        }
        Self { ranges, trained, total: first }
    }

    /// The place of parameter `name`, if the model has it.
    pub fn get(&self, name: &str) -> Option<&Range> {
        self.ranges.get(name)
    }

    /// Length of the flat range a gradient reaches.
    pub fn trained(&self) -> usize {
        self.trained
    }

    /// Number of the first trained value that is not the backbone's; names are in order, so the
    /// backbone's lie before it.
    pub fn heads_first(&self) -> usize {
        let heads = self.trained_ranges().filter(|(name, _)| !name.starts_with("backbonenet."));
        heads.map(|(_, range)| range.first).min().unwrap_or(self.trained)
    }

    /// Names and places of the trained parameters.
    pub fn trained_ranges(&self) -> impl Iterator<Item = (&str, &Range)> {
        let trained = self.trained;
        self.ranges
            .iter()
            .filter(move |(_, range)| range.first < trained)
            .map(|(name, range)| (name.as_str(), range))
    }

    /// The model's parameters, flat, in single precision.
    pub fn flatten(&self, model: &Model) -> Result<Vec<f32>> {
        let mut flat = vec![0.0; self.total];
        for (name, variable) in model.parameters().iter() {
            let Some(range) = self.ranges.get(name) else { continue };
            copy(variable.as_tensor(), range, &mut flat)?;
        }
        Ok(flat)
    }

    /// Overwrites the model's parameters.
    pub fn store(&self, flat: &[f32], model: &Model) -> Result<()> {
        for (name, variable) in model.parameters().iter() {
            let Some(range) = self.ranges.get(name) else { continue };
            let tensor = unflatten(flat, range)?.to_dtype(variable.dtype())?;
            variable.set(&tensor.to_device(variable.device())?)?;
        }
        Ok(())
    }

    /// One tensor for each trained parameter.
    pub fn tensors(&self, flat: &[f32]) -> Result<BTreeMap<String, Tensor>> {
        self.trained_ranges()
            .map(|(name, range)| Ok((name.to_string(), unflatten(flat, range)?)))
            .collect()
    }

    /// The reverse of [`Layout::tensors`]; parameters that are not in `tensors` get zeros.
    ///
    /// # Errors
    /// A tensor of another shape than its parameter.
    pub fn flatten_tensors(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<f32>> {
        let mut flat = vec![0.0; self.trained];
        for (name, range) in self.trained_ranges() {
            let Some(tensor) = tensors.get(name) else { continue };
            if tensor.dims() != range.shape {
                return Err(CoreError::Shape {
                    what: "moment of a parameter",
                    found: tensor.dims().to_vec(),
                    expected: format!("{:?}, as {name}", range.shape),
                });
            }
            copy(tensor, range, &mut flat)?;
        }
        Ok(flat)
    }
}

fn copy(tensor: &Tensor, range: &Range, flat: &mut [f32]) -> Result<()> {
    let values = tensor.to_device(&candle_core::Device::Cpu)?.to_dtype(DType::F32)?;
    let values = values.flatten_all()?.to_vec1::<f32>()?;
    flat[range.first..][..values.len()].copy_from_slice(&values);
    Ok(())
}

fn unflatten(flat: &[f32], range: &Range) -> Result<Tensor> {
    let values = flat[range.first..][..range.count()].to_vec();
    Ok(Tensor::from_vec(values, range.shape.clone(), &candle_core::Device::Cpu)?)
}

/// The parameters of a model on a GPU.
#[derive(Debug)]
pub(super) struct Weights {
    layout: Layout,
    buffer: Buffer,
}

impl Weights {
    /// Copies the parameters of `model`.
    pub fn new(device: &Device, model: &Model) -> Result<Self> {
        let layout = Layout::new(model);
        let flat = layout.flatten(model)?;
        let buffer = Buffer::holding(device, "the parameters", &flat)?;
        Ok(Self { layout, buffer })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The flat buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Reads all parameters, flat; waits for queued work.
    pub fn read(&self) -> Result<Vec<f32>, CudaError> {
        let mut flat = vec![0.0; self.layout.total];
        self.buffer.read(0, &mut flat)?;
        Ok(flat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Initialisation, ModelConfig};

    #[test]
    fn flat_and_back() {
        let config =
            ModelConfig { fixes: "ellipse,fusion".parse().unwrap(), ..ModelConfig::small() };
        let cpu = candle_core::Device::Cpu;
        let model = Model::new(&config, Initialisation::Release, 5, DType::F32, &cpu).unwrap();
        let layout = Layout::new(&model);
        let flat = layout.flatten(&model).unwrap();
        assert!(layout.trained() < layout.total && flat.len() == layout.total);
        for name in model.unused_parameters() {
            assert!(layout.get(name).unwrap().first >= layout.trained(), "{name}");
        }
        let other = Model::new(&config, Initialisation::Release, 6, DType::F32, &cpu).unwrap();
        layout.store(&flat, &other).unwrap();
        for (name, variable) in model.parameters().iter() {
            let values = |v: &Tensor| v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(variable), values(other.parameters().get(name).unwrap()), "{name}");
        }
        let moments = layout.tensors(&flat).unwrap();
        assert_eq!(layout.flatten_tensors(&moments).unwrap(), flat[..layout.trained()]);
    }
}
