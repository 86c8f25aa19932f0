//! The way forward.

use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use pulp::{Simd, WithSimd};

use super::rows::{BlockMut, blocks_mut, for_each_block, load_pixels, read_rgb};
use super::{FilterStack, validate};
use crate::fusion::Ingredients;
use crate::simd::Wide;
use crate::tile::{Columns, Tile, write};
use crate::{Real, Result};

impl<T: Real> FilterStack<T> {
    /// The filtered image Y.
    ///
    /// `image` is Y1, `[3, height, width]`, RGB, nominally in [0, 1]. In the release dialect the
    /// result is limited to [0, 1]; the paper's has no limits. An entry of `image` that is NaN or
    /// infinite makes the same entry of the result NaN and no other.
    ///
    /// # Errors
    /// If the shape is not `[3, height, width]` with both at least 1.
    pub fn apply(&self, image: ArrayView3<'_, T>) -> Result<Array3<T>> {
        let mut out = Array3::zeros(image.raw_dim());
        self.apply_into(image, out.view_mut())?;
        Ok(out)
    }

    /// [`apply`](Self::apply) into an array of the image's shape.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), or if `out` has another shape.
    pub fn apply_into(&self, image: ArrayView3<'_, T>, out: ArrayViewMut3<'_, T>) -> Result<()> {
        let [height, _] = validate::image_size("image", &image)?;
        self.apply_rows_into(image, 0, height, out)
    }

    /// [`apply`](Self::apply) on a band of rows of a larger image: `image_band` holds the rows
    /// `first_row ..` of an image of `image_height` rows, at its full width, and `out_band` gets
    /// the same rows of the result, the same bits as from the whole image.
    ///
    /// # Errors
    /// If the band's shape is not `[3, rows, width]` with both at least 1, if it reaches beyond
    /// the image's last row, or if `out_band` has another shape.
    pub fn apply_rows_into(
        &self,
        image_band: ArrayView3<'_, T>,
        first_row: usize,
        image_height: usize,
        out_band: ArrayViewMut3<'_, T>,
    ) -> Result<()> {
        let [rows, width] = validate::image_size("image", &image_band)?;
        validate::same_shape("output", image_band.dim(), out_band.dim())?;
        validate::band(first_row, rows, image_height)?;
        let columns = Columns::new(width);
        for_each_block(blocks_mut(out_band), |block| {
            T::apply(
                self.instructions,
                ApplyBlock {
                    stack: self,
                    image: image_band,
                    columns: &columns,
                    first_row,
                    image_height,
                    block,
                },
            );
        });
        Ok(())
    }

    /// [`apply`](Self::apply) for contiguous slices of 3 · `height` · `width` numbers, channel by
    /// channel, row by row.
    ///
    /// # Errors
    /// If a slice has another length or the image is empty.
    pub fn apply_slice(
        &self,
        image: &[T],
        height: usize,
        width: usize,
        out: &mut [T],
    ) -> Result<()> {
        self.apply_into(
            validate::view("image", height, width, image)?,
            validate::view_mut("output", height, width, out)?,
        )
    }

    /// Y2, the image after the polynomial filter: what the graduated and the elliptical head of
    /// the network see. Without a polynomial filter it is Y1, limited to [0, 1] in the release
    /// dialect.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_polynomial(&self, image: ArrayView3<'_, T>) -> Result<Array3<T>> {
        let mut out = Array3::zeros(image.raw_dim());
        self.apply_polynomial_into(image, out.view_mut())?;
        Ok(out)
    }

    /// [`apply_polynomial`](Self::apply_polynomial) into an array of the image's shape.
    ///
    /// # Errors
    /// As [`apply_into`](Self::apply_into).
    pub fn apply_polynomial_into(
        &self,
        image: ArrayView3<'_, T>,
        out: ArrayViewMut3<'_, T>,
    ) -> Result<()> {
        let [_, width] = validate::image_size("image", &image)?;
        validate::same_shape("output", image.dim(), out.dim())?;
        let columns = Columns::new(width);
        for_each_block(blocks_mut(out), |block| {
            T::apply_polynomial(
                self.instructions,
                PolynomialBlock { stack: self, image, columns: &columns, block },
            );
        });
        Ok(())
    }

    /// [`apply_polynomial`](Self::apply_polynomial) for contiguous slices, as
    /// [`apply_slice`](Self::apply_slice).
    ///
    /// # Errors
    /// As [`apply_slice`](Self::apply_slice).
    pub fn apply_polynomial_slice(
        &self,
        image: &[T],
        height: usize,
        width: usize,
        out: &mut [T],
    ) -> Result<()> {
        self.apply_polynomial_into(
            validate::view("image", height, width, image)?,
            validate::view_mut("output", height, width, out)?,
        )
    }

    /// Y2 at single pixels of an image of `image_size` (height, width), for callers that need it
    /// at few of them: pixel n lies in row `rows[n]` and column `columns[n]`, and `values` and
    /// `out` hold red, green and blue of Y1 and of Y2 in column n of a `[3, pixels]` array. Up to
    /// rounding, the numbers of [`apply_polynomial`](Self::apply_polynomial).
    ///
    /// # Errors
    /// If the number of rows, of columns and of the arrays' pixels are not the same, if an array
    /// does not have three channels, or if a pixel lies outside the image.
    pub fn apply_polynomial_at(
        &self,
        image_size: (usize, usize),
        rows: &[usize],
        columns: &[usize],
        values: ArrayView2<'_, T>,
        mut out: ArrayViewMut2<'_, T>,
    ) -> Result<()> {
        validate::pixels(image_size, rows, columns, [values.dim(), out.dim()])?;
        let (height, width) = image_size;
        let mut last_row = None;
        let mut polynomials = self.polynomial.each_ref().map(|p| p.row(0.0));
        for (n, (&row, &column)) in rows.iter().zip(columns).enumerate() {
            if last_row != Some(row) {
                let x = row as f64 / height as f64;
                polynomials = self.polynomial.each_ref().map(|p| p.row(x));
                last_row = Some(row);
            }
            let y = column as f64 / width as f64;
            for ch in 0..3 {
                let value = values[[ch, n]].wide();
                // Infinities become NaN here too.
                let unlimited = polynomials[ch].at(y, value + 0.0 * value);
                out[[ch, n]] = self.fusion.limit_polynomial(T::narrow(unlimited));
            }
        }
        Ok(())
    }
}

