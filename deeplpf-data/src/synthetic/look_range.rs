//! Random looks.

use std::f64::consts::PI;

use deeplpf_filters::{
    Dialect, EllipticalParams, FilterFixes, GraduatedParams, PolynomialKind, PolynomialParams,
    StackConfig, StackParams,
};
use rand_core::Rng;

use super::{Flattening, Look};
use crate::random::{coin, uniform};

/// A tone curve for one channel, on photograph values p in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// How far middle tones are raised: adds `lift p (1 - p)`.
    pub lift: f64,
    /// How far dark and bright are moved apart: adds `contrast p (1 - p) (2 p - 1)`.
    pub contrast: f64,
    /// How much brighter the lower edge becomes than the upper: adds `downwards x i` at row x of the
    /// filters' own image i, half the input.
    pub downwards: f64,
}

impl Tone {
    /// The Cubic-20 coefficients A to T of one channel, for the release dialect.
    ///
    /// With p = (2 i - black) / (white - black), the photograph's value behind the filters' image i
    /// (half the flattened input), the wanted result is
    /// `h = p + lift p (1 - p) + contrast p (1 - p) (2 p - 1)`. The stack adds Y3 and i, and
    /// Y2 = i + f, so `f = h - 2 i`: a cubic in i, and the term in x i.
    #[must_use]
    pub fn coefficients(&self, flattening: Flattening) -> Vec<f64> {
        let Self { lift, contrast, downwards } = *self;
        let range = flattening.white - flattening.black;
        // p = a + b i, and h in powers of p.
        let (a, b) = (-flattening.black / range, 2.0 / range);
        let (h1, h2, h3) = (1.0 + lift - contrast, 3.0 * contrast - lift, -2.0 * contrast);
        let mut coefficients = vec![0.0; PolynomialKind::Cubic20.terms()];
        // Indices of the paper's letters: I is x i, Q to T are i^3, i^2, i, 1.
        coefficients[8] = downwards;
        coefficients[16] = h3 * b.powi(3);
        coefficients[17] = h2 * b.powi(2) + 3.0 * h3 * a * b.powi(2);
        coefficients[18] = h1 * b + 2.0 * h2 * a * b + 3.0 * h3 * a * a * b - 2.0;
        coefficients[19] = h1 * a + h2 * a * a + h3 * a.powi(3);
        coefficients
    }
}

/// Bounds of random looks in the release dialect with all fixes: what a retoucher might do, and what
/// a network of three graduated and three elliptical filters can express.
///
/// Instances that are not drawn are there and do nothing (scale 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookRange {
    /// Whether there is a polynomial.
    pub polynomial: bool,
    /// Graduated instances that do something, at most 3.
    pub graduated: usize,
    /// Elliptical instances that do something, at most 3.
    pub elliptical: usize,
    /// How strong everything may be: 1 for scales between 0.5 and 1.5 and middle tones raised by
    /// up to 0.08; 0 for nothing at all.
    pub strength: f64,
}

impl Default for LookRange {
    fn default() -> Self {
        Self { polynomial: true, graduated: 1, elliptical: 1, strength: 1.0 }
    }
}

/// Instances of each local filter in a random look, as in the paper.
const INSTANCES: usize = 3;

impl LookRange {
    /// Most instances of a kind.
    pub const MOST_INSTANCES: usize = INSTANCES;

    /// Draws a look for inputs that were made by `flattening`.
    ///
    /// | number | drawn uniformly from |
    /// |---|---|
    /// | lift, contrast of a channel | ±0.08 s, a common part and ±0.04 s of its own; ±0.12 s, common |
    /// | brighter downwards | ±0.1 s |
    /// | graduated: slope of the line | tan of ±60° |
    /// | column at which the line crosses the middle row | 0.3 to 0.7 |
    /// | o2 | 0.1 to 0.9 of the offset where that is positive, else 0.1 |
    /// | elliptical: centre, semi-axes, angle | 0.25 to 0.75; 0.3 to 0.7; 0 to π |
    /// | scales | 1 ± (0.2 to 0.5) s, up or down with equal odds, and ±0.08 s a channel |
    ///
    /// with strength s, all rounded to six decimals. So no filter that is drawn is close to nothing, unless s is.
    ///
    /// # Panics
    /// If more than [`Self::MOST_INSTANCES`] of a kind are asked for.
    pub fn draw(&self, flattening: Flattening, rng: &mut impl Rng) -> Look {
        let most = self.graduated.max(self.elliptical);
        assert!(most <= INSTANCES, "at most {INSTANCES} instances of a kind");
        let polynomial = self.polynomial.then(|| self.polynomial(flattening, rng));
        let graduated = (0..INSTANCES).map(|k| self.graduated(k < self.graduated, rng)).collect();
        let elliptical =
            (0..INSTANCES).map(|k| self.elliptical(k < self.elliptical, rng)).collect();
        let config = StackConfig {
            dialect: Dialect::Release,
            fixes: FilterFixes::ALL,
            polynomial: polynomial.as_ref().map(|_| PolynomialKind::Cubic20),
            graduated: INSTANCES,
            elliptical: INSTANCES,
            ..StackConfig::default()
        };
        let params = StackParams { polynomial, graduated, elliptical, gates: None };
        // So that the numbers are the same when they are read from a text again.
        Look { config, params: params.map(|v| (v * 1e6).round() / 1e6) }
    }

    fn polynomial(&self, flattening: Flattening, rng: &mut impl Rng) -> PolynomialParams<f64> {
        let mut within = |most: f64| self.strength * most * (2.0 * uniform(rng) - 1.0);
        let (lift, contrast, downwards) = (within(0.08), within(0.12), within(0.1));
        let coefficients = [(); 3].map(|()| {
            Tone { lift: lift + within(0.04), contrast, downwards }.coefficients(flattening)
        });
        PolynomialParams { kind: PolynomialKind::Cubic20, coefficients }
    }

    fn graduated(&self, active: bool, rng: &mut impl Rng) -> GraduatedParams<f64> {
        let inversion = if coin(rng) { 1.0 } else { -1.0 };
        let slope = between(-PI / 3.0, PI / 3.0, rng).tan();
        let middle = between(0.3, 0.7, rng);
        // The line passes through the middle row there; its offset is where it meets the top edge.
        // The network's offsets lie between 0 and 1.
        let offset = (middle - slope / 2.0).clamp(0.02, 0.98);
        let o2 = offset * between(0.1, 0.9, rng);
        let scale = self.scale(active, rng);
        GraduatedParams { inversion, slope, offset, o1: o2 / 2.0, o2, scale }
    }

    fn elliptical(&self, active: bool, rng: &mut impl Rng) -> EllipticalParams<f64> {
        EllipticalParams {
            center_x: between(0.25, 0.75, rng),
            center_y: between(0.25, 0.75, rng),
            semi_axis_a: between(0.3, 0.7, rng),
            semi_axis_b: between(0.3, 0.7, rng),
            angle: between(0.0, PI, rng),
            scale: self.scale(active, rng),
        }
    }

    /// Takes as many draws for an instance that does nothing.
    fn scale(&self, active: bool, rng: &mut impl Rng) -> [f64; 3] {
        let sign = if coin(rng) { 1.0 } else { -1.0 };
        let size = between(0.2, 0.5, rng);
        let scale =
            [(); 3].map(|()| 1.0 + self.strength * (sign * size + between(-0.08, 0.08, rng)));
        if active { scale } else { [1.0; 3] }
    }
}

fn between(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * uniform(rng)
}
