//! The way back: from a cotangent of the result to the image and to every parameter.

use ndarray::{Array3, ArrayView3, ArrayViewMut3};

use pulp::{Simd, WithSimd};

use super::rows::{BlockMut, blocks_mut, for_each_block, read_rgb};
use super::{FilterStack, constrain, validate};
use crate::fusion::Ingredients;
use crate::mask::InstanceSums;
use crate::polynomial::WideMoments;
use crate::simd::Wide;
use crate::tile::{ColumnTile, Columns, TILE, Tile, write};
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
pub struct Sums {
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
        let partial = for_each_block(blocks_mut(image_gradient), |block| {
            let (stack, columns) = (self, &columns);
            T::vjp(self.instructions, VjpBlock { stack, image, cotangent, columns, height, block })
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
        let partial = for_each_block(blocks_mut(image_gradient), |block| {
            T::vjp_polynomial(
                self.instructions,
                PolynomialVjpBlock {
                    stack: self,
                    image,
                    cotangent,
                    columns: &columns,
                    height,
                    block,
                },
            )
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

/// Tiles of a row after which the sums in the pixel type are added up in `f64`: an `f32` then holds
/// the sum of some hundred terms.
const TILES_PER_SUM: usize = 32;

/// The way back on one block of rows.
pub struct VjpBlock<'a, T> {
    stack: &'a FilterStack<T>,
    image: ArrayView3<'a, T>,
    cotangent: ArrayView3<'a, T>,
    columns: &'a Columns<T>,
    height: usize,
    block: BlockMut<'a, T>,
}

impl<T: Real> WithSimd for VjpBlock<'_, T> {
    type Output = Result<Sums>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Result<Sums> {
        let Self { stack, image, cotangent, columns, height, mut block } = self;
        let mut sums = stack.no_sums();
        let mut graduated = stack.graduated.scratch();
        let mut elliptical = stack.elliptical.scratch();
        let mut graduated_kept = stack.graduated.kept_scratch::<T>();
        let mut elliptical_kept = stack.elliptical.kept_scratch::<T>();
        let mut d_graduated = Tile::rgb(T::zero());
        let mut d_elliptical = Tile::rgb(T::zero());
        let mut buffers = [(); 2].map(|()| Tile::rgb(T::zero()));
        let mut result = Tile::filled(T::zero());
        let fusion = stack.fusion.kernel::<T, S>(simd);
        let zero = Wide::<T, S>::splat(simd, T::zero());
        for r in 0..block.height() {
            let row = block.first_row + r;
            let x = row as f64 / height as f64;
            stack.graduated.begin_row(x, columns.width(), &mut graduated);
            stack.elliptical.begin_row(x, columns.width(), &mut elliptical);
            let polynomials = stack.polynomial.each_ref().map(|p| p.row(x));
            let mut moments = [WideMoments::<T, S>::zero(simd); 3];
            for (t, tile) in columns.tiles().enumerate() {
                stack.graduated.product_kept(simd, tile, &mut graduated, &mut graduated_kept);
                stack.elliptical.product_kept(simd, tile, &mut elliptical, &mut elliptical_kept);
                let count = tile.vector_count::<S>();
                let padded = count * T::lanes::<S>();
                let [image_buffers, cotangent_buffers] = &mut buffers;
                let y1 = read_rgb(&image, row, tile.start, padded, image_buffers);
                let d = read_rgb(&cotangent, row, tile.start, padded, cotangent_buffers);
                let mut residue = zero;
                for ch in 0..3 {
                    let polynomial = polynomials[ch].kernel::<T, S>(simd);
                    let y = &tile.y.vectors::<S>()[..count];
                    let [y1, d] = [y1[ch], d[ch]].map(|v| &T::vectors::<S>(v)[..count]);
                    let graduated = &graduated.product[ch].vectors::<S>()[..count];
                    let elliptical = &elliptical.product[ch].vectors::<S>()[..count];
                    let d_graduated = &mut d_graduated[ch].vectors_mut::<S>()[..count];
                    let d_elliptical = &mut d_elliptical[ch].vectors_mut::<S>()[..count];
                    let mut sums = moments[ch];
                    write(block.row_mut(ch, r), tile.start, padded, &mut result, |out| {
                        let out = &mut T::vectors_mut::<S>(out)[..count];
                        for j in 0..count {
                            let (i, y) = (Wide::new(simd, y1[j]), Wide::new(simd, y[j]));
                            let d = Wide::new(simd, d[j]);
                            residue = d.mul_add(zero, i.mul_add(zero, residue));
                            if !stack.fusion.filters {
                                out[j] = fusion.limit_pull_back(i, d).lanes();
                                continue;
                            }
                            let [value, slope] = polynomial.value_and_slope(y, i);
                            let ingredients = Ingredients {
                                y1: i,
                                polynomial: value,
                                graduated: Wide::new(simd, graduated[j]),
                                elliptical: Wide::new(simd, elliptical[j]),
                            };
                            let [d_y1, d_value, d_g, d_e] = fusion.fuse_pull_back(ingredients, d);
                            out[j] = d_value.mul_add(slope, d_y1).lanes();
                            sums.add(d_value, y, i);
                            d_graduated[j] = d_g.lanes();
                            d_elliptical[j] = d_e.lanes();
                        }
                    });
                    moments[ch] = sums;
                }
                if !residue.sum().is_finite() {
                    find_not_finite("image", &image, row, tile)?;
                    find_not_finite("cotangent", &cotangent, row, tile)?;
                }
                let (g_kept, e_kept) = (&mut graduated_kept, &mut elliptical_kept);
                stack.graduated.pull_back(simd, tile, &graduated, g_kept, &mut d_graduated);
                stack.elliptical.pull_back(simd, tile, &elliptical, e_kept, &mut d_elliptical);
                if (t + 1) % TILES_PER_SUM == 0 || tile.start + TILE >= columns.width() {
                    stack.graduated.flush::<T, S>(simd, &graduated, g_kept, &mut sums.graduated);
                    stack.elliptical.flush::<T, S>(simd, &elliptical, e_kept, &mut sums.elliptical);
                    for ch in 0..3 {
                        let gradient = &mut sums.polynomial[ch];
                        stack.polynomial[ch].pull_back(x, &moments[ch].sum(), gradient);
                    }
                    moments = [WideMoments::zero(simd); 3];
                }
            }
        }
        Ok(sums)
    }
}

/// The way back of Y2 on one block of rows.
pub struct PolynomialVjpBlock<'a, T> {
    stack: &'a FilterStack<T>,
    image: ArrayView3<'a, T>,
    cotangent: ArrayView3<'a, T>,
    columns: &'a Columns<T>,
    height: usize,
    block: BlockMut<'a, T>,
}

impl<T: Real> WithSimd for PolynomialVjpBlock<'_, T> {
    type Output = Result<Sums>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Result<Sums> {
        let Self { stack, image, cotangent, columns, height, mut block } = self;
        let mut sums = stack.no_sums();
        let mut buffers = [(); 2].map(|()| Tile::rgb(T::zero()));
        let mut result = Tile::filled(T::zero());
        let fusion = stack.fusion.kernel::<T, S>(simd);
        let zero = Wide::<T, S>::splat(simd, T::zero());
        for r in 0..block.height() {
            let row = block.first_row + r;
            let x = row as f64 / height as f64;
            let polynomials = stack.polynomial.each_ref().map(|p| p.row(x));
            let mut moments = [WideMoments::<T, S>::zero(simd); 3];
            for (t, tile) in columns.tiles().enumerate() {
                let count = tile.vector_count::<S>();
                let padded = count * T::lanes::<S>();
                let [image_buffers, cotangent_buffers] = &mut buffers;
                let y1 = read_rgb(&image, row, tile.start, padded, image_buffers);
                let d = read_rgb(&cotangent, row, tile.start, padded, cotangent_buffers);
                let mut residue = zero;
                for ch in 0..3 {
                    let polynomial = polynomials[ch].kernel::<T, S>(simd);
                    let y = &tile.y.vectors::<S>()[..count];
                    let [y1, d] = [y1[ch], d[ch]].map(|v| &T::vectors::<S>(v)[..count]);
                    let mut sums = moments[ch];
                    write(block.row_mut(ch, r), tile.start, padded, &mut result, |out| {
                        let out = &mut T::vectors_mut::<S>(out)[..count];
                        for j in 0..count {
                            let (i, y) = (Wide::new(simd, y1[j]), Wide::new(simd, y[j]));
                            let d = Wide::new(simd, d[j]);
                            residue = d.mul_add(zero, i.mul_add(zero, residue));
                            let [value, slope] = polynomial.value_and_slope(y, i);
                            let d_value = fusion.limit_pull_back(value, d);
                            out[j] = (d_value * slope).lanes();
                            sums.add(d_value, y, i);
                        }
                    });
                    moments[ch] = sums;
                }
                if !residue.sum().is_finite() {
                    find_not_finite("image", &image, row, tile)?;
                    find_not_finite("cotangent", &cotangent, row, tile)?;
                }
                if (t + 1) % TILES_PER_SUM == 0 || tile.start + TILE >= columns.width() {
                    for ch in 0..3 {
                        let gradient = &mut sums.polynomial[ch];
                        stack.polynomial[ch].pull_back(x, &moments[ch].sum(), gradient);
                    }
                    moments = [WideMoments::zero(simd); 3];
                }
            }
        }
        Ok(sums)
    }
}

/// Names the first entry of part of a row that is not finite, if there is one.
#[cold]
#[inline(never)]
fn find_not_finite<T: Real>(
    what: &'static str,
    array: &ArrayView3<'_, T>,
    row: usize,
    tile: ColumnTile<'_, T>,
) -> Result<()> {
    for channel in 0..3 {
        for column in tile.start..tile.start + tile.len() {
            let value = array[[channel, row, column]];
            if !value.is_finite() {
                let value = value.wide();
                return Err(Error::NotFinite { what, channel, row, column, value });
            }
        }
    }
    Ok(())
}
