//! The predicted local filters drawn over their photograph, with their numbers.
//!
//! A graduated filter is its line of half effect (solid), with the lines where its effect begins
//! (0 %, dotted) and is complete (100 %, dashed), and an arrow in the direction in which the effect
//! grows; lines the filter never reaches or that lie outside the picture are not drawn, and where
//! none is left only the arrow is. An
//! elliptical filter is the outline inside which it acts (solid), its centre (a cross) and its two
//! semi-axes (dashed). Every instance has a name, `G1` or `E2`, a colour of its own that can be told
//! apart with any colour vision (Okabe and Ito 2008), and dark borders around its light lines, so
//! that it shows on any photograph. Labels that would lie over others stand beside them. An instance that leaves all channels as they are is drawn
//! faintly.

mod clip;
mod elliptical;
mod graduated;
mod labels;
mod numbers;
mod raster;
mod svg;

use deeplpf_filters::{Dialect, EllipticalParams, GraduatedParams, StackConfig, StackParams};

use clip::clipped;

/// Length of the drawing's long edge in its own units.
const LONG_EDGE: f64 = 1000.0;
/// Font size of names and levels.
const TEXT_SIZE: f64 = 24.0;
/// Width of lines, and of the dark border on each side of them.
const LINE_WIDTH: f64 = 3.0;
const BORDER: f64 = 1.8;
/// Half the size of the cross at a centre.
const CROSS: f64 = 9.0;
const ARROW_LENGTH: f64 = 62.0;
const ARROW_HEAD: f64 = 15.0;
/// How far labels stay from the picture's border.
const LABEL_MARGIN: f64 = 20.0;
/// Scales this close to 1 change an 8-bit value by one level at most.
const NO_EFFECT: f64 = 1.0 / 255.0;

type Color = [u8; 3];

/// Light colours that differ for all kinds of colour vision, first for graduated and then for
/// elliptical instances; more instances begin again.
const COLORS: [[Color; 3]; 2] = [
    [[0x56, 0xb4, 0xe9], [0xf0, 0xe4, 0x42], [0xe6, 0xa3, 0xc8]],
    [[0xe6, 0x9f, 0x00], [0x2d, 0xc9, 0x9a], [0xff, 0x7a, 0x33]],
];

/// The local filters of one photograph, ready to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterDrawing {
    /// Width and height in drawing units.
    size: (f64, f64),
    instances: Vec<Instance>,
    numbers: Vec<numbers::Block>,
}

/// One drawn instance.
#[derive(Clone, Debug, PartialEq)]
struct Instance {
    name: String,
    color: Color,
    /// Whether it changes any channel.
    acts: bool,
    strokes: Vec<Stroke>,
    labels: Vec<Label>,
}

/// A line through points in drawing units: to the right and downwards.
#[derive(Clone, Debug, PartialEq)]
struct Stroke {
    points: Vec<(f64, f64)>,
    closed: bool,
    /// Lengths drawn and left out; empty for a solid line.
    dashes: &'static [f64],
}

/// A text centred on a point.
#[derive(Clone, Debug, PartialEq)]
struct Label {
    text: String,
    at: (f64, f64),
}

const SOLID: &[f64] = &[];
const DASHED: &[f64] = &[16.0, 9.0];
const DOTTED: &[f64] = &[3.0, 8.0];
/// Semi-axes: finer than the lines of 100 per cent.
const FINE: &[f64] = &[7.0, 6.0];

impl FilterDrawing {
    /// The graduated and elliptical filters of a photograph of `width` x `height` pixels.
    pub fn new(
        config: &StackConfig,
        params: &StackParams<f32>,
        (width, height): (usize, usize),
    ) -> Self {
        let longest = width.max(height).max(1) as f64;
        let unit = |pixels: usize| pixels.max(1) as f64 * LONG_EDGE / longest;
        let size = (unit(width), unit(height));
        let params = params.map(f64::from);
        let mut instances = Vec::new();
        for (k, graduated) in params.graduated.iter().enumerate() {
            instances.push(draw_graduated(config, graduated, k, size));
        }
        for k in 0..params.elliptical.len() {
            instances.push(draw_elliptical(config, &params.elliptical, k, size));
        }
        labels::separate(&mut instances, size);
        Self { size, instances, numbers: numbers::blocks(config, &params) }
    }

