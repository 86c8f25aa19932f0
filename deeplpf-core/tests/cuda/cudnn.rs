//! cuDNN's convolutions as this crate calls them, against sums written out in double precision. On the
//! stand-in these test the stand-in itself.

use std::sync::Arc;

use cudarc::{
    cudnn::{Cudnn, sys::*},
    driver::{CudaContext, CudaStream},
};

use crate::stand_in;

/// A convolution without dilation, equal padding and stride both ways.
#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    inputs: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel: usize,
    padding: usize,
    stride: usize,
}

const SHAPES: [Shape; 5] = [
    Shape {
        batch: 2,
        inputs: 3,
        height: 11,
        width: 70,
        outputs: 7,
        kernel: 3,
        padding: 0,
        stride: 1,
    },
    Shape {
        batch: 1,
        inputs: 5,
        height: 13,
        width: 9,
        outputs: 16,
        kernel: 3,
        padding: 1,
        stride: 2,
    },
    Shape {
        batch: 1,
        inputs: 4,
        height: 10,
        width: 12,
        outputs: 3,
        kernel: 3,
        padding: 1,
        stride: 2,
    },
    Shape {
        batch: 1,
        inputs: 9,
        height: 6,
        width: 33,
        outputs: 4,
        kernel: 1,
        padding: 0,
        stride: 1,
    },
    Shape {
        batch: 1,
        inputs: 1,
        height: 3,
        width: 3,
        outputs: 1,
        kernel: 3,
        padding: 0,
        stride: 1,
    },
];

