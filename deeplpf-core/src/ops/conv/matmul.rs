//! The inner matrix product, from the `gemm` crate.

use super::super::Element;

/// A matrix view: element (i, j) stands at `i * row_stride + j`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub values: &'a [T],
    pub row_stride: usize,
    pub transposed: bool,
}

impl<'a, T> Matrix<'a, T> {
    pub fn rows(values: &'a [T], row_stride: usize) -> Self {
        Self { values, row_stride, transposed: false }
    }

    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// (row stride, column stride) of the matrix as seen.
    fn strides(&self) -> (isize, isize) {
        let stride = self.row_stride as isize;
        if self.transposed { (1, stride) } else { (stride, 1) }
    }

    /// Panics unless an `m` x `n` matrix lies inside the slice.
    fn check(&self, m: usize, n: usize) {
        let (stored_rows, stored_columns) = if self.transposed { (n, m) } else { (m, n) };
        assert!(stored_columns <= self.row_stride || stored_rows <= 1, "overlapping rows");
        assert!(
            stored_rows == 0
                || stored_columns == 0
                || (stored_rows - 1) * self.row_stride + stored_columns <= self.values.len(),
            "matrix of {m}x{n} reaches past its storage"
        );
    }
}

/// out (m x n, rows `row_stride` apart) = [out +] a (m x k) b (k x n), on the calling thread.
///
/// # Safety
/// `out` must be valid for writes (and, with `accumulate`, reads of initialised values) of `m`
/// rows of `n` elements `row_stride` apart, and no other thread may touch them meanwhile.
pub(super) unsafe fn multiply_into<T: Element>(
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: *mut T,
    row_stride: usize,
    accumulate: bool,
) {
    a.check(m, k);
    b.check(k, n);
    let (a_rows, a_columns) = a.strides();
    let (b_rows, b_columns) = b.strides();
    // SAFETY: the reads were checked just above; the writes are the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            row_stride as isize,
            accumulate,
            a.values.as_ptr(),
            a_columns,
            a_rows,
            b.values.as_ptr(),
            b_columns,
            b_rows,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// As [`multiply_into`], into a whole slice.
pub(super) fn multiply<T: Element>(
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [T],
    accumulate: bool,
) {
    assert!(out.len() >= m * n, "product of {m}x{n} does not fit");
    // SAFETY: the slice is borrowed exclusively and long enough for m rows of n.
    unsafe { multiply_into((m, n, k), a, b, out.as_mut_ptr(), n, accumulate) }
}
