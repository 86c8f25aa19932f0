//! MS-SSIM of one plane as the release defines it, with its gradient.
//!
//! Per scale, with G a 5x5 Gaussian (sigma 1.5) and zero padding: mu = G*x, E_xx = G*x^2,
//! E_xy = G*(xy), s_x = E_xx - mu_x^2, s_xy = E_xy - mu_x mu_y,
//! l = (2 mu_x mu_y + C1) / (mu_x^2 + mu_y^2 + C1), c = (2 s_xy + C2) / (s_x + s_y + C2).
//! Between scales the planes are halved by 2x2 means (an odd last row or column is dropped).
//! With u^ = (u + 1) / 2 of the means over the plane and weights w:
//! MS-SSIM = prod_{i<4} c^_i^{w_i} * (lc)^_4^{w_4 p}, p = 4 in the release and 1 under `msssim`.

use rayon::prelude::*;

use super::Element;

/// Weights of the five scales (Wang, Simoncelli, Bovik 2003), as printed in the release.
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
/// (0.01 R)^2 and (0.03 R)^2 for the range R = 1.
const C1: f64 = 1e-4;
const C2: f64 = 9e-4;
const SIGMA: f64 = 1.5;
const TAPS: usize = 5;

/// How often the last scale's SSIM enters the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastScale {
    /// The release: once for each of the other scales.
    FourTimes,
    /// The fix `msssim`.
    Once,
}

/// MS-SSIM of the planes `x` and `y` (`size` = rows, columns; at least 16x16) and its gradient to
/// `x`.
pub fn ms_ssim<T: Element>(
    x: &[T],
    y: &[T],
    size: (usize, usize),
    last_scale: LastScale,
) -> (f64, Vec<T>) {
    let last = WEIGHTS.len() - 1;
    let mut scales = vec![Scale::new(x.to_vec(), y.to_vec(), size, false)];
    for level in 1..=last {
        let finer = &scales[level - 1];
        let (x, coarser) = halve(&finer.x, finer.size);
        let (y, _) = halve(&finer.y, finer.size);
        scales.push(Scale::new(x, y, coarser, level == last));
    }
    let exponent = |level: usize| match (level == last, last_scale) {
        (true, LastScale::FourTimes) => 4.0 * WEIGHTS[level],
        _ => WEIGHTS[level],
    };
    let value: f64 = scales
        .iter()
        .enumerate()
        .map(|(level, scale)| ((scale.mean + 1.0) / 2.0).powf(exponent(level)))
        .product();

    let mut gradient: Vec<T> = Vec::new();
    for (level, scale) in scales.iter().enumerate().rev() {
        // d value / d mean = value * exponent / u^ * 1/2, and u^ = (mean + 1) / 2.
        let weight = value * exponent(level) / (scale.mean + 1.0);
        let mut own = scale.gradient(T::of(weight / scale.x.len() as f64));
        if level < last {
            add_halved_gradient(&mut own, scale.size, &gradient, scales[level + 1].size);
        }
        gradient = own;
    }
    (value, gradient)
}

/// One scale: the planes, their local moments and the mean of the compared quantity.
struct Scale<T> {
    x: Vec<T>,
    y: Vec<T>,
    size: (usize, usize),
    /// Whether the mean is of l c (the last scale) or of c.
    with_luminance: bool,
    /// Local moments mu_x, mu_y, E_xx + E_yy, E_xy (the squares enter only as their sum).
    moments: [Vec<T>; 4],
    mean: f64,
}

/// Contrast and luminance terms of one pixel.
struct Terms<T> {
    numerator: T,
    denominator: T,
    luminance_numerator: T,
    luminance_denominator: T,
}

impl<T: Element> Scale<T> {
    fn new(x: Vec<T>, y: Vec<T>, size: (usize, usize), with_luminance: bool) -> Self {
        let squares = x.iter().zip(&y).map(|(&x, &y)| x * x + y * y).collect::<Vec<_>>();
        let product = x.iter().zip(&y).map(|(&x, &y)| x * y).collect::<Vec<_>>();
        let moments = [blur(&x, size), blur(&y, size), blur(&squares, size), blur(&product, size)];
        let mut scale = Self { x, y, size, with_luminance, moments, mean: 0.0 };
        let sums: Vec<f64> = (0..size.0)
            .into_par_iter()
            .map(|row| {
                (row * size.1..(row + 1) * size.1)
                    .map(|i| {
                        let terms = scale.terms(i);
                        let contrast = terms.numerator / terms.denominator;
                        if with_luminance {
                            let luminance = terms.luminance_numerator / terms.luminance_denominator;
                            (luminance * contrast).wide()
                        } else {
                            contrast.wide()
                        }
                    })
                    .sum()
            })
            .collect();
        scale.mean = sums.iter().sum::<f64>() / scale.x.len() as f64;
        scale
    }

