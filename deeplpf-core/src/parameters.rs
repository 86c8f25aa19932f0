//! The trainable numbers of a model, by checkpoint name, in a stable order.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape, Tensor, Var};

use crate::{Result, random::Generator};

/// Named variables in the alphabetical order of their names, the names being the release's
/// checkpoint keys.
#[derive(Clone, Debug)]
pub struct Parameters {
    variables: BTreeMap<String, Var>,
    dtype: DType,
    device: Device,
}

impl Parameters {
    /// No parameters yet.
    pub fn new(dtype: DType, device: &Device) -> Self {
        Self { variables: BTreeMap::new(), dtype, device: device.clone() }
    }

    /// Numeric type of all parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where they live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Name and variable, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.variables.get(name)
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.variables.values().map(|variable| variable.elem_count()).sum()
    }

    /// A copy that no gradient flows to: inference with it keeps no graph.
    pub fn frozen(&self) -> BTreeMap<String, Tensor> {
        self.variables
            .iter()
            .map(|(name, variable)| (name.clone(), variable.as_detached_tensor()))
            .collect()
    }

    fn insert(&mut self, name: String, values: Vec<f64>, shape: &Shape) -> Result<Var> {
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(self.dtype)?
            .to_device(&self.device)?;
        let variable = Var::from_tensor(&tensor)?;
        self.variables.insert(name, variable.clone());
        Ok(variable)
    }
}

/// Creates parameters under a dotted prefix, each from its own random stream.
pub(crate) struct Builder<'a> {
    parameters: &'a mut Parameters,
    seed: u64,
    prefix: String,
}

impl<'a> Builder<'a> {
    pub fn new(parameters: &'a mut Parameters, seed: u64) -> Self {
        Self { parameters, seed, prefix: String::new() }
    }

    /// The same builder one name deeper.
    pub fn pp(&mut self, name: &str) -> Builder<'_> {
        let prefix =
            if self.prefix.is_empty() { name.into() } else { format!("{}.{name}", self.prefix) };
        Builder { parameters: self.parameters, seed: self.seed, prefix }
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}.{name}", self.prefix) }
    }

    /// Uniform on ±`bound`.
    pub fn uniform(&mut self, name: &str, shape: impl Into<Shape>, bound: f64) -> Result<Var> {
        let (path, shape) = (self.path(name), shape.into());
        let mut generator = Generator::for_parameter(self.seed, &path);
        let values =
            (0..shape.elem_count()).map(|_| (2.0 * generator.uniform() - 1.0) * bound).collect();
        self.parameters.insert(path, values, &shape)
    }

    /// All zero.
    pub fn zeros(&mut self, name: &str, shape: impl Into<Shape>) -> Result<Var> {
        let (path, shape) = (self.path(name), shape.into());
        self.parameters.insert(path, vec![0.0; shape.elem_count()], &shape)
    }
}
