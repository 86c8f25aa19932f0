//! Pictures side by side in one PNG: a row per photograph, a column per method.

use std::path::Path;

use image::imageops;
use image::{Rgb, RgbImage};
use ndarray::{Array3, ArrayView3};

use crate::atomic_file;
use crate::error::{EvalError, Result, Size};
use crate::image_encoding::{thumbnail, thumbnail_size, to_png};
use crate::metrics::{Direction, psnr};
use crate::scores::Scores;
use crate::typeface::{TextStyle, Weight};

const MARGIN: u32 = 28;
/// Between pictures of a row.
const GUTTER: u32 = 16;
/// Above the pictures of a row: the photograph's name.
const NAME_HEIGHT: u32 = 30;
/// Below a picture: its caption.
const CAPTION_HEIGHT: u32 = 50;
const HEADING_HEIGHT: u32 = 36;
const TITLE_HEIGHT: u32 = 44;

/// Most pixels of a sheet: 0.6 GB while it is drawn.
const MAXIMUM_PIXELS: usize = 200_000_000;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [0x1f, 0x23, 0x28];
const MUTED: [u8; 3] = [0x59, 0x63, 0x6e];
const TITLE: TextStyle = TextStyle { weight: Weight::SemiBold, size: 24.0, color: INK };
const HEADING: TextStyle = TextStyle { weight: Weight::SemiBold, size: 19.0, color: INK };
const NAME: TextStyle = TextStyle { weight: Weight::Regular, size: 16.0, color: MUTED };
const CAPTION: TextStyle = TextStyle { weight: Weight::Regular, size: 17.0, color: INK };

/// A sheet of pictures: every row has one picture per column.
///
/// The whole sheet is one bitmap: a few dozen photographs make a sensible one, and more than
/// 200 megapixels are refused.
#[derive(Clone, Debug)]
pub struct ContactSheet {
    /// Title; none where empty.
    pub title: String,
    /// Titles of the columns, e.g. `input`, `DeepLPF`, `target`.
    pub columns: Vec<String>,
    /// The photographs.
    pub rows: Vec<SheetRow>,
    /// Longest side of a picture on the sheet in pixels; smaller pictures are not enlarged.
    pub long_edge: u32,
}

/// One photograph in several renderings.
#[derive(Clone, Debug)]
pub struct SheetRow {
    /// Name of the photograph.
    pub id: String,
    /// One picture per column.
    pub cells: Vec<SheetCell>,
}

/// A picture with its caption.
#[derive(Clone, Debug)]
pub struct SheetCell {
    /// Planar RGB, `3 x H x W` in \[0, 1\].
    pub image: Array3<f32>,
    /// Text below it; may be empty.
    pub caption: String,
}

impl SheetRow {
    /// A row of input, predictions and target, all `3 x H x W` in \[0, 1\], captioned with the
    /// PSNR of each against the target. A picture of another size than the target has no PSNR;
    /// its caption gives its size.
    ///
    /// # Errors
    /// [`EvalError::NotRgb`], [`EvalError::NotFinite`].
    pub fn against_target(
        id: impl Into<String>,
        input: ArrayView3<'_, f32>,
        predictions: &[ArrayView3<'_, f32>],
        target: ArrayView3<'_, f32>,
    ) -> Result<Self> {
        let mut cells = Vec::with_capacity(predictions.len() + 2);
        for image in std::iter::once(input).chain(predictions.iter().copied()) {
            let caption = match psnr(image, target) {
                Ok(decibels) if decibels.is_finite() => format!("{decibels:.2} dB"),
                Ok(_) => "identical to the target".to_owned(),
                Err(EvalError::UnequalSizes { prediction, .. }) => prediction.to_string(),
                Err(error) => return Err(error),
            };
            cells.push(SheetCell { image: image.to_owned(), caption });
        }
        cells.push(SheetCell { image: target.to_owned(), caption: String::new() });
        Ok(Self { id: id.into(), cells })
    }
}

/// Which images a sheet shows, from all that were scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// Name of the image.
    pub id: String,
    /// Its place among all, and for the ends and the middle its name: `best (1 of 28)`, `2 of 28`.
    pub place: String,
    /// Its value.
    pub value: f64,
}

