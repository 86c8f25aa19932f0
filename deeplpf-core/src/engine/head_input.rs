//! The heads' input, without the features.
//!
//! The features and Y1 are one 3x3 convolution of the U-Net's image, and the resize to the heads'
//! square is linear in every channel. So each head's first convolution is composed with the
//! features' convolution and reads, for every point of the square, the resized 3x3 surroundings of
//! the U-Net's image (27 numbers), a one that carries the features' bias (it is zero on the padding
//! around the square), and the resized three-channel image of that head. The encoder projections of
//! the fix `wiring`, 1x1 convolutions of resized levels, are composed in the same way.

use ndarray::Array2;
use rayon::prelude::*;

use super::backbone::Tap;
use super::memory::Rows;
use super::packed::Weights;
use super::planar::Planes;
use super::upsampled::around;
use crate::ops::resize::{Tap as Sample, taps};

/// Numbers around a pixel of the U-Net's image: channel, row, column.
pub(super) const PATCH: usize = 27;
/// The channel of ones.
const ONE: usize = PATCH;
/// The three channels of the head's image.
const IMAGE: usize = PATCH + 1;
/// Channels every head has.
const BASE: usize = IMAGE + 3;

/// Which channels stand where.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    lanes: usize,
    /// Channels of the encoder levels that are wired to the heads.
    wired: Vec<usize>,
}

impl Channels {
    pub fn new(lanes: usize, wired: &[usize]) -> Self {
        Self { lanes, wired: wired.to_vec() }
    }

    /// First channel of wired level `level`, on a block of its own.
    fn wired_at(&self, level: usize) -> usize {
        let before = self.wired[..level].iter().map(|width| width.next_multiple_of(self.lanes));
        BASE.next_multiple_of(self.lanes) + before.sum::<usize>()
    }

    fn count(&self) -> usize {
        self.wired_at(self.wired.len())
    }

    fn blocks(&self) -> usize {
        self.count() / self.lanes
    }

    /// A head's first convolution (`head`, reading features then image) composed with the
    /// features' convolution `features` (its first three outputs are the image, not features) and
    /// the projections of wired levels, which `gate` multiplies.
    pub fn compose(
        &self,
        head: &Weights,
        features: &Weights,
        projections: &[Weights],
        gate: f64,
    ) -> Weights {
        let taps = head.taps_y * head.taps_x;
        let inputs = self.count();
        let mut values = vec![0.0; head.outputs * inputs * taps];
        let first_image = head.inputs - 3;
        for output in 0..head.outputs {
            for tap in 0..taps {
                let (tap_y, tap_x) = (tap / head.taps_x, tap % head.taps_x);
                let mut add = |channel: usize, value: f64| {
                    values[(output * inputs + channel) * taps + tap] += value;
                };
                for input in 0..head.inputs {
                    let weight = head.at(output, input, tap_y, tap_x);
                    if input < first_image {
                        let feature = input + 3;
                        for patch in 0..PATCH {
                            let (channel, at) = (patch / 9, patch % 9);
                            add(patch, weight * features.at(feature, channel, at / 3, at % 3));
                        }
                        add(ONE, weight * features.bias[feature]);
                    } else {
                        add(IMAGE + input - first_image, weight);
                    }
                    for (level, projection) in projections.iter().enumerate() {
                        add(ONE, gate * weight * projection.bias[input]);
                        for channel in 0..projection.inputs {
                            let value = gate * weight * projection.at(input, channel, 0, 0);
                            add(self.wired_at(level) + channel, value);
                        }
                    }
                }
            }
        }
        Weights { outputs: head.outputs, inputs, values, bias: head.bias.clone(), ..*head }
    }
}

/// Where the square's points lie in a photograph.
pub(super) struct Square {
    pub side: usize,
    rows: Vec<Sample<f32>>,
    columns: Vec<Sample<f32>>,
    size: (usize, usize),
}

/// The four pixels around every point of the square, for functions of single pixels that do not
/// commute with the resize: point n of the square has pixels 4n to 4n + 4.
pub(super) struct Corners {
    pub rows: Vec<usize>,
    pub columns: Vec<usize>,
    /// (3, 4 side^2).
    pub values: Array2<f32>,
}

impl Square {
    pub fn new(side: usize, (height, width): (usize, usize)) -> Self {
        let (rows, columns) = (taps(height, side), taps(width, side));
        Self { side, rows, columns, size: (height, width) }
    }

