//! Where results go: what `-o OUT` and `--format` mean for the inputs at hand.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use deeplpf_data::{OutputFormat, atomic_file};

/// Extensions of pictures that cannot be written. A folder called `result.webp` is never what was
/// meant.
const OTHER_PICTURES: [&str; 9] =
    ["webp", "gif", "bmp", "heic", "avif", "jxl", "exr", "dng", "jp2"];

/// One file, or a folder of files named after the inputs.
#[derive(Debug, PartialEq)]
enum Place {
    File(PathBuf),
    Folder(PathBuf),
}

/// Place and format of the results.
#[derive(Debug, PartialEq)]
pub struct Destination {
    place: Place,
    /// The format of every result, but for the depth of a PNG.
    format: OutputFormat,
    /// A PNG has the depth of its photograph: no format was asked for.
    follows_depth: bool,
}

/// A picture to be made.
#[derive(Debug, PartialEq)]
pub struct Job {
    /// The photograph.
    pub input: PathBuf,
    /// Where its result goes.
    pub output: PathBuf,
}

impl Destination {
    /// OUT is a file where it has a picture's extension and `inputs` is [`Inputs::One`]; an
    /// existing folder is always a folder.
    ///
    /// # Errors
    /// Several inputs and OUT a file, an extension that contradicts `format`, an extension of a
    /// format that cannot be written.
    pub fn new(out: &Path, format: Option<OutputFormat>, inputs: Inputs) -> anyhow::Result<Self> {
        let shown = out.display();
        let follows_depth = format.is_none();
        let folder = |format: Option<OutputFormat>| {
            let format = format.unwrap_or(OutputFormat::Png);
            Ok(Self { place: Place::Folder(out.to_owned()), format, follows_depth })
        };
        if out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return folder(format);
        }
        let extension = out.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
        let Some(by_extension) = OutputFormat::from_extension(&extension) else {
            if OTHER_PICTURES.contains(&extension.as_str()) {
                bail!("{shown}: .{extension} cannot be written; use .png, .jpg, .tif or .npy");
            }
            if out.exists() {
                bail!(
                    "{shown} is a file without a picture's extension; choose a folder or a name ending in .png, .jpg, .tif or .npy"
                );
            }
            return folder(format);
        };
        if inputs == Inputs::Many {
            bail!("{shown} is one file, but the results may be several; give a folder with -o");
        }
        let format = format.unwrap_or(by_extension);
        if format.extension() != by_extension.extension() {
            bail!(
                "{shown} contradicts --format {format}; drop one of them or end the name in .{}",
                format.extension()
            );
        }
        Ok(Self { place: Place::File(out.to_owned()), format, follows_depth })
    }

    /// The format of the results; a `png` may have 16 bits nevertheless ([`Self::format_for`]).
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// The format of the result of a photograph of so many bits.
    pub fn format_for(&self, bit_depth: u8) -> OutputFormat {
        match self.format {
            OutputFormat::Png if self.follows_depth && bit_depth > 8 => OutputFormat::Png16,
            format => format,
        }
    }

    /// Pairs every input with its output.
    ///
    /// # Errors
    /// An output that is one of the inputs: no photograph is ever overwritten.
    pub fn jobs(&self, inputs: Vec<PathBuf>) -> anyhow::Result<Vec<Job>> {
        let originals: HashMap<PathBuf, PathBuf> = inputs
            .iter()
            .filter_map(|input| Some((input.canonicalize().ok()?, input.clone())))
            .collect();
        inputs
            .into_iter()
            .map(|input| {
                let output = match &self.place {
                    Place::File(path) => path.clone(),
                    Place::Folder(path) => path.join(self.file_name(&input)),
                };
                let existing = output.canonicalize().ok();
                if let Some(original) = existing.and_then(|path| originals.get(&path)) {
                    bail!(
                        "{} would be overwritten by the result of {}; choose another place with -o",
                        original.display(),
                        input.display()
                    );
                }
                Ok(Job { input, output })
            })
            .collect()
    }

    /// Makes the folder of the results, or checks that a single file's folder is there, and that
    /// files can be made in it, before any work is done.
    ///
    /// # Errors
    /// A folder that is missing, cannot be made or not be written to.
    pub fn prepare(&self) -> anyhow::Result<()> {
        match &self.place {
            Place::Folder(path) => {
                fs::create_dir_all(path).with_context(|| {
                    format!("cannot make the folder {}; choose another with -o", path.display())
                })?;
                atomic_file::check_writable(path).with_context(|| {
                    format!("cannot write to the folder {}; choose another with -o", path.display())
                })
            }
            Place::File(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                if !parent.is_dir() {
                    bail!(
                        "cannot write {}: there is no folder {}; make it or choose another with -o",
                        path.display(),
                        parent.display()
                    );
                }
                atomic_file::check_writable(parent).with_context(|| {
                    format!("cannot write {}; choose another place with -o", path.display())
                })
            }
        }
    }

    /// Where the results are.
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::File(path) | Place::Folder(path) => path,
        }
    }

    fn file_name(&self, input: &Path) -> PathBuf {
        // Not `set_extension`, which would cut `photo.v2` after the stem of `photo.v2.jpg`.
        let mut name = input.file_stem().unwrap_or_default().to_owned();
        name.push(".");
        name.push(self.format.extension());
        name.into()
    }
}

