//! What a finished run is recognised by: its configuration, the code and the data, each as a hash.
//!
//! `fingerprint.json` in the run folder is written before the first step. A run is taken for done
//! only where all three are those of now; what differs is said.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use deeplpf_data::atomic_file;
use deeplpf_train::{PairSource, RunFolder, TrainConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ExperimentError, Result};

/// Version of the sources that decide numbers: the package's version and the hash of what computes.
pub(crate) const CODE_VERSION: &str = env!("DEEPLPF_CODE_VERSION");

/// Files above this are raw photographs: their length and their ends are hashed, because a set of
/// them has hundreds of gigabytes.
const WHOLE_FILE: u64 = 16 << 20;
/// How much of each end.
const END: u64 = 64 << 10;

/// What decided a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprint {
    /// SHA-256 of the configuration, without folders, cache, threads and device.
    pub config: String,
    /// [`CODE_VERSION`].
    pub code: String,
    /// SHA-256 of the manifest of training and validation pairs: ids and contents.
    pub data: String,
    /// SHA-256 of the weights it starts from, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
}

impl Fingerprint {
    /// Of a run as the recipe writes it (paths not yet resolved) on these data, from these weights.
    pub fn new(config: &TrainConfig, data: String, start: Option<String>) -> Self {
        let mut config = config.clone();
        config.run = PathBuf::new();
        config.device = String::new();
        config.data.cache = String::new();
        config.data.threads = 0;
        config.tensorboard = 0;
        Self {
            config: hex(Sha256::digest(config.to_toml().as_bytes())),
            code: CODE_VERSION.into(),
            data,
            start,
        }
    }

    fn file(run: &Path) -> PathBuf {
        run.join("fingerprint.json")
    }

    /// The one in a run folder; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is none.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        read_json(&Self::file(run))
    }

    /// Leaves it in the run folder, which is made.
    pub fn write(&self, run: &Path) -> Result<()> {
        fs::create_dir_all(run).map_err(ExperimentError::io("create", run))?;
        write_json(&Self::file(run), self)
    }

    /// What changed from `before` to this, in words; `None` for nothing. Of the configuration the key, if
    /// `run`, with the one of then, can tell: `config` is that of now with its places.
    pub fn change_from(
        &self,
        before: &Self,
        run: &RunFolder,
        config: &TrainConfig,
    ) -> Option<String> {
        let key = || {
            let before = TrainConfig::read(&run.config(), &[]).ok()?;
            before.difference(config)
        };
        let configuration = match self.config != before.config {
            true => {
                key().map_or("the configuration".into(), |key| format!("the configuration ({key})"))
            }
            false => String::new(),
        };
        let code = format!("the code ({}, now {})", before.code, self.code);
        let changes = [
            (self.config != before.config, configuration.as_str()),
            (self.code != before.code, code.as_str()),
            (self.data != before.data, "the training data"),
            (self.start != before.start, "the weights it starts from"),
        ];
        let changed: Vec<&str> =
            changes.into_iter().filter_map(|(changed, what)| changed.then_some(what)).collect();
        (!changed.is_empty()).then(|| changed.join(" and "))
    }
}

/// Reads a JSON file; `None` where there is none.
pub(crate) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(ExperimentError::io("read", path))?;
    let refuse = |reason: String| ExperimentError::Record { path: path.to_path_buf(), reason };
    serde_json::from_str(&text).map(Some).map_err(|error| refuse(error.to_string()))
}

/// Writes a JSON file wholly or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| ExperimentError::Record {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    atomic_file::write(path, &text).map_err(ExperimentError::io("write", path))
}

