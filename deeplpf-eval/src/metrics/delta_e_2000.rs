//! Colour difference CIEDE2000.

use ndarray::ArrayView3;

use super::cielab::{Lab, mean_difference};
use super::{Direction, ImageMetric, ImagePair, Metric};
use crate::error::Result;

/// Mean over pixels of CIEDE2000 (kL = kC = kH = 1) in CIE L\*a\*b\* (D65).
///
/// Formula: G. Sharma, W. Wu, E. N. Dalal, "The CIEDE2000 color-difference formula", Color
/// Research and Application 30(1), 2005; equation numbers below are theirs. Reference:
/// `skimage.color.deltaE_ciede2000` on `rgb2lab`, scikit-image 0.26.
#[derive(Clone, Copy, Debug)]
pub struct DeltaE2000;

impl ImageMetric for DeltaE2000 {
    fn metric(&self) -> Metric {
        let name = "Delta E CIEDE2000, mean over pixels";
        Metric::new("delta_e_2000", "ΔE 2000", name, "", Direction::LowerIsBetter, 2)
    }

    fn score(&self, pair: &ImagePair<'_>) -> Result<f64> {
        Ok(mean_difference(pair, ciede2000))
    }
}

/// [`DeltaE2000`] of two images, `3 x H x W` in \[0, 1\], sRGB-encoded.
///
/// # Errors
/// Those of [`ImagePair::new`].
pub fn delta_e_2000(prediction: ArrayView3<'_, f32>, target: ArrayView3<'_, f32>) -> Result<f64> {
    DeltaE2000.score(&ImagePair::new(prediction, target)?)
}

/// 25^7, where the chroma corrections turn.
const CHROMA_TURN: f64 = 6_103_515_625.0;

/// Cosine and sine of 30, 6 and 63 degrees (equation 15) and of 275 degrees (equation 16).
const TURN_30: [f64; 2] = [0.866_025_403_784_438_6, 0.5];
const TURN_6: [f64; 2] = [0.994_521_895_368_273_3, 0.104_528_463_267_653_46];
const TURN_63: [f64; 2] = [0.453_990_499_739_546_8, 0.891_006_524_188_367_9];
const TURN_275: [f64; 2] = [0.087_155_742_747_658_17, -0.996_194_698_091_745_5];

