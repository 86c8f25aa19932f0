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
use super::memory::{Rows, Workspace};
use super::packed::Weights;
use super::planar::Planes;
use super::upsampled::around;
use crate::ops::resize::{Tap as Sample, taps};
use crate::simd::Instructions;

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

/// The four pixels around every point of one row of the square, for functions of single pixels
/// that do not commute with the resize: first those above the points, left and right of each in
/// turn, then those below.
pub(super) struct Corners {
    pub rows: Vec<usize>,
    pub columns: Vec<usize>,
    /// (3, 4 side).
    pub values: Array2<f32>,
}

impl Square {
    pub fn new(side: usize, (height, width): (usize, usize)) -> Self {
        let (rows, columns) = (taps(height, side), taps(width, side));
        Self { side, rows, columns, size: (height, width) }
    }

    /// The heads' input but for the image channels, and Y1 at the corners of every point, by row.
    pub fn gather(
        &self,
        (instructions, workspace): (Instructions, &mut Workspace),
        channels: &Channels,
        (unet, image): (&Rows, &Planes),
        wired: &[Rows],
    ) -> (Rows, Vec<Corners>) {
        let (side, lanes) = (self.side, channels.lanes);
        let blocks = channels.blocks();
        let mut input = Rows::blocked(workspace, side, side, blocks, lanes);
        let part = input.part();
        let corners = input
            .all_rows_mut()
            .zip(&self.rows)
            .enumerate()
            .map(|(y, (line, row))| {
                let mut parts = line.chunks_exact_mut(part);
                self.set_patches(unet, *row, lanes, &mut parts);
                for (level, resized) in wired.iter().enumerate() {
                    for block in 0..channels.wired[level].div_ceil(lanes) {
                        if let Some(to) = parts.next() {
                            to.copy_from_slice(resized.surrounded(y, block));
                        }
                    }
                }
                self.corners(instructions, unet, image, *row)
            })
            .collect();
        (input, corners)
    }

    /// Fills the channels that every head has, but for the image.
    fn set_patches<'a>(
        &self,
        unet: &Rows,
        row: Sample<f32>,
        lanes: usize,
        parts: &mut impl Iterator<Item = &'a mut [f32]>,
    ) {
        let (height, width) = self.size;
        // Rows first, then columns: nine blended rows, (channel, vertical tap).
        let mut blended = vec![0.0f32; 9 * (width + 2)];
        for (at, line) in blended.chunks_exact_mut(width + 2).enumerate() {
            let (channel, tap) = (at / 3, at % 3);
            let low = unet.surrounded(around(row.low, tap, height), channel);
            let high = unet.surrounded(around(row.high, tap, height), channel);
            for ((value, low), high) in line.iter_mut().zip(low).zip(high) {
                *value = (1.0 - row.weight) * low + row.weight * high;
            }
        }
        let mut pixels = vec![0.0f32; self.side * BASE.next_multiple_of(lanes)];
        let channels = BASE.next_multiple_of(lanes);
        for (pixel, column) in pixels.chunks_exact_mut(channels).zip(&self.columns) {
            for (values, line) in
                pixel[..PATCH].chunks_exact_mut(3).zip(blended.chunks_exact(width + 2))
            {
                let (low, high) = (&line[column.low..][..3], &line[column.high..][..3]);
                for ((value, low), high) in values.iter_mut().zip(low).zip(high) {
                    *value = (1.0 - column.weight) * low + column.weight * high;
                }
            }
            pixel[ONE] = 1.0;
        }
        for (block, part) in parts.take(channels / lanes).enumerate() {
            part[..lanes].fill(0.0);
            part[(self.side + 1) * lanes..].fill(0.0);
            let line = part[lanes..].chunks_exact_mut(lanes);
            for (to, pixel) in line.zip(pixels.chunks_exact(channels)) {
                to.copy_from_slice(&pixel[block * lanes..][..lanes]);
            }
        }
    }

    /// Y1 at the corners of one row of points.
    fn corners(
        &self,
        instructions: Instructions,
        unet: &Rows,
        image: &Planes,
        row: Sample<f32>,
    ) -> Corners {
        let (height, width) = self.size;
        let stride = Rows::planar_stride(width);
        let mut lines = vec![0.0f32; 2 * 3 * stride];
        for (line, y) in lines.chunks_exact_mut(3 * stride).zip([row.low, row.high]) {
            let around = [0, 1, 2].map(|tap| around(y, tap, height));
            image.row(instructions, unet, around, line.chunks_exact_mut(stride), width);
        }
        let columns = || self.columns.iter().flat_map(|column| [column.low, column.high]);
        let mut values = Array2::zeros((3, 4 * self.side));
        for (channel, mut line) in values.outer_iter_mut().enumerate() {
            let planes = [0, 1].map(|high| &lines[(3 * high + channel) * stride..][..width]);
            let found = planes.into_iter().flat_map(|plane| columns().map(|x| plane[x]));
            line.iter_mut().zip(found).for_each(|(to, from)| *to = from);
        }
        let rows = [row.low, row.high].into_iter();
        Corners {
            rows: rows.flat_map(|y| std::iter::repeat_n(y, 2 * self.side)).collect(),
            columns: columns().chain(columns()).collect(),
            values,
        }
    }

    /// Resizes the image at the corners into the image channels of `input`.
    pub fn set_image(&self, channels: &Channels, input: &mut Rows, corners: &[Corners]) {
        let (lanes, part) = (channels.lanes, input.part());
        input.all_rows_mut().zip(corners).zip(&self.rows).for_each(|((line, values), row)| {
            for channel in 0..3 {
                let (block, lane) = ((IMAGE + channel) / lanes, (IMAGE + channel) % lanes);
                let pixels = line[block * part + lanes..].chunks_exact_mut(lanes);
                let values = values.values.row(channel);
                let (low, high) = values.as_slice().unwrap_or_default().split_at(2 * self.side);
                let pairs = low.chunks_exact(2).zip(high.chunks_exact(2));
                for ((pixel, column), (low, high)) in pixels.zip(&self.columns).zip(pairs) {
                    let left = 1.0 - column.weight;
                    pixel[lane] = (1.0 - row.weight) * (left * low[0] + column.weight * low[1])
                        + row.weight * (left * high[0] + column.weight * high[1]);
                }
            }
        });
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
                let line = out.part_mut(y, block);
                line[..lanes].fill(0.0);
                line[(columns.len() + 1) * lanes..].fill(0.0);
                let pixels = line[lanes..].chunks_exact_mut(lanes);
                for (pixel, column) in pixels.zip(&columns) {
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
