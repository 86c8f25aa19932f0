//! Weights of LPIPS VGG16, from a file or from the Hugging Face hub: the reader of PyTorch's files
//! lives with the network, the metric with the metrics.

#[cfg(feature = "hub")]
mod hub;
mod source;

use std::path::{Path, PathBuf};

use deeplpf_core::{Checkpoint, DType};
use deeplpf_eval::metrics::{Lpips, WeightTensor, WeightTensors};

use crate::{ExperimentError, Result};
use source::{HubFile, Source};

/// Why weights could not be had from the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// An address that is not of the documented form.
    #[error(
        "`{url}` is no address of a file on the hub ({reason}); the form is \
         hf://OWNER/REPOSITORY@REVISION/FILE#sha256=HASH, with the 40 digits of a commit and the \
         64 of the file's hash (both on the file's page at huggingface.co), so that the numbers \
         never change"
    )]
    Address {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A program without the feature.
    #[error(
        "this program was built without the hub: fetch {page} and give the file instead, or build \
         it with `cargo build --release --features hub`"
    )]
    NotBuilt {
        /// Where the file is.
        page: String,
    },
    /// The network, the server or the disk.
    #[error("cannot fetch {url}: {reason}; fetch {page} by other means and give the file instead")]
    Fetch {
        /// The address.
        url: String,
        /// Where the file is.
        page: String,
        /// Why not.
        reason: String,
    },
    /// The file is not the one the address pins.
    #[error(
        "{} has the SHA-256 {found}, not {expected}: it is another file than the address pins; \
         remove it if it was cut short, or correct the address",
        path.display()
    )]
    OtherFile {
        /// The fetched file.
        path: PathBuf,
        /// As pinned.
        expected: String,
        /// As found.
        found: String,
    },
}

/// LPIPS with VGG16 from the `features.*` tensors of torchvision's `vgg16`: a safetensors file, or a
/// state dict saved by any version of PyTorch (also that of a whole `lpips.LPIPS(net="vgg")`); a
/// path, or an address on the Hugging Face hub, `hf://OWNER/REPOSITORY@COMMIT/FILE#sha256=HASH`
/// (feature `hub`; the endpoint is that of the environment's `HF_ENDPOINT`, the cache that of
/// `HF_HOME`). Nothing in the file is executed.
///
/// # Errors
/// A file that cannot be read or is not the one pinned, or other weights than those LPIPS v0.1 was
/// fitted to.
pub fn read_lpips_vgg(source: &str) -> Result<Lpips> {
    let path = match Source::parse(source)? {
        Source::File(path) => path,
        Source::Hub(file) => fetch(&file)?,
    };
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        return Ok(Lpips::vgg16_from_safetensors(&path)?);
    }
    Ok(Lpips::vgg16(&read_pytorch(&path)?, &path)?)
}

#[cfg(feature = "hub")]
fn fetch(file: &HubFile) -> Result<PathBuf> {
    Ok(hub::fetch(file, &hub::Settings::from_environment())?)
}

#[cfg(not(feature = "hub"))]
fn fetch(file: &HubFile) -> Result<PathBuf> {
    Err(HubError::NotBuilt { page: file.page() }.into())
}

fn read_pytorch(path: &Path) -> Result<WeightTensors> {
    let mut tensors = WeightTensors::new();
    for (name, tensor) in Checkpoint::read(path)?.tensors {
        // The classifier is most of the file and no part of LPIPS.
        if name.starts_with("classifier.") {
            continue;
        }
        let values = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all())
            .and_then(|tensor| tensor.to_vec1::<f32>())
            .map_err(|error| ExperimentError::LpipsTensor {
                path: path.into(),
                tensor: name.clone(),
                reason: error.to_string(),
            })?;
        tensors.insert(name, WeightTensor { shape: tensor.dims().to_vec(), values });
    }
    Ok(tensors)
}
