//! Checks of what callers hand in.

use ndarray::{ArrayView3, ArrayViewMut3};

use crate::{Dialect, Error, Real, Result, StackConfig, StackParams};

/// Length and finiteness of raw parameters.
pub(super) fn raw<T: Real>(config: &StackConfig, raw: &[T]) -> Result<()> {
    let expected = config.raw_len();
    if raw.len() != expected {
        return Err(Error::RawLength { expected, found: raw.len() });
    }
    match raw.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::RawNotFinite {
            index,
            name: config.raw_name(index),
            value: raw[index].wide(),
        }),
    }
}

/// Number and domain of named parameters.
pub(super) fn params<T: Real>(config: &StackConfig, params: &StackParams<T>) -> Result<()> {
    let count = |filter, what, expected: usize, found: usize| {
        if expected == found {
            Ok(())
        } else {
            Err(Error::ParamsCount { filter, what, expected, found })
        }
    };
    let terms = config.polynomial.map_or(0, |kind| kind.terms());
    match &params.polynomial {
        None => count("polynomial", "coefficients per channel", terms, 0)?,
        Some(polynomial) => {
            count("polynomial", "terms by their kind", terms, polynomial.kind.terms())?;
            for (channel, coefficients) in polynomial.coefficients.iter().enumerate() {
                count("polynomial", "coefficients in a channel", terms, coefficients.len())?;
                for &c in coefficients {
                    Domain::FINITE.check("polynomial", channel, "coefficient", c)?;
                }
            }
        }
    }
    count("graduated", "instances", config.graduated, params.graduated.len())?;
    count("elliptical", "instances", config.elliptical, params.elliptical.len())?;
    let expected = |n: usize| if config.gates { n } else { 0 };
    let (graduated, elliptical) =
        params.gates.as_ref().map_or((&[][..], &[][..]), |g| (&g.graduated, &g.elliptical));
    count("gates", "graduated gates", expected(config.graduated), graduated.len())?;
    count("gates", "elliptical gates", expected(config.elliptical), elliptical.len())?;
    for (k, &gate) in graduated.iter().chain(elliptical).enumerate() {
        Domain::MODERATE.check("gates", k, "gate", gate)?;
    }

    let (offset, o2, o1) = match config.dialect {
        Dialect::Release => (Domain::SQUASHED, Domain::SQUASHED, Domain::FINITE),
        Dialect::Paper => (Domain::MODERATE, Domain::LENGTH, Domain::LENGTH),
    };
    for (k, p) in params.graduated.iter().enumerate() {
        let filter = "graduated";
        Domain::FINITE.check(filter, k, "inversion", p.inversion)?;
        Domain::FINITE.check(filter, k, "slope", p.slope)?;
        offset.check(filter, k, "offset", p.offset)?;
        o1.check(filter, k, "o1", p.o1)?;
        o2.check(filter, k, "o2", p.o2)?;
        for scale in p.scale {
            Domain::MODERATE.check(filter, k, "scale", scale)?;
        }
    }
    for (k, p) in params.elliptical.iter().enumerate() {
        let filter = "elliptical";
        Domain::MODERATE.check(filter, k, "center_x", p.center_x)?;
        Domain::MODERATE.check(filter, k, "center_y", p.center_y)?;
        Domain::LENGTH.check(filter, k, "semi_axis_a", p.semi_axis_a)?;
        Domain::LENGTH.check(filter, k, "semi_axis_b", p.semi_axis_b)?;
        Domain::MODERATE.check(filter, k, "angle", p.angle)?;
        for scale in p.scale {
            Domain::MODERATE.check(filter, k, "scale", scale)?;
        }
    }
    Ok(())
}

/// A closed interval and how messages call it.
struct Domain {
    low: f64,
    high: f64,
    requirement: &'static str,
}

