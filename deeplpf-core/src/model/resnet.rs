//! A residual network at the photograph's own size (He et al., CVPR 2016, arXiv 1512.03385), up to its
//! last feature map.
//!
//! With L for LeakyReLU and * for 3x3 convolutions with reflection padding and bias, of w channels each:
//!
//! ```text
//! h_0 = L(W * x)
//! h_k = h_(k-1) + V_k * L(U_k * h_(k-1)),   k = 1..B
//! ```
//!
//! No batch normalisation, and no activation after the sum: both take from a picture the range of its
//! values (Lim et al., EDSR, CVPR Workshops 2017, arXiv 1707.02921). As in the residual network of DPED
//! (Ignatov et al., ICCV 2017, arXiv 1704.02470) nothing is pooled, so that all detail stays; what an
//! area needs is the heads' to see, which look at the whole picture.

use candle_core::Tensor;

use super::{
    Mode,
    layers::{Convolution, REFLECT_LEAKY, REFLECT_LINEAR},
};
use crate::{ModelConfig, Result, parameters::Builder};

/// The convolution from the input and the blocks.
#[derive(Clone, Debug)]
pub(super) struct ResNet {
    first: Convolution,
    blocks: Vec<[Convolution; 2]>,
}

impl ResNet {
    pub fn new(config: &ModelConfig, builder: &mut Builder<'_>) -> Result<Self> {
        let width = config.block_width;
        let inputs = (config.input.channels(), width);
        let first = Convolution::new(builder, "conv_first", inputs, 3, REFLECT_LEAKY)?;
        let block = |number: usize| -> Result<[Convolution; 2]> {
            let mut block = builder.pp(&format!("block{number}"));
            Ok([
                Convolution::new(&mut block, "conv1", (width, width), 3, REFLECT_LEAKY)?,
                Convolution::new(&mut block, "conv2", (width, width), 3, REFLECT_LINEAR)?,
            ])
        };
        Ok(Self { first, blocks: (1..=config.blocks).map(block).collect::<Result<_>>()? })
    }

    /// h_B: (N, w, H, W).
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut h = self.first.forward(x, mode)?;
        for [inner, outer] in &self.blocks {
            h = (outer.forward(&inner.forward(&h, mode)?, mode)? + h)?;
        }
        Ok(h)
    }
}
