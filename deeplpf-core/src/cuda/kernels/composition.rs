//! The weights of the heads' first convolutions, composed with the linear layers before them.

use super::{
    heads::{MOST_HEADS, some_heads},
    *,
};
use crate::cuda::span::Activation;

pub(super) const SOURCE: module::Source = module::Source {
    name: "composition.cu",
    text: include_str!("composition.cu"),
    kernels: &[
        "compose_weights_f32",
        "compose_weights_bf16",
        "compose_weights_backward_f32",
        "compose_weights_backward_bf16",
        "compose_levels_backward_f32",
        "compose_levels_backward_bf16",
        "compose_gate_backward",
    ],
};

/// Channels of an image.
const IMAGE: usize = 3;
/// 3x3 patches of the three channels of the U-Net's image, and one for the bias.
const PATCHES: usize = 9 * IMAGE + 1;
/// Levels of the encoder that are wired.
const LEVELS: usize = 3;

/// The first convolution of a head, as the model stores it and as it is computed: on the resized
/// patches of the U-Net's image (28 channels), the resized levels of the encoder that are wired (W
/// channels) and, for heads that see another image than Y1, that image (3 more), instead of on the
/// features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadWeights<T> {
    /// Its output channels O.
    pub outputs: usize,
    /// (O, F, 3, 3): the features first, the image last.
    pub weight: Span<f32>,
    /// Gradient of `weight`; needed on the way back only.
    pub weight_gradient: Option<Span<f32>>,
    /// Whether the image is another than Y1.
    pub other_image: bool,
    /// (O, 28 + W or 31 + W, 3, 3): written on the way there; on the way back its gradient, read.
    pub composed: Span<T>,
}

/// The 1x1 projection of a level of the encoder to the heads' F channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Projection {
    /// Channels C of the level.
    pub width: usize,
    /// (F, C): rows in the order of a head's input channels.
    pub weight: Span<f32>,
    /// (F).
    pub bias: Span<f32>,
    /// Gradients of both; needed on the way back only.
    pub gradient: Option<[Span<f32>; 2]>,
}

/// The fix `wiring`: what the heads read is the features plus `gate` times the sum of the projections
/// of the encoder's finest levels, resized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wiring {
    /// The finest first.
    pub levels: [Projection; LEVELS],
    /// One number.
    pub gate: Span<f32>,
    /// Its gradient; needed on the way back only.
    pub gate_gradient: Option<Span<f32>>,
}

