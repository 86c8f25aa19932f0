//! Local means, variances and covariance under a Gaussian window, and the two indices made of
//! them. Shared by SSIM and MS-SSIM.
//!
//! The arithmetic is scikit-image's, step by step: every intermediate image is stored in one type
//! ([`Real`]), each filter pass sums in double precision and rounds to it. In `f64` that is the
//! definition; in `f32` it is what `structural_similarity` returns for `float32` images, rounding
//! errors included, up to 2e-6 from the definition.

use num_traits::Float;
use pulp::Arch;
use rayon::prelude::*;

/// Radius of the window: scikit-image's `int(truncate * sigma + 0.5)` with 3.5 and 1.5.
pub(super) const RADIUS: usize = 5;
/// Side of the window, 11.
pub(super) const WINDOW: usize = 2 * RADIUS + 1;
/// Standard deviation of the window in pixels (Wang et al. 2004).
const SIGMA: f64 = 1.5;
/// K1 and K2 of Wang et al. 2004: C1 = (K1 range)^2, C2 = (K2 range)^2.
const K: [f64; 2] = [0.01, 0.03];
/// Sums kept side by side.
const LANES: usize = 8;
/// Output rows summed together. Fixed, so that the order of summation, and with it the last bit
/// of the result, does not depend on the number of threads.
const BAND: usize = 32;

/// The type intermediate images are stored in.
pub(super) trait Real: Float + Send + Sync + 'static {
    /// Rounds.
    fn of(value: f64) -> Self;
    /// Exactly.
    fn exact(self) -> f64;
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn exact(self) -> f64 {
        self
    }
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn exact(self) -> f64 {
        f64::from(self)
    }
}

/// One channel of an image, row by row.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a, T> {
    pub values: &'a [T],
    pub width: usize,
    pub height: usize,
}

impl<T> Plane<'_, T> {
    fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}

/// How similarity is computed.
#[derive(Clone, Copy)]
pub(super) struct Parameters {
    /// The window in one dimension; the window in two is its outer product.
    pub window: [f64; WINDOW],
    /// Range of the data, the L of the constants.
    pub data_range: f64,
    /// Factor on variances and covariance: N/(N-1) for the sample estimate, else 1.
    pub covariance_scale: f64,
}

/// Means over all windows that lie wholly inside the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Similarity {
    /// Mean of luminance x contrast x structure: SSIM.
    pub ssim: f64,
    /// Mean of contrast x structure, what MS-SSIM takes from all but the last scale.
    pub contrast_structure: f64,
}

/// Similarity of two planes of one size, each side at least [`WINDOW`], with intermediate images
/// of type `S`.
///
/// The mean is over windows wholly inside the image. scikit-image filters with a mirrored border
/// and then cuts [`RADIUS`] pixels off each side, which leaves exactly these windows.
pub(super) fn similarity<S: Real, T: Copy + Into<f64> + Sync>(
    x: Plane<'_, T>,
    y: Plane<'_, T>,
    parameters: Parameters,
) -> Similarity {
    debug_assert!(x.width.min(x.height) >= WINDOW);
    let rows = x.height - WINDOW + 1;
    let columns = x.width - WINDOW + 1;
    let sums: Vec<[f64; 2]> = (0..rows.div_ceil(BAND))
        .into_par_iter()
        .map(|band| {
            let band = band * BAND..((band + 1) * BAND).min(rows);
            // Compiled once per instruction set. The operations and their order are the same in
            // all of them, and so are the bits.
            Arch::new().dispatch(
                #[inline(always)]
                || band_sums::<S, T>(x, y, band, parameters),
            )
        })
        .collect();
    let [ssim, contrast_structure] =
        sums.iter().fold([0.0; 2], |total, sum| [total[0] + sum[0], total[1] + sum[1]]);
    let windows = (rows * columns) as f64;
    Similarity { ssim: ssim / windows, contrast_structure: contrast_structure / windows }
}

