//! Convolution and pooling of pixel-major feature maps.
//!
//! With the channels of a pixel side by side, a window's row is one contiguous run, so unfolding is
//! a handful of copies, and a block of output pixels is one contiguous piece of memory that a
//! thread can own. The blocks depend on the image's size only, so neither do the bits of the
//! result depend on the number of threads.

use rayon::prelude::*;

/// Output pixels unfolded and multiplied at a time: enough that repacking the kernels for every
/// block costs little, few enough that small images still give every core a block.
const BLOCK: usize = 320;

/// A feature map, `height x width x channels`, channels innermost.
#[derive(Clone, Debug)]
pub(super) struct Features {
    pub values: Vec<f32>,
    pub width: usize,
    pub height: usize,
    pub channels: usize,
}

/// A square convolution with zero padding, followed by its bias and max(0, x).
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// `kernel x kernel x inputs x outputs`, outputs innermost.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Convolution {
    /// Length of an output side for an input side; 0 where the window does not fit.
    pub fn output_side(side: usize, kernel: usize, stride: usize, padding: usize) -> usize {
        (side + 2 * padding).checked_sub(kernel).map_or(0, |rest| rest / stride + 1)
    }

    /// The convolution of a map with [`Convolution::inputs`] channels.
    pub fn forward(&self, input: &Features) -> Features {
        assert_eq!(input.channels, self.inputs, "channels of the feature map");
        let side = |side| Self::output_side(side, self.kernel, self.stride, self.padding);
        let (width, height) = (side(input.width), side(input.height));
        let unfolded_length = self.kernel * self.kernel * self.inputs;
        let mut values = vec![0.0; width * height * self.outputs];
        values.par_chunks_mut(BLOCK * self.outputs).enumerate().for_each_init(
            || vec![0.0; BLOCK * unfolded_length],
            |unfolded, (index, block)| {
                let pixels = block.len() / self.outputs;
                let windows = unfolded.chunks_exact_mut(unfolded_length).take(pixels);
                for (pixel, window) in windows.enumerate() {
                    let at = index * BLOCK + pixel;
                    self.unfold(input, at / width, at % width, window);
                }
                block.chunks_exact_mut(self.outputs).for_each(|p| p.copy_from_slice(&self.bias));
                add_product(
                    (pixels, self.outputs, unfolded_length),
                    &unfolded[..pixels * unfolded_length],
                    &self.weights,
                    block,
                );
                block.iter_mut().for_each(|value| *value = value.max(0.0));
            },
        );
        Features { values, width, height, channels: self.outputs }
    }

    /// The input values under one window, zeros where it reaches past the border.
    fn unfold(&self, input: &Features, row: usize, column: usize, window: &mut [f32]) {
        let channels = self.inputs;
        let left = column * self.stride;
        // Columns of the window before, inside and after the image.
        let before = self.padding.saturating_sub(left).min(self.kernel);
        let end = (input.width + self.padding).saturating_sub(left).min(self.kernel);
        for (ky, out) in window.chunks_exact_mut(self.kernel * channels).enumerate() {
            let y = row * self.stride + ky;
            if y < self.padding || y >= input.height + self.padding {
                out.fill(0.0);
                continue;
            }
            let first = (y - self.padding) * input.width + left + before - self.padding;
            let run = (end - before) * channels;
            out[..before * channels].fill(0.0);
            out[before * channels..end * channels]
                .copy_from_slice(&input.values[first * channels..first * channels + run]);
            out[end * channels..].fill(0.0);
        }
    }
}

/// Maxima over square windows that lie wholly inside the map, as PyTorch's `max_pool2d`.
pub(super) fn max_pool(input: &Features, window: usize, stride: usize) -> Features {
    let side = |side| Convolution::output_side(side, window, stride, 0);
    let (width, height, channels) = (side(input.width), side(input.height), input.channels);
    let mut values = vec![f32::NEG_INFINITY; width * height * channels];
    values.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(row, out)| {
        for (column, pixel) in out.chunks_exact_mut(channels).enumerate() {
            for y in row * stride..row * stride + window {
                let first = (y * input.width + column * stride) * channels;
                for source in input.values[first..first + window * channels].chunks_exact(channels)
                {
                    pixel.iter_mut().zip(source).for_each(|(a, &b)| *a = a.max(b));
                }
            }
        }
    });
    Features { values, width, height, channels }
}

