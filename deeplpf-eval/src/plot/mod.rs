//! Plots as SVG and PNG: training curves, ablation bars, two methods image by image, histograms of
//! a metric, and maps over a photograph.
//!
//! All are readable in black and white: curves differ in dashes as well as in colour, bars in
//! lightness, and the colours of maps grow lighter from end to end. All text is drawn with the
//! typeface inside the library, in an SVG as outlines, so that nothing needs to be installed.

mod area;
mod axis;
mod bars;
mod curves;
mod dashes;
mod heat_map;
mod histogram;
pub(crate) mod ink;
mod legend;
mod markers;
mod scatter;
mod surface;
mod svg_parts;

pub use bars::{Bar, Bars, Whisker};
pub use curves::{Curves, Series};
pub use heat_map::HeatMap;
pub use histogram::{Histogram, Sample};
pub use scatter::{Scatter, ScatterPoint};

use std::path::Path;

use crate::atomic_file;
use crate::error::{EvalError, Result};
use surface::{Surface, png, svg};

/// Width of every plot in CSS pixels. A PNG has twice as many.
const WIDTH: f64 = 860.0;

/// Something that can be drawn.
pub trait Plot {
    /// The title.
    fn title(&self) -> &str;

    /// Draws the plot; private to this crate by its argument.
    #[doc(hidden)]
    fn draw(&self, surface: &mut dyn Surface) -> Result<()>;

    /// Height in CSS pixels.
    #[doc(hidden)]
    fn height(&self) -> f64;

    /// The plot as an SVG document.
    ///
    /// # Errors
    /// [`EvalError::NothingToShow`] without data, [`EvalError::Drawing`].
    fn to_svg(&self) -> Result<String> {
        svg((WIDTH, self.height()), self.title(), |surface| self.draw(surface))
    }

    /// The plot as a PNG of 1720 pixels width.
    ///
    /// # Errors
    /// As [`Plot::to_svg`].
    fn to_png(&self) -> Result<Vec<u8>> {
        png((WIDTH, self.height()), self.title(), |surface| self.draw(surface))
    }

    /// Writes the plot in the format of the extension, `svg` or `png`.
    ///
    /// # Errors
    /// As [`Plot::to_svg`]; [`EvalError::UnknownFormat`], [`EvalError::Write`].
    fn write(&self, path: &Path) -> Result<()> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => atomic_file::write(path, self.to_svg()?.as_bytes()),
            Some("png") => atomic_file::write(path, &self.to_png()?),
            _ => Err(EvalError::UnknownFormat { path: path.to_owned(), expected: ".svg or .png" }),
        }
    }
}

/// The error of a plot without anything to draw.
fn nothing_to_show(title: &str, reason: impl Into<String>) -> EvalError {
    EvalError::NothingToShow { what: format!("the plot `{title}`"), reason: reason.into() }
}
