//! What follows the last convolution of the parameter heads.

use super::*;
use crate::{cuda::span::Activation, random::Purpose};

pub(super) const SOURCE: module::Source = module::Source {
    name: "heads.cu",
    text: include_str!("heads.cu"),
    kernels: &[
        "head_outputs_f32",
        "head_outputs_bf16",
        "head_outputs_backward_f32",
        "head_outputs_backward_bf16",
        "gate_penalty",
    ],
};

/// Heads one launch takes.
pub(super) const MOST_HEADS: usize = 4;
/// Channels a head's last convolution may have.
const MOST_CHANNELS: usize = 1024;
/// Dropout before the heads' linear layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// Of being zeroed.
    pub probability: f64,
    /// Of the run.
    pub seed: u64,
    /// Where the number of the step is read.
    pub state: Span<StepState>,
}

/// A linear layer at the end of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    /// (outputs, C).
    pub weight: Span<f32>,
    /// (outputs).
    pub bias: Span<f32>,
    /// Numbers it yields.
    pub outputs: usize,
    /// Where they lie in an image's raw parameters.
    pub first: usize,
}

/// What follows a head's last convolution: bias, LeakyReLU, global mean, dropout, linear layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadOutput<T> {
    /// The convolution's raw output (N, C, h, w), no border, C at most 1024.
    pub values: Planes<T>,
    /// Its bias.
    pub bias: Span<f32>,
    /// N x C numbers after mean and dropout: written on the way there, read on the way back.
    pub pooled: Span<f32>,
    /// Which dropout mask: 0 cubic, 1 graduated, 2 elliptical, 3 colour.
    pub stream: u64,
    /// The filters' numbers.
    pub linear: Linear,
    /// The gates' numbers.
    pub gates: Option<Linear>,
}

/// Where the gradients of a [`HeadOutput`] go; all are overwritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadOutputGradient<T> {
    /// Of the convolution's raw output; may be the same memory.
    pub values: Planes<T>,
    /// Of its bias.
    pub bias: Span<f32>,
    /// Of the linear layer's weight and bias.
    pub linear: [Span<f32>; 2],
    /// Of the gates' layer.
    pub gates: Option<[Span<f32>; 2]>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawLinear {
    weight: u64,
    bias: u64,
    weight_gradient: u64,
    bias_gradient: u64,
    outputs: u32,
    first: u32,
}

impl RawLinear {
    const NONE: Self =
        Self { weight: 0, bias: 0, weight_gradient: 0, bias_gradient: 0, outputs: 0, first: 0 };