/// `out += a b` for row-major `m x k` and `k x n` matrices, on the calling thread.
fn add_product((m, n, k): (usize, usize, usize), a: &[f32], b: &[f32], out: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && out.len() == m * n, "sizes of a product");
    // SAFETY: the three slices hold exactly the elements that these sizes and strides reach, and
    // `out` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            true,
            a.as_ptr(),
            1,
            k as isize,
            b.as_ptr(),
            1,
            n as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: usize) -> Vec<f32> {
        (0..length).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 498.0 - 1.0).collect()
    }

    /// The definition, one output at a time, in double precision.
    fn direct(convolution: &Convolution, input: &Features, y: usize, x: usize, out: usize) -> f64 {
        let Convolution { kernel, stride, padding, inputs, outputs, ref weights, ref bias } =
            *convolution;
        let mut sum = f64::from(bias[out]);
        for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
            let (row, column) = (y * stride + ky, x * stride + kx);
            let inside = |at: usize, side| at >= padding && at < side + padding;
            if !inside(row, input.height) || !inside(column, input.width) {
                continue;
            }
            let pixel = (row - padding) * input.width + column - padding;
            for channel in 0..inputs {
                let weight = weights[((ky * kernel + kx) * inputs + channel) * outputs + out];
                sum += f64::from(weight) * f64::from(input.values[pixel * inputs + channel]);
            }
        }
        sum.max(0.0)
    }

    #[test]
    fn blocks_agree_with_the_definition_at_every_border() {
        // LPIPS's three kinds of window; maps of one output, of odd sides, of more than one block.
        for (kernel, stride, padding) in [(11, 4, 2), (5, 1, 2), (3, 1, 1)] {
            for (width, height) in [(11, 11), (23, 12), (7, 9), (130, 37)] {
                let (inputs, outputs) = (3, 5);
                let convolution = Convolution {
                    kernel,
                    stride,
                    padding,
                    inputs,
                    outputs,
                    weights: noise(kernel * kernel * inputs * outputs, 1),
                    bias: noise(outputs, 2),
                };
                let values = noise(width * height * inputs, 3);
                let input = Features { values, width, height, channels: inputs };
                let found = convolution.forward(&input);
                assert_eq!(found.values.len(), found.width * found.height * outputs);
                for (index, &value) in found.values.iter().enumerate() {
                    let pixel = index / outputs;
                    let (y, x) = (pixel / found.width, pixel % found.width);
                    let expected = direct(&convolution, &input, y, x, index % outputs);
                    // Sums of at most 363 products below 1 in single precision.
                    assert!((f64::from(value) - expected).abs() < 2e-5, "{value} {expected}");
                }
            }
        }
    }

    #[test]
    fn pooling_drops_windows_that_do_not_fit() {
        let values = (0..5 * 4).flat_map(|i| [i as f32, -(i as f32)]).collect();
        let input = Features { values, width: 5, height: 4, channels: 2 };
        let found = max_pool(&input, 3, 2);
        assert_eq!((found.width, found.height), (2, 1));
        assert_eq!(found.values, [12.0, 0.0, 14.0, -2.0]);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let input = Features { values: noise(90 * 40 * 8, 1), width: 90, height: 40, channels: 8 };
        let convolution = Convolution {
            kernel: 3,
            stride: 1,
            padding: 1,
            inputs: 8,
            outputs: 33,
            weights: noise(9 * 8 * 33, 2),
            bias: noise(33, 3),
        };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| convolution.forward(&input).values)
        };
        assert_eq!(run(1), run(5));
    }
}
