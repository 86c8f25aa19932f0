//! The way forward.

use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use super::rows::{blocks_mut, for_each_block, load_image};
use super::{FilterStack, validate};
use crate::fusion::Ingredients;
use crate::real::zero_if_finite;
use crate::tile::{Columns, zero_rgb, zero_tile};
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
        for_each_block(blocks_mut(out_band), |mut block| {
            let mut scratch = (self.graduated.scratch(), self.elliptical.scratch());
            let (mut y1, mut result) = (zero_rgb(), zero_rgb());
            let mut polynomial = zero_tile();
            let (mut graduated, mut elliptical) = (zero_rgb(), zero_rgb());
            for r in 0..block.height() {
                let x = (first_row + block.first_row + r) as f64 / image_height as f64;
                let rows = (self.graduated.rows(x), self.elliptical.rows(x));
                let polynomials = self.polynomial.each_ref().map(|p| p.row(x));
                for tile in columns.tiles() {
                    load_image(&image_band, block.first_row + r, tile.start, &mut y1);
                    self.graduated.product(&rows.0, tile, &mut scratch.0, &mut graduated);
                    self.elliptical.product(&rows.1, tile, &mut scratch.1, &mut elliptical);
                    for ch in 0..3 {
                        polynomials[ch].value(tile.y, &y1[ch], &mut polynomial);
                        let ingredients = Ingredients {
                            y1: &y1[ch],
                            polynomial: &polynomial,
                            graduated: &graduated[ch],
                            elliptical: &elliptical[ch],
                        };
                        self.fusion.fuse(ingredients, &mut result[ch]);
                    }
                    block.store(r, tile.start, &result);
                }
            }
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
        let [height, width] = validate::image_size("image", &image)?;
        validate::same_shape("output", image.dim(), out.dim())?;
        let columns = Columns::new(width);
        for_each_block(blocks_mut(out), |mut block| {
            let (mut y1, mut result) = (zero_rgb(), zero_rgb());
            let mut unlimited = zero_tile();
            for r in 0..block.height() {
                let x = (block.first_row + r) as f64 / height as f64;
                let polynomials = self.polynomial.each_ref().map(|p| p.row(x));
                for tile in columns.tiles() {
                    load_image(&image, block.first_row + r, tile.start, &mut y1);
                    for ch in 0..3 {
                        polynomials[ch].value(tile.y, &y1[ch], &mut unlimited);
                        self.fusion.polynomial(&unlimited, &mut result[ch]);
                    }
                    block.store(r, tile.start, &result);
                }
            }
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
            let y = T::narrow(column as f64 / width as f64);
            for ch in 0..3 {
                let value = values[[ch, n]];
                let unlimited = polynomials[ch].at(y, value + zero_if_finite(value));
                out[[ch, n]] = self.fusion.limit_polynomial(unlimited);
            }
        }
        Ok(())
    }
}
