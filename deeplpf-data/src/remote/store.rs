//! An object store as a [`Tree`].

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::Runtime;

use super::FILES;
use super::error::RemoteError;
use crate::DataError;
use crate::find::{Entry, stem};
use crate::tree::Tree;

/// No photograph is larger: 150 megapixels of 16 bits in three channels are 900 MB.
const LARGEST_FILE: u64 = 2 << 30;

/// A list of files is not larger than this: FiveK's 30000 files take 2 MB.
const LARGEST_LIST: u64 = 64 << 20;

/// A server that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// A URL that was listed.
pub(crate) struct Remote {
    store: Box<dyn ObjectStore>,
    /// Below the URL, with the URL in front.
    files: BTreeMap<PathBuf, File>,
    folders: BTreeSet<PathBuf>,
}

struct File {
    key: Key,
    /// `None` where only the name is known.
    meta: Option<ObjectMeta>,
}

impl Remote {
    /// Connects and lists.
    pub(crate) fn open(url: &str) -> Result<Self, DataError> {
        let (store, prefix) = connect(url)?;
        let listed = runtime()?.block_on(list(&*store, &prefix, url))?;
        let root = PathBuf::from(url);
        let (mut files, mut folders) = (BTreeMap::new(), BTreeSet::from([root.clone()]));
        for file in listed {
            let Some(below) = file.key.prefix_match(&prefix) else { continue };
            let mut path = root.clone();
            path.extend(below.map(|part| part.as_ref().to_owned()));
            if path == root {
                continue;
            }
            folders.extend(path.ancestors().skip(1).take_while(|p| *p != root).map(Path::to_owned));
            files.insert(path, file);
        }
        if files.is_empty() {
            Err(RemoteError::Empty { url: url.to_owned() })?;
        }
        Ok(Self { store, files, folders })
    }

    fn file(&self, path: &Path) -> Result<&File, DataError> {
        let missing = || DataError::read(path, std::io::ErrorKind::NotFound.into());
        self.files.get(path).ok_or_else(missing)
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
}

impl Tree for Remote {
    fn is_folder(&self, path: &Path) -> bool {
        self.folders.contains(path)
    }

    fn folders(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        if !self.is_folder(path) {
            return Err(DataError::read(path, std::io::ErrorKind::NotFound.into()));
        }
        Ok(self.folders.iter().filter(|folder| folder.parent() == Some(path)).cloned().collect())
    }

    fn entries(
        &self,
        folder: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Entry>, DataError> {
        let hidden =
            |path: &Path| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let here = self.files.keys().filter(|path| path.parent() == Some(folder));
        let pictures = here.filter(|path| !hidden(path) && wanted(path));
        Ok(pictures.map(|path| Ok((stem(path)?, path.clone()))).collect())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let File { key, meta } = self.file(path)?;
        let expected = meta.as_ref().map(|meta| meta.size);
        runtime()?.block_on(fetch(&*self.store, key, path, expected, LARGEST_FILE))
    }

    fn stamp(&self, path: &Path) -> Result<String, DataError> {
        let File { key, meta } = self.file(path)?;
        let meta = match meta {
            Some(meta) => meta.clone(),
            None => runtime()?
                .block_on(self.store.head(key))
                .map_err(|e| RemoteError::Fetch { url: shown(path), reason: reason(&e) })?,
        };
        let version = meta.e_tag.unwrap_or_else(|| meta.last_modified.to_rfc3339());
        Ok(format!("{} bytes, {version}", meta.size))
    }
}

/// The store of a URL, and the key of the folder in it.
fn connect(url: &str) -> Result<(Box<dyn ObjectStore>, Key), DataError> {
    let wrong = |reason: String| RemoteError::Url { url: url.to_owned(), reason };
    let parsed = url::Url::parse(url).map_err(|e| wrong(e.to_string()))?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        Err(wrong("a folder's URL has no `?` or `#` in it".into()))?;
    }
    let key = Key::from_url_path(parsed.path()).map_err(|e| wrong(e.to_string()))?;
    // The only provider of this build. An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig {
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    };
    // A photograph may take longer than the default limit of 30 s for a whole request.
    let options = ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENCE);
    let store: Result<Box<dyn ObjectStore>, object_store::Error> = match parsed.scheme() {
        "s3" => AmazonS3Builder::from_env()
            .with_url(url)
            .with_retry(retry)
            .with_client_options(options.with_allow_http(allowed("AWS_ALLOW_HTTP")))
            .build()
            .map(|store| Box::new(store) as _),
        "gs" => GoogleCloudStorageBuilder::from_env()
            .with_url(url)
            .with_retry(retry)
            .with_client_options(options)
            .build()
            .map(|store| Box::new(store) as _),
        scheme => HttpBuilder::new()
            .with_url(&parsed[..url::Position::BeforePath])
            .with_retry(retry)
            .with_client_options(options.with_allow_http(scheme == "http"))
            .build()
            .map(|store| Box::new(store) as _),
    };
    Ok((store.map_err(|e| wrong(reason(&e)))?, key))
}

