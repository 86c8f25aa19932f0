//! Blocks of padded rows: the part of a convolution's input that some rows of its output need,
//! copied into scratch memory with its border and with strides that suit the caches.

use std::ops::Range;

use super::{Geometry, Padding, planes::Planes};
use crate::ops::Element;

/// Elements of scratch a block aims at: a megabyte of f32, half of a second-level cache.
const BLOCK_ELEMENTS: usize = 1 << 18;
/// An image is split in at least so many blocks where it has the rows, so that the threads finish
/// together.
pub(super) const LEAST_BLOCKS: usize = 8;
/// Elements a vector holds at most; rows leave room for whole vectors at their end.
pub(super) const LANES: usize = 16;

/// Blocks of about equal numbers of rows, `least` at least if there are the rows; even numbers, and two rows at least, but for the end.
///
/// The split depends on the shape only, never on threads, because sums over blocks follow it.
pub(super) fn split_rows(rows: usize, elements_per_row: usize, least: usize) -> Vec<Range<usize>> {
    let most = (BLOCK_ELEMENTS / elements_per_row.max(1)).clamp(2, rows.div_ceil(least).max(2));
    let step = most.next_multiple_of(2);
    let mut starts: Vec<usize> = (0..rows).step_by(step).collect();
    // A single last row joins the block before it.
    if starts.len() > 1 && rows % step == 1 {
        starts.pop();
    }
    let ends = starts[1..].iter().copied().chain([rows]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Where the values of a block stand.
///
/// A padded row is stored in `stride` phases: column i at phase i % stride, place i / stride, so
/// that a strided convolution reads consecutive places too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLayout {
    stride: usize,
    /// From phase to phase.
    phase: usize,
    /// From padded row to padded row.
    pub row: usize,
    /// From channel to channel.
    pub channel: usize,
    /// Elements in all, with room to read whole vectors at the end.
    pub length: usize,
}

impl BlockLayout {
    /// Of `channels` channels of `rows` padded rows of `columns` padded columns.
    pub fn new(channels: usize, rows: usize, columns: usize, stride: usize) -> Self {
        let phase = columns.div_ceil(stride) + LANES;
        let row = (stride * phase).next_multiple_of(LANES);
        // An odd number of cache lines: equal rows of many channels would else share few sets.
        let channel = ((rows * (row / LANES)) | 1) * LANES;
        Self { stride, phase, row, channel, length: channels * channel + 2 * LANES }
    }

    /// Where padded column `column` of row `row` of channel `channel` stands.
    pub fn at(&self, channel: usize, row: usize, column: usize) -> usize {
        channel * self.channel
            + row * self.row
            + column % self.stride * self.phase
            + column / self.stride
    }
}

impl Geometry {
    /// Elements of padded input one row of output needs beyond the row before it.
    pub fn block_row(&self) -> usize {
        self.channels_in * self.conv.stride * (self.width + 2 * self.pad() + LANES)
    }

    /// Padded input of the output rows `rows`.
    pub fn block_layout(&self, rows: usize) -> BlockLayout {
        let padded = self.conv.stride * (rows - 1) + self.kernel;
        BlockLayout::new(self.channels_in, padded, self.width + 2 * self.pad(), self.conv.stride)
    }

    /// Where each (input channel, tap) reads for the first output of a block.
    pub fn offsets(&self, layout: &BlockLayout) -> Vec<u32> {
        let taps = self.kernel * self.kernel;
        (0..self.channels_in * taps)
            .map(|k| {
                let (channel, tap) = (k / taps, k % taps);
                layout.at(channel, tap / self.kernel, tap % self.kernel) as u32
            })
            .collect()
    }

    /// Row or column of the image at padded position `position`; none where zeros are.
    fn source(&self, position: usize, size: usize) -> Option<usize> {
        let pad = self.pad();
        match position.checked_sub(pad) {
            Some(inside) if inside < size => Some(inside),
            _ if self.conv.padding == Padding::Zero => None,
            None => Some(pad - position),
            Some(beyond) => Some(2 * size - 2 - beyond),
        }
    }

    /// Copies the padded input that the output rows `rows` of image `image` need.
    pub fn fill_block<T: Element>(
        &self,
        planes: &Planes<'_, T>,
        image: usize,
        rows: &Range<usize>,
        layout: &BlockLayout,
        block: &mut [T],
    ) {
        let stride = self.conv.stride;
        let columns = self.width + 2 * self.pad();
        let padded = stride * (rows.len() - 1) + self.kernel;
        let mut line = vec![T::zero(); columns];
        for channel in 0..self.channels_in {
            for row in 0..padded {
                let to = &mut block[layout.at(channel, row, 0)..][..layout.row];
                let Some(y) = self.source(stride * rows.start + row, self.height) else {
                    to.fill(T::zero());
                    continue;
                };
                if stride == 1 {
                    self.fill_row(planes, (image, channel), y, &mut to[..columns]);
                    continue;
                }
                self.fill_row(planes, (image, channel), y, &mut line);
                if stride == 2 {
                    let (even, odd) = to.split_at_mut(layout.phase);
                    let pairs = line.chunks_exact(2);
                    if let [last] = pairs.remainder() {
                        even[columns / 2] = *last;
                    }
                    for ((even, odd), pair) in even.iter_mut().zip(odd).zip(pairs) {
                        *even = pair[0];
                        *odd = pair[1];
                    }
                    continue;
                }
                for (phase, to) in to.chunks_mut(layout.phase).take(stride).enumerate() {
                    let taken = line[phase.min(columns)..].iter().step_by(stride);
                    to.iter_mut().zip(taken).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }

    /// Row `y` of a channel of an image with its border.
    fn fill_row<T: Element>(
        &self,
        planes: &Planes<'_, T>,
        (image, channel): (usize, usize),
        y: usize,
        line: &mut [T],
    ) {
        let pad = self.pad();
        planes.copy_row(image, channel, y, &mut line[pad..pad + self.width]);
        for border in (0..pad).chain(pad + self.width..line.len()) {
            line[border] =
                self.source(border, self.width).map_or(T::zero(), |inside| line[pad + inside]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_in_even_steps() {
        for rows in 1..200 {
            for per_row in [1, 1 << 12, 1 << 17, 1 << 20] {
                let blocks = split_rows(rows, per_row, LEAST_BLOCKS);
                let mut next = 0;
                for block in &blocks {
                    assert_eq!(block.start, next);
                    assert!(block.start % 2 == 0 && (block.len() >= 2 || rows == 1), "{blocks:?}");
                    next = block.end;
                }
                assert_eq!(next, rows);
            }
        }
    }
}
