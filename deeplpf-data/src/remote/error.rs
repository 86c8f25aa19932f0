//! What can be wrong with a set that lies elsewhere.

/// Why files of a URL cannot be had. `Display` is one sentence meant for a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Not a URL, or not enough is known to use it (no credentials, no bucket).
    #[error(
        "{url} cannot be used: {reason}; check the URL and the variables AWS_... or GOOGLE_..."
    )]
    Url {
        /// The URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The files below a URL cannot be listed.
    #[error(
        "the files of {url} cannot be listed: {reason}; check the URL, the network and your rights"
    )]
    List {
        /// The URL.
        url: String,
        /// What the server or the network said.
        reason: String,
    },
    /// A web server that neither lists its files nor has a list of them.
    #[error(
        "{url} does not say which files it has: put a file `{}` there with one path a line, or use \
         a server with WebDAV",
        super::FILES
    )]
    NoListing {
        /// The URL.
        url: String,
    },
    /// There is nothing below a URL.
    #[error("{url} has no files; check the name of the bucket and of the folder")]
    Empty {
        /// The URL.
        url: String,
    },
    /// A file cannot be fetched.
    #[error("{url} cannot be fetched: {reason}; run it again to go on")]
    Fetch {
        /// The file.
        url: String,
        /// What the server or the network said.
        reason: String,
    },
    /// Fewer or more bytes came than the server announced.
    #[error("{url} was cut short: {found} of {expected} bytes came; run it again to go on")]
    Truncated {
        /// The file.
        url: String,
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The file is larger than any photograph.
    #[error("{url} has {bytes} bytes, more than the limit of {limit}; it cannot be a photograph")]
    TooLarge {
        /// The file.
        url: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not those of the manifest beside them.
    #[error(
        "{url} is not the file that its manifest describes; the set was changed after it was prepared"
    )]
    Hash {
        /// The file.
        url: String,
    },
    /// There is nowhere to keep downloads.
    #[error("there is no folder for downloads: set DEEPLPF_CACHE to one")]
    NoCache,
}
