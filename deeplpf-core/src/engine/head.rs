//! One parameter head on a square of resized channels.

use super::backbone::{convolve, in_jobs};
use super::kernel::{Finish, Step};
use super::memory::{Aligned, Rows, Workspace};
use super::packed::{Packed, Source, Weights};
use super::pool::pool_row;
use crate::ops::conv::LEAKY_SLOPE;
use crate::simd::Instructions;

/// y = W x + b of the last layer.
pub(super) struct Linear {
    /// (outputs, inputs).
    pub weights: Vec<f64>,
    pub bias: Vec<f64>,
}

impl Linear {
    fn apply(&self, x: &[f64]) -> impl Iterator<Item = f32> {
        self.weights.chunks_exact(x.len().max(1)).zip(&self.bias).map(move |(row, bias)| {
            (row.iter().zip(x).map(|(weight, value)| weight * value).sum::<f64>() + bias) as f32
        })
    }
}

/// Four strided convolutions with pooling between them, a global mean and linear layers.
pub(super) struct Head {
    convolutions: [Packed; 4],
    width: usize,
    output: Linear,
    gates: Option<Linear>,
}

impl Head {
    /// The first of `convolutions` reads the channels of [`super::head_input`].
    pub fn new(
        convolutions: &[Weights; 4],
        output: Linear,
        gates: Option<Linear>,
        lanes: usize,
    ) -> Self {
        Self {
            width: convolutions[0].outputs,
            convolutions: [0, 1, 2, 3].map(|at| Packed::new(&convolutions[at], lanes, false)),
            output,
            gates,
        }
    }

    /// Raw parameters and raw gates, from a square of `side` pixels.
    pub fn run(
        &self,
        instructions: Instructions,
        workspace: &mut Workspace,
        input: &Rows,
        side: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let first = &self.convolutions[0];
        let (mut map, mut side) = strided(instructions, workspace, first, input, side);
        for convolution in &self.convolutions[1..] {
            let half = side / 2;
            let (blocks, lanes) =
                (self.width.div_ceil(instructions.lanes::<f32>()), instructions.lanes::<f32>());
            let mut pooled = Rows::blocked(workspace, half, half, blocks, lanes);
            let shared = pooled.shared();
            in_jobs(0..half, half, 1, |rows, _| {
                for y in rows {
                    // SAFETY: the source is complete, and this row is this job's alone.
                    unsafe { pool_row(instructions, &map, y, shared, self.width, half) };
                }
            });
            map.release(workspace);
            (0..half).for_each(|y| pooled.surround(y, half, None, None));
            (map, side) = strided(instructions, workspace, convolution, &pooled, half);
            pooled.release(workspace);
        }
        let mean = self.mean(&map, side, instructions.lanes::<f32>());
        map.release(workspace);
        let gates = self.gates.as_ref().map(|gates| gates.apply(&mean).collect());
        (self.output.apply(&mean).collect(), gates.unwrap_or_default())
    }

    fn mean(&self, map: &Rows, side: usize, lanes: usize) -> Vec<f64> {
        let mut sums = vec![0.0f64; self.width];
        for y in 0..side {
            for (block, sums) in sums.chunks_mut(lanes).enumerate() {
                for pixel in map.pixels(y, block)[..side * lanes].chunks_exact(lanes) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += f64::from(value));
                }
            }
        }
        sums.iter().map(|sum| sum / (side * side) as f64).collect()
    }
}

/// 3x3, stride 2, zero-padded, LeakyReLU, on a square whose surrounding pixels are zero.
fn strided(
    instructions: Instructions,
    workspace: &mut Workspace,
    packed: &Packed,
    input: &Rows,
    side: usize,
) -> (Rows, usize) {
    let lanes = instructions.lanes::<f32>();
    let out_side = (side - 1) / 2 + 1;
    let mut out = Rows::blocked(workspace, out_side, out_side, packed.out_blocks(), lanes);
    let shared = out.shared();
    let zeros = Aligned::zeros(packed.passes() * input.part());
    let source = Source {
        row: |y: usize, tap: usize| match (2 * y + tap).checked_sub(1) {
            Some(row) if row < side => input.row(row).wrapping_sub(lanes),
            _ => zeros.as_slice().as_ptr(),
        },
        block: input.part(),
        channel: 1,
        step: Step::Two,
    };
    let finish = Finish::Leaky(LEAKY_SLOPE as f32);
    convolve(instructions, packed, source, shared, out_side, 0..out_side, finish);
    (out, out_side)
}
