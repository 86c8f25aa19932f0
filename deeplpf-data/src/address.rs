//! Where a data set is: a folder of this machine, or the URL of one.
//!
//! | address | read from |
//! |---|---|
//! | a path, `file:///path` | the disk |
//! | `s3://bucket/folder`, `gs://bucket/folder` | an object store, with the feature `remote` |
//! | `http://host/folder`, `https://host/folder` | a web server, with the feature `remote` |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::DataError;
use crate::tree::{Disk, Tree};

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// A scheme that nobody here can read.
    #[error("{address} cannot be read: {scheme}:// is none of file, s3, gs, http, https")]
    Scheme {
        /// The address.
        address: String,
        /// Its scheme.
        scheme: String,
    },
    /// A `file:` URL that names no absolute path on this machine.
    #[error("{address} names no file of this machine; write file:///path or the path alone")]
    File {
        /// The address.
        address: String,
    },
    /// The program was built without `remote`.
    #[error(
        "{address} cannot be read: this program was built without URLs; build it with \
         `cargo build --release --features remote`, or download the folder first"
    )]
    NotBuilt {
        /// The address.
        address: String,
    },
}

/// An address, by its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A path of this machine.
    Path(PathBuf),
    /// A URL of an object store or a web server, without a slash at its end.
    Url(String),
}

/// Schemes of URLs that are read over a network.
const REMOTE: [&str; 4] = ["s3", "gs", "http", "https"];

impl Address {
    /// Tells a URL from a path. A path may have colons in it; a URL has `://` behind its scheme.
    ///
    /// # Errors
    /// [`AddressError::Scheme`], [`AddressError::File`].
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let path = || Self::Path(PathBuf::from(address));
        let Some((scheme, rest)) = address.split_once("://") else { return Ok(path()) };
        let is_scheme = |scheme: &str| {
            !scheme.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        };
        let name = scheme.to_ascii_lowercase();
        match name.as_str() {
            _ if !is_scheme(scheme) => Ok(path()),
            "file" => file_path(rest)
                .map(Self::Path)
                .ok_or_else(|| AddressError::File { address: address.to_owned() }),
            _ if REMOTE.contains(&name.as_str()) => {
                Ok(Self::Url(format!("{name}://{}", rest.trim_end_matches('/'))))
            }
            _ => {
                Err(AddressError::Scheme { address: address.to_owned(), scheme: scheme.to_owned() })
            }
        }
    }

    /// The folder's name, for captions.
    #[must_use]
    pub fn name(&self) -> String {
        let path = match self {
            Self::Path(path) => path.as_path(),
            Self::Url(url) => Path::new(url),
        };
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The path of a `file:` URL: behind an empty host or `localhost`, with `%20` and the like resolved.
fn file_path(rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("localhost").filter(|p| p.starts_with('/')).unwrap_or(rest);
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    let path = String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))?;
    Some(PathBuf::from(path))
}

/// What an address is read through, and the top of the tree in it.
pub(crate) fn open(address: &str) -> Result<(Arc<dyn Tree>, PathBuf), DataError> {
    match Address::parse(address)? {
        Address::Path(path) => Ok((Arc::new(Disk), path)),
        Address::Url(url) => open_url(&url),
    }
}

#[cfg(feature = "remote")]
fn open_url(url: &str) -> Result<(Arc<dyn Tree>, PathBuf), DataError> {
    Ok((Arc::new(crate::remote::Remote::open(url)?), PathBuf::from(url)))
}

#[cfg(not(feature = "remote"))]
fn open_url(url: &str) -> Result<(Arc<dyn Tree>, PathBuf), DataError> {
    Err(AddressError::NotBuilt { address: url.to_owned() }.into())
}

/// The folder of an address on this machine. What lies elsewhere is downloaded first, into a cache
/// folder; what is there already is not downloaded again.
///
/// The cache is `deeplpf/` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`), or the folder
/// that the environment variable `DEEPLPF_CACHE` names. `target` is the target folder where there are
/// several. `progress` is told how many of how many files are there.
///
/// # Errors
/// [`AddressError`]; whatever a download meets.
pub fn local_folder(
    address: &str,
    target: Option<&str>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<PathBuf, DataError> {
    match Address::parse(address)? {
        Address::Path(path) => Ok(path),
        Address::Url(url) => download(&url, target, progress),
    }
}

#[cfg(feature = "remote")]
use crate::remote::download;

#[cfg(not(feature = "remote"))]
fn download(
    url: &str,
    _: Option<&str>,
    _: &(dyn Fn(usize, usize) + Sync),
) -> Result<PathBuf, DataError> {
    Err(AddressError::NotBuilt { address: url.to_owned() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        let path = |text: &str| Address::Path(PathBuf::from(text));
        for text in ["photographs", "./sample", "C:\\fivek", "a:b", "strange name://x", "://x", ""]
        {
            assert_eq!(Address::parse(text).expect("a path"), path(text));
        }
        for (text, found) in [
            ("file:///data/five%20k", "/data/five k"),
            ("file://localhost/data", "/data"),
            ("FILE:///data/a%C3%A4", "/data/aä"),
        ] {
            assert_eq!(Address::parse(text).expect("a path"), path(found));
        }
        let url = |text: &str| Address::parse(text).expect("a URL");
        assert_eq!(url("S3://bucket/fivek/"), Address::Url("s3://bucket/fivek".into()));
        assert_eq!(url("https://host/a/b"), Address::Url("https://host/a/b".into()));
        assert_eq!(url("https://host/a/b").name(), "b");
        for text in ["ftp://host/a", "file://host/a", "file://data", "file:///%zz", "file:///%2"] {
            let told = Address::parse(text).expect_err("refused").to_string();
            assert!(told.contains(text), "{told}");
        }
    }
}
