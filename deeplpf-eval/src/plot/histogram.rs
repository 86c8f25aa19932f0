//! How a metric is spread over the images.

use super::area::Area;
use super::axis::Axis;
use super::dashes::dashed;
use super::ink::{CURVES, INK, TITLE};
use super::legend::Legend;
use super::surface::{Anchor, Surface};
use super::{Plot, WIDTH, nothing_to_show};
use crate::error::Result;
use crate::metrics::Metric;

const MARGIN: f64 = 24.0;
const TITLE_HEIGHT: f64 = 34.0;
const AREA_HEIGHT: f64 = 300.0;
const FOOT: f64 = 54.0;
/// Bins: enough to see a shape, few enough to have images in them.
const BINS: std::ops::RangeInclusive<usize> = 5..=40;

/// How many images of each method lie in which range of a metric. Methods share their bins and are
/// drawn as outlines, told apart by dashes as well as by colour, with their means as ticks at the
/// top.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Title.
    pub title: String,
    /// What the values are.
    pub metric: Metric,
    /// The methods.
    pub samples: Vec<Sample>,
}

/// The values of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the method.
    pub label: String,
    /// One value per image. Values that are not finite are not drawn, and the legend says how
    /// many.
    pub values: Vec<f64>,
}

impl Histogram {
    /// The edges of the bins: as wide as Freedman and Diaconis (1981) have it for all values,
    /// 2 IQR / ∛n, within the limits of [`BINS`].
    fn edges(&self) -> Result<Vec<f64>> {
        let mut all: Vec<f64> = self.finite().collect();
        all.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (all.first(), all.last()) else {
            return Err(nothing_to_show(&self.title, "no image has a finite value"));
        };
        let quartile = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
        let width = 2.0 * (quartile(0.75) - quartile(0.25)) / (all.len() as f64).cbrt();
        let wanted = if width > 0.0 { ((high - low) / width).ceil() } else { 0.0 };
        let bins = (wanted as usize).clamp(*BINS.start(), *BINS.end());
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
        let step = (high - low) / bins as f64;
        Ok((0..=bins).map(|bin| low + bin as f64 * step).collect())
    }

    fn finite(&self) -> impl Iterator<Item = f64> {
        let values = self.samples.iter().flat_map(|sample| sample.values.iter().copied());
        values.filter(|value| value.is_finite())
    }

    fn legend_names(&self) -> Vec<String> {
        let name = |sample: &Sample| {
            let hidden = sample.values.iter().filter(|value| !value.is_finite()).count();
            match (hidden, sample.mean()) {
                (0, Some(mean)) => format!("{}, mean {}", sample.label, self.metric.format(mean)),
                _ => format!("{} ({hidden} not finite, not drawn)", sample.label),
            }
        };
        self.samples.iter().map(name).collect()
    }
}

impl Sample {
    /// The mean of all values, `None` where one of them is not finite or there are none.
    fn mean(&self) -> Option<f64> {
        let mean = self.values.iter().sum::<f64>() / self.values.len() as f64;
        mean.is_finite().then_some(mean)
    }

    /// Images per bin; the last bin has its high end.
    fn counts(&self, edges: &[f64]) -> Vec<usize> {
        let bins = edges.len() - 1;
        let (low, high) = (edges[0], edges[bins]);
        let mut counts = vec![0; bins];
        for value in self.values.iter().filter(|value| value.is_finite()) {
            let place = (value - low) / (high - low) * bins as f64;
            counts[(place as usize).min(bins - 1)] += 1;
        }
        counts
    }
}

impl Plot for Histogram {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self) -> f64 {
        let names = self.legend_names();
        let legend = Legend::new(names.iter().map(String::as_str)).height();
        MARGIN + TITLE_HEIGHT + legend + 20.0 + AREA_HEIGHT + FOOT
    }

    fn draw(&self, surface: &mut dyn Surface) -> Result<()> {
        let edges = self.edges()?;
        let counts: Vec<_> = self.samples.iter().map(|sample| sample.counts(&edges)).collect();
        let highest = counts.iter().flatten().max().copied().unwrap_or(0);
        let y = Axis::linear(0.0, highest as f64, 5, true);
        let bottom = self.height() - FOOT;
        let area = Area {
            left: MARGIN + 16.0 + Area::widest_tick(&y) + 10.0,
            right: WIDTH - MARGIN - 8.0,
            top: bottom - AREA_HEIGHT,
            bottom,
            x: Axis::linear(edges[0], edges[edges.len() - 1], 8, false),
            y,
        };
        let title = TITLE.fitted(&self.title, WIDTH - 2.0 * MARGIN);
        surface.text(&title, (MARGIN, MARGIN + 8.0), Anchor::Start, TITLE)?;
        let names = self.legend_names();
        let legend = Legend::new(names.iter().map(String::as_str));
        legend.draw(surface, MARGIN + TITLE_HEIGHT)?;
        area.draw_axes(surface, (&self.metric.heading(), "images"), MARGIN)?;
        for (index, (sample, counts)) in self.samples.iter().zip(&counts).enumerate() {
            let (color, dashes) = CURVES[index % CURVES.len()];
            let mut outline = vec![area.at((edges[0], 0.0))];
            for (bin, &count) in counts.iter().enumerate() {
                outline.push(area.at((edges[bin], count as f64)));
                outline.push(area.at((edges[bin + 1], count as f64)));
            }
            outline.push(area.at((edges[edges.len() - 1], 0.0)));
            surface.polygon(&outline, color, 0.12)?;
            for dash in dashed(&outline, dashes) {
                surface.line(&dash, 2.0, color, 1.0)?;
            }
            if let Some(mean) = sample.mean() {
                let x = area.x_at(mean);
                // Above the area, where no outline is.
                surface.line(&[(x, area.top - 12.0), (x, area.top - 1.0)], 3.0, color, 1.0)?;
            }
        }
        surface.line(&[(area.left, bottom), (area.right, bottom)], 1.0, INK, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EvalError;
    use crate::metrics::{ImageMetric, Psnr};

    fn histogram(values: &[f64]) -> Histogram {
        let sample = Sample { label: "ours".into(), values: values.to_vec() };
        Histogram { title: "PSNR".into(), metric: Psnr.metric(), samples: vec![sample] }
    }

    #[test]
    fn every_finite_value_is_in_one_bin() {
        let values: Vec<f64> = (0..300).map(|i| 20.0 + f64::from(i * 7 % 97) / 10.0).collect();
        let plot = histogram(&values);
        let edges = plot.edges().unwrap();
        let counts = plot.samples[0].counts(&edges);
        assert_eq!(counts.iter().sum::<usize>(), 300);
        assert!(BINS.contains(&counts.len()), "{}", counts.len());
        let counted = values.iter().filter(|&&v| v >= edges[1] && v < edges[2]).count();
        assert_eq!(counts[1], counted);
        assert!(plot.to_svg().unwrap().contains("ours, mean"));
    }

    #[test]
    fn single_values_and_infinities() {
        assert!(histogram(&[25.0]).to_png().is_ok());
        let plot = histogram(&[25.0, f64::INFINITY, 26.0]);
        assert!(plot.to_svg().unwrap().contains("ours (1 not finite, not drawn)"));
        let empty = histogram(&[f64::INFINITY]);
        assert!(matches!(empty.to_svg(), Err(EvalError::NothingToShow { .. })));
    }
}
