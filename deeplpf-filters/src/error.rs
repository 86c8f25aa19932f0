//! What can go wrong, one variant per cause.

/// An error of this crate. Each names what was wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fixes were switched on under the paper dialect.
    #[error(
        "the filter fixes correct the dialect `release` and mean nothing in `paper`; \
         choose `release`, or no fixes"
    )]
    FixesNeedRelease,

    /// Gates were asked for without the `fusion` fix.
    #[error(
        "gates need the `fusion` fix: without it a closed gate doubles the image instead of \
         leaving it; switch the fix on or the gates off, or fuse by product"
    )]
    GatesNeedFusion,

    /// More instances than can be counted.
    #[error("{graduated} graduated and {elliptical} elliptical instances are too many")]
    TooManyInstances {
        /// Graduated instances asked for.
        graduated: usize,
        /// Elliptical instances asked for.
        elliptical: usize,
    },

    /// The raw parameter vector has the wrong length.
    #[error("{found} raw parameters were given, this configuration takes {expected}")]
    RawLength {
        /// [`StackConfig::raw_len`](crate::StackConfig::raw_len).
        expected: usize,
        /// Length of what was given.
        found: usize,
    },

    /// A raw parameter is NaN or infinite.
    #[error("raw parameter {index} ({name}) is {value}; raw parameters must be finite")]
    RawNotFinite {
        /// Index in the raw vector.
        index: usize,
        /// Which parameter it is.
        name: String,
        /// The value found.
        value: f64,
    },

    /// Named parameters do not fit the configuration.
    #[error("the {filter} parameters have {found} {what}, the configuration has {expected}")]
    ParamsCount {
        /// `polynomial`, `graduated`, `elliptical` or `gates`.
        filter: &'static str,
        /// What is counted.
        what: &'static str,
        /// Number the configuration asks for.
        expected: usize,
        /// Number given.
        found: usize,
    },

    /// A named parameter is outside its domain.
    #[error("{filter} instance {instance}: {field} is {value}, it must be {requirement}")]
    ParamOutOfRange {
        /// `polynomial`, `graduated`, `elliptical` or `gates`.
        filter: &'static str,
        /// Instance (for the polynomial: channel), from zero.
        instance: usize,
        /// Name of the field.
        field: &'static str,
        /// The value found.
        value: f64,
        /// What the field's domain is, in words.
        requirement: &'static str,
    },

    /// `DEEPLPF_SIMD` names no instruction set.
    #[error(
        "DEEPLPF_SIMD is `{name}`, which is no instruction set; it may be portable, avx2, avx512, \
         neon or wasm-simd128, or not set"
    )]
    UnknownInstructions {
        /// The value found.
        name: String,
    },

    /// An instruction set was asked for that this machine, or the program as built, does not have.
    #[error("this machine does not have the instruction set {set}; `portable` works everywhere")]
    NoSuchInstructions {
        /// What was asked for.
        set: crate::Instructions,
    },

    /// An array is not 3 x H x W with H, W >= 1.
    #[error("the {what} has shape {found:?}, expected [3, height, width] with both at least 1")]
    NotRgb {
        /// `image`, `cotangent`, `output`, `image gradient`, `values` or `map`.
        what: &'static str,
        /// Shape found.
        found: [usize; 3],
    },

    /// An array has another shape than the image.
    #[error("the {what} has shape {found:?}, the image has {expected:?}")]
    ShapeMismatch {
        /// `cotangent`, `output` or `image gradient`.
        what: &'static str,
        /// Shape of the image.
        expected: [usize; 3],
        /// Shape found.
        found: [usize; 3],
    },

    /// A band of rows reaches beyond the image it is said to be of.
    #[error(
        "the band starts at row {first_row} and has {rows} rows, the image has {image_height} rows"
    )]
    BandOutsideImage {
        /// First row of the band, from zero.
        first_row: usize,
        /// Rows of the band.
        rows: usize,
        /// Rows of the image.
        image_height: usize,
    },

    /// The parts of a list of pixels are not of one length.
    #[error("{expected} rows of pixels were given, but {found} {what}")]
    PixelCount {
        /// `columns`, `values` or `output`.
        what: &'static str,
        /// Number of rows given.
        expected: usize,
        /// Number found.
        found: usize,
    },

    /// A pixel of a list is not in the image.
    #[error("the pixel in row {row}, column {column} is outside the image of {height} x {width}")]
    PixelOutsideImage {
        /// Row of the pixel, from the top.
        row: usize,
        /// Column of the pixel, from the left.
        column: usize,
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
    },

    /// A slice is not as long as its image is large.
    #[error("the {what} slice has {found} values, 3 x {height} x {width} need {expected}")]
    SliceLength {
        /// `image`, `cotangent`, `output`, `image gradient`, `values` or `map`.
        what: &'static str,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Values needed.
        expected: usize,
        /// Values found.
        found: usize,
    },

    /// A pixel is NaN or infinite where sums over the pixels are asked for.
    #[error("the {what} is {value} at channel {channel}, row {row}, column {column}")]
    NotFinite {
        /// `image` or `cotangent`.
        what: &'static str,
        /// 0 red, 1 green, 2 blue.
        channel: usize,
        /// Row, from the top.
        row: usize,
        /// Column, from the left.
        column: usize,
        /// The value found.
        value: f64,
    },
}

/// Result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
