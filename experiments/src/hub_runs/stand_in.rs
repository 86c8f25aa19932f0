//! A hub on the loopback that keeps one repository: what the hub's interface documents, as far as runs
//! need it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::published_weights::blob_id;

pub const TOKEN: &str = "hf_secret";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub holds and how it fails.
#[derive(Default)]
pub struct Hub {
    /// The repository, once it is made.
    pub exists: bool,
    pub private: bool,
    pub branches: Vec<String>,
    /// What was committed, by path; of those in `large`, by git-lfs.
    pub files: BTreeMap<String, Vec<u8>>,
    pub large: Vec<String>,
    /// Stored by git-lfs, by hash.
    stored: BTreeMap<String, Vec<u8>>,
    pub commits: usize,
    /// Closes the connection in the middle of a stored file.
    pub cuts_uploads: bool,
    /// Changes a byte of every file it serves.
    pub damages: bool,
    /// Size it lists for every file instead of the true one.
    pub lies: Option<u64>,
}

/// The address and the state of a hub that serves until the test ends.
pub fn start(hub: Hub) -> (String, Arc<Mutex<Hub>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let hub = Arc::new(Mutex::new(hub));
    let (state, own) = (hub.clone(), address.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is no failure of the server.
            let _ = answer(stream, &state, &own);
        }
    });
    (address, hub)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(mut stream: TcpStream, hub: &Mutex<Hub>, own: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut parts = request.split(' ');
    let (method, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let (mut length, mut token) = (None, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "authorization" => token = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut hub = hub.lock().unwrap();
    if method == "PUT" && hub.cuts_uploads {
        let mut half = vec![0; length.unwrap() / 2];
        return reader.read_exact(&mut half);
    }
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let (status, body) = respond(&mut hub, own, method, path, token.as_deref(), &body);
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn respond(
    hub: &mut Hub,
    own: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let text = |status, json: Value| (status, json.to_string().into_bytes());
    // Signed addresses need no token, and must not be given it.
    if let Some(hash) = path.strip_prefix("/signed/") {
        assert!(token.is_none() && method == "PUT" && sha256(body) == hash);
        hub.stored.insert(hash.into(), body.to_vec());
        return (200, Vec::new());
    }
    if token.is_some_and(|token| token != format!("Bearer {TOKEN}")) {
        let words = format!("Invalid credentials {}", token.unwrap());
        return text(401, json!({ "error": words }));
    }
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let writes = method == "POST";
    if writes && token.is_none() {
        return text(401, json!({ "error": "who are you?" }));
    }
    if writes && path == "/api/repos/create" {
        assert_eq!((&json["organization"], &json["name"]), (&"me".into(), &"small".into()));
        (hub.exists, hub.private) = (true, json["private"] == true);
        return text(200, json!({ "url": "x" }));
    }
    if !hub.exists || (hub.private && token.is_none()) {
        return if token.is_none() { text(401, json!({})) } else { text(404, json!({})) };
    }
    match (method, path) {
        ("GET", "/api/models/me/small") => text(200, json!({ "private": hub.private })),
        ("GET", "/api/models/me/small/revision/main?blobs=true") => {
            let listed: Vec<Value> = hub
                .files
                .iter()
                .map(|(path, bytes)| {
                    let size = hub.lies.unwrap_or(bytes.len() as u64);
                    if hub.large.contains(path) {
                        let lfs = json!({ "sha256": sha256(bytes), "size": size });
                        json!({ "rfilename": path, "size": size, "blobId": "pointer", "lfs": lfs })
                    } else {
                        json!({ "rfilename": path, "size": size, "blobId": blob_id(bytes) })
                    }
                })
                .collect();
            text(200, json!({ "sha": COMMIT, "siblings": listed }))
        }
        ("POST", "/api/models/me/small/branch/exp%2Fone") => {
            hub.branches.push("exp/one".into());
            text(200, json!({}))
        }
        (
            "POST",
            "/api/models/me/small/preupload/main" | "/api/models/me/small/preupload/exp%2Fone",
        ) => {
            let way = |file: &Value| {
                let path = file["path"].as_str().unwrap();
                let mode = if path.ends_with(".safetensors") { "lfs" } else { "regular" };
                json!({ "path": path, "uploadMode": mode, "shouldIgnore": false })
            };
            let files: Vec<Value> = json["files"].as_array().unwrap().iter().map(way).collect();
            text(200, json!({ "files": files }))
        }
        ("POST", "/me/small.git/info/lfs/objects/batch") => {
            let object = |object: &Value| {
                let oid = object["oid"].as_str().unwrap();
                if hub.stored.contains_key(oid) {
                    return json!({ "oid": oid });
                }
                json!({ "oid": oid, "actions": {
                    "upload": { "href": format!("{own}/signed/{oid}"), "header": { "x-a": "b" } },
                    "verify": { "href": format!("{own}/api/verify") },
                }})
            };
            let objects: Vec<Value> =
                json["objects"].as_array().unwrap().iter().map(object).collect();
            text(200, json!({ "objects": objects }))
        }
        ("POST", "/api/verify") => {
            let found = hub.stored.get(json["oid"].as_str().unwrap());
            let whole = found.is_some_and(|bytes| json["size"] == bytes.len());
            (if whole { 200 } else { 404 }, Vec::new())
        }
        ("POST", "/api/models/me/small/commit/main" | "/api/models/me/small/commit/exp%2Fone") => {
            for line in std::str::from_utf8(body).unwrap().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let value = &line["value"];
                let path = value["path"].as_str().unwrap_or_default().to_owned();
                if line["key"] == "file" {
                    let bytes = STANDARD.decode(value["content"].as_str().unwrap()).unwrap();
                    hub.files.insert(path, bytes);
                } else if line["key"] == "lfsFile" {
                    let bytes = hub.stored[value["oid"].as_str().unwrap()].clone();
                    hub.files.insert(path.clone(), bytes);
                    hub.large.push(path);
                }
            }
            hub.commits += 1;
            text(200, json!({ "commitOid": COMMIT, "commitUrl": format!("{own}/me/small/commit") }))
        }
        ("GET", path) => {
            let file = path.strip_prefix(&format!("/me/small/resolve/{COMMIT}/"));
            let Some(bytes) = file.and_then(|file| hub.files.get(file)) else {
                return text(404, json!({}));
            };
            let mut bytes = bytes.clone();
            if hub.damages {
                bytes[0] ^= 1;
            }
            (200, bytes)
        }
        _ => text(400, json!({ "error": "no such thing" })),
    }
}
