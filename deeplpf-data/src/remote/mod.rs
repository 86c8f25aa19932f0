//! Sets in object stores and on web servers.
//!
//! A URL is listed once; folders are then recognised in the listing as they are on a disk
//! ([`crate::layout`]). Credentials and endpoints come from the environment variables that the
//! stores' own tools read: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, `AWS_SKIP_SIGNATURE` (for public buckets),
//! `GOOGLE_SERVICE_ACCOUNT`, and the like.
//!
//! HTTP knows no listing. A server with WebDAV is asked for one; of any other, [`FILES`] is read: a
//! text file beside the folders with one path a line.

mod download;
mod error;
mod store;

pub use download::download;
pub use error::RemoteError;
pub(crate) use store::Remote;

/// The list of files on a web server without WebDAV, one path a line, relative to the list.
pub const FILES: &str = "files.txt";
