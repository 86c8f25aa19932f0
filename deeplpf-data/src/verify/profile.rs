//! Whether an ICC profile means sRGB, and what else it calls itself.

use moxcms::{ColorProfile, DataColorSpace, Layout, ProfileText, TransformOptions};

/// The largest difference, in levels of 8 bits, that a profile may make to a colour and still count as
/// sRGB: sRGB profiles in circulation differ by rounding (their curves have 1024 points), and Display
/// P3, the nearest space in wide use, by far more.
const SAME: u8 = 3;

/// Levels at which colours are compared, in each channel.
const LEVELS: [u8; 6] = [0, 51, 102, 153, 204, 255];

/// What a profile stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Space {
    /// No profile: taken as sRGB.
    Untagged,
    /// A profile of sRGB.
    Srgb,
    /// Anything else, with its own description.
    Other(String),
}

impl Space {
    pub(crate) fn of(icc: Option<&[u8]>) -> Self {
        let Some(icc) = icc else { return Self::Untagged };
        let Ok(profile) = ColorProfile::new_from_slice(icc) else {
            return Self::Other("a profile that cannot be read".into());
        };
        if difference(&profile).is_some_and(|levels| levels <= SAME) {
            return Self::Srgb;
        }
        Self::Other(description(&profile))
    }

    pub(super) fn is_srgb(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untagged => f.write_str("no profile (taken as sRGB)"),
            Self::Srgb => f.write_str("sRGB profile"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The largest change of a level on the way to sRGB; `None` where there is no way.
fn difference(profile: &ColorProfile) -> Option<u8> {
    let (layout, colours): (Layout, Vec<[u8; 3]>) = match profile.color_space {
        DataColorSpace::Rgb => {
            let pairs = LEVELS.iter().flat_map(|&r| LEVELS.iter().map(move |&g| (r, g)));
            (Layout::Rgb, pairs.flat_map(|(r, g)| LEVELS.map(|b| [r, g, b])).collect())
        }
        DataColorSpace::Gray => (Layout::Gray, LEVELS.map(|v| [v; 3]).to_vec()),
        _ => return None,
    };
    let source: Vec<u8> = match layout {
        Layout::Gray => colours.iter().map(|c| c[0]).collect(),
        _ => colours.concat(),
    };
    let srgb = ColorProfile::new_srgb();
    let transform =
        profile.create_transform_8bit(layout, &srgb, Layout::Rgb, TransformOptions::default());
    let mut result = vec![0; 3 * colours.len()];
    transform.ok()?.transform(&source, &mut result).ok()?;
    colours.concat().iter().zip(&result).map(|(a, b)| a.abs_diff(*b)).max()
}

fn description(profile: &ColorProfile) -> String {
    let text = match &profile.description {
        Some(ProfileText::PlainString(text)) => text.clone(),
        Some(ProfileText::Localizable(texts)) => {
            texts.first().map(|text| text.value.clone()).unwrap_or_default()
        }
        Some(ProfileText::Description(text)) => text.ascii_string.clone(),
        None => String::new(),
    };
    // The file is untrusted, and this is printed.
    let text: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    if text.trim().is_empty() { "a profile without a name".into() } else { text.trim().into() }
}
