//! The filters one pixel at a time in `f64`, written as the formulas are printed.
//!
//! This is the definition that every faster form (the fused passes of this crate, SIMD, CUDA) is
//! tested against; it is public for that purpose and slow on purpose. It has no gradients: those
//! are tested against central differences of it.
//!
//! Coordinates: x = row / height, y = column / width.

use crate::elliptical::{COSINE_MARGIN, DISTANCE_EPSILON};
use crate::polynomial::powers;
use crate::squash::EPSILON;
use crate::{
    Dialect, EllipticalParams, FilterFixes, FusionRule, GraduatedParams, PolynomialParams,
    StackConfig, StackParams,
};

/// `t(u) = (tanh u + 1) / 2`.
fn t(u: f64) -> f64 {
    (u.tanh() + 1.0) / 2.0
}

/// PyTorch's sign, zero at zero.
fn sgn(u: f64) -> f64 {
    if u == 0.0 { 0.0 } else { u.signum() }
}

/// The sum of the polynomial's terms, f(x, y, i), for one channel.
pub fn polynomial(params: &PolynomialParams<f64>, channel: usize, x: f64, y: f64, i: f64) -> f64 {
    powers(params.kind)
        .iter()
        .zip(&params.coefficients[channel])
        .map(|(&[px, py, pi], c)| c * x.powi(px.into()) * y.powi(py.into()) * i.powi(pi.into()))
        .sum()
}

/// Y2: the polynomial filter's result for one channel.
pub fn polynomial_filter(
    config: &StackConfig,
    params: &StackParams<f64>,
    channel: usize,
    x: f64,
    y: f64,
    i: f64,
) -> f64 {
    let f = params.polynomial.as_ref().map(|p| polynomial(p, channel, x, y, i));
    match config.dialect {
        Dialect::Release => (i + f.unwrap_or(0.0)).clamp(0.0, 1.0),
        Dialect::Paper => f.unwrap_or(i),
    }
}

/// The mask of one graduated instance in the release dialect.
pub fn graduated_release(
    fixes: FilterFixes,
    params: &GraduatedParams<f64>,
    channel: usize,
    x: f64,
    y: f64,
) -> f64 {
    let GraduatedParams { inversion, slope: m, offset: c, o2: o, .. } = *params;
    let s = params.scale[channel];
    let alpha = m.atan();
    let (d1, d2) = (t(c * alpha.cos()), t(o * alpha.cos()));
    let u = t(y - (m * x + c + d1));
    let q = (1.0 + s) / 2.0;
    let inverted = s + ((q - s) / d1 + (1.0 - q) / d2) * u;
    let ordinary = if s < 1.0 {
        1.0 + ((q - 1.0) / d1 + (s - q) / d2) * u
    } else {
        1.0 + ((q - s) / d1 + (s - q) / d2) * u
    };
    let g = (sgn(inversion) + 1.0) / 2.0;
    let mask = if fixes.blend {
        g * inverted + (1.0 - g) * ordinary
    } else if g == 1.0 {
        inverted
    } else {
        ordinary
    };
    if s >= 1.0 { mask.clamp(1.0, 2.0) } else { mask.clamp(0.0, 1.0) }
}

/// The mask of one graduated instance in the paper dialect.
pub fn graduated_paper(params: &GraduatedParams<f64>, channel: usize, x: f64, y: f64) -> f64 {
    let GraduatedParams { inversion, slope: m, offset: c, o1, o2, .. } = *params;
    let s = params.scale[channel];
    let alpha = m.atan();
    let (d1, d2) = (o1 * alpha.cos(), o2 * alpha.cos());
    let l = y - (m * x + c);
    let (up, down) = if l >= 0.0 {
        (((1.0 + l / d2) / 2.0).min(1.0), ((1.0 - l / d2) / 2.0).max(0.0))
    } else {
        (((1.0 + l / d1) / 2.0).max(0.0), ((1.0 - l / d1) / 2.0).min(1.0))
    };
    let g = (sgn(inversion) + 1.0) / 2.0;
    s * (g * up + (1.0 - g) * down)
}

/// The polar angle of the release's elliptical filter, before and after the rotation is taken off,
/// as its sine and cosine after it.
fn phi(params: &EllipticalParams<f64>, dx: f64, dy: f64) -> (f64, f64) {
    let rho = (dx * dx + dy * dy + EPSILON).sqrt();
    let w = (dy / rho).clamp(-1.0 + COSINE_MARGIN, 1.0 - COSINE_MARGIN);
    (w.acos() - params.angle).sin_cos()
}

/// The release's test whether (x, y) is inside the ellipse, with `b` as semi-axis b.
pub fn inside_ellipse(params: &EllipticalParams<f64>, b: f64, x: f64, y: f64) -> bool {
    let (dx, dy) = (x - params.center_x, y - params.center_y);
    let (sin, cos) = phi(params, dx, dy);
    let a = params.semi_axis_a;
    (dx * cos + dy * sin).powi(2) / (a * a) + (dx * sin - dy * cos).powi(2) / (b * b) < 1.0
}

