//! Folders of photographs and their retouched versions, matched by file stem.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ndarray::Array3;

use crate::DataError;
use crate::find::images_in;
use crate::natural_order::compare;
use crate::picture::{DecodeLimits, Picture, Planes};
use crate::tree::{Disk, Tree};

/// Names of the folder of photographs to be enhanced.
pub const INPUT_FOLDERS: &[&str] = &["input", "low"];

/// Names of the folder of retouched photographs. `expertA` to `expertE` are FiveK's five
/// retouchers; `gt` and `high` are what other data sets call theirs.
pub const TARGET_FOLDERS: &[&str] =
    &["target", "output", "gt", "high", "expertA", "expertB", "expertC", "expertD", "expertE"];

/// A photograph and its retouched version, equal in size.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The file stem both share.
    pub id: String,
    /// 3 x H x W, sRGB encoded, in [0, 1].
    pub input: Array3<f32>,
    /// 3 x H x W, sRGB encoded, in [0, 1].
    pub target: Array3<f32>,
}

/// Where a pair's files are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PairPaths {
    /// The file stem both share, or FiveK's id: see [`crate::layout`].
    pub id: String,
    /// The photograph.
    pub input: PathBuf,
    /// Its retouched version.
    pub target: PathBuf,
}

impl PairPaths {
    /// Decodes both pictures.
    ///
    /// # Errors
    /// What [`decode`](crate::decode) says of either file, and [`DataError::SizeMismatch`] where the two upright
    /// pictures differ in size. A DNG, which the layout of FiveK's archive lists, is rendered by
    /// [`crate::raw::RENDERING`]; a build without the feature `raw` refuses it.
    pub fn load(&self) -> Result<Pair, DataError> {
        let (input, target) = self.open()?;
        let pixels = |picture: Picture| Ok::<_, DataError>(picture.into_image()?.pixels);
        Ok(Pair { id: self.id.clone(), input: pixels(input)?, target: pixels(target)? })
    }

    /// Decodes both pictures into planes of samples; height and width of both.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_planes(&self) -> Result<((usize, usize), Planes, Planes), DataError> {
        let (input, target) = self.open()?;
        let size = (input.height(), input.width());
        Ok((size, input.into_planes()?, target.into_planes()?))
    }

    fn open(&self) -> Result<(Picture, Picture), DataError> {
        let input = Picture::open(&self.input, &DecodeLimits::default())?;
        let target = Picture::open(&self.target, &DecodeLimits::default())?;
        let size = |picture: &Picture| (picture.width(), picture.height());
        if size(&input) != size(&target) {
            return Err(DataError::SizeMismatch {
                input: self.input.clone(),
                input_size: size(&input),
                target: self.target.clone(),
                target_size: size(&target),
            });
        }
        Ok((input, target))
    }
}

/// A file that is no part of a complete pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairProblem {
    /// An input without a target.
    MissingTarget {
        /// The stem.
        id: String,
        /// The input.
        input: PathBuf,
    },
    /// A target without an input.
    MissingInput {
        /// The stem.
        id: String,
        /// The target.
        target: PathBuf,
    },
    /// Two files of one stem in one folder: neither is used.
    SameStem {
        /// The stem.
        id: String,
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
}

impl PairProblem {
    /// The stem the problem is about.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::MissingTarget { id, .. }
            | Self::MissingInput { id, .. }
            | Self::SameStem { id, .. } => id,
        }
    }
}

impl fmt::Display for PairProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTarget { input, .. } => {
                write!(f, "{} has no target of the same stem", input.display())
            }
            Self::MissingInput { target, .. } => {
                write!(f, "{} has no input of the same stem", target.display())
            }
            Self::SameStem { first, second, .. } => {
                write!(f, "{} and {} have one stem", first.display(), second.display())
            }
        }
    }
}

/// A folder holding an input folder and a target folder.
///
/// Files belong together when their stems are equal, whatever their extensions. Nothing is decoded
/// until [`PairPaths::load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedFolder {
    /// The folder.
    pub root: PathBuf,
    /// Complete pairs in natural order of their ids (`a2` before `a10`).
    pub pairs: Vec<PairPaths>,
    /// Everything else that was found. See [`Self::require_complete`].
    pub problems: Vec<PairProblem>,
}

