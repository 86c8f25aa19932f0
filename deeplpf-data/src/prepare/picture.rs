//! One pair, from its sources to what is written.

use std::path::Path;

use super::manifest::{PreparedFile, sha256_of};
use super::resize::resize;
use crate::DataError;
use crate::pairs::PairPaths;
use crate::picture::{DecodeLimits, EncodeOptions, OutputFormat, Picture, Rendering};
use crate::protocol::SizeRule;
use crate::raw;
use crate::tree::Tree;
use crate::verify::{Settings, Space, lightroom};

/// A picture that was read.
struct Source {
    picture: Picture,
    bytes: u64,
    sha256: String,
    /// The colour space of the file.
    space: String,
    rendering: Option<String>,
}

/// A file to be written and what the manifest says of it.
pub(super) struct Ready {
    pub(super) png: Vec<u8>,
    pub(super) file: PreparedFile,
}

/// Names of the files of a pair: below the source, and below the prepared folder.
pub(super) struct Names {
    pub(super) sources: [String; 2],
    pub(super) files: [String; 2],
}

/// Input and target of a pair at the protocol's size, as 8-bit sRGB PNGs.
///
/// Both get one size. Where rounding alone makes the rule give sizes that differ by one pixel (one of
/// the two was exported at the size by a program that rounds differently), it is the input's.
pub(super) fn prepare(
    [inputs, targets]: [&dyn Tree; 2],
    pair: &PairPaths,
    rule: SizeRule,
    names: &Names,
) -> Result<[Ready; 2], DataError> {
    let input = Source::read(inputs, &pair.input)?;
    let size = input.size(rule);
    // Made ready before the target is read, so that one photograph is in memory at a time.
    let input_size = (input.picture.width(), input.picture.height());
    let input = input.ready(&pair.input, size, &names.sources[0], &names.files[0])?;
    let target = Source::read(targets, &pair.target)?;
    let own = target.size(rule);
    if size.0.abs_diff(own.0) > 1 || size.1.abs_diff(own.1) > 1 {
        let target_size = (target.picture.width(), target.picture.height());
        let (input, target) = (pair.input.clone(), pair.target.clone());
        return Err(DataError::SizeMismatch { input, input_size, target, target_size });
    }
    let target = target.ready(&pair.target, size, &names.sources[1], &names.files[1])?;
    Ok([input, target])
}

impl Source {
    fn read(tree: &dyn Tree, path: &Path) -> Result<Self, DataError> {
        let file = tree.read(path)?;
        let picture = Picture::from_bytes(&file, path, &DecodeLimits::default())?;
        // Lightroom leaves its settings in raw files as well: they are not what was done here.
        let (space, rendering) = match raw::is_raw(&file, path) {
            true => ("camera raw".to_owned(), Some(raw::RENDERING.to_owned())),
            false => {
                let space = Space::of(picture.info().icc_profile.as_deref()).to_string();
                (space, lightroom(&file).map(|settings| words(settings).to_owned()))
            }
        };
        Ok(Self { picture, bytes: file.len() as u64, sha256: sha256_of(&file), space, rendering })
    }

    fn size(&self, rule: SizeRule) -> (usize, usize) {
        // Infallible: decoding is limited to 2^28 pixels.
        let (width, height) = rule.apply(self.picture.width() as u32, self.picture.height() as u32);
        (width as usize, height as usize)
    }

    fn ready(
        self,
        path: &Path,
        size: (usize, usize),
        source: &str,
        file: &str,
    ) -> Result<Ready, DataError> {
        let encode = |reason| DataError::Encode { path: path.to_path_buf(), format: "png", reason };
        let planes = resize(&self.picture, size).map_err(encode)?;
        let options = EncodeOptions::default();
        let mut rendering = Rendering::new(path, size, OutputFormat::Png, None, &options)?;
        rendering.put_rows(0, planes.view());
        let png = rendering.to_bytes()?;
        let file = PreparedFile {
            file: file.to_owned(),
            sha256: sha256_of(&png),
            // Infallible: no larger than the sizes of a picture.
            width: size.0 as u32,
            height: size.1 as u32,
            source: source.to_owned(),
            source_bytes: self.bytes,
            source_sha256: self.sha256,
            profile: self.space,
            bit_depth: self.picture.info().bit_depth,
            rendering: self.rendering,
        };
        Ok(Ready { png, file })
    }
}

fn words(settings: Settings) -> &'static str {
    match settings {
        Settings { as_shot: true, zeroed: true } => "Lightroom, as shot, zeroed",
        Settings { as_shot: true, zeroed: false } => "Lightroom, as shot",
        Settings { as_shot: false, zeroed: true } => "Lightroom, white balance set, zeroed",
        Settings { as_shot: false, zeroed: false } => "Lightroom, white balance set",
    }
}
