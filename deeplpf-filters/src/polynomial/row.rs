//! The polynomial along one row, where x is a constant: a polynomial in y and i.

use pulp::Simd;

use crate::Real;
use crate::simd::Wide;

/// Sums over a row of cotangent · y^q · i^r, indexed `[q][r]`. Only the eleven that a
/// [`RowPolynomial`] has coefficients for are filled.
pub(crate) type Moments = [[f64; 4]; 4];

/// The powers of y and i that occur together.
const TERMS: [(usize, usize); 11] =
    [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (1, 2), (0, 3)];

/// `sum c[q][r] y^q i^r` with the eleven terms that Cubic-10 and Cubic-20 leave.
pub(crate) struct RowPolynomial {
    c: [[f64; 4]; 4],
}

impl RowPolynomial {
    pub(crate) fn new(coefficients: [[f64; 4]; 4]) -> Self {
        Self { c: coefficients }
    }

    /// The value at one pixel.
    pub(crate) fn at(&self, y: f64, i: f64) -> f64 {
        let c = &self.c;
        let k0 = c[0][0] + y * (c[1][0] + y * (c[2][0] + y * c[3][0]));
        let k1 = c[0][1] + y * (c[1][1] + y * (c[2][1] + y * c[3][1]));
        let k2 = c[0][2] + y * c[1][2];
        k0 + i * (k1 + i * (k2 + i * c[0][3]))
    }

    /// The coefficients in registers.
    #[inline(always)]
    pub(crate) fn kernel<T: Real, S: Simd>(&self, simd: S) -> Kernel<T, S> {
        let splat = |value| Wide::splat(simd, T::narrow(value));
        // By loops: an array's `map` of this size is not inlined, and then not vectorised.
        let mut c = [[splat(0.0); 4]; 4];
        for (q, r) in TERMS {
            c[q][r] = splat(self.c[q][r]);
        }
        Kernel { c, three_cubic: splat(3.0 * self.c[0][3]), two: splat(2.0) }
    }
}

/// A [`RowPolynomial`] in registers.
pub(crate) struct Kernel<T: Real, S: Simd> {
    c: [[Wide<T, S>; 4]; 4],
    three_cubic: Wide<T, S>,
    two: Wide<T, S>,
}

impl<T: Real, S: Simd> Kernel<T, S> {
    /// Coefficients of 1, i, i² at y; that of i³ is constant. Horner's rule in y.
    #[inline(always)]
    fn in_intensity(&self, y: Wide<T, S>) -> [Wide<T, S>; 3] {
        let c = &self.c;
        let cubic = |r: usize| y.mul_add(y.mul_add(y.mul_add(c[3][r], c[2][r]), c[1][r]), c[0][r]);
        [cubic(0), cubic(1), y.mul_add(c[1][2], c[0][2])]
    }

    /// The polynomial's value.
    #[inline(always)]
    pub(crate) fn value(&self, y: Wide<T, S>, i: Wide<T, S>) -> Wide<T, S> {
        let [k0, k1, k2] = self.in_intensity(y);
        i.mul_add(i.mul_add(i.mul_add(self.c[0][3], k2), k1), k0)
    }

    /// Its value and its derivative with respect to the intensity.
    #[inline(always)]
    pub(crate) fn value_and_slope(&self, y: Wide<T, S>, i: Wide<T, S>) -> [Wide<T, S>; 2] {
        let [k0, k1, k2] = self.in_intensity(y);
        [
            i.mul_add(i.mul_add(i.mul_add(self.c[0][3], k2), k1), k0),
            i.mul_add(i.mul_add(self.three_cubic, self.two * k2), k1),
        ]
    }
}

/// [`Moments`] along part of a row, in vectors; `[r][q]`, powers of i first.
pub(crate) struct WideMoments<T: Real, S: Simd> {
    of_one: [Wide<T, S>; 4],
    of_i: [Wide<T, S>; 4],
    of_i2: [Wide<T, S>; 2],
    of_i3: Wide<T, S>,
}

impl<T: Real, S: Simd> Clone for WideMoments<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Real, S: Simd> Copy for WideMoments<T, S> {}

impl<T: Real, S: Simd> WideMoments<T, S> {
    #[inline(always)]
    pub(crate) fn zero(simd: S) -> Self {
        let zero = Wide::splat(simd, T::zero());
        Self { of_one: [zero; 4], of_i: [zero; 4], of_i2: [zero; 2], of_i3: zero }
    }

    /// Adds those of cotangent `d` at y and i.
    #[inline(always)]
    pub(crate) fn add(&mut self, d: Wide<T, S>, y: Wide<T, S>, i: Wide<T, S>) {
        let y2 = y * y;
        let y3 = y2 * y;
        let di = d * i;
        let di2 = di * i;
        for (sums, d) in [(&mut self.of_one, d), (&mut self.of_i, di)] {
            sums[0] = sums[0] + d;
            sums[1] = d.mul_add(y, sums[1]);
            sums[2] = d.mul_add(y2, sums[2]);
            sums[3] = d.mul_add(y3, sums[3]);
        }
        self.of_i2[0] = self.of_i2[0] + di2;
        self.of_i2[1] = di2.mul_add(y, self.of_i2[1]);
        self.of_i3 = di2.mul_add(i, self.of_i3);
    }

    /// The sums over the lanes.
    #[inline(always)]
    pub(crate) fn sum(&self) -> Moments {
        let mut moments = [[0.0; 4]; 4];
        for q in 0..4 {
            moments[q][0] = self.of_one[q].sum().wide();
            moments[q][1] = self.of_i[q].sum().wide();
        }
        for q in 0..2 {
            moments[q][2] = self.of_i2[q].sum().wide();
        }
        moments[0][3] = self.of_i3.sum().wide();
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Instructions;

    struct Sums<'a>([&'a [f64]; 3]);

    impl pulp::WithSimd for Sums<'_> {
        type Output = Moments;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Moments {
            let vectors = self.0.map(S::as_simd_f64s).map(|(whole, _)| whole);
            let mut moments = WideMoments::<f64, S>::zero(simd);
            for j in 0..vectors[0].len() {
                let [d, y, i] = vectors.map(|v| Wide::new(simd, v[j]));
                moments.add(d, y, i);
            }
            moments.sum()
        }
    }

    #[test]
    fn moments_are_the_sums_they_say() {
        let d: Vec<f64> = (0..64).map(|j| (f64::from(j) * 0.37).sin()).collect();
        let y: Vec<f64> = (0..64).map(|j| f64::from(j) / 64.0).collect();
        let i: Vec<f64> = (0..64).map(|j| (f64::from(j) * 0.11).cos().abs()).collect();
        for set in Instructions::available() {
            let moments = set.require().expect("available").dispatch(Sums([&d, &y, &i]));
            for (r, highest) in [3, 3, 1, 0].into_iter().enumerate() {
                for q in 0..=highest {
                    let direct: f64 =
                        (0..64).map(|j| d[j] * y[j].powi(q as i32) * i[j].powi(r as i32)).sum();
                    assert!((moments[q][r] - direct).abs() < 1e-12, "{set}: y^{q} i^{r}");
                }
            }
        }
    }
}
