//! The way back: from a cotangent of the result to the image and to every parameter.

use ndarray::{Array3, ArrayView3, ArrayViewMut3};

use super::rows::{all_finite, blocks_mut, for_each_block, load_cotangent, load_image};
use super::{FilterStack, constrain, validate};
use crate::fusion::{Cotangents, Ingredients};
use crate::mask::InstanceSums;
use crate::polynomial::add_moments;
use crate::tile::{Columns, RgbTile, TILE, zero_rgb, zero_tile};
use crate::{
    Error, GateParams, PolynomialParams, Real, Result, StackParams, elliptical, graduated,
};

/// Gradients with respect to the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamGradients<T> {
    /// With respect to the raw numbers, in their order; `None` for a stack built from named
    /// parameters.
    pub raw: Option<Vec<T>>,
    /// With respect to the named parameters.
    pub params: StackParams<T>,
}

/// Gradients with respect to the image and the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Vjp<T> {
    /// With respect to the image, `[3, height, width]`.
    pub image: Array3<T>,
    /// With respect to the raw numbers, in their order; `None` for a stack built from named
    /// parameters.
    pub raw: Option<Vec<T>>,
    /// With respect to the named parameters.
    pub params: StackParams<T>,
}

impl<T> Vjp<T> {
    fn new(image: Array3<T>, gradients: ParamGradients<T>) -> Self {
        Self { image, raw: gradients.raw, params: gradients.params }
    }
}

/// The parameters' gradient in sums over pixels, of a block or of the image.
struct Sums {
    polynomial: [Vec<f64>; 3],
    graduated: Vec<InstanceSums>,
    elliptical: Vec<InstanceSums>,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        for (a, b) in self.polynomial.iter_mut().flatten().zip(other.polynomial.iter().flatten()) {
            *a += b;
        }
        let ours = self.graduated.iter_mut().chain(&mut self.elliptical);
        for (a, b) in ours.zip(other.graduated.iter().chain(&other.elliptical)) {
            a.add(b);
        }
    }
}

impl<T: Real> FilterStack<T> {
    /// The gradients of `sum(apply(image) * cotangent)`.
    ///
    /// Both arrays are `[3, height, width]`. Nothing of the way forward needs to be kept: the pass
    /// computes again what it needs. At kinks the subgradient is PyTorch's; the pages under
    /// `docs/src/math` derive every formula. Sums over pixels are added in `f64` in a fixed order.
    ///
    /// # Errors
    /// If the shapes do not fit, or an entry of either array is NaN or infinite (it would make
    /// every parameter's gradient meaningless); the entry is named.
    pub fn vjp(&self, image: ArrayView3<'_, T>, cotangent: ArrayView3<'_, T>) -> Result<Vjp<T>> {
        let mut gradient = Array3::zeros(image.raw_dim());
        let params = self.vjp_into(image, cotangent, gradient.view_mut())?;
        Ok(Vjp::new(gradient, params))
    }

