//! Bars of an ablation: one value per variant.

use super::axis::Axis;
use super::ink::{BAR, BAR_LIGHT, GRID, INK, LABEL, STRONG, TICK, TITLE};
use super::surface::{Anchor, Surface, WHITE};
use super::{Plot, WIDTH, nothing_to_show};
use crate::error::Result;
use crate::metrics::Metric;

const MARGIN: f64 = 24.0;
const TITLE_HEIGHT: f64 = 44.0;
const BAR_HEIGHT: f64 = 24.0;
/// From one bar's top to the next.
const PITCH: f64 = 36.0;
const FOOT: f64 = 56.0;

/// Horizontal bars with their values, one per variant, from the top in the order given.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Title.
    pub title: String,
    /// What the values are: gives the axis its name, unit and arrow, and the values their
    /// decimals.
    pub metric: Metric,
    /// Where the axis begins. `None` is 0, where lengths are proportional to values; any other
    /// beginning is written at the axis.
    pub axis_from: Option<f64>,
    /// The bars.
    pub bars: Vec<Bar>,
}

/// How far a value may be from the one drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whisker {
    /// As far to either side, e.g. the standard deviation over seeds: printed as `23.93 ± 0.05`.
    Spread(f64),
    /// An interval, e.g. the 95 % confidence interval of the mean over images: printed as
    /// `23.93 [23.41, 24.46]`.
    Interval {
        /// Its low end.
        low: f64,
        /// Its high end.
        high: f64,
    },
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Name of the variant.
    pub label: String,
    /// Its value.
    pub value: f64,
    /// How certain the value is.
    pub whisker: Option<Whisker>,
    /// Whether it is drawn dark, e.g. the full model.
    pub emphasised: bool,
}

impl Bar {
    /// A bar without whisker or emphasis.
    pub fn new(label: impl Into<String>, value: f64) -> Self {
        Self { label: label.into(), value, whisker: None, emphasised: false }
    }

    /// The same, drawn dark.
    #[must_use]
    pub fn with_emphasis(self) -> Self {
        Self { emphasised: true, ..self }
    }

    /// The same with a whisker of this half-length.
    #[must_use]
    pub fn with_spread(self, spread: f64) -> Self {
        Self { whisker: Some(Whisker::Spread(spread)), ..self }
    }

    /// The same with the ends of an interval.
    #[must_use]
    pub fn with_interval(self, low: f64, high: f64) -> Self {
        Self { whisker: Some(Whisker::Interval { low, high }), ..self }
    }

    /// Both ends of the whisker.
    fn ends(&self) -> Option<(f64, f64)> {
        Some(match self.whisker? {
            Whisker::Spread(spread) => (self.value - spread, self.value + spread),
            Whisker::Interval { low, high } => (low, high),
        })
    }
}

impl Bars {
    /// The axis: from its beginning to the longest bar or whisker.
    fn axis(&self) -> Result<Axis> {
        let from = self.axis_from.unwrap_or(0.0);
        let (mut low, mut high) = (from, from);
        for bar in &self.bars {
            let (from, to) = bar.ends().unwrap_or((bar.value, bar.value));
            for value in [bar.value, from, to] {
                if !value.is_finite() {
                    let reason = format!("`{}` is {value}", bar.label);
                    return Err(nothing_to_show(&self.title, reason));
                }
                low = low.min(value);
                high = high.max(value);
            }
        }
        if self.bars.is_empty() {
            return Err(nothing_to_show(&self.title, "it has no bars"));
        }
        if self.axis_from.is_some() && low < from {
            let reason = format!("the axis begins at {from}, above some values");
            return Err(nothing_to_show(&self.title, reason));
        }
        Ok(Axis::linear(low, high, 6, false))
    }

    fn axis_name(&self) -> String {
        match self.axis_from {
            Some(from) if from != 0.0 => {
                format!("{}, the axis begins at {from}", self.metric.heading())
            }
            _ => self.metric.heading(),
        }
    }

    fn value_text(&self, bar: &Bar) -> String {
        let value = self.metric.format(bar.value);
        match bar.whisker {
            Some(Whisker::Spread(spread)) => format!("{value} ± {}", self.metric.format(spread)),
            Some(Whisker::Interval { low, high }) => {
                format!("{value} [{}, {}]", self.metric.format(low), self.metric.format(high))
            }
            None => value,
        }
    }
}

