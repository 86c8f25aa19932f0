//! Everything that can be wrong with the lists and files of See-in-the-Dark.

use std::path::PathBuf;

use crate::raw::RawError;

/// What went wrong, where, and how to mend it. `Display` is one sentence meant for a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidError {
    /// A raw file.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// A list that cannot be read.
    #[error("{} cannot be read: {source}; the lists come with the program of See-in-the-Dark", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line of a list in another form.
    #[error(
        "{}:{line}: '{text}' is not 'SHORT LONG ISO F-NUMBER', as in \
         './Sony/short/00001_00_0.1s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8'", path.display()
    )]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A short exposure listed twice.
    #[error("{}:{line}: {} is listed already at line {first}; remove one of the two", path.display(), short.display())]
    Duplicate {
        /// The list.
        path: PathBuf,
        /// The second line, from 1.
        line: usize,
        /// The first line.
        first: usize,
        /// The file.
        short: PathBuf,
    },
    /// A list without pairs where pairs are needed.
    #[error("{} lists no pairs", path.display())]
    EmptyList {
        /// The list.
        path: PathBuf,
    },
    /// A listed file that is not there.
    #[error("{}:{line}: {} is not there, nor as .dng; fetch it or remove the line", path.display(), file.display())]
    Missing {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The file.
        file: PathBuf,
    },
    /// No exposure time in name or EXIF, so no ratio.
    #[error("{} tells its exposure time neither in its name (00001_00_0.1s) nor in EXIF", path.display())]
    Exposure {
        /// The file.
        path: PathBuf,
    },
    /// Input and target of different sensors.
    #[error("{} and {} differ in size or colour filters and are no pair", short.display(), long.display())]
    NoPair {
        /// The short exposure.
        short: PathBuf,
        /// The long one.
        long: PathBuf,
    },
    /// A name that is no protocol of this data set.
    #[error("'{name}' is not a protocol of See-in-the-Dark; use sid-sony or sid-fuji")]
    UnknownProtocol {
        /// The name as given.
        name: String,
    },
}
