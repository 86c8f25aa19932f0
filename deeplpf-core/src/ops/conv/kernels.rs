//! The two inner loops of all convolutions, on blocks that fit the registers.
//!
//! Both read their input through a list of *offsets*, one per (input channel, kernel tap): where
//! in a block of padded rows ([`super::block`]) the value stands that this tap reads for output
//! column 0. Kernel size, stride and padding are then no concern of theirs.

use pulp::Simd;

use crate::simd::{Lanes, lanes, load, store};

/// out[m][x] = bias[m] + sum_k weights[k][m] source[offsets[k] + x] for M outputs and the columns of
/// N vectors, left in registers.
///
/// # Safety
/// `source` must be readable at every offset plus N vectors, `weights` at M elements per offset.
#[inline(always)]
unsafe fn correlate_tile<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    source: *const T,
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
            *x = unsafe { load::<T, S>(source.add(offset as usize + n * lanes::<T, S>())) };
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

/// What one row of outputs is made from.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    /// Where the offsets of this row count from.
    pub source: *const T,
    /// One per (input channel, tap).
    pub offsets: &'a [u32],
    /// Number of columns.
    pub width: usize,
    /// Slope of the activation below zero; 1 for none.
    pub slope: T,
}

/// One block of output channels: their weights, offset by offset, and where their rows go.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a, T> {
    /// `M` per offset.
    pub weights: &'a [T],
    /// At most `M`.
    pub bias: &'a [T],
    /// First row; of `count` rows `plane` apart.
    pub out: *mut T,
    pub plane: usize,
    pub count: usize,
    /// Whether there is room for whole vectors past `width`.
    pub roomy: bool,
}

/// Columns in vectors, split so that no tile is a single vector if it can be helped.
fn tile_vectors(left: usize) -> usize {
    match left {
        4 => 2,
        left => left.min(3),
    }
}

/// One row of M output channels.
///
/// # Safety
/// `row.source` must be readable at every offset plus the columns rounded up to whole vectors;
/// `outputs.out` writable at `count` rows of the width, rounded up if `roomy`.
#[inline(always)]
pub(super) unsafe fn correlate_row<T: Lanes, S: Simd, const M: usize>(
    simd: S,
    row: &Row<'_, T>,
    outputs: &Outputs<'_, T>,
) {
    assert!(outputs.count <= M && outputs.weights.len() == M * row.offsets.len());
    let mut bias = [T::zero(); M];
    for (to, &from) in bias.iter_mut().zip(outputs.bias) {
        *to = from;
    }
    let vectors = row.width.div_ceil(lanes::<T, S>());
    let mut first = 0;
    while first < vectors {
        let columns = first * lanes::<T, S>();
        // SAFETY: the tiles cover the vectors of the row.
        unsafe {
            match tile_vectors(vectors - first) {
                3 => tile::<T, S, M, 3>(simd, row, outputs, &bias, columns),
                2 => tile::<T, S, M, 2>(simd, row, outputs, &bias, columns),
                _ => tile::<T, S, M, 1>(simd, row, outputs, &bias, columns),
            }
        }
        first += tile_vectors(vectors - first);
    }
}

/// Columns `first..` of N vectors.
///
/// # Safety
/// As [`correlate_row`].
#[inline(always)]
unsafe fn tile<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    row: &Row<'_, T>,
    outputs: &Outputs<'_, T>,
    bias: &[T; M],
    first: usize,
) {
    // SAFETY: the caller's promise.
    let sums = unsafe {
        correlate_tile::<T, S, M, N>(
            simd,
            row.source.add(first),
            row.offsets,
            outputs.weights.as_ptr(),
            bias,
        )
    };
    let slope = T::splat(simd, row.slope);
    for (m, sums) in sums.iter().enumerate() {
        if m >= outputs.count {
            break;
        }
        for (n, &sum) in sums.iter().enumerate() {
            let column = first + n * lanes::<T, S>();
            // The slope is at most 1. A NaN is one in both, an infinity keeps its sign.
            let value = T::maximum(simd, sum, T::times(simd, sum, slope));
            // SAFETY: the row has room for whole vectors, or the rest is cut.
            unsafe {
                let to = outputs.out.add(m * outputs.plane + column);
                if outputs.roomy || column + lanes::<T, S>() <= row.width {
                    store::<T, S>(to, value);
                } else {
                    let mut whole = [T::zero(); 16];
                    store::<T, S>(whole.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(whole.as_ptr(), to, row.width - column);
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

/// out[k][o] = the sum of products of offset k and gradient channel o, for `channels` gradient
/// channels (whole vectors).
///
/// # Safety
/// As [`product_tile`], for all offsets and vectors.
#[inline(always)]
pub(super) unsafe fn outer_products<T: Lanes, S: Simd>(
    simd: S,
    products: &Products<'_, T>,
    channels: usize,
    out: &mut [T],
) {
    assert!(
        out.len() >= products.offsets.len() * channels && channels.is_multiple_of(lanes::<T, S>())
    );
    let vectors = channels / lanes::<T, S>();
    let mut first = 0;
    while first < vectors {
        // SAFETY: the caller's promise; two vectors are left where two are taken.
        unsafe {
            match (S::REGISTER_COUNT >= 32, vectors - first >= 2) {
                (true, true) => vector_group::<T, S, 12, 2>(simd, products, channels, first, out),
                (true, false) => vector_group::<T, S, 24, 1>(simd, products, channels, first, out),
                (false, true) => vector_group::<T, S, 6, 2>(simd, products, channels, first, out),
                (false, false) => vector_group::<T, S, 12, 1>(simd, products, channels, first, out),
            }
        }
        first += (vectors - first).min(2);
    }
}

/// The V vectors of channels from `first`.
///
/// # Safety
/// As [`outer_products`].
#[inline(always)]
unsafe fn vector_group<T: Lanes, S: Simd, const K: usize, const V: usize>(
    simd: S,
    products: &Products<'_, T>,
    channels: usize,
    first: usize,
    out: &mut [T],
) {
    let width = lanes::<T, S>();
    // SAFETY: the caller's promise.
    let gradient = unsafe { products.gradient.add(first * products.rows * products.width * width) };
    for (group, offsets) in products.offsets.chunks(K).enumerate() {
        let mut whole = [0; K];
        // A last group that is not full repeats its last offset and drops the result.
        for (k, to) in whole.iter_mut().enumerate() {
            *to = offsets[k.min(offsets.len() - 1)] as usize;
        }
        // SAFETY: the caller's promise.
        let sums = unsafe { product_tile::<T, S, K, V>(simd, products, &whole, gradient) };
        for (k, sums) in sums.iter().enumerate() {
            if k >= offsets.len() {
                break;
            }
            for (v, &sum) in sums.iter().enumerate() {
                let at = (group * K + k) * channels + (first + v) * width;
                // SAFETY: inside `out`, whose length was checked.
                unsafe { store::<T, S>(out.as_mut_ptr().add(at), sum) };
            }
        }
    }
}
