//! Colours and text styles of plots. The report's style sheet maps the neutral colours to its
//! dark theme by these values; a test keeps the two together.

use super::surface::Color;
use crate::typeface::{TextStyle, Weight};

/// Text and axis.
pub const INK: Color = [0x1f, 0x23, 0x28];
/// Secondary text.
pub const MUTED: Color = [0x59, 0x63, 0x6e];
/// Grid lines.
pub const GRID: Color = [0xe3, 0xe6, 0xea];
/// Bars of emphasis.
pub const BAR: Color = [0x1f, 0x5f, 0x9e];
/// Other bars: lighter by enough to tell apart in greys.
pub const BAR_LIGHT: Color = [0x9f, 0xbd, 0xdb];

/// Colours of curves (Okabe and Ito 2008, for all kinds of colour vision; its yellow is too light
/// for a line), each with its dash pattern in pixels (drawn, left out, ...), so that curves can be
/// told apart without colour.
pub const CURVES: [(Color, &[f64]); 7] = [
    ([0x00, 0x72, 0xb2], &[]),
    ([0xd5, 0x5e, 0x00], &[7.0, 4.0]),
    ([0x00, 0x8f, 0x68], &[2.0, 3.0]),
    ([0xb0, 0x4f, 0x8c], &[10.0, 3.0, 2.0, 3.0]),
    ([0xc5, 0x85, 0x00], &[14.0, 4.0]),
    ([0x3f, 0x9f, 0xd8], &[4.0, 2.0]),
    ([0x3a, 0x3f, 0x45], &[1.5, 5.0]),
];

/// The plot's title.
pub const TITLE: TextStyle = TextStyle { weight: Weight::SemiBold, size: 17.0, color: INK };
/// Legends, names of bars, values.
pub const LABEL: TextStyle = TextStyle { weight: Weight::Regular, size: 13.5, color: INK };
/// Values to look at first.
pub const STRONG: TextStyle = TextStyle { weight: Weight::SemiBold, size: 13.5, color: INK };
/// Ticks and names of axes.
pub const TICK: TextStyle = TextStyle { weight: Weight::Regular, size: 12.5, color: MUTED };
