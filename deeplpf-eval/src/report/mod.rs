//! One HTML page that holds everything about a run: no network, no other files.

mod gallery;
mod html;

use std::path::Path;

pub use gallery::{GalleryItem, GalleryPicture};
pub(crate) use html::escape_html;

use crate::atomic_file;
use crate::error::Result;
use crate::table::Table;

/// A self-contained report: facts, tables, plots and a gallery with before/after sliders.
///
/// Pictures are embedded as JPEG thumbnails and the page's policy forbids it to load anything, so
/// it can be mailed or archived as one file. Every text is escaped. It follows the reader's light
/// or dark theme, works by keyboard, and without scripts still shows every picture.
#[derive(Debug, Default)]
pub struct Report {
    /// Title of the page.
    pub title: String,
    /// Name and value of what a reader must know of the run, e.g. `("Seed", "1")`.
    pub facts: Vec<(String, String)>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The plots: SVG documents from [`crate::plot::Plot::to_svg`], inserted as they are.
    pub plots: Vec<String>,
    /// The photographs.
    pub gallery: Vec<GalleryItem>,
}

impl Report {
    /// A report without contents.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// The page.
    ///
    /// # Errors
    /// [`crate::EvalError::NotRgb`] and [`crate::EvalError::Encoding`] of a gallery's picture.
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
