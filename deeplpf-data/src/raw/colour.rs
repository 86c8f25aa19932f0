//! From a camera's colours to linear sRGB.
//!
//! A DNG, and the table of cameras in `rawler`, give a matrix M from XYZ to the camera's colours,
//! found under an illuminant with the white point w (Y = 1). White-balanced values c, for which grey
//! is (1, 1, 1), are taken back to XYZ under that illuminant, adapted to D65 and brought to the
//! primaries of sRGB:
//!
//! rgb = S B M^-1 diag(M w) c
//!
//! S is the matrix from XYZ to linear sRGB (IEC 61966-2-1), B Bradford's adaptation from w to D65. So
//! (1, 1, 1) stays (1, 1, 1). For a matrix found under D65, B is the identity, and this is what dcraw
//! and LibRaw compute. The balance itself is a scaling of the camera's own channels, also as there.

/// A 3 x 3 matrix by rows.
pub type Matrix = [[f64; 3]; 3];

/// A matrix from XYZ to a camera's colours and the light it was found under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibratedMatrix {
    /// Rows are red, green and blue of the camera; columns X, Y and Z.
    pub to_camera: Matrix,
    /// The illuminant's chromaticity (x, y).
    pub illuminant: [f64; 2],
}

/// D65, as IEC 61966-2-1 gives it.
pub const D65: [f64; 2] = [0.3127, 0.3290];

/// Linear sRGB to XYZ: IEC 61966-2-1, with seven digits as given by Lindbloom,
/// <http://www.brucelindbloom.com/Eqn_RGB_XYZ_Matrix.html>.
pub const SRGB_TO_XYZ: Matrix = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
];

/// Bradford's cone responses: Lam 1985, <http://www.brucelindbloom.com/Eqn_ChromAdapt.html>.
const BRADFORD: Matrix =
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];

/// Least determinant of a matrix of rows of length one for it to be inverted: published cameras have
/// 0.2 and more.
const LEAST_DETERMINANT: f64 = 1e-3;

/// The matrix from white-balanced camera values to linear sRGB; `None` where the camera's matrix
/// cannot be inverted or makes no sense of its own white.
#[must_use]
pub fn camera_to_srgb(calibrated: &CalibratedMatrix) -> Option<Matrix> {
    let CalibratedMatrix { to_camera, illuminant } = calibrated;
    let d65 = apply(&SRGB_TO_XYZ, [1.0; 3]);
    let white = if close(*illuminant, D65) { d65 } else { xyz(*illuminant)? };
    let neutral = apply(to_camera, white);
    if neutral.iter().any(|value| !value.is_finite() || *value <= 0.0) {
        return None;
    }
    let mut to_xyz = inverse(to_camera)?;
    for row in &mut to_xyz {
        for (value, neutral) in row.iter_mut().zip(neutral) {
            *value *= neutral;
        }
    }
    let adapted = if close(*illuminant, D65) {
        to_xyz
    } else {
        let (from, to) = (apply(&BRADFORD, white), apply(&BRADFORD, d65));
        let mut scaled = BRADFORD;
        for (row, (from, to)) in scaled.iter_mut().zip(from.iter().zip(to)) {
            row.iter_mut().for_each(|value| *value *= to / from);
        }
        product(&product(&inverse(&BRADFORD)?, &scaled), &to_xyz)
    };
    Some(product(&inverse(&SRGB_TO_XYZ)?, &adapted))
}

fn close(a: [f64; 2], b: [f64; 2]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
}

/// XYZ of a chromaticity at Y = 1.
fn xyz([x, y]: [f64; 2]) -> Option<[f64; 3]> {
    (y > 0.0).then(|| [x / y, 1.0, (1.0 - x - y) / y])
}

fn apply(matrix: &Matrix, v: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    a.map(|row| std::array::from_fn(|column| (0..3).map(|k| row[k] * b[k][column]).sum()))
}

/// By cofactors.
fn inverse(m: &Matrix) -> Option<Matrix> {
    let cofactor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    let lengths: f64 = m.iter().map(|row| row.iter().map(|v| v * v).sum::<f64>().sqrt()).product();
    let singular = determinant.abs() < LEAST_DETERMINANT * lengths;
    if singular || !determinant.is_finite() || lengths == 0.0 {
        return None;
    }
    Some(std::array::from_fn(|r| std::array::from_fn(|c| cofactor(c, r) / determinant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adobe's matrices of the Sony A7S II.
    const UNDER_D65: Matrix =
        [[0.5838, -0.1430, -0.0246], [-0.3497, 1.1477, 0.2297], [-0.0748, 0.1885, 0.5778]];
    const UNDER_A: Matrix =
        [[0.6263, -0.1964, 0.0102], [-0.4375, 1.2428, 0.2171], [-0.066, 0.1559, 0.7146]];

    #[test]
    fn grey_stays_grey_under_every_illuminant() {
        for (to_camera, illuminant) in
            [(UNDER_D65, D65), (UNDER_A, [0.44757, 0.40745]), (UNDER_D65, [0.3457, 0.3585])]
        {
            let matrix = camera_to_srgb(&CalibratedMatrix { to_camera, illuminant }).unwrap();
            for value in apply(&matrix, [1.0; 3]) {
                // Rounding of a few products of numbers of size one.
                assert!((value - 1.0).abs() < 1e-6, "{value}");
            }
        }
    }

    /// The matrix takes back what the camera saw of a colour lit by the matrix' own illuminant.
    #[test]
    fn colours_come_back_under_d65() {
        let rgb = [0.8, 0.3, 0.1];
        let xyz = apply(&SRGB_TO_XYZ, rgb);
        let (camera, white) =
            (apply(&UNDER_D65, xyz), apply(&UNDER_D65, apply(&SRGB_TO_XYZ, [1.0; 3])));
        let balanced = std::array::from_fn(|k| camera[k] / white[k]);
        let calibrated = CalibratedMatrix { to_camera: UNDER_D65, illuminant: D65 };
        let back = apply(&camera_to_srgb(&calibrated).unwrap(), balanced);
        for (back, value) in back.iter().zip(rgb) {
            assert!((back - value).abs() < 1e-12, "{back} {value}");
        }
    }

    #[test]
    fn matrices_without_an_inverse_are_refused() {
        for to_camera in [[[0.0; 3]; 3], [[1.0; 3]; 3], [[f64::NAN; 3]; 3]] {
            assert_eq!(camera_to_srgb(&CalibratedMatrix { to_camera, illuminant: D65 }), None);
        }
    }
}
