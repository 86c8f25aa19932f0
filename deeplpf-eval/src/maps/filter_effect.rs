//! What each of the three filters does to a photograph, pixel by pixel.

use deeplpf_filters::{Dialect, FilterStack};
use ndarray::{Array2, ArrayView3, Axis};

use super::Scale;
use crate::error::{EvalError, Result};

/// The effect of one filter on every pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterEffect {
    /// `polynomial`, `graduated` or `elliptical`.
    pub filter: &'static str,
    /// What the numbers are, to write beside the scale.
    pub quantity: &'static str,
    /// One number per pixel, mean over red, green and blue: `height x width`.
    pub map: Array2<f32>,
    /// Its colours; the middle is no effect.
    pub scale: Scale,
}

/// Smallest reach of a scale on either side of no effect: 13 of 255 levels, 5 per cent.
const LEAST_REACH: f64 = 0.05;

/// The effects of the filters that `stack` has, in the order in which they act.
///
/// `image` is Y1, the image the filters are applied to: planar RGB, `3 x H x W`.
/// The polynomial filter's effect is Y2 − Y1, the change in value. The graduated and elliptical
/// filters' is the scale that their instances multiply to: 1 is no effect in the release dialect
/// and 0 in the paper's, whose maps are weights of what is added to Y1.
///
/// # Errors
/// [`EvalError::Filters`] for an image that is not `3 x H x W`.
pub fn filter_effects(
    stack: &FilterStack<f32>,
    image: ArrayView3<'_, f32>,
) -> Result<Vec<FilterEffect>> {
    let (_, height, width) = image.dim();
    let mean = |values: ArrayView3<'_, f32>| -> Result<Array2<f32>> {
        values.mean_axis(Axis(0)).ok_or_else(|| EvalError::NothingToShow {
            what: "the map of a filter".into(),
            reason: "the image has no channels".into(),
        })
    };
    let mut effects = Vec::new();
    if stack.params().polynomial.is_some() {
        let change = stack.apply_polynomial(image)? - image;
        let map = mean(change.view())?;
        effects.push(FilterEffect {
            filter: "polynomial",
            quantity: "change in value, Y2 − Y1",
            scale: Scale::around(0.0, LEAST_REACH, map.view()),
            map,
        });
    }
    let neutral = match stack.config().dialect {
        Dialect::Paper => 0.0,
        _ => 1.0,
    };
    let maps = stack.scale_maps(height, width)?;
    for (filter, map) in [("graduated", maps.graduated), ("elliptical", maps.elliptical)] {
        let Some(map) = map else { continue };
        let map = mean(map.view())?;
        effects.push(FilterEffect {
            filter,
            quantity: if neutral == 1.0 {
                "scale, 1 is no effect"
            } else {
                "scale, 0 is no effect"
            },
            scale: Scale::around(neutral, LEAST_REACH, map.view()),
            map,
        });
    }
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeplpf_filters::{StackConfig, reference};
    use ndarray::Array3;

    #[test]
    fn maps_are_the_references() {
        for config in [
            StackConfig::default(),
            StackConfig { dialect: Dialect::Paper, graduated: 1, ..StackConfig::default() },
        ] {
            let raw: Vec<f32> =
                (0..config.raw_len()).map(|i| ((i * 37 % 23) as f32 - 11.0) / 15.0).collect();
            let stack = FilterStack::from_raw(&config, &raw).unwrap();
            let image = Array3::from_shape_fn((3, 9, 14), |(c, y, x)| {
                0.2 + 0.05 * c as f32 + 0.03 * y as f32 + 0.02 * x as f32
            });
            let effects = filter_effects(&stack, image.view()).unwrap();
            let names: Vec<_> = effects.iter().map(|effect| effect.filter).collect();
            assert_eq!(names, ["polynomial", "graduated", "elliptical"]);
            let wide = stack.params().map(f64::from);
            for (row, column) in [(0, 0), (4, 7), (8, 13)] {
                let (x, y) = (row as f64 / 9.0, column as f64 / 14.0);
                let mean = |of: &dyn Fn(usize) -> f64| (0..3).map(of).sum::<f64>() / 3.0;
                let scales = |ch| reference::scales(&config, &wide, ch, x, y);
                let expected = [
                    mean(&|ch| {
                        let value = f64::from(image[[ch, row, column]]);
                        reference::polynomial_filter(&config, &wide, ch, x, y, value) - value
                    }),
                    mean(&|ch| scales(ch).0.unwrap()),
                    mean(&|ch| scales(ch).1.unwrap()),
                ];
                for (effect, expected) in effects.iter().zip(expected) {
                    let found = f64::from(effect.map[[row, column]]);
                    // Single precision against double.
                    assert!((found - expected).abs() < 1e-4, "{}: {found}", effect.filter);
                }
            }
        }
    }

    #[test]
    fn filters_that_are_off_have_no_map() {
        let config = StackConfig { polynomial: None, graduated: 0, ..StackConfig::default() };
        let stack = FilterStack::from_raw(&config, &vec![0.0; config.raw_len()]).unwrap();
        let image = Array3::from_elem((3, 4, 5), 0.5);
        let effects = filter_effects(&stack, image.view()).unwrap();
        assert_eq!(effects.len(), 1);
        assert_eq!(effects[0].filter, "elliptical");
        assert_eq!((effects[0].scale.low, effects[0].scale.high), (0.95, 1.05));
    }
}
