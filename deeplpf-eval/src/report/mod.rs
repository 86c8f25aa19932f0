//! One HTML page that holds everything about a run: no network, no other files.

mod gallery;
mod html;
mod thumbnails;

use std::path::Path;

pub use gallery::{GalleryItem, GalleryPicture, PictureSource};
pub(crate) use html::escape_html;

use crate::atomic_file;
use crate::error::Result;
use crate::table::{PairedTable, Table};

/// A self-contained report: facts, tables, plots and a gallery with before/after sliders.
///
/// Pictures are embedded as JPEG thumbnails, made as large as [`Report::size_limit`] allows, and the
/// page's policy forbids it to load anything or to run a script but its own, so it can be mailed or
/// archived as one file. Every text is escaped. Tables can be sorted, photographs searched and
/// sorted. It follows the reader's light or dark theme, works by keyboard, and without scripts still
/// shows every picture.
#[derive(Debug)]
pub struct Report {
    /// Title of the page.
    pub title: String,
    /// Name and value of what a reader must know of the run, e.g. `("Seed", "1")`.
    pub facts: Vec<(String, String)>,
    /// The tables.
    pub tables: Vec<Table>,
    /// Differences between methods, below the tables.
    pub differences: Option<PairedTable>,
    /// The plots: SVG documents from [`crate::plot::Plot::to_svg`], inserted as they are.
    pub plots: Vec<String>,
    /// The photographs.
    pub gallery: Vec<GalleryItem>,
    /// Largest size of the page in bytes; 19.5 million unless changed.
    pub size_limit: usize,
}

/// What mail systems and browsers take without complaint, less a little for mail's headers.
const SIZE_LIMIT: usize = 19_500_000;

impl Report {
    /// A report without contents.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            facts: Vec::new(),
            tables: Vec::new(),
            differences: None,
            plots: Vec::new(),
            gallery: Vec::new(),
            size_limit: SIZE_LIMIT,
        }
    }

    /// The page.
    ///
    /// # Errors
    /// [`crate::EvalError::NotRgb`], [`crate::EvalError::Encoding`] or [`crate::EvalError::Data`] of
    /// a gallery's picture; [`crate::EvalError::ReportTooLarge`].
    pub fn to_html(&self) -> Result<String> {
        html::page(self)
    }

    /// Writes the page.
    ///
    /// # Errors
    /// Those of [`Report::to_html`]; [`crate::EvalError::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, self.to_html()?.as_bytes())
    }
}
