//! Bands of rows and single pixels give what the whole image gives there.

mod common;

use common::Random;
use deeplpf_filters::{Dialect, Error, FilterFixes, FilterStack, StackConfig};
use ndarray::{Array2, Array3, s};

fn configs() -> [StackConfig; 3] {
    let base = StackConfig::default();
    [
        base.clone(),
        StackConfig { fixes: FilterFixes::ALL, gates: true, ..base.clone() },
        StackConfig { dialect: Dialect::Paper, ..base },
    ]
}

/// Bands of any height make the same bits as the whole image.
#[test]
fn bands_make_the_bits_of_the_whole_image() {
    for (n, config) in configs().iter().enumerate() {
        let mut random = Random(n as u64);
        let raw: Vec<f32> = random.raw(config);
        let image = random.image::<f32>(61, 83, [0.0, 1.0]);
        let stack = FilterStack::from_raw(config, &raw).expect("valid");
        let whole = stack.apply(image.view()).expect("Y");
        for rows in [1, 5, 16, 61] {
            let mut out = Array3::<f32>::zeros(image.raw_dim());
            for first in (0..61).step_by(rows) {
                let band = s![.., first..(first + rows).min(61), ..];
                stack
                    .apply_rows_into(image.slice(band), first, 61, out.slice_mut(band))
                    .expect("a band");
            }
            assert!(out == whole, "config {n}, bands of {rows} rows");
        }
    }
}

#[test]
fn a_band_outside_the_image_is_named() {
    let stack = FilterStack::from_raw(&StackConfig::default(), &[0.0_f32; 108]).expect("valid");
    let band = Array3::zeros((3, 4, 5));
    let mut out = band.clone();
    let mut apply =
        |first, height| stack.apply_rows_into(band.view(), first, height, out.view_mut());
    assert_eq!(apply(3, 7), Ok(()));
    let outside =
        |first_row, image_height| Err(Error::BandOutsideImage { first_row, rows: 4, image_height });
    assert_eq!(apply(4, 7), outside(4, 7));
    assert_eq!(apply(0, 3), outside(0, 3));
    assert_eq!(apply(usize::MAX, 7), outside(usize::MAX, 7));
}

#[test]
fn single_pixels_have_the_values_of_the_image() {
    for (n, config) in configs().iter().enumerate() {
        let mut random = Random(10 + n as u64);
        let raw: Vec<f32> = random.raw(config);
        let image = random.image::<f32>(37, 53, [0.0, 1.0]);
        let stack = FilterStack::from_raw(config, &raw).expect("valid");
        let y2 = stack.apply_polynomial(image.view()).expect("Y2");
        let mut at = |end: usize| (random.uniform(0.0, 1.0) * end as f64) as usize;
        let (rows, columns): (Vec<_>, Vec<_>) = (0..200).map(|_| (at(37), at(53))).unzip();
        let values = Array2::from_shape_fn((3, 200), |(ch, n)| image[[ch, rows[n], columns[n]]]);
        let mut out = Array2::zeros((3, 200));
        stack
            .apply_polynomial_at((37, 53), &rows, &columns, values.view(), out.view_mut())
            .expect("Y2");
        for ((ch, n), &found) in out.indexed_iter() {
            let expected = y2[[ch, rows[n], columns[n]]];
            // Roundings of a dozen terms of order one.
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }
}

#[test]
fn wrong_lists_of_pixels_are_named() {
    let stack = FilterStack::from_raw(&StackConfig::default(), &[0.0_f32; 108]).expect("valid");
    let apply = |rows: &[usize], columns: &[usize], values: usize, out: usize| {
        let values = Array2::zeros((3, values));
        let mut out = Array2::zeros((3, out));
        stack.apply_polynomial_at((4, 6), rows, columns, values.view(), out.view_mut())
    };
    assert_eq!(apply(&[], &[], 0, 0), Ok(()));
    assert_eq!(apply(&[3, 0], &[5, 0], 2, 2), Ok(()));
    let count = |what, found| Err(Error::PixelCount { what, expected: 2, found });
    assert_eq!(apply(&[0, 0], &[0], 2, 2), count("columns", 1));
    assert_eq!(apply(&[0, 0], &[0, 0], 3, 2), count("values", 3));
    assert_eq!(apply(&[0, 0], &[0, 0], 2, 0), count("output", 0));
    let outside = |row, column| Err(Error::PixelOutsideImage { row, column, height: 4, width: 6 });
    assert_eq!(apply(&[0, 4], &[0, 0], 2, 2), outside(4, 0));
    assert_eq!(apply(&[0, 0], &[0, 6], 2, 2), outside(0, 6));
    let (narrow, mut out) = (Array2::zeros((1, 2)), Array2::zeros((3, 2)));
    let found = stack.apply_polynomial_at((4, 6), &[0, 0], &[0, 0], narrow.view(), out.view_mut());
    assert_eq!(found, Err(Error::NotRgb { what: "values", found: [1, 1, 2] }));
}
