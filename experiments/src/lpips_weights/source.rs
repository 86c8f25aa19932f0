//! Where weights are: a path, or a pinned file on the hub.

use std::path::PathBuf;

use super::HubError;

/// How addresses on the hub begin.
const SCHEME: &str = "hf://";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Hub(HubFile),
}

/// A file of a commit of a model repository, with its hash.
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only fetching reads all of it"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubFile {
    /// As given.
    pub url: String,
    /// `OWNER/NAME`.
    pub repository: String,
    /// The commit, 40 hexadecimal digits. Branches and tags move.
    pub revision: String,
    /// The file's path in the repository.
    pub file: String,
    /// The file's SHA-256, 64 hexadecimal digits, lower case.
    pub sha256: String,
}

impl Source {
    pub fn parse(source: &str) -> Result<Self, HubError> {
        let Some(rest) = source.strip_prefix(SCHEME) else {
            return Ok(Source::File(source.into()));
        };
        parse_hub(source, rest)
            .map(Source::Hub)
            .map_err(|reason| HubError::Address { url: source.into(), reason })
    }
}

fn parse_hub(url: &str, rest: &str) -> Result<HubFile, &'static str> {
    let (rest, sha256) = rest.split_once("#sha256=").ok_or("#sha256= is missing")?;
    let sha256 = sha256.to_ascii_lowercase();
    if !is_hexadecimal(&sha256, 64) {
        return Err("the SHA-256 is not 64 hexadecimal digits");
    }
    let (repository, rest) = rest.split_once('@').ok_or("@REVISION is missing")?;
    let (revision, file) = rest.split_once('/').ok_or("the file is missing")?;
    if !is_hexadecimal(revision, 40) {
        return Err("the revision is not the 40 hexadecimal digits of a commit");
    }
    let plain = |part: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(inside)
    };
    if repository.split('/').count() != 2 || !repository.split('/').all(plain) {
        return Err("the repository is not OWNER/REPOSITORY");
    }
    if !file.split('/').all(plain) {
        return Err("the file is not a plain path");
    }
    Ok(HubFile {
        url: url.into(),
        repository: repository.into(),
        revision: revision.to_ascii_lowercase(),
        file: file.into(),
        sha256,
    })
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl HubFile {
    /// Where a reader finds the file.
    pub fn page(&self) -> String {
        let Self { repository, revision, file, .. } = self;
        format!("https://huggingface.co/{repository}/resolve/{revision}/{file}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn addresses_pin_commit_and_hash() {
        let hash = "AB".repeat(32);
        let url = format!("hf://owner/name@{COMMIT}/folder/file.safetensors#sha256={hash}");
        let Source::Hub(found) = Source::parse(&url).unwrap() else { panic!("{url}") };
        assert_eq!(found.repository, "owner/name");
        assert_eq!(
            (found.revision.as_str(), found.file.as_str()),
            (COMMIT, "folder/file.safetensors")
        );
        assert_eq!(found.sha256, "ab".repeat(32));
        assert_eq!(Source::parse("hf.pth").unwrap(), Source::File("hf.pth".into()));
        for (from, to, expected) in [
            ("#sha256=", "#md5=", "#sha256= is missing"),
            ("ABAB", "AB", "64 hexadecimal digits"),
            ("@0123", "@main", "40 hexadecimal digits"),
            ("@0123", "/0123", "@REVISION is missing"),
            ("owner/name", "name", "OWNER/REPOSITORY"),
            ("owner/name", "../name", "OWNER/REPOSITORY"),
            ("folder/", "../", "plain path"),
            ("folder/", "a//", "plain path"),
            ("folder/", "a?b/", "plain path"),
        ] {
            let error = Source::parse(&url.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("hf://OWNER"), "{error}");
        }
    }
}