impl Wiring {
    /// Channels of all levels.
    pub fn width(&self) -> usize {
        self.levels.iter().map(|level| level.width).sum()
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawHeadWeights {
    weight: u64,
    weight_gradient: u64,
    composed: u64,
    outputs: u32,
    other_image: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawProjection {
    weight: u64,
    bias: u64,
    weight_gradient: u64,
    bias_gradient: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Composition {
    heads: [RawHeadWeights; MOST_HEADS],
    levels: [RawProjection; LEVELS],
    final_weight: u64,
    final_bias: u64,
    final_weight_gradient: u64,
    final_bias_gradient: u64,
    gate: u64,
    gate_gradient: u64,
    widths: [u32; LEVELS],
    features: u32,
    head_count: u32,
    padding: u32,
}

// SAFETY: numbers, addresses and such structures, as `Composition` in composition.cu.
unsafe impl Argument for Composition {}

impl Kernels {
    /// The composed weights of heads' first convolutions: for patch d, the sum over the features c of
    /// weight[o, c, i, j] rows[c, d], where rows (F, 28) is the final convolution's weight (F, 3, 3, 3)
    /// with its bias as the last column, Y1's rows first; for channel d of a wired level, the sum over
    /// all F channels of weight[o, c, i, j] projection[c, d] times the gate, the projections' biases
    /// with the column of the bias; the weights of another image unchanged.
    pub fn compose_weights<T: Activation>(
        &self,
        stream: &CudaStream,
        features: usize,
        final_layer: [Span<f32>; 2],
        wiring: Option<&Wiring>,
        heads: &[HeadWeights<T>],
    ) -> Result<(), CudaError> {
        let argument = argument(features, (final_layer, None), wiring, heads)?;
        let most = heads.iter().map(|head| head.outputs).max().unwrap_or(0);
        let kernel = T::kernel(["compose_weights_f32", "compose_weights_bf16"]);
        let inputs = PATCHES + wiring.map_or(0, Wiring::width) + IMAGE;
        let grid = [blocks(most * inputs * 9, 256), heads.len() as u32, 1];
        self.composition.launch(stream, kernel, grid, [256, 1], argument)
    }

    /// The way back of [`Self::compose_weights`]: every head's `weight_gradient` and the gradients of
    /// `wiring` are overwritten; of the final convolution's gradients (weight, bias), the first three
    /// outputs' (those of Y1) are added to, the others' overwritten.
    pub fn compose_weights_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        features: usize,
        (final_layer, final_gradient): ([Span<f32>; 2], [Span<f32>; 2]),
        wiring: Option<&Wiring>,
        heads: &[HeadWeights<T>],
    ) -> Result<(), CudaError> {
        let argument = argument(features, (final_layer, Some(final_gradient)), wiring, heads)?;
        let most = heads.iter().map(|head| head.outputs).max().unwrap_or(0);
        let kernel = T::kernel(["compose_weights_backward_f32", "compose_weights_backward_bf16"]);
        // One block for each feature's row, the others for the weights.
        let weights = blocks(most * features * 9, 256) * heads.len() as u32;
        let launch =
            |kernel, grid| self.composition.launch(stream, kernel, grid, [256, 1], argument);
        launch(kernel, [features as u32 + weights, 1, 1])?;
        let Some(wiring) = wiring else { return Ok(()) };
        let kernel = T::kernel(["compose_levels_backward_f32", "compose_levels_backward_bf16"]);
        // One column more for the bias.
        launch(kernel, [features as u32, blocks(wiring.width() + 1, 32), 1])?;
        launch("compose_gate_backward", [1, 1, 1])
    }
}

fn argument<T>(
    features: usize,
    ([final_weight, final_bias], gradient): ([Span<f32>; 2], Option<[Span<f32>; 2]>),
    wiring: Option<&Wiring>,
    heads: &[HeadWeights<T>],
) -> Result<Composition, CudaError> {
    some_heads(heads.len())?;
    require(
        features > IMAGE,
        "features",
        || features.to_string(),
        || format!("more than {IMAGE}"),
    )?;
    for [weight, bias] in [Some([final_weight, final_bias]), gradient].into_iter().flatten() {
        enough("final convolution", weight, features * (PATCHES - 1))?;
        enough("final convolution", bias, features)?;
    }
    let needed = |what, there: bool| {
        let found = || "none".into();
        require(gradient.is_none() || there, what, found, || "memory for it".into())
    };
    let none =
        RawHeadWeights { weight: 0, weight_gradient: 0, composed: 0, outputs: 0, other_image: 0 };
    let mut raw = [none; MOST_HEADS];
    for (raw, head) in raw.iter_mut().zip(heads) {
        let wired = wiring.map_or(0, Wiring::width);
        let inputs = PATCHES + wired + if head.other_image { IMAGE } else { 0 };
        enough("weights of a head", head.weight, head.outputs * features * 9)?;
        enough("composed weights", head.composed, head.outputs * inputs * 9)?;
        if let Some(gradient) = head.weight_gradient {
            enough("gradient of a head's weights", gradient, head.outputs * features * 9)?;
        }
        needed("gradient of a head's weights", head.weight_gradient.is_some())?;
        *raw = RawHeadWeights {
            weight: head.weight.address(),
            weight_gradient: head.weight_gradient.map_or(0, Span::address),
            composed: head.composed.address(),
            outputs: head.outputs as u32,
            other_image: head.other_image.into(),
        };
    }
    let none = RawProjection { weight: 0, bias: 0, weight_gradient: 0, bias_gradient: 0 };
    let (mut levels, mut widths) = ([none; LEVELS], [0; LEVELS]);
    for (number, level) in wiring.iter().flat_map(|wiring| wiring.levels.iter().enumerate()) {
        let of_parameters = [[level.weight, level.bias]].into_iter().chain(level.gradient);
        for [weight, bias] in of_parameters {
            enough("projection of a level", weight, features * level.width)?;
            enough("projection of a level", bias, features)?;
        }
        needed("gradient of a projection", level.gradient.is_some())?;
        let [weight_gradient, bias_gradient] =
            level.gradient.map_or([0; 2], |gradient| gradient.map(Span::address));
        levels[number] = RawProjection {
            weight: level.weight.address(),
            bias: level.bias.address(),
            weight_gradient,
            bias_gradient,
        };
        widths[number] = level.width as u32;
    }
    if let Some(wiring) = wiring {
        enough("gate of the wiring", wiring.gate, 1)?;
        needed("gradient of the wiring's gate", wiring.gate_gradient.is_some())?;
    }
    let [weight_gradient, bias_gradient] = gradient.map_or([0; 2], |g| g.map(Span::address));
    Ok(Composition {
        heads: raw,
        levels,
        final_weight: final_weight.address(),
        final_bias: final_bias.address(),
        final_weight_gradient: weight_gradient,
        final_bias_gradient: bias_gradient,
        gate: wiring.map_or(0, |wiring| wiring.gate.address()),
        gate_gradient: wiring
            .and_then(|wiring| wiring.gate_gradient)
            .map_or(0, |gradient| gradient.address()),
        widths,
        features: features as u32,
        head_count: heads.len() as u32,
        padding: 0,
    })
}
