//! Sets behind URLs: a web server with and without WebDAV, and an object store that speaks S3, each
//! started by the test on the loopback interface.
//!
//! The environment decides about credentials and the cache, and a test must not change its own. So what
//! reads a URL runs in a process of its own, as for a user.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::{Source, names};
use deeplpf_data::address::local_folder;
use deeplpf_data::prepare::{Manifest, Plan, Request, sha256_of};
use deeplpf_data::protocol::{Protocol, ProtocolName};
use image::ExtendedColorType;

/// What the server speaks besides GET and HEAD.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    Plain,
    WebDav,
    S3,
}

/// Files by their path below the root, and how often each was asked for.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    /// Files of which only half is sent.
    halved: Vec<String>,
    gets: BTreeMap<String, usize>,
    /// The `authorization` headers that came.
    signatures: Vec<String>,
}

struct Server {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

impl Server {
    /// Serves until the test's process ends.
    fn start(dialect: Dialect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let shared = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&shared);
                std::thread::spawn(move || answer(&stream, dialect, &shelf));
            }
        });
        Self { address, shelf }
    }

    fn change(&self, change: impl FnOnce(&mut Shelf)) {
        change(&mut self.shelf.lock().expect("no panic"));
    }

    /// Pairs below a folder.
    fn put_pairs(&self, folder: &str, ids: &[&str]) {
        self.change(|shelf| {
            for (k, id) in ids.iter().enumerate() {
                let png = |seed| {
                    let samples: Vec<u8> =
                        (0..3 * 48 * 36).map(|i| (i * (seed + k) % 255) as u8).collect();
                    Source::new(48, 36, ExtendedColorType::Rgb8).png(&samples)
                };
                shelf.files.insert(format!("{folder}/input/{id}.png"), png(7));
                shelf.files.insert(format!("{folder}/expertC/{id}.png"), png(11));
            }
        });
    }

    fn gets(&self) -> usize {
        self.shelf.lock().expect("no panic").gets.values().sum()
    }
}

const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

/// One request of a connection.
fn answer(mut stream: &TcpStream, dialect: Dialect, shelf: &Mutex<Shelf>) {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let headers: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_matches('/').replace("%20", " ");
    let mut shelf = shelf.lock().expect("no panic");
    let signature = headers.iter().find(|line| line.to_lowercase().starts_with("authorization:"));
    shelf.signatures.extend(signature.cloned());
    let mut reply = |status: &str, headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    let sized = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
    match (method, dialect) {
        ("GET", Dialect::S3) if query.contains("list-type=2") => {
            let prefix = query
                .split('&')
                .find_map(|part| part.strip_prefix("prefix="))
                .unwrap_or("")
                .replace("%2F", "/")
                .replace("%20", " ")
                .replace('+', " ");
            let list = s3_list(&shelf, &path, &prefix);
            reply("200 OK", &sized(list.as_bytes()), list.as_bytes());
        }
        ("PROPFIND", Dialect::WebDav) => {
            let list = dav_list(&shelf, &path);
            reply("207 Multi-Status", &sized(list.as_bytes()), list.as_bytes());
        }
        ("GET" | "HEAD", _) => match shelf.files.get(&path).cloned() {
            Some(bytes) => {
                let tag = &sha256_of(&bytes)[..16];
                let headers =
                    format!("{}ETag: \"{tag}\"\r\nLast-Modified: {DATE}\r\n", sized(&bytes));
                let body = match method {
                    "HEAD" => &[][..],
                    _ if shelf.halved.contains(&path) => &bytes[..bytes.len() / 2],
                    _ => &bytes[..],
                };
                if method == "GET" {
                    *shelf.gets.entry(path).or_default() += 1;
                }
                reply("200 OK", &headers, body);
            }
            None => reply("404 Not Found", "Content-Length: 0\r\n", b""),
        },
        _ => reply("405 Method Not Allowed", "Content-Length: 0\r\n", b""),
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
fn s3_list(shelf: &Shelf, bucket: &str, prefix: &str) -> String {
    let mut list =
        String::from("<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>");
    for (path, bytes) in &shelf.files {
        let Some(key) = path.strip_prefix(bucket).and_then(|key| key.strip_prefix('/')) else {
            continue;
        };
        if key.starts_with(prefix) {
            let _ = write!(
                list,
                "<Contents><Key>{key}</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified>\
                 <ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
                &sha256_of(bytes)[..16],
                bytes.len()
            );
        }
    }
    list + "</ListBucketResult>"
}

/// RFC 4918, section 9.1.
fn dav_list(shelf: &Shelf, folder: &str) -> String {
    let mut list = String::from("<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">");
    for (path, bytes) in shelf.files.iter().filter(|(path, _)| path.starts_with(folder)) {
        let _ = write!(
            list,
            "<D:response><D:href>/{path}</D:href><D:propstat><D:prop>\
             <D:getlastmodified>{DATE}</D:getlastmodified>\
             <D:getcontentlength>{}</D:getcontentlength><D:resourcetype/></D:prop>\
             <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>",
            bytes.len()
        );
    }
    list + "</D:multistatus>"
}

/// What the process of its own does: prepares the URL, or downloads it.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let from = variable("TEST_FROM");
    let done = match variable("TEST_TO").as_str() {
        "" => local_folder(&from, None, &|_, _| {}).map(|folder| folder.display().to_string()),
        to => {
            let protocol = Protocol::new(ProtocolName::Dpe);
            Plan::new(&Request { protocol, from: &from, inputs: None })
                .and_then(|plan| plan.run(Path::new(to), 2, &|_| {}))
                .map(|summary| {
                    let failed = summary.failures.iter().map(|(id, e)| format!(" {id}: {e}"));
                    let failed: String = failed.collect();
                    format!("{} {}{failed}", summary.prepared, summary.kept)
                })
        }
    };
    match done {
        Ok(done) => println!("DONE {done}"),
        Err(error) => println!("ERROR {error}"),
    }
}

/// A folder for results and caches, and the server's address in the environment.
struct Room<'a>(tempfile::TempDir, &'a Server);

impl<'a> Room<'a> {
    fn new(server: &'a Server) -> Self {
        Self(tempfile::tempdir().expect("temporary folder"), server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `DONE ...` or `ERROR ...`.
    fn run(&self, from: &str, to: Option<&str>) -> String {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["--exact", "remote::child", "--ignored", "--nocapture"]);
        command.env("TEST_FROM", from).env("DEEPLPF_CACHE", self.path("cache"));
        command.env("TEST_TO", to.map(|to| self.path(to)).unwrap_or_default());
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.1.address));
        command.env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "here");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        // A proxy of this machine has no business on the loopback interface.
        command.env("NO_PROXY", "127.0.0.1");
        let output = command.output().expect("runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let told = text.lines().find_map(|line| {
            line.find("DONE ").or_else(|| line.find("ERROR ")).map(|at| line[at..].to_owned())
        });
        told.unwrap_or_else(|| panic!("nothing told: {text}"))
    }
}

