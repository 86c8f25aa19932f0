//! Under which rules a number on MIT-Adobe FiveK was obtained.
//!
//! FiveK (Bychkovsky et al., CVPR 2011) is 5000 raw photographs and five retouchers' versions of
//! each; what the literature calls "FiveK" differs in the pictures that are trained and tested on, in
//! the way the raw files were rendered, in whose version is the target and in size. Numbers of
//! different protocols cannot be compared. A [`Protocol`] says all of it, and its `Display` is meant
//! for the caption of a table.
//!
//! | name | training, validation, test | list | input | size |
//! |---|---|---|---|---|
//! | `dpe` | 2250, 2250, 498 | Deep Photo Enhancer's own | as shot, zeroed | long edge 512 |
//! | `dpe-id-order` | 2250, 2250, 500 | ids in order, which the DeepLPF release shipped until September 2026 | as shot, zeroed | long edge 512 |
//! | `upe` | 4500, 0, 500 | ids in order: a0001 to a4500, a4501 to a5000; no list was published | as shot | long edge 512 |
//! | `lut480` | 4500, 0, 498 | Image-Adaptive-3DLUT's: both halves of DPE's training list | as shot | short edge 480 |
//!
//! All have 8-bit sRGB pictures and, unless said otherwise, Expert C. Where the lists come from, with
//! their checksums, is in `splits/README.md` of this crate.

mod lists;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Split;

/// The name of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolName {
    /// Deep Photo Enhancer (Chen et al., CVPR 2018), the protocol of the DeepLPF paper.
    Dpe,
    /// The same with lists in the order of the ids.
    DpeIdOrder,
    /// Underexposed Photo Enhancement (Wang et al., CVPR 2019).
    Upe,
    /// Image-Adaptive-3DLUT (Zeng et al., TPAMI 2020), 480 pixels.
    Lut480,
}

impl ProtocolName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dpe, Self::DpeIdOrder, Self::Upe, Self::Lut480];

    /// As it is written in configurations and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dpe => "dpe",
            Self::DpeIdOrder => "dpe-id-order",
            Self::Upe => "upe",
            Self::Lut480 => "lut480",
        }
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no protocol, expert or list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No protocol has the name.
    #[error("'{name}' is not a protocol of FiveK; {}", advice(name))]
    UnknownProtocol {
        /// The name as given.
        name: String,
    },
    /// No retoucher has the name.
    #[error("'{name}' is not one of FiveK's experts; use A, B, C, D or E")]
    UnknownExpert {
        /// The name as given.
        name: String,
    },
}

/// Names of the protocols of See-in-the-Dark: [`crate::sid::SidProtocol`].
const SID: [&str; 2] = ["sid-sony", "sid-fuji"];

/// How much like a known name another must be to be taken for a slip, on the scale of the normalised
/// Damerau-Levenshtein distance: one slip in `upe` is 0.67.
const ALIKE: f64 = 0.6;

/// The protocol, of FiveK or See-in-the-Dark, whose name is most like one that is none; `None` where
/// no name is much like it, and for the names themselves, in any case.
///
/// ```
/// use deeplpf_data::protocol::nearest_name;
/// assert_eq!(nearest_name("dpe-idorder"), Some("dpe-id-order"));
/// assert_eq!(nearest_name("DPE"), None);
/// assert_eq!(nearest_name("my pairs"), None);
/// ```
#[must_use]
pub fn nearest_name(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let known = ProtocolName::ALL.map(ProtocolName::as_str).into_iter().chain(SID);
    let alike = known.map(|known| (strsim::normalized_damerau_levenshtein(&name, known), known));
    let (alike, known) = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (known != name && alike >= ALIKE).then_some(known)
}

/// What to give in place of a name that is no protocol of FiveK.
fn advice(name: &str) -> String {
    if SID.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return "it is one of See-in-the-Dark, whose raw files are neither prepared nor verified: \
                `train` and `eval` read them as they are, and name what is missing or unreadable"
            .into();
    }
    let known = "use one of dpe, dpe-id-order, upe, lut480";
    match nearest_name(name) {
        Some(nearest) => format!("did you mean {nearest}? {known}"),
        None => known.into(),
    }
}

impl FromStr for ProtocolName {
    type Err = ProtocolError;

    /// A name in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name));
        found.ok_or_else(|| ProtocolError::UnknownProtocol { name: name.to_owned() })
    }
}

/// Whose version is the target.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Expert {
    /// Expert A.
    A,
    /// Expert B.
    B,
    /// Expert C, whom nearly everyone uses.
    #[default]
    C,
    /// Expert D.
    D,
    /// Expert E.
    E,
}

impl Expert {
    /// All five.
    pub const ALL: [Self; 5] = [Self::A, Self::B, Self::C, Self::D, Self::E];

    /// `expertC`, the name of the folder of targets.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::A => "expertA",
            Self::B => "expertB",
            Self::C => "expertC",
            Self::D => "expertD",
            Self::E => "expertE",
        }
    }

    /// `tiff16_c`, the name of the folder in FiveK's own archive.
    #[must_use]
    pub fn archive_folder(self) -> &'static str {
        match self {
            Self::A => "tiff16_a",
            Self::B => "tiff16_b",
            Self::C => "tiff16_c",
            Self::D => "tiff16_d",
            Self::E => "tiff16_e",
        }
    }
}