/// The mask of elliptical instance `k` of `all` in the release dialect.
pub fn elliptical_release(
    fixes: FilterFixes,
    all: &[EllipticalParams<f64>],
    k: usize,
    channel: usize,
    x: f64,
    y: f64,
) -> f64 {
    let params = &all[k];
    let EllipticalParams { semi_axis_a: a, semi_axis_b: b, .. } = *params;
    let s = params.scale[channel];
    let tested_b = match all.get(2) {
        Some(other) if k == 1 && channel == 2 && !fixes.ellipse => other.semi_axis_b,
        _ => b,
    };
    if !inside_ellipse(params, tested_b, x, y) {
        return 1.0;
    }
    let (dx, dy) = (x - params.center_x, y - params.center_y);
    let (sin, cos) = phi(params, dx, dy);
    let radius = a * b / (a * a * sin * sin + b * b * cos * cos + EPSILON).sqrt();
    let distance = (dx * dx + dy * dy + DISTANCE_EPSILON).sqrt();
    (s + (1.0 - s) * distance / radius).clamp(0.0, 2.0)
}

/// The mask of one elliptical instance in the paper dialect.
pub fn elliptical_paper(params: &EllipticalParams<f64>, channel: usize, x: f64, y: f64) -> f64 {
    let EllipticalParams { semi_axis_a: a, semi_axis_b: b, angle, .. } = *params;
    let (dx, dy) = (x - params.center_x, y - params.center_y);
    let (sin, cos) = angle.sin_cos();
    let along = (dx * cos + dy * sin).powi(2) / (a * a);
    let across = (dx * sin - dy * cos).powi(2) / (b * b);
    params.scale[channel] * (1.0 - (along + across)).max(0.0)
}

/// What gate `gate` leaves of a mask.
fn gated(dialect: Dialect, gate: f64, mask: f64) -> f64 {
    match dialect {
        Dialect::Release => 1.0 + gate * (mask - 1.0),
        Dialect::Paper => gate * mask,
    }
}

/// The graduated map, the elliptical map and their fusion S at one pixel and channel. A filter
/// that is off has no map.
pub fn scales(
    config: &StackConfig,
    params: &StackParams<f64>,
    channel: usize,
    x: f64,
    y: f64,
) -> (Option<f64>, Option<f64>, f64) {
    let limit = |map: f64| match config.dialect {
        Dialect::Release => map.clamp(0.0, 2.0),
        Dialect::Paper => map,
    };
    let graduated = (!params.graduated.is_empty()).then(|| {
        limit(
            params
                .graduated
                .iter()
                .enumerate()
                .map(|(k, p)| {
                    let mask = match config.dialect {
                        Dialect::Release => graduated_release(config.fixes, p, channel, x, y),
                        Dialect::Paper => graduated_paper(p, channel, x, y),
                    };
                    let gate = params.gates.as_ref().map_or(1.0, |g| g.graduated[k]);
                    gated(config.dialect, gate, mask)
                })
                .product(),
        )
    });
    let elliptical = (!params.elliptical.is_empty()).then(|| {
        limit(
            params
                .elliptical
                .iter()
                .enumerate()
                .map(|(k, p)| {
                    let mask = match config.dialect {
                        Dialect::Release => {
                            elliptical_release(config.fixes, &params.elliptical, k, channel, x, y)
                        }
                        Dialect::Paper => elliptical_paper(p, channel, x, y),
                    };
                    let gate = params.gates.as_ref().map_or(1.0, |g| g.elliptical[k]);
                    gated(config.dialect, gate, mask)
                })
                .product(),
        )
    });
    let s = match (graduated, elliptical) {
        (Some(g), Some(e)) if config.fusion == FusionRule::Product => limit(g * e),
        (Some(g), Some(e)) if config.fixes.fusion => limit(1.0 + (g - 1.0) + (e - 1.0)),
        (Some(g), Some(e)) => limit(g + e),
        (Some(map), None) | (None, Some(map)) => map,
        (None, None) => 1.0,
    };
    (graduated, elliptical, s)
}

/// Y: the whole stack at one pixel and channel with intensity `i`.
pub fn enhance(
    config: &StackConfig,
    params: &StackParams<f64>,
    channel: usize,
    x: f64,
    y: f64,
    i: f64,
) -> f64 {
    let limit = |value: f64| match config.dialect {
        Dialect::Release => value.clamp(0.0, 1.0),
        Dialect::Paper => value,
    };
    if !config.has_filters() {
        return limit(i);
    }
    let (_, _, s) = scales(config, params, channel, x, y);
    let y2 = polynomial_filter(config, params, channel, x, y, i);
    let y3 = limit(y2 * s);
    limit(y3 + i)
}
