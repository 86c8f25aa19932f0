//! Which pairs are for training, validation and test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use rand_core::Rng;

use crate::DataError;
use crate::layout::{fivek_id, id_of};
use crate::pairs::{PairPaths, PairedFolder};
use crate::random::shuffle;

/// Ids for training, validation and test. No id is in two of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// Ids to train on.
    pub train: Vec<String>,
    /// Ids by which the best checkpoint is chosen.
    pub valid: Vec<String>,
    /// Ids that results are reported on.
    pub test: Vec<String>,
    /// Where each id was listed, for messages.
    origins: BTreeMap<String, Origin>,
}

/// The pairs of a [`Split`], in the order of its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPairs {
    /// Pairs to train on.
    pub train: Vec<PairPaths>,
    /// Pairs by which the best checkpoint is chosen.
    pub valid: Vec<PairPaths>,
    /// Pairs that results are reported on.
    pub test: Vec<PairPaths>,
}

/// Where an id is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    Line {
        /// The list.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// Not from a file: a list given by the program.
    List(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line } => write!(f, "{}:{line}", path.display()),
            Self::List(name) => write!(f, "the {name} list"),
        }
    }
}

impl Split {
    /// A split from ids.
    ///
    /// # Errors
    /// [`DataError::DuplicateId`] for an id that is listed twice, in one list or in two.
    pub fn new(
        train: Vec<String>,
        valid: Vec<String>,
        test: Vec<String>,
    ) -> Result<Self, DataError> {
        let listed = |ids: Vec<String>, name| -> Vec<(String, Origin)> {
            ids.into_iter().map(|id| (id, Origin::List(name))).collect()
        };
        Self::from_lists(listed(train, "train"), listed(valid, "valid"), listed(test, "test"))
    }

    /// Reads `train.txt`, `valid.txt` and `test.txt` in a folder; a list that is not there is empty,
    /// except `train.txt`.
    ///
    /// # Errors
    /// As [`read_ids`] and [`Self::new`].
    pub fn read_folder(folder: impl AsRef<Path>) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let optional = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        let (valid, test) = (optional("valid.txt"), optional("test.txt"));
        Self::read(folder.join("train.txt"), valid.as_deref(), test.as_deref())
    }

    /// Reads up to three lists of ids, one id per line.
    ///
    /// # Errors
    /// As [`read_ids`] and [`Self::new`].
    pub fn read(
        train: impl AsRef<Path>,
        valid: Option<&Path>,
        test: Option<&Path>,
    ) -> Result<Self, DataError> {
        let read = |path: Option<&Path>| path.map_or(Ok(Vec::new()), read_lines);
        Self::from_lists(read_lines(train.as_ref())?, read(valid)?, read(test)?)
    }

    /// A random split of ids into `valid`, `test` and the rest for training.
    ///
    /// The same ids in the same order and the same state of the generator give the same split. Each
    /// of the three keeps the order of `ids`.
    ///
    /// # Errors
    /// [`DataError::SplitTooLarge`] where nothing would be left for training;
    /// [`DataError::DuplicateId`].
    pub fn random<'a>(
        ids: impl IntoIterator<Item = &'a str>,
        valid: usize,
        test: usize,
        rng: &mut impl Rng,
    ) -> Result<Self, DataError> {
        let ids: Vec<&str> = ids.into_iter().collect();
        let count = ids.len();
        if valid.saturating_add(test) >= count {
            return Err(DataError::SplitTooLarge { count, valid, test });
        }
        let mut order: Vec<usize> = (0..count).collect();
        shuffle(&mut order, rng);
        let held_out = order.split_off(count - valid - test);
        let (valid, test) = held_out.split_at(valid);
        let pick = |chosen: &[usize]| {
            let chosen: BTreeSet<usize> = chosen.iter().copied().collect();
            chosen.into_iter().map(|index| ids[index].to_owned()).collect()
        };
        Self::new(pick(&order), pick(valid), pick(test))
    }

    /// The split's pairs in a folder.
    ///
    /// An id is that of a pair, or FiveK's id (`a0001`) of the one pair whose stem begins with it
    /// (`a0001-jmac_DSC1459`), or such a stem where the pair's id is FiveK's: published lists have the
    /// short form, exported pictures the long one, and [`crate::layout::open`] gives short ids.
    ///
    /// # Errors
    /// [`DataError::UnknownId`] for an id without a complete pair; [`DataError::DuplicateId`] where the
    /// two forms of one id are listed.
    pub fn apply(&self, folder: &PairedFolder) -> Result<SplitPairs, DataError> {
        let pairs: BTreeMap<&str, &PairPaths> =
            folder.pairs.iter().map(|pair| (pair.id.as_str(), pair)).collect();
        // `None` where two pairs have one FiveK id: neither is preferred.
        let mut fivek: BTreeMap<&str, Option<&PairPaths>> = BTreeMap::new();
        for pair in &folder.pairs {
            if let Some(id) = fivek_id(&pair.id) {
                fivek.entry(id).and_modify(|known| *known = None).or_insert(Some(pair));
            }
        }
        let mut used: BTreeMap<&str, Origin> = BTreeMap::new();
        let mut look_up = |ids: &[String], name| -> Result<Vec<PairPaths>, DataError> {
            ids.iter()
                .map(|id| {
                    let origin = self.origins.get(id).cloned().unwrap_or(Origin::List(name));
                    let exact = pairs.get(id.as_str()).copied();
                    let pair = exact
                        .or_else(|| fivek.get(id.as_str()).copied().flatten())
                        .or_else(|| pairs.get(id_of(id)).copied());
                    let Some(pair) = pair else {
                        let (id, folder) = (id.clone(), folder.root.clone());
                        return Err(DataError::UnknownId { id, origin, folder });
                    };
                    match used.insert(pair.id.as_str(), origin.clone()) {
                        Some(first) => {
                            Err(DataError::DuplicateId { id: id.clone(), first, second: origin })
                        }
                        None => Ok(pair.clone()),
                    }
                })
                .collect()
        };
        Ok(SplitPairs {
            train: look_up(&self.train, "train")?,
            valid: look_up(&self.valid, "valid")?,
            test: look_up(&self.test, "test")?,
        })
    }

    fn from_lists(
        train: Vec<(String, Origin)>,
        valid: Vec<(String, Origin)>,
        test: Vec<(String, Origin)>,
    ) -> Result<Self, DataError> {
        let mut split = Self::default();
        let Self { train: into_train, valid: into_valid, test: into_test, origins } = &mut split;
        for (ids, list) in [(train, into_train), (valid, into_valid), (test, into_test)] {
            for (id, second) in ids {
                if let Some(first) = origins.get(&id) {
                    return Err(DataError::DuplicateId { id, first: first.clone(), second });
                }
                origins.insert(id.clone(), second);
                list.push(id);
            }
        }
        Ok(split)
    }
}

