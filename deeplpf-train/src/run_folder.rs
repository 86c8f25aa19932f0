//! The folder of a run.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Result, TrainConfig, TrainError};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Epochs finished, from 1.
    pub epoch: u64,
    /// Optimiser steps taken.
    pub step: u64,
    /// Mean training loss over the epoch.
    pub loss: f64,
    /// Mean absolute Lab difference over the epoch.
    pub lab: f64,
    /// Mean MS-SSIM over the epoch.
    pub ms_ssim: f64,
    /// Validation PSNR in decibels, in epochs that validate.
    pub valid_psnr: Option<f64>,
    /// Steps that were skipped because they went wrong (see [`crate::config::GuardConfig`]).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Seconds the epoch took, validation included.
    pub seconds: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Paths of a run.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// `tensorboard`.
    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// What was found stuck at the last validation.
    pub fn health(&self) -> PathBuf {
        self.0.join("health.json")
    }

    /// Weights with the best validation PSNR.
    pub fn best(&self) -> PathBuf {
        self.0.join("checkpoints/best.safetensors")
    }

    /// Weights after the last epoch.
    pub fn last(&self) -> PathBuf {
        self.0.join("checkpoints/last.safetensors")
    }

    /// The newest resume state.
    pub fn state(&self) -> PathBuf {
        self.0.join("state/state.safetensors")
    }

    /// The resume state before it.
    pub fn previous_state(&self) -> PathBuf {
        self.0.join("state/previous.safetensors")
    }

    /// The list of the ids of `train` or `valid`.
    pub(crate) fn split(&self, name: &str) -> PathBuf {
        self.0.join(format!("splits/{name}.txt"))
    }

    /// Creates the folders and writes the configuration and the ids used.
    pub(crate) fn create(
        &self,
        config: &TrainConfig,
        train: &[String],
        valid: &[String],
    ) -> Result<()> {
        for folder in ["checkpoints", "state", "splits"] {
            let folder = self.0.join(folder);
            fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        }
        // The lock is held: what others left is nobody's.
        for folder in ["", "checkpoints", "state", "splits"] {
            let folder = self.0.join(folder);
            deeplpf_data::atomic_file::remove_stale(&folder)
                .map_err(TrainError::io("tidy up", &folder))?;
        }
        write_whole(&self.config(), config.to_toml().as_bytes())?;
        for (name, ids) in [("train", train), ("valid", valid)] {
            let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
            write_whole(&self.split(name), text.as_bytes())?;
        }
        Ok(())
    }

    /// All records of `metrics.jsonl`.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not a record (path and line are named).
    pub fn records(&self) -> Result<Vec<EpochRecord>> {
        let path = self.metrics();
        let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        text.lines()
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| TrainError::Config {
                    path: format!("{}:{}", path.display(), index + 1),
                    reason: error.to_string(),
                })
            })
            .collect()
    }

    /// Drops records after `epoch`: those a crash left beyond the last saved state.
    pub(crate) fn truncate_records(&self, epoch: u64) -> Result<()> {
        if !self.metrics().exists() {
            return Ok(());
        }
        let path = self.metrics();
        let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        // A crash may have left half a line, which is dropped with what follows it.
        let kept: String = text
            .lines()
            .map_while(|line| {
                let record: EpochRecord = serde_json::from_str(line).ok()?;
                (record.epoch <= epoch).then(|| format!("{line}\n"))
            })
            .collect();
        write_whole(&path, kept.as_bytes())
    }

    pub(crate) fn append_record(&self, record: &EpochRecord) -> Result<()> {
        let path = self.metrics();
        let line = serde_json::to_string(record).map_err(|error| TrainError::Config {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(TrainError::io("write", &path))?;
        writeln!(file, "{line}").map_err(TrainError::io("write", &path))
    }
}

/// Writes a JSON file wholly or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| TrainError::io("write", path)(error.into()))?;
    write_whole(path, &text)
}

/// Writes a file wholly or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    deeplpf_data::atomic_file::write(path, bytes).map_err(TrainError::io("write", path))
}
