//! A pair of files as an evaluation takes it: every pixel opaque, and whether the bit depths differ.

use std::path::Path;

use deeplpf_data::{DataError, DecodeLimits, Pair, PairPaths, Picture};

use crate::{ExperimentError, Result};

/// A pair and what a reader of its scores must know.
pub(crate) struct JudgedPair {
    pub pair: Pair,
    /// 8 bits on one side and 16 on the other.
    pub mixed_depths: bool,
}

/// Decodes both pictures.
///
/// # Errors
/// As [`PairPaths::load`], and [`ExperimentError::Transparent`].
pub(crate) fn load_opaque(paths: &PairPaths) -> Result<JudgedPair> {
    let input = open_opaque(&paths.input)?;
    let target = open_opaque(&paths.target)?;
    let size = |picture: &Picture| (picture.width(), picture.height());
    if size(&input) != size(&target) {
        return Err(ExperimentError::Data(DataError::SizeMismatch {
            input: paths.input.clone(),
            input_size: size(&input),
            target: paths.target.clone(),
            target_size: size(&target),
        }));
    }
    let mixed_depths = input.info().bit_depth != target.info().bit_depth;
    let (input, target) = (input.into_image()?.pixels, target.into_image()?.pixels);
    Ok(JudgedPair { pair: Pair { id: paths.id.clone(), input, target }, mixed_depths })
}

/// An alpha channel that says that every pixel is opaque is no harm.
fn open_opaque(path: &Path) -> Result<Picture> {
    let picture = Picture::open(path, &DecodeLimits::default())?;
    match picture.info().transparent_pixels {
        0 => Ok(picture),
        pixels => Err(ExperimentError::Transparent { path: path.to_owned(), pixels }),
    }
}
