//! What model to build: plain data, saved in every checkpoint.

use std::{fmt, str::FromStr};

use deeplpf_filters::{Dialect, FilterFixes, FusionRule, PolynomialKind, StackConfig};
use serde::{Deserialize, Serialize};

use crate::{CoreError, Result};

/// One correction of the authors' release that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fix {
    /// Elliptical instance 1 uses its own semi-axis b in the blue channel.
    Ellipse,
    /// The maps are added around 1: S = 1 + (S_grad - 1) + (S_ell - 1).
    Fusion,
    /// The sign of the inversion number gets the straight-through gradient.
    Ste,
    /// The graduated mask blends the inverted and the plain branch, so that `ste` reaches it.
    Blend,
    /// MS-SSIM multiplies the last scale's SSIM once instead of four times.
    Msssim,
    /// The encoder projections that the release stores but never calls feed the heads.
    Wiring,
}

impl Fix {
    /// All six, in the order of the documentation.
    pub const ALL: [Fix; 6] =
        [Fix::Ellipse, Fix::Fusion, Fix::Ste, Fix::Blend, Fix::Msssim, Fix::Wiring];

    /// The name used in configuration files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fix::Ellipse => "ellipse",
            Fix::Fusion => "fusion",
            Fix::Ste => "ste",
            Fix::Blend => "blend",
            Fix::Msssim => "msssim",
            Fix::Wiring => "wiring",
        }
    }
}

/// A set of [`Fix`]es. In text: `none`, `all`, or names separated by commas; in configuration
/// files also a list of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FixesText", into = "Vec<Fix>")]
pub struct Fixes(u8);

impl Fixes {
    /// The release as published.
    pub const NONE: Fixes = Fixes(0);
    /// All six.
    pub const ALL: Fixes = Fixes(0b11_1111);

    /// Whether `fix` is on.
    pub fn contains(self, fix: Fix) -> bool {
        self.0 & (1 << fix as u8) != 0
    }

    /// This set and `fix`.
    pub fn with(self, fix: Fix) -> Self {
        Fixes(self.0 | 1 << fix as u8)
    }

    /// The members, in the order of [`Fix::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Fix> {
        Fix::ALL.into_iter().filter(move |&fix| self.contains(fix))
    }

    /// The four that concern the filters.
    pub fn filters(self) -> FilterFixes {
        FilterFixes {
            ellipse: self.contains(Fix::Ellipse),
            fusion: self.contains(Fix::Fusion),
            ste: self.contains(Fix::Ste),
            blend: self.contains(Fix::Blend),
        }
    }
}

impl FromIterator<Fix> for Fixes {
    fn from_iter<I: IntoIterator<Item = Fix>>(fixes: I) -> Self {
        fixes.into_iter().fold(Fixes::NONE, Fixes::with)
    }
}

impl FromStr for Fixes {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "all" => Ok(Fixes::ALL),
            "none" | "" => Ok(Fixes::NONE),
            list => list
                .split(',')
                .map(|name| {
                    let name = name.trim();
                    Fix::ALL.into_iter().find(|fix| fix.name() == name).ok_or_else(|| {
                        CoreError::unknown_name(
                            "fix",
                            name,
                            &[
                                "all", "none", "ellipse", "fusion", "ste", "blend", "msssim",
                                "wiring",
                            ],
                        )
                    })
                })
                .collect(),
        }
    }
}

impl fmt::Display for Fixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fixes::NONE => f.write_str("none"),
            Fixes::ALL => f.write_str("all"),
            _ => f.write_str(&self.iter().map(Fix::name).collect::<Vec<_>>().join(",")),
        }
    }
}

impl From<Fixes> for Vec<Fix> {
    fn from(fixes: Fixes) -> Self {
        fixes.iter().collect()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FixesText {
    Text(String),
    List(Vec<String>),
}

impl TryFrom<FixesText> for Fixes {
    type Error = CoreError;

    fn try_from(text: FixesText) -> Result<Self> {
        match text {
            FixesText::Text(text) => text.parse(),
            FixesText::List(names) => names.join(",").parse(),
        }
    }
}

/// Which polynomial filter, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Polynomial {
    /// No polynomial filter.
    None,
    /// Ten coefficients per channel, in the position only.
    Cubic10,
    /// Twenty coefficients per channel, in position and intensity.
    #[default]
    Cubic20,
}

/// What makes the features and the image that the heads and filters work on. The paper calls its head
/// plug-and-play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackboneKind {
    /// The paper's U-Net of five levels, of [`ModelConfig::widths`] channels.
    #[default]
    Unet,
    /// [`ModelConfig::blocks`] residual blocks of [`ModelConfig::block_width`] channels at the
    /// photograph's own size. Not the paper's.
    ResNet,
}