impl fmt::Display for Expert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expert {self:?}")
    }
}

impl FromStr for Expert {
    type Err = ProtocolError;

    /// `C`, `c`, `expertC` or `tiff16_c`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = |expert: &Self| {
            let letter = &expert.folder()["expert".len()..];
            letter.eq_ignore_ascii_case(name)
                || [expert.folder(), expert.archive_folder()].contains(&name)
        };
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| ProtocolError::UnknownExpert { name: name.to_owned() })
    }
}

/// How the raw photographs were made into inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputRendering {
    /// The collection `InputAsShotZeroed` of FiveK's Lightroom catalogue: the camera's white balance
    /// and every slider at zero, with a linear tone curve.
    AsShotZeroed,
    /// The camera's white balance and Lightroom's default sliders.
    AsShot,
}

impl fmt::Display for InputRendering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsShotZeroed => "input as shot, zeroed",
            Self::AsShot => "input as shot",
        })
    }
}

/// To which size pictures are brought, in pixels, aspect kept. None is enlarged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeRule {
    /// The longer side has this length.
    LongEdge(u32),
    /// The shorter side has this length.
    ShortEdge(u32),
}

impl SizeRule {
    /// The length of the side the rule speaks of.
    #[must_use]
    pub fn edge(self) -> u32 {
        match self {
            Self::LongEdge(edge) | Self::ShortEdge(edge) => edge,
        }
    }

    /// The size to which a picture of `width` x `height` pixels is brought, each side rounded to the
    /// nearest pixel and at least one.
    #[must_use]
    pub fn apply(self, width: u32, height: u32) -> (u32, u32) {
        let (edge, side) = match self {
            Self::LongEdge(edge) => (edge, width.max(height)),
            Self::ShortEdge(edge) => (edge, width.min(height)),
        };
        if side <= edge {
            return (width, height);
        }
        let scaled = |length: u32| {
            let (length, edge, side) = (u64::from(length), u64::from(edge), u64::from(side));
            // Rounded half up. No more than `length`, because `edge` is less than `side`.
            (((2 * length * edge + side) / (2 * side)) as u32).max(1)
        };
        (scaled(width), scaled(height))
    }
}

impl fmt::Display for SizeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongEdge(edge) => write!(f, "long edge {edge}"),
            Self::ShortEdge(edge) => write!(f, "short edge {edge}"),
        }
    }
}

/// The colour space pixels are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColourSpace {
    /// IEC 61966-2-1.
    #[serde(rename = "sRGB")]
    Srgb,
}

impl fmt::Display for ColourSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sRGB")
    }
}

/// A protocol: its name, which settles lists, rendering, size and depth, and the target.
///
/// ```
/// use deeplpf_data::protocol::{Protocol, ProtocolName};
/// let dpe = Protocol::new(ProtocolName::Dpe);
/// assert_eq!(dpe.split().test.len(), 498);
/// assert_eq!(
///     dpe.to_string(),
///     "FiveK dpe: 2250/2250/498 ids, input as shot, zeroed, Expert C, long edge 512, 8-bit sRGB"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The name.
    pub name: ProtocolName,
    /// Whose version is the target.
    #[serde(default)]
    pub target: Expert,
}

impl Protocol {
    /// The protocol of a name, with Expert C.
    #[must_use]
    pub fn new(name: ProtocolName) -> Self {
        Self { name, target: Expert::C }
    }

    /// The same with another target.
    #[must_use]
    pub fn with_target(self, target: Expert) -> Self {
        Self { target, ..self }
    }

    /// How inputs were rendered.
    #[must_use]
    pub fn input(self) -> InputRendering {
        match self.name {
            ProtocolName::Dpe | ProtocolName::DpeIdOrder => InputRendering::AsShotZeroed,
            ProtocolName::Upe | ProtocolName::Lut480 => InputRendering::AsShot,
        }
    }

    /// To which size pictures are brought.
    #[must_use]
    pub fn size(self) -> SizeRule {
        match self.name {
            ProtocolName::Lut480 => SizeRule::ShortEdge(480),
            _ => SizeRule::LongEdge(512),
        }
    }

    /// Bits a sample.
    #[must_use]
    pub fn bit_depth(self) -> u8 {
        8
    }

    /// The colour space of input and target.
    #[must_use]
    pub fn colour_space(self) -> ColourSpace {
        ColourSpace::Srgb
    }

    /// The lists.
    #[must_use]
    pub fn split(self) -> Split {
        let [train, valid, test] = match self.name {
            ProtocolName::Dpe => lists::dpe(),
            ProtocolName::DpeIdOrder => lists::dpe_id_order(),
            ProtocolName::Upe => lists::upe(),
            ProtocolName::Lut480 => lists::lut480(),
        };
        // Infallible: the lists are part of the program, and a test makes all four splits.
        Split::new(train, valid, test).expect("no id is listed twice")
    }
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        Self::new(name)
    }
}

/// Everything a table must say.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let split = self.split();
        let count = [split.train.len(), split.valid.len(), split.test.len()].map(|n| n.to_string());
        write!(
            f,
            "FiveK {}: {} ids, {}, {}, {}, {}-bit {}",
            self.name,
            count.join("/"),
            self.input(),
            self.target,
            self.size(),
            self.bit_depth(),
            self.colour_space()
        )
    }
}