/// CIEDE2000 of two colours.
///
/// Hues are directions (cosine, sine) rather than angles, and every case is computed and one
/// chosen, so that the compiler can do several pixels at once.
#[inline(always)]
fn ciede2000(x: Lab, y: Lab) -> f64 {
    // Equations 2 to 6: chroma stretched near the neutral axis.
    let length = |a: f64, b: f64| (a * a + b * b).sqrt();
    let g = 0.5 * (1.0 - saturation((length(x.a, x.b) + length(y.a, y.b)) / 2.0));
    let (x_a, y_a) = ((1.0 + g) * x.a, (1.0 + g) * y.a);
    let (x_chroma, y_chroma) = (length(x_a, x.b), length(y_a, y.b));
    let product = x_chroma * y_chroma;
    let is_grey = product == 0.0;

    // Equations 7 and 10: the turn from one hue to the other.
    let inverse = 1.0 / choose(is_grey, 1.0, product);
    let (x_scale, y_scale) = (y_chroma * inverse, x_chroma * inverse);
    let (x_hue, y_hue) = ([x_a * x_scale, x.b * x_scale], [y_a * y_scale, y.b * y_scale]);
    let turn_cosine = (x_a * y_a + x.b * y.b) * inverse;
    let turn_sine = (x_a * y.b - x.b * y_a) * inverse;
    // Hues run from 0 to 360 degrees, so of two opposite ones the lower half's is larger.
    let lower_half = (y.b < 0.0) | ((y.b == 0.0) & (y_a < 0.0));
    let is_forward = (turn_sine > 0.0) | ((turn_sine == 0.0) & lower_half);
    let sign = choose(is_forward, 1.0, -1.0);

    // Equations 11 and 14: half the turn, the short way round, and the direction of the middle.
    // The sum of the hues is as long as twice the half turn's cosine, their difference as twice
    // its sine. Far apart, the sum is short and inexact; the middle is square to the difference.
    let is_near = turn_cosine >= 0.0;
    let longer = ((1.0 + turn_cosine.abs()) / 2.0).sqrt();
    let scale = 0.5 / longer;
    let half_turn_sine = choose(is_near, turn_sine * scale, sign * longer);
    let cosine = choose(is_near, x_hue[0] + y_hue[0], sign * (y_hue[1] - x_hue[1])) * scale;
    let sine = choose(is_near, x_hue[1] + y_hue[1], -sign * (y_hue[0] - x_hue[0])) * scale;
    // If one is grey, the hue is the other's, or 0 where both are.
    let chroma_sum = x_chroma + y_chroma;
    let no_hue = chroma_sum == 0.0;
    let grey_scale = 1.0 / choose(no_hue, 1.0, chroma_sum);
    let grey_cosine = choose(no_hue, 1.0, (x_a + y_a) * grey_scale);
    let half_turn_sine = choose(is_grey, 0.0, half_turn_sine);
    let cosine = choose(is_grey, grey_cosine, cosine);
    let sine = choose(is_grey, (x.b + y.b) * grey_scale, sine);

    // Equations 8, 9, 11 to 13: differences and means.
    let (delta_l, delta_chroma) = (y.l - x.l, y_chroma - x_chroma);
    let delta_hue = 2.0 * product.sqrt() * half_turn_sine;
    let (l, chroma) = ((x.l + y.l) / 2.0, chroma_sum / 2.0);

    // Equations 15 to 22: weights and the rotation.
    let (cosine_2, sine_2) = (2.0 * cosine * cosine - 1.0, 2.0 * sine * cosine);
    let (cosine_3, sine_3) = (cosine_2 * cosine - sine_2 * sine, sine_2 * cosine + cosine_2 * sine);
    let (cosine_4, sine_4) = (2.0 * cosine_2 * cosine_2 - 1.0, 2.0 * sine_2 * cosine_2);
    let t = 1.0 - 0.17 * (cosine * TURN_30[0] + sine * TURN_30[1])
        + 0.24 * cosine_2
        + 0.32 * (cosine_3 * TURN_6[0] - sine_3 * TURN_6[1])
        - 0.20 * (cosine_4 * TURN_63[0] + sine_4 * TURN_63[1]);
    let from_middle = (l - 50.0) * (l - 50.0);
    let s_l = 1.0 + 0.015 * from_middle / (20.0 + from_middle).sqrt();
    let s_c = 1.0 + 0.045 * chroma;
    let s_h = 1.0 + 0.015 * chroma * t;
    let r_t = -rotation_sine(cosine, sine) * 2.0 * saturation(chroma);
    let (l, c, h) = (delta_l / s_l, delta_chroma / s_c, delta_hue / s_h);
    // The rotation makes the form indefinite by a rounding error at worst.
    (l * l + c * c + h * h + r_t * c * h).max(0.0).sqrt()
}

/// A choice without a branch: both values are known.
#[inline(always)]
fn choose(condition: bool, yes: f64, no: f64) -> f64 {
    if condition { yes } else { no }
}

