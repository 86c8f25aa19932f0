//! One pair.

use std::path::Path;
use std::sync::LazyLock;

use super::profile::Space;
use super::registration::{Plane, Registration, register};
use super::rendering::{self, Settings};
use super::report::{Problem, ProblemKind};
use crate::DataError;
use crate::pairs::PairPaths;
use crate::picture::{DecodeLimits, Picture};
use crate::protocol::{Protocol, SizeRule};
use crate::raw;

/// Shifts beyond this are a problem. Pairs of FiveK appear shifted by up to 0.03 pixels (see
/// [`super::registration`]); a resize whose sampling grid starts at the pixel's corner instead of its
/// centre, the usual mistake, shifts by half a pixel.
const LARGEST_SHIFT: f64 = 0.25;

/// The same for quarters of a picture, whose shifts tell a crop, a change of scale or a correction of
/// the lens in one of the two. There are fewer edges in a quarter, hence the wider limit.
const LARGEST_SHIFT_OF_A_QUARTER: f64 = 0.5;

/// Sides of the windows that are compared, in pixels: enough for a sharp peak at a bounded cost.
const WINDOW: usize = 1024;
const WINDOW_OF_A_QUARTER: usize = 512;

/// Pairs with a smaller mean difference, in levels of 8 bits, are one picture twice, perhaps
/// compressed anew. Pairs of FiveK differ by 15 levels or more.
const SMALLEST_DIFFERENCE: f64 = 1.0;

/// What a file is.
pub(super) struct Side {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bits a sample; `None` for camera raw files, which are rendered.
    pub(super) bit_depth: Option<u8>,
    /// `PNG`, `DNG (camera raw)`.
    pub(super) format: String,
    pub(super) space: Space,
}

/// What was found out about a pair.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) problems: Vec<Problem>,
    pub(super) input: Option<Side>,
    pub(super) target: Option<Side>,
    /// Lightroom's settings in the input.
    pub(super) settings: Option<Settings>,
    /// log2 of the mean linear luminance of the target over that of the input, in EV.
    pub(super) gap: Option<f64>,
    /// The shift of the whole, in pixels.
    pub(super) shift: Option<f64>,
    /// The largest shift of a quarter, in pixels.
    pub(super) shift_of_a_quarter: Option<f64>,
}

pub(super) fn judge(pair: &PairPaths, protocol: Option<Protocol>) -> Facts {
    let mut facts = Facts::default();
    let id = pair.id.as_str();
    let mut open = |path: &Path| -> Option<(Picture, Vec<u8>)> {
        let opened = std::fs::read(path).map_err(|e| DataError::read(path, e)).and_then(|bytes| {
            Picture::from_bytes(&bytes, path, &DecodeLimits::default())
                .map(|picture| (picture, bytes))
        });
        opened
            .map_err(|error| {
                let kind = match error {
                    DataError::Profile { .. } => ProblemKind::Profile,
                    _ => ProblemKind::Unreadable,
                };
                facts.problems.push(Problem::new(kind, id, error.to_string()));
            })
            .ok()
    };
    let input = open(&pair.input);
    let target = open(&pair.target);
    facts.settings = input.as_ref().and_then(|(_, bytes)| rendering::lightroom(bytes));
    let look = |opened: Option<(Picture, Vec<u8>)>, path: &Path| {
        let (picture, bytes) = opened?;
        let side = side(&picture, &bytes, path);
        Some((picture, side))
    };
    let (input, of_input) = look(input, &pair.input).unzip();
    let (target, of_target) = look(target, &pair.target).unzip();
    (facts.input, facts.target) = (of_input, of_target);
    if let Some(protocol) = protocol {
        follow(protocol, id, &mut facts);
    }
    if let (Some(input), Some(target)) = (&input, &target) {
        compare(input, target, id, &mut facts);
        if protocol.is_none() {
            same_space(id, &mut facts);
        }
    }
    facts
}

fn side(picture: &Picture, bytes: &[u8], path: &Path) -> Side {
    let info = picture.info();
    let raw = raw::format_of(bytes, path);
    Side {
        width: picture.width(),
        height: picture.height(),
        bit_depth: raw.is_none().then_some(info.bit_depth),
        format: raw.map_or_else(|| info.format.to_string(), |raw| format!("{raw} (camera raw)")),
        space: Space::of(info.icc_profile.as_deref()),
    }
}

