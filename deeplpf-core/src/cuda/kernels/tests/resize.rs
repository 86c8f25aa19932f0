//! Bilinear resize and resized patches.

use candle_core::{Device as Processor, Tensor, Var};
use half::bf16;

use super::*;
use crate::ops::{patches::resized_patches, resize::bilinear_resize};

/// From and to: smaller, larger, both, equal, one pixel.
const SIZES: [([usize; 2], [usize; 2]); 7] = [
    ([37, 61], [19, 23]),
    ([5, 7], [30, 41]),
    ([9, 40], [20, 13]),
    ([8, 33], [8, 33]),
    ([2, 2], [7, 5]),
    ([341, 12], [30, 30]),
    ([3, 2], [1, 1]),
];

/// The operation's result and gradient on the CPU.
fn reference(
    values: &[f32],
    shape: [usize; 4],
    cotangent: &[f32],
    operation: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> (Vec<f32>, Vec<f32>) {
    let x = Var::from_vec(values.to_vec(), &shape, &Processor::Cpu).unwrap();
    let out = operation(&x).unwrap();
    let weights = Tensor::from_vec(cotangent.to_vec(), out.shape(), &Processor::Cpu).unwrap();
    let gradients = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (flat(&out), flat(gradients.get(&x).unwrap()))
}

#[test]
fn resize_and_its_transpose() {
    resize::<f32>();
    resize::<bf16>();
}

/// Numbers as `T` holds them.
fn held<T: Number>(seed: u64, count: usize) -> Vec<f32> {
    random(seed, count, -1.0, 1.0).iter().map(|v| T::of(*v).wide()).collect()
}

fn resize<T: Number>() {
    let Some(bench) = bench() else { return };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    for (seed, ([height, width], [h, w])) in SIZES.into_iter().enumerate() {
        let (shape, resized) = ([2, 3, height, width], [2, 3, h, w]);
        let values = held::<T>(seed as u64, shape.iter().product());
        let cotangent = held::<T>(100, resized.iter().product());
        let before = held::<T>(200, values.len());
        let image = bench.planes::<T>(&values, shape, usize::from(height > 2 && width > 2));
        let out = bench.empty::<T>(resized, 0);
        let gradient = bench.planes::<T>(&cotangent, resized, 0);
        let back = bench.planes::<T>(&before, shape, 0);
        let (expected, mut of_image) =
            reference(&values, shape, &cotangent, |x| bilinear_resize(x, h, w));
        let planes = (image.planes(), out.planes(), gradient.planes(), back.planes());
        let what = format!("{width}x{height} to {w}x{h}");
        kernels.resize(stream, planes.0, planes.1, None).unwrap();
        close(&what, &out.read(), &expected, 1e-6 + T::ROUNDING);
        kernels.resize_backward(stream, planes.2, planes.3, false).unwrap();
        // A pixel adds up to some hundred terms.
        let bound = 3e-6 + T::ROUNDING;
        close(&format!("gradient of {what}"), &back.read(), &of_image, bound);
        let back = bench.planes::<T>(&before, shape, 0);
        kernels.resize_backward(stream, planes.2, back.planes(), true).unwrap();
        of_image.iter_mut().zip(&before).for_each(|(to, more)| *to += more);
        close(&format!("added gradient of {what}"), &back.read(), &of_image, bound);
    }
}

/// A level of a picture in strips, each with some rows around it, has the bits of the whole.
#[test]
fn a_level_resized_in_strips() {
    let Some(bench) = bench() else { return };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    let (level, width) = (2, 13);
    for (height, side) in [(150, 11), (150, 90), (67, 30)] {
        let rows = height >> level;
        let values = random(1, 3 * rows * width, -1.0, 1.0);
        let whole = bench.planes::<f32>(&values, [1, 3, rows, width], 1);
        let expected = bench.empty::<f32>([1, 3, side, side], 0);
        kernels.resize(stream, whole.planes(), expected.planes(), None).unwrap();
        let out = bench.empty::<f32>([1, 3, side, side], 0);
        for [top, first, end, bottom] in [[0, 0, 48, 64], [32, 48, height, height]] {
            let (above, below) = (top >> level, bottom >> level);
            let strip: Vec<f32> = (0..3)
                .flat_map(|channel| {
                    &values[(channel * rows + above) * width..][..(below - above) * width]
                })
                .copied()
                .collect();
            let strip = bench.planes::<f32>(&strip, [1, 3, below - above, width], 1);
            let place = [height, top, first, end].map(|row| row as f32);
            let place = bench.numbers(&place);
            let strip_rows = StripRows { rows: place.span(), level };
            kernels.resize(stream, strip.planes(), out.planes(), Some(strip_rows)).unwrap();
        }
        assert_eq!(out.read(), expected.read(), "{height} rows to {side}");
    }
}

fn patches<T: Number>() {
    let Some(bench) = bench() else { return };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    for (seed, ([height, width], [h, w])) in SIZES.into_iter().enumerate() {
        let (shape, resized) = ([2, 3, height, width], [2, 28, h, w]);
        let values = random(seed as u64, shape.iter().product(), -1.0, 1.0);
        let cotangent = held::<T>(100, resized.iter().product());
        let image = bench.planes::<f32>(&values, shape, 1);
        let out = bench.empty::<T>(resized, 0);
        let gradient = bench.planes::<T>(&cotangent, resized, 0);
        let before = random(200, values.len(), -1.0, 1.0);
        let back = bench.planes::<f32>(&before, shape, 0);
        let (expected, mut of_image) =
            reference(&values, shape, &cotangent, |x| resized_patches(x, h, w));
        of_image.iter_mut().zip(&before).for_each(|(to, more)| *to += more);
        let planes = (image.planes(), out.planes(), gradient.planes(), back.planes());
        kernels.resized_patches(stream, planes.0, planes.1).unwrap();
        kernels.resized_patches_backward(stream, planes.2, planes.3, true).unwrap();
        let what = format!("{width}x{height} to {w}x{h}");
        close(&what, &out.read(), &expected, 1e-6 + T::ROUNDING);
        // A pixel adds up to some hundred terms.
        close(&format!("gradient of {what}"), &back.read(), &of_image, 3e-6);
        kernels.resized_patches_backward(stream, planes.2, planes.3, false).unwrap();
        of_image.iter_mut().zip(&before).for_each(|(to, less)| *to -= less);
        close(&format!("overwritten gradient of {what}"), &back.read(), &of_image, 3e-6);
    }
}

#[test]
fn resized_patches_and_their_transpose() {
    patches::<f32>();
    patches::<bf16>();
}