/// Images sorted by one metric, best first: all of them if they are at most `count`, else equally
/// many of the best, of those around the median, and of the worst.
///
/// # Errors
/// [`EvalError::UnknownMetric`] if the scores do not have the metric;
/// [`EvalError::NothingToShow`] without images or for a count of zero.
pub fn select_images(scores: &Scores, key: &str, count: usize) -> Result<Vec<Selected>> {
    let Some(metric) = scores.metrics().iter().find(|metric| metric.key == key) else {
        let known: Vec<_> = scores.metrics().iter().map(|metric| metric.key.as_ref()).collect();
        return Err(EvalError::UnknownMetric { key: key.to_owned(), known: known.join(", ") });
    };
    let mut sorted: Vec<(&str, f64)> =
        scores.images().filter_map(|(id, _)| Some((id, scores.get(id, key)?))).collect();
    sorted.sort_by(|(a_id, a), (b_id, b)| {
        let by_value = match metric.direction {
            Direction::HigherIsBetter => b.total_cmp(a),
            Direction::LowerIsBetter => a.total_cmp(b),
        };
        // Equal values by name, so that the same scores always make the same sheet.
        by_value.then_with(|| a_id.cmp(b_id))
    });
    let all = sorted.len();
    if all == 0 || count == 0 {
        let what = format!("a selection of {count} of {all} images");
        return Err(EvalError::NothingToShow { what, reason: "it is empty".into() });
    }
    let selected = |place: usize, name: &str| {
        let (id, value) = sorted[place];
        let place = match name {
            "" => format!("{} of {all}", place + 1),
            name => format!("{name} ({} of {all})", place + 1),
        };
        Selected { id: id.to_owned(), place, value }
    };
    if all <= count {
        let name = |place: usize| match place {
            0 => "best",
            _ if place + 1 == all => "worst",
            _ if place == (all - 1) / 2 => "median",
            _ => "",
        };
        return Ok((0..all).map(|place| selected(place, name(place))).collect());
    }
    // Thirds; what does not divide goes to the best, then to the worst.
    let (best, worst) = (count.div_ceil(3), (count + 1) / 3);
    let median = count - best - worst;
    let around = (all / 2).saturating_sub(median / 2).clamp(best, all - worst - median);
    let groups =
        [(0..best, "best"), (around..around + median, "median"), (all - worst..all, "worst")];
    Ok(groups
        .into_iter()
        .flat_map(|(places, name)| places.map(move |place| (place, name)))
        .map(|(place, name)| selected(place, name))
        .collect())
}

impl ContactSheet {
    /// A sheet without rows, with pictures of 420 pixels.
    pub fn new(title: impl Into<String>, columns: Vec<String>) -> Self {
        Self { title: title.into(), columns, rows: Vec::new(), long_edge: 420 }
    }

    /// The sheet as PNG.
    ///
    /// # Errors
    /// [`EvalError::NothingToShow`] without rows or columns, [`EvalError::LengthMismatch`] for a
    /// row of another number of pictures, [`EvalError::NotRgb`], [`EvalError::SheetTooLarge`].
    pub fn to_png(&self) -> Result<Vec<u8>> {
        to_png(&self.draw()?)
    }

