//! Everything that can be wrong with pictures, folders and lists.

use std::path::{Path, PathBuf};

use crate::pairs::PairProblem;
use crate::picture::SourceFormat;

/// What went wrong, where, and how to mend it. `Display` is one sentence meant for a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A camera raw file.
    #[error(transparent)]
    Raw(#[from] crate::raw::RawError),
    /// See-in-the-Dark.
    #[error(transparent)]
    Sid(#[from] crate::sid::SidError),
    /// The file or folder could not be read at all.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file has no bytes.
    #[error("{} is empty (0 bytes); fetch or export it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The content is none of the supported formats, whatever the extension says.
    #[error("{} is not a PNG, JPEG, TIFF or WebP picture; convert it to one of these", path.display())]
    NotAPicture {
        /// The file.
        path: PathBuf,
    },
    /// A TIFF with 64-bit offsets.
    #[error("{} is a BigTIFF, which cannot be read; save it as a classic TIFF", path.display())]
    BigTiff {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before its picture does.
    #[error("{} is a truncated {format} picture; fetch or export it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: SourceFormat,
    },
    /// The file begins as a picture but cannot be decoded.
    #[error("{} is a damaged {format} picture ({reason}); fetch or export it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: SourceFormat,
        /// What the decoder said.
        reason: String,
    },
    /// The header announces more pixels than the limit allows; nothing was allocated.
    #[error(
        "{} says it is {width}x{height} = {:.0} megapixels, more than the limit of {:.0}; \
         scale it down with another program",
        path.display(), f64::from(*width) * f64::from(*height) / 1e6, *max_pixels as f64 / 1e6
    )]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Width in pixels, from the header.
        width: u32,
        /// Height in pixels, from the header.
        height: u32,
        /// The limit that was exceeded.
        max_pixels: u64,
    },
    /// Decoding would need more memory than its limit or than the machine gives.
    #[error("{} needs too much memory to decode; scale it down", path.display())]
    OutOfMemory {
        /// The file.
        path: PathBuf,
    },
    /// A pixel layout that is refused rather than guessed at (CMYK, float).
    #[error("{} has {layout} pixels, which are not supported; export it as 8 or 16 bit RGB or grey", path.display())]
    UnsupportedPixels {
        /// The file.
        path: PathBuf,
        /// What the pixels are.
        layout: String,
    },
    /// A feature of the format that the decoder does not have.
    #[error("{} is a {format} picture of a kind that is not supported ({reason}); export it as 8 or 16 bit RGB or grey", path.display())]
    UnsupportedFeature {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: SourceFormat,
        /// What the decoder said.
        reason: String,
    },
    /// The embedded ICC profile cannot be used, so the colours are unknown.
    #[error(
        "{} carries an ICC profile that cannot be used ({reason}); convert the picture to sRGB in \
         an editor, or remove the profile if the pixels are sRGB already", path.display()
    )]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong with the profile.
        reason: String,
    },
    /// Results cannot be converted back to the photograph's own profile.
    #[error(
        "{} was not written: the photograph's ICC profile cannot be kept ({reason}); leave out \
         --keep-profile and the result will be sRGB", path.display()
    )]
    KeepProfile {
        /// The file that was to be written.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An array that is not 3 x H x W with H, W > 0.
    #[error("{} cannot be written: a picture is an array of 3 x height x width, not {shape:?}", path.display())]
    Shape {
        /// The file that was to be written.
        path: PathBuf,
        /// The shape that was given.
        shape: Vec<usize>,
    },
    /// A picture to be written has a value that is no number.
    #[error(
        "{} was not written: channel {channel}, row {row}, column {column} is {value}; \
         check the weights that produced it", path.display()
    )]
    NotFinite {
        /// The file that was to be written.
        path: PathBuf,
        /// 0 red, 1 green, 2 blue.
        channel: usize,
        /// Row from the top.
        row: usize,
        /// Column from the left.
        column: usize,
        /// The value: NaN or an infinity.
        value: f32,
    },
    /// The disk has no room for the file; nothing was left behind.
    #[error("{} was not written: the disk is full; free some space or choose another folder", path.display())]
    DiskFull {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// The file could not be written; nothing was left behind.
    #[error("{} cannot be written: {source}; check that its folder exists and may be written to", path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A device, a pipe, a socket, a folder or a link that leads nowhere, where a file is needed.
    #[error("{} is not a regular file; choose another name", path.display())]
    NotRegularFile {
        /// The path.
        path: PathBuf,
    },
    /// The encoder refused the picture.
    #[error("{} cannot be encoded as {format}: {reason}; choose another output format", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// Name of the output format.
        format: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// A name that is no output format.
    #[error("'{name}' is not an output format; use one of png, png16, tiff16, jpeg, npy")]
    UnknownFormat {
        /// The name as given.
        name: String,
    },
    /// A folder in which there should be pictures has none.
    #[error("{} has no PNG, JPEG, TIFF or WebP pictures in it", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A symbolic link in a folder of pictures that leads nowhere.
    #[error("{} is a link to a file that does not exist; mend or remove it", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
    },
    /// Two pictures that cannot be told apart: the stem names pictures, results and scores.
    #[error(
        "{} has the stem of {}, '{stem}', and pictures are told apart by their stems; rename one",
        path.display(), other.display()
    )]
    SameStem {
        /// The stem they share.
        stem: String,
        /// The file.
        path: PathBuf,
        /// Another file of the stem.
        other: PathBuf,
    },
    /// A file name that is not valid Unicode and so cannot be an id.
    #[error("{} has a name that is not valid Unicode; rename it", path.display())]
    NotUnicode {
        /// The file.
        path: PathBuf,
    },
    /// The folder has none of the trees of [`crate::layout`].
    #[error(
        "{} holds no set of pairs that is known{}; looked for, there and in {}: input/ or low/ beside a \
         target folder (target/, output/, gt/, high/, expertA/ to expertE/); input/JPG/480p/ beside \
         expertC/JPG/480p/; raw_photos/HQ*/photos/ beside tiff16_c/",
        path.display(),
        if *empty { " (it is empty)" } else { "" },
        nested.join("/, ") + "/"
    )]
    NoLayout {
        /// The folder that was opened.
        path: PathBuf,
        /// There is nothing in it at all.
        empty: bool,
        /// Folders inside it that were looked at as well.
        nested: &'static [&'static str],
    },
    /// The folder has no input folder of a known name.
    #[error("{} has no folder named {}; put the photographs to be enhanced there", path.display(), names.join(", "))]
    NoInputFolder {
        /// The folder that was opened.
        path: PathBuf,
        /// The names that are looked for.
        names: &'static [&'static str],
    },
    /// The folder has no target folder of a known name.
    #[error("{} has no folder named {}; put the retouched photographs there", path.display(), names.join(", "))]
    NoTargetFolder {
        /// The folder that was opened.
        path: PathBuf,
        /// The names that are looked for.
        names: Vec<String>,
    },
    /// Several folders could be the one meant.
    #[error("{} has several {role} folders ({}); {}", path.display(), found.join(", "), choice(role))]
    AmbiguousFolder {
        /// The folder that was opened.
        path: PathBuf,
        /// `input` or `target`.
        role: &'static str,
        /// The names found.
        found: Vec<String>,
    },
    /// Not one complete pair in the folder.
    #[error("{} has no complete pair; give each input a target with the same file stem", path.display())]
    NoPairs {
        /// The folder that was opened.
        path: PathBuf,
    },
    /// Some files have no partner, or too many.
    #[error(
        "{} has {} incomplete pair(s): {}; add what is missing, or remove or rename the other file",
        path.display(), problems.len(), first_of(problems)
    )]
    IncompletePairs {
        /// The folder that was opened.
        path: PathBuf,
        /// Every problem found.
        problems: Vec<PairProblem>,
    },
    /// Input and target differ in size.
    #[error(
        "{} is {}x{} but {} is {}x{}; export both at one size", input.display(),
        input_size.0, input_size.1, target.display(), target_size.0, target_size.1
    )]
    SizeMismatch {
        /// The input file.
        input: PathBuf,
        /// Width and height of the input, upright.
        input_size: (usize, usize),
        /// The target file.
        target: PathBuf,
        /// Width and height of the target, upright.
        target_size: (usize, usize),
    },
    /// A list of ids that is not UTF-8 text.
    #[error("{} is not a UTF-8 text file; a split list has one id per line", path.display())]
    NotText {
        /// The list.
        path: PathBuf,
    },
    /// A list of ids without ids.
    #[error("{} lists no ids; a split list has one id per line", path.display())]
    EmptyList {
        /// The list.
        path: PathBuf,
    },
    /// An id listed twice, in one list or in two.
    #[error("{second}: '{id}' is listed already at {first}; remove one of the two")]
    DuplicateId {
        /// The id.
        id: String,
        /// Where it was seen first.
        first: crate::split::Origin,
        /// Where it was seen again.
        second: crate::split::Origin,
    },
    /// An id for which there is no pair.
    #[error("{origin}: '{id}' is not a pair of {}; remove it from the list or add its files", folder.display())]
    UnknownId {
        /// The id.
        id: String,
        /// Where it is listed.
        origin: crate::split::Origin,
        /// The paired folder.
        folder: PathBuf,
    },
    /// A random split that leaves no pair for training.
    #[error(
        "{count} pairs cannot be split into {valid} for validation and {test} for test and leave any for training; ask for fewer"
    )]
    SplitTooLarge {
        /// How many pairs there are.
        count: usize,
        /// How many were asked for validation.
        valid: usize,
        /// How many were asked for test.
        test: usize,
    },
    /// A preparation that cannot go on.
    #[error(transparent)]
    Prepare(#[from] crate::prepare::PrepareError),
    /// An address of a data set that cannot be used.
    #[error(transparent)]
    Address(#[from] crate::address::AddressError),
    /// A set that lies elsewhere cannot be had.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(#[from] crate::remote::RemoteError),
    /// Filter parameters that do not fit together, or no picture to filter.
    #[error("the filters cannot be applied: {0}")]
    Filters(#[from] deeplpf_filters::Error),
    /// The file that tells how a synthetic set was made.
    #[error("{} does not tell how a synthetic set was made: {reason}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder for a new set that has something in it.
    #[error("{} is not empty; name a new folder, so that no files of other sets are mixed in", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A photograph too small to make a pair of.
    #[error("{} would become a pair of {}x{}, and the smallest side is {smallest}; leave it out", path.display(), size.0, size.1)]
    TooSmall {
        /// The photograph.
        path: PathBuf,
        /// Width and height of the pair.
        size: (u32, u32),
        /// The smallest side.
        smallest: u32,
    },
    /// The sample set inside the library is damaged.
    #[error("the sample set inside this build is damaged ({reason}); build it again")]
    Sample {
        /// What is wrong.
        reason: String,
    },
    /// Whole pictures of different sizes in one batch.
    #[error(
        "pair '{id}' is {}x{} and '{other}' in the same batch {}x{}; use crops, or a batch of 1",
        size.0, size.1, other_size.0, other_size.1
    )]
    UnequalBatch {
        /// The pair.
        id: String,
        /// Its width and height.
        size: (usize, usize),
        /// A pair before it in the batch.
        other: String,
        /// Width and height of that.
        other_size: (usize, usize),
    },
    /// A crop larger than the picture.
    #[error("pair '{id}' is {}x{}, too small for a crop of {}x{}; use a smaller crop", size.0, size.1, crop.0, crop.1)]
    CropTooLarge {
        /// The pair.
        id: String,
        /// Width and height of the pair.
        size: (usize, usize),
        /// Width and height of the crop.
        crop: (usize, usize),
    },
}

impl DataError {
    /// A write that failed, told apart by whether the disk was full.
    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path }
            }
            _ => Self::Write { path, source },
        }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }
}

/// The first three problems, and how many more there are.
fn first_of(problems: &[PairProblem]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = problems.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!(", and {more} more") } else { String::new() };
    shown.join(", ") + &tail
}

/// How to choose among several folders. An input folder cannot be named.
fn choice(role: &str) -> &'static str {
    match role {
        "target" => {
            "name the one to use: --target for eval, `data.target` in a configuration, `test.target` in a recipe"
        }
        _ => "keep one of them",
    }
}