/// SHA-256 over the ids and contents of pairs, in their order.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn hash_pairs(sources: &[&PairSource]) -> Result<String> {
    let mut hash = Sha256::new();
    for source in sources {
        hash.update((source.len() as u64).to_le_bytes());
        for index in 0..source.len() {
            hash.update(source.id(index).as_bytes());
            hash.update([0]);
            match source {
                PairSource::Files(paths) => {
                    hash_file(&paths[index].input, &mut hash)?;
                    hash_file(&paths[index].target, &mut hash)?;
                }
                PairSource::Sid(files) => {
                    hash_file(&files[index].short, &mut hash)?;
                    hash_file(&files[index].long, &mut hash)?;
                }
                PairSource::Memory(_) | PairSource::Cached(..) => {
                    let pair = source.load(index)?;
                    for value in pair.input.iter().chain(&pair.target) {
                        hash.update(value.to_le_bytes());
                    }
                }
            }
        }
    }
    Ok(hex(hash.finalize()))
}

fn hash_file(path: &Path, hash: &mut Sha256) -> Result<()> {
    let failed = || ExperimentError::io("read", path);
    let mut file = File::open(path).map_err(failed())?;
    let length = file.metadata().map_err(failed())?.len();
    hash.update(length.to_le_bytes());
    if length <= WHOLE_FILE {
        let mut bytes = Vec::with_capacity(length as usize);
        file.read_to_end(&mut bytes).map_err(failed())?;
        hash.update(&bytes);
        return Ok(());
    }
    for start in [0, length - END] {
        file.seek(SeekFrom::Start(start)).map_err(failed())?;
        let mut bytes = Vec::with_capacity(END as usize);
        (&mut file).take(END).read_to_end(&mut bytes).map_err(failed())?;
        hash.update(&bytes);
    }
    Ok(())
}

/// SHA-256 of a file's contents.
pub(crate) fn hash_of_file(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(ExperimentError::io("read", path))?;
    Ok(hex(Sha256::digest(&bytes)))
}

fn hex(digest: impl IntoIterator<Item = u8>) -> String {
    digest.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use deeplpf_data::PairPaths;

    use super::*;

    #[test]
    fn what_computes_the_same_has_the_same_fingerprint() {
        let config = TrainConfig::default();
        let of = |config: &TrainConfig| Fingerprint::new(config, "d".into(), None);
        // Nothing there tells which key it is.
        let nowhere = RunFolder::new("nowhere");
        let change =
            |now: &Fingerprint, before: &Fingerprint| now.change_from(before, &nowhere, &config);
        let mut moved = config.clone();
        moved.run = "elsewhere".into();
        moved.data.threads = 9;
        moved.data.cache = "auto".into();
        assert_eq!(change(&of(&moved), &of(&config)), None);
        let longer = TrainConfig { epochs: 7, ..config.clone() };
        assert_eq!(change(&of(&longer), &of(&config)).unwrap(), "the configuration");
        let before = Fingerprint { code: "0.0".into(), data: "x".into(), ..of(&config) };
        let said = change(&of(&config), &before).unwrap();
        assert!(said.contains("(0.0, now ") && said.ends_with("the training data"), "{said}");
        let before = Fingerprint { start: Some("w".into()), ..of(&config) };
        assert_eq!(change(&of(&config), &before).unwrap(), "the weights it starts from");
    }

    #[test]
    fn contents_count_and_places_do_not() {
        let scratch = tempfile::tempdir().unwrap();
        let pair = |folder: &str, input: &[u8]| {
            let folder = scratch.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            let (i, t) = (folder.join("i.png"), folder.join("t.png"));
            fs::write(&i, input).unwrap();
            fs::write(&t, b"target").unwrap();
            PairSource::Files(vec![PairPaths { id: "a".into(), input: i, target: t }])
        };
        let hash = |source: &PairSource| hash_pairs(&[source]).unwrap();
        assert_eq!(hash(&pair("a", b"one")), hash(&pair("b", b"one")));
        assert_ne!(hash(&pair("a", b"one")), hash(&pair("b", b"two")));
        // Of a large file the ends and the length count.
        let large = vec![1u8; (WHOLE_FILE + 1) as usize];
        let mut other = large.clone();
        *other.last_mut().unwrap() = 2;
        assert_ne!(hash(&pair("a", &large)), hash(&pair("b", &other)));
        assert_ne!(hash(&pair("a", &large)), hash(&pair("b", &large[1..])));
    }
}