    /// [`vjp`](Self::vjp) with the image's gradient written into `image_gradient`. Its content is
    /// unspecified after an error.
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp), or if `image_gradient` has another shape.
    pub fn vjp_into(
        &self,
        image: ArrayView3<'_, T>,
        cotangent: ArrayView3<'_, T>,
        image_gradient: ArrayViewMut3<'_, T>,
    ) -> Result<ParamGradients<T>> {
        let [height, width] = self.check_shapes(&image, &cotangent, &image_gradient)?;
        let columns = Columns::new(width);
        let partial = for_each_block(blocks_mut(image_gradient), |mut block| -> Result<Sums> {
            let mut sums = self.no_sums();
            let mut scratch = (self.graduated.scratch(), self.elliptical.scratch());
            let (mut y1, mut d_y, mut d_y1) = (zero_rgb(), zero_rgb(), zero_rgb());
            let (mut polynomial, mut d_polynomial) = (zero_tile(), zero_rgb());
            let mut slope = zero_tile();
            let (mut graduated, mut elliptical) = (zero_rgb(), zero_rgb());
            let (mut d_graduated, mut d_elliptical) = (zero_rgb(), zero_rgb());
            for r in 0..block.height() {
                let row = block.first_row + r;
                let x = row as f64 / height as f64;
                let rows = (self.graduated.rows(x), self.elliptical.rows(x));
                let polynomials = self.polynomial.each_ref().map(|p| p.row(x));
                let mut moments = [[[0.0; 4]; 4]; 3];
                for tile in columns.tiles() {
                    load_image(&image, row, tile.start, &mut y1);
                    load_cotangent(&cotangent, row, tile.start, &mut d_y);
                    check_finite("image", &image, row, tile.start, &y1)?;
                    check_finite("cotangent", &cotangent, row, tile.start, &d_y)?;

                    self.graduated.product(&rows.0, tile, &mut scratch.0, &mut graduated);
                    self.elliptical.product(&rows.1, tile, &mut scratch.1, &mut elliptical);
                    for ch in 0..3 {
                        polynomials[ch].value(tile.y, &y1[ch], &mut polynomial);
                        self.fusion.fuse_pull_back(
                            Ingredients {
                                y1: &y1[ch],
                                polynomial: &polynomial,
                                graduated: &graduated[ch],
                                elliptical: &elliptical[ch],
                            },
                            &d_y[ch],
                            Cotangents {
                                y1: &mut d_y1[ch],
                                polynomial: &mut d_polynomial[ch],
                                graduated: &mut d_graduated[ch],
                                elliptical: &mut d_elliptical[ch],
                            },
                        );
                        polynomials[ch].intensity_slope(tile.y, &y1[ch], &mut slope);
                        for j in 0..TILE {
                            d_y1[ch][j] += d_polynomial[ch][j] * slope[j];
                        }
                        if self.config.polynomial.is_some() {
                            add_moments(&d_polynomial[ch], tile.y, &y1[ch], &mut moments[ch]);
                        }
                    }
                    block.store(r, tile.start, &d_y1);
                    self.graduated.pull_back(
                        &rows.0,
                        tile,
                        &mut scratch.0,
                        &d_graduated,
                        &mut sums.graduated,
                    );
                    self.elliptical.pull_back(
                        &rows.1,
                        tile,
                        &mut scratch.1,
                        &d_elliptical,
                        &mut sums.elliptical,
                    );
                }
                for ch in 0..3 {
                    self.polynomial[ch].pull_back(x, &moments[ch], &mut sums.polynomial[ch]);
                }
            }
            Ok(sums)
        });
        self.finish(partial)
    }

    /// [`vjp`](Self::vjp) for contiguous slices of 3 · `height` · `width` numbers, channel by
    /// channel, row by row.
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp), or if a slice has another length.
    pub fn vjp_slice(
        &self,
        image: &[T],
        cotangent: &[T],
        height: usize,
        width: usize,
        image_gradient: &mut [T],
    ) -> Result<ParamGradients<T>> {
        self.vjp_into(
            validate::view("image", height, width, image)?,
            validate::view("cotangent", height, width, cotangent)?,
            validate::view_mut("image gradient", height, width, image_gradient)?,
        )
    }

    /// The gradients of `sum(apply_polynomial(image) * cotangent)`; those of all other filters are
    /// zero.
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp).
    pub fn vjp_polynomial(
        &self,
        image: ArrayView3<'_, T>,
        cotangent: ArrayView3<'_, T>,
    ) -> Result<Vjp<T>> {
        let mut gradient = Array3::zeros(image.raw_dim());
        let params = self.vjp_polynomial_into(image, cotangent, gradient.view_mut())?;
        Ok(Vjp::new(gradient, params))
    }

    /// [`vjp_polynomial`](Self::vjp_polynomial) with the image's gradient written into
    /// `image_gradient`. Its content is unspecified after an error.
    ///
    /// # Errors
    /// As [`vjp_into`](Self::vjp_into).
    pub fn vjp_polynomial_into(
        &self,
        image: ArrayView3<'_, T>,
        cotangent: ArrayView3<'_, T>,
        image_gradient: ArrayViewMut3<'_, T>,
    ) -> Result<ParamGradients<T>> {
        let [height, width] = self.check_shapes(&image, &cotangent, &image_gradient)?;
        let columns = Columns::new(width);
        let partial = for_each_block(blocks_mut(image_gradient), |mut block| -> Result<Sums> {
            let mut sums = self.no_sums();
            let (mut y1, mut d_y, mut d_y1) = (zero_rgb(), zero_rgb(), zero_rgb());
            let (mut unlimited, mut d_polynomial, mut slope) =
                (zero_tile(), zero_tile(), zero_tile());
            for r in 0..block.height() {
                let row = block.first_row + r;
                let x = row as f64 / height as f64;
                let polynomials = self.polynomial.each_ref().map(|p| p.row(x));
                let mut moments = [[[0.0; 4]; 4]; 3];
                for tile in columns.tiles() {
                    load_image(&image, row, tile.start, &mut y1);
                    load_cotangent(&cotangent, row, tile.start, &mut d_y);
                    check_finite("image", &image, row, tile.start, &y1)?;
                    check_finite("cotangent", &cotangent, row, tile.start, &d_y)?;
                    for ch in 0..3 {
                        polynomials[ch].value(tile.y, &y1[ch], &mut unlimited);
                        self.fusion.polynomial_pull_back(&unlimited, &d_y[ch], &mut d_polynomial);
                        polynomials[ch].intensity_slope(tile.y, &y1[ch], &mut slope);
                        for j in 0..TILE {
                            d_y1[ch][j] = d_polynomial[j] * slope[j];
                        }
                        add_moments(&d_polynomial, tile.y, &y1[ch], &mut moments[ch]);
                    }
                    block.store(r, tile.start, &d_y1);
                }
                for ch in 0..3 {
                    self.polynomial[ch].pull_back(x, &moments[ch], &mut sums.polynomial[ch]);
                }
            }
            Ok(sums)
        });
        self.finish(partial)
    }

    /// [`vjp_polynomial`](Self::vjp_polynomial) for contiguous slices, as
    /// [`vjp_slice`](Self::vjp_slice).
    ///
    /// # Errors
    /// As [`vjp_slice`](Self::vjp_slice).
    pub fn vjp_polynomial_slice(
        &self,
        image: &[T],
        cotangent: &[T],
        height: usize,
        width: usize,
        image_gradient: &mut [T],
    ) -> Result<ParamGradients<T>> {
        self.vjp_polynomial_into(
            validate::view("image", height, width, image)?,
            validate::view("cotangent", height, width, cotangent)?,
            validate::view_mut("image gradient", height, width, image_gradient)?,
        )
    }

    fn check_shapes(
        &self,
        image: &ArrayView3<'_, T>,
        cotangent: &ArrayView3<'_, T>,
        image_gradient: &ArrayViewMut3<'_, T>,
    ) -> Result<[usize; 2]> {
        let size = validate::image_size("image", image)?;
        validate::same_shape("cotangent", image.dim(), cotangent.dim())?;
        validate::same_shape("image gradient", image.dim(), image_gradient.dim())?;
        Ok(size)
    }

    fn no_sums(&self) -> Sums {
        let terms = self.config.polynomial.map_or(0, |kind| kind.terms());
        Sums {
            polynomial: [(); 3].map(|()| vec![0.0; terms]),
            graduated: vec![InstanceSums::default(); self.config.graduated],
            elliptical: vec![InstanceSums::default(); self.config.elliptical],
        }
    }

    /// Adds the blocks from top to bottom and follows the chain rule to the parameters.
    fn finish(&self, partial: Vec<Result<Sums>>) -> Result<ParamGradients<T>> {
        let mut sums = self.no_sums();
        for block in partial {
            sums.add(&block?);
        }
        let params = self.params.map(T::wide);
        let gradient = StackParams {
            polynomial: self
                .config
                .polynomial
                .map(|kind| PolynomialParams { kind, coefficients: sums.polynomial }),
            graduated: params
                .graduated
                .iter()
                .zip(&sums.graduated)
                .map(|(p, sums)| graduated::finish(&self.config, p, sums))
                .collect(),
            elliptical: params
                .elliptical
                .iter()
                .zip(&sums.elliptical)
                .map(|(p, sums)| elliptical::finish(&self.config, p, sums))
                .collect(),
            gates: self.config.gates.then(|| GateParams {
                graduated: sums.graduated.iter().map(|s| s.gate).collect(),
                elliptical: sums.elliptical.iter().map(|s| s.gate).collect(),
            }),
        };
        let raw = self.raw.as_ref().map(|raw| {
            let wide: Vec<f64> = raw.iter().map(|v| v.wide()).collect();
            constrain::pull_back(&self.config, &wide, &gradient)
                .into_iter()
                .map(T::narrow)
                .collect()
        });
        Ok(ParamGradients { raw, params: gradient.map(T::narrow) })
    }
}

/// Names the first entry of a tile that is not finite, if there is one.
fn check_finite<T: Real>(
    what: &'static str,
    array: &ArrayView3<'_, T>,
    row: usize,
    start: usize,
    tile: &RgbTile<T>,
) -> Result<()> {
    if all_finite(tile) {
        return Ok(());
    }
    for (channel, values) in tile.iter().enumerate() {
        if let Some(j) = values.iter().position(|v| !v.is_finite()) {
            let column = start + j;
            let value = array[[channel, row, column]].wide();
            return Err(Error::NotFinite { what, channel, row, column, value });
        }
    }
    Ok(())
}
