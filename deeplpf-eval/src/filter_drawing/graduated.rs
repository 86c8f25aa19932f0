//! The lines of a graduated filter: where it has 0, 50 and 100 per cent of its effect.
//!
//! The effect of an instance in a channel of scale s is e = (M − 1)/(s − 1) in the release dialect
//! and e = M/s in the paper's: 0 where the channel is left alone (or gets nothing), 1 where it is
//! scaled by s. Along every row e depends on y − (m x + c) only, so that the places of one effect
//! are lines y = m x + shift. Formulas: `docs/src/math/graduated.md`.

use deeplpf_filters::{Dialect, GraduatedParams, StackConfig};

/// The effects whose lines are drawn.
pub(super) const LEVELS: [f64; 3] = [0.0, 0.5, 1.0];

/// The lines of the channels that share them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lines {
    /// Which of red, green and blue they belong to.
    pub channels: [bool; 3],
    /// The line of each of [`LEVELS`] is y = m x + shift; `None` where the filter never has that
    /// effect. The release's ramps approach one of their ends without reaching it.
    pub shifts: [Option<f64>; 3],
    /// Whether the effect grows towards larger y, to the right.
    pub rising: bool,
}

/// The lines of an instance, in one group or, where the release's formulas differ for scales
/// below 1 and others, in two. Empty where it has one effect everywhere.
pub(super) fn lines(config: &StackConfig, params: &GraduatedParams<f64>) -> Vec<Lines> {
    let weight = inversion_weight(config, params.inversion);
    match config.dialect {
        Dialect::Paper => paper(params, weight).into_iter().collect(),
        _ => release(params, weight),
    }
}

/// g^: the share of the inverted (release) or rising (paper) map.
fn inversion_weight(config: &StackConfig, inversion: f64) -> f64 {
    let blends = config.dialect == Dialect::Paper || config.fixes.blend;
    if inversion > 0.0 {
        1.0
    } else if inversion == 0.0 && blends {
        0.5
    } else {
        0.0
    }
}

/// e = (1 − w) + (2 w − 1) r with the ramp r, 0 at l = −d1, 1/2 at 0 and 1 at d2.
fn paper(params: &GraduatedParams<f64>, weight: f64) -> Option<Lines> {
    if weight == 0.5 {
        return None;
    }
    let cos = 1.0 / 1.0_f64.hypot(params.slope);
    let rising = weight == 1.0;
    let [low, high] = [params.offset - params.o1 * cos, params.offset + params.o2 * cos];
    let [zero, full] = if rising { [low, high] } else { [high, low] };
    Some(Lines {
        channels: [true; 3],
        shifts: [Some(zero), Some(params.offset), Some(full)],
        rising,
    })
}

