//! Curves over training steps.

use super::area::Area;
use super::axis::Axis;
use super::dashes::dashed;
use super::ink::{CURVES, TITLE};
use super::legend::Legend;
use super::markers;
use super::surface::{Anchor, Surface};
use super::{Plot, WIDTH, nothing_to_show};
use crate::error::Result;

const MARGIN: f64 = 24.0;
/// Height of the plotting area.
const AREA_HEIGHT: f64 = 360.0;
const TITLE_HEIGHT: f64 = 34.0;
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
    /// `(step, low, high)`, by ascending step: a band drawn faintly behind the curve.
    pub band: Vec<(f64, f64, f64)>,
}

impl Series {
    /// The curve of the points as they are.
    pub fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, mean_over: 1, band: Vec::new() }
    }

    /// The mean of several runs that differ in their seed, with a band of one standard deviation
    /// (of a sample, with n − 1) to either side; one run has no band.
    ///
    /// Only steps at which every run has a finite value are drawn: the mean of those runs that
    /// happen to have got further would be another curve.
    pub fn over_seeds(label: impl Into<String>, runs: &[Vec<(f64, f64)>]) -> Self {
        let mut series = Self::new(label, Vec::new());
        let Some((first, others)) = runs.split_first() else { return series };
        for &(step, value) in first {
            let same_step = others
                .iter()
                .map(|run| run.iter().find(|point| point.0 == step).map(|point| point.1));
            let values: Option<Vec<f64>> = std::iter::once(Some(value))
                .chain(same_step)
                .map(|value| value.filter(|value| value.is_finite()))
                .collect();
            let Some(values) = values else { continue };
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            series.points.push((step, mean));
            if values.len() > 1 {
                let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                let deviation = (squares / (count - 1.0)).sqrt();
                series.band.push((step, mean - deviation, mean + deviation));
            }
        }
        series
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

    /// The finite ends of the band.
    fn band_ends(&self) -> impl Iterator<Item = (f64, f64)> {
        self.band
            .iter()
            .flat_map(|&(x, low, high)| [(x, low), (x, high)])
            .filter(|(x, y)| x.is_finite() && y.is_finite())
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

impl Curves {
    fn axes(&self) -> Result<(Axis, Axis)> {
        let mut range: Option<[f64; 4]> = None;
        for series in &self.series {
            for (x, y) in series.finite() {
                if self.log_y && y <= 0.0 {
                    let reason = format!("`{}` is {y} at {x}, without a logarithm", series.label);
                    return Err(nothing_to_show(&self.title, reason));
                }
                let [x0, x1, y0, y1] = range.unwrap_or([x, x, y, y]);
                range = Some([x0.min(x), x1.max(x), y0.min(y), y1.max(y)]);
            }
            // A band may reach below zero, where a logarithmic axis has no place for it.
            for (x, end) in series.band_ends().filter(|(_, end)| !self.log_y || *end > 0.0) {
                if let Some([x0, x1, y0, y1]) = range {
                    range = Some([x0.min(x), x1.max(x), y0.min(end), y1.max(end)]);
                }
            }
        }
        let [x0, x1, y0, y1] =
            range.ok_or_else(|| nothing_to_show(&self.title, "no curve has a finite value"))?;
        let y = if self.log_y { Axis::logarithmic(y0, y1) } else { Axis::linear(y0, y1, 6, true) };
        Ok((Axis::linear(x0, x1, 7, false), y))
    }

    fn legend(&self) -> Legend<'_> {
        Legend::new(self.series.iter().map(|series| series.label.as_str()))
    }

    fn y_name(&self) -> String {
        if self.log_y && !self.y_label.is_empty() {
            format!("{}, logarithmic", self.y_label)
        } else {
            self.y_label.clone()
        }
    }

    fn draw_bands(&self, surface: &mut dyn Surface, area: &Area) -> Result<()> {
        for (index, series) in self.series.iter().enumerate() {
            let (color, _) = CURVES[index % CURVES.len()];
            let low = |low: f64| area.y_at(low).min(area.bottom);
            // NaN where a logarithm does not exist: down to the edge.
            let held = |y: f64| if y.is_finite() { y } else { area.bottom };
            let lower = series.band.iter().rev().map(|&(x, l, _)| (area.x_at(x), held(low(l))));
            let upper = series.band.iter().map(|&(x, _, h)| area.at((x, h)));
            let corners: Vec<_> = upper.chain(lower).collect();
            if corners.len() > 3 {
                surface.polygon(&corners, color, 0.2)?;
            }
        }
        Ok(())
    }

    fn draw_series(&self, surface: &mut dyn Surface, area: &Area) -> Result<()> {
        for (index, series) in self.series.iter().enumerate() {
            if series.mean_over > 1 {
                let (color, _) = CURVES[index % CURVES.len()];
                let raw = Series::new("", series.points.clone());
                for piece in raw.pieces() {
                    let points: Vec<_> = piece.iter().map(|&point| area.at(point)).collect();
                    surface.line(&enveloped(points), 1.0, color, 0.22)?;
                }
            }
        }
        for (index, series) in self.series.iter().enumerate() {
            let (color, dashes) = CURVES[index % CURVES.len()];
            let pieces = series.pieces();
            for piece in &pieces {
                let points: Vec<_> = piece.iter().map(|&point| area.at(point)).collect();
                let points = enveloped(points);
                if let [point] = points[..] {
                    let (x, y) = point;
                    surface.rectangle([(x - 2.0, y - 2.0), (x + 2.0, y + 2.0)], color)?;
                }
                for dash in dashed(&points, dashes) {
                    surface.line(&dash, 2.0, color, 1.0)?;
                }
            }
            if markers::needed(self.series.len()) {
                let points = pieces.concat();
                for place in markers::places(index, points.len()) {
                    markers::draw(surface, index, area.at(points[place]), color)?;
                }
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
        MARGIN + TITLE_HEIGHT + self.legend().height() + 16.0 + AREA_HEIGHT + FOOT
    }

    fn draw(&self, surface: &mut dyn Surface) -> Result<()> {
        let (x, y) = self.axes()?;
        let widest = Area::widest_tick(&y);
        let bottom = self.height() - FOOT;
        let area = Area {
            left: MARGIN + 16.0 + widest + 10.0,
            right: WIDTH - MARGIN - 8.0,
            top: bottom - AREA_HEIGHT,
            bottom,
            x,
            y,
        };
        let title = TITLE.fitted(&self.title, WIDTH - 2.0 * MARGIN);
        surface.text(&title, (MARGIN, MARGIN + 8.0), Anchor::Start, TITLE)?;
        self.legend().draw(surface, MARGIN + TITLE_HEIGHT)?;
        area.draw_axes(surface, (&self.x_label, &self.y_name()), MARGIN)?;
        self.draw_bands(surface, &area)?;
        self.draw_series(surface, &area)
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_band_is_one_deviation_to_either_side_where_all_seeds_have_a_value() {
        let runs = [
            vec![(1.0, 1.0), (2.0, 4.0), (3.0, 5.0)],
            vec![(1.0, 3.0), (2.0, f64::NAN), (3.0, 5.0), (4.0, 6.0)],
        ];
        let series = Series::over_seeds("both", &runs);
        assert_eq!(series.points, [(1.0, 2.0), (3.0, 5.0)]);
        let half = 2.0_f64.sqrt();
        assert_eq!(series.band, [(1.0, 2.0 - half, 2.0 + half), (3.0, 5.0, 5.0)]);
        assert!(Series::over_seeds("one", &runs[..1]).band.is_empty());
        // Below zero a logarithmic axis ends; the band is cut there.
        let curves = Curves { log_y: true, series: vec![series], ..Curves::default() };
        let wide =
            Series { band: vec![(1.0, -1.0, 3.0), (3.0, 4.0, 6.0)], ..curves.series[0].clone() };
        let svg = Curves { series: vec![wide], ..curves }.to_svg().unwrap();
        assert!(svg.contains("<polygon") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn gaps_split_a_curve_and_means_do_not_cross_them() {
        let points = [1.0, 3.0, f64::NAN, 5.0, 7.0, 8.0];
        let points = points.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect();
        let pieces = Series::new("loss", points).with_mean_over(2).pieces();
        assert_eq!(pieces, [vec![(0.5, 2.0)], vec![(3.5, 6.0), (5.0, 8.0)]]);
    }

    #[test]
    fn many_curves_have_shapes_and_few_have_not() {
        let curve = |index: u32| {
            let points = (0..9).map(|x| (f64::from(x), f64::from(x * index))).collect();
            Series::new(index.to_string(), points)
        };
        let svg = |count| {
            let series = (0..count).map(curve).collect();
            Curves { series, ..Curves::default() }.to_svg().unwrap()
        };
        assert!(!svg(4).contains("<circle") && !svg(4).contains("<polygon"));
        assert!(svg(7).contains("<circle") && svg(7).contains("<polygon"));
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
