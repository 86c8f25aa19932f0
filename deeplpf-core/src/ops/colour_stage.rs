//! The optional colour stage: a global colour mixer and one tone curve per channel.
//!
//! For a pixel u = (u_0, u_1, u_2), mixer M (3x3), offset b (3) and curve values K (3x16):
//!
//! out_c = u_c + sum_d M_cd u_d + b_c + curve_c(u_c),
//! curve_c(v) = (1 - f) K_c,k + f K_c,k+1 with p = 15 clamp(v, 0, 1), k = min(floor p, 14), f = p - k.
//!
//! All parameters zero: the identity. Gradients: d/dM_cd = u_d, d/db_c = 1, d/dK_c,k = 1 - f,
//! d/dK_c,k+1 = f, d out_c/du_d = [c = d] + M_cd + [c = d] 15 (K_c,k+1 - K_c,k), the last term only
//! where 0 <= v <= 1 (the clamp passes its gradient there; at a knot the right-hand slope is taken,
//! at v = 1 the left-hand one).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{Element, by_dtype, by_element, elements, produced, with_elements};

/// Knots of each tone curve, evenly spaced on [0, 1].
pub const KNOTS: usize = 16;
/// Numbers per image: mixer row by row, offset, curves channel by channel.
pub const RAW_LEN: usize = 9 + 3 + 3 * KNOTS;

/// Pixels summed at a time; fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 1 << 13;

struct ColourStage;

/// image: (N, 3, H, W), parameters: (N, [`RAW_LEN`]) -> (N, 3, H, W).
pub fn colour_stage(image: &Tensor, parameters: &Tensor) -> Result<Tensor> {
    image.contiguous()?.apply_op2(&parameters.contiguous()?, ColourStage)
}

fn plane_size(image: &Shape, parameters: &Shape) -> Result<usize> {
    let (batch, channels, height, width) = image.dims4()?;
    if channels != 3 || parameters.dims() != [batch, RAW_LEN] {
        bail!("colour stage on {image:?} with parameters {parameters:?}");
    }
    Ok(height * width)
}

/// Segment of the curve and position in it.
fn segment<T: Element>(value: T) -> (usize, T) {
    let position = value.bounded(T::zero(), T::one()) * T::of((KNOTS - 1) as f64);
    let knot = position.to_usize().unwrap_or(0).min(KNOTS - 2);
    (knot, position - T::of(knot as f64))
}

fn curve_value<T: Element>(curve: &[T], value: T) -> T {
    let (knot, fraction) = segment(value);
    curve[knot] * (T::one() - fraction) + curve[knot + 1] * fraction
}

/// One pixel through the stage with the numbers of one image.
pub(crate) fn map<T: Element>(numbers: &[T], u: [T; 3]) -> [T; 3] {
    std::array::from_fn(|channel| {
        let mixer = &numbers[3 * channel..][..3];
        let mixed = mixer[0] * u[0] + mixer[1] * u[1] + mixer[2] * u[2];
        let curve = &numbers[12 + channel * KNOTS..][..KNOTS];
        u[channel] + mixed + numbers[9 + channel] + curve_value(curve, u[channel])
    })
}

fn forward<T: Element>(
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let plane = plane_size(l1.shape(), l2.shape())?;
    let (image, parameters) = (elements::<T>(s1, l1)?, elements::<T>(s2, l2)?);
    let mut out = vec![T::zero(); image.len()];
    apply_into(image, parameters, plane, &mut out);
    produced(out, l1.shape())
}

/// [`colour_stage`] of images of `plane` pixels.
pub(crate) fn apply_into<T: Element>(image: &[T], parameters: &[T], plane: usize, out: &mut [T]) {
    out.par_chunks_mut(plane).enumerate().for_each(|(index, out)| {
        let (batch, channel) = (index / 3, index % 3);
        let p = &parameters[batch * RAW_LEN..][..RAW_LEN];
        let u: [&[T]; 3] = std::array::from_fn(|d| &image[(batch * 3 + d) * plane..][..plane]);
        let mixer = &p[3 * channel..][..3];
        let curve = &p[12 + channel * KNOTS..][..KNOTS];
        for (i, value) in out.iter_mut().enumerate() {
            let mixed = mixer[0] * u[0][i] + mixer[1] * u[1][i] + mixer[2] * u[2][i];
            let own = u[channel][i];
            *value = own + mixed + p[9 + channel] + curve_value(curve, own);
        }
    });
}

