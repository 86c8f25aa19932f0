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
    fn a_missing_or_undefined_curve_is_an_error() {
        assert!(table(None, 255).is_err());
        assert!(table(Some(&ToneReprCurve::Parametric(vec![f32::NAN])), 255).is_err());
        assert!(table(Some(&ToneReprCurve::Parametric(vec![1.0, 1.0])), 255).is_err());
    }
}
