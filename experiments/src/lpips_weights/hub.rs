//! Fetching a pinned file from the Hugging Face hub into its cache.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use hf_hub::{
    Repo, RepoType,
    api::sync::{ApiBuilder, ApiRepo},
};
use sha2::{Digest, Sha256};

use super::{HubError, source::HubFile};

/// Which hub, and where its files are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// The hub's address; huggingface.co without it.
    pub endpoint: Option<String>,
    /// The cache; the hub's own folder without it.
    pub cache: Option<PathBuf>,
    /// Whether a bar shows the progress.
    pub progress: bool,
}

impl Settings {
    /// Those of `HF_ENDPOINT` and `HF_HOME`, which hf-hub reads itself.
    pub fn from_environment() -> Self {
        use std::io::IsTerminal;
        Self { progress: std::io::stderr().is_terminal(), ..Self::default() }
    }
}

/// The file's place in the cache, fetched if it is not there, checked in any case.
pub(super) fn fetch(file: &HubFile, settings: &Settings) -> Result<PathBuf, HubError> {
    let failed =
        |reason: String| HubError::Fetch { url: file.url.clone(), page: file.page(), reason };
    let repository = open(file, settings).map_err(|error| failed(error.to_string()))?;
    let path = repository.get(&file.file).map_err(|error| failed(error.to_string()))?;
    let found = sha256(&path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    if found == file.sha256 {
        Ok(path)
    } else {
        Err(HubError::OtherFile { path, expected: file.sha256.clone(), found })
    }
}

fn open(file: &HubFile, settings: &Settings) -> Result<ApiRepo, hf_hub::api::sync::ApiError> {
    let mut builder = ApiBuilder::from_env().with_progress(settings.progress);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let Some(cache) = &settings.cache {
        builder = builder.with_cache_dir(cache.clone());
    }
    let (repository, revision) = (file.repository.clone(), file.revision.clone());
    Ok(builder.build()?.repo(Repo::with_revision(repository, RepoType::Model, revision)))
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, Write},
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;
    use crate::lpips_weights::Source;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const CONTENT: &[u8] = b"the bytes of some weights";

    /// A stand-in for the hub on the loopback: one file, by ranges, with the headers that hf-hub
    /// reads. Serves until the test ends.
    fn stand_in() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no failure of the server.
                let _ = answer(stream);
            }
        });
        address
    }

    fn answer(mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or(Ok(String::new()))?;
        let mut range = (0, CONTENT.len() - 1);
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("range: bytes=") {
                let (from, to) = text.split_once('-').unwrap();
                range.0 = from.parse().unwrap();
                range.1 = to.parse().unwrap_or(CONTENT.len() - 1).min(CONTENT.len() - 1);
            }
        }
        if !request.starts_with(&format!("GET /owner/name/resolve/{COMMIT}/vgg.safetensors ")) {
            return stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        let body = &CONTENT[range.0..=range.1];
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nx-repo-commit: {COMMIT}\r\netag: \"tag\"\r\n\
             Content-Range: bytes {}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            range.0,
            range.1,
            CONTENT.len(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    fn file(name: &str, content: &[u8]) -> HubFile {
        let hash: String =
            Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let url = format!("hf://owner/name@{COMMIT}/{name}#sha256={hash}");
        let Source::Hub(file) = Source::parse(&url).unwrap() else { panic!("{url}") };
        file
    }

    #[test]
    fn a_pinned_file_is_fetched_once_and_checked_always() {
        let cache = tempfile::tempdir().unwrap();
        let settings = |endpoint: &str| Settings {
            endpoint: Some(endpoint.into()),
            cache: Some(cache.path().to_owned()),
            progress: false,
        };
        let hub = stand_in();
        let path = fetch(&file("vgg.safetensors", CONTENT), &settings(&hub)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), CONTENT);
        assert!(path.starts_with(cache.path()));
        // From the cache: port 9 is of the discard service, which nobody runs.
        let nowhere = settings("http://127.0.0.1:9");
        assert_eq!(fetch(&file("vgg.safetensors", CONTENT), &nowhere).unwrap(), path);
        let error = fetch(&file("vgg.safetensors", b"others"), &nowhere).unwrap_err();
        assert!(matches!(error, HubError::OtherFile { .. }), "{error}");
        std::fs::write(&path, &CONTENT[..9]).unwrap();
        let error = fetch(&file("vgg.safetensors", CONTENT), &nowhere).unwrap_err();
        assert!(matches!(error, HubError::OtherFile { .. }), "{error}");
        for (name, endpoint) in [("other.safetensors", settings(&hub)), ("a.pth", nowhere)] {
            let error = fetch(&file(name, CONTENT), &endpoint).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("give the file instead"), "{error}");
        }
    }
}
