//! Names of curves beside a piece of their line.

use super::WIDTH;
use super::dashes::dashed;
use super::ink::{CURVES, LABEL};
use super::markers;
use super::surface::{Anchor, Surface};
use crate::error::Result;

const MARGIN: f64 = 24.0;
const ROW: f64 = 22.0;
/// Length of the line beside a name.
const LINE: f64 = 28.0;

/// Entries in rows, in the order of the curves.
pub(super) struct Legend<'a>(Vec<&'a str>);

impl<'a> Legend<'a> {
    pub fn new(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.collect())
    }

    pub fn height(&self) -> f64 {
        self.rows().len() as f64 * ROW
    }

    pub fn draw(&self, surface: &mut dyn Surface, top: f64) -> Result<()> {
        for (row, entries) in self.rows().iter().enumerate() {
            let y = top + (row as f64 + 0.5) * ROW;
            for &(index, x) in entries {
                let (color, dashes) = CURVES[index % CURVES.len()];
                for dash in dashed(&[(x, y), (x + LINE, y)], dashes) {
                    surface.line(&dash, 2.5, color, 1.0)?;
                }
                if markers::needed(self.0.len()) {
                    markers::draw(surface, index, (x + LINE / 2.0, y), color)?;
                }
                let at = (x + LINE + 8.0, y);
                surface.text(&fitted(self.0[index]), at, Anchor::Start, LABEL)?;
            }
        }
        Ok(())
    }

    /// Index of the curve and where its entry begins.
    fn rows(&self) -> Vec<Vec<(usize, f64)>> {
        let mut rows: Vec<Vec<(usize, f64)>> = vec![Vec::new()];
        let mut x = MARGIN;
        for (index, name) in self.0.iter().enumerate() {
            let width = LINE + 8.0 + LABEL.width(&fitted(name)) + 22.0;
            if x + width > WIDTH - MARGIN && x > MARGIN {
                rows.push(Vec::new());
                x = MARGIN;
            }
            if let Some(row) = rows.last_mut() {
                row.push((index, x));
            }
            x += width;
        }
        rows
    }
}

fn fitted(name: &str) -> String {
    LABEL.fitted(name, WIDTH - 2.0 * MARGIN - LINE - 30.0)
}
