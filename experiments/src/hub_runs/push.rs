//! Sending a run: every file's way is asked for, large ones are stored by git-lfs, and one commit at
//! the end names them all.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use deeplpf_core::{Checkpoint, DType, Device};
use deeplpf_train::{DataConfig, RunFolder, TrainConfig};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    CARD, HubRunError, MOST_TEXT_BYTES, MOST_WEIGHT_BYTES, PushRequest, PushSummary, TEXTS,
    WEIGHTS, card,
    client::{Client, LFS_JSON, Settings},
};

const UNCHANGED: &str = "nothing was committed, the repository is as it was; try again";
/// How much of a file the hub looks at to tell text from other data.
const SAMPLE_BYTES: usize = 512;

/// A file under its name in the repository.
struct Upload {
    path: &'static str,
    bytes: Vec<u8>,
    sha256: String,
}

impl Upload {
    fn new(path: &'static str, bytes: Vec<u8>) -> Self {
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path, bytes, sha256 }
    }
}

pub(super) fn push(request: &PushRequest, settings: &Settings) -> Result<PushSummary, HubRunError> {
    let client = Client::new(settings, &request.to, &request.revision, UNCHANGED)?;
    let files = files(request)?;
    if settings.token.is_none() {
        return Err(HubRunError::NoToken { file: settings.token_file.clone() });
    }
    prepare(&client, request)?;
    let large = large_files(&client, &files)?;
    store(&client, &large)?;
    commit(&client, &files, &large)
}

/// The files of a run, read and checked.
fn files(request: &PushRequest) -> Result<Vec<Upload>, HubRunError> {
    let run = RunFolder::new(&request.run);
    let no_run = |reason: String| HubRunError::NotARun { path: request.run.clone(), reason };
    if !run.path().is_dir() {
        return Err(no_run("there is no such folder".into()));
    }
    if !run.config().is_file() {
        return Err(no_run("it has no config.toml".into()));
    }
    let config =
        TrainConfig::read(&run.config(), &[]).map_err(|error| no_run(error.to_string()))?;
    if !run.best().is_file() {
        return Err(HubRunError::NoWeights { path: request.run.clone() });
    }
    let config = without_places(config);
    let weights = read(&run.best(), WEIGHTS, MOST_WEIGHT_BYTES)?;
    let model = Checkpoint::read(&run.best())
        .and_then(|checkpoint| checkpoint.model(Some(&config.model), DType::F32, &Device::Cpu))
        .map_err(|error| no_run(error.to_string()))?;
    let card = card::card(&request.to, &run, &config, &model)
        .map_err(|error| no_run(error.to_string()))?;
    let mut files = vec![Upload::new(CARD, card.into_bytes()), Upload::new(WEIGHTS, weights)];
    for name in TEXTS {
        let path = run.path().join(name);
        if name == "config.toml" {
            files.push(Upload::new(name, config.to_toml().into_bytes()));
        } else if path.is_file() {
            files.push(Upload::new(name, read(&path, name, MOST_TEXT_BYTES)?));
        }
    }
    Ok(files)
}

/// With the last names instead of paths, which say more of the machine than of the run.
fn without_places(mut config: TrainConfig) -> TrainConfig {
    let last = |path: &Path| path.file_name().map(PathBuf::from).unwrap_or_default();
    let DataConfig { source, train, valid, exclude, cache, .. } = &mut config.data;
    *source = last_name(source);
    *cache = last_name(cache);
    for path in [&mut config.run, &mut config.weights, train, valid, exclude] {
        *path = last(path);
    }
    config
}

/// The last part of a path or URL, without what follows a `?`, which may be a key.
fn last_name(place: &str) -> String {
    let path = place.split(['?', '#']).next().unwrap_or_default().trim_end_matches(['/', '\\']);
    path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
}

fn read(path: &Path, name: &str, most: u64) -> Result<Vec<u8>, HubRunError> {
    let failed = |source| HubRunError::File { what: "read", path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut content = Vec::new();
    if bytes <= most {
        file.take(most + 1).read_to_end(&mut content).map_err(failed)?;
    }
    let bytes = bytes.max(content.len() as u64);
    if bytes > most {
        return Err(HubRunError::TooLarge { file: name.into(), bytes, most });
    }
    Ok(content)
}

/// Sees that repository and branch are there.
fn prepare(client: &Client<'_>, request: &PushRequest) -> Result<(), HubRunError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        private: bool,
    }
    let repository = &request.to;
    let path = format!("/api/models/{repository}");
    match client.find::<Found>(&format!("ask for {repository}"), &path)? {
        Some(Found { private: false }) if request.private => {
            return Err(HubRunError::Public { repository: repository.clone() });
        }
        Some(_) => {}
        None => client.make(
            &format!("make the repository {repository}"),
            "/api/repos/create",
            &json!({
                "type": "model",
                "organization": repository.owner,
                "name": repository.name,
                "private": request.private,
            }),
        )?,
    }
    if request.revision != "main" {
        let revision = client.revision_part();
        let what = format!("make the branch {}", request.revision);
        client.make(&what, &format!("/api/models/{repository}/branch/{revision}"), &json!({}))?;
    }
    Ok(())
}

