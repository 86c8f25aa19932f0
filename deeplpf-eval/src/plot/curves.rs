//! Curves over training steps.

use super::axis::Axis;
use super::ink::{CURVES, GRID, INK, LABEL, TICK, TITLE};
use super::surface::{Anchor, Surface};
use super::{Plot, WIDTH};
use crate::error::{EvalError, Result};

const MARGIN: f64 = 24.0;
/// Height of the plotting area.
const AREA_HEIGHT: f64 = 360.0;
const TITLE_HEIGHT: f64 = 34.0;
const LEGEND_ROW: f64 = 22.0;
/// Length of the line beside a name in the legend.
const LEGEND_LINE: f64 = 28.0;
/// Room under the area for tick labels and the axis's name.
const FOOT: f64 = 54.0;

/// Several labelled curves, e.g. the training loss of several runs.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Title.
    pub title: String,
    /// Name of the horizontal axis with its unit, e.g. `step`.
    pub x_label: String,
    /// Name of the vertical axis with its unit, e.g. `validation PSNR (dB)`.
    pub y_label: String,
    /// Whether the vertical axis is logarithmic; every value must then be above 0.
    pub log_y: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// `(step, value)`, by ascending step. A NaN or infinite value is a gap.
    pub points: Vec<(f64, f64)>,
    /// Where above 1: the curve is the mean of each so many consecutive points, drawn at their
    /// mean step, and the points themselves stand faintly behind it.
    pub mean_over: usize,
}

impl Series {
    /// The curve of the points as they are.
    pub fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, mean_over: 1 }
    }

    /// The same with the mean over each `count` consecutive points.
    #[must_use]
    pub fn with_mean_over(self, count: usize) -> Self {
        Self { mean_over: count, ..self }
    }

    /// The points of the curve, in unbroken pieces.
    fn pieces(&self) -> Vec<Vec<(f64, f64)>> {
        let finite = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let mut pieces: Vec<Vec<(f64, f64)>> =
            self.points.split(|point| !finite(point)).map(<[_]>::to_vec).collect();
        if self.mean_over > 1 {
            for piece in &mut pieces {
                *piece = piece.chunks(self.mean_over).map(mean_point).collect();
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

fn mean_point(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / count, sum.1 / count)
}

/// Where things are, in CSS pixels.
struct Layout {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Axis,
    y: Axis,
}

impl Layout {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            self.left + self.x.position(x) * (self.right - self.left),
            self.bottom - self.y.position(y) * (self.bottom - self.top),
        )
    }
}

impl Curves {
    fn axes(&self) -> Result<(Axis, Axis)> {
        let nothing = |reason: String| EvalError::NothingToShow {
            what: format!("the plot `{}`", self.title),
            reason,
        };
        let mut range: Option<[f64; 4]> = None;
        for series in &self.series {
            for (x, y) in series.finite() {
                if self.log_y && y <= 0.0 {
                    let reason = format!("`{}` is {y} at {x}, without a logarithm", series.label);
                    return Err(nothing(reason));
                }
                let [x0, x1, y0, y1] = range.unwrap_or([x, x, y, y]);
                range = Some([x0.min(x), x1.max(x), y0.min(y), y1.max(y)]);
            }
        }
        let [x0, x1, y0, y1] =
            range.ok_or_else(|| nothing("no curve has a finite value".to_owned()))?;
        let y = if self.log_y { Axis::logarithmic(y0, y1) } else { Axis::linear(y0, y1, 6, true) };
        Ok((Axis::linear(x0, x1, 7, false), y))
    }