#[test]
fn a_set_is_prepared_from_an_object_store() {
    let server = Server::start(Dialect::S3);
    server.put_pairs("bucket/some folder", &["a0001-x", "a0002-x"]);
    server.put_pairs("bucket/some folder 2", &["a0003-x"]);
    let room = Room::new(&server);
    assert_eq!(room.run("s3://bucket/some%20folder/", Some("to")), "DONE 2 0");
    assert_eq!(names(&room.path("to/input")), ["a0001.png", "a0002.png"]);
    let bytes = std::fs::read(room.path("to/manifest.jsonl")).expect("written");
    let manifest = Manifest::parse(&bytes, Path::new("m")).expect("a manifest");
    assert_eq!(manifest.entries[0].input.source, "input/a0001-x.png");
    server.change(|shelf| assert!(shelf.signatures.iter().all(|s| s.contains("Credential=key/"))));
    server.change(|shelf| assert!(!shelf.signatures.is_empty()));
    // Nothing is fetched again for what is there.
    let before = server.gets();
    assert_eq!(room.run("s3://bucket/some%20folder", Some("to")), "DONE 0 2");
    assert_eq!(server.gets(), before);
    let told = room.run("s3://bucket/nothing", Some("no"));
    assert!(told.contains("s3://bucket/nothing has no files; "), "{told}");
}

#[test]
fn a_set_is_prepared_from_web_servers() {
    for dialect in [Dialect::WebDav, Dialect::Plain] {
        let server = Server::start(dialect);
        server.put_pairs("fivek", &["a0001-x", "a0002-x"]);
        let room = Room::new(&server);
        let url = format!("http://{}/fivek", server.address);
        if dialect == Dialect::Plain {
            let told = room.run(&url, Some("to"));
            assert!(
                told.contains("does not say which files it has: put a file `files.txt`"),
                "{told}"
            );
            let list = "input/a0001-x.png\r\nexpertC/a0001-x.png\n\ninput/a0002-x.png\nexpertC/a0002-x.png";
            server.change(|shelf| {
                shelf.files.insert("fivek/files.txt".into(), list.into());
            });
        }
        assert_eq!(room.run(&url, Some("to")), "DONE 2 0");
        assert_eq!(names(&room.path("to/expertC")), ["a0001.png", "a0002.png"]);
        assert_eq!(room.run(&url, Some("to")), "DONE 0 2");
    }
}