fn allowed(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| matches!(value.as_str(), "1" | "true" | "TRUE"))
}

/// What there is below a key.
async fn list(store: &dyn ObjectStore, prefix: &Key, url: &str) -> Result<Vec<File>, DataError> {
    let web = url.starts_with("http");
    let found: Result<Vec<ObjectMeta>, _> = store.list(Some(prefix)).try_collect().await;
    match found {
        Ok(found) if !found.is_empty() || !web => Ok(found
            .into_iter()
            .map(|meta| File { key: meta.location.clone(), meta: Some(meta) })
            .collect()),
        Err(error) if !web => {
            Err(RemoteError::List { url: url.to_owned(), reason: reason(&error) }.into())
        }
        // Most servers answer that they do not know the question, in one way or another.
        found => match list_of_files(store, prefix, url).await? {
            Some(files) => Ok(files),
            None => Err(match found {
                Err(error) if is_unreachable(&error) => {
                    RemoteError::List { url: url.to_owned(), reason: reason(&error) }
                }
                _ => RemoteError::NoListing { url: url.to_owned() },
            }
            .into()),
        },
    }
}

/// The files that [`FILES`] names; `None` where there is no such list.
async fn list_of_files(
    store: &dyn ObjectStore,
    prefix: &Key,
    url: &str,
) -> Result<Option<Vec<File>>, DataError> {
    let path = Path::new(url).join(FILES);
    let list = prefix.clone().join(FILES);
    let bytes = match store.head(&list).await {
        Err(_) => return Ok(None),
        Ok(_) => fetch(store, &list, &path, None, LARGEST_LIST).await?,
    };
    let text = String::from_utf8(bytes).map_err(|_| DataError::NotText { path: path.clone() })?;
    let mut files = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() {
            continue;
        }
        let below = Key::parse(line).map_err(|e| RemoteError::List {
            url: url.to_owned(),
            reason: format!("{FILES} names '{line}': {e}"),
        })?;
        let mut key = prefix.clone();
        for part in below.parts() {
            key = key.join(part);
        }
        files.push(File { key, meta: None });
    }
    Ok(Some(files))
}

/// A whole file, of exactly as many bytes as the server says it has.
async fn fetch(
    store: &dyn ObjectStore,
    key: &Key,
    path: &Path,
    listed: Option<u64>,
    limit: u64,
) -> Result<Vec<u8>, DataError> {
    let url = || shown(path);
    let result =
        store.get(key).await.map_err(|e| RemoteError::Fetch { url: url(), reason: reason(&e) })?;
    let expected = listed.unwrap_or(result.meta.size);
    if expected > limit {
        Err(RemoteError::TooLarge { url: url(), bytes: expected, limit })?;
    }
    let mut bytes: Vec<u8> = Vec::new();
    let mut stream = result.into_stream();
    let found = |bytes: &Vec<u8>| bytes.len() as u64;
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            let found = found(&bytes);
            return Err(RemoteError::Truncated { url: url(), expected, found }.into());
        };
        if found(&bytes) + chunk.len() as u64 > expected {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    if found(&bytes) != expected || stream.next().await.is_some() {
        let found = found(&bytes);
        Err(RemoteError::Truncated { url: url(), expected, found })?;
    }
    Ok(bytes)
}

/// One runtime for all: requests of all threads are driven by it.
fn runtime() -> Result<&'static Runtime, DataError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made =
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| RemoteError::Fetch { url: "the network".into(), reason: e.to_string() })?;
    // Where another thread was faster, its runtime is taken and this one dropped.
    Ok(RUNTIME.get_or_init(|| made))
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether the server could not be reached at all.
fn is_unreachable(error: &object_store::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What is at the bottom of an error, in a line.
fn reason(error: &object_store::Error) -> String {
    match error {
        object_store::Error::NotFound { .. } => return "it is not there".into(),
        object_store::Error::PermissionDenied { .. } => return "access is denied".into(),
        object_store::Error::Unauthenticated { .. } => {
            return "the server asks for credentials".into();
        }
        _ => {}
    }
    let mut bottom: &dyn Error = error;
    while let Some(cause) = bottom.source() {
        bottom = cause;
    }
    bottom.to_string().lines().next().unwrap_or_default().trim().to_owned()
}