/// Parameter gradients of one block of pixels; writes the image gradient of the block.
fn block_gradients<T: Element>(
    p: &[T],
    u: [&[T]; 3],
    g: [&[T]; 3],
    grad: [&mut [T]; 3],
) -> [f64; RAW_LEN] {
    let mut sums = [0.0; RAW_LEN];
    let steps = T::of((KNOTS - 1) as f64);
    for i in 0..u[0].len() {
        for c in 0..3 {
            let gradient = g[c][i];
            let value = u[c][i];
            let (knot, fraction) = segment(value);
            for d in 0..3 {
                sums[3 * c + d] += (gradient * u[d][i]).wide();
                grad[d][i] += p[3 * c + d] * gradient;
            }
            sums[9 + c] += gradient.wide();
            let curve = 12 + c * KNOTS + knot;
            sums[curve] += (gradient * (T::one() - fraction)).wide();
            sums[curve + 1] += (gradient * fraction).wide();
            let inside = value >= T::zero() && value <= T::one();
            let slope = if inside { (p[curve + 1] - p[curve]) * steps } else { T::zero() };
            grad[c][i] += gradient * (T::one() + slope);
        }
    }
    sums
}

fn backward<T: Element>(
    image: &Tensor,
    parameters: &Tensor,
    grad_out: &Tensor,
) -> Result<[Tensor; 2]> {
    let plane = plane_size(image.shape(), parameters.shape())?;
    let batch = image.dim(0)?;
    let mut grad_image = vec![T::zero(); batch * 3 * plane];
    let mut grad_parameters = vec![T::zero(); batch * RAW_LEN];
    with_elements::<T, _>(image, |image| {
        with_elements::<T, _>(parameters, |parameters| {
            with_elements::<T, _>(grad_out, |grad_out| {
                let gradients = (&mut grad_image[..], &mut grad_parameters[..]);
                add_gradients((image, parameters), grad_out, plane, gradients);
                Ok(())
            })
        })
    })?;
    Ok([
        Tensor::from_vec(grad_image, image.shape(), image.device())?,
        Tensor::from_vec(grad_parameters, parameters.shape(), parameters.device())?,
    ])
}

/// Adds the gradient to the image to `grad_image`, and stores the one to the parameters.
pub(crate) fn add_gradients<T: Element>(
    (image, parameters): (&[T], &[T]),
    grad_out: &[T],
    plane: usize,
    (grad_image, grad_parameters): (&mut [T], &mut [T]),
) {
    for (n, grad) in grad_image.chunks_exact_mut(3 * plane).enumerate() {
        let p = &parameters[n * RAW_LEN..][..RAW_LEN];
        let (red, rest) = grad.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let partial: Vec<[f64; RAW_LEN]> = red
            .par_chunks_mut(BLOCK)
            .zip(green.par_chunks_mut(BLOCK))
            .zip(blue.par_chunks_mut(BLOCK))
            .enumerate()
            .map(|(block, ((red, green), blue))| {
                let at = |c: usize| {
                    let start = (n * 3 + c) * plane + block * BLOCK;
                    start..start + red.len()
                };
                let u = std::array::from_fn(|c| &image[at(c)]);
                let g = std::array::from_fn(|c| &grad_out[at(c)]);
                block_gradients(p, u, g, [red, green, blue])
            })
            .collect();
        for (k, to) in grad_parameters[n * RAW_LEN..][..RAW_LEN].iter_mut().enumerate() {
            *to = T::of(partial.iter().map(|sums| sums[k]).sum());
        }
    }
}

impl CustomOp2 for ColourStage {
    fn name(&self) -> &'static str {
        "colour-stage"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_element!(s1, forward((s1, l1), (s2, l2)))
    }

    fn bwd(
        &self,
        image: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        grad_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [image, parameters] = by_dtype!(image, backward(image, parameters, grad_out))?;
        Ok((Some(image), Some(parameters)))
    }
}
