//! Weights in the order the inner loop reads them.

use std::ops::Range;

use crate::{ops::Element, simd::Instructions};

/// Weights of outputs in blocks of 8 or 4, offset by offset: [block][offset][output in block].
pub(super) struct Packed<T> {
    values: Vec<T>,
    blocks: Vec<Block>,
    offsets: usize,
}

/// The outputs that are computed together.
pub(super) struct Block {
    /// Outputs of the block.
    pub outputs: Range<usize>,
    /// Outputs there is room for: 8 or 4.
    pub width: usize,
    start: usize,
}

impl<T: Element> Packed<T> {
    /// Weights `weight(output, offset)`.
    pub fn new(
        instructions: Instructions,
        outputs: usize,
        offsets: usize,
        weight: impl Fn(usize, usize) -> T,
    ) -> Self {
        let (mut values, mut blocks) = (Vec::new(), Vec::new());
        let mut first = 0;
        while first < outputs {
            // 8 outputs times 3 vectors of columns fill 32 registers, 4 times 3 fill 16.
            let width =
                if instructions.has_many_registers() && outputs - first > 4 { 8 } else { 4 };
            let end = (first + width).min(outputs);
            let start = values.len();
            values.resize(start + width * offsets, T::zero());
            for (k, to) in values[start..].chunks_exact_mut(width).enumerate() {
                for (to, output) in to.iter_mut().zip(first..end) {
                    *to = weight(output, k);
                }
            }
            blocks.push(Block { outputs: first..end, width, start });
            first = end;
        }
        Self { values, blocks, offsets }
    }

    /// Elements of all blocks.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The blocks with their weights.
    pub fn blocks(&self) -> impl Iterator<Item = (&Block, &[T])> {
        self.blocks.iter().map(|block| {
            (block, &self.values[block.start..block.start + block.width * self.offsets])
        })
    }
}