impl Shape {
    fn out(&self, side: usize) -> usize {
        (side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Lengths of input, filter and output.
    fn lengths(&self) -> [usize; 3] {
        [
            self.batch * self.inputs * self.height * self.width,
            self.outputs * self.inputs * self.kernel * self.kernel,
            self.batch * self.outputs * self.out(self.height) * self.out(self.width),
        ]
    }

    /// Every product of the convolution: indices into input, filter and output.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Shape { inputs, height, width, outputs, kernel, padding, stride, .. } = *self;
        let (rows, columns) = (self.out(height), self.out(width));
        for n in 0..self.batch {
            for k in 0..outputs {
                for r in 0..rows {
                    for c in 0..columns {
                        for i in 0..inputs {
                            for a in 0..kernel {
                                for b in 0..kernel {
                                    let (y, x) = (r * stride + a, c * stride + b);
                                    let inside = y >= padding
                                        && x >= padding
                                        && y - padding < height
                                        && x - padding < width;
                                    if inside {
                                        visit(
                                            ((n * inputs + i) * height + y - padding) * width + x
                                                - padding,
                                            ((k * inputs + i) * kernel + a) * kernel + b,
                                            ((n * outputs + k) * rows + r) * columns + c,
                                        );
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Numbers in -1..1, the same every time.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The result of one call on fresh device memory, and the largest workspace offered for it.
struct Machine {
    stream: Arc<CudaStream>,
    cudnn: Arc<Cudnn>,
}

enum Operation {
    Forward(cudnnConvolutionFwdAlgo_t),
    Data(cudnnConvolutionBwdDataAlgo_t),
    Filter(cudnnConvolutionBwdFilterAlgo_t),
}

impl Machine {
    fn new() -> Self {
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let cudnn = Cudnn::new(stream.clone()).unwrap();
        Self { stream, cudnn }
    }

    /// `operands` are input, filter and output; the one the operation makes is ignored.
    fn run(
        &self,
        shape: Shape,
        math: cudnnMathType_t,
        operation: &Operation,
        operands: [&[f32]; 3],
    ) -> Vec<f32> {
        let format = cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let int = |side: usize| side as i32;
        let Shape { batch, inputs, height, width, outputs, kernel, padding, stride } = shape;
        let tensor = |c, h, w| {
            self.cudnn
                .create_4d_tensor::<f32>(format, [int(batch), int(c), int(h), int(w)])
                .unwrap()
        };
        let x = tensor(inputs, height, width);
        let y = tensor(outputs, shape.out(height), shape.out(width));
        let w = self
            .cudnn
            .create_4d_filter::<f32>(format, [int(outputs), int(inputs), int(kernel), int(kernel)])
            .unwrap();
        let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let mut conv = self
            .cudnn
            .create_conv2d::<f32>([int(padding); 2], [int(stride); 2], [1; 2], mode)
            .unwrap();
        conv.set_math_type(math).unwrap();
        let [mut x_data, mut w_data, mut y_data] =
            operands.map(|values| self.stream.clone_htod(values).unwrap());
        let space = |bytes| self.stream.alloc_zeros::<u8>(bytes).unwrap();
        // SAFETY (all three): buffers have the descriptors' sizes, the workspace the size asked for.
        match operation {
            Operation::Forward(algorithm) => {
                let call = cudarc::cudnn::ConvForward { conv: &conv, x: &x, w: &w, y: &y };
                let bytes = call.get_workspace_size(*algorithm).unwrap();
                let mut workspace = (bytes > 0).then(|| space(bytes));
                unsafe {
                    call.launch(
                        *algorithm,
                        workspace.as_mut(),
                        (1.0, 0.0),
                        &x_data,
                        &w_data,
                        &mut y_data,
                    )
                }
                .unwrap();
                self.stream.clone_dtoh(&y_data).unwrap()
            }
            Operation::Data(algorithm) => {
                let call = cudarc::cudnn::ConvBackwardData { conv: &conv, dx: &x, w: &w, dy: &y };
                let bytes = call.get_workspace_size(*algorithm).unwrap();
                let mut workspace = (bytes > 0).then(|| space(bytes));
                unsafe {
                    call.launch(
                        *algorithm,
                        workspace.as_mut(),
                        (1.0, 0.0),
                        &mut x_data,
                        &w_data,
                        &y_data,
                    )
                }
                .unwrap();
                self.stream.clone_dtoh(&x_data).unwrap()
            }
            Operation::Filter(algorithm) => {
                let call = cudarc::cudnn::ConvBackwardFilter { conv: &conv, x: &x, dw: &w, dy: &y };
                let bytes = call.get_workspace_size(*algorithm).unwrap();
                let mut workspace = (bytes > 0).then(|| space(bytes));
                unsafe {
                    call.launch(
                        *algorithm,
                        workspace.as_mut(),
                        (1.0, 0.0),
                        &x_data,
                        &mut w_data,
                        &y_data,
                    )
                }
                .unwrap();
                self.stream.clone_dtoh(&w_data).unwrap()
            }
        }
    }
}

/// Largest difference, relative to the sum of the products' magnitudes, where rounding shows.
fn worst(found: &[f32], sums: &[f64], magnitudes: &[f64]) -> f64 {
    let errors = found.iter().zip(sums).zip(magnitudes);
    errors.map(|((f, s), m)| (f64::from(*f) - s).abs() / m.max(1e-30)).fold(0.0, f64::max)
}

#[test]
fn convolution_and_its_gradients_are_the_sums() {
    if !stand_in::ready() {
        return;
    }
    let machine = Machine::new();
    let fma = cudnnMathType_t::CUDNN_FMA_MATH;
    for shape in SHAPES {
        let [xs, ws, ys] = shape.lengths();
        let (x, w, y) = (numbers(xs, 1), numbers(ws, 2), numbers(ys, 3));
        let (mut dy, mut dx, mut dw) =
            (vec![(0f64, 0f64); ys], vec![(0f64, 0f64); xs], vec![(0f64, 0f64); ws]);
        let add = |at: &mut (f64, f64), a: f32, b: f32| {
            let product = f64::from(a) * f64::from(b);
            at.0 += product;
            at.1 += product.abs();
        };
        shape.products(|i, k, o| {
            add(&mut dy[o], x[i], w[k]);
            add(&mut dx[i], w[k], y[o]);
            add(&mut dw[k], x[i], y[o]);
        });
        let forward = Operation::Forward(
            cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
        );
        let data =
            Operation::Data(cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1);
        let filter =
            Operation::Filter(cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1);
        for (name, operation, expected) in
            [("forward", forward, dy), ("data", data, dx), ("filter", filter, dw)]
        {
            let found = machine.run(shape, fma, &operation, [&x, &w, &y]);
            let (sums, magnitudes): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
            let error = worst(&found, &sums, &magnitudes);
            // Sums of at most 1500 products in f32: a few roundings of 6e-8 each.
            assert!(error < 1e-6, "{name} of {shape:?}: {error:e}");
        }
    }
}

/// On a GPU before Ampere there is no TF32: then this holds trivially.
#[test]
fn without_fma_math_f32_may_be_tf32() {
    if !stand_in::ready() {
        return;
    }
    let machine = Machine::new();
    let shape = SHAPES[0];
    let [xs, ws, ys] = shape.lengths();
    let (x, w, y) = (numbers(xs, 1), numbers(ws, 2), numbers(ys, 3));
    let forward = Operation::Forward(
        cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
    );
    let exact = machine.run(shape, cudnnMathType_t::CUDNN_FMA_MATH, &forward, [&x, &w, &y]);
    let rounded = machine.run(shape, cudnnMathType_t::CUDNN_DEFAULT_MATH, &forward, [&x, &w, &y]);
    let difference = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // 27 products below 1, each operand within 2^-11.
    assert!(difference < 27.0 * 2.0 / 2048.0, "{difference}");
    if stand_in::stand_in_folder().is_some() {
        assert!(difference > 1e-5, "the stand-in rounds operands to TF32");
    }
}