/// Whether the inputs are one file, or may be several (several names, or a folder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// One file.
    One,
    /// A folder, or several names.
    Many,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(out: &str, format: Option<OutputFormat>, inputs: Inputs) -> Result<Destination, String> {
        Destination::new(Path::new(out), format, inputs).map_err(|error| error.to_string())
    }

    #[test]
    fn extension_and_format() {
        use OutputFormat::{Jpeg, Npy, Png, Png16, Tiff16};
        for (out, format, expected) in [
            ("x.png", None, Png),
            ("x.PNG", Some(Png16), Png16),
            ("x.tiff", None, Tiff16),
            ("x.jpeg", Some(Jpeg), Jpeg),
            ("x.npy", None, Npy),
        ] {
            let found = new(out, format, Inputs::One).unwrap();
            assert_eq!((found.place, found.format), (Place::File(out.into()), expected));
        }
        for (out, format, expected) in
            [("x", None, Png), ("x.d", Some(Npy), Npy), ("x.png/", None, Png)]
        {
            let found = new(out, format, Inputs::One).unwrap();
            assert_eq!((found.place, found.format), (Place::Folder(out.into()), expected));
        }
    }

    #[test]
    fn a_png_that_was_not_asked_for_has_its_photographs_depth() {
        use OutputFormat::{Jpeg, Png, Png16, Tiff16};
        for (out, format, eight, sixteen) in [
            ("x.png", None, Png, Png16),
            ("x.png", Some(Png), Png, Png),
            ("x.png", Some(Png16), Png16, Png16),
            ("x", None, Png, Png16),
            ("x", Some(Png), Png, Png),
            ("x.tif", None, Tiff16, Tiff16),
            ("x.jpg", None, Jpeg, Jpeg),
        ] {
            let found = new(out, format, Inputs::One).unwrap();
            assert_eq!((found.format_for(8), found.format_for(16)), (eight, sixteen), "{out}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let error = new("x.jpg", Some(OutputFormat::Png16), Inputs::One).unwrap_err();
        assert_eq!(
            error,
            "x.jpg contradicts --format png16; drop one of them or end the name in .png"
        );
        assert!(new("x.png", None, Inputs::Many).unwrap_err().contains("give a folder"));
        assert!(new("x.webp", None, Inputs::One).unwrap_err().contains(".webp cannot be written"));
    }

    #[test]
    fn stems_with_dots_stay_whole() {
        let destination = new("folder", None, Inputs::Many).unwrap();
        let jobs = destination.jobs(vec!["in/photo.v2.jpg".into()]).unwrap();
        assert_eq!(jobs[0].output, Path::new("folder/photo.v2.png"));
    }
}
