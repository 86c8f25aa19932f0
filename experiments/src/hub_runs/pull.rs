//! Fetching a run, or weights alone: listed, sizes checked, fetched, hashes checked, read, and only
//! then put in place.

use std::{fs, path::Path};

use deeplpf_core::{Checkpoint, DType, Device};
use deeplpf_train::{RunFolder, TrainConfig};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    CARD, HubRunError, MOST_TEXT_BYTES, MOST_WEIGHT_BYTES, PullRequest, PullSummary, TEXTS,
    WEIGHTS,
    client::{Client, Settings},
};
use crate::published_weights::blob_id;

const UNCHANGED: &str = "nothing was written; try again";

/// What the hub lists of a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Listed>,
}

/// A file it lists.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "rfilename")]
    path: String,
    size: Option<u64>,
    /// Git's id, of the file itself where it is not stored by git-lfs.
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Listed {
    fn is_weights(&self) -> bool {
        let extension = Path::new(&self.path).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("safetensors" | "pt" | "pth"))
    }
}

pub(super) fn pull(request: &PullRequest, settings: &Settings) -> Result<PullSummary, HubRunError> {
    let client = Client::new(settings, &request.from, &request.revision, UNCHANGED)?;
    require_free(&request.out)?;
    let repository = &request.from;
    let path = format!("/api/models/{repository}/revision/{}?blobs=true", client.revision_part());
    let what = format!("list the files of {repository}");
    let Listing { sha, siblings } = client.find(&what, &path)?.ok_or_else(|| {
        HubRunError::Absent { repository: repository.clone(), revision: request.revision.clone() }
    })?;
    if sha.len() != 40 || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(client.failed(&what, "the server's answer names no commit".into()));
    }
    let (is_run, chosen) = choose(request, &siblings)?;
    // All sizes before the first file: nothing is fetched in vain.
    for file in &chosen {
        let bytes = file.lfs.as_ref().map(|large| large.size).or(file.size).unwrap_or(0);
        let most = most_bytes(file);
        if bytes > most {
            return Err(HubRunError::TooLarge { file: file.path.clone(), bytes, most });
        }
    }
    let mut files = Vec::with_capacity(chosen.len());
    for file in chosen {
        let path = format!("/{repository}/resolve/{sha}/{}", escaped(&file.path));
        let bytes = client.download(&file.path, &path, most_bytes(file))?;
        check(request, file, &bytes)?;
        // Of weights alone, the folders they lay in are of no use.
        let name = if is_run { &file.path } else { file_name(&file.path) };
        files.push((name, bytes));
    }
    write(request, is_run, &files)?;
    let weights = if is_run { WEIGHTS } else { files[0].0 };
    Ok(PullSummary {
        out: request.out.clone(),
        commit: sha,
        is_run,
        weights: request.out.join(weights),
        files: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
        bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
    })
}

/// There is nothing at `out`, or an empty folder.
fn require_free(out: &Path) -> Result<(), HubRunError> {
    let exists = match fs::symlink_metadata(out) {
        Ok(found) if found.is_dir() => fs::read_dir(out)
            .map_err(|source| HubRunError::File { what: "read", path: out.into(), source })?
            .next()
            .is_some(),
        Ok(_) => true,
        Err(_) => false,
    };
    if exists { Err(HubRunError::Exists { path: out.into() }) } else { Ok(()) }
}

/// Whether it is a run, and the files to fetch: a run's by the names a run has, no others; else one of
/// weights.
fn choose<'a>(
    request: &PullRequest,
    files: &'a [Listed],
) -> Result<(bool, Vec<&'a Listed>), HubRunError> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let repository = || request.from.clone();
    let weights: Vec<&Listed> = files.iter().filter(|file| file.is_weights()).collect();
    if let Some(name) = &request.file {
        let chosen = weights.iter().find(|file| file.path == *name);
        return match chosen {
            Some(file) => Ok((false, vec![file])),
            None if weights.is_empty() => Err(HubRunError::NoRun { repository: repository() }),
            None => Err(HubRunError::Choose { repository: repository(), files: names(&weights) }),
        };
    }
    if find("config.toml").is_some() && find(WEIGHTS).is_some() {
        let wanted = TEXTS.iter().chain(&[WEIGHTS, CARD]);
        return Ok((true, wanted.filter_map(|path| find(path)).collect()));
    }
    match &weights[..] {
        [] => Err(HubRunError::NoRun { repository: repository() }),
        [one] => Ok((false, vec![one])),
        _ => Err(HubRunError::Choose { repository: repository(), files: names(&weights) }),
    }
}

fn names(files: &[&Listed]) -> String {
    files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(", ")
}

fn most_bytes(file: &Listed) -> u64 {
    if file.is_weights() { MOST_WEIGHT_BYTES } else { MOST_TEXT_BYTES }
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A path of a repository in a URL.
fn escaped(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Checks a file against the hash the hub lists; an old server may list none.
fn check(request: &PullRequest, file: &Listed, bytes: &[u8]) -> Result<(), HubRunError> {
    let (expected, found) = match (&file.lfs, &file.blob) {
        (Some(large), _) => {
            let hash = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            (&large.sha256, hash)
        }
        (None, Some(blob)) => (blob, blob_id(bytes)),
        (None, None) => return Ok(()),
    };
    if *expected == found {
        return Ok(());
    }
    Err(HubRunError::OtherFile {
        repository: request.from.clone(),
        file: file.path.clone(),
        expected: expected.clone(),
        found,
    })
}

/// Writes the files into a folder beside the place, reads them as what they should be, and renames it.
fn write(
    request: &PullRequest,
    is_run: bool,
    files: &[(&str, Vec<u8>)],
) -> Result<(), HubRunError> {
    let out = &request.out;
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| HubRunError::File { what: "write", path, source }
    };
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let room = tempfile::Builder::new()
        .prefix(".deeplpf-")
        .suffix(".partial")
        .tempdir_in(parent)
        .map_err(failed(out))?;
    // A folder of its own: a temporary one is for its owner's eyes only.
    let folder = room.path().join("run");
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(failed(out))?;
        fs::write(&path, bytes).map_err(failed(&out.join(name)))?;
    }
    let unusable = |file: &str, reason: String| HubRunError::Unusable {
        repository: request.from.clone(),
        file: file.into(),
        reason: reason.replace(&format!("{}/", folder.display()), ""),
    };
    let weights = if is_run { WEIGHTS } else { files[0].0 };
    let checkpoint = Checkpoint::read(&folder.join(weights))
        .map_err(|error| unusable(weights, error.to_string()))?;
    if is_run {
        let run = RunFolder::new(&folder);
        let config = TrainConfig::read(&run.config(), &[])
            .map_err(|error| unusable("config.toml", error.to_string()))?;
        if run.metrics().exists() {
            run.records().map_err(|error| unusable("metrics.jsonl", error.to_string()))?;
        }
        checkpoint
            .model(Some(&config.model), DType::F32, &Device::Cpu)
            .map_err(|error| unusable(weights, error.to_string()))?;
    }
    if out.is_dir() {
        fs::remove_dir(out).map_err(failed(out))?;
    }
    fs::rename(&folder, out).map_err(failed(out))
}
