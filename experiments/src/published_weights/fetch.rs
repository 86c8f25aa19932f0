//! The content of a git object from GitHub's interface.

use std::{
    io::{IsTerminal, Read},
    path::Path,
    time::Duration,
};

use deeplpf_data::atomic_file;
use indicatif::{ProgressBar, ProgressDrawTarget};
use sha1::{Digest, Sha1};

use super::{PublishedError, PublishedWeights};

const GITHUB: &str = "https://api.github.com";
/// Largest checkpoint that is fetched: the network's has 7 MB.
const MOST_BYTES: u64 = 256 << 20;

pub(super) fn fetch(weights: &PublishedWeights, out: &Path) -> Result<u64, PublishedError> {
    let server = std::env::var("DEEPLPF_GITHUB_API").unwrap_or_else(|_| GITHUB.into());
    from(weights, &server, out)
}

fn from(weights: &PublishedWeights, server: &str, out: &Path) -> Result<u64, PublishedError> {
    let PublishedWeights { repository, blob, .. } = *weights;
    let url = format!("{}/repos/{repository}/git/blobs/{blob}", server.trim_end_matches('/'));
    let bytes = download(&url).map_err(|reason| PublishedError::Fetch {
        url: url.clone(),
        page: weights.page(),
        blob,
        reason,
    })?;
    let found = blob_id(&bytes);
    if found != blob {
        return Err(PublishedError::OtherFile { url, expected: blob, found });
    }
    atomic_file::write(out, &bytes)
        .map_err(|source| PublishedError::Write { path: out.into(), source })?;
    Ok(bytes.len() as u64)
}

/// The id of a file in git: the SHA-1 of `blob LENGTH`, a zero byte and the content.
pub(crate) fn blob_id(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn download(url: &str) -> Result<Vec<u8>, String> {
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .user_agent(concat!("deeplpf/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let request = agent.get(url).header("Accept", "application/vnd.github.raw");
    let response = request.call().map_err(|error| error.to_string())?;
    let length = response.body().content_length();
    if length.is_some_and(|length| length > MOST_BYTES) {
        return Err(format!("more than {} MB are announced", MOST_BYTES >> 20));
    }
    let bar = ProgressBar::new(length.unwrap_or(0));
    bar.set_draw_target(if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    let mut reader = bar.wrap_read(response.into_body().into_reader().take(MOST_BYTES + 1));
    let mut bytes = Vec::new();
    let read = reader.read_to_end(&mut bytes);
    bar.finish_and_clear();
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("it is larger than {} MB", MOST_BYTES >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// As `git hash-object` prints them.
    #[test]
    fn ids_are_those_of_git() {
        assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob_id(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    /// Answers one request with `status` and `body`; the request's first line and its Accept.
    fn server(status: &str, body: &[u8]) -> (String, thread::JoinHandle<(String, bool)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let body = body.to_vec();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let lines: Vec<String> =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
            let raw =
                |line: &String| line.eq_ignore_ascii_case("accept: application/vnd.github.raw");
            (lines[0].clone(), lines.iter().any(raw))
        });
        (address, asked)
    }

    const HELLO: PublishedWeights = PublishedWeights {
        name: "hello",
        description: "five letters",
        repository: "owner/name",
        blob: "ce013625030ba8dba906f756967f9e9ca394464a",
    };

    #[test]
    fn what_has_the_right_id_is_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("hello.pt");
        let (address, asked) = server("200 OK", b"hello\n");
        assert_eq!(from(&HELLO, &address, &out).unwrap(), 6);
        assert_eq!(std::fs::read(&out).unwrap(), b"hello\n");
        let (line, raw) = asked.join().unwrap();
        assert_eq!(line, format!("GET /repos/owner/name/git/blobs/{} HTTP/1.1", HELLO.blob));
        assert!(raw, "GitHub would wrap the content in JSON");

        let out = folder.path().join("other.pt");
        let (address, _asked) = server("200 OK", b"hallo\n");
        let error = from(&HELLO, &address, &out).unwrap_err();
        assert!(matches!(error, PublishedError::OtherFile { .. }), "{error}");
        let (address, _asked) = server("404 Not Found", b"");
        let error = from(&HELLO, &address, &out).unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
        // Nobody listens there any more.
        let error = from(&HELLO, &address, &out).unwrap_err();
        assert!(matches!(error, PublishedError::Fetch { .. }), "{error}");
        assert!(!out.exists());
    }
}
