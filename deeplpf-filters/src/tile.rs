//! A row is worked on in tiles: parts that stay in the nearest cache together with everything
//! computed for them.

use std::ops::Range;

use ndarray::{ArrayView1, ArrayViewMut1};
use pulp::Simd;

use crate::Real;
use crate::simd::{Lanes, MAX_LANES, Wide};

/// Columns per tile, a multiple of the lanes of every instruction set. 256 `f32` are 1 KiB; with
/// three instances of each filter the way back uses 40 of them, a common first-level cache.
pub(crate) const TILE: usize = 256;
const _: () = assert!(TILE.is_multiple_of(MAX_LANES));

/// One quantity along part of a row, aligned to lines of the cache.
#[derive(Clone)]
#[repr(align(64))]
pub(crate) struct Tile<T>([T; TILE]);

/// One quantity per colour channel along part of a row.
pub(crate) type RgbTile<T> = [Tile<T>; 3];

impl<T: Real> Tile<T> {
    pub(crate) fn filled(value: T) -> Self {
        Self([value; TILE])
    }

    pub(crate) fn rgb(value: T) -> RgbTile<T> {
        std::array::from_fn(|_| Self::filled(value))
    }

    #[inline(always)]
    pub(crate) fn vectors<S: Simd>(&self) -> &[T::Vector<S>] {
        T::vectors::<S>(&self.0)
    }

    #[inline(always)]
    pub(crate) fn vectors_mut<S: Simd>(&mut self) -> &mut [T::Vector<S>] {
        T::vectors_mut::<S>(&mut self.0)
    }
}

/// The first `padded` values of columns `start ..` of `row`, in place if they can be had so, else
/// copied to `buffer`; what lies beyond the row's end is zero.
pub(crate) fn read<'a, T: Real>(
    row: ArrayView1<'a, T>,
    start: usize,
    padded: usize,
    buffer: &'a mut Tile<T>,
) -> &'a [T] {
    if let Some(slice) = row.to_slice()
        && let Some(slice) = slice.get(start..start + padded)
    {
        return slice;
    }
    let len = padded.min(row.len() - start);
    for (j, value) in buffer.0[..len].iter_mut().enumerate() {
        *value = row[start + j];
    }
    buffer.0[len..padded].fill(T::zero());
    &buffer.0[..padded]
}

/// Has `fill` write the first `padded` values of columns `start ..` of `row`: in place if that can
/// be done, else through `buffer`. What lies beyond the row's end is dropped.
#[inline(always)]
pub(crate) fn write<T: Real, R>(
    mut row: ArrayViewMut1<'_, T>,
    start: usize,
    padded: usize,
    buffer: &mut Tile<T>,
    fill: impl FnOnce(&mut [T]) -> R,
) -> R {
    let in_place = row.as_slice().is_some_and(|slice| start + padded <= slice.len());
    let target = match row.as_slice_mut() {
        Some(slice) if in_place => &mut slice[start..start + padded],
        _ => &mut buffer.0[..padded],
    };
    let result = fill(target);
    if !in_place {
        store(buffer, start, row);
    }
    result
}

/// Copies the part of `tile` that lies within the row to columns `start ..`.
pub(crate) fn store<T: Real>(tile: &Tile<T>, start: usize, mut row: ArrayViewMut1<'_, T>) {
    let len = TILE.min(row.len() - start);
    match row.as_slice_mut() {
        Some(slice) => slice[start..start + len].copy_from_slice(&tile.0[..len]),
        None => {
            for (j, &value) in tile.0[..len].iter().enumerate() {
                row[start + j] = value;
            }
        }
    }
}

/// What the filters need of every column, computed once per call.
pub struct Columns<T> {
    width: usize,
    /// y = c / W.
    y: Vec<Tile<T>>,
    /// exp(-2 y): the column's factor of exp(-2 (y - z)), see the release's graduated filter.
    decay: Vec<Tile<T>>,
}

/// One tile of [`Columns`].
#[derive(Clone, Copy)]
pub(crate) struct ColumnTile<'a, T> {
    pub(crate) y: &'a Tile<T>,
    pub(crate) decay: &'a Tile<T>,
    /// First column.
    pub(crate) start: usize,
    pub(crate) width: usize,
}

