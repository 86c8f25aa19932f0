//! The area of a plot between its axes.

use super::axis::Axis;
use super::ink::{GRID, INK, TICK};
use super::surface::{Anchor, Surface};
use crate::error::Result;

/// An area with its axes; places in CSS pixels.
pub struct Area {
    /// Its edges.
    pub left: f64,
    /// See [`Area::left`].
    pub right: f64,
    /// See [`Area::left`].
    pub top: f64,
    /// See [`Area::left`].
    pub bottom: f64,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
}

impl Area {
    /// Where a point stands.
    pub fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x_at(x), self.y_at(y))
    }

    /// Where a value of the horizontal axis stands.
    pub fn x_at(&self, x: f64) -> f64 {
        self.left + self.x.position(x) * (self.right - self.left)
    }

    /// Where a value of the vertical axis stands.
    pub fn y_at(&self, y: f64) -> f64 {
        self.bottom - self.y.position(y) * (self.bottom - self.top)
    }

    /// Width of the widest label of the vertical axis.
    pub fn widest_tick(axis: &Axis) -> f64 {
        axis.ticks.iter().map(|(_, label)| TICK.width(label)).fold(0.0, f64::max)
    }

    /// Draws grid, ticks and the names of both axes; the vertical one's is centred on `y_name_at`.
    pub fn draw_axes(
        &self,
        surface: &mut dyn Surface,
        (x_name, y_name): (&str, &str),
        y_name_at: f64,
    ) -> Result<()> {
        let &Area { left, right, top, bottom, .. } = self;
        for (value, label) in &self.y.ticks {
            let y = self.y_at(*value);
            surface.line(&[(left, y), (right, y)], 1.0, GRID, 1.0)?;
            surface.text(label, (left - 10.0, y), Anchor::End, TICK)?;
        }
        surface.line(&[(left, bottom), (right, bottom)], 1.0, INK, 1.0)?;
        for (value, label) in &self.x.ticks {
            let x = self.x_at(*value);
            surface.line(&[(x, bottom), (x, bottom + 5.0)], 1.0, INK, 1.0)?;
            surface.text(label, (x, bottom + 16.0), Anchor::Middle, TICK)?;
        }
        let middle = (left.midpoint(right), bottom + 38.0);
        let x_name = TICK.fitted(x_name, right - left);
        surface.text(&x_name, middle, Anchor::Middle, TICK)?;
        let y_name = TICK.fitted(y_name, bottom - top);
        surface.text(&y_name, (y_name_at, top.midpoint(bottom)), Anchor::Upwards, TICK)
    }
}
