//! Axes: a range, where its ticks are, and how values map to positions.

/// A linear, logarithmic or square-root axis.
#[derive(Clone, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    spacing: Spacing,
    /// Values and labels of the ticks, ascending.
    pub ticks: Vec<(f64, String)>,
}

/// How positions follow values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spacing {
    Linear,
    Logarithmic,
    SquareRoot,
}

impl Axis {
    /// An axis over finite `low <= high` with about `count` round ticks. Where `grow` is set the
    /// range grows to whole ticks.
    pub fn linear(low: f64, high: f64, count: usize, grow: bool) -> Self {
        let (low, high) = widened(low, high);
        let step = round_step((high - low) / count as f64);
        let (low, high) = if grow {
            ((low / step).floor() * step, (high / step).ceil() * step)
        } else {
            (low, high)
        };
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        // A tolerance of a thousandth step, so that the ends are not lost to rounding.
        let first = (low / step - 1e-3).ceil() as i64;
        let last = (high / step + 1e-3).floor() as i64;
        let label = |value: f64| thousands(&format!("{:.decimals$}", value + 0.0));
        let ticks = (first..=last).map(|i| i as f64 * step).map(|v| (v, label(v))).collect();
        Self { low, high, spacing: Spacing::Linear, ticks }
    }

    /// A logarithmic axis over `0 < low <= high`.
    pub fn logarithmic(low: f64, high: f64) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, high * 2.0) };
        let (low, high) = (low / 1.1, high * 1.1);
        // Powers of ten over many decades; 1, 2, 5 over few.
        let multiples: &[f64] = if high / low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let ticks = decades
            .flat_map(|decade| multiples.iter().map(move |m| (decade, m * 10f64.powi(decade))))
            .filter(|(_, value)| (low..=high).contains(value))
            .map(|(decade, value)| {
                let decimals = usize::try_from(-decade).unwrap_or(0);
                let label = if !(-4..=5).contains(&decade) {
                    format!("{value:.0e}")
                } else {
                    thousands(&format!("{value:.decimals$}"))
                };
                (value, label)
            })
            .collect();
        Self { low, high, spacing: Spacing::Logarithmic, ticks }
    }

    /// An axis over finite `low < high` by the square root of the distance from `low`, with ticks at
    /// fifths of its length.
    pub fn square_root(low: f64, high: f64) -> Self {
        let (low, high) = widened(low, high);
        let values = (0..=5).map(|fifth| low + (high - low) * f64::from(fifth * fifth) / 25.0);
        let decimals = (2.0 - (high - low).log10().ceil()).max(0.0) as usize;
        let ticks = values.map(|v| (v, thousands(&format!("{:.decimals$}", v + 0.0)))).collect();
        Self { low, high, spacing: Spacing::SquareRoot, ticks }
    }

    /// Where a value stands: 0 at the low end, 1 at the high end.
    pub fn position(&self, value: f64) -> f64 {
        let linear = (value - self.low) / (self.high - self.low);
        match self.spacing {
            Spacing::Linear => linear,
            Spacing::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
            Spacing::SquareRoot => linear.max(0.0).sqrt(),
        }
    }
}

/// The range, or one around it where it is empty.
fn widened(low: f64, high: f64) -> (f64, f64) {
    if high > low {
        (low, high)
    } else {
        let margin = if low == 0.0 { 1.0 } else { low.abs() * 0.05 };
        (low - margin, high + margin)
    }
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let multiple = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= step * 0.999);
    multiple.unwrap_or(10.0) * power
}

/// Groups of three digits by narrow spaces, from five digits on.
fn thousands(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("−", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && whole.len() > 4 && (whole.len() - index) % 3 == 0 {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_inside() {
        let axis = Axis::linear(17.3, 24.1, 5, true);
        assert_eq!(labels(&axis), ["16", "18", "20", "22", "24", "26"]);
        let axis = Axis::linear(0.0, 0.5, 5, false);
        assert_eq!(labels(&axis), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        let axis = Axis::linear(-10_000.0, 20_000.0, 3, false);
        assert_eq!(labels(&axis), ["−10\u{a0}000", "0", "10\u{a0}000", "20\u{a0}000"]);
        assert_eq!(axis.position(-10_000.0), 0.0);
        assert_eq!(axis.position(20_000.0), 1.0);
    }

    #[test]
    fn a_single_value_has_an_axis_too() {
        for value in [0.0, 3.0, -2.0] {
            let axis = Axis::linear(value, value, 4, true);
            assert!(axis.ticks.len() >= 2);
            assert!((0.0..=1.0).contains(&axis.position(value)));
        }
        assert!((Axis::logarithmic(3.0, 3.0).position(3.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn square_root_ticks_are_evenly_spaced() {
        let axis = Axis::square_root(0.0, 0.25);
        assert_eq!(labels(&axis), ["0.00", "0.01", "0.04", "0.09", "0.16", "0.25"]);
        for (index, (value, _)) in axis.ticks.iter().enumerate() {
            assert!((axis.position(*value) - index as f64 / 5.0).abs() < 1e-12);
        }
    }

    #[test]
    fn logarithmic_ticks_are_spaced_by_ratios() {
        let axis = Axis::logarithmic(0.02, 0.9);
        assert_eq!(labels(&axis), ["0.02", "0.05", "0.1", "0.2", "0.5"]);
        let step = axis.position(0.2) - axis.position(0.02);
        assert!((axis.position(0.9) - axis.position(0.09) - step).abs() < 1e-12);
        assert_eq!(
            labels(&Axis::logarithmic(1e-6, 1e-2)),
            ["1e-6", "1e-5", "0.0001", "0.001", "0.01"]
        );
    }
}
