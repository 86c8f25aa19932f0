//! Training on See-in-the-Dark: which protocol, and whether the model fits it.

use deeplpf_core::Input;
use deeplpf_data::{
    DataError,
    augment::ColourAugmentation,
    sid::{Packing, SidInput, SidProtocol, SidSet},
};

use crate::{DataConfig, PairSource, Result, TrainConfig, TrainError, TrainingData};

/// The protocol that `data.protocol` names with the input that `model.input` asks for; `None` for
/// paired photographs.
///
/// # Errors
/// [`TrainError::Config`] (under the name `path`) for an unknown protocol, a model whose input is
/// another sensor's, or settings that belong to paired photographs.
pub(crate) fn protocol(config: &TrainConfig, path: &str) -> Result<Option<SidProtocol>> {
    let refuse = |reason: String| Err(TrainError::Config { path: path.into(), reason });
    let (data, input) = (&config.data, config.model.input);
    if data.protocol.is_empty() {
        if input == Input::Rgb {
            return Ok(None);
        }
        return refuse(format!(
            "model.input = \"{}\" needs raw files: set data.protocol to sid-sony or sid-fuji and \
             data.source to the folder of See-in-the-Dark",
            input.name()
        ));
    }
    let protocol: SidProtocol = match data.protocol.parse() {
        Ok(protocol) => protocol,
        Err(error) => return refuse(format!("data.protocol: {error}")),
    };
    let packed = match protocol.camera.packing() {
        Packing::Bayer => Input::Bayer,
        Packing::XTrans => Input::Xtrans,
    };
    if input != Input::Rgb && input != packed {
        return refuse(format!(
            "model.input = \"{}\" does not fit data.protocol = \"{protocol}\"; use \"{packed}\", or \
             \"rgb\" for demosaiced inputs",
            input.name(),
            protocol = protocol.name(),
            packed = packed.name(),
        ));
    }
    let DataConfig { target, train, valid, exclude, cache, augment, .. } = data;
    let lists = [train, valid, exclude].iter().any(|list| !list.as_os_str().is_empty());
    if lists || !target.is_empty() || !cache.is_empty() || *augment != ColourAugmentation::default()
    {
        return refuse(format!(
            "data.protocol = \"{}\" has its own lists; data.target, data.train, data.valid, \
             data.exclude, data.cache and data.augment do not go with it",
            protocol.name()
        ));
    }
    let input = if input == Input::Rgb { SidInput::Rgb } else { SidInput::Packed };
    Ok(Some(protocol.with_input(input)))
}

impl TrainConfig {
    /// The protocol of See-in-the-Dark that the run follows; `None` for paired photographs.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an unknown protocol or one that the model does not fit.
    pub fn sid_protocol(&self) -> Result<Option<SidProtocol>> {
        protocol(self, "configuration")
    }
}

impl TrainingData {
    /// The pairs of a See-in-the-Dark folder, by its own training and validation lists.
    ///
    /// # Errors
    /// What [`SidSet::open`] says.
    pub fn sid(config: &DataConfig, protocol: SidProtocol) -> Result<Self> {
        let set = SidSet::open(&config.source, protocol).map_err(DataError::from)?;
        Ok(Self { train: PairSource::Sid(set.train), valid: PairSource::Sid(set.valid) })
    }
}
