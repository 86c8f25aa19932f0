//! Sets that follow a protocol of FiveK, made from whatever form its pictures were obtained in.
//!
//! [`Plan::new`] looks at a source and says which pairs of the protocol are there; [`Plan::run`] writes
//! them:
//!
//! ```text
//! prepared/
//! ├── input/a0001.png ...       8-bit sRGB at the protocol's size
//! ├── expertC/a0001.png ...
//! ├── train.txt, valid.txt, test.txt
//! └── manifest.jsonl
//! ```
//!
//! It may be stopped at any moment, by a lost connection, a full disk or a killed process, and goes on
//! when it is run again. A pair counts as done only when both files have the hashes that were noted
//! after they were on the disk, and their sources are as they were. [`MANIFEST`] is there only when a
//! preparation came to its end, and describes exactly the files that lie beside it.

mod error;
mod journal;
mod manifest;
mod picture;
mod plan;
mod resize;
mod run;

pub use error::PrepareError;
pub(crate) use journal::JOURNAL;
pub use manifest::{Header, MANIFEST, Manifest, ManifestEntry, PreparedFile, VERSION, sha256_of};
pub use plan::{Plan, Request};
pub use run::{Progress, Summary};
