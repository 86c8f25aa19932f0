//! Reading and writing weights: safetensors with the configuration inside, and PyTorch state
//! dicts. Files are untrusted: nothing in them is executed, and sizes are checked before memory is
//! taken.

mod between;
mod pytorch;
mod safetensors;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use crate::{CoreError, Model, ModelConfig, Result};

pub use self::between::between;
pub use self::safetensors::{
    serialize_tensors, write as write_safetensors, write_half as write_half_safetensors,
};

/// Largest file read, 1 GiB: more than a hundred times the paper's model in double precision.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Named tensors of a file, and its configuration if it carries one.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it was read from.
    pub path: PathBuf,
    /// The configuration it was saved with; a PyTorch state dict has none.
    pub config: Option<ModelConfig>,
    /// Tensors by checkpoint name, in the file's numeric type.
    pub tensors: BTreeMap<String, Tensor>,
    /// Free-form entries of a safetensors file.
    pub metadata: HashMap<String, String>,
    /// What kind of file it was.
    pub format: Format,
}

/// Kinds of checkpoint files, told apart by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own.
    Safetensors,
    /// PyTorch's: a pickle and raw storages, in a zip archive or, before 1.6, one behind the other.
    PyTorch,
}

impl Checkpoint {
    /// Reads a file of either kind.
    ///
    /// # Errors
    /// A file that is missing, damaged, too large, or asks to run code.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(CoreError::io("read", path))?;
        let length = file.metadata().map_err(CoreError::io("read", path))?.len();
        let malformed =
            |reason: &str| CoreError::Malformed { path: path.into(), reason: reason.into() };
        if length == 0 {
            return Err(malformed("the file is empty; fetch or copy it again"));
        }
        if length > MAX_FILE_BYTES {
            return Err(malformed("it is larger than 1 GiB, more than any DeepLPF model"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(CoreError::io("read", path))?;
        Self::from_bytes(&bytes, path)
    }

    /// [`Checkpoint::read`] for a file held in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// A file that is damaged, or asks to run code.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let malformed =
            |reason: &str| CoreError::Malformed { path: path.into(), reason: reason.into() };
        if pytorch::begins(bytes) {
            let tensors = pytorch::read(path, bytes)?;
            return Ok(Self {
                path: path.into(),
                config: None,
                tensors,
                metadata: HashMap::new(),
                format: Format::PyTorch,
            });
        }
        if bytes.starts_with(b"\x80\x02") {
            return Err(malformed(
                "it is a pickle, but not one of torch.save; save it again with torch.save",
            ));
        }
        let safetensors::Contents { config, tensors, metadata } = safetensors::read(path, bytes)?;
        Ok(Self { path: path.into(), config, tensors, metadata, format: Format::Safetensors })
    }

    /// The configuration to build with: the file's own, which `asked` must equal, or `asked` for
    /// files that carry none, or the release's.
    ///
    /// # Errors
    /// [`CoreError::OtherConfig`].
    pub fn resolve_config(&self, asked: Option<&ModelConfig>) -> Result<ModelConfig> {
        match (&self.config, asked) {
            (Some(own), Some(asked)) => match own.difference(asked) {
                None => Ok(own.clone()),
                Some(difference) => {
                    Err(CoreError::OtherConfig { path: self.path.clone(), difference })
                }
            },
            (Some(own), None) => Ok(own.clone()),
            (None, Some(asked)) => Ok(asked.clone()),
            (None, None) => Ok(ModelConfig::default()),
        }
    }

    /// Builds the model; see [`Checkpoint::resolve_config`]. Tensors the fix `wiring` adds may be
    /// missing from a release checkpoint: the gate then starts at zero, which changes nothing.
    ///
    /// # Errors
    /// Another configuration, or tensors that do not fit.
    pub fn model(
        &self,
        asked: Option<&ModelConfig>,
        dtype: DType,
        device: &Device,
    ) -> Result<Model> {
        let config = self.resolve_config(asked)?;
        let mut tensors = self.tensors.clone();
        if self.format == Format::PyTorch {
            let zero = || Tensor::zeros(1, DType::F32, &Device::Cpu);
            if config.fixes.contains(crate::Fix::Wiring) && !tensors.contains_key(WIRING_GATE) {
                tensors.insert(WIRING_GATE.into(), zero()?);
            }
        }
        config.validate()?;
        let found: u128 = tensors.values().map(|tensor| tensor.elem_count() as u128).sum();
        // A hostile configuration could ask for all memory before its tensors are found missing.
        let described = config.parameter_count();
        let problem = if tensors.keys().any(|name| name.starts_with(RESUME_PREFIX)) {
            RESUME_HINT.into()
        } else if described > 2 * found + 100_000 {
            format!(
                "its configuration describes {described} numbers, it holds {found}; write it again"
            )
        } else {
            return Model::from_tensors(&config, &tensors, &self.path, dtype, device);
        };
        Err(CoreError::Mismatch { path: self.path.clone(), problems: vec![problem] })
    }
}

const WIRING_GATE: &str = "backbonenet.unet.wiring_gate";

/// How the names in a resume state of deeplpf-train begin.
const RESUME_PREFIX: &str = "weight.";
const RESUME_HINT: &str =
    "it is a run's resume state; use checkpoints/best.safetensors of the same run";
