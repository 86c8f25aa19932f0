//! A row is worked on in tiles: short fixed-length arrays that stay in the nearest cache and give
//! the compiler loops without bounds checks, branches or a remainder.

use ndarray::{ArrayView1, ArrayViewMut1};

use crate::Real;

/// Columns per tile. 64 `f32` are 256 bytes; all arrays of a stack with three instances of each
/// filter take about 18 KiB, half of a common first-level cache.
pub(crate) const TILE: usize = 64;

/// Independent sums per reduction, so that they can be one vector register or two.
const LANES: usize = 8;

/// One quantity along part of a row.
pub(crate) type Tile<T> = [T; TILE];

/// One quantity per colour channel along part of a row.
pub(crate) type RgbTile<T> = [Tile<T>; 3];

pub(crate) fn zero_tile<T: Real>() -> Tile<T> {
    [T::zero(); TILE]
}

pub(crate) fn zero_rgb<T: Real>() -> RgbTile<T> {
    [zero_tile(); 3]
}

/// `sum_j a[j]`. Lanes are added in the pixel type over one tile (eight terms each), then widened.
#[inline]
pub(crate) fn sum<T: Real>(a: &Tile<T>) -> f64 {
    let mut lanes = [T::zero(); LANES];
    for chunk in a.chunks_exact(LANES) {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    add_lanes(lanes)
}

/// `sum_j a[j] b[j]`.
#[inline]
pub(crate) fn dot<T: Real>(a: &Tile<T>, b: &Tile<T>) -> f64 {
    let mut lanes = [T::zero(); LANES];
    for (x, y) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for l in 0..LANES {
            lanes[l] += x[l] * y[l];
        }
    }
    add_lanes(lanes)
}

#[inline]
fn add_lanes<T: Real>(l: [T; LANES]) -> f64 {
    let half = [l[0] + l[4], l[1] + l[5], l[2] + l[6], l[3] + l[7]];
    (half[0] + half[2]).wide() + (half[1] + half[3]).wide()
}

/// Copies columns `start..` of `row` into `tile`; what lies beyond the row's end becomes `padding`.
pub(crate) fn load<T: Real>(
    row: ArrayView1<'_, T>,
    start: usize,
    padding: T,
    tile: &mut Tile<T>,
) -> usize {
    let len = TILE.min(row.len() - start);
    match row.as_slice() {
        Some(slice) => tile[..len].copy_from_slice(&slice[start..start + len]),
        None => {
            for (j, value) in tile[..len].iter_mut().enumerate() {
                *value = row[start + j];
            }
        }
    }
    tile[len..].fill(padding);
    len
}

/// Copies the part of `tile` that lies within the row to columns `start..`.
pub(crate) fn store<T: Real>(tile: &Tile<T>, start: usize, mut row: ArrayViewMut1<'_, T>) {
    let len = TILE.min(row.len() - start);
    match row.as_slice_mut() {
        Some(slice) => slice[start..start + len].copy_from_slice(&tile[..len]),
        None => {
            for (j, &value) in tile[..len].iter().enumerate() {
                row[start + j] = value;
            }
        }
    }
}

/// What the filters need of every column, computed once per image.
pub(crate) struct Columns<T> {
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
    width: usize,
}

impl<T> ColumnTile<'_, T> {
    /// y = c / W of the tile's column `j`, in `f64`.
    pub(crate) fn exact_y(&self, j: usize) -> f64 {
        (self.start + j) as f64 / self.width as f64
    }
}

impl<T: Real> Columns<T> {
    pub(crate) fn new(width: usize) -> Self {
        let tile_of = |f: &dyn Fn(f64) -> f64, start: usize| {
            // Columns beyond the image keep a y within [0, 1] so that nothing overflows there.
            std::array::from_fn(|j| T::narrow(f((start + j).min(width) as f64 / width as f64)))
        };
        let tiles = |f: &dyn Fn(f64) -> f64| -> Vec<Tile<T>> {
            (0..width).step_by(TILE).map(|start| tile_of(f, start)).collect()
        };
        Self { width, y: tiles(&|y| y), decay: tiles(&|y| (-2.0 * y).exp()) }
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
    fn sums_take_every_column_once() {
        let a: Tile<f64> = std::array::from_fn(|j| (j + 1) as f64);
        let n = TILE as f64;
        assert_eq!(sum(&a), n * (n + 1.0) / 2.0);
        assert_eq!(dot(&a, &a), n * (n + 1.0) * (2.0 * n + 1.0) / 6.0);
    }

    #[test]
    fn columns_cover_the_width_without_half_pixel_offset() {
        let columns = Columns::<f64>::new(TILE + 3);
        let tiles: Vec<_> = columns.tiles().collect();
        assert_eq!(tiles.len(), 2);
        assert_eq!(tiles[0].y[0], 0.0);
        assert_eq!(tiles[1].y[2], tiles[1].exact_y(2));
        assert_eq!(tiles[1].exact_y(2), (TILE + 2) as f64 / (TILE + 3) as f64);
    }
}
