//! The two inner loops of all convolutions, on blocks that fit the registers.
//!
//! Both read their input through a list of *offsets*, one per (input channel, kernel tap): where
//! in a block of padded rows ([`super::block`]) the value stands that this tap reads for output
//! column 0. Kernel size, stride and padding are then no concern of theirs.

use pulp::Simd;

use crate::simd::{Lanes, lanes, load, store};

/// out[m][n] = bias[m] + sum_k weights[k][m] source[offsets[k] + n step ..] for M outputs and N
/// vectors, left in registers.
///
/// # Safety
/// `source` must be readable at every offset and vector, `weights` at M elements per offset.
#[inline(always)]
unsafe fn correlate_tile<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    (source, step): (*const T, usize),
    offsets: &[u32],
    weights: *const T,
    bias: &[T; M],
) -> [[T::Vector<S>; N]; M] {
    let mut sums = [[T::splat(simd, T::zero()); N]; M];
    for m in 0..M {
        sums[m] = [T::splat(simd, bias[m]); N];
    }
    let mut weights = weights;
    for &offset in offsets {
        let mut x = [T::splat(simd, T::zero()); N];
        for (n, x) in x.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *x = unsafe { load::<T, S>(source.add(offset as usize + n * step)) };
        }
        for (m, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let weight = T::splat(simd, unsafe { *weights.add(m) });
            for n in 0..N {
                sums[n] = T::times_plus(simd, weight, x[n], sums[n]);
            }
        }
        // SAFETY: at most one past the weights.
        weights = unsafe { weights.add(M) };
    }
    sums
}

/// Rows of outputs of one block of output channels, and what they are made from.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    /// Where the offsets of the first row count from, and how far on they do for the next.
    pub source: *const T,
    pub source_step: usize,
    /// One per (input channel, tap).
    pub offsets: &'a [u32],
    /// Number of rows and columns.
    pub rows: usize,
    pub width: usize,
    /// Slope of the activation below zero; 1 for none.
    pub slope: T,
    /// `M` per offset.
    pub weights: &'a [T],
    /// At most `M`.
    pub bias: &'a [T],
    /// First row of the first output; rows are `out_step` apart, outputs `plane`.
    pub out: *mut T,
    pub out_step: usize,
    pub plane: usize,
    /// Outputs, at most `M`.
    pub count: usize,
    /// Whether there is room for whole vectors past `width`.
    pub roomy: bool,
}

/// Vectors computed together: `N` of them from `source`, `step` apart, to `out`, `out_step` apart,
/// the last `valid` elements long and the others whole, or all `valid` elements long.
struct Tile<T> {
    source: *const T,
    step: usize,
    out: *mut T,
    out_step: usize,
    valid: usize,
    all: bool,
}

/// Vectors taken at once, so that none is alone if it can be helped.
fn tile_vectors(left: usize) -> usize {
    match left {
        4 => 2,
        left => left.min(3),
    }
}

