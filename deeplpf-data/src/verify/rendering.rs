//! Which rendering of the raw photographs a set of inputs is.
//!
//! Two kinds of evidence. Lightroom writes the settings of an export into its XMP; where they are
//! there, they say it outright. Otherwise there is brightness: Expert C's target of a photograph is
//! the same whatever the rendering of its input, so that
//!
//! gap = log2(mean linear luminance of the target / mean linear luminance of the input)
//!
//! in EV compares the renderings of any two samples of FiveK.

use crate::protocol::InputRendering;
use crate::raw::RENDERING;

/// Mean gap in EV of 22 FiveK pairs known to be as shot and zeroed (17 by their Lightroom settings, 5
/// as the release's own examples), against Expert C. Their targets have +0.95 to +2.39 EV of exposure
/// in Lightroom, and darker shadows.
pub(super) const ZEROED_GAP: f64 = 0.858;
/// The standard deviation of those 22 gaps; they run from -0.05 to 1.88.
pub(super) const ZEROED_DEVIATION: f64 = 0.454;
/// How many pairs those were.
const ZEROED_PAIRS: f64 = 22.0;
/// A mean may be this many standard errors away. Normal chance is 1 in 370.
const STANDARD_ERRORS: f64 = 3.0;
/// With fewer pairs, their photographs and not the rendering decide the mean: of one pair it could be
/// told from the rendering with daylight white balance and 1.5 EV less only barely, of four safely.
pub(super) const FEWEST_PAIRS: usize = 4;

/// How far the mean gap of `pairs` pairs may be from [`ZEROED_GAP`], both means being uncertain.
pub(super) fn tolerance(pairs: usize) -> f64 {
    STANDARD_ERRORS * ZEROED_DEVIATION * (1.0 / pairs as f64 + 1.0 / ZEROED_PAIRS).sqrt()
}

/// What is wrong with a mean gap over so many pairs under a protocol, if anything can be said.
///
/// Of the rendering as shot no reference was measured. It is no darker than the zeroed one, whose
/// sliders it leaves at Lightroom's brightening defaults; so there only "too dark" is said.
pub(super) fn judge(gap: f64, pairs: usize, expected: InputRendering) -> Option<String> {
    if pairs < FEWEST_PAIRS {
        return None;
    }
    let tolerance = tolerance(pairs);
    let (low, high) = (ZEROED_GAP - tolerance, ZEROED_GAP + tolerance);
    let measured = format!(
        "the targets of {pairs} pairs are {gap:.2} EV brighter than their inputs in the mean"
    );
    match expected {
        _ if gap > high => Some(format!(
            "{measured}, and {ZEROED_GAP:.2} (at most {high:.2}) with inputs as shot and zeroed: \
             the inputs are a darker rendering, such as daylight white balance minus 1.5 EV"
        )),
        InputRendering::AsShotZeroed if gap < low => Some(format!(
            "{measured}, and {ZEROED_GAP:.2} (at least {low:.2}) with inputs as shot and zeroed: \
             the inputs are a brighter rendering, such as as shot with Lightroom's default sliders"
        )),
        _ => None,
    }
}

/// What is wrong with inputs that this program rendered, under a protocol: all of FiveK's have inputs
/// that Lightroom rendered.
pub(super) fn of_our_own(expected: InputRendering) -> String {
    let expected = expected.to_string();
    format!(
        "the input is rendered by {RENDERING}, those of the protocol by Lightroom ({}): numbers on it \
         cannot be compared with published ones; without --protocol the set is judged by itself",
        expected.trim_start_matches("input ")
    )
}

/// The rendering that the Lightroom settings in a file's XMP stand for; `None` where there are none.
pub(crate) fn lightroom(file: &[u8]) -> Option<Settings> {
    let start = find(file, b"<x:xmpmeta")?;
    let packet = &file[start..];
    let packet = &packet[..find(packet, b"</x:xmpmeta").unwrap_or(packet.len())];
    let zero = |name| setting(packet, name).map(|value| value.parse() == Ok(0.0f64));
    // Names of process versions 1 and 2 (to 2010), as FiveK's catalogue has, and of those since.
    let sliders = [["Exposure", "Exposure2012"], ["Shadows", "Blacks2012"]];
    let mut zeroed = true;
    for names in sliders {
        zeroed &= names.into_iter().find_map(zero)?;
    }
    for name in ["Brightness", "Contrast"] {
        zeroed &= zero(name).unwrap_or(true);
    }
    let linear = ["ToneCurveName", "ToneCurveName2012"]
        .into_iter()
        .find_map(|name| setting(packet, name))
        .is_none_or(|curve| curve == "Linear");
    let as_shot = setting(packet, "WhiteBalance") == Some("As Shot");
    Some(Settings { as_shot, zeroed: zeroed && linear })
}