impl Plot for Bars {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self) -> f64 {
        MARGIN + TITLE_HEIGHT + self.bars.len() as f64 * PITCH + FOOT
    }

    fn draw(&self, surface: &mut dyn Surface) -> Result<()> {
        let axis = self.axis()?;
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        // Names may take four tenths of the width; what is longer is cut.
        let room = WIDTH * 0.4;
        let names = widest(&mut self.bars.iter().map(|bar| STRONG.width(&bar.label))).min(room);
        let values = widest(&mut self.bars.iter().map(|bar| STRONG.width(&self.value_text(bar))));
        let left = MARGIN + names + 12.0;
        let right = WIDTH - MARGIN - values - 12.0;
        let top = MARGIN + TITLE_HEIGHT;
        let bottom = top + self.bars.len() as f64 * PITCH;
        let at = |value: f64| left + axis.position(value) * (right - left);

        let title = TITLE.fitted(&self.title, WIDTH - 2.0 * MARGIN);
        surface.text(&title, (MARGIN, MARGIN + 8.0), Anchor::Start, TITLE)?;
        for (value, label) in &axis.ticks {
            surface.line(&[(at(*value), top), (at(*value), bottom)], 1.0, GRID, 1.0)?;
            surface.text(label, (at(*value), bottom + 14.0), Anchor::Middle, TICK)?;
        }
        let name = (left.midpoint(right), bottom + 36.0);
        surface.text(&self.axis_name(), name, Anchor::Middle, TICK)?;
        let origin = at(self.axis_from.unwrap_or(0.0));
        for (index, bar) in self.bars.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * PITCH;
            let (color, style) = if bar.emphasised { (BAR, STRONG) } else { (BAR_LIGHT, LABEL) };
            let end = at(bar.value);
            let half = BAR_HEIGHT / 2.0;
            surface.rectangle([(origin.min(end), y - half), (origin.max(end), y + half)], color)?;
            let mut text_from = end.max(origin);
            if let Some((low, high)) = bar.ends() {
                let (low, high) = (at(low), at(high));
                // First in white, wider, so that it shows on a dark bar as well.
                for (width, color) in [(4.5, WHITE), (1.5, INK)] {
                    let more = (width - 1.5) / 2.0;
                    let along = [(low - more, y), (high + more, y)];
                    surface.line(&along, width, color, 1.0)?;
                    for x in [low, high] {
                        let across = [(x, y - 5.0 - more), (x, y + 5.0 + more)];
                        surface.line(&across, width, color, 1.0)?;
                    }
                }
                text_from = text_from.max(high);
            }
            let label = style.fitted(&bar.label, room);
            surface.text(&label, (left - 12.0, y), Anchor::End, style)?;
            let value = self.value_text(bar);
            let start = text_from + 8.0;
            // No grid line through the number.
            let behind = [(start - 3.0, y - 9.0), (start + style.width(&value) + 3.0, y + 9.0)];
            surface.rectangle(behind, WHITE)?;
            surface.text(&value, (start, y), Anchor::Start, style)?;
        }
        surface.line(&[(origin, top), (origin, bottom)], 1.0, INK, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EvalError;
    use crate::metrics::{ImageMetric, Psnr};

    fn bars(axis_from: Option<f64>, values: &[f64]) -> Bars {
        let bars = values.iter().map(|&value| Bar::new("variant", value)).collect();
        Bars { title: "Ablation".into(), metric: Psnr.metric(), axis_from, bars }
    }

    #[test]
    fn an_axis_not_from_zero_says_so() {
        let svg = bars(Some(20.0), &[23.9, 21.57]).to_svg().unwrap();
        assert!(svg.contains("PSNR (dB) ↑, the axis begins at 20"), "{svg}");
        assert!(svg.contains("23.90") && svg.contains("21.57"));
        let svg = bars(None, &[23.9]).to_svg().unwrap();
        assert!(!svg.contains("begins"));
    }

    #[test]
    fn intervals_are_printed_with_both_ends() {
        let mut plot = bars(Some(20.0), &[23.9]);
        plot.bars[0] = Bar::new("a", 23.9).with_interval(23.2, 24.4);
        plot.bars.push(Bar::new("b", 22.0).with_spread(0.25));
        let svg = plot.to_svg().unwrap();
        assert!(svg.contains("23.90 [23.20, 24.40]") && svg.contains("22.00 ± 0.25"), "{svg}");
        plot.bars[0] = Bar::new("a", 23.9).with_interval(f64::NAN, 24.4);
        assert!(matches!(plot.to_svg(), Err(EvalError::NothingToShow { .. })));
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        for plot in [bars(None, &[]), bars(None, &[f64::INFINITY]), bars(Some(20.0), &[19.0])] {
            assert!(matches!(plot.to_svg(), Err(EvalError::NothingToShow { .. })));
        }
        assert!(bars(None, &[-3.0, 4.0]).to_png().is_ok());
        assert!(bars(None, &[0.0]).to_png().is_ok());
    }
}