/// e = w + g u with u = t(y − (m x + c + d1)); g differs where the scale is below 1.
fn release(params: &GraduatedParams<f64>, weight: f64) -> Vec<Lines> {
    let cos = 1.0 / 1.0_f64.hypot(params.slope);
    let t = |u: f64| (u.tanh() + 1.0) / 2.0;
    let (d1, d2) = (t(params.offset * cos), t(params.o2 * cos));
    let below = params.scale.map(|scale| scale < 1.0);
    let mut groups: Vec<Lines> = Vec::new();
    for darkens in [true, false] {
        let channels = below.map(|below| below == darkens);
        if channels == [false; 3] {
            continue;
        }
        let sign = if darkens { 1.0 } else { -1.0 };
        let gain =
            -weight * (1.0 / d1 + 1.0 / d2) / 2.0 + (1.0 - weight) * (sign / d1 + 1.0 / d2) / 2.0;
        if gain == 0.0 {
            continue;
        }
        let shift = |level: f64| {
            let u = (level - weight) / gain;
            (u > 0.0 && u < 1.0).then(|| params.offset + d1 + (2.0 * u - 1.0).atanh())
        };
        groups.push(Lines { channels, shifts: LEVELS.map(shift), rising: gain > 0.0 });
    }
    if let [first, second] = &groups[..]
        && first.shifts == second.shifts
        && first.rising == second.rising
    {
        groups.truncate(1);
        groups[0].channels = [true; 3];
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeplpf_filters::{FilterFixes, reference};

    fn params(inversion: f64, scale: [f64; 3]) -> GraduatedParams<f64> {
        GraduatedParams { inversion, slope: -0.6, offset: 0.7, o1: 0.2, o2: 0.15, scale }
    }

    /// On every line the scalar reference must have the line's effect.
    fn check(config: &StackConfig, params: &GraduatedParams<f64>, least: usize) {
        let mut checked = 0;
        for lines in lines(config, params) {
            for (level, shift) in LEVELS.iter().zip(lines.shifts) {
                let Some(shift) = shift else { continue };
                for x in [0.0, 0.35, 0.9] {
                    let y = params.slope * x + shift;
                    for channel in (0..3).filter(|&channel| lines.channels[channel]) {
                        let s = params.scale[channel];
                        let expected = match config.dialect {
                            Dialect::Paper => s * level,
                            _ => 1.0 + level * (s - 1.0),
                        };
                        let found = match config.dialect {
                            Dialect::Paper => reference::graduated_paper(params, channel, x, y),
                            _ => reference::graduated_release(config.fixes, params, channel, x, y),
                        };
                        assert!((found - expected).abs() < 1e-12, "{level}: {found} {expected}");
                        // The direction of growth, where the effect is not at a limit.
                        if *level == 0.5 {
                            let effect = |y: f64| match config.dialect {
                                Dialect::Paper => {
                                    reference::graduated_paper(params, channel, x, y) / s
                                }
                                _ => {
                                    let fixes = config.fixes;
                                    let mask =
                                        reference::graduated_release(fixes, params, channel, x, y);
                                    (mask - 1.0) / (s - 1.0)
                                }
                            };
                            assert_eq!(effect(y + 1e-6) > effect(y - 1e-6), lines.rising);
                        }
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked >= least, "{checked} points for {params:?}");
    }

    #[test]
    fn the_reference_has_each_lines_effect_on_it() {
        let release = StackConfig::default();
        let fixed = StackConfig { fixes: FilterFixes::ALL, ..release.clone() };
        let paper = StackConfig { dialect: Dialect::Paper, ..release.clone() };
        // Three points on a line per channel. An inverted filter has 0 and 50 % in all channels,
        // an ordinary one 50 and 100 % where it darkens, and less than 50 % where it brightens.
        for (inversion, points) in [(1.3, 18), (-0.4, 12)] {
            let params = params(inversion, [0.4, 1.3, 0.8]);
            check(&release, &params, points);
            check(&fixed, &params, points);
            check(&paper, &params, 27);
        }
    }

    #[test]
    fn an_even_effect_has_no_lines() {
        let paper = StackConfig { dialect: Dialect::Paper, ..StackConfig::default() };
        assert!(lines(&paper, &params(0.0, [0.5; 3])).is_empty());
        // Equal slopes cancel where the scale is not below one.
        let flat = GraduatedParams { o2: 0.7, ..params(-1.0, [1.4; 3]) };
        assert!(lines(&StackConfig::default(), &flat).is_empty());
    }

    #[test]
    fn scales_on_both_sides_of_one_have_lines_of_their_own() {
        let config = StackConfig::default();
        let split = lines(&config, &params(-1.0, [0.4, 1.3, 0.8]));
        let channels: Vec<_> = split.iter().map(|lines| lines.channels).collect();
        assert_eq!(channels, [[true, false, true], [false, true, false]]);
        let inverted = lines(&config, &params(1.0, [0.4, 1.3, 0.8]));
        assert_eq!(inverted.len(), 1);
        assert!(!inverted[0].rising);
    }
}
