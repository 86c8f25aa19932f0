//! The folder of the data set and its pairs.

use std::path::{Path, PathBuf};

use ndarray::{Array3, s};

use super::list::{Exposures, ListEntry, ListPart, read_list, seconds};
use super::{SidError, SidInput, SidProtocol, pack};
use crate::DecodeLimits;
use crate::raw::{Area, Curve, Mosaic, RenderOptions, render};

/// A camera's lists and files. Nothing is decoded until [`SidFiles::load`].
#[derive(Debug, Clone, PartialEq)]
pub struct SidSet {
    /// The rules.
    pub protocol: SidProtocol,
    /// Pairs to train on.
    pub train: Vec<SidFiles>,
    /// Pairs by which the best checkpoint is chosen.
    pub valid: Vec<SidFiles>,
    /// Pairs that results are reported on.
    pub test: Vec<SidFiles>,
}

/// Where a pair's files are.
#[derive(Debug, Clone, PartialEq)]
pub struct SidFiles {
    /// The stem of the short exposure, `00001_00_0.1s`.
    pub id: String,
    /// The short exposure.
    pub short: PathBuf,
    /// The long exposure.
    pub long: PathBuf,
    /// The rules.
    pub protocol: SidProtocol,
}

/// A short exposure, amplified, and its long one.
#[derive(Debug, Clone, PartialEq)]
pub struct SidPair {
    /// The stem of the short exposure.
    pub id: String,
    /// C x H x W in [0, 1]: 4 or 9 packed planes, linear; or 3 planes of sRGB primaries with the
    /// target's curve.
    pub input: Array3<f32>,
    /// 3 x sH x sW, s = [`SidPair::scale`]: sRGB primaries with the curve of BT.709, in [0, 1].
    pub target: Array3<f32>,
    /// The factor the input was amplified by.
    pub amplification: f32,
}

impl SidPair {
    /// Rows of the target for one of the input: 2 or 3 for packed inputs, else 1.
    #[must_use]
    pub fn scale(&self) -> usize {
        self.target.dim().1 / self.input.dim().1
    }
}

impl SidSet {
    /// Opens the data set's folder.
    ///
    /// # Errors
    /// As [`read_list`]; [`SidError::EmptyList`] for a training list without pairs;
    /// [`SidError::Missing`] for a listed file that is not there.
    pub fn open(root: impl AsRef<Path>, protocol: SidProtocol) -> Result<Self, SidError> {
        let read = |part| read_part(root.as_ref(), protocol, part);
        Ok(Self {
            protocol,
            train: read(ListPart::Train)?,
            valid: read(ListPart::Valid)?,
            test: read(ListPart::Test)?,
        })
    }

    /// Opens the test list alone; files of the others need not be there.
    ///
    /// # Errors
    /// As [`SidSet::open`]; [`SidError::EmptyList`] for a test list without pairs.
    pub fn open_test(
        root: impl AsRef<Path>,
        protocol: SidProtocol,
    ) -> Result<Vec<SidFiles>, SidError> {
        let root = root.as_ref();
        let test = read_part(root, protocol, ListPart::Test)?;
        if test.is_empty() {
            return Err(SidError::EmptyList { path: list_path(root, protocol, ListPart::Test).1 });
        }
        Ok(test)
    }
}

/// The folder that a list's paths begin in, and the list.
fn list_path(root: &Path, protocol: SidProtocol, part: ListPart) -> (PathBuf, PathBuf) {
    let name = format!("{}_{}_list.txt", protocol.camera.folder(), part.word());
    // The authors' program keeps lists and pictures in a folder of this name.
    let dataset = root.join("dataset");
    let base = if !root.join(&name).is_file() && dataset.join(&name).is_file() {
        dataset
    } else {
        root.to_path_buf()
    };
    let list = base.join(name);
    (base, list)
}