/// All rows of M output channels.
///
/// # Safety
/// Rows of the source must be readable at every offset plus the columns rounded up to whole vectors;
/// `out` writable at `count` times `rows` rows of the width, rounded up if `roomy`.
#[inline(always)]
pub(super) unsafe fn correlate_rows<T: Lanes, S: Simd, const M: usize>(
    simd: S,
    rows: &Rows<'_, T>,
) {
    assert!(rows.count <= M && rows.weights.len() == M * rows.offsets.len());
    let mut bias = [T::zero(); M];
    for (to, &from) in bias.iter_mut().zip(rows.bias) {
        *to = from;
    }
    let lanes = lanes::<T, S>();
    let vectors = rows.width.div_ceil(lanes);
    // Rows of a single vector are computed several at once.
    let (lines, length) = if vectors == 1 { (1, rows.rows) } else { (rows.rows, vectors) };
    for y in 0..lines {
        let mut first = 0;
        while first < length {
            let count = tile_vectors(length - first);
            // SAFETY: the tiles cover the vectors of the rows.
            unsafe {
                let tile = if vectors == 1 {
                    Tile {
                        source: rows.source.add(first * rows.source_step),
                        step: rows.source_step,
                        out: rows.out.add(first * rows.out_step),
                        out_step: rows.out_step,
                        valid: if rows.roomy { lanes } else { rows.width },
                        all: true,
                    }
                } else {
                    let left = rows.width - first * lanes;
                    Tile {
                        source: rows.source.add(y * rows.source_step + first * lanes),
                        step: lanes,
                        out: rows.out.add(y * rows.out_step + first * lanes),
                        out_step: lanes,
                        valid: if rows.roomy {
                            lanes
                        } else {
                            lanes.min(left - (count - 1) * lanes)
                        },
                        all: false,
                    }
                };
                match count {
                    3 => correlate::<T, S, M, 3>(simd, rows, &tile, &bias),
                    2 => correlate::<T, S, M, 2>(simd, rows, &tile, &bias),
                    _ => correlate::<T, S, M, 1>(simd, rows, &tile, &bias),
                }
            }
            first += count;
        }
    }
}

/// One tile of N vectors.
///
/// # Safety
/// As [`correlate_rows`].
#[inline(always)]
unsafe fn correlate<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    rows: &Rows<'_, T>,
    tile: &Tile<T>,
    bias: &[T; M],
) {
    // SAFETY: the caller's promise.
    let sums = unsafe {
        correlate_tile::<T, S, M, N>(
            simd,
            (tile.source, tile.step),
            rows.offsets,
            rows.weights.as_ptr(),
            bias,
        )
    };
    let slope = T::splat(simd, rows.slope);
    for (m, sums) in sums.iter().enumerate() {
        if m >= rows.count {
            break;
        }
        for (n, &sum) in sums.iter().enumerate() {
            // The slope is at most 1. A NaN is one in both, an infinity keeps its sign.
            let value = T::maximum(simd, sum, T::times(simd, sum, slope));
            let whole = tile.valid == lanes::<T, S>() || !(tile.all || n + 1 == N);
            // SAFETY: the row has room for whole vectors, or the rest is cut.
            unsafe {
                let to = tile.out.add(m * rows.plane + n * tile.out_step);
                if whole {
                    store::<T, S>(to, value);
                } else {
                    let mut line = [T::zero(); 16];
                    store::<T, S>(line.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(line.as_ptr(), to, tile.valid);
                }
            }
        }
    }
}

/// What the outer products of a block of rows are made from.
#[derive(Clone, Copy)]
pub(super) struct Products<'a, T> {
    /// Padded rows of one factor, read at the offsets.
    pub source: *const T,
    /// From one row of outputs to the next.
    pub row_step: usize,
    /// Pixels of the other factor, channels innermost: [vector][row][column][lane].
    pub gradient: *const T,
    /// Rows and columns of that factor.
    pub rows: usize,
    pub width: usize,
    /// One per (input channel, tap).
    pub offsets: &'a [u32],
}

/// sums[k][v] = sum over rows y and columns x of source[offsets[k] + y row_step + x] times the
/// vector gradient[v][y][x], for K offsets and V vectors.
///
/// # Safety
/// `source` and `gradient` must be readable at all these places.
#[inline(always)]
unsafe fn product_tile<T: Lanes, S: Simd, const K: usize, const V: usize>(
    simd: S,
    products: &Products<'_, T>,
    offsets: &[usize; K],
    gradient: *const T,
) -> [[T::Vector<S>; V]; K] {
    let mut sums = [[T::splat(simd, T::zero()); V]; K];
    let vector_step = products.rows * products.width * lanes::<T, S>();
    for y in 0..products.rows {
        // SAFETY: the caller's promise.
        let (source, gradient) = unsafe {
            (
                products.source.add(y * products.row_step),
                gradient.add(y * products.width * lanes::<T, S>()),
            )
        };
        for x in 0..products.width {
            let mut g = [T::splat(simd, T::zero()); V];
            for (v, g) in g.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *g = unsafe { load::<T, S>(gradient.add(x * lanes::<T, S>() + v * vector_step)) };
            }
            for k in 0..K {
                // SAFETY: the caller's promise.
                let value = T::splat(simd, unsafe { *source.add(offsets[k] + x) });
                for v in 0..V {
                    sums[k][v] = T::times_plus(simd, value, g[v], sums[k][v]);
                }
            }
        }
    }
    sums
}

