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

fn check<T: Number>(patches: bool) {
    let Some(bench) = bench() else { return };
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    for (seed, ([height, width], [h, w])) in SIZES.into_iter().enumerate() {
        let shape = [2, 3, height, width];
        let resized = [2, if patches { 28 } else { 3 }, h, w];
        let values = random(seed as u64, shape.iter().product(), -1.0, 1.0);
        let cotangent: Vec<f32> = random(100, resized.iter().product(), -1.0, 1.0)
            .iter()
            .map(|v| T::of(*v).wide())
            .collect();
        let image = bench.planes::<f32>(&values, shape, 1);
        let out = bench.empty::<T>(resized, 0);
        let gradient = bench.planes::<T>(&cotangent, resized, 0);
        let before = random(200, values.len(), -1.0, 1.0);
        let back = bench.planes::<f32>(&before, shape, 0);
        let (expected, mut of_image) = reference(&values, shape, &cotangent, |x| match patches {
            true => resized_patches(x, h, w),
            false => bilinear_resize(x, h, w),
        });
        of_image.iter_mut().zip(&before).for_each(|(to, more)| *to += more);
        let planes = (image.planes(), out.planes(), gradient.planes(), back.planes());
        if patches {
            kernels.resized_patches(stream, planes.0, planes.1).unwrap();
            kernels.resized_patches_backward(stream, planes.2, planes.3, true).unwrap();
        } else {
            kernels.resize(stream, planes.0, planes.1).unwrap();
            kernels.resize_backward(stream, planes.2, planes.3, true).unwrap();
        }
        let what = format!("{width}x{height} to {w}x{h}");
        close(&what, &out.read(), &expected, 1e-6 + T::ROUNDING);
        // A pixel adds up to some hundred terms.
        close(&format!("gradient of {what}"), &back.read(), &of_image, 3e-6);
        if patches {
            kernels.resized_patches_backward(stream, planes.2, planes.3, false).unwrap();
        } else {
            kernels.resize_backward(stream, planes.2, planes.3, false).unwrap();
        }
        of_image.iter_mut().zip(&before).for_each(|(to, less)| *to -= less);
        close(&format!("overwritten gradient of {what}"), &back.read(), &of_image, 3e-6);
    }
}

#[test]
fn resize_and_its_transpose() {
    check::<f32>(false);
    check::<bf16>(false);
}

#[test]
fn resized_patches_and_their_transpose() {
    check::<f32>(true);
    check::<bf16>(true);
}