/// Whether each file is as the protocol has it. What is wrong with both files alike is told once.
fn follow(protocol: Protocol, id: &str, facts: &mut Facts) {
    let of = |side: &Option<Side>| side.as_ref().map(|side| side.against(protocol));
    let of_input = of(&facts.input).unwrap_or_default();
    let of_target = of(&facts.target).unwrap_or_default();
    let mut found = Vec::new();
    for wrong in &of_input {
        let (who, verb) = match of_target.contains(wrong) {
            true => ("input and target", wrong.verbs.1),
            false => ("the input", wrong.verbs.0),
        };
        found.push(Problem::new(wrong.kind, id, format!("{who} {verb} {}", wrong.what)));
    }
    for wrong in of_target.iter().filter(|wrong| !of_input.contains(wrong)) {
        let detail = format!("the target {} {}", wrong.verbs.0, wrong.what);
        found.push(Problem::new(wrong.kind, id, detail));
    }
    if facts.input.as_ref().is_some_and(|side| side.bit_depth.is_none()) {
        let detail = rendering::of_our_own(protocol.input());
        found.push(Problem::new(ProblemKind::Brightness, id, detail));
        facts.problems.extend(found);
        // Lightroom's settings in a raw file are not what was done to it here.
        return;
    }
    if let Some(detail) = facts.settings.and_then(|settings| settings.problem(protocol.input())) {
        found.push(Problem::new(ProblemKind::Brightness, id, detail));
    }
    facts.problems.extend(found);
}

/// What is wrong with a file.
#[derive(PartialEq)]
struct Wrong {
    kind: ProblemKind,
    /// For one file and for two.
    verbs: (&'static str, &'static str),
    what: String,
}

impl Side {
    /// What a protocol has otherwise.
    fn against(&self, protocol: Protocol) -> Vec<Wrong> {
        let mut found = Vec::new();
        let mut wrong = |kind, verbs, what| found.push(Wrong { kind, verbs, what });
        let (has, is) = (("has", "have"), ("is", "are"));
        let Self { width, height, .. } = *self;
        let expected = protocol.bit_depth();
        if let Some(depth) = self.bit_depth.filter(|depth| *depth != expected) {
            wrong(ProblemKind::BitDepth, has, format!("{depth} bits, the protocol {expected}"));
        }
        if !self.space.is_srgb() {
            let what = format!("in {}, the protocol in {}", self.space, protocol.colour_space());
            wrong(ProblemKind::Profile, is, what);
        }
        let (rule, edge) = (protocol.size(), protocol.size().edge() as usize);
        let length = match rule {
            SizeRule::LongEdge(_) => width.max(height),
            SizeRule::ShortEdge(_) => width.min(height),
        };
        if length > edge {
            let what = format!("{width}x{height}, the protocol has {rule}");
            wrong(ProblemKind::UnequalSize, is, what);
        } else if width == edge && height == edge {
            let what = format!(
                "{width}x{height}: cameras do not take square pictures, so probably squeezed; keep \
                 the aspect ({rule})"
            );
            wrong(ProblemKind::UnequalSize, is, what);
        }
        found
    }
}

/// Without a protocol any space will do, but it should be one.
fn same_space(id: &str, facts: &mut Facts) {
    let (Some(input), Some(target)) = (&facts.input, &facts.target) else { return };
    let (input, target) = (&input.space, &target.space);
    if input != target && !(input.is_srgb() && target.is_srgb()) {
        let detail = format!("the input is in {input}, the target in {target}");
        facts.problems.push(Problem::new(ProblemKind::Profile, id, detail));
    }
}

/// Input against target.
fn compare(input: &Picture, target: &Picture, id: &str, facts: &mut Facts) {
    let size = (input.width(), input.height());
    let other = (target.width(), target.height());
    let mut problem = |kind, detail: String| facts.problems.push(Problem::new(kind, id, detail));
    if size != other {
        let turned = if size == (other.1, other.0) { "; one of them is turned" } else { "" };
        let detail = format!(
            "the input is {}x{}, the target {}x{}{turned}",
            size.0, size.1, other.0, other.1
        );
        return problem(ProblemKind::UnequalSize, detail);
    }
    let totals = Totals::of(input, target);
    if totals.difference < SMALLEST_DIFFERENCE {
        let detail =
            format!("input and target differ by {:.2} of 255 in the mean", totals.difference);
        return problem(ProblemKind::Identical, detail);
    }
    if totals.input <= 0.0 && totals.target > 0.0 {
        return problem(ProblemKind::Brightness, "the input is black all over".into());
    }
    if totals.input > 0.0 && totals.target > 0.0 {
        facts.gap = Some((totals.target / totals.input).log2());
    }
    let look = |window: Window| register(&window.read(input), &window.read(target));
    match look(Window::centre(size)) {
        Registration::Unknown => return,
        Registration::OneIsEmpty => {
            let detail = "one of input and target is plain, the other is not";
            return problem(ProblemKind::Misregistered, detail.into());
        }
        Registration::Shift(shift) if !shift.same_picture() => {
            let detail = format!(
                "input and target do not show the same, or are shifted far (correlation {:.2})",
                shift.peak
            );
            return problem(ProblemKind::Misregistered, detail);
        }
        Registration::Shift(shift) => {
            facts.shift = Some(shift.length());
            if shift.peak >= shift.significant && shift.length() > LARGEST_SHIFT {
                let detail = format!(
                    "the target is shifted by {:.2} pixels ({:+.2} down, {:+.2} right)",
                    shift.length(),
                    shift.rows,
                    shift.columns
                );
                return problem(ProblemKind::Misregistered, detail);
            }
        }
    }
    for (name, window) in Window::quarters(size) {
        let Registration::Shift(shift) = look(window) else { continue };
        if shift.peak < shift.significant {
            continue;
        }
        let largest = facts.shift_of_a_quarter.unwrap_or(0.0);
        if shift.length() > LARGEST_SHIFT_OF_A_QUARTER && largest <= LARGEST_SHIFT_OF_A_QUARTER {
            let detail = format!(
                "the target's {name} quarter is shifted by {:.2} pixels and the whole is not: one \
                 of the two is cropped, scaled or bent",
                shift.length()
            );
            facts.problems.push(Problem::new(ProblemKind::Misregistered, id, detail));
        }
        facts.shift_of_a_quarter = Some(largest.max(shift.length()));
    }
}