/// out[o][k] = the sum of products of offset k and gradient channel o, for the gradient channels in
/// `wanted`, which begins at a whole vector; rows of `out` are `out_step` apart.
///
/// # Safety
/// As [`product_tile`], for all offsets and the vectors of `wanted`; `out` must be writable at all
/// those places.
#[inline(always)]
pub(super) unsafe fn outer_products<T: Lanes, S: Simd>(
    simd: S,
    products: &Products<'_, T>,
    wanted: std::ops::Range<usize>,
    (out, out_step): (*mut T, usize),
) {
    let width = lanes::<T, S>();
    assert!(wanted.start.is_multiple_of(width));
    let mut first = wanted.start;
    while first < wanted.end {
        let two = wanted.end - first > width;
        let group = Group {
            vector: first / width,
            channels: (wanted.end - first).min(if two { 2 * width } else { width }),
            // SAFETY: the caller's promise.
            out: unsafe { out.add((first - wanted.start) * out_step) },
            out_step,
        };
        // SAFETY: the caller's promise; two vectors are left where two are taken.
        unsafe {
            match (S::REGISTER_COUNT >= 32, two) {
                (true, true) => vector_group::<T, S, 12, 2>(simd, products, &group),
                (true, false) => vector_group::<T, S, 24, 1>(simd, products, &group),
                (false, true) => vector_group::<T, S, 6, 2>(simd, products, &group),
                (false, false) => vector_group::<T, S, 12, 1>(simd, products, &group),
            }
        }
        first += group.channels;
    }
}

/// Gradient channels taken together and where their sums go.
struct Group<T> {
    /// First vector of channels.
    vector: usize,
    /// How many channels.
    channels: usize,
    out: *mut T,
    out_step: usize,
}

/// The V vectors of channels of a group.
///
/// # Safety
/// As [`outer_products`].
#[inline(always)]
unsafe fn vector_group<T: Lanes, S: Simd, const K: usize, const V: usize>(
    simd: S,
    products: &Products<'_, T>,
    group: &Group<T>,
) {
    let width = lanes::<T, S>();
    // SAFETY: the caller's promise.
    let gradient =
        unsafe { products.gradient.add(group.vector * products.rows * products.width * width) };
    for (number, offsets) in products.offsets.chunks(K).enumerate() {
        let mut whole = [0; K];
        // A last group that is not full repeats its last offset and drops the result.
        for (k, to) in whole.iter_mut().enumerate() {
            *to = offsets[k.min(offsets.len() - 1)] as usize;
        }
        // SAFETY: the caller's promise.
        let sums = unsafe { product_tile::<T, S, K, V>(simd, products, &whole, gradient) };
        // Turned on the way out: vectors hold channels, rows hold offsets. 32 channels at most.
        let mut turned = [[T::zero(); 32]; K];
        for (sums, to) in sums.iter().zip(&mut turned) {
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: two vectors of at most 16 elements.
                unsafe { store::<T, S>(to.as_mut_ptr().add(v * width), sum) };
            }
        }
        for channel in 0..group.channels {
            for (k, from) in turned.iter().take(offsets.len()).enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    group.out.add(channel * group.out_step + number * K + k).write(from[channel])
                };
            }
        }
    }
}
