//! Two methods image by image.

use super::area::Area;
use super::axis::Axis;
use super::dashes::dashed;
use super::ink::{CURVES, INK, LABEL, MUTED, TICK, TITLE};
use super::surface::{Anchor, Surface, WHITE};
use super::{Plot, WIDTH, nothing_to_show};
use crate::error::Result;
use crate::metrics::{Direction, Metric};

const MARGIN: f64 = 24.0;
const TITLE_HEIGHT: f64 = 34.0;
/// Room for the sentence under the title.
const SENTENCE_HEIGHT: f64 = 40.0;
/// The area is square, so that the diagonal is one.
const SIDE: f64 = 520.0;
const FOOT: f64 = 54.0;

/// One metric of the same images under two methods: a point per image, and the diagonal on which
/// both are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// Title.
    pub title: String,
    /// What the values are.
    pub metric: Metric,
    /// Name of the method on the horizontal axis.
    pub x_label: String,
    /// Name of the method on the vertical axis.
    pub y_label: String,
    /// The images. Points that are not finite are not drawn, and the plot says how many.
    pub points: Vec<ScatterPoint>,
}

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterPoint {
    /// Name of the image.
    pub id: String,
    /// Its value under the horizontal axis's method.
    pub x: f64,
    /// Its value under the vertical axis's method.
    pub y: f64,
}

impl Scatter {
    fn finite(&self) -> impl Iterator<Item = &ScatterPoint> {
        self.points.iter().filter(|point| point.x.is_finite() && point.y.is_finite())
    }

    /// How many images each method wins, by the values themselves.
    fn sentence(&self) -> String {
        let better = self.metric.direction;
        let wins = |y: bool| {
            let wins = |point: &&ScatterPoint| {
                let (a, b) = if y { (point.y, point.x) } else { (point.x, point.y) };
                better.is_better(a, b)
            };
            self.points.iter().filter(wins).count()
        };
        let side = match better {
            Direction::HigherIsBetter => "above",
            Direction::LowerIsBetter => "below",
        };
        let mut sentence = format!(
            "{} better on {} of {} images ({side} the diagonal), {} on {}.",
            self.y_label,
            wins(true),
            self.points.len(),
            self.x_label,
            wins(false)
        );
        let hidden = self.points.len() - self.finite().count();
        if hidden > 0 {
            sentence.push_str(&format!(" {hidden} not drawn: not finite."));
        }
        sentence
    }

    /// Where a label of this width covers fewer points: 1 to the right of `(x, y)`, −1 to the left;
    /// towards the middle of the area where it makes no difference.
    fn side_of_label(&self, area: &Area, (x, y): (f64, f64), width: f64) -> f64 {
        /// From the point to the end of the label, without its width.
        const GAP: f64 = 16.0;
        let covered = |side: f64| {
            let points = self.finite().map(|point| area.at((point.x, point.y)));
            let under = |(px, py): &(f64, f64)| {
                (py - y).abs() < 10.0 && (0.1..width + GAP).contains(&((px - x) * side))
            };
            points.filter(under).count()
        };
        let inward = if x > area.left.midpoint(area.right) { -1.0 } else { 1.0 };
        let end = x - inward * (width + GAP);
        let fits = (area.left..=area.right).contains(&end);
        if fits && covered(inward) > covered(-inward) { -inward } else { inward }
    }

    /// The images on which the methods differ most, in either direction.
    fn extremes(&self) -> Vec<&ScatterPoint> {
        let by_gap = |a: &&ScatterPoint, b: &&ScatterPoint| (a.y - a.x).total_cmp(&(b.y - b.x));
        let (low, high) = (self.finite().min_by(by_gap), self.finite().max_by(by_gap));
        let mut found: Vec<_> = low.into_iter().filter(|point| point.y < point.x).collect();
        found.extend(high.filter(|point| point.y > point.x));
        found
    }
}