    /// The heads' input but for the image channels, and Y1 at the corners of every point.
    pub fn gather(
        &self,
        channels: &Channels,
        unet: &Rows,
        image: &Planes,
        wired: &[Rows],
    ) -> (Rows, Corners) {
        let (side, lanes) = (self.side, channels.lanes);
        let mut input = Rows::blocked(side, side, channels.blocks(), lanes);
        let mut points = vec![([0.0f32; PATCH], [[0.0f32; 3]; 4]); side * side];
        points.par_chunks_mut(side).zip(&self.rows).for_each(|(points, row)| {
            for (point, column) in points.iter_mut().zip(&self.columns) {
                *point = self.point(unet, image, *row, *column);
            }
        });
        let base = BASE.div_ceil(lanes);
        for (y, points) in points.chunks_exact(side).enumerate() {
            for block in 0..base {
                let line = &mut input.part_mut(y, block)[lanes..(side + 1) * lanes];
                let first = block * lanes;
                for (pixel, (patch, _)) in line.chunks_exact_mut(lanes).zip(points) {
                    for (lane, value) in pixel.iter_mut().enumerate() {
                        *value = match first + lane {
                            channel @ ..ONE => patch[channel],
                            ONE => 1.0,
                            _ => 0.0,
                        };
                    }
                }
            }
            let parts = wired.iter().enumerate().flat_map(|(level, resized)| {
                let blocks = channels.wired[level].div_ceil(lanes);
                (0..blocks).map(move |block| (level, block, resized))
            });
            for (level, block, resized) in parts {
                let to = channels.wired_at(level) / lanes + block;
                input.part_mut(y, to)[lanes..(side + 1) * lanes]
                    .copy_from_slice(&resized.pixels(y, block)[..side * lanes]);
            }
        }
        let values = Array2::from_shape_fn((3, 4 * side * side), |(channel, at)| {
            points[at / 4].1[at % 4][channel]
        });
        let grid = || self.rows.iter().flat_map(|row| self.columns.iter().map(move |c| (row, c)));
        let rows = grid().flat_map(|(row, _)| [row.low, row.low, row.high, row.high]).collect();
        let columns = grid().flat_map(|(_, c)| [c.low, c.high, c.low, c.high]).collect();
        (input, Corners { rows, columns, values })
    }

    /// Resized surroundings of one point, and Y1 at its corners.
    fn point(
        &self,
        unet: &Rows,
        image: &Planes,
        row: Sample<f32>,
        column: Sample<f32>,
    ) -> ([f32; PATCH], [[f32; 3]; 4]) {
        let mut patch = [0.0; PATCH];
        let corners = corners(row, column);
        let images = corners.map(|(y, x, weight)| {
            let surroundings = self.patch(unet, y, x);
            patch.iter_mut().zip(&surroundings).for_each(|(sum, value)| *sum += weight * value);
            image.at(&surroundings)
        });
        (patch, images)
    }

    /// The 3x3 surroundings of a pixel, mirrored at the border.
    fn patch(&self, unet: &Rows, y: usize, x: usize) -> [f32; PATCH] {
        let rows = [0, 1, 2].map(|tap| around(y, tap, self.size.0));
        let columns = [0, 1, 2].map(|tap| around(x, tap, self.size.1));
        std::array::from_fn(|at| {
            let (channel, tap) = (at / 9, at % 9);
            unet.pixels(rows[tap / 3], channel)[columns[tap % 3]]
        })
    }

    /// Resizes the image at the corners into the image channels of `input`.
    pub fn set_image(&self, channels: &Channels, input: &mut Rows, values: &Array2<f32>) {
        let (side, lanes) = (self.side, channels.lanes);
        for (y, row) in self.rows.iter().enumerate() {
            for (x, column) in self.columns.iter().enumerate() {
                let first = 4 * (y * side + x);
                for channel in 0..3 {
                    let weighted = corners(*row, *column).into_iter().enumerate();
                    let sum =
                        weighted.map(|(at, (_, _, w))| w * values[[channel, first + at]]).sum();
                    let (block, lane) = ((IMAGE + channel) / lanes, (IMAGE + channel) % lanes);
                    input.part_mut(y, block)[(x + 1) * lanes + lane] = sum;
                }
            }
        }
    }

    /// A reader that resizes encoder level `level` (stage `stage`) with that many channel blocks
    /// into `out`.
    pub fn tap<'a>(
        &self,
        (stage, level): (usize, usize),
        (blocks, lanes): (usize, usize),
        out: &'a mut Rows,
    ) -> Tap<'a> {
        let (height, width) = (self.size.0 >> level, self.size.1 >> level);
        let rows = taps::<f32>(height, self.side);
        let columns = taps::<f32>(width, self.side);
        let reach = rows.iter().map(|row| (row.low, row.high)).collect();
        let take = move |y: usize, source: &Rows| {
            for block in 0..blocks {
                let line = &mut out.part_mut(y, block)[lanes..];
                for (pixel, column) in line.chunks_exact_mut(lanes).zip(&columns) {
                    pixel.fill(0.0);
                    for (y, x, weight) in corners(rows[y], *column) {
                        let from = &source.pixels(y, block)[x * lanes..][..lanes];
                        pixel.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
                    }
                }
            }
        };
        Tap { stage, rows: reach, take: Box::new(take) }
    }
}

/// The four pixels around a point, (row, column, weight), in reading order.
fn corners(row: Sample<f32>, column: Sample<f32>) -> [(usize, usize, f32); 4] {
    let (up, left) = (1.0 - row.weight, 1.0 - column.weight);
    [
        (row.low, column.low, up * left),
        (row.low, column.high, up * column.weight),
        (row.high, column.low, row.weight * left),
        (row.high, column.high, row.weight * column.weight),
    ]
}