fn read_part(
    root: &Path,
    protocol: SidProtocol,
    part: ListPart,
) -> Result<Vec<SidFiles>, SidError> {
    let (base, list) = list_path(root, protocol, part);
    let entries = read_list(&list)?;
    if entries.is_empty() && part == ListPart::Train {
        return Err(SidError::EmptyList { path: list });
    }
    entries.iter().map(|entry| find(entry, &base, &list, protocol)).collect()
}

fn find(
    entry: &ListEntry,
    base: &Path,
    list: &Path,
    protocol: SidProtocol,
) -> Result<SidFiles, SidError> {
    let there = |relative: &Path| {
        let listed = base.join(relative);
        let converted = ["dng", "DNG"].map(|extension| listed.with_extension(extension));
        let mut places = std::iter::once(listed.clone()).chain(converted);
        places.find(|path| path.is_file()).ok_or_else(|| SidError::Missing {
            path: list.to_path_buf(),
            line: entry.line,
            file: listed,
        })
    };
    let (short, long) = (there(&entry.short)?, there(&entry.long)?);
    Ok(SidFiles { id: entry.id(), short, long, protocol })
}

impl SidFiles {
    /// Decodes both files, amplifies the short exposure and renders the long one.
    ///
    /// # Errors
    /// What [`Mosaic::open`] says of either file, [`SidError::Exposure`], [`SidError::NoPair`].
    pub fn load(&self) -> Result<SidPair, SidError> {
        let limits = DecodeLimits::default();
        let short = Mosaic::open(&self.short, &limits)?;
        let long = Mosaic::open(&self.long, &limits)?;
        let shape = |mosaic: &Mosaic| (mosaic.width, mosaic.height, mosaic.cfa.clone());
        if shape(&short) != shape(&long) {
            return Err(SidError::NoPair { short: self.short.clone(), long: self.long.clone() });
        }
        let exposures =
            Exposures { short: exposure(&self.short, &short)?, long: exposure(&self.long, &long)? };
        let amplification = exposures.amplification();
        // Baseline exposure is a converter's wish for the picture's look, not part of either exposure.
        let options = RenderOptions {
            curve: Curve::Bt709,
            area: Area::Active,
            gain: 1.0,
            baseline_exposure: false,
        };
        let target = render(&long, &options)?;
        let (input, target) = match self.protocol.input {
            SidInput::Rgb => {
                (render(&short, &RenderOptions { gain: amplification, ..options })?, target)
            }
            SidInput::Packed => {
                let camera = self.protocol.camera;
                let packing = camera.packing();
                let input = pack::pack(&short, packing, camera.levels(), amplification)?;
                let [top, left, height, width] = packing.part(&long)?;
                let part = target.slice(s![.., top..top + height, left..left + width]);
                (input, part.to_owned())
            }
        };
        Ok(SidPair { id: self.id.clone(), input, target, amplification })
    }
}

impl SidFiles {
    /// The short exposure as a picture, amplified and rendered as the target is, of the target's
    /// part and size: what packed inputs show, and what doing nothing more gets.
    ///
    /// # Errors
    /// As [`SidFiles::load`].
    pub fn picture(&self) -> Result<Array3<f32>, SidError> {
        let protocol = self.protocol.with_input(SidInput::Rgb);
        let picture = Self { protocol, ..self.clone() }.load()?.input;
        match self.protocol.input {
            SidInput::Rgb => Ok(picture),
            SidInput::Packed => {
                let short = Mosaic::open(&self.short, &DecodeLimits::default())?;
                let [top, left, height, width] = self.protocol.camera.packing().part(&short)?;
                Ok(picture.slice(s![.., top..top + height, left..left + width]).to_owned())
            }
        }
    }
}

/// The exposure time in the file's name, as the authors' programs read it, or in EXIF.
fn exposure(path: &Path, mosaic: &Mosaic) -> Result<f64, SidError> {
    let time = seconds(path).or(mosaic.exposure_time);
    time.ok_or_else(|| SidError::Exposure { path: path.to_path_buf() })
}