/// The way forward on one block of rows.
pub struct ApplyBlock<'a, T> {
    stack: &'a FilterStack<T>,
    image: ArrayView3<'a, T>,
    columns: &'a Columns<T>,
    /// Where the array's first row lies in the image.
    first_row: usize,
    image_height: usize,
    block: BlockMut<'a, T>,
}

impl<T: Real> WithSimd for ApplyBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stack, image, columns, first_row, image_height, mut block } = self;
        let mut graduated = stack.graduated.scratch();
        let mut elliptical = stack.elliptical.scratch();
        let (mut pixels, mut result) = (Tile::rgb(T::zero()), Tile::filled(T::zero()));
        let fusion = stack.fusion.kernel::<T, S>(simd);
        let zero = Wide::splat(simd, T::zero());
        for r in 0..block.height() {
            let row = block.first_row + r;
            let x = (first_row + row) as f64 / image_height as f64;
            stack.graduated.begin_row(x, columns.width(), &mut graduated);
            stack.elliptical.begin_row(x, columns.width(), &mut elliptical);
            let polynomials = stack.polynomial.each_ref().map(|p| p.row(x));
            for tile in columns.tiles() {
                stack.graduated.product::<T, S>(simd, tile, &mut graduated);
                stack.elliptical.product::<T, S>(simd, tile, &mut elliptical);
                let count = tile.vector_count::<S>();
                let padded = count * T::lanes::<S>();
                let y1 = read_rgb(&image, row, tile.start, padded, &mut pixels);
                for ch in 0..3 {
                    let polynomial = polynomials[ch].kernel::<T, S>(simd);
                    let y = &tile.y.vectors::<S>()[..count];
                    let y1 = &T::vectors::<S>(y1[ch])[..count];
                    let graduated = &graduated.product[ch].vectors::<S>()[..count];
                    let elliptical = &elliptical.product[ch].vectors::<S>()[..count];
                    write(block.row_mut(ch, r), tile.start, padded, &mut result, |out| {
                        let out = &mut T::vectors_mut::<S>(out)[..count];
                        for j in 0..count {
                            let i = load_pixels(simd, y1[j], zero);
                            let y = Wide::new(simd, y[j]);
                            out[j] = if stack.fusion.filters {
                                let ingredients = Ingredients {
                                    y1: i,
                                    polynomial: polynomial.value(y, i),
                                    graduated: Wide::new(simd, graduated[j]),
                                    elliptical: Wide::new(simd, elliptical[j]),
                                };
                                fusion.fuse(ingredients).lanes()
                            } else {
                                fusion.limit(i).lanes()
                            };
                        }
                    });
                }
            }
        }
    }
}

/// Y2 on one block of rows.
pub struct PolynomialBlock<'a, T> {
    stack: &'a FilterStack<T>,
    image: ArrayView3<'a, T>,
    columns: &'a Columns<T>,
    block: BlockMut<'a, T>,
}

impl<T: Real> WithSimd for PolynomialBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stack, image, columns, mut block } = self;
        let (mut pixels, mut result) = (Tile::rgb(T::zero()), Tile::filled(T::zero()));
        let fusion = stack.fusion.kernel::<T, S>(simd);
        let zero = Wide::splat(simd, T::zero());
        for r in 0..block.height() {
            let row = block.first_row + r;
            let x = row as f64 / image.dim().1 as f64;
            let polynomials = stack.polynomial.each_ref().map(|p| p.row(x));
            for tile in columns.tiles() {
                let count = tile.vector_count::<S>();
                let padded = count * T::lanes::<S>();
                let y1 = read_rgb(&image, row, tile.start, padded, &mut pixels);
                for ch in 0..3 {
                    let polynomial = polynomials[ch].kernel::<T, S>(simd);
                    let y = &tile.y.vectors::<S>()[..count];
                    let y1 = &T::vectors::<S>(y1[ch])[..count];
                    write(block.row_mut(ch, r), tile.start, padded, &mut result, |out| {
                        let out = &mut T::vectors_mut::<S>(out)[..count];
                        for j in 0..count {
                            let i = load_pixels(simd, y1[j], zero);
                            let y = Wide::new(simd, y[j]);
                            out[j] = fusion.limit(polynomial.value(y, i)).lanes();
                        }
                    });
                }
            }
        }
    }
}
