//! sRGB to scaled CIELAB (D65), as the release computes it, and the chain rule back.
//!
//! linear(v) = v / 12.92 for v <= 0.04045, else ((v + 0.055) / 1.055)^2.4
//! (X, Y, Z) = (r, g, b) M, X and Z divided by the white point
//! f(u) = u / (3 e^2) + 4/29 for u <= e^3, else u^(1/3), with e = 6/29
//! L = 116 f(Y) - 16, a = 500 (f(X) - f(Y)), b = 200 (f(Y) - f(Z))
//! scaled: L / 100, (a / 110 + 1) / 2, (b / 110 + 1) / 2; a NaN becomes 0.

use rayon::prelude::*;

use super::Element;

/// Row vector (r, g, b) times this is (X, Y, Z): the sRGB primaries with the D65 white, as printed
/// in the release.
const RGB_TO_XYZ: [[f64; 3]; 3] = [
    [0.412453, 0.212671, 0.019334],
    [0.357580, 0.715160, 0.119193],
    [0.180423, 0.072169, 0.950227],
];
/// X and Z of the D65 white point (Y = 1).
const WHITE: [f64; 3] = [0.950456, 1.0, 1.088754];
/// CIE's e = 6/29, where the cube root meets its tangent.
const EPSILON: f64 = 6.0 / 29.0;
/// The sRGB curve's joint.
const SRGB_JOINT: f64 = 0.04045;

/// Pixels converted per task.
const BLOCK: usize = 1 << 12;

fn linear<T: Element>(v: T) -> T {
    if v <= T::of(SRGB_JOINT) {
        v / T::of(12.92)
    } else {
        ((v + T::of(0.055)) / T::of(1.055)).powf(T::of(2.4))
    }
}

/// linear'(v), given linear(v): a power's slope is the power times its exponent over its base.
fn linear_slope<T: Element>(v: T, linear: T) -> T {
    if v <= T::of(SRGB_JOINT) {
        T::of(1.0 / 12.92)
    } else {
        T::of(2.4) * linear / (v + T::of(0.055))
    }
}

fn cube_root<T: Element>(u: T) -> T {
    if u <= T::of(EPSILON.powi(3)) {
        u / T::of(3.0 * EPSILON * EPSILON) + T::of(4.0 / 29.0)
    } else {
        u.cbrt()
    }
}

/// f'(u), given f = f(u).
fn cube_root_slope<T: Element>(u: T, f: T) -> T {
    if u <= T::of(EPSILON.powi(3)) {
        T::of(1.0 / (3.0 * EPSILON * EPSILON))
    } else {
        T::one() / (T::of(3.0) * f * f)
    }
}

/// White-normalised XYZ of a linear RGB pixel.
fn xyz<T: Element>(lin: [T; 3]) -> [T; 3] {
    std::array::from_fn(|j| {
        let sum = lin[0] * T::of(RGB_TO_XYZ[0][j])
            + lin[1] * T::of(RGB_TO_XYZ[1][j])
            + lin[2] * T::of(RGB_TO_XYZ[2][j]);
        sum / T::of(WHITE[j])
    })
}

fn pixel_to_lab<T: Element>(rgb: [T; 3]) -> [T; 3] {
    let [fx, fy, fz] = xyz(rgb.map(linear)).map(cube_root);
    let half = T::of(0.5);
    let lab = [
        (T::of(116.0) * fy - T::of(16.0)) / T::of(100.0),
        (T::of(500.0 / 110.0) * (fx - fy) + T::one()) * half,
        (T::of(200.0 / 110.0) * (fy - fz) + T::one()) * half,
    ];
    lab.map(|v| if v.is_nan() { T::zero() } else { v })
}

/// Gradient to sRGB of a pixel's (L, a, b) gradient.
fn pixel_gradient<T: Element>(rgb: [T; 3], lab_gradient: [T; 3]) -> [T; 3] {
    let [gl, ga, gb] = lab_gradient;
    let (l, a, b) = (T::of(1.16), T::of(250.0 / 110.0), T::of(100.0 / 110.0));
    let grad_f = [a * ga, l * gl - a * ga + b * gb, -(b * gb)];
    let lin = rgb.map(linear);
    let u = xyz(lin);
    let grad_xyz: [T; 3] = std::array::from_fn(|j| {
        grad_f[j] * cube_root_slope(u[j], cube_root(u[j])) / T::of(WHITE[j])
    });
    std::array::from_fn(|i| {
        let sum = grad_xyz[0] * T::of(RGB_TO_XYZ[i][0])
            + grad_xyz[1] * T::of(RGB_TO_XYZ[i][1])
            + grad_xyz[2] * T::of(RGB_TO_XYZ[i][2]);
        sum * linear_slope(rgb[i], lin[i])
    })
}

/// Planar RGB in [0, 1] (three planes one after another) to planar scaled CIELAB.
pub fn scaled_lab<T: Element>(rgb: &[T]) -> Vec<T> {
    let pixels = rgb.len() / 3;
    let mut lab = vec![T::zero(); rgb.len()];
    let (l, rest) = lab.split_at_mut(pixels);
    let (a, b) = rest.split_at_mut(pixels);
    l.par_chunks_mut(BLOCK)
        .zip(a.par_chunks_mut(BLOCK))
        .zip(b.par_chunks_mut(BLOCK))
        .enumerate()
        .for_each(|(block, ((l, a), b))| {
            for i in 0..l.len() {
                let at = block * BLOCK + i;
                [l[i], a[i], b[i]] =
                    pixel_to_lab([rgb[at], rgb[pixels + at], rgb[2 * pixels + at]]);
            }
        });
    lab
}

/// Mean of |ours - theirs| over all entries.
pub(super) fn mean_absolute_difference<T: Element>(ours: &[T], theirs: &[T]) -> f64 {
    // Blocks of fixed size keep the order of summation, and so the bits, for any thread count.
    let sums: Vec<f64> = ours
        .par_chunks(BLOCK)
        .zip(theirs.par_chunks(BLOCK))
        .map(|(ours, theirs)| ours.iter().zip(theirs).map(|(&p, &t)| (p - t).abs().wide()).sum())
        .collect();
    sums.iter().sum::<f64>() / ours.len() as f64
}

/// Writes d/d rgb of `weights.0` mean |ours - theirs| + `weights.1` similarity, the latter with
/// gradient `similarity_gradient` to L. The absolute value has gradient 0 at 0.
pub(super) fn loss_gradient<T: Element>(
    rgb: &[T],
    (ours, theirs): (&[T], &[T]),
    similarity_gradient: &[T],
    weights: (T, T),
    gradient: &mut [T],
) {
    let pixels = rgb.len() / 3;
    let share = weights.0 / T::of(rgb.len() as f64);
    let sign = |at: usize| {
        let difference = ours[at] - theirs[at];
        if difference > T::zero() {
            share
        } else if difference < T::zero() {
            -share
        } else {
            T::zero()
        }
    };
    let (red, rest) = gradient.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    red.par_chunks_mut(BLOCK)
        .zip(green.par_chunks_mut(BLOCK))
        .zip(blue.par_chunks_mut(BLOCK))
        .enumerate()
        .for_each(|(block, ((red, green), blue))| {
            for i in 0..red.len() {
                let at = block * BLOCK + i;
                let lab_gradient = [
                    sign(at) + weights.1 * similarity_gradient[at],
                    sign(pixels + at),
                    sign(2 * pixels + at),
                ];
                let pixel = [rgb[at], rgb[pixels + at], rgb[2 * pixels + at]];
                [red[i], green[i], blue[i]] = pixel_gradient(pixel, lab_gradient);
            }
        });
}
