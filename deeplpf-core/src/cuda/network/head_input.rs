//! What the parameter heads read, at their size.

use super::{
    super::{
        error::CudaError,
        kernels::{Dropout, Projection, Wiring},
        span::Span,
        tape::Tensor,
    },
    heads::Kind,
    maps::Maps,
    recorder::{Number, Recorder},
};
use crate::{Fix, ModelConfig};

/// Channels of the patches: 3x3 of three channels and one for the bias.
const PATCHES: usize = 28;

/// Levels of the encoder that the fix `wiring` joins to the heads.
const LEVELS: usize = 3;

/// What all heads share.
pub(in super::super) struct HeadInput<T> {
    /// [patches, levels, another image], resized.
    pub(super) maps: Maps<T>,
    /// Channels of the levels; zeros without the fix `wiring`.
    widths: [usize; LEVELS],
    pub(super) features: usize,
    pub(super) head_width: usize,
    /// Numbers of all filters of one image.
    raw_len: usize,
    /// (N, `raw_len`).
    pub(super) raw: Tensor,
    /// Of training.
    pub(super) dropout: Option<Dropout>,
}

impl<T> Clone for HeadInput<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for HeadInput<T> {}

/// Channels of the levels that are wired, zeros without the fix.
fn widths(config: &ModelConfig) -> [usize; LEVELS] {
    let [first, second, third, ..] = config.widths;
    if config.fixes.contains(Fix::Wiring) { [first, second, third] } else { [0; LEVELS] }
}

impl<T: Number> HeadInput<T> {
    /// Bytes of the maps of `batch` images.
    pub fn bytes(config: &ModelConfig, batch: usize) -> usize {
        let channels = PATCHES + widths(config).iter().sum::<usize>() + 3;
        batch * channels * config.head_size * config.head_size * size_of::<T>()
    }

    /// In the arena, or in `memory` of [`HeadInput::bytes`] that outlives the program.
    pub fn new(
        recorder: &mut Recorder,
        config: &ModelConfig,
        batch: usize,
        dropout: Option<Dropout>,
        memory: Option<u64>,
    ) -> Self {
        let (side, bytes) = (config.head_size, Self::bytes(config, batch));
        let channels = bytes / (batch * side * side * size_of::<T>());
        let raw_len = config.stack().raw_len();
        let tensor = match memory {
            Some(address) => recorder.tape.fixed(address, bytes),
            None => recorder.tape.tensor(bytes),
        };
        Self {
            maps: Maps::of(tensor, [batch, channels, side, side], 0),
            widths: widths(config),
            features: config.features,
            head_width: config.head_width,
            raw_len,
            raw: recorder.tape.tensor(batch * raw_len * size_of::<f32>()),
            dropout: dropout.filter(|dropout| dropout.probability > 0.0),
        }
    }

    /// Numbers of all filters of one image.
    pub(super) fn raw_len(&self) -> usize {
        self.raw_len
    }

    /// Channels of all levels.
    fn wired(&self) -> usize {
        self.widths.iter().sum()
    }

    /// The patches, of `maps` or their gradient.
    pub(super) fn patches(&self, maps: Maps<T>) -> Maps<T> {
        maps.channels(0, PATCHES)
    }

    /// The levels, the finest first, of `maps` or their gradient; none without the fix `wiring`.
    pub(super) fn levels(&self, maps: Maps<T>) -> Vec<Maps<T>> {
        let mut first = PATCHES;
        let wired = self.widths.iter().filter(|width| **width > 0);
        let level = wired.map(|&width| {
            first += width;
            maps.channels(first - width, width)
        });
        level.collect()
    }

    /// Where the encoder's levels go.
    pub fn encoder(&self) -> Vec<Maps<T>> {
        self.levels(self.maps)
    }

    /// The other image, of `maps` or their gradient.
    pub(super) fn image(&self, maps: Maps<T>) -> Maps<T> {
        maps.channels(PATCHES + self.wired(), 3)
    }

    /// The channels a head of that kind sees.
    pub(super) fn seen(&self, kind: Kind) -> Maps<T> {
        let other = if kind.sees_other_image() { 3 } else { 0 };
        self.maps.channels(0, PATCHES + self.wired() + other)
    }

    /// The parameters of the fix `wiring`, if it is on.
    pub(super) fn wiring(&self, recorder: &Recorder) -> Result<Option<Wiring>, CudaError> {
        if self.wired() == 0 {
            return Ok(None);
        }
        let parts = |number: usize| {
            ["weight", "bias"].map(|part| format!("backbonenet.unet.conv{}.{part}", number + 1))
        };
        let mut levels = Vec::new();
        for (number, width) in self.widths.into_iter().enumerate() {
            let [weight, bias] = &parts(number);
            let gradient = [recorder.gradient_span(weight)?, recorder.gradient_span(bias)?];
            levels.push(Projection {
                width,
                weight: recorder.span(weight)?,
                bias: recorder.span(bias)?,
                gradient: gradient[0].zip(gradient[1]).map(<[Span<f32>; 2]>::from),
            });
        }
        let gate = "backbonenet.unet.wiring_gate";
        Ok(Some(Wiring {
            levels: [levels[0], levels[1], levels[2]],
            gate: recorder.span(gate)?,
            gate_gradient: recorder.gradient_span(gate)?,
        }))
    }
}