    /// Writes the PNG.
    ///
    /// # Errors
    /// Those of [`ContactSheet::to_png`]; [`EvalError::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, &self.to_png()?)
    }

    fn draw(&self) -> Result<RgbImage> {
        let sizes = self.sizes()?;
        let column_width = |column: usize| {
            let widest = sizes.iter().map(|row| row[column].0).max().unwrap_or(0);
            let heading = HEADING.width(&self.columns[column]).ceil() as u32;
            // A heading may widen its column, up to the size pictures may have.
            widest.max(heading.min(self.long_edge))
        };
        let widths: Vec<u32> = (0..self.columns.len()).map(column_width).collect();
        let heights: Vec<u32> =
            sizes.iter().map(|row| row.iter().map(|size| size.1).max().unwrap_or(0)).collect();
        let title_height = if self.title.is_empty() { 0 } else { TITLE_HEIGHT };
        let width = 2 * MARGIN + widths.iter().sum::<u32>() + GUTTER * (widths.len() as u32 - 1);
        let height = 2 * MARGIN
            + title_height
            + HEADING_HEIGHT
            + heights.iter().map(|height| NAME_HEIGHT + height + CAPTION_HEIGHT).sum::<u32>();
        let size = Size { width: width as usize, height: height as usize };
        if size.width.saturating_mul(size.height) > MAXIMUM_PIXELS {
            return Err(EvalError::SheetTooLarge { size, maximum: MAXIMUM_PIXELS });
        }
        let mut sheet = RgbImage::from_pixel(width, height, Rgb(PAPER));

        let mut y = MARGIN;
        if !self.title.is_empty() {
            let title = TITLE.fitted(&self.title, f64::from(width - 2 * MARGIN));
            TITLE.draw(&mut sheet, &title, f64::from(MARGIN), f64::from(y + 22));
            y += title_height;
        }
        for (x, (heading, width)) in lefts(&widths).zip(self.columns.iter().zip(&widths)) {
            let heading = HEADING.fitted(heading, f64::from(*width));
            HEADING.draw(&mut sheet, &heading, f64::from(x), f64::from(y + 20));
        }
        y += HEADING_HEIGHT;
        for (row, height) in self.rows.iter().zip(&heights) {
            let name = NAME.fitted(&row.id, f64::from(width - 2 * MARGIN));
            NAME.draw(&mut sheet, &name, f64::from(MARGIN), f64::from(y + 16));
            y += NAME_HEIGHT;
            for (x, (cell, width)) in lefts(&widths).zip(row.cells.iter().zip(&widths)) {
                let picture = thumbnail(cell.image.view(), self.long_edge)?;
                imageops::replace(&mut sheet, &picture, i64::from(x), i64::from(y));
                let caption = CAPTION.fitted(&cell.caption, f64::from(*width));
                let baseline = y + picture.height() + 22;
                CAPTION.draw(&mut sheet, &caption, f64::from(x), f64::from(baseline));
            }
            y += height + CAPTION_HEIGHT;
        }
        Ok(sheet)
    }

    /// Columns and rows of every picture on the sheet.
    fn sizes(&self) -> Result<Vec<Vec<(u32, u32)>>> {
        if self.rows.is_empty() || self.columns.is_empty() {
            let what = format!("the contact sheet `{}`", self.title);
            return Err(EvalError::NothingToShow { what, reason: "it has no pictures".into() });
        }
        self.rows
            .iter()
            .map(|row| {
                if row.cells.len() != self.columns.len() {
                    return Err(EvalError::LengthMismatch {
                        what: format!("pictures of `{}` on the contact sheet", row.id),
                        expected: self.columns.len(),
                        found: row.cells.len(),
                    });
                }
                row.cells.iter().map(|c| thumbnail_size(c.image.view(), self.long_edge)).collect()
            })
            .collect()
    }
}