/// The pairs of a folder that a single list names, in the list's order.
///
/// # Errors
/// As [`read_ids`]; [`DataError::UnknownId`].
pub fn select(folder: &PairedFolder, list: impl AsRef<Path>) -> Result<Vec<PairPaths>, DataError> {
    Split::read(list, None, None)?.apply(folder).map(|pairs| pairs.train)
}

/// Reads a list of ids: UTF-8 text, one id per line.
///
/// White space around an id, empty lines, a byte order mark and Windows line ends are ignored.
///
/// # Errors
/// [`DataError::Read`], [`DataError::NotText`], [`DataError::EmptyList`],
/// [`DataError::DuplicateId`] with both lines.
pub fn read_ids(path: impl AsRef<Path>) -> Result<Vec<String>, DataError> {
    Split::read(path, None, None).map(|split| split.train)
}

/// [`read_ids`] for a list held in memory; `name` is what errors call it.
///
/// # Errors
/// As [`read_ids`].
pub fn parse_ids(bytes: &[u8], name: &Path) -> Result<Vec<String>, DataError> {
    let lines = parse_lines(bytes, name)?;
    Split::from_lists(lines, Vec::new(), Vec::new()).map(|split| split.train)
}

/// The ids of a list and where each stands; an id may be there twice.
pub(crate) fn read_lines(path: &Path) -> Result<Vec<(String, Origin)>, DataError> {
    let bytes = std::fs::read(path).map_err(|e| DataError::read(path, e))?;
    parse_lines(&bytes, path)
}

fn parse_lines(bytes: &[u8], path: &Path) -> Result<Vec<(String, Origin)>, DataError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| DataError::NotText { path: path.to_path_buf() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Unix, Windows, and the line ends of old Macs: an id with one inside would match nothing.
    let ids: Vec<(String, Origin)> = text
        .replace("\r\n", "\n")
        .split(['\n', '\r'])
        .enumerate()
        .map(|(index, line)| (line.trim(), index + 1))
        .filter(|(id, _)| !id.is_empty())
        .map(|(id, line)| (id.to_owned(), Origin::Line { path: path.to_path_buf(), line }))
        .collect();
    if ids.is_empty() {
        return Err(DataError::EmptyList { path: path.to_path_buf() });
    }
    Ok(ids)
}