/// Those files that the hub wants by git-lfs.
fn large_files<'a>(
    client: &Client<'_>,
    files: &'a [Upload],
) -> Result<Vec<&'a Upload>, HubRunError> {
    #[derive(Deserialize)]
    struct Answer {
        files: Vec<Way>,
    }
    #[derive(Deserialize)]
    struct Way {
        path: String,
        #[serde(rename = "uploadMode")]
        mode: String,
    }
    let listed: Vec<_> = files
        .iter()
        .map(|file| {
            let sample = &file.bytes[..file.bytes.len().min(SAMPLE_BYTES)];
            json!({
                "path": file.path,
                "size": file.bytes.len(),
                "sample": STANDARD.encode(sample),
                "sha": file.sha256,
            })
        })
        .collect();
    let what = "ask how to send the files";
    let path = format!("/api/models/{}/preupload/{}", client.repository, client.revision_part());
    let body = json!({ "files": listed }).to_string();
    let answer: Answer = client.ask(what, &path, "application/json", body.as_bytes())?;
    let mut large = Vec::new();
    for file in files {
        let way = answer.files.iter().find(|way| way.path == file.path);
        match way.map(|way| way.mode.as_str()) {
            Some("lfs") => large.push(file),
            Some("regular") => {}
            _ => {
                let reason = format!("the server's answer says nothing of {}", file.path);
                return Err(client.failed(what, reason));
            }
        }
    }
    Ok(large)
}

/// Stores files by git-lfs; those that are there already are not sent again.
fn store(client: &Client<'_>, files: &[&Upload]) -> Result<(), HubRunError> {
    #[derive(Deserialize)]
    struct Answer {
        objects: Vec<Object>,
    }
    #[derive(Deserialize)]
    struct Object {
        oid: String,
        actions: Option<Actions>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    #[derive(Deserialize)]
    struct Actions {
        upload: Option<Action>,
        verify: Option<Action>,
    }
    #[derive(Deserialize)]
    struct Action {
        href: String,
        #[serde(default)]
        header: BTreeMap<String, String>,
    }
    if files.is_empty() {
        return Ok(());
    }
    let objects: Vec<_> =
        files.iter().map(|file| json!({ "oid": file.sha256, "size": file.bytes.len() })).collect();
    let body = json!({
        "operation": "upload",
        "transfers": ["basic"],
        "hash_algo": "sha256",
        "objects": objects,
    });
    let what = "ask where to store the weights";
    let path = format!("/{}.git/info/lfs/objects/batch", client.repository);
    let answer: Answer = client.ask(what, &path, LFS_JSON, body.to_string().as_bytes())?;
    for file in files {
        let what = format!("send {}", file.path);
        let object = answer.objects.iter().find(|object| object.oid == file.sha256);
        let Some(Object { actions, error, .. }) = object else {
            return Err(client.failed(&what, "the server's answer does not name it".into()));
        };
        if let Some(Refusal { message }) = error {
            return Err(client.failed(&what, format!("the server refuses it: {message}")));
        }
        let Some(Actions { upload: Some(upload), verify }) = actions else {
            continue;
        };
        let headers = |action: &Action| action.header.clone().into_iter().collect::<Vec<_>>();
        client.put(&what, &upload.href, &headers(upload), &file.bytes)?;
        if let Some(verify) = verify {
            let body = json!({ "oid": file.sha256, "size": file.bytes.len() });
            let what = format!("have {} verified", file.path);
            client.verify(&what, &verify.href, &headers(verify), &body)?;
        }
    }
    Ok(())
}

/// One commit of all files: small ones are in it, large ones named by their hashes.
fn commit(
    client: &Client<'_>,
    files: &[Upload],
    large: &[&Upload],
) -> Result<PushSummary, HubRunError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "commitOid")]
        commit: String,
        #[serde(rename = "commitUrl")]
        page: String,
    }
    let summary = concat!("A run of deeplpf ", env!("CARGO_PKG_VERSION"));
    let mut lines = vec![json!({
        "key": "header",
        "value": { "summary": summary, "description": "" },
    })];
    for file in files {
        lines.push(if large.iter().any(|large| large.path == file.path) {
            json!({ "key": "lfsFile", "value": {
                "path": file.path,
                "algo": "sha256",
                "oid": file.sha256,
                "size": file.bytes.len(),
            }})
        } else {
            json!({ "key": "file", "value": {
                "path": file.path,
                "encoding": "base64",
                "content": STANDARD.encode(&file.bytes),
            }})
        });
    }
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("/api/models/{}/commit/{}", client.repository, client.revision_part());
    let Answer { commit, page } =
        client.ask("commit the files", &path, "application/x-ndjson", body.as_bytes())?;
    Ok(PushSummary {
        page,
        commit,
        files: files.iter().map(|file| file.path.to_owned()).collect(),
        bytes: files.iter().map(|file| file.bytes.len() as u64).sum(),
    })
}
