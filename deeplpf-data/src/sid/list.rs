//! Lists and file names.
//!
//! A line is `SHORT LONG ISOn Fn`: two paths from the data set's folder, sensitivity and aperture. A
//! name is `NNNNN_KK_<seconds>s.ARW`: scene, frame, exposure time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SidError;

/// Largest factor between the exposures: `min(long / short, 300)` in the authors' programs.
pub const MOST_AMPLIFICATION: f64 = 300.0;

/// Which of a camera's three lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListPart {
    /// `Sony_train_list.txt`.
    Train,
    /// `Sony_val_list.txt`.
    Valid,
    /// `Sony_test_list.txt`.
    Test,
}

impl ListPart {
    /// The word in the list's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "val",
            Self::Test => "test",
        }
    }
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListEntry {
    /// The short exposure, from the data set's folder.
    pub short: PathBuf,
    /// The long exposure.
    pub long: PathBuf,
    /// ISO sensitivity.
    pub iso: u32,
    /// The f-number of the aperture.
    pub aperture: f32,
    /// The line, from 1.
    pub line: usize,
}

impl ListEntry {
    /// The stem of the short exposure, `00001_00_0.1s`: unique within a camera.
    #[must_use]
    pub fn id(&self) -> String {
        stem(&self.short).to_owned()
    }
}

/// Reads a list. White space around lines, empty lines, a byte order mark and Windows line ends are
/// ignored; the list may be empty.
///
/// # Errors
/// [`SidError::List`], [`SidError::Line`], [`SidError::Duplicate`].
pub fn read_list(path: impl AsRef<Path>) -> Result<Vec<ListEntry>, SidError> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path)
        .map_err(|source| SidError::List { path: path.to_path_buf(), source })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut entries = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, text) in text.lines().enumerate() {
        let (text, line) = (text.trim(), index + 1);
        if text.is_empty() {
            continue;
        }
        let entry = parse(text, line).ok_or_else(|| SidError::Line {
            path: path.to_path_buf(),
            line,
            text: text.chars().take(MOST_SHOWN).collect(),
        })?;
        if let Some(first) = seen.insert(entry.short.clone(), line) {
            let (path, short) = (path.to_path_buf(), entry.short);
            return Err(SidError::Duplicate { path, line, first, short });
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Characters of a wrong line that a message repeats.
const MOST_SHOWN: usize = 120;

fn parse(text: &str, line: usize) -> Option<ListEntry> {
    let mut words = text.split_whitespace();
    let (short, long) = (inside(words.next()?)?, inside(words.next()?)?);
    let iso = words.next()?.strip_prefix("ISO")?.parse().ok()?;
    let aperture: f32 = words.next()?.strip_prefix('F')?.parse().ok()?;
    let whole = words.next().is_none() && aperture.is_finite();
    whole.then_some(ListEntry { short, long, iso, aperture, line })
}

/// A path that stays in the folder it is joined to.
fn inside(text: &str) -> Option<PathBuf> {
    use std::path::Component;
    let path = Path::new(text.strip_prefix("./").unwrap_or(text));
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    (normal && path.file_name().is_some()).then(|| path.to_path_buf())
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// The exposure time of a name `NNNNN_KK_<seconds>s.EXT`, in seconds.
///
/// ```
/// use deeplpf_data::sid::list::seconds;
/// assert_eq!(seconds("Sony/short/00001_00_0.04s.ARW".as_ref()), Some(0.04));
/// assert_eq!(seconds("DSC01234.ARW".as_ref()), None);
/// ```
#[must_use]
pub fn seconds(path: &Path) -> Option<f64> {
    let mut parts = stem(path).split('_');
    let numbered = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let named = numbered(parts.next()?) && numbered(parts.next()?);
    let time = parts.next()?.strip_suffix('s')?;
    let plain = time.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds: f64 = time.parse().ok()?;
    (named && plain && parts.next().is_none() && seconds > 0.0).then_some(seconds)
}

/// The two exposure times of a pair, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposures {
    /// Of the input.
    pub short: f64,
    /// Of the target.
    pub long: f64,
}

impl Exposures {
    /// The factor the input is amplified by: long / short, at most [`MOST_AMPLIFICATION`].
    #[must_use]
    pub fn amplification(self) -> f32 {
        (self.long / self.short).min(MOST_AMPLIFICATION) as f32
    }
}
