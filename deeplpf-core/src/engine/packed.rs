//! Convolution weights in the order the kernels read them.

use super::kernel::{Finish, Pass, RunPass, Step};
use super::memory::Aligned;
use crate::simd::Instructions;

/// Plain weights, (outputs, inputs, taps_y, taps_x), and biases, in the double precision they are
/// folded in.
#[derive(Clone)]
pub(super) struct Weights {
    pub outputs: usize,
    pub inputs: usize,
    pub taps_y: usize,
    pub taps_x: usize,
    pub values: Vec<f64>,
    pub bias: Vec<f64>,
}

impl Weights {
    pub fn at(&self, output: usize, input: usize, tap_y: usize, tap_x: usize) -> f64 {
        let index = (output * self.inputs + input) * self.taps_y + tap_y;
        self.values[index * self.taps_x + tap_x]
    }

    /// The weights of `inputs` alone, without bias.
    pub fn of_inputs(&self, inputs: std::ops::Range<usize>) -> Self {
        let taps = self.taps_y * self.taps_x;
        let values = self
            .values
            .chunks_exact(self.inputs * taps)
            .flat_map(|output| &output[inputs.start * taps..inputs.end * taps])
            .copied()
            .collect();
        Self { inputs: inputs.len(), values, bias: vec![0.0; self.outputs], ..*self }
    }

    /// Weights with the taps regrouped: new tap j of an axis is the sum of the old taps in
    /// `groups[j]`.
    pub fn grouped(&self, rows: &[&[usize]], columns: &[&[usize]]) -> Self {
        let mut values =
            Vec::with_capacity(self.outputs * self.inputs * rows.len() * columns.len());
        for output in 0..self.outputs {
            for input in 0..self.inputs {
                for row in rows {
                    for column in columns {
                        let taps = row.iter().flat_map(|&y| column.iter().map(move |&x| (y, x)));
                        values.push(taps.map(|(y, x)| self.at(output, input, y, x)).sum());
                    }
                }
            }
        }
        Self { taps_y: rows.len(), taps_x: columns.len(), values, ..self.clone() }
    }
}

/// Output blocks that are computed together.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    blocks: usize,
    weights: usize,
}

/// A convolution ready to run on feature maps in blocks of L channels (or planes).
pub(super) struct Packed {
    lanes: usize,
    inputs: usize,
    /// Input channels that one pass takes: a block, or all planes.
    pass_inputs: usize,
    taps_y: usize,
    taps_x: usize,
    groups: Vec<Group>,
    weights: Aligned,
    bias: Aligned,
}

/// Where a convolution reads: `row(y, tap)` is the pixel under the leftmost tap of output pixel 0.
pub(super) struct Source<F> {
    pub row: F,
    /// Numbers from one block to the next.
    pub block: usize,
    /// Numbers from one channel to the next inside a block.
    pub channel: usize,
    pub step: Step,
}

/// Where it writes.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// First output pixel of output block 0, by row.
    pub rows: super::memory::SharedRows,
    /// First pixel and distance between pixels, in pixels.
    pub first: usize,
    pub step: usize,
    pub pixels: usize,
}

impl Packed {
    /// For inputs in blocks of `lanes`, or three planes (`planar`).
    pub fn new(weights: &Weights, lanes: usize, planar: bool) -> Self {
        let out_blocks = weights.outputs.div_ceil(lanes);
        let pass_inputs = if planar { weights.inputs } else { lanes };
        let mut values = Vec::new();
        let mut groups = Vec::new();
        for first in (0..out_blocks).step_by(2) {
            let blocks = (out_blocks - first).min(2);
            groups.push(Group { first, blocks, weights: values.len() });
            for start in (0..weights.inputs).step_by(pass_inputs) {
                let inputs = start..(start + pass_inputs).min(weights.inputs);
                for tap_y in 0..weights.taps_y {
                    for tap_x in 0..weights.taps_x {
                        for input in inputs.clone() {
                            values.extend((first * lanes..(first + blocks) * lanes).map(
                                |output| {
                                    if output < weights.outputs {
                                        weights.at(output, input, tap_y, tap_x) as f32
                                    } else {
                                        0.0
                                    }
                                },
                            ));
                        }
                    }
                }
            }
        }
        let mut bias: Vec<f32> = weights.bias.iter().map(|&value| value as f32).collect();
        bias.resize(out_blocks * lanes, 0.0);
        Self {
            lanes,
            inputs: weights.inputs,
            pass_inputs,
            taps_y: weights.taps_y,
            taps_x: weights.taps_x,
            groups,
            weights: Aligned::from_slice(&values),
            bias: Aligned::from_slice(&bias),
        }
    }

    /// Groups of output blocks, the unit of parallel work beside rows.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Blocks of output channels.
    pub fn out_blocks(&self) -> usize {
        self.bias.as_slice().len() / self.lanes
    }

    /// Input passes.
    pub fn passes(&self) -> usize {
        self.inputs.div_ceil(self.pass_inputs)
    }

    /// Adds input pass `index` to row `y` of group `group`. `fresh` starts from the bias, else from
    /// what the target holds.
    ///
    /// # Safety
    /// The source must have every pixel the taps reach, the target every pixel named; no other
    /// thread may touch those of this group.
    pub unsafe fn add_pass<F: Fn(usize, usize) -> *const f32>(
        &self,
        instructions: Instructions,
        (group, index, y): (usize, usize, usize),
        source: &Source<F>,
        target: Target,
        fresh: bool,
        finish: Finish,
    ) {
        let group = self.groups[group];
        let done = index * self.pass_inputs;
        let channels = self.pass_inputs.min(self.inputs - done);
        let taps = self.taps_y * self.taps_x;
        let weights = group.weights + done * taps * group.blocks * self.lanes;
        let row = |tap: usize| {
            if tap < self.taps_y {
                (source.row)(y, tap).wrapping_add(index * source.block)
            } else {
                std::ptr::null()
            }
        };
        let out = target.rows.row(y, group.first).wrapping_add(target.first * self.lanes);
        let pass = Pass {
            rows: [row(0), row(1), row(2)],
            taps_y: self.taps_y,
            taps_x: self.taps_x,
            channels,
            channel_stride: source.channel,
            weights: self.weights.as_slice()[weights..].as_ptr(),
            bias: if fresh {
                self.bias.as_slice()[group.first * self.lanes..].as_ptr()
            } else {
                std::ptr::null()
            },
            out,
            out_pixel: target.step * self.lanes,
            out_block: target.rows.part(),
            pixels: target.pixels,
            finish,
        };
        // SAFETY: the caller's promise; weights and bias lie in their packed order.
        unsafe {
            RunPass { pass: &pass, blocks: group.blocks, step: source.step }.run(instructions);
        }
    }
}
