//! What a run is made from, as its state remembers it: the program and the pairs.

use std::{fs, path::Path, sync::OnceLock};

use crc::{CRC_64_XZ, Crc, Digest};
use serde::{Deserialize, Serialize};

use crate::{PairSource, Result, RunFolder, TrainError, TrainingData};

pub(crate) const CRC: Crc<u64> = Crc::<u64>::new(&CRC_64_XZ);

/// Program and pairs of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Checksum of the program's file.
    pub program: u64,
    pub train: Pairs,
    pub valid: Pairs,
}

/// What is known of pairs without decoding them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pairs {
    pub count: usize,
    /// Checksum of their ids and sizes, in their order.
    pub checksum: u64,
}

impl Origin {
    /// Of this program and these pairs.
    pub fn of(data: &TrainingData) -> Result<Self> {
        let (train, valid) = (Pairs::of(&data.train)?, Pairs::of(&data.valid)?);
        Ok(Self { program: program(), train, valid })
    }

    /// Refuses to go on in `folder` with other pairs than it was started with. A sentence where it is
    /// another program that goes on. `before`: what its state remembers, which those of earlier
    /// versions do not.
    ///
    /// # Errors
    /// [`TrainError::OtherData`], naming the first pair that differs.
    pub fn follow(
        &self,
        before: Option<&Self>,
        folder: &RunFolder,
        data: &TrainingData,
    ) -> Result<Option<String>> {
        let refuse = |difference| {
            Err(TrainError::OtherData { path: folder.path().to_path_buf(), difference })
        };
        let parts = [("train", "training", &data.train), ("valid", "validation", &data.valid)];
        for (list, name, pairs) in parts {
            let path = folder.split(list);
            if !path.exists() {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
            if let Some(difference) = first_difference(&text, pairs) {
                return refuse(format!("{name} pair {difference}"));
            }
        }
        let Some(before) = before else { return Ok(None) };
        let parts =
            [("training", &self.train, &before.train), ("validation", &self.valid, &before.valid)];
        if let Some((name, ..)) = parts.iter().find(|(_, now, before)| now != before) {
            return refuse(format!(
                "the {name} pairs have the same names, but files of other sizes"
            ));
        }
        Ok((self.program != before.program).then(|| {
            format!(
                "{} goes on with another program than the one that saved its state: where that \
                 computes otherwise, the run is not what it would have been undisturbed",
                folder.path().display()
            )
        }))
    }
}

/// The first id in which the lines of a list differ from pairs.
fn first_difference(list: &str, pairs: &PairSource) -> Option<String> {
    let before: Vec<&str> = list.lines().collect();
    let now: Vec<&str> = (0..pairs.len()).map(|index| pairs.id(index)).collect();
    if before == now {
        return None;
    }
    let missing = before.iter().find(|id| !now.contains(id));
    let new = now.iter().find(|id| !before.contains(id));
    Some(match (missing, new) {
        (Some(id), _) => format!("`{id}` is not there any more"),
        (None, Some(id)) => format!("`{id}` was not there"),
        (None, None) => "ids are in another order".into(),
    })
}

impl Pairs {
    /// # Errors
    /// A file whose size cannot be asked for.
    pub fn of(source: &PairSource) -> Result<Self> {
        let mut digest = CRC.digest();
        for number in 0..source.len() {
            digest.update(source.id(number).as_bytes());
            digest.update(&[0]);
            match source {
                PairSource::Memory(pairs) => {
                    for side in
                        pairs[number].input.shape().iter().chain(pairs[number].target.shape())
                    {
                        digest.update(&side.to_le_bytes());
                    }
                }
                PairSource::Files(pairs) => {
                    length(&pairs[number].input, &mut digest)?;
                    length(&pairs[number].target, &mut digest)?;
                }
                PairSource::Cached(cache, numbers) => {
                    let pair = cache.pair(numbers[number]);
                    digest.update(&pair.height.to_le_bytes());
                    digest.update(&pair.width.to_le_bytes());
                }
                PairSource::Sid(files) => {
                    length(&files[number].short, &mut digest)?;
                    length(&files[number].long, &mut digest)?;
                }
            }
        }
        Ok(Self { count: source.len(), checksum: digest.finalize() })
    }
}

/// Takes in a file's length.
fn length(path: &Path, digest: &mut Digest<'_, u64>) -> Result<()> {
    let length = fs::metadata(path).map_err(TrainError::io("read", path))?.len();
    digest.update(&length.to_le_bytes());
    Ok(())
}

/// Checksum of the program's file; 0 where the system does not show it.
pub(crate) fn program() -> u64 {
    static PROGRAM: OnceLock<u64> = OnceLock::new();
    *PROGRAM.get_or_init(|| {
        let file = std::env::current_exe().and_then(fs::read);
        file.map_or(0, |bytes| CRC.checksum(&bytes))
    })
}