    /// Rows of the legend: index of the curve and where its entry begins.
    fn legend(&self) -> Vec<Vec<(usize, f64)>> {
        let mut rows: Vec<Vec<(usize, f64)>> = vec![Vec::new()];
        let mut x = MARGIN;
        for (index, series) in self.series.iter().enumerate() {
            let width = LEGEND_LINE + 8.0 + LABEL.width(&self.legend_text(series)) + 22.0;
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

    fn legend_text(&self, series: &Series) -> String {
        LABEL.fitted(&series.label, WIDTH - 2.0 * MARGIN - LEGEND_LINE - 30.0)
    }

    fn draw_axes(&self, surface: &mut dyn Surface, layout: &Layout) -> Result<()> {
        let &Layout { left, right, top, bottom, .. } = layout;
        for (value, label) in &layout.y.ticks {
            let (_, y) = layout.at((0.0, *value));
            surface.line(&[(left, y), (right, y)], 1.0, GRID, 1.0)?;
            surface.text(label, (left - 10.0, y), Anchor::End, TICK)?;
        }
        surface.line(&[(left, bottom), (right, bottom)], 1.0, INK, 1.0)?;
        for (value, label) in &layout.x.ticks {
            let x = left + layout.x.position(*value) * (right - left);
            surface.line(&[(x, bottom), (x, bottom + 5.0)], 1.0, INK, 1.0)?;
            surface.text(label, (x, bottom + 16.0), Anchor::Middle, TICK)?;
        }
        let middle = ((left + right) / 2.0, bottom + 38.0);
        surface.text(&self.x_label, middle, Anchor::Middle, TICK)?;
        let label = if self.log_y && !self.y_label.is_empty() {
            format!("{}, logarithmic", self.y_label)
        } else {
            self.y_label.clone()
        };
        let label = TICK.fitted(&label, bottom - top);
        surface.text(&label, (MARGIN, (top + bottom) / 2.0), Anchor::Upwards, TICK)
    }

    fn draw_series(&self, surface: &mut dyn Surface, layout: &Layout) -> Result<()> {
        for (index, series) in self.series.iter().enumerate() {
            if series.mean_over > 1 {
                let (color, _) = CURVES[index % CURVES.len()];
                let raw = Series::new("", series.points.clone());
                for piece in raw.pieces() {
                    let points: Vec<_> = piece.iter().map(|&point| layout.at(point)).collect();
                    surface.line(&enveloped(points), 1.0, color, 0.22)?;
                }
            }
        }
        for (index, series) in self.series.iter().enumerate() {
            let (color, dashes) = CURVES[index % CURVES.len()];
            for piece in series.pieces() {
                let points: Vec<_> = piece.iter().map(|&point| layout.at(point)).collect();
                let points = enveloped(points);
                if let [point] = points[..] {
                    let (x, y) = point;
                    surface.rectangle([(x - 2.0, y - 2.0), (x + 2.0, y + 2.0)], color)?;
                }
                for dash in dashed(&points, dashes) {
                    surface.line(&dash, 2.0, color, 1.0)?;
                }
            }
        }
        Ok(())
    }

    fn draw_legend(&self, surface: &mut dyn Surface, top: f64) -> Result<()> {
        for (row, entries) in self.legend().iter().enumerate() {
            let y = top + (row as f64 + 0.5) * LEGEND_ROW;
            for &(index, x) in entries {
                let (color, dashes) = CURVES[index % CURVES.len()];
                for dash in dashed(&[(x, y), (x + LEGEND_LINE, y)], dashes) {
                    surface.line(&dash, 2.5, color, 1.0)?;
                }
                let text = self.legend_text(&self.series[index]);
                surface.text(&text, (x + LEGEND_LINE + 8.0, y), Anchor::Start, LABEL)?;
            }
        }
        Ok(())
    }
}

impl Plot for Curves {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self) -> f64 {
        let legend = self.legend().len() as f64 * LEGEND_ROW;
        MARGIN + TITLE_HEIGHT + legend + 16.0 + AREA_HEIGHT + FOOT
    }

    fn draw(&self, surface: &mut dyn Surface) -> Result<()> {
        let (x, y) = self.axes()?;
        let widest = y.ticks.iter().map(|(_, label)| TICK.width(label)).fold(0.0, f64::max);
        let bottom = self.height() - FOOT;
        let layout = Layout {
            left: MARGIN + 16.0 + widest + 10.0,
            right: WIDTH - MARGIN - 8.0,
            top: bottom - AREA_HEIGHT,
            bottom,
            x,
            y,
        };
        let title = TITLE.fitted(&self.title, WIDTH - 2.0 * MARGIN);
        surface.text(&title, (MARGIN, MARGIN + 8.0), Anchor::Start, TITLE)?;
        self.draw_legend(surface, MARGIN + TITLE_HEIGHT)?;
        self.draw_axes(surface, &layout)?;
        self.draw_series(surface, &layout)
    }
}

/// A line of very many points by the lowest and highest of each group of neighbours, which looks
/// the same at this width and keeps the file small.
fn enveloped(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    /// About one per pixel of the area.
    const GROUPS: usize = 1000;
    if points.len() <= 2 * GROUPS {
        return points;
    }
    points
        .chunks(points.len().div_ceil(GROUPS))
        .flat_map(|group| {
            let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let low = group.iter().min_by(by_height).copied();
            let high = group.iter().max_by(by_height).copied();
            let ordered = match (low, high) {
                (Some(low), Some(high)) if low.0 > high.0 => [Some(high), Some(low)],
                _ => [low, high],
            };
            ordered.into_iter().flatten()
        })
        .collect()
}

/// The drawn pieces of a line under a pattern of lengths drawn and left out; the whole line for an
/// empty pattern.
fn dashed(points: &[(f64, f64)], pattern: &[f64]) -> Vec<Vec<(f64, f64)>> {
    if pattern.is_empty() || points.len() < 2 {
        return vec![points.to_vec()];
    }
    let mut pieces = vec![vec![points[0]]];
    let (mut phase, mut left) = (0, pattern[0]);
    for ends in points.windows(2) {
        let (mut from, to) = (ends[0], ends[1]);
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            let drawing = phase % 2 == 0;
            if length < left {
                left -= length;
                if drawing && let Some(piece) = pieces.last_mut() {
                    piece.push(to);
                }
                break;
            }
            from = (from.0 + dx * left / length, from.1 + dy * left / length);
            if drawing {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(from);
                }
            } else {
                pieces.push(vec![from]);
            }
            phase = (phase + 1) % pattern.len();
            left = pattern[phase];
        }
    }
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_follow_the_line_round_its_corners() {
        let line = [(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)];
        let pieces = dashed(&line, &[4.0, 3.0]);
        assert_eq!(pieces[0], [(0.0, 0.0), (4.0, 0.0)]);
        assert_eq!(pieces[1], [(5.0, 2.0), (5.0, 5.0)]);
        assert_eq!(dashed(&line, &[]), [line.to_vec()]);
        assert_eq!(dashed(&line, &[3.0, 9.0]), [vec![(0.0, 0.0), (3.0, 0.0)]]);
    }

    #[test]
    fn very_long_lines_keep_their_extremes_and_their_order() {
        let mut points: Vec<_> = (0..50_000).map(|i| (f64::from(i), 5.0)).collect();
        points[12_345].1 = 9.0;
        points[12_346].1 = -9.0;
        let found = enveloped(points.clone());
        assert!(found.len() <= 2000 && found.is_sorted_by(|a, b| a.0 <= b.0));
        assert!(found.contains(&(12_345.0, 9.0)) && found.contains(&(12_346.0, -9.0)));
        points.truncate(2000);
        assert_eq!(enveloped(points.clone()), points);
    }

    #[test]
    fn gaps_split_a_curve_and_means_do_not_cross_them() {
        let points = [1.0, 3.0, f64::NAN, 5.0, 7.0, 8.0];
        let points = points.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect();
        let pieces = Series::new("loss", points).with_mean_over(2).pieces();
        assert_eq!(pieces, [vec![(0.5, 2.0)], vec![(3.5, 6.0), (5.0, 8.0)]]);
    }

    #[test]
    fn nothing_and_logarithms_of_zero_are_errors() {
        let empty = Curves { title: "loss".into(), ..Curves::default() };
        assert!(empty.to_svg().unwrap_err().to_string().contains("no curve has a finite value"));
        let zero = Curves {
            log_y: true,
            series: vec![Series::new("a", vec![(1.0, 0.5), (2.0, 0.0)])],
            ..empty
        };
        let message = zero.to_svg().unwrap_err().to_string();
        assert!(message.contains("`a` is 0 at 2"), "{message}");
    }

    #[test]
    fn names_are_escaped_and_both_formats_are_made() {
        let curves = Curves {
            title: "a < b & \"c\"".into(),
            series: vec![Series::new("x < y", vec![(0.0, 1.0), (1.0, 2.0)])],
            ..Curves::default()
        };
        let svg = curves.to_svg().unwrap();
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"a &lt; b &amp; &quot;c&quot;\""));
        assert!(svg.contains("x &lt; y") && !svg.contains("x < y") && svg.ends_with("</svg>\n"));
        let png = image::load_from_memory(&curves.to_png().unwrap()).unwrap();
        assert_eq!(f64::from(png.width()), 2.0 * WIDTH);
        assert_eq!(f64::from(png.height()), (2.0 * curves.height()).round());
    }
}
