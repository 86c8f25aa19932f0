//! The folder trees in which paired sets are found.
//!
//! | [`Layout`] | inputs | targets |
//! |---|---|---|
//! | [`Layout::Paired`] | `input/`, `low/` | `target/`, `output/`, `gt/`, `high/`, `expertA/` to `expertE/` |
//! | [`Layout::Lut480`] | `input/JPG/480p/` | `expertC/JPG/480p/`, or another expert's |
//! | [`Layout::Archive`] | `raw_photos/HQ*/photos/*.dng` | `tiff16_c/`, or another expert's |
//!
//! The tree may also lie in a folder `fiveK`, `FiveK`, `fivek` or `fivek_dataset` of the folder given.
//!
//! A file's id is its stem, except for names of FiveK, whose id is the part before the first dash:
//! `a0001-jmac_DSC1459` is `a0001`. See [`fivek_id`].

use std::fmt;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::find::{Entry, has_picture_extension};
use crate::natural_order::compare;
use crate::pairs::{self, INPUT_FOLDERS, PairedFolder, TARGET_FOLDERS};
use crate::protocol::Expert;
use crate::tree::{Disk, Tree};

/// A kind of folder tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// An input folder beside a target folder.
    Paired,
    /// The tree that Image-Adaptive-3DLUT distributes, in sRGB at 480 pixels.
    Lut480,
    /// FiveK's own archive: camera raw inputs, 16-bit TIFF targets. The inputs can be decoded in a build
    /// with the feature `raw`, by a rendering that is not Lightroom's: [`crate::raw`].
    Archive,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paired => "paired folder",
            Self::Lut480 => "480p tree of Image-Adaptive-3DLUT",
            Self::Archive => "FiveK archive",
        })
    }
}

/// Where a set's inputs and targets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// What was found.
    pub layout: Layout,
    /// The top of the tree, where lists are looked for.
    pub root: PathBuf,
    /// The folders of inputs: one, or those of the archive.
    pub inputs: Vec<PathBuf>,
    /// The folder of targets.
    pub target: PathBuf,
}

/// Folders inside the one given in which the tree may lie.
const NESTED: [&str; 4] = ["fiveK", "FiveK", "fivek", "fivek_dataset"];

/// The pictures' place below `input/` and `expertC/` in the 480p tree.
const LUT480_PICTURES: [&str; 2] = ["JPG", "480p"];

/// The archive's folder of raw photographs.
const RAW_PHOTOS: &str = "raw_photos";

/// Finds inputs and targets below a folder, whichever [`Layout`] it has. `target` names the target
/// folder where there are several; `expertC` also stands for `tiff16_c`, and the other way round.
///
/// # Errors
/// [`DataError::Read`], [`DataError::NoLayout`], [`DataError::NoInputFolder`],
/// [`DataError::NoTargetFolder`], [`DataError::AmbiguousFolder`].
pub fn locate(root: impl AsRef<Path>, target: Option<&str>) -> Result<Location, DataError> {
    locate_in(&Disk, root.as_ref(), target)
}

/// [`locate`] in any tree.
pub(crate) fn locate_in(
    tree: &dyn Tree,
    root: &Path,
    target: Option<&str>,
) -> Result<Location, DataError> {
    for base in bases(tree, root)? {
        if tree.is_folder(&base.join(RAW_PHOTOS)) {
            return archive(tree, base, target);
        }
        if tree.is_folder(&below(&base, "input")) {
            return lut480(tree, base, target);
        }
        if INPUT_FOLDERS.iter().any(|name| tree.is_folder(&base.join(name))) {
            return paired(tree, base, target);
        }
    }
    let empty = tree.folders(root)?.is_empty() && tree.entries(root, &|_| true)?.is_empty();
    Err(DataError::NoLayout { path: root.to_path_buf(), empty, nested: &NESTED })
}