/// What Lightroom's settings amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The camera's white balance.
    pub(crate) as_shot: bool,
    /// Exposure, shadows, brightness and contrast at zero, and a linear tone curve.
    pub(crate) zeroed: bool,
}

impl Settings {
    /// What is wrong with them under a protocol.
    pub(super) fn problem(self, expected: InputRendering) -> Option<&'static str> {
        match (expected, self) {
            (_, Self { as_shot: false, .. }) => {
                Some("Lightroom's settings in the file say another white balance than as shot")
            }
            (InputRendering::AsShotZeroed, Self { zeroed: false, .. }) => Some(
                "Lightroom's settings in the file are not zeroed, as the protocol's inputs are",
            ),
            (InputRendering::AsShot, Self { zeroed: true, .. }) => Some(
                "Lightroom's settings in the file are zeroed; the protocol's inputs are as shot",
            ),
            _ => None,
        }
    }
}

/// A Camera Raw setting, which is an attribute or an element of XMP's RDF.
fn setting<'a>(packet: &'a [u8], name: &str) -> Option<&'a str> {
    let attribute = format!("crs:{name}=\"");
    let element = format!("<crs:{name}>");
    let (start, end) = match find(packet, attribute.as_bytes()) {
        Some(at) => (at + attribute.len(), b'"'),
        None => (find(packet, element.as_bytes())? + element.len(), b'<'),
    };
    let value = &packet[start..];
    let value = &value[..value.iter().position(|&b| b == end)?];
    std::str::from_utf8(value).ok().map(str::trim)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(settings: &str) -> Vec<u8> {
        format!("..<x:xmpmeta><rdf:Description {settings}/></x:xmpmeta>..").into_bytes()
    }

    #[test]
    fn settings_are_read_in_both_forms() {
        let zeroed = r#"crs:WhiteBalance="As Shot" crs:Exposure="0.00" crs:Shadows="0"
            crs:Brightness="0" crs:Contrast="0" crs:ToneCurveName="Linear""#;
        let expected = Settings { as_shot: true, zeroed: true };
        assert_eq!(lightroom(&packet(zeroed)), Some(expected));
        let elements = "><crs:WhiteBalance>As Shot</crs:WhiteBalance><crs:Exposure2012>0.00\
            </crs:Exposure2012><crs:Blacks2012>0</crs:Blacks2012><x";
        assert_eq!(lightroom(&packet(elements)), Some(expected));
        let default = zeroed.replace("Brightness=\"0\"", "Brightness=\"+50\"");
        assert_eq!(lightroom(&packet(&default)), Some(Settings { as_shot: true, zeroed: false }));
        let curve = zeroed.replace("Linear", "Medium Contrast");
        assert!(!lightroom(&packet(&curve)).expect("settings").zeroed);
        let daylight = zeroed.replace("As Shot", "Daylight");
        assert!(!lightroom(&packet(&daylight)).expect("settings").as_shot);
    }

    #[test]
    fn files_without_settings_say_nothing() {
        for file in [packet(""), packet("crs:Exposure=\"0"), b"<x:xmpmeta".to_vec(), Vec::new()] {
            assert_eq!(lightroom(&file), None);
        }
    }

    #[test]
    fn renderings_are_told_apart_by_brightness() {
        use InputRendering::{AsShot, AsShotZeroed};
        for pairs in [4, 28, 2250] {
            assert_eq!(judge(ZEROED_GAP, pairs, AsShotZeroed), None);
            assert!(judge(ZEROED_GAP + 1.5, pairs, AsShotZeroed).expect("dark").contains("1.5 EV"));
            assert!(judge(ZEROED_GAP + 1.5, pairs, AsShot).is_some());
            assert!(judge(ZEROED_GAP - 1.5, pairs, AsShotZeroed).is_some());
            assert_eq!(judge(ZEROED_GAP - 1.5, pairs, AsShot), None);
        }
        assert_eq!(judge(9.0, FEWEST_PAIRS - 1, AsShot), None);
    }
}
