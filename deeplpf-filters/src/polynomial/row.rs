//! The polynomial along one row, where x is a constant: a polynomial in y and i.

use crate::Real;
use crate::tile::{TILE, Tile, dot, sum};

/// Sums over a row of cotangent · y^q · i^r, indexed `[q][r]`. Only the eleven that a
/// [`RowPolynomial`] has coefficients for are filled.
pub(crate) type Moments = [[f64; 4]; 4];

/// `sum c[q][r] y^q i^r` with the eleven terms that Cubic-10 and Cubic-20 leave.
pub(crate) struct RowPolynomial<T> {
    c: [[T; 4]; 4],
}

impl<T: Real> RowPolynomial<T> {
    pub(crate) fn new(coefficients: &[[f64; 4]; 4]) -> Self {
        Self { c: coefficients.map(|row| row.map(T::narrow)) }
    }

    /// Coefficients of 1, i, i² at y; that of i³ is constant. Horner's rule in y.
    #[inline(always)]
    fn in_intensity(&self, y: T) -> (T, T, T) {
        let c = &self.c;
        (
            c[0][0] + y * (c[1][0] + y * (c[2][0] + y * c[3][0])),
            c[0][1] + y * (c[1][1] + y * (c[2][1] + y * c[3][1])),
            c[0][2] + y * c[1][2],
        )
    }

    /// The polynomial's value at one pixel.
    #[inline(always)]
    pub(crate) fn at(&self, y: T, i: T) -> T {
        let (k0, k1, k2) = self.in_intensity(y);
        k0 + i * (k1 + i * (k2 + i * self.c[0][3]))
    }

    /// The polynomial's value.
    #[inline]
    pub(crate) fn value(&self, y: &Tile<T>, i: &Tile<T>, out: &mut Tile<T>) {
        for j in 0..TILE {
            out[j] = self.at(y[j], i[j]);
        }
    }

    /// Its derivative with respect to the intensity.
    #[inline]
    pub(crate) fn intensity_slope(&self, y: &Tile<T>, i: &Tile<T>, out: &mut Tile<T>) {
        let three_cubic = T::narrow(3.0) * self.c[0][3];
        let two = T::narrow(2.0);
        for j in 0..TILE {
            let (_, k1, k2) = self.in_intensity(y[j]);
            out[j] = k1 + i[j] * (two * k2 + i[j] * three_cubic);
        }
    }
}

/// Adds a tile's share to the moments of `cotangent`.
#[inline]
pub(crate) fn add_moments<T: Real>(
    cotangent: &Tile<T>,
    y: &Tile<T>,
    i: &Tile<T>,
    moments: &mut Moments,
) {
    // gi[j] runs through cotangent · i^r; for each r the powers of y that occur beside i^r.
    let mut gi = *cotangent;
    for (r, highest_y) in [3, 3, 1, 0].into_iter().enumerate() {
        if r > 0 {
            for j in 0..TILE {
                gi[j] *= i[j];
            }
        }
        moments[0][r] += sum(&gi);
        let mut giy = gi;
        for row in &mut moments[1..=highest_y] {
            row[r] += dot(&giy, y);
            for j in 0..TILE {
                giy[j] *= y[j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_sums_they_say() {
        let g: Tile<f64> = std::array::from_fn(|j| (j as f64 * 0.37).sin());
        let y: Tile<f64> = std::array::from_fn(|j| j as f64 / 64.0);
        let i: Tile<f64> = std::array::from_fn(|j| (j as f64 * 0.11).cos().abs());
        let mut moments = [[0.0; 4]; 4];
        add_moments(&g, &y, &i, &mut moments);
        for (r, highest) in [3, 3, 1, 0].into_iter().enumerate() {
            for q in 0..=highest {
                let direct: f64 =
                    (0..TILE).map(|j| g[j] * y[j].powi(q as i32) * i[j].powi(r as i32)).sum();
                assert!((moments[q][r] - direct).abs() < 1e-12, "y^{q} i^{r}");
            }
        }
    }
}