/// The folder of an expert's targets alone; the location has no inputs.
pub(crate) fn locate_targets(
    tree: &dyn Tree,
    root: &Path,
    expert: Expert,
) -> Result<Location, DataError> {
    let mut missing = None;
    for base in bases(tree, root)? {
        let of_tree = below(&base, expert.folder());
        let target = match tree.is_folder(&of_tree) {
            true => Ok(of_tree),
            false => choose(tree, &base, Some(expert.folder()), &[]),
        };
        match target {
            Ok(target) => {
                return Ok(Location { layout: Layout::Paired, root: base, inputs: vec![], target });
            }
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    Err(missing.unwrap_or_else(|| DataError::NoTargetFolder {
        path: root.to_path_buf(),
        names: vec![expert.folder().to_owned()],
    }))
}

/// The folder given, and those in it in which the tree may lie.
fn bases(tree: &dyn Tree, root: &Path) -> Result<Vec<PathBuf>, DataError> {
    tree.folders(root)?;
    let nested = NESTED.iter().map(|name| root.join(name)).filter(|path| tree.is_folder(path));
    Ok(std::iter::once(root.to_path_buf()).chain(nested).collect())
}

/// [`locate`], and the pairs that are there.
///
/// # Errors
/// As [`locate`], and as [`PairedFolder::open`].
pub fn open(
    root: impl AsRef<Path>,
    target: Option<&str>,
) -> Result<(Location, PairedFolder), DataError> {
    let location = locate(root, target)?;
    let all = |entries: Vec<Entry>| {
        let mut found = entries.into_iter().collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|a, b| compare(&a.0, &b.0));
        Ok::<_, DataError>(found)
    };
    let folder = PairedFolder::match_ids(
        &location.root,
        all(location.input_entries(&Disk)?)?,
        all(location.target_entries(&Disk)?)?,
    )?;
    Ok((location, folder))
}

impl Location {
    /// Whose the targets are, by the folder's name.
    pub(crate) fn expert(&self) -> Option<Expert> {
        let inside = self.target.strip_prefix(&self.root).ok()?;
        inside.components().next()?.as_os_str().to_str()?.parse().ok()
    }

    /// Everything among the inputs that looks like a picture, with its id.
    pub(crate) fn input_entries(&self, tree: &dyn Tree) -> Result<Vec<Entry>, DataError> {
        let raw = self.layout == Layout::Archive;
        let mut entries = Vec::new();
        for folder in &self.inputs {
            entries.extend(tree.entries(folder, &|path| {
                if raw { is_raw(path) } else { has_picture_extension(path) }
            })?);
        }
        Ok(entries.into_iter().map(with_id).collect())
    }

    /// Everything among the targets that looks like a picture, with its id.
    pub(crate) fn target_entries(&self, tree: &dyn Tree) -> Result<Vec<Entry>, DataError> {
        let entries = tree.entries(&self.target, &has_picture_extension)?;
        Ok(entries.into_iter().map(with_id).collect())
    }
}

/// FiveK's id of a file stem or of a line in a list: `a0001` to `a5000`, alone or before a dash.
/// `None` for all other names.
#[must_use]
pub fn fivek_id(stem: &str) -> Option<&str> {
    let (id, rest) = stem.split_at_checked(5)?;
    let digits = id.strip_prefix('a')?;
    let number: u16 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    ((1..=5000).contains(&number) && (rest.is_empty() || rest.starts_with('-'))).then_some(id)
}

/// The id of a file stem: FiveK's, or the stem itself.
#[must_use]
pub fn id_of(stem: &str) -> &str {
    fivek_id(stem).unwrap_or(stem)
}

pub(crate) fn is_raw(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dng"))
}

fn with_id(entry: Entry) -> Entry {
    entry.map(|(stem, path)| (id_of(&stem).to_owned(), path))
}

fn paired(tree: &dyn Tree, root: PathBuf, target: Option<&str>) -> Result<Location, DataError> {
    let input = pairs::input_folder(tree, &root)?;
    let target = choose(tree, &root, target, TARGET_FOLDERS)?;
    Ok(Location { layout: Layout::Paired, inputs: vec![input], target, root })
}

fn lut480(tree: &dyn Tree, root: PathBuf, target: Option<&str>) -> Result<Location, DataError> {
    let experts = Expert::ALL.map(Expert::folder);
    let present: Vec<&str> =
        experts.iter().copied().filter(|name| tree.is_folder(&below(&root, name))).collect();
    if present.is_empty() {
        let names = experts.iter().map(|name| format!("{name}/JPG/480p")).collect();
        return Err(DataError::NoTargetFolder { path: root, names });
    }
    let expert = choose(tree, &root, target, &present)?;
    let pictures: PathBuf = LUT480_PICTURES.iter().collect();
    let inputs = vec![below(&root, "input")];
    Ok(Location { layout: Layout::Lut480, inputs, target: expert.join(pictures), root })
}

fn archive(tree: &dyn Tree, root: PathBuf, target: Option<&str>) -> Result<Location, DataError> {
    let raw = root.join(RAW_PHOTOS);
    let is_batch = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"HQ"))
    };
    let inputs: Vec<PathBuf> = tree
        .folders(&raw)?
        .into_iter()
        .filter(is_batch)
        .map(|path| path.join("photos"))
        .filter(|path| tree.is_folder(path))
        .collect();
    if inputs.is_empty() {
        return Err(DataError::NoInputFolder { path: raw, names: &["HQ*/photos"] });
    }
    let target = choose(tree, &root, target, &Expert::ALL.map(Expert::archive_folder))?;
    Ok(Location { layout: Layout::Archive, inputs, target, root })
}

fn below(root: &Path, side: &str) -> PathBuf {
    LUT480_PICTURES.iter().fold(root.join(side), |path, name| path.join(name))
}

/// The target folder of the name, or the only one there is.
fn choose(
    tree: &dyn Tree,
    root: &Path,
    target: Option<&str>,
    known: &[&str],
) -> Result<PathBuf, DataError> {
    let Some(name) = target else {
        return pairs::one_of(tree, root, "target", known)?.ok_or_else(|| {
            let names = known.iter().map(ToString::to_string).collect();
            DataError::NoTargetFolder { path: root.to_path_buf(), names }
        });
    };
    let other_name = name
        .parse::<Expert>()
        .ok()
        .into_iter()
        .flat_map(|expert| [expert.folder(), expert.archive_folder()].map(str::to_owned));
    std::iter::once(name.to_owned())
        .chain(other_name)
        .map(|name| root.join(name))
        .find(|path| tree.is_folder(path))
        .ok_or_else(|| {
            let names = vec![name.to_owned()];
            DataError::NoTargetFolder { path: root.to_path_buf(), names }
        })
}
