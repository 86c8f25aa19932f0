#![deny(missing_docs)]
//! Paired photograph data sets for learned retouching.
//!
//! A file becomes an [`Image`]: planar `f32` RGB of shape 3 x H x W with values in [0, 1], sRGB
//! encoded, upright. Whatever the file said about its bit depth, colour profile and orientation has
//! been applied by then. Two such files with one stem make a [`Pair`]; a folder of them is a
//! [`PairedFolder`], and a [`Split`] says which of its pairs are for training, validation and test.
//!
//! ```no_run
//! use deeplpf_data::{PairedFolder, Split};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), deeplpf_data::DataError> {
//! let folder = PairedFolder::open(Path::new("photographs"))?;
//! folder.require_complete()?;
//! let split = Split::read_folder(Path::new("photographs/split"))?;
//! for pair in split.apply(&folder)?.train {
//!     let pair = pair.load()?;
//!     assert_eq!(pair.input.dim(), pair.target.dim());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`picture`] | decodes and encodes pictures, with colour management |
//! | [`pairs`] | folders of input and target, matched by file stem |
//! | [`layout`] | the folder trees in which FiveK and other sets are found |
//! | [`find`] | the pictures among files and folders named by a user |
//! | [`split`] | lists of ids, read from text or drawn at random |
//! | [`protocol`] | FiveK's protocols: lists, rendering, target, size |
//! | [`raw`] | camera raw files and a rendering of our own |
//! | [`sid`] | See-in-the-Dark: lists, packing, pairs |
//! | [`prepare`] | sets that follow a protocol, from originals |
//! | [`address`] | folders and URLs |
//! | [`verify`] | what is wrong with a paired folder |
//! | [`augment`] | paired flips and crops, exposure, colour |
//! | [`cache`] | decoded pairs in one memory-mapped file |
//! | [`feed`] | batches of `f32` planes, made ahead of their use, in order |
//! | [`atomic_file`] | files that are either wholly there or not at all |
//! | [`mix`] | one set made of parts of several |
//! | [`synthetic`] | pairs made from photographs by filters of known parameters |
//! | [`sample`] | a small data set inside the library, with known truth |

pub mod address;
pub mod atomic_file;
pub mod augment;
pub mod cache;
mod error;
pub mod feed;
pub mod find;
pub mod layout;
pub mod mix;
mod natural_order;
pub mod pairs;
pub mod picture;
pub mod prepare;
pub mod protocol;
mod random;
pub mod raw;
#[cfg(feature = "remote")]
pub mod remote;
pub mod sample;
pub mod sid;
pub mod split;
pub mod synthetic;
mod tree;
pub mod verify;

pub use error::DataError;
pub use find::{FoundImages, find_each, find_images};
pub use pairs::{Pair, PairPaths, PairProblem, PairedFolder};
pub use picture::{
    DecodeLimits, EncodeOptions, ExifLeftOut, Image, ImageInfo, OutputFormat, Picture, Rendering,
    SourceFormat, decode, decode_bytes, decode_bytes_with, decode_with, encode,
};
pub use protocol::{Protocol, ProtocolName};
pub use split::{Split, SplitPairs};