impl Domain {
    const FINITE: Self = Self { low: f64::MIN, high: f64::MAX, requirement: "finite" };
    /// Keeps squares within `f32`.
    const MODERATE: Self = Self { low: -1e6, high: 1e6, requirement: "within ±1e6" };
    /// The lower end is the release's eps (as `f32` rounds it); its inverse square fits an `f32`.
    const LENGTH: Self =
        Self { low: 0.999_999e-10, high: 1e6, requirement: "between 1e-10 and 1e6" };
    /// t(u) at -20 is 4e-18, whose inverse still is a usable number.
    const SQUASHED: Self = Self { low: -20.0, high: 20.0, requirement: "within ±20" };

    fn check<T: Real>(
        &self,
        filter: &'static str,
        instance: usize,
        field: &'static str,
        value: T,
    ) -> Result<()> {
        let value = value.wide();
        if value >= self.low && value <= self.high {
            return Ok(());
        }
        Err(Error::ParamOutOfRange {
            filter,
            instance,
            field,
            value,
            requirement: self.requirement,
        })
    }
}

/// Shape of an image: its height and width.
pub(super) fn image_size<T>(what: &'static str, image: &ArrayView3<'_, T>) -> Result<[usize; 2]> {
    match *image.shape() {
        [3, height, width] if height > 0 && width > 0 => Ok([height, width]),
        _ => Err(Error::NotRgb { what, found: image.dim().into() }),
    }
}

/// Whether `found` is the image's shape.
pub(super) fn same_shape(
    what: &'static str,
    expected: (usize, usize, usize),
    found: (usize, usize, usize),
) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::ShapeMismatch { what, expected: expected.into(), found: found.into() })
}

/// Whether `rows` rows from `first_row` lie within an image of `image_height` rows.
pub(super) fn band(first_row: usize, rows: usize, image_height: usize) -> Result<()> {
    match first_row.checked_add(rows) {
        Some(end) if end <= image_height => Ok(()),
        _ => Err(Error::BandOutsideImage { first_row, rows, image_height }),
    }
}

/// Whether a list of pixels and two `[3, pixels]` arrays fit together and to the image.
pub(super) fn pixels(
    image_size: (usize, usize),
    rows: &[usize],
    columns: &[usize],
    [values, out]: [(usize, usize); 2],
) -> Result<()> {
    let expected = rows.len();
    if columns.len() != expected {
        return Err(Error::PixelCount { what: "columns", expected, found: columns.len() });
    }
    for (what, (channels, found)) in [("values", values), ("output", out)] {
        if channels != 3 {
            return Err(Error::NotRgb { what, found: [channels, 1, found] });
        }
        if found != expected {
            return Err(Error::PixelCount { what, expected, found });
        }
    }
    let (height, width) = image_size;
    match rows.iter().zip(columns).find(|&(&r, &c)| r >= height || c >= width) {
        None => Ok(()),
        Some((&row, &column)) => Err(Error::PixelOutsideImage { row, column, height, width }),
    }
}

/// A contiguous slice as a `[3, height, width]` view.
pub(super) fn view<'a, T>(
    what: &'static str,
    height: usize,
    width: usize,
    slice: &'a [T],
) -> Result<ArrayView3<'a, T>> {
    let found = slice.len();
    ArrayView3::from_shape((3, height, width), slice)
        .ok()
        .filter(|view| view.len() == found)
        .ok_or_else(|| slice_length(what, height, width, found))
}

/// A contiguous mutable slice as a `[3, height, width]` view.
pub(super) fn view_mut<'a, T>(
    what: &'static str,
    height: usize,
    width: usize,
    slice: &'a mut [T],
) -> Result<ArrayViewMut3<'a, T>> {
    let found = slice.len();
    ArrayViewMut3::from_shape((3, height, width), slice)
        .ok()
        .filter(|view| view.len() == found)
        .ok_or_else(|| slice_length(what, height, width, found))
}

fn slice_length(what: &'static str, height: usize, width: usize, found: usize) -> Error {
    let expected = height.saturating_mul(width).saturating_mul(3);
    Error::SliceLength { what, height, width, expected, found }
}