/// The Gaussian window, normalised.
pub(super) fn gaussian() -> [f64; WINDOW] {
    let weights = gaussian_weights();
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// The Gaussian window as pytorch-msssim has it: single precision, whatever the images have. Its
/// weights miss the sum of 1 by 3e-8, which moves MS-SSIM by up to 1.5e-6 on bright images.
pub(super) fn gaussian_in_single_precision() -> [f64; WINDOW] {
    let weights = gaussian_weights().map(|weight| weight as f32);
    let sum = weights.iter().map(|&weight| f64::from(weight)).sum::<f64>() as f32;
    weights.map(|weight| f64::from(weight / sum))
}

/// The Gaussian at whole pixels, 1 in the middle.
fn gaussian_weights() -> [f64; WINDOW] {
    std::array::from_fn(|i| {
        let distance = i as f64 - RADIUS as f64;
        (-0.5 * (distance / SIGMA).powi(2)).exp()
    })
}

/// Five images as rows: x, y, x^2, y^2, xy, or their local means.
struct Moments<S>([Vec<S>; 5]);

impl<S: Real> Moments<S> {
    fn zeros(width: usize) -> Self {
        Self(std::array::from_fn(|_| vec![S::zero(); width]))
    }
}

/// Sums of both indices over the output rows `rows`.
#[inline(always)]
fn band_sums<S: Real, T: Copy + Into<f64>>(
    x: Plane<'_, T>,
    y: Plane<'_, T>,
    rows: std::ops::Range<usize>,
    parameters: Parameters,
) -> [f64; 2] {
    // The last WINDOW input rows, at index row % WINDOW.
    let mut ring: [Moments<S>; WINDOW] = std::array::from_fn(|_| Moments::zeros(x.width));
    let mut down = vec![S::zero(); x.width];
    let mut means = Moments::zeros(x.width - WINDOW + 1);
    let mut total = [0.0; 2];
    for row in rows.start..rows.end + WINDOW - 1 {
        multiply(x.row(row), y.row(row), &mut ring[row % WINDOW]);
        if row + 1 < rows.start + WINDOW {
            continue;
        }
        for (moment, mean) in means.0.iter_mut().enumerate() {
            let taps: [&[S]; WINDOW] =
                std::array::from_fn(|tap| &ring[(row + 1 + tap) % WINDOW].0[moment][..]);
            filter_down(taps, &parameters.window, &mut down);
            filter_along(&down, &parameters.window, mean);
        }
        let sums = row_sums(&means, parameters);
        total = [total[0] + sums[0], total[1] + sums[1]];
    }
    total
}

#[inline(always)]
fn multiply<S: Real, T: Copy + Into<f64>>(x: &[T], y: &[T], products: &mut Moments<S>) {
    let length = x.len();
    let [px, py, xx, yy, xy] = products.0.each_mut().map(|row| &mut row[..length]);
    let y = &y[..length];
    for i in 0..length {
        let [x, y] = [x[i], y[i]].map(|value| S::of(value.into().clamp(0.0, 1.0)));
        (px[i], py[i], xx[i], yy[i], xy[i]) = (x, y, x * x, y * y, x * y);
    }
}

/// One pass of the filter across rows; the window is symmetric, so each weight serves two.
#[inline(always)]
fn filter_down<S: Real>(rows: [&[S]; WINDOW], window: &[f64; WINDOW], filtered: &mut [S]) {
    let length = filtered.len();
    let rows = rows.map(|row| &row[..length]);
    for (i, sum) in filtered.iter_mut().enumerate() {
        let mut exact = rows[RADIUS][i].exact() * window[RADIUS];
        for tap in 0..RADIUS {
            exact += (rows[tap][i].exact() + rows[WINDOW - 1 - tap][i].exact()) * window[tap];
        }
        *sum = S::of(exact);
    }
}

/// One pass of the filter along a row.
#[inline(always)]
fn filter_along<S: Real>(row: &[S], window: &[f64; WINDOW], filtered: &mut [S]) {
    let length = filtered.len();
    let shifted: [&[S]; WINDOW] = std::array::from_fn(|tap| &row[tap..tap + length]);
    filter_down(shifted, window, filtered);
}

#[inline(always)]
fn row_sums<S: Real>(means: &Moments<S>, parameters: Parameters) -> [f64; 2] {
    // As NumPy, which rounds a Python number to the images' type and multiplies from the left.
    let range = S::of(parameters.data_range);
    let [c1, c2] = K.map(|k| S::of(k) * range).map(|c| c * c);
    let (scale, two) = (S::of(parameters.covariance_scale), S::of(2.0));
    let length = means.0[0].len();
    let [mean_x, mean_y, xx, yy, xy] = means.0.each_ref().map(|row| &row[..length]);
    // Sums side by side, so that the divisions can use vector instructions.
    let mut totals = [[0.0; LANES]; 2];
    for i in 0..length {
        let (mx, my) = (mean_x[i], mean_y[i]);
        let variance_x = scale * (xx[i] - mx * mx);
        let variance_y = scale * (yy[i] - my * my);
        let covariance = scale * (xy[i] - mx * my);
        let (a1, a2) = (two * mx * my + c1, two * covariance + c2);
        let (b1, b2) = (mx * mx + my * my + c1, variance_x + variance_y + c2);
        totals[0][i % LANES] += ((a1 * a2) / (b1 * b2)).exact();
        totals[1][i % LANES] += (a2 / b2).exact();
    }
    totals.map(|lanes| lanes.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    /// The definition with a two-dimensional window and no shortcuts.
    fn direct(x: &[f64], y: &[f64], width: usize, height: usize, p: Parameters) -> Similarity {
        let kernel = p.window;
        let (mut ssim, mut contrast_structure, mut windows) = (0.0, 0.0, 0.0);
        for top in 0..=height - WINDOW {
            for left in 0..=width - WINDOW {
                let expect = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                    let mut sum = 0.0;
                    for (dy, wy) in kernel.iter().enumerate() {
                        for (dx, wx) in kernel.iter().enumerate() {
                            let at = (top + dy) * width + left + dx;
                            sum += wy * wx * f(x[at], y[at]);
                        }
                    }
                    sum
                };
                let (mx, my) = (expect(&|x, _| x), expect(&|_, y| y));
                let scale = p.covariance_scale;
                let vx = scale * (expect(&|x, _| x * x) - mx * mx);
                let vy = scale * (expect(&|_, y| y * y) - my * my);
                let cov = scale * (expect(&|x, y| x * y) - mx * my);
                let (c1, c2) = ((0.01 * p.data_range).powi(2), (0.03 * p.data_range).powi(2));
                let cs = (2.0 * cov + c2) / (vx + vy + c2);
                ssim += cs * (2.0 * mx * my + c1) / (mx * mx + my * my + c1);
                contrast_structure += cs;
                windows += 1.0;
            }
        }
        Similarity { ssim: ssim / windows, contrast_structure: contrast_structure / windows }
    }

    #[test]
    fn separable_bands_agree_with_the_definition() {
        // Sizes of one window, of one row or column of windows, and of more than one band.
        for (width, height) in [(11, 11), (11, 29), (40, 11), (13, 12), (17, 2 * BAND + 15)] {
            let noise = |seed: usize| -> Vec<f64> {
                (0..width * height)
                    .map(|i| ((i * 7919 + seed * 104_729) % 997) as f64 / 996.0)
                    .collect()
            };
            let (a, b) = (noise(1), noise(2));
            let p =
                Parameters { window: gaussian(), data_range: 0.7, covariance_scale: 121.0 / 120.0 };
            let plane = |values| Plane { values, width, height };
            let found = similarity::<f64, _>(plane(a.as_slice()), plane(b.as_slice()), p);
            let expected = direct(&a, &b, width, height, p);
            assert_relative_eq!(found.ssim, expected.ssim, epsilon = 1e-12);
            let (found, expected) = (found.contrast_structure, expected.contrast_structure);
            assert_relative_eq!(found, expected, epsilon = 1e-12);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let a: Vec<f32> = (0..200 * 150).map(|i| (i * 31 % 256) as f32 / 255.0).collect();
        let b: Vec<f32> = (0..200 * 150).map(|i| (i * 37 % 256) as f32 / 255.0).collect();
        let p = Parameters { window: gaussian(), data_range: 1.0, covariance_scale: 1.0 };
        let plane = |values| Plane { values, width: 200, height: 150 };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| similarity::<f32, _>(plane(a.as_slice()), plane(b.as_slice()), p).ssim)
        };
        assert_eq!(run(1).to_bits(), run(5).to_bits());
    }
}