    fn new(
        layer: &Linear,
        gradient: Option<[Span<f32>; 2]>,
        channels: usize,
        raw_len: usize,
    ) -> Result<Self, CudaError> {
        enough("weight of a linear layer", layer.weight, layer.outputs * channels)?;
        enough("bias of a linear layer", layer.bias, layer.outputs)?;
        require(
            layer.first + layer.outputs <= raw_len,
            "outputs of a head",
            || format!("{} from number {} on", layer.outputs, layer.first),
            || format!("some of {raw_len}"),
        )?;
        if let Some([weight, bias]) = gradient {
            enough("gradient of a linear layer", weight, layer.outputs * channels)?;
            enough("gradient of a linear layer", bias, layer.outputs)?;
        }
        let [weight_gradient, bias_gradient] =
            gradient.map_or([0; 2], |gradient| gradient.map(Span::address));
        Ok(Self {
            weight: layer.weight.address(),
            bias: layer.bias.address(),
            weight_gradient,
            bias_gradient,
            outputs: layer.outputs as u32,
            first: layer.first as u32,
        })
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawHead {
    values: RawPlanes,
    values_gradient: RawPlanes,
    linear: RawLinear,
    gates: RawLinear,
    bias: u64,
    bias_gradient: u64,
    pooled: u64,
    stream: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct HeadOutputs {
    heads: [RawHead; MOST_HEADS],
    raw: u64,
    state: u64,
    seed: u64,
    purpose: u64,
    probability: f64,
    raw_len: u32,
    slope: f32,
}

// SAFETY: numbers, addresses and such structures, as `HeadOutputs` in heads.cu.
unsafe impl Argument for HeadOutputs {}

#[repr(C)]
#[derive(Clone, Copy)]
struct GatePenalty {
    raw: u64,
    raw_gradient: u64,
    total: u64,
    batch: u32,
    raw_len: u32,
    gates: u32,
    weight: f32,
}

// SAFETY: numbers and addresses, as `GatePenalty` in heads.cu.
unsafe impl Argument for GatePenalty {}

/// That there are some heads and not too many.
pub(super) fn some_heads(count: usize) -> Result<(), CudaError> {
    require(
        (1..=MOST_HEADS).contains(&count),
        "heads of one launch",
        || count.to_string(),
        || format!("1 to {MOST_HEADS}"),
    )
}

impl Kernels {
    /// Raw parameters of all images, (N, `raw_len`), from the last convolutions of `heads`; what no
    /// head writes stays. Without `dropout` for evaluation. The masks are those of the CPU for the
    /// same seed and step.
    pub fn head_outputs<T: Activation>(
        &self,
        stream: &CudaStream,
        heads: &[HeadOutput<T>],
        dropout: Option<Dropout>,
        raw: Span<f32>,
        raw_len: usize,
    ) -> Result<(), CudaError> {
        let raw_heads = heads.iter().map(|head| raw_head(head, None, raw_len));
        let (argument, batch) = outputs_argument(heads, raw_heads, dropout, raw, raw_len)?;
        let kernel = T::kernel(["head_outputs_f32", "head_outputs_bf16"]);
        let grid = [batch as u32, heads.len() as u32, 1];
        self.heads.launch(stream, kernel, grid, [256, 1], argument)
    }

    /// The way back of [`Self::head_outputs`] from `raw_gradient` (N, `raw_len`), with the dropout of
    /// the same step.
    pub fn head_outputs_backward<T: Activation>(
        &self,
        stream: &CudaStream,
        heads: &[(HeadOutput<T>, HeadOutputGradient<T>)],
        dropout: Option<Dropout>,
        raw_gradient: Span<f32>,
        raw_len: usize,
    ) -> Result<(), CudaError> {
        let outputs: Vec<HeadOutput<T>> = heads.iter().map(|(head, _)| *head).collect();
        let raw_heads =
            heads.iter().map(|(head, gradient)| raw_head(head, Some(gradient), raw_len));
        let (argument, _) = outputs_argument(&outputs, raw_heads, dropout, raw_gradient, raw_len)?;
        let most = outputs.iter().map(|head| head.values.channels).max().unwrap_or(0);
        let kernel = T::kernel(["head_outputs_backward_f32", "head_outputs_backward_bf16"]);
        self.heads.launch(stream, kernel, [most as u32, heads.len() as u32, 1], [128, 1], argument)
    }

    /// Adds `weight` times the mean gate to the total of `terms`, and its gradient to `raw_gradient`.
    /// `raw` and that are (N, `raw_len`), the last `gates` numbers of each image the raw gates, a gate
    /// 1 + tanh of its own.
    pub fn gate_penalty(
        &self,
        stream: &CudaStream,
        [raw, raw_gradient]: [Span<f32>; 2],
        (raw_len, gates): (usize, usize),
        weight: f64,
        terms: Span<LossTerms>,
    ) -> Result<(), CudaError> {
        let batch = raw.len() / raw_len.max(1);
        enough("raw parameters", raw, batch * raw_len)?;
        enough("gradient of the raw parameters", raw_gradient, batch * raw_len)?;
        enough("terms of the loss", terms, 1)?;
        require(
            (1..=raw_len).contains(&gates),
            "gates",
            || gates.to_string(),
            || format!("1 to {raw_len}"),
        )?;
        let argument = GatePenalty {
            raw: raw.address(),
            raw_gradient: raw_gradient.address(),
            total: terms.address() + std::mem::offset_of!(LossTerms, total) as u64,
            batch: batch as u32,
            raw_len: raw_len as u32,
            gates: gates as u32,
            weight: weight as f32,
        };
        self.heads.launch(stream, "gate_penalty", [1, 1, 1], [256, 1], argument)
    }
}

fn raw_head<T>(
    head: &HeadOutput<T>,
    gradient: Option<&HeadOutputGradient<T>>,
    raw_len: usize,
) -> Result<RawHead, CudaError> {
    let values = head.values;
    let channels = values.channels;
    require(
        values.border == 0 && channels <= MOST_CHANNELS,
        "last convolution of a head",
        || format!("{channels} channels with a border of {}", values.border),
        || format!("at most {MOST_CHANNELS} channels without border"),
    )?;
    enough("bias", head.bias, channels)?;
    enough("pooled features", head.pooled, values.batch * channels)?;
    if let Some(gradient) = gradient {
        same_shape("gradient of a head", gradient.values.shape(), values.shape())?;
        same_shape("border", [gradient.values.border, 0, 0, 0], [0; 4])?;
        enough("gradient of a bias", gradient.bias, channels)?;
    }
    let gates_gradient = gradient.and_then(|gradient| gradient.gates);
    require(
        gradient.is_none() || gates_gradient.is_some() == head.gates.is_some(),
        "gradient of the gates",
        || format!("{}", gates_gradient.is_some()),
        || format!("{}", head.gates.is_some()),
    )?;
    Ok(RawHead {
        values: values.into(),
        values_gradient: gradient.map_or(RawPlanes::NONE, |g| g.values.into()),
        linear: RawLinear::new(&head.linear, gradient.map(|g| g.linear), channels, raw_len)?,
        gates: match &head.gates {
            Some(gates) => RawLinear::new(gates, gates_gradient, channels, raw_len)?,
            None => RawLinear::NONE,
        },
        bias: head.bias.address(),
        bias_gradient: gradient.map_or(0, |g| g.bias.address()),
        pooled: head.pooled.address(),
        stream: head.stream,
    })
}

fn outputs_argument<T>(
    heads: &[HeadOutput<T>],
    raw_heads: impl Iterator<Item = Result<RawHead, CudaError>>,
    dropout: Option<Dropout>,
    raw: Span<f32>,
    raw_len: usize,
) -> Result<(HeadOutputs, usize), CudaError> {
    some_heads(heads.len())?;
    let collected = raw_heads.collect::<Result<Vec<_>, _>>()?;
    let mut all = [collected[0]; MOST_HEADS];
    all[..collected.len()].copy_from_slice(&collected);
    let batch = heads[0].values.batch;
    require(
        heads.iter().all(|head| head.values.batch == batch),
        "batch of the heads",
        || "several".into(),
        || format!("{batch}"),
    )?;
    enough("raw parameters", raw, batch * raw_len)?;
    if let Some(dropout) = &dropout {
        enough("state of the step", dropout.state, 1)?;
    }
    let argument = HeadOutputs {
        heads: all,
        raw: raw.address(),
        state: dropout.map_or(0, |dropout| dropout.state.address()),
        seed: dropout.map_or(0, |dropout| dropout.seed),
        purpose: Purpose::Dropout as u64,
        probability: dropout.map_or(0.0, |dropout| dropout.probability),
        raw_len: raw_len as u32,
        slope: layers::Slope::Leaky.number(),
    };
    Ok((argument, batch))
}
