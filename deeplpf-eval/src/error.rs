//! What can go wrong in evaluation, each with what, where and how to mend it.

use std::fmt;
use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = EvalError> = std::result::Result<T, E>;

/// Width and height of an image in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Which image of a pair is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The image under test.
    Prediction,
    /// The image it is compared with.
    Target,
    /// A picture to be shown, not compared.
    Picture,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Prediction => "prediction",
            Role::Target => "target",
            Role::Picture => "picture",
        })
    }
}

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The two images of a pair differ in size.
    #[error(
        "the prediction is {prediction} pixels and its target {target}: \
         compare images of one size (resizing would change the score)"
    )]
    UnequalSizes {
        /// Size of the prediction.
        prediction: Size,
        /// Size of the target.
        target: Size,
    },
    /// An image has another number of channels than three, or no pixels.
    #[error("the {role} has {channels} channels of {size} pixels: expected 3 x height x width")]
    NotRgb {
        /// Which image.
        role: Role,
        /// Number of channels found.
        channels: usize,
        /// Size found.
        size: Size,
    },
    /// An image has a value that is NaN or infinite.
    #[error(
        "the {role} has the value {value} in channel {channel}, row {row}, column {column}: \
         metrics need finite values"
    )]
    NotFinite {
        /// Which image.
        role: Role,
        /// Channel index, 0 to 2.
        channel: usize,
        /// Row index.
        row: usize,
        /// Column index.
        column: usize,
        /// The value found.
        value: f32,
    },
    /// A file with pixels that are not wholly opaque: what they look like depends on a background.
    #[error(
        "the {role} {} has {pixels} pixels that are not wholly opaque, whose colours depend on a \
         background: save it without an alpha channel",
        path.display()
    )]
    Transparent {
        /// Which image.
        role: Role,
        /// The file.
        path: PathBuf,
        /// How many pixels.
        pixels: usize,
    },
    /// The image is smaller than the metric's window.
    #[error(
        "{metric} needs at least {minimum} pixels on each side, the image is {size}; leave it out for such images"
    )]
    TooSmall {
        /// Name of the metric.
        metric: String,
        /// Smallest side the metric is defined for.
        minimum: usize,
        /// Size of the image.
        size: Size,
    },
    /// The release's SSIM takes its data range from the target, which has none.
    #[error("{metric} divides by the target's range, and the target has one value everywhere")]
    ConstantTarget {
        /// Name of the metric.
        metric: String,
    },
    /// No metric has this key.
    #[error("there is no metric `{key}`: choose from {known}")]
    UnknownMetric {
        /// The key asked for.
        key: String,
        /// The keys there are.
        known: String,
    },
    /// Weights of a learned metric that cannot be used.
    #[error(
        "cannot use {} for LPIPS: {reason}; give the `features.*` tensors of torchvision's vgg16 \
         as a .safetensors file or as a .pth of PyTorch",
        path.display()
    )]
    LpipsWeights {
        /// Where they are from.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A metric was asked for whose weights are not inside the library.
    #[error(
        "{metric} needs weights that are not inside the program; give torchvision's vgg16 \
         (vgg16-397923af.pth, or as .safetensors) with --lpips-vgg-weights"
    )]
    WeightsNotGiven {
        /// Name of the metric.
        metric: &'static str,
    },
    /// Lists that must be of one length are not.
    #[error("{what}: expected {expected} values, found {found}")]
    LengthMismatch {
        /// What was being put together.
        what: String,
        /// Length expected.
        expected: usize,
        /// Length found.
        found: usize,
    },
    /// Two images have one name.
    #[error("two images are called `{id}`: names must be unique, or one would replace the other")]
    DuplicateImage {
        /// The name.
        id: String,
    },
    /// Scores that were to be compared image by image are of different images.
    #[error(
        "`{method}` was not measured on the same images as the others: `{id}` is missing on one \
         side; compare scores of one set of images"
    )]
    OtherImages {
        /// The method.
        method: String,
        /// A name that one side lacks.
        id: String,
    },
    /// A baseline that is none of the methods compared.
    #[error("there is no method `{method}` to compare with: choose from {known}")]
    NoSuchMethod {
        /// The name asked for.
        method: String,
        /// The names there are.
        known: String,
    },
    /// A metric that some of the scores to be compared do not have.
    #[error("`{method}` was not measured in `{metric}`: measure it, or leave the metric out")]
    MetricNotMeasured {
        /// The method.
        method: String,
        /// The metric's key.
        metric: String,
    },
    /// A score is NaN.
    #[error("the {metric} of image `{id}` is not a number")]
    NotANumber {
        /// The image.
        id: String,
        /// The metric's key.
        metric: String,
    },
    /// Scoring one named image failed.
    #[error("image `{id}`: {source}")]
    Image {
        /// The image.
        id: String,
        /// Why it failed.
        source: Box<EvalError>,
    },
    /// Some targets have no prediction.
    #[error(
        "{} of {targets} targets have no prediction in {}: {}; \
         give a file of the same stem for each",
        stems.len(), predictions.display(), first_names(stems)
    )]
    MissingPredictions {
        /// Folder of the predictions.
        predictions: PathBuf,
        /// Number of targets.
        targets: usize,
        /// Stems that have a target and no prediction.
        stems: Vec<String>,
    },
    /// One argument is a folder and the other a file.
    #[error(
        "{} is a folder and {} a file: compare two folders or two files",
        folder.display(), file.display()
    )]
    FolderAndFile {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// A path does not exist.
    #[error("there is no file or folder {}", .0.display())]
    NoSuchPath(PathBuf),
    /// An image could not be found or decoded.
    #[error(transparent)]
    Data(#[from] deeplpf_data::DataError),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file could not be written; what was there before is untouched.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Scores in JSON do not have the documented form.
    #[error("these scores are not in the expected form: {0}")]
    Json(#[from] serde_json::Error),
    /// Scores of a comparison in which some pairs failed.
    #[error(
        "these are scores of only {scored} images: others could not be scored, e.g. `{id}` \
         ({reason}); mend them and score again"
    )]
    IncompleteScores {
        /// Number of images that were scored.
        scored: usize,
        /// An image that was not.
        id: String,
        /// Why it was not.
        reason: String,
    },
    /// A file of scores that cannot be used.
    #[error("{}: {source}", path.display())]
    ScoresFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<EvalError>,
    },
    /// The list of published numbers does not parse.
    #[error("the published numbers do not parse: {0}")]
    Published(#[from] toml::de::Error),
    /// A file extension names no format this item can be written in.
    #[error("cannot tell the format of {}: use the extension {expected}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Extensions that work.
        expected: &'static str,
    },
    /// There is nothing to draw.
    #[error("{what} has nothing to show: {reason}")]
    NothingToShow {
        /// Which item.
        what: String,
        /// What is missing.
        reason: String,
    },
    /// A contact sheet would not fit in memory.
    #[error(
        "the contact sheet would be {size} pixels, more than {maximum} in all: \
         give it fewer rows or smaller pictures"
    )]
    SheetTooLarge {
        /// Size the sheet would have.
        size: Size,
        /// Most pixels a sheet may have.
        maximum: usize,
    },
    /// The pictures of a report do not fit in its size, even small.
    #[error(
        "the report's {pictures} pictures come to {} kB at their smallest, more than the {} kB \
         its size limit leaves them: give it fewer runs, or a higher limit",
        least.div_ceil(1000), budget / 1000
    )]
    ReportTooLarge {
        /// Number of pictures.
        pictures: usize,
        /// Their size at the smallest thumbnails, in bytes.
        least: usize,
        /// What the size limit leaves them, in bytes.
        budget: usize,
    },
    /// Parameters of filters that cannot be shown.
    #[error(transparent)]
    Filters(#[from] deeplpf_filters::Error),
    /// A plot could not be drawn.
    #[error("cannot draw {what}: {reason}")]
    Drawing {
        /// Which plot.
        what: String,
        /// The drawing library's reason.
        reason: String,
    },
    /// A picture could not be encoded.
    #[error("cannot encode a {size} picture: {source}")]
    Encoding {
        /// Its size.
        size: Size,
        /// The encoder's reason.
        source: image::ImageError,
    },
}

/// The first names of a list that may be long.
fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