impl PairedFolder {
    /// Opens a folder with one of [`INPUT_FOLDERS`] and one of [`TARGET_FOLDERS`] in it.
    ///
    /// # Errors
    /// [`DataError::NoInputFolder`], [`DataError::NoTargetFolder`], [`DataError::AmbiguousFolder`]
    /// where there are several (see [`Self::open_with_target`]), [`DataError::NoPairs`] where no
    /// stem is in both.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DataError> {
        let root = root.as_ref();
        let input = input_folder(&Disk, root)?;
        let target = one_of(&Disk, root, "target", TARGET_FOLDERS)?.ok_or_else(|| {
            let names = TARGET_FOLDERS.iter().map(ToString::to_string).collect();
            DataError::NoTargetFolder { path: root.to_path_buf(), names }
        })?;
        Self::match_stems(root, &input, &target)
    }

    /// Opens a folder whose target folder is called `target`, for example `expertB`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_target(root: impl AsRef<Path>, target: &str) -> Result<Self, DataError> {
        let root = root.as_ref();
        let input = input_folder(&Disk, root)?;
        let folder = root.join(target);
        if !folder.is_dir() {
            let names = vec![target.to_owned()];
            return Err(DataError::NoTargetFolder { path: root.to_path_buf(), names });
        }
        Self::match_stems(root, &input, &folder)
    }

    fn match_stems(root: &Path, input: &Path, target: &Path) -> Result<Self, DataError> {
        Self::match_ids(root, images_in(input)?, images_in(target)?)
    }

    /// Matches files by the ids they are given with.
    pub(crate) fn match_ids(
        root: &Path,
        inputs: Vec<(String, PathBuf)>,
        targets: Vec<(String, PathBuf)>,
    ) -> Result<Self, DataError> {
        let mut problems = Vec::new();
        let mut inputs = by_id(inputs, &mut problems);
        let mut targets = by_id(targets, &mut problems);
        // A stem that is ambiguous on one side is no "missing" one on the other.
        for problem in &problems {
            inputs.remove(problem.id());
            targets.remove(problem.id());
        }
        let mut pairs = Vec::new();
        for (id, input) in inputs {
            match targets.remove(&id) {
                Some(target) => pairs.push(PairPaths { id, input, target }),
                None => problems.push(PairProblem::MissingTarget { id, input }),
            }
        }
        let unmatched = targets.into_iter();
        problems.extend(unmatched.map(|(id, target)| PairProblem::MissingInput { id, target }));
        if pairs.is_empty() {
            return Err(DataError::NoPairs { path: root.to_path_buf() });
        }
        pairs.sort_by(|a, b| compare(&a.id, &b.id));
        problems.sort_by(|a, b| compare(a.id(), b.id()));
        Ok(Self { root: root.to_path_buf(), pairs, problems })
    }

    /// Ids of the complete pairs, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| pair.id.as_str())
    }

    /// The pair of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&PairPaths> {
        self.pairs.iter().find(|pair| pair.id == id)
    }

    /// Refuses a folder in which anything is left over.
    ///
    /// # Errors
    /// [`DataError::IncompletePairs`] with every problem.
    pub fn require_complete(&self) -> Result<(), DataError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(DataError::IncompletePairs { path: self.root.clone(), problems: self.problems.clone() })
    }
}

pub(crate) fn input_folder(tree: &dyn Tree, root: &Path) -> Result<PathBuf, DataError> {
    one_of(tree, root, "input", INPUT_FOLDERS)?
        .ok_or_else(|| DataError::NoInputFolder { path: root.to_path_buf(), names: INPUT_FOLDERS })
}

/// The one folder of these names in `root`, or `None`.
pub(crate) fn one_of(
    tree: &dyn Tree,
    root: &Path,
    role: &'static str,
    names: &[&str],
) -> Result<Option<PathBuf>, DataError> {
    tree.folders(root)?;
    let found: Vec<&str> =
        names.iter().copied().filter(|name| tree.is_folder(&root.join(name))).collect();
    match found[..] {
        [] => Ok(None),
        [name] => Ok(Some(root.join(name))),
        _ => Err(DataError::AmbiguousFolder {
            path: root.to_path_buf(),
            role,
            found: found.iter().map(ToString::to_string).collect(),
        }),
    }
}

fn by_id(
    found: Vec<(String, PathBuf)>,
    problems: &mut Vec<PairProblem>,
) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for (id, path) in found {
        if let Some(first) = files.insert(id.clone(), path.clone()) {
            problems.push(PairProblem::SameStem { id, first, second: path });
        }
    }
    files
}