impl Plot for Scatter {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self) -> f64 {
        MARGIN + TITLE_HEIGHT + SENTENCE_HEIGHT + SIDE + FOOT
    }

    fn draw(&self, surface: &mut dyn Surface) -> Result<()> {
        let values = self.finite().flat_map(|point| [point.x, point.y]);
        let range = values.fold(None, |range: Option<(f64, f64)>, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        });
        let (low, high) =
            range.ok_or_else(|| nothing_to_show(&self.title, "no image has two finite values"))?;
        let axis = Axis::linear(low, high, 6, true);
        let bottom = self.height() - FOOT;
        let widest = Area::widest_tick(&axis);
        let left = (WIDTH - SIDE - widest).midpoint(widest + MARGIN).max(MARGIN + widest + 26.0);
        let area =
            Area { left, right: left + SIDE, top: bottom - SIDE, bottom, x: axis.clone(), y: axis };
        let title = TITLE.fitted(&self.title, WIDTH - 2.0 * MARGIN);
        surface.text(&title, (MARGIN, MARGIN + 8.0), Anchor::Start, TITLE)?;
        let sentence = LABEL.fitted(&self.sentence(), WIDTH - 2.0 * MARGIN);
        surface.text(&sentence, (MARGIN, MARGIN + TITLE_HEIGHT + 6.0), Anchor::Start, LABEL)?;
        let name = |method: &str| format!("{method}: {}", self.metric.heading());
        let names = (name(&self.x_label), name(&self.y_label));
        area.draw_axes(surface, (&names.0, &names.1), left - widest - 26.0)?;
        let corners = [(area.left, area.bottom), (area.right, area.top)];
        for dash in dashed(&corners, &[6.0, 5.0]) {
            surface.line(&dash, 1.2, MUTED, 1.0)?;
        }
        // Smaller points where there are many.
        let radius = if self.points.len() > 200 { 2.6 } else { 4.0 };
        for point in self.finite() {
            surface.disc(area.at((point.x, point.y)), radius, CURVES[0].0, 0.6)?;
        }
        for point in self.extremes() {
            let (x, y) = area.at((point.x, point.y));
            surface.disc((x, y), radius + 1.5, INK, 1.0)?;
            surface.disc((x, y), radius, WHITE, 1.0)?;
            let label = TICK.fitted(&point.id, (SIDE / 2.0) - 20.0);
            let at = x + self.side_of_label(&area, (x, y), TICK.width(&label)) * (radius + 7.0);
            let anchor = if at < x { Anchor::End } else { Anchor::Start };
            surface.text(&label, (at, y), anchor, TICK)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EvalError;
    use crate::metrics::{DeltaE76, ImageMetric, Psnr};

    fn scatter(metric: Metric, points: &[(f64, f64)]) -> Scatter {
        let points = points.iter().enumerate();
        let point = |(i, &(x, y)): (usize, &(f64, f64))| ScatterPoint { id: format!("p{i}"), x, y };
        Scatter {
            title: "A against B".into(),
            metric,
            x_label: "A".into(),
            y_label: "B".into(),
            points: points.map(point).collect(),
        }
    }

    #[test]
    fn wins_follow_the_direction_and_nothing_is_dropped_silently() {
        let points = [(20.0, 21.0), (22.0, 21.5), (19.0, 23.0), (30.0, f64::INFINITY)];
        let plot = scatter(Psnr.metric(), &points);
        let expected = "B better on 3 of 4 images (above the diagonal), A on 1. \
                        1 not drawn: not finite.";
        assert_eq!(plot.sentence(), expected);
        assert_eq!(plot.extremes().iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["p1", "p2"]);
        let svg = plot.to_svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 3 + 2 * 2);
        let lower = scatter(DeltaE76.metric(), &points[..3]);
        assert!(lower.sentence().starts_with("B better on 1 of 3 images (below"));
    }

    #[test]
    fn nothing_finite_is_an_error() {
        let plot = scatter(Psnr.metric(), &[(f64::INFINITY, 1.0)]);
        assert!(matches!(plot.to_svg(), Err(EvalError::NothingToShow { .. })));
    }
}