    /// Whether there is nothing to draw, as in a model without local filters.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}

/// Whether scales change anything: in the release a scale of 1 does not, in the paper one of 0.
fn acts(config: &StackConfig, scale: &[f64; 3]) -> bool {
    let neutral = if config.dialect == Dialect::Paper { 0.0 } else { 1.0 };
    scale.iter().any(|scale| (scale - neutral).abs() > NO_EFFECT)
}

/// `RB` of red and blue; nothing for all three.
fn channel_letters(channels: [bool; 3]) -> String {
    if channels == [true; 3] {
        return String::new();
    }
    "RGB".chars().zip(channels).filter(|(_, is)| *is).map(|(letter, _)| letter).collect()
}

fn draw_graduated(
    config: &StackConfig,
    params: &GraduatedParams<f64>,
    k: usize,
    size: (f64, f64),
) -> Instance {
    let name = format!("G{}", k + 1);
    let mut instance = Instance {
        color: COLORS[0][k % 3],
        acts: acts(config, &params.scale),
        strokes: Vec::new(),
        labels: Vec::new(),
        name: name.clone(),
    };
    let (width, height) = size;
    let groups = graduated::lines(config, params);
    // What has no line to stand at stands below, one under the other.
    let note = |text: String| {
        let half = labels::half_extent(&text);
        let at = (half.0 + LABEL_MARGIN / 2.0, height - half.1 * (2.2 * (2 - k % 3) as f64 + 1.5));
        let beside = at.0 + half.0 + ARROW_LENGTH * (0.6 + 1.2 * (k % 3) as f64);
        (Label { text, at }, (beside, at.1))
    };
    if groups.is_empty() {
        instance.labels.push(note(format!("{name}: the same everywhere")).0);
    }
    for (index, lines) in groups.iter().enumerate() {
        let letters = channel_letters(lines.channels);
        let suffix = if letters.is_empty() { String::new() } else { format!(" {letters}") };
        let mut arrow_from = None;
        // 50 % last, so that it lies above the others and carries the arrow where it is visible.
        for (level, dashes) in [(0, DOTTED), (2, DASHED), (1, SOLID)] {
            let Some(shift) = lines.shifts[level] else { continue };
            // From the top edge (x = 0) to the bottom edge (x = 1) of the picture.
            let ends = [(shift * width, 0.0), ((params.slope + shift) * width, height)];
            let Some(ends) = clipped(ends, size) else { continue };
            instance.strokes.push(Stroke { points: ends.to_vec(), closed: false, dashes });
            let percent = (graduated::LEVELS[level] * 100.0).round();
            // Labels of neighbouring lines stand at different places along them.
            let share = [0.14, 0.3, 0.46][level] + 0.12 * (k % 3) as f64;
            instance.labels.push(Label {
                text: format!("{name}{suffix} {percent}%"),
                at: inside(between(ends, share), size),
            });
            arrow_from = Some(between(ends, 0.75));
        }
        let last = groups.len() == index + 1;
        let from = match arrow_from {
            Some(from) => from,
            // Nothing of the whole instance is visible: say so, and where its effect grows.
            None if last && instance.strokes.is_empty() => {
                let (label, beside) = note(format!("{name}: no line in the picture, grows"));
                instance.labels.push(label);
                beside
            }
            None => continue,
        };
        // Along (slope · width, height) the effect is constant; it grows across that.
        let along = (params.slope * width, height);
        let length = along.0.hypot(along.1);
        let sign = if lines.rising { 1.0 } else { -1.0 };
        let across = (sign * along.1 / length, -sign * along.0 / length);
        instance.strokes.extend(arrow(from, across));
    }
    instance
}

fn draw_elliptical(
    config: &StackConfig,
    all: &[EllipticalParams<f64>],
    k: usize,
    size: (f64, f64),
) -> Instance {
    let params = &all[k];
    let name = format!("E{}", k + 1);
    // From (x down, y to the right) in shares to (right, down) in drawing units.
    let place = |(x, y): (f64, f64)| (y * size.0, x * size.1);
    let mut instance = Instance {
        color: COLORS[1][k % 3],
        acts: acts(config, &params.scale),
        strokes: Vec::new(),
        labels: Vec::new(),
        name: name.clone(),
    };
    for outline in elliptical::outlines(config, all, k) {
        let points: Vec<_> = outline.corners.into_iter().map(place).collect();
        let letters = channel_letters(outline.channels);
        // Which channels, where there is more than one outline, stands at its rightmost point.
        if !letters.is_empty()
            && let Some(&at) = points.iter().max_by(|a, b| a.0.total_cmp(&b.0))
        {
            let text = format!("{name} {letters}");
            instance.labels.push(Label { text, at: inside(at, size) });
        }
        // The rarer outline, of blue alone, is dashed.
        let dashes = if outline.channels == [false, false, true] { DASHED } else { SOLID };
        instance.strokes.push(Stroke { points, closed: true, dashes });
    }
    let center = place((params.center_x, params.center_y));
    for (axis, ends) in ["a", "b"].iter().zip(elliptical::axes(config, params)) {
        for (index, end) in ends.into_iter().map(place).enumerate() {
            let points = vec![center, end];
            instance.strokes.push(Stroke { points, closed: false, dashes: FINE });
            let visible = (0.0..=size.0).contains(&end.0) && (0.0..=size.1).contains(&end.1);
            if index == 0 && visible {
                let at = inside(between([center, end], 0.9), size);
                instance.labels.push(Label { text: (*axis).to_owned(), at });
            }
        }
    }
    let (x, y) = center;
    for arm in [[(x - CROSS, y), (x + CROSS, y)], [(x, y - CROSS), (x, y + CROSS)]] {
        let points = arm.to_vec();
        instance.strokes.push(Stroke { points, closed: false, dashes: SOLID });
    }
    let at = inside((x, y - CROSS - TEXT_SIZE * 0.7), size);
    instance.labels.push(Label { text: name, at });
    instance
}

fn between([from, to]: [(f64, f64); 2], share: f64) -> (f64, f64) {
    (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
}

/// The nearest point that leaves room for a label.
fn inside((x, y): (f64, f64), (width, height): (f64, f64)) -> (f64, f64) {
    let hold = |value: f64, size: f64, margin: f64| {
        let margin = margin.min(size / 2.0);
        value.clamp(margin, size - margin)
    };
    (hold(x, width, 3.0 * LABEL_MARGIN), hold(y, height, LABEL_MARGIN))
}

/// An arrow from a point along a unit vector: its shaft and its head.
fn arrow((x, y): (f64, f64), (dx, dy): (f64, f64)) -> [Stroke; 2] {
    let tip = (x + ARROW_LENGTH * dx, y + ARROW_LENGTH * dy);
    let barb = |side: f64| {
        (tip.0 - ARROW_HEAD * (dx + side * 0.6 * dy), tip.1 - ARROW_HEAD * (dy - side * 0.6 * dx))
    };
    [vec![(x, y), tip], vec![barb(1.0), tip, barb(-1.0)]].map(|points| Stroke {
        points,
        closed: false,
        dashes: SOLID,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three instances of each filter with strong effects, as a network might predict them.
    pub(crate) fn example() -> (StackConfig, StackParams<f32>) {
        let config = StackConfig::default();
        let mut raw = vec![0.0f32; config.raw_len()];
        let graduated = config.graduated_range().start;
        let elliptical = config.elliptical_range().start;
        // inversion, slope, o1, offset, o2; then the scales.
        let values = [
            [0.5, -0.5, 0.9],
            [0.3, -0.8, 0.05],
            [-2.0, -2.0, -2.0],
            [0.2, 0.1, -0.6],
            [-0.4, -0.8, -1.2],
        ];
        for (field, values) in values.iter().enumerate() {
            raw[graduated + 3 * field..][..3].copy_from_slice(values);
        }
        raw[graduated + 15..][..9]
            .copy_from_slice(&[-0.6, -0.4, -0.2, 0.4, -0.3, 0.2, -0.2, -0.2, -0.2]);
        // center_x, center_y, a, b, angle; then the scales.
        let values = [
            [-0.3, 0.4, 0.1],
            [0.4, -0.4, 0.1],
            [-0.6, -0.9, -0.3],
            [-0.9, -0.7, -0.9],
            [-0.5, 0.0, 0.6],
        ];
        for (field, values) in values.iter().enumerate() {
            raw[elliptical + 3 * field..][..3].copy_from_slice(values);
        }
        raw[elliptical + 15..][..9]
            .copy_from_slice(&[0.5, 0.4, 0.3, -0.5, -0.4, -0.3, 0.0, 0.0, 0.0]);
        let stack = deeplpf_filters::FilterStack::from_raw(&config, &raw).unwrap();
        (config, stack.params().clone())
    }

    #[test]
    fn rows_go_down_and_columns_to_the_right() {
        let (config, mut params) = example();
        let ellipse = &mut params.elliptical[0];
        (ellipse.center_x, ellipse.center_y) = (0.25, 0.75);
        let drawing = FilterDrawing::new(&config, &params, (400, 200));
        assert_eq!(drawing.size, (1000.0, 500.0));
        let e1 = drawing.instances.iter().find(|instance| instance.name == "E1").unwrap();
        // The cross is the last of its strokes: around 3/4 of the width, 1/4 of the height.
        let cross = &e1.strokes[e1.strokes.len() - 2].points;
        assert_eq!(cross[0], (750.0 - CROSS, 125.0));
        // A vertical line: slope 0 is one column.
        let upright = GraduatedParams {
            inversion: 1.0,
            slope: 0.0,
            offset: 0.3,
            o1: 0.1,
            o2: 0.2,
            scale: [0.5; 3],
        };
        let paper = StackConfig { dialect: Dialect::Paper, ..config };
        let drawn = draw_graduated(&paper, &upright, 0, (1000.0, 500.0));
        let half = drawn.strokes.iter().find(|stroke| stroke.dashes.is_empty()).unwrap();
        assert_eq!(half.points, [(300.0, 0.0), (300.0, 500.0)]);
        let texts: Vec<_> = drawn.labels.iter().map(|label| label.text.as_str()).collect();
        assert_eq!(texts, ["G1 0%", "G1 100%", "G1 50%"]);
        // Its effect grows to the right, and so does the arrow.
        let shaft = &drawn.strokes[3].points;
        assert!(shaft[1].0 > shaft[0].0 && shaft[1].1 == shaft[0].1, "{shaft:?}");
    }

    #[test]
    fn an_instance_without_effect_is_known() {
        let (config, params) = example();
        let drawing = FilterDrawing::new(&config, &params, (300, 400));
        let acting: Vec<_> = drawing.instances.iter().map(|instance| instance.acts).collect();
        assert_eq!(acting, [true, true, true, true, true, false]);
        let none = StackConfig { graduated: 0, elliptical: 0, ..config };
        let params = StackParams { graduated: vec![], elliptical: vec![], ..params };
        assert!(FilterDrawing::new(&none, &params, (300, 400)).is_empty());
    }
}
