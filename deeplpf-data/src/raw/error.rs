//! Everything that can be wrong with a raw file.

use std::path::PathBuf;

/// What went wrong, in which file, and how to mend it. `Display` is one sentence meant for a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawError {
    /// The build has no raw decoder.
    #[error(
        "{} is a camera raw file, which this build does not decode; build with --features raw, or \
         export the photograph as TIFF", path.display()
    )]
    NotBuiltIn {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read at all.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The header announces more pixels than the limit allows; nothing was allocated.
    #[error(
        "{} says it is {width}x{height}, more than the limit of {:.0} megapixels; fetch or export it again",
        path.display(), *max_pixels as f64 / 1e6
    )]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Columns, from the header.
        width: usize,
        /// Rows, from the header.
        height: usize,
        /// The limit that was exceeded.
        max_pixels: u64,
    },
    /// The file ends before its mosaic does.
    #[error("{} is a truncated raw file; fetch or copy it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// The file begins as a raw file but cannot be decoded.
    #[error("{} is a damaged raw file ({reason}); fetch or copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// A camera or a kind of raw data that the decoder does not know.
    #[error("{} cannot be decoded ({reason}); convert it with Adobe DNG Converter, or export it as TIFF", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// Black and white levels between which there is nothing.
    #[error("{} has a black level of {black} and a white level of {white}, between which there is no picture; fetch or export it again", path.display())]
    Levels {
        /// The file.
        path: PathBuf,
        /// The highest black level.
        black: f32,
        /// The white level.
        white: f32,
    },
    /// No usable white balance or colour matrix.
    #[error("{} does not tell its colours ({reason}); convert it with Adobe DNG Converter", path.display())]
    Colour {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: &'static str,
    },
    /// Another pattern of colour filters than what is done needs.
    #[error("{} has the colour filters {found}, where {expected} is needed", path.display())]
    Pattern {
        /// The file.
        path: PathBuf,
        /// Its pattern.
        found: String,
        /// What was expected, in words.
        expected: &'static str,
    },
    /// Too small to be demosaiced or packed.
    #[error("{} is {width}x{height}, too small to be demosaiced; at least {least} on each side are needed", path.display())]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Columns of the active area.
        width: usize,
        /// Rows of the active area.
        height: usize,
        /// Least side.
        least: usize,
    },
}
