//! Pairs made from photographs by filters whose parameters are known.
//!
//! A [`Flattening`] makes the input from a photograph, a [`Look`] makes the target from the input.
//! A network trained on such pairs can be compared with the truth: its filters should become the
//! look's, and [`Recovery`] measures how close they are.
//!
//! [`synthesise`] makes a set from any folder of photographs, with a look drawn from a
//! [`LookRange`]; its [`Truth`] says how. The [sample set](crate::sample) is one such set.

mod look_range;
mod recovery;
mod set;
mod truth;

pub use look_range::{LookRange, Tone};
pub use recovery::{GRID, InstanceRecovery, Recovery};
pub use set::{SetOptions, crop_and_scale, synthesise};
pub use truth::{Part, Picture, TRUTH_FILE, Truth};

use deeplpf_filters::{FilterStack, StackConfig, StackParams};
use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use crate::{DataError, Pair};

/// Black and white moved towards each other: a dull, dark version of a photograph.
///
/// `v' = black + (white - black) v` on sRGB-encoded values v in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flattening {
    /// What black becomes.
    pub black: f64,
    /// What white becomes.
    pub white: f64,
}

impl Flattening {
    /// The flattened photograph, 3 x H x W.
    #[must_use]
    pub fn apply(&self, photograph: ArrayView3<'_, f32>) -> Array3<f32> {
        let Self { black, white } = *self;
        photograph.mapv(|v| (black + (white - black) * f64::from(v)) as f32)
    }
}

/// A retouch by filters of known parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Which filters, by whose definition.
    pub config: StackConfig,
    /// Their parameters.
    pub params: StackParams<f64>,
}

impl Look {
    /// The filters, ready to be applied.
    ///
    /// # Errors
    /// [`DataError::Filters`] where the parameters do not fit the configuration.
    pub fn stack(&self) -> Result<FilterStack<f64>, DataError> {
        Ok(FilterStack::from_params(&self.config, self.params.clone())?)
    }

    /// The retouched picture of a 3 x H x W input.
    ///
    /// The filters get **half the input**: they add their result to the image they are given
    /// (Y = Y3 + Y1), so that with neutral parameters half the input becomes the input. This is what
    /// a network's backbone has to learn as well. A look without any filter keeps the input.
    /// Computed in f64.
    ///
    /// # Errors
    /// [`DataError::Filters`] where the parameters do not fit the configuration or the input is no
    /// picture.
    pub fn apply(&self, input: ArrayView3<'_, f32>) -> Result<Array3<f32>, DataError> {
        if !self.config.has_filters() {
            self.stack()?;
            return Ok(input.to_owned());
        }
        let half = input.mapv(|v| f64::from(v) / 2.0);
        Ok(self.stack()?.apply(half.view())?.mapv(|v| v as f32))
    }
}

/// Every value at the nearest of 256 levels, as in an 8-bit file. Values outside [0, 1] are clamped.
#[must_use]
pub fn to_eight_bit(pixels: ArrayView3<'_, f32>) -> Array3<f32> {
    pixels.mapv(|v| (v.clamp(0.0, 1.0) * 255.0).round() / 255.0)
}

/// A pair from a photograph: the input flattened and rounded to 8 bits, the target the look of that
/// rounded input, rounded to 8 bits as well. So both can be stored as PNG without loss.
///
/// # Errors
/// As [`Look::apply`].
pub fn pair(
    id: impl Into<String>,
    photograph: ArrayView3<'_, f32>,
    flattening: Flattening,
    look: &Look,
) -> Result<Pair, DataError> {
    let input = to_eight_bit(flattening.apply(photograph).view());
    let target = to_eight_bit(look.apply(input.view())?.view());
    Ok(Pair { id: id.into(), input, target })
}