impl BackboneKind {
    /// The name used in configuration files and in the names of parameters.
    pub fn name(self) -> &'static str {
        match self {
            BackboneKind::Unet => "unet",
            BackboneKind::ResNet => "resnet",
        }
    }
}

/// What the network is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// A photograph: three channels, the size of the output.
    #[default]
    Rgb,
    /// A packed Bayer mosaic: red, green, blue, green at half the size of the output.
    Bayer,
    /// A packed X-Trans mosaic: red, green, blue, red, blue and four greens at a third of the size.
    Xtrans,
}

impl Input {
    /// Channels of the network's input: 3, 4 or 9.
    pub fn channels(self) -> usize {
        match self {
            Input::Rgb => 3,
            Input::Bayer => 4,
            Input::Xtrans => 9,
        }
    }

    /// Rows and columns of the output for one of the input: 1, 2 or 3.
    pub fn scale(self) -> usize {
        match self {
            Input::Rgb => 1,
            Input::Bayer => 2,
            Input::Xtrans => 3,
        }
    }

    /// The name used in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Input::Rgb => "rgb",
            Input::Bayer => "bayer",
            Input::Xtrans => "xtrans",
        }
    }

    /// Channels of the backbone's last layer, which a pixel shuffle turns into three at full size.
    pub(crate) fn shuffled_channels(self) -> usize {
        3 * self.scale() * self.scale()
    }

    /// The input's red, green and blue channels.
    pub(crate) fn colours(self) -> [&'static [usize]; 3] {
        match self {
            Input::Rgb => [&[0], &[1], &[2]],
            Input::Bayer => [&[0], &[1, 3], &[2]],
            Input::Xtrans => [&[0, 3], &[1, 5, 6, 7, 8], &[2, 4]],
        }
    }
}

/// How a new model's weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initialisation {
    /// PyTorch's defaults, as the authors' program: uniform on ±1/sqrt(fan-in) for weights and
    /// biases.
    #[default]
    Release,
    /// As `Release`, but the untrained network returns its input: the last layer of every head and
    /// before the backbone's long skip is zero, and the first three outputs of the 3->64 convolution pass the image
    /// on (halved, because the fusion adds Y1 to the filtered Y1). Only the places of the
    /// graduated and elliptical instances are drawn apart (biases): with neutral scales that
    /// changes nothing, but instances that start equal would stay equal.
    Identity,
}

/// Everything that decides the shape and the formulas of a model.
///
/// The default is the authors' release as published. Saved as JSON in every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// What the network is given. Checkpoints from before this key are `rgb`.
    pub input: Input,
    /// Which body of formulas.
    pub dialect: Dialect,
    /// Corrections of the release; `ellipse`, `fusion`, `ste`, `blend` and `msssim` have no
    /// meaning in the `paper` dialect and must be off there.
    pub fixes: Fixes,
    /// The polynomial filter.
    pub polynomial: Polynomial,
    /// Instances of the graduated filter; 0 switches it off.
    pub graduated: usize,
    /// Instances of the elliptical filter; 0 switches it off.
    pub elliptical: usize,
    /// One gate per graduated and elliptical instance: mask = 1 + gate (mask - 1).
    pub gates: bool,
    /// How the maps of graduated and elliptical filters become one: `sum`, the paper's, or
    /// `product`.
    pub fusion: FusionRule,
    /// A global colour mixer and per-channel tone curves on the backbone's image.
    pub colour: bool,
    /// What makes the features. Checkpoints from before this key are `unet`.
    pub backbone: BackboneKind,
    /// Channels of the five levels of the backbone `unet`.
    pub widths: [usize; 5],
    /// Residual blocks of the backbone `resnet`.
    pub blocks: usize,
    /// Channels of the backbone `resnet`.
    pub block_width: usize,
    /// Channels of the backbone's output: three of image, at least one of features.
    pub features: usize,
    /// Channels inside each head.
    pub head_width: usize,
    /// Side of the square the heads' input is resized to, in pixels.
    pub head_size: usize,
    /// Dropout probability before each head's last layer.
    pub dropout: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            input: Input::Rgb,
            dialect: Dialect::Release,
            fixes: Fixes::NONE,
            polynomial: Polynomial::Cubic20,
            graduated: 3,
            elliptical: 3,
            gates: false,
            fusion: FusionRule::Sum,
            colour: false,
            backbone: BackboneKind::Unet,
            widths: [16, 32, 64, 128, 128],
            // 38 thousand multiplications a pixel; the U-Net has 53.
            blocks: 8,
            block_width: 16,
            features: 64,
            head_width: 64,
            head_size: 300,
            dropout: 0.5,
        }
    }
}