    fn terms(&self, i: usize) -> Terms<T> {
        let two = T::of(2.0);
        let (mu_x, mu_y) = (self.moments[0][i], self.moments[1][i]);
        let (squares, product) = (mu_x * mu_x + mu_y * mu_y, mu_x * mu_y);
        Terms {
            numerator: two * (self.moments[3][i] - product) + T::of(C2),
            denominator: self.moments[2][i] - squares + T::of(C2),
            luminance_numerator: two * product + T::of(C1),
            luminance_denominator: squares + T::of(C1),
        }
    }

    /// `weight` times the gradient of the sum over the plane to x.
    fn gradient(&self, weight: T) -> Vec<T> {
        let two = T::of(2.0);
        let length = self.x.len();
        let (mut to_mean, mut to_square, mut to_product) =
            (vec![T::zero(); length], vec![T::zero(); length], vec![T::zero(); length]);
        to_mean
            .par_iter_mut()
            .zip(&mut to_square)
            .zip(&mut to_product)
            .enumerate()
            .with_min_len(1 << 12)
            .for_each(|(i, ((to_mean, to_square), to_product))| {
                let t = self.terms(i);
                let (mu_x, mu_y) = (self.moments[0][i], self.moments[1][i]);
                let contrast = t.numerator / t.denominator;
                let luminance = t.luminance_numerator / t.luminance_denominator;
                let factor = if self.with_luminance { weight * luminance } else { weight };
                // c = A / B: dc/dE_xy = 2 / B, dc/dE_xx = -A / B^2, and through the means
                // dA/dmu_x = -2 mu_y, dB/dmu_x = -2 mu_x.
                *to_product = factor * two / t.denominator;
                *to_square = -(factor * contrast / t.denominator);
                *to_mean = -(*to_product * mu_y) - two * *to_square * mu_x;
                if self.with_luminance {
                    *to_mean += weight * contrast * two * (mu_y - luminance * mu_x)
                        / t.luminance_denominator;
                }
            });
        // The blur is its own transpose: the window is symmetric and the padding is zero.
        let [mean, square, product] =
            [to_mean, to_square, to_product].map(|plane| blur(&plane, self.size));
        (0..length)
            .map(|i| mean[i] + two * self.x[i] * square[i] + self.y[i] * product[i])
            .collect()
    }
}

fn window<T: Element>() -> [T; TAPS] {
    let centre = (TAPS / 2) as f64;
    let raw: [f64; TAPS] =
        std::array::from_fn(|i| (-(i as f64 - centre).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let sum: f64 = raw.iter().sum();
    raw.map(|weight| T::of(weight / sum))
}

/// Gaussian blur with zero padding, columns then rows.
fn blur<T: Element>(plane: &[T], (height, width): (usize, usize)) -> Vec<T> {
    let window = window::<T>();
    let reach = TAPS / 2;
    let mut out = vec![T::zero(); plane.len()];
    out.par_chunks_mut(width).enumerate().with_min_len(16).for_each_init(
        // The padded line keeps the inner loop free of edge cases.
        || vec![T::zero(); width + TAPS - 1],
        |padded, (row, out)| {
            let line = &mut padded[reach..reach + width];
            line.fill(T::zero());
            for (tap, &weight) in window.iter().enumerate() {
                let source = row + tap;
                if source < reach || source - reach >= height {
                    continue;
                }
                let source = &plane[(source - reach) * width..][..width];
                line.iter_mut().zip(source).for_each(|(to, &v)| *to += weight * v);
            }
            for (x, value) in out.iter_mut().enumerate() {
                let taps = &padded[x..x + TAPS];
                *value = window[0] * taps[0]
                    + window[1] * taps[1]
                    + window[2] * taps[2]
                    + window[3] * taps[3]
                    + window[4] * taps[4];
            }
        },
    );
    out
}

/// 2x2 means.
fn halve<T: Element>(plane: &[T], (height, width): (usize, usize)) -> (Vec<T>, (usize, usize)) {
    let (rows, columns) = (height / 2, width / 2);
    let quarter = T::of(0.25);
    let half = (0..rows * columns)
        .map(|i| {
            let corner = 2 * (i / columns) * width + 2 * (i % columns);
            let below = corner + width;
            (plane[corner] + plane[corner + 1] + plane[below] + plane[below + 1]) * quarter
        })
        .collect();
    (half, (rows, columns))
}

/// The transpose of [`halve`], added.
fn add_halved_gradient<T: Element>(
    gradient: &mut [T],
    (_, width): (usize, usize),
    coarse: &[T],
    (rows, columns): (usize, usize),
) {
    let quarter = T::of(0.25);
    for y in 0..2 * rows {
        let line = &mut gradient[y * width..][..2 * columns];
        let source = &coarse[y / 2 * columns..][..columns];
        for (pair, &from) in line.chunks_exact_mut(2).zip(source) {
            pair[0] += quarter * from;
            pair[1] += quarter * from;
        }
    }
}
