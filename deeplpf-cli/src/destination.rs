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
    /// `photo-enhanced.jpg` beside `photo.jpg`.
    Beside,
}

/// Place and format of the results.
#[derive(Debug, PartialEq)]
pub struct Destination {
    place: Place,
    /// The format of every result, but for the depth of a PNG.
    format: OutputFormat,
    /// A PNG has the depth of its photograph: no format was asked for.
    follows_depth: bool,
    /// Results beside their photographs may replace files.
    force: bool,
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
            Ok(Self { place: Place::Folder(out.to_owned()), format, follows_depth, force: true })
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
        Ok(Self { place: Place::File(out.to_owned()), format, follows_depth, force: true })
    }

    /// Beside each photograph under its name and `-enhanced`, in its format (or PNG, where that cannot
    /// be written) or in `format`. Such results never replace a file unless `force` is given.
    ///
    /// # Errors
    /// A folder among the inputs: its results would mix with its photographs.
    pub fn beside(
        inputs: &[PathBuf],
        format: Option<OutputFormat>,
        force: bool,
    ) -> anyhow::Result<Self> {
        if let Some(folder) = inputs.iter().find(|input| input.is_dir()) {
            bail!("{} is a folder: say with -o OUT where its results go", folder.display());
        }
        Ok(Self {
            place: Place::Beside,
            format: format.unwrap_or(OutputFormat::Png),
            follows_depth: format.is_none(),
            force,
        })
    }

    /// Whether results lie beside their photographs.
    pub fn is_beside(&self) -> bool {
        self.place == Place::Beside
    }

    /// The format of the results; a `png` may have 16 bits nevertheless ([`Self::format_for`]).
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// The format of the result at `output` of a photograph of so many bits.
    pub fn format_for(&self, output: &Path, bit_depth: u8) -> OutputFormat {
        let format = match self.place {
            Place::Beside if self.follows_depth => by_name(output).unwrap_or(self.format),
            _ => self.format,
        };
        match format {
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
                    Place::Beside => self.name_beside(&input),
                };
                if !self.force && output.exists() {
                    bail!(
                        "{} is there already; add --force to replace it, or choose another place with -o",
                        output.display()
                    );
                }
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
            Place::Beside => Ok(()),
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

    /// Where the results are, in words.
    pub fn describe(&self, jobs: &[PathBuf]) -> String {
        match (&self.place, jobs) {
            (Place::File(path) | Place::Folder(path), _) => path.display().to_string(),
            (Place::Beside, [one]) => one.display().to_string(),
            (Place::Beside, _) => "beside the photographs, as *-enhanced".into(),
        }
    }

    fn name_beside(&self, input: &Path) -> PathBuf {
        let mut name = input.file_stem().unwrap_or_default().to_owned();
        name.push("-enhanced.");
        // Its own extension, as it is written there, where that is the format's.
        match (self.follows_depth, input.extension(), by_name(input)) {
            (true, Some(extension), Some(_)) => name.push(extension),
            _ => name.push(self.format.extension()),
        }
        input.with_file_name(name)
    }

    fn file_name(&self, input: &Path) -> PathBuf {
        // Not `set_extension`, which would cut `photo.v2` after the stem of `photo.v2.jpg`.
        let mut name = input.file_stem().unwrap_or_default().to_owned();
        name.push(".");
        name.push(self.format.extension());
        name.into()
    }
}

/// The format of a picture by its name, of those that photographs come in.
fn by_name(path: &Path) -> Option<OutputFormat> {
    let format = OutputFormat::from_extension(path.extension()?.to_str()?)?;
    (format != OutputFormat::Npy).then_some(format)
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
            let at = |bits| found.format_for(Path::new(out), bits);
            assert_eq!((at(8), at(16)), (eight, sixteen), "{out}");
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
    fn beside_the_photograph_in_its_format() {
        let destination = Destination::beside(&[], None, true).unwrap();
        for (input, expected, format) in [
            ("in/a.v2.JPG", "in/a.v2-enhanced.JPG", OutputFormat::Jpeg),
            ("a.tif", "a-enhanced.tif", OutputFormat::Tiff16),
            ("a.png", "a-enhanced.png", OutputFormat::Png),
            ("a.webp", "a-enhanced.png", OutputFormat::Png),
            ("a", "a-enhanced.png", OutputFormat::Png),
        ] {
            let jobs = destination.jobs(vec![input.into()]).unwrap();
            assert_eq!(jobs[0].output, Path::new(expected));
            assert_eq!(destination.format_for(&jobs[0].output, 8), format);
        }
        let png = Destination::beside(&[], Some(OutputFormat::Png16), true).unwrap();
        let jobs = png.jobs(vec!["a.jpg".into()]).unwrap();
        assert_eq!(jobs[0].output, Path::new("a-enhanced.png"));
        assert_eq!(png.format_for(&jobs[0].output, 8), OutputFormat::Png16);
    }

    #[test]
    fn stems_with_dots_stay_whole() {
        let destination = new("folder", None, Inputs::Many).unwrap();
        let jobs = destination.jobs(vec!["in/photo.v2.jpg".into()]).unwrap();
        assert_eq!(jobs[0].output, Path::new("folder/photo.v2.png"));
    }
}