/// What a kernel may ask about the columns of one vector.
#[derive(Clone, Copy)]
pub(crate) struct Point<T: Lanes, S: Simd> {
    pub(crate) y: Wide<T, S>,
    pub(crate) decay: Wide<T, S>,
    /// First column.
    pub(crate) column: usize,
    pub(crate) width: usize,
}

impl<T: Real> ColumnTile<'_, T> {
    /// Columns of the tile that lie within the image.
    pub(crate) fn len(&self) -> usize {
        TILE.min(self.width - self.start)
    }

    /// Vectors that hold the tile's columns.
    #[inline(always)]
    pub(crate) fn vector_count<S: Simd>(&self) -> usize {
        self.len().div_ceil(T::lanes::<S>())
    }

    /// The tile's vectors that hold a column of `span`.
    #[inline(always)]
    pub(crate) fn vector_range<S: Simd>(&self, span: &Range<usize>) -> Range<usize> {
        let end = self.start + self.len();
        let (first, last) = (span.start.clamp(self.start, end), span.end.clamp(self.start, end));
        if first >= last {
            return 0..0;
        }
        let lanes = T::lanes::<S>();
        (first - self.start) / lanes..(last - self.start).div_ceil(lanes)
    }

    /// The columns of vector `j`.
    #[inline(always)]
    pub(crate) fn point<S: Simd>(&self, simd: S, j: usize) -> Point<T, S> {
        Point {
            y: Wide::new(simd, self.y.vectors::<S>()[j]),
            decay: Wide::new(simd, self.decay.vectors::<S>()[j]),
            column: self.start + j * T::lanes::<S>(),
            width: self.width,
        }
    }
}

impl<T: Real> Columns<T> {
    pub(crate) fn new(width: usize) -> Self {
        // exp(-2 (s + j) / W) = exp(-2 s / W) exp(-2 j / W): two exponentials per tile.
        let step = -2.0 / width as f64;
        let within: [f64; TILE] = std::array::from_fn(|j| (step * j as f64).exp());
        let mut columns = Self { width, y: vec![], decay: vec![] };
        for start in (0..width).step_by(TILE) {
            let first = (step * start as f64).exp();
            // Columns beyond the image keep a y within [0, 1] so that nothing overflows there.
            let y = |j: usize| T::narrow((start + j).min(width) as f64 / width as f64);
            columns.y.push(Tile(std::array::from_fn(y)));
            columns.decay.push(Tile(std::array::from_fn(|j| T::narrow(first * within[j]))));
        }
        columns
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn tiles(&self) -> impl Iterator<Item = ColumnTile<'_, T>> {
        self.y.iter().zip(&self.decay).enumerate().map(|(t, (y, decay))| ColumnTile {
            y,
            decay,
            start: t * TILE,
            width: self.width,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_cover_the_width_without_half_pixel_offset() {
        let width = TILE + 3;
        let columns = Columns::<f64>::new(width);
        let tiles: Vec<_> = columns.tiles().collect();
        assert_eq!(tiles.len(), 2);
        assert_eq!(tiles[1].len(), 3);
        assert_eq!(tiles[0].y.0[0], 0.0);
        for (tile, j) in [(0, 0), (0, 17), (0, TILE - 1), (1, 0), (1, 2)] {
            let y = (tile * TILE + j) as f64 / width as f64;
            assert_eq!(tiles[tile].y.0[j], y);
            assert!((tiles[tile].decay.0[j] - (-2.0 * y).exp()).abs() < 1e-15);
        }
    }

    #[test]
    fn a_span_takes_the_vectors_that_it_touches() {
        let columns = Columns::<f32>::new(TILE + 40);
        let tiles: Vec<_> = columns.tiles().collect();
        let vectors = |tile: usize, span| tiles[tile].vector_range::<pulp::Scalar256b>(&span);
        assert_eq!(vectors(0, 0..TILE + 40), 0..TILE / 8);
        assert_eq!(vectors(1, 0..TILE + 40), 0..5);
        assert_eq!(vectors(0, 9..17), 1..3);
        assert!(vectors(1, 9..17).is_empty());
        assert!(vectors(0, 5..5).is_empty());
        assert_eq!(vectors(1, TILE + 39..TILE + 1000), 4..5);
    }
}
