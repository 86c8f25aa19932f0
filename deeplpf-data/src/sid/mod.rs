//! See-in-the-Dark (Chen et al., CVPR 2018): short exposures and the long one each belongs to.
//!
//! The folder is the data set's own: `Sony/short`, `Sony/long`, `Fuji/short`, `Fuji/long` and, beside
//! them or in a folder `dataset`, the lists `Sony_train_list.txt` and so on. A file that a list calls
//! `.ARW` or `.RAF` may be there as `.dng`.
//!
//! An item ([`SidPair`]) is a short exposure, amplified by the ratio of the exposure times, and the
//! long one rendered by our own raw pipeline. The input is the packed mosaic or an RGB picture:
//! [`SidInput`]. What the authors' programs do, and where this differs, is in `docs/src/data.md`.
//!
//! | module | what it does |
//! |---|---|
//! | [`list`] | lists and file names |
//! | [`mod@pack`] | a mosaic as 4 or 9 planes at a half or a third of the size |
//! | [`set`] | the folder, its pairs |
//! | [`protocol`] | what a number belongs to |

mod batch;
mod error;
pub mod list;
pub mod pack;
pub mod protocol;
pub mod set;

pub use error::SidError;
pub use list::{Exposures, ListPart};
pub use pack::{Packing, pack};
pub use protocol::{SidCamera, SidInput, SidProtocol};
pub use set::{SidFiles, SidPair, SidSet};