/// Sine of twice the rotation angle of equation 16 at a mean hue: with d the hue minus 275 degrees,
/// `sin(60 degrees exp(-(d / 25 degrees)^2))`.
#[inline(always)]
fn rotation_sine(cosine: f64, sine: f64) -> f64 {
    let d_cosine = cosine * TURN_275[0] + sine * TURN_275[1];
    let d_sine = sine * TURN_275[0] - cosine * TURN_275[1];
    // More than 120 degrees from the blue the angle is below 30 exp(-23) degrees; and hues run from
    // 0 to 360 degrees, so those from 0 on are at least 185 away.
    let is_felt = (d_cosine >= -0.5) & !((sine >= 0.0) & (cosine > 0.0));
    let half = d_sine / (1.0 + d_cosine);
    let d = 4.0 * arctangent(half / (1.0 + (1.0 + half * half).sqrt()));
    let angle = RADIANS_60 * exponential(-(d * d) * RADIANS_25_SQUARED_INVERSE);
    choose(is_felt, sine_of(angle), 0.0)
}

/// 60 degrees.
const RADIANS_60: f64 = std::f64::consts::FRAC_PI_3;
/// 1 / (25 degrees)^2.
const RADIANS_25_SQUARED_INVERSE: f64 =
    1.0 / ((25.0 / 180.0 * std::f64::consts::PI) * (25.0 / 180.0 * std::f64::consts::PI));

/// The arctangent of a number in \[-0.58, 0.58\] by its series: to 7e-12 up to 0.34, which is a
/// hue 75 degrees from the blue, and to 5e-7 at the ends, where the rotation is next to nothing.
#[inline(always)]
fn arctangent(x: f64) -> f64 {
    const TERMS: usize = 10;
    let square = x * x;
    let mut sum = 0.0;
    for term in (0..TERMS).rev() {
        sum = 1.0 / (2 * term + 1) as f64 - square * sum;
    }
    x * sum
}

/// The exponential of a number in \[-24, 0\], to 1e-12 of it: a power of two times the series of
/// what is left, which is at most ln(2) / 2.
#[inline(always)]
fn exponential(x: f64) -> f64 {
    const TERMS: usize = 11;
    // Adding 1.5 * 2^52 rounds to a whole number and leaves it in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let rest = x - (rounded - ROUND) * std::f64::consts::LN_2;
    let mut sum = 1.0;
    for term in (1..TERMS).rev() {
        sum = 1.0 + sum * rest * (1.0 / term as f64);
    }
    f64::from_bits(sum.to_bits().wrapping_add(rounded.to_bits() << 52))
}

/// The sine of an angle in \[0, 60\] degrees, in radians, by its series, to 1e-14.
#[inline(always)]
fn sine_of(x: f64) -> f64 {
    const TERMS: usize = 8;
    let square = x * x;
    let mut sum = 1.0;
    for term in (1..TERMS).rev() {
        sum = 1.0 - sum * square * (1.0 / (2 * term * (2 * term + 1)) as f64);
    }
    x * sum
}