/// Left edges of columns of these widths.
fn lefts(widths: &[u32]) -> impl Iterator<Item = u32> {
    widths.iter().scan(MARGIN, |x, width| {
        let left = *x;
        *x += width + GUTTER;
        Some(left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ImageMetric, Psnr};
    use crate::scores::ImageScores;

    #[test]
    fn pictures_stand_where_the_layout_says_and_are_captioned() {
        let target = Array3::from_elem((3, 30, 60), 0.5f32);
        let input = Array3::from_elem((3, 30, 60), 0.6f32);
        let other = Array3::from_elem((3, 30, 40), 0.5f32);
        let row = SheetRow::against_target(
            "photograph",
            input.view(),
            &[target.view(), other.view()],
            target.view(),
        )
        .unwrap();
        let captions: Vec<_> = row.cells.iter().map(|cell| cell.caption.as_str()).collect();
        assert_eq!(captions, ["20.00 dB", "identical to the target", "40x30", ""]);
        let columns = ["input", "a", "b", "target"].map(str::to_owned).to_vec();
        let mut sheet = ContactSheet::new("", columns);
        sheet.long_edge = 30;
        sheet.rows.push(row);
        let drawn = sheet.draw().unwrap();
        let y = MARGIN + HEADING_HEIGHT + NAME_HEIGHT;
        assert_eq!(drawn.get_pixel(MARGIN, y).0, [153; 3]);
        assert_eq!(drawn.get_pixel(drawn.width() - MARGIN - 1, y - 1).0, PAPER);
        assert_eq!(drawn.height(), 2 * MARGIN + HEADING_HEIGHT + NAME_HEIGHT + 23 + CAPTION_HEIGHT);
    }

    fn scores(values: &[f64]) -> Scores {
        let mut scores = Scores::new(vec![Psnr.metric()]);
        for (index, value) in values.iter().enumerate() {
            let image = ImageScores { id: format!("p{index:02}"), values: vec![*value] };
            scores.insert(image).unwrap();
        }
        scores
    }

    #[test]
    fn best_median_and_worst_are_selected() {
        let values: Vec<f64> = (0..10).map(|i| f64::from(i * 7 % 10)).collect();
        let selected = select_images(&scores(&values), "psnr", 3).unwrap();
        let found: Vec<_> = selected.iter().map(|s| (s.place.as_str(), s.value)).collect();
        let expected =
            [("best (1 of 10)", 9.0), ("median (6 of 10)", 4.0), ("worst (10 of 10)", 0.0)];
        assert_eq!(found, expected);
        for count in 1..=10 {
            let selected = select_images(&scores(&values), "psnr", count).unwrap();
            let mut ids: Vec<_> = selected.iter().map(|s| s.id.clone()).collect();
            assert!(selected.is_sorted_by(|a, b| a.value > b.value), "{selected:?}");
            ids.dedup();
            assert_eq!(ids.len(), count);
        }
        let all = select_images(&scores(&[1.0, f64::INFINITY, 2.0]), "psnr", 12).unwrap();
        let places: Vec<_> = all.iter().map(|s| s.place.as_str()).collect();
        assert_eq!(places, ["best (1 of 3)", "median (2 of 3)", "worst (3 of 3)"]);
    }

    #[test]
    fn a_selection_of_nothing_is_an_error() {
        let error = select_images(&scores(&[1.0]), "ssim", 3).unwrap_err().to_string();
        assert!(error.contains("`ssim`") && error.contains("psnr"), "{error}");
        assert!(select_images(&scores(&[]), "psnr", 3).is_err());
        assert!(select_images(&scores(&[1.0]), "psnr", 0).is_err());
    }

    #[test]
    fn empty_and_ragged_sheets_are_errors() {
        let mut sheet = ContactSheet::new("sheet", vec!["input".into(), "target".into()]);
        assert!(matches!(sheet.to_png(), Err(EvalError::NothingToShow { .. })));
        sheet.rows.push(SheetRow { id: "x".into(), cells: Vec::new() });
        assert!(matches!(sheet.to_png(), Err(EvalError::LengthMismatch { .. })));
        let image = Array3::<f32>::zeros((3, 400, 400));
        let row = SheetRow::against_target("x", image.view(), &[], image.view()).unwrap();
        sheet.rows = vec![row; 500];
        assert!(matches!(sheet.to_png(), Err(EvalError::SheetTooLarge { .. })));
    }
}