/// A connection that breaks in the middle of a picture: no pair is made of it, and the next run goes on.
#[test]
fn what_is_cut_short_is_not_used() {
    let server = Server::start(Dialect::S3);
    server.put_pairs("bucket/set", &["a0001", "a0002"]);
    let room = Room::new(&server);
    server.change(|shelf| shelf.halved.push("bucket/set/expertC/a0002.png".into()));
    let told = room.run("s3://bucket/set", Some("to"));
    assert!(told.starts_with("DONE 1 0 a0002: ") && told.contains("was cut short: "), "{told}");
    assert_eq!(names(&room.path("to/input")), ["a0001.png"]);
    let told = room.run("s3://bucket/set", None);
    assert!(told.contains("ERROR ") && told.contains("expertC/a0002.png was cut short"), "{told}");
    server.change(|shelf| shelf.halved.clear());
    assert_eq!(room.run("s3://bucket/set", Some("to")), "DONE 1 1");
}

/// For training: the pairs are kept in a cache, fetched once, and again where they changed.
#[test]
fn a_set_is_downloaded_once() {
    let server = Server::start(Dialect::S3);
    server.put_pairs("bucket/set", &["a0001", "a0002"]);
    server.put_pairs("bucket/set/unrelated", &["a0009"]);
    server.change(|shelf| {
        shelf.files.insert("bucket/set/train.txt".into(), b"a0001\na0002\n".to_vec());
    });
    let room = Room::new(&server);
    let told = room.run("s3://bucket/set", None);
    let folder = PathBuf::from(told.strip_prefix("DONE ").unwrap_or_else(|| panic!("{told}")));
    assert!(folder.starts_with(room.path("cache")), "{told}");
    let visible = |folder: &Path| -> Vec<String> {
        names(folder).into_iter().filter(|name| !name.starts_with('.')).collect()
    };
    assert_eq!(visible(&folder), ["expertC", "input", "train.txt"]);
    assert_eq!(deeplpf_data::PairedFolder::open(&folder).expect("pairs").pairs.len(), 2);
    assert_eq!(server.gets(), 5);
    room.run("s3://bucket/set", None);
    assert_eq!(server.gets(), 5);
    // Changed here, changed there, gone there.
    std::fs::write(folder.join("input/a0001.png"), b"broken").expect("written");
    // Other bytes than before: they follow from the place in this list.
    server.put_pairs("bucket/set", &["a0002", "a0003"]);
    server.change(|shelf| shelf.files.retain(|path, _| !path.contains("set/expertC/a0003")));
    server.change(|shelf| shelf.files.retain(|path, _| !path.contains("set/input/a0003")));
    room.run("s3://bucket/set", None);
    assert_eq!(server.gets(), 5 + 3);
    server.change(|shelf| {
        for side in ["input", "expertC"] {
            shelf.files.remove(&format!("bucket/set/{side}/a0002.png"));
        }
    });
    room.run("s3://bucket/set", None);
    assert_eq!(visible(&folder.join("input")), ["a0001.png"]);
}

/// A prepared set on a server is checked against its manifest.
#[test]
fn a_manifest_is_believed_more_than_the_server() {
    let server = Server::start(Dialect::S3);
    server.put_pairs("bucket/set", &["a0001"]);
    let room = Room::new(&server);
    assert_eq!(room.run("s3://bucket/set", Some("to")), "DONE 1 0");
    server.change(|shelf| {
        for name in ["input/a0001.png", "expertC/a0001.png", "manifest.jsonl"] {
            let bytes = std::fs::read(room.path("to").join(name)).expect("made");
            shelf.files.insert(format!("bucket/prepared/{name}"), bytes);
        }
    });
    assert!(room.run("s3://bucket/prepared", None).starts_with("DONE "));
    server.put_pairs("bucket/prepared", &["a0001"]);
    let told = room.run("s3://bucket/prepared", None);
    assert!(told.contains("is not the file that its manifest describes"), "{told}");
}

#[test]
fn urls_that_lead_nowhere() {
    let server = Server::start(Dialect::Plain);
    let room = Room::new(&server);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    for (url, told) in [
        (format!("http://{}/x?y=1", server.address), "no `?` or `#`"),
        ("s3://".into(), "cannot be used"),
        (format!("http://{free}/x"), "cannot be listed"),
    ] {
        let answer = room.run(&url, None);
        assert!(answer.starts_with("ERROR ") && answer.contains(told), "{url}: {answer}");
        assert!(answer.contains("; "), "{answer}");
    }
}
