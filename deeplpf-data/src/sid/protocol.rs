//! Under which rules a number on See-in-the-Dark was obtained.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SidError;
use super::pack::{Levels, Packing};
use crate::raw::RENDERING;

/// The two halves of the data set. Their numbers cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SidCamera {
    /// Sony A7S II, Bayer.
    Sony,
    /// Fujifilm X-T2, X-Trans.
    Fuji,
}

impl SidCamera {
    /// The name of its folder and the beginning of its lists' names.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Sony => "Sony",
            Self::Fuji => "Fuji",
        }
    }

    /// How its mosaics are packed.
    #[must_use]
    pub fn packing(self) -> Packing {
        match self {
            Self::Sony => Packing::Bayer,
            Self::Fuji => Packing::XTrans,
        }
    }

    /// The levels that the authors' programs have as constants: 14 bits, black at 512 and 1024.
    #[must_use]
    pub fn levels(self) -> Levels {
        let black = match self {
            Self::Sony => 512.0,
            Self::Fuji => 1024.0,
        };
        Levels { black, white: 16383.0 }
    }
}

/// What the network is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SidInput {
    /// The packed mosaic, linear, not white-balanced: the representation of See-in-the-Dark.
    #[default]
    Packed,
    /// The short exposure as an RGB picture: rendered as the target is, its light amplified.
    Rgb,
}

/// Camera and input, which settle everything.
///
/// ```
/// use deeplpf_data::sid::{SidInput, SidProtocol};
/// let sony: SidProtocol = "sid-sony".parse().unwrap();
/// assert_eq!(
///     sony.to_string(),
///     "SID sid-sony: packed raw (4 channels, black 512, white 16383) x exposure ratio up to 300; \
///      target long exposure by deeplpf-render-1 with the curve of BT.709; full size"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SidProtocol {
    /// Whose files.
    pub camera: SidCamera,
    /// What the network is given.
    #[serde(default)]
    pub input: SidInput,
}

impl SidProtocol {
    /// `sid-sony` or `sid-fuji`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.camera {
            SidCamera::Sony => "sid-sony",
            SidCamera::Fuji => "sid-fuji",
        }
    }

    /// The same with another input.
    #[must_use]
    pub fn with_input(self, input: SidInput) -> Self {
        Self { input, ..self }
    }
}

impl FromStr for SidProtocol {
    type Err = SidError;

    /// A name in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [SidCamera::Sony, SidCamera::Fuji]
            .into_iter()
            .map(|camera| Self { camera, input: SidInput::Packed })
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| SidError::UnknownProtocol { name: name.to_owned() })
    }
}

/// Everything a table must say.
impl fmt::Display for SidProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SID {}: ", self.name())?;
        match self.input {
            SidInput::Packed => {
                let Levels { black, white } = self.camera.levels();
                let channels = self.camera.packing().channels();
                write!(f, "packed raw ({channels} channels, black {black}, white {white})")?;
            }
            SidInput::Rgb => write!(f, "RGB by {RENDERING}")?,
        }
        write!(
            f,
            " x exposure ratio up to 300; target long exposure by {RENDERING} with the curve of \
             BT.709; full size"
        )
    }
}