/// A head halves its input seven times, rounding up at a convolution and down at a pooling; from 43
/// pixels every pooling still finds two (43, 22, 11, 6, 3, 2, 1, 1).
const LEAST_HEAD_SIZE: usize = 43;

impl ModelConfig {
    /// A narrow model with all fixes for tests, examples and the embedded sample set. Not the
    /// paper's.
    pub fn small() -> Self {
        Self {
            fixes: Fixes::ALL,
            widths: [8, 12, 16, 24, 24],
            blocks: 3,
            block_width: 8,
            features: 16,
            head_width: 16,
            head_size: 64,
            ..Self::default()
        }
    }

    /// The filters' part of the configuration.
    pub fn stack(&self) -> StackConfig {
        StackConfig {
            dialect: self.dialect,
            fixes: self.fixes.filters(),
            polynomial: match self.polynomial {
                Polynomial::None => None,
                Polynomial::Cubic10 => Some(PolynomialKind::Cubic10),
                Polynomial::Cubic20 => Some(PolynomialKind::Cubic20),
            },
            graduated: self.graduated,
            elliptical: self.elliptical,
            gates: self.gates,
            fusion: self.fusion,
        }
    }

    /// Checks that the model can be built.
    ///
    /// # Errors
    /// [`CoreError::Config`] with the offending key and its remedy.
    pub fn validate(&self) -> Result<()> {
        let refuse = |reason: String| Err(CoreError::Config(reason));
        // Widths are bounded so that a hostile checkpoint's config cannot ask for all memory.
        const MOST: usize = 2048;
        if self.widths.iter().any(|&width| width == 0 || width > MOST) {
            return refuse(format!("widths = {:?}: each must be 1 to {MOST}", self.widths));
        }
        if self.blocks == 0 || self.blocks > 64 {
            return refuse(format!("blocks = {}: must be 1 to 64", self.blocks));
        }
        if self.block_width == 0 || self.block_width > MOST {
            return refuse(format!("block_width = {}: must be 1 to {MOST}", self.block_width));
        }
        if self.backbone == BackboneKind::ResNet && self.fixes.contains(Fix::Wiring) {
            return refuse(
                "fixes: `wiring` feeds the heads from the U-Net's encoder, which backbone = \"resnet\" \
                 does not have; name the others: fixes = \"ellipse,fusion,ste,blend,msssim\""
                    .into(),
            );
        }
        if self.features < 4 || self.features > MOST {
            return refuse(format!("features = {}: must be 4 to {MOST}", self.features));
        }
        if self.head_width == 0 || self.head_width > MOST {
            return refuse(format!("head_width = {}: must be 1 to {MOST}", self.head_width));
        }
        if self.head_size < LEAST_HEAD_SIZE || self.head_size > MOST {
            return refuse(format!(
                "head_size = {}: must be {LEAST_HEAD_SIZE} to {MOST}",
                self.head_size
            ));
        }
        if self.graduated > 64 || self.elliptical > 64 {
            return refuse("graduated and elliptical: at most 64 instances each".into());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("dropout = {}: must be at least 0 and below 1", self.dropout));
        }
        self.stack().validate()?;
        if self.dialect == Dialect::Paper && self.fixes.iter().any(|fix| fix != Fix::Wiring) {
            return refuse(format!(
                "fixes = {}: these correct the release; with dialect = \"paper\" only `wiring` applies",
                self.fixes
            ));
        }
        Ok(())
    }

    /// How many numbers a model of this configuration has, without building it.
    pub(crate) fn parameter_count(&self) -> u128 {
        let conv = |inputs: usize, outputs: usize, kernel: usize| {
            outputs as u128 * (inputs as u128 * (kernel * kernel) as u128 + 1)
        };
        let double =
            |inputs: usize, outputs: usize| conv(inputs, outputs, 3) + conv(outputs, outputs, 3);
        let (features, width) = (self.features, self.head_width);
        let (backbone, finest) = match self.backbone {
            BackboneKind::ResNet => {
                let w = self.block_width;
                let first = conv(self.input.channels(), w, 3);
                (first + self.blocks as u128 * double(w, w), w)
            }
            BackboneKind::Unet => {
                let [w1, w2, w3, w4, w5] = self.widths;
                let contracting = double(self.input.channels(), w1)
                    + double(w1, w2)
                    + double(w2, w3)
                    + double(w3, w4)
                    + double(w4, w5);
                let expanding = double(w5 + w4, w4)
                    + double(w4 + w3, w3)
                    + double(w3 + w2, w2)
                    + double(w2 + w1, w1);
                let pointwise: u128 = [w5, w4, w3, w2].iter().map(|&w| conv(w, w, 1)).sum();
                let stored: u128 = [w1, w2, w3].iter().map(|&w| conv(w, features, 1)).sum();
                (contracting + expanding + pointwise + stored + double(w1, features), w1)
            }
        };
        let gate = u128::from(self.fixes.contains(Fix::Wiring));
        let head = |outputs: usize, gates: usize| {
            if outputs == 0 {
                return 0;
            }
            let convolutions = conv(features, width, 3) + 3 * conv(width, width, 3);
            convolutions + ((width + 1) * (outputs + if self.gates { gates } else { 0 })) as u128
        };
        let stack = self.stack();
        let colour = if self.colour { crate::ops::colour_stage::RAW_LEN } else { 0 };
        backbone
            + gate
            + double(finest, self.input.shuffled_channels())
            + conv(3, features, 3)
            + head(stack.polynomial_range().len(), 0)
            + head(stack.graduated_range().len(), self.graduated)
            + head(stack.elliptical_range().len(), self.elliptical)
            + head(colour, 0)
    }

    /// The first difference to `other`, as `key = ours, asked for theirs`; `None` if equal.
    pub fn difference(&self, other: &ModelConfig) -> Option<String> {
        let (Ok(serde_json::Value::Object(ours)), Ok(theirs)) =
            (serde_json::to_value(self), serde_json::to_value(other))
        else {
            return Some("configurations cannot be compared".into());
        };
        ours.iter().find_map(|(key, value)| {
            let asked = &theirs[key];
            (value != asked).then(|| format!("{key} is {value} in the file, asked for {asked}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixes_text_round_trip() {
        for text in ["none", "all", "ellipse,fusion", "ste"] {
            assert_eq!(text.parse::<Fixes>().unwrap().to_string(), text);
        }
        let error = "elipse".parse::<Fixes>().unwrap_err().to_string();
        assert!(error.contains("did you mean `ellipse`?"), "{error}");
    }

    #[test]
    fn json_round_trip_and_unknown_keys() {
        let config = ModelConfig { fixes: "ellipse,wiring".parse().unwrap(), ..Default::default() };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&json).unwrap(), config);
        assert!(serde_json::from_str::<ModelConfig>("{\"graduate\": 3}").is_err());
    }

    #[test]
    fn difference_names_the_key() {
        let config = ModelConfig::default();
        let other = ModelConfig { graduated: 2, ..config.clone() };
        assert_eq!(config.difference(&other).unwrap(), "graduated is 3 in the file, asked for 2");
        assert_eq!(config.difference(&config), None);
    }

    #[test]
    fn invalid_configurations_are_named() {
        let check = |config: ModelConfig, key: &str| {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        check(ModelConfig { features: 3, ..Default::default() }, "features");
        check(ModelConfig { head_size: 10, ..Default::default() }, "head_size");
        check(ModelConfig { blocks: 0, ..Default::default() }, "blocks");
        check(ModelConfig { block_width: 4096, ..Default::default() }, "block_width");
        let resnet = ModelConfig { backbone: BackboneKind::ResNet, ..ModelConfig::small() };
        check(resnet, "fixes = \"ellipse,fusion,ste,blend,msssim\"");
        check(ModelConfig { dropout: 1.0, ..Default::default() }, "dropout");
        check(
            ModelConfig { dialect: Dialect::Paper, fixes: Fixes::ALL, ..Default::default() },
            "fixes",
        );
    }

    #[test]
    fn parameters_are_counted_without_building() {
        let small = ModelConfig::small();
        for config in [
            ModelConfig::default(),
            ModelConfig { gates: true, colour: true, graduated: 2, ..small.clone() },
            ModelConfig { input: Input::Bayer, ..small.clone() },
            ModelConfig { backbone: BackboneKind::ResNet, ..ModelConfig::default() },
            ModelConfig { input: Input::Xtrans, ..small.clone() },
            ModelConfig { polynomial: Polynomial::None, graduated: 0, elliptical: 0, ..small },
        ] {
            let model = crate::Model::new(
                &config,
                Initialisation::Release,
                1,
                crate::DType::F32,
                &crate::Device::Cpu,
            )
            .unwrap();
            assert_eq!(config.parameter_count(), model.parameters().count() as u128, "{config:?}");
        }
        assert_eq!(ModelConfig::default().parameter_count(), 1_769_347);
    }
}
