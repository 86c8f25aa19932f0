//! Tone curves of ICC profiles: from a sample to linear light.

use moxcms::ToneReprCurve;

use super::srgb;

/// The linear light of every sample 0 to `max`, clipped to [0, 1].
pub(super) fn table(curve: Option<&ToneReprCurve>, max: u16) -> Result<Vec<f32>, String> {
    let curve = curve.ok_or("it has no tone curve")?;
    let values: Vec<f32> = (0..=max)
        .map(|sample| evaluate(curve, f64::from(sample) / f64::from(max)).clamp(0.0, 1.0) as f32)
        .collect();
    // `clamp` keeps a NaN, which only a nonsensical parametric curve yields.
    if values.iter().any(|v| v.is_nan()) {
        return Err("its tone curve is not defined for every value".into());
    }
    Ok(values)
}

/// A tone curve backwards: from linear light to encoded values.
pub(in crate::picture) struct Inverse(srgb::Lines);

impl Inverse {
    /// Intervals of the table. It is spaced by the fourth root of the light, in which the inverse of
    /// a power of up to 4 has no infinite slope at black: the error for powers of 1 to 2.6 and for
    /// sRGB's curve stays below 2e-6, an eighth of a 16-bit level.
    const INTERVALS: u32 = 1 << 12;

    /// # Errors
    /// There is no curve, or it does not rise from black to white.
    pub(super) fn of(curve: Option<&ToneReprCurve>) -> Result<Self, String> {
        let forward = table(curve, u16::from(u8::MAX))?;
        let curve = curve.ok_or("it has no tone curve")?;
        let rises = forward.windows(2).all(|pair| pair[0] <= pair[1]);
        if !rises || forward[0] >= forward[forward.len() - 1] {
            return Err("its tone curve does not rise from black to white".into());
        }
        Ok(Self(srgb::Lines::new(Self::INTERVALS, |root| {
            let light = root.powi(4);
            // Bisection: 40 halvings are far below what f32 holds.
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..40 {
                let middle = 0.5 * (low + high);
                if evaluate(curve, middle) < light {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            high
        })))
    }

    /// The encoded value of light, both clipped to [0, 1].
    pub(super) fn apply(&self, light: f32) -> f32 {
        self.0.apply(light.max(0.0).sqrt().sqrt())
    }
}

/// Whether the curve is sRGB's, compared in encoded values.
pub(super) fn is_srgb(table: &[f32], tolerance: f32) -> bool {
    let max = (table.len() - 1) as f32;
    table
        .iter()
        .enumerate()
        .all(|(sample, &linear)| (srgb::encode(linear) - sample as f32 / max).abs() < tolerance)
}

/// ICC.1:2022 10.6 (`curv`) and 10.18 (`para`), for x in [0, 1].
fn evaluate(curve: &ToneReprCurve, x: f64) -> f64 {
    match curve {
        ToneReprCurve::Lut(entries) => match entries[..] {
            [] => x,
            // A single entry is a power with eight bits after the point.
            [gamma] => x.powf(f64::from(gamma) / 256.0),
            _ => {
                let position = x * (entries.len() - 1) as f64;
                let below = (position as usize).min(entries.len() - 2);
                let (low, high) = (f64::from(entries[below]), f64::from(entries[below + 1]));
                (low + (high - low) * (position - below as f64)) / 65535.0
            }
        },
        ToneReprCurve::Parametric(p) => {
            let p: Vec<f64> = p.iter().map(|&v| f64::from(v)).collect();
            let power = |a: f64, b: f64| (a * x + b).max(0.0).powf(p[0]);
            match p[..] {
                [gamma] => x.powf(gamma),
                [_, a, b] => {
                    if x >= -b / a {
                        power(a, b)
                    } else {
                        0.0
                    }
                }
                [_, a, b, c] => {
                    if x >= -b / a {
                        power(a, b) + c
                    } else {
                        c
                    }
                }
                [_, a, b, c, d] => {
                    if x >= d {
                        power(a, b)
                    } else {
                        c * x
                    }
                }
                [_, a, b, c, d, e, f] => {
                    if x >= d {
                        power(a, b) + e
                    } else {
                        c * x + f
                    }
                }
                _ => f64::NAN,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(curve: ToneReprCurve, x: f64) -> f64 {
        evaluate(&curve, x)
    }

    /// Expected values by hand.
    #[test]
    fn every_kind_of_curve() {
        use ToneReprCurve::{Lut, Parametric};
        let cases = [
            (Lut(vec![]), 0.3, 0.3),
            (Lut(vec![512]), 0.5, 0.25),
            (Lut(vec![0, 13107, 65535]), 0.25, 0.1),
            (Lut(vec![0, 13107, 65535]), 0.75, 0.6),
            (Lut(vec![0, 13107, 65535]), 1.0, 1.0),
            (Parametric(vec![2.0]), 0.5, 0.25),
            (Parametric(vec![2.0, 1.0, -0.25]), 0.75, 0.25),
            (Parametric(vec![2.0, 1.0, -0.25]), 0.125, 0.0),
            (Parametric(vec![2.0, 1.0, -0.25, 0.5]), 0.75, 0.75),
            (Parametric(vec![2.0, 1.0, -0.25, 0.5]), 0.125, 0.5),
            (Parametric(vec![2.0, 1.0, 0.0, 0.5, 0.25]), 0.125, 0.0625),
            (Parametric(vec![2.0, 1.0, 0.0, 0.5, 0.25]), 0.5, 0.25),
            (Parametric(vec![2.0, 1.0, 0.0, 0.5, 0.25, 0.125, 0.0625]), 0.125, 0.125),
            (Parametric(vec![2.0, 1.0, 0.0, 0.5, 0.25, 0.125, 0.0625]), 0.5, 0.375),
        ];
        for (curve, x, expected) in cases {
            let found = at(curve.clone(), x);
            assert!((found - expected).abs() < 1e-12, "{curve:?} at {x}: {found}");
        }
    }

    #[test]
    fn an_inverse_undoes_its_curve() {
        use ToneReprCurve::{Lut, Parametric};
        let srgb = vec![2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.040_45];
        let curves = [
            Lut(vec![]),
            Lut(vec![461]),
            Lut(vec![563]),
            Parametric(vec![2.6]),
            Parametric(srgb),
            Lut(vec![0, 13107, 65535]),
        ];
        for curve in curves {
            let inverse = Inverse::of(Some(&curve)).expect("rises");
            let worst = (0..=10_000)
                .map(|k| f64::from(k) / 1e4)
                .map(|x| (f64::from(inverse.apply(evaluate(&curve, x) as f32)) - x).abs())
                .fold(0.0, f64::max);
            // A table's kinks lie between the inverse's points.
            let tolerance = if curve == Lut(vec![0, 13107, 65535]) { 2e-4 } else { 2e-6 };
            assert!(worst < tolerance, "{curve:?}: {worst:e}");
        }
    }

    #[test]
    fn a_curve_that_falls_has_no_inverse() {
        for curve in
            [ToneReprCurve::Lut(vec![0, 60000, 30000, 65535]), ToneReprCurve::Lut(vec![7, 7])]
        {
            assert!(Inverse::of(Some(&curve)).is_err());
        }
        assert!(Inverse::of(None).is_err());
    }

    #[test]
    fn a_missing_or_undefined_curve_is_an_error() {
        assert!(table(None, 255).is_err());
        assert!(table(Some(&ToneReprCurve::Parametric(vec![f32::NAN])), 255).is_err());
        assert!(table(Some(&ToneReprCurve::Parametric(vec![1.0, 1.0])), 255).is_err());
    }
}