/// `sqrt(C^7 / (C^7 + 25^7))`.
#[inline(always)]
fn saturation(chroma: f64) -> f64 {
    let square = chroma * chroma;
    let power = square * square * square * chroma;
    (power / (power + CHROMA_TURN)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 1 of Sharma, Wu and Dalal: pairs chosen to catch wrong branches.
    const TABLE: [([f64; 3], [f64; 3], f64); 34] = [
        ([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485], 2.0425),
        ([50.0, 3.1571, -77.2803], [50.0, 0.0, -82.7485], 2.8615),
        ([50.0, 2.8361, -74.0200], [50.0, 0.0, -82.7485], 3.4412),
        ([50.0, -1.3802, -84.2814], [50.0, 0.0, -82.7485], 1.0000),
        ([50.0, -1.1848, -84.8006], [50.0, 0.0, -82.7485], 1.0000),
        ([50.0, -0.9009, -85.5211], [50.0, 0.0, -82.7485], 1.0000),
        ([50.0, 0.0, 0.0], [50.0, -1.0, 2.0], 2.3669),
        ([50.0, -1.0, 2.0], [50.0, 0.0, 0.0], 2.3669),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0009], 7.1792),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0010], 7.1792),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0011], 7.2195),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0012], 7.2195),
        ([50.0, -0.0010, 2.4900], [50.0, 0.0009, -2.4900], 4.8045),
        ([50.0, -0.0010, 2.4900], [50.0, 0.0010, -2.4900], 4.8045),
        ([50.0, -0.0010, 2.4900], [50.0, 0.0011, -2.4900], 4.7461),
        ([50.0, 2.5000, 0.0], [50.0, 0.0, -2.5000], 4.3065),
        ([50.0, 2.5000, 0.0], [73.0, 25.0, -18.0], 27.1492),
        ([50.0, 2.5000, 0.0], [61.0, -5.0, 29.0], 22.8977),
        ([50.0, 2.5000, 0.0], [56.0, -27.0, -3.0], 31.9030),
        ([50.0, 2.5000, 0.0], [58.0, 24.0, 15.0], 19.4535),
        ([50.0, 2.5000, 0.0], [50.0, 3.1736, 0.5854], 1.0000),
        ([50.0, 2.5000, 0.0], [50.0, 3.2972, 0.0], 1.0000),
        ([50.0, 2.5000, 0.0], [50.0, 1.8634, 0.5757], 1.0000),
        ([50.0, 2.5000, 0.0], [50.0, 3.2592, 0.3350], 1.0000),
        ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
        ([63.0109, -31.0961, -5.8663], [62.8187, -29.7946, -4.0864], 1.2630),
        ([61.2901, 3.7196, -5.3901], [61.4292, 2.2480, -4.9620], 1.8731),
        ([35.0831, -44.1164, 3.7933], [35.0232, -40.0716, 1.5901], 1.8645),
        ([22.7233, 20.0904, -46.6940], [23.0331, 14.9730, -42.5619], 2.0373),
        ([36.4612, 47.8580, 18.3852], [36.2715, 50.5065, 21.2231], 1.4146),
        ([90.8027, -2.0831, 1.4410], [91.1528, -1.6435, 0.0447], 1.4441),
        ([90.9257, -0.5406, -0.9208], [88.6381, -0.8985, -0.7239], 1.5381),
        ([6.7747, -0.2908, -2.4247], [5.8714, -0.0985, -2.2286], 0.6377),
        ([2.0776, 0.0795, -1.1350], [0.9033, -0.0636, -0.5514], 0.9082),
    ];

    /// Hue angle in degrees, [0, 360); 0 for grey.
    fn hue(a: f64, b: f64) -> f64 {
        if a == 0.0 && b == 0.0 {
            return 0.0;
        }
        let degrees = b.atan2(a).to_degrees();
        if degrees < 0.0 { degrees + 360.0 } else { degrees }
    }

    /// The formula as it is printed, with hues as angles.
    fn by_angles(x: Lab, y: Lab) -> f64 {
        // Equations 2 to 7: chroma stretched near the neutral axis; hue in degrees, [0, 360).
        let mean_chroma = (x.a.hypot(x.b) + y.a.hypot(y.b)) / 2.0;
        let g = 0.5 * (1.0 - saturation(mean_chroma));
        let (x_a, y_a) = ((1.0 + g) * x.a, (1.0 + g) * y.a);
        let (x_chroma, y_chroma) = (x_a.hypot(x.b), y_a.hypot(y.b));
        let (x_hue, y_hue) = (hue(x_a, x.b), hue(y_a, y.b));
        let grey = x_chroma * y_chroma == 0.0;

        // Equations 8 to 11: differences; hue the short way round.
        let delta_l = y.l - x.l;
        let delta_chroma = y_chroma - x_chroma;
        let mut turn = y_hue - x_hue;
        if grey {
            turn = 0.0;
        } else if turn > 180.0 {
            turn -= 360.0;
        } else if turn < -180.0 {
            turn += 360.0;
        }
        let delta_hue = 2.0 * (x_chroma * y_chroma).sqrt() * (turn.to_radians() / 2.0).sin();

        // Equations 12 to 14: means; of hues, on the circle.
        let l = (x.l + y.l) / 2.0;
        let chroma = (x_chroma + y_chroma) / 2.0;
        let sum = x_hue + y_hue;
        let hue = if grey {
            sum
        } else if (x_hue - y_hue).abs() <= 180.0 {
            sum / 2.0
        } else if sum < 360.0 {
            (sum + 360.0) / 2.0
        } else {
            (sum - 360.0) / 2.0
        };

        // Equations 15 to 22: weights and the rotation in the blue.
        let cosine = |degrees: f64| degrees.to_radians().cos();
        let t = 1.0 - 0.17 * cosine(hue - 30.0)
            + 0.24 * cosine(2.0 * hue)
            + 0.32 * cosine(3.0 * hue + 6.0)
            - 0.20 * cosine(4.0 * hue - 63.0);
        let rotation = 30.0 * (-((hue - 275.0) / 25.0).powi(2)).exp();
        let from_middle = (l - 50.0).powi(2);
        let s_l = 1.0 + 0.015 * from_middle / (20.0 + from_middle).sqrt();
        let s_c = 1.0 + 0.045 * chroma;
        let s_h = 1.0 + 0.015 * chroma * t;
        let r_t = -(2.0 * rotation).to_radians().sin() * 2.0 * saturation(chroma);
        let (l, c, h) = (delta_l / s_l, delta_chroma / s_c, delta_hue / s_h);
        // The rotation makes the form indefinite by a rounding error at worst.
        (l * l + c * c + h * h + r_t * c * h).max(0.0).sqrt()
    }

    #[test]
    fn directions_agree_with_angles_on_a_grid_of_colours() {
        // Greys, opposite and equal hues and the blue are among them. No mean hue is within a
        // rounding error of 0 = 360 degrees, where the formula's rotation jumps by 3e-4 degrees.
        let a = [-90.0, -41.0, -7.5, -0.001, 0.0, 0.001, 7.5, 41.0, 90.0];
        let b = [-88.0, -37.0, -7.1, -0.0013, 0.0, 0.0012, 7.3, 39.0, 81.0];
        let lab = |l: f64| a.into_iter().flat_map(move |a| b.map(|b| Lab { l, a, b }));
        for (x, y) in lab(20.0).flat_map(|x| lab(64.0).map(move |y| (x, y))) {
            let (found, expected) = (ciede2000(x, y), by_angles(x, y));
            // Angles of opposite hues are apart by 180 degrees and a rounding error, whose sign
            // decides on which side the mean lies.
            let opposite = x.a * y.b == x.b * y.a && x.a * y.a + x.b * y.b < 0.0;
            assert!(opposite || (found - expected).abs() < 1e-9, "{x:?} {y:?} {found} {expected}");
        }
    }

    #[test]
    fn the_rotation_is_that_of_the_angle() {
        for tenth in 0..3600 {
            let degrees = f64::from(tenth) / 10.0;
            let rotation = 30.0 * (-((degrees - 275.0) / 25.0).powi(2)).exp();
            let expected = (2.0 * rotation).to_radians().sin();
            let (sine, cosine) = degrees.to_radians().sin_cos();
            let found = rotation_sine(cosine, sine);
            // 30 exp(-23) degrees are 1e-10.
            assert!((found - expected).abs() < 2e-10, "{degrees}: {found}, {expected}");
        }
    }

    #[test]
    fn the_published_table_is_reproduced_in_both_directions() {
        let lab = |[l, a, b]: [f64; 3]| Lab { l, a, b };
        let wrong: Vec<_> = TABLE
            .iter()
            .flat_map(|&(x, y, expected)| {
                [(ciede2000(lab(x), lab(y)), expected), (ciede2000(lab(y), lab(x)), expected)]
            })
            .enumerate()
            // The table has four decimals.
            .filter(|(_, (found, expected))| (found - expected).abs() > 5.1e-5)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
