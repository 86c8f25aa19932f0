//! In which numbers the network is computed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{CoreError, Result};

/// Numbers of the convolutions and what lies between them. Weights, their moments, the filters and the
/// loss are in single precision always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision; nothing is rounded to TF32 (24 bits of mantissa).
    #[default]
    Fp32,
    /// Single precision in memory, convolutions may round their factors to TF32 (11 bits).
    Tf32,
    /// Activations and convolutions in bfloat16 (8 bits), summed in single precision. The image Y1,
    /// what the heads say and everything after them stay in single precision.
    Bf16,
}

impl Precision {
    /// As on the command line and in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self> {
        [Precision::Fp32, Precision::Tf32, Precision::Bf16]
            .into_iter()
            .find(|precision| precision.name() == text)
            .ok_or_else(|| CoreError::unknown_name("precision", text, &["fp32", "tf32", "bf16"]))
    }
}