/// Sums over all pixels.
struct Totals {
    /// Mean linear luminance.
    input: f64,
    target: f64,
    /// Mean absolute difference in levels of 8 bits.
    difference: f64,
}

impl Totals {
    fn of(input: &Picture, target: &Picture) -> Self {
        let (width, height) = (input.width(), input.height());
        let (mut a, mut b) = (Row::new(width), Row::new(width));
        let (mut light_a, mut light_b, mut difference) = (0.0f64, 0.0f64, 0.0f64);
        for y in 0..height {
            a.read(input, y);
            b.read(target, y);
            light_a += a.light();
            light_b += b.light();
            let of_row: f32 = a.0.iter().zip(&b.0).map(|(a, b)| (a - b).abs()).sum();
            difference += f64::from(of_row);
        }
        let pixels = (width * height) as f64;
        Self {
            input: light_a / pixels,
            target: light_b / pixels,
            difference: 255.0 * difference / (3.0 * pixels),
        }
    }
}

/// Red, green and blue of a row.
struct Row(Vec<f32>);

impl Row {
    fn new(width: usize) -> Self {
        Self(vec![0.0; 3 * width])
    }

    fn read(&mut self, picture: &Picture, y: usize) {
        let width = picture.width();
        let (red, rest) = self.0.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        picture.read_row(y, [red, green, blue]);
    }

    fn planes(&self) -> [&[f32]; 3] {
        let width = self.0.len() / 3;
        [&self.0[..width], &self.0[width..2 * width], &self.0[2 * width..]]
    }

    /// The sum of linear luminance: Rec. 709 weights.
    fn light(&self) -> f64 {
        let linear = |plane: &[f32]| -> f64 {
            plane.iter().map(|&v| f64::from(LINEAR[(v * STEPS as f32 + 0.5) as usize])).sum()
        };
        let [red, green, blue] = self.planes().map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

/// sRGB's decoding at this many steps: a mean needs no more.
const STEPS: usize = 4096;
static LINEAR: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let decode = |v: f32| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
    (0..=STEPS).map(|k| decode(k as f32 / STEPS as f32)).collect()
});

/// A part of a picture.
#[derive(Clone, Copy)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Window {
    /// At most `side` pixels each way, in the middle of a part that begins at `(left, top)`.
    fn within((left, top): (usize, usize), (width, height): (usize, usize), side: usize) -> Self {
        let (w, h) = (width.min(side), height.min(side));
        Self { left: left + (width - w) / 2, top: top + (height - h) / 2, width: w, height: h }
    }

    fn centre(size: (usize, usize)) -> Self {
        Self::within((0, 0), size, WINDOW)
    }

    fn quarters((width, height): (usize, usize)) -> [(&'static str, Self); 4] {
        let half = (width / 2, height / 2);
        let at = |left, top| Self::within((left, top), half, WINDOW_OF_A_QUARTER);
        [
            ("upper left", at(0, 0)),
            ("upper right", at(half.0, 0)),
            ("lower left", at(0, half.1)),
            ("lower right", at(half.0, half.1)),
        ]
    }

    /// Luminance of sRGB values: Rec. 601 weights.
    fn read(self, picture: &Picture) -> Plane {
        let mut row = Row::new(picture.width());
        let mut values = Vec::with_capacity(self.width * self.height);
        let columns = self.left..self.left + self.width;
        for y in self.top..self.top + self.height {
            row.read(picture, y);
            let [red, green, blue] = row.planes().map(|plane| &plane[columns.clone()]);
            values.extend(
                red.iter()
                    .zip(green)
                    .zip(blue)
                    .map(|((r, g), b)| 0.299 * r + 0.587 * g + 0.114 * b),
            );
        }
        Plane { height: self.height, width: self.width, values }
    }
}
