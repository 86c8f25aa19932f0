#![deny(missing_docs)]
//! Evaluation of learned retouching: how far is a prediction from the expert's picture, and how
//! is that shown to a reader.
//!
//! - [`metrics`]: PSNR, SSIM in three definitions, MS-SSIM, ΔE 76 and ΔE 2000. Each is described
//!   as data ([`Metric`]: name with its parameters, unit, direction) and checked against
//!   scikit-image or pytorch-msssim.
//! - [`Scores`]: values per image and their mean, as JSON; [`evaluate`] for images in memory,
//!   [`compare_folders`] for files.
//! - [`Table`]: methods by metrics, as Markdown, CSV or HTML, with published numbers beside.
//! - [`plot`]: training curves, ablation bars, two methods image by image, histograms and maps, as
//!   SVG and PNG.
//! - [`maps`]: where a prediction is wrong, and what each filter does where.
//! - [`FilterDrawing`]: the predicted filters drawn over their photograph.
//! - [`ContactSheet`]: input, predictions and target side by side in one PNG.
//! - [`Report`]: one self-contained HTML page with all of the above.
//!
//! Images are planar RGB, `3 x H x W`, `f32` in \[0, 1\], sRGB-encoded. Metrics compute in `f64`
//! and give the same bits whatever the number of threads. Files are written to a temporary beside
//! their destination and renamed, so that a reader never sees half a file.
//!
//! ```
//! use deeplpf_eval::metrics::{psnr, ssim};
//! use ndarray::Array3;
//!
//! let target = Array3::from_shape_fn((3, 32, 48), |(c, y, x)| (c + y + x) as f32 / 90.0);
//! let prediction = target.mapv(|v| v + 0.1);
//! assert!((psnr(prediction.view(), target.view())? - 20.0).abs() < 1e-4);
//! assert!(ssim(prediction.view(), target.view())? < 1.0);
//! # Ok::<(), deeplpf_eval::EvalError>(())
//! ```

mod atomic_file;
mod compare;
mod contact_sheet;
mod error;
mod filter_drawing;
mod image_encoding;
pub mod maps;
pub mod metrics;
pub mod plot;
pub mod published;
mod report;
mod scores;
pub mod statistics;
mod table;
mod typeface;

pub use compare::{Comparison, Failure, compare_folders};
pub use contact_sheet::{ContactSheet, Selected, SheetCell, SheetRow, select_images};
pub use error::{EvalError, Result, Role, Size};
pub use filter_drawing::FilterDrawing;
pub use image_encoding::{jpeg_of_map, jpeg_thumbnail, reduced};
pub use metrics::{Direction, ImageMetric, ImagePair, Metric};
pub use published::PublishedResult;
pub use report::{GalleryItem, GalleryPicture, PictureSource, Report};
pub use scores::{ImageScores, Scores, evaluate, score_image};
pub use table::{Caption, PairedTable, Rank, Row, Standing, Table, resolution};
