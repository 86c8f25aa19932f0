//! Programs, memory and copies of an enhancer; photographs that fit at once.

use std::{collections::BTreeMap, sync::Arc};

use cudarc::driver::CudaEvent;
use half::bf16;

use super::{
    super::{
        Device, Execution, Precision,
        error::{CudaError, Doing},
        gpu::Gpu,
        memory::{Buffer, Pinned},
        network::Shared,
        parameters::Weights,
        prediction::Prediction,
        staging::Staging,
        tape::Arena,
    },
    strips::{Across, Strip},
};
use crate::{CoreError, Model, ModelConfig};

/// Programs kept for shapes that come again; FiveK has 16.
pub(super) const KEPT: usize = 32;

/// A photograph on its way back.
pub(super) struct Returning {
    pub number: usize,
    pub pinned: Pinned<f32>,
    pub event: CudaEvent,
    pub size: (usize, usize),
    raw_len: usize,
}

impl Returning {
    /// Image and raw parameters, once `event` has come.
    pub fn values(&self) -> Result<(&[f32], &[f32]), CudaError> {
        let count = 3 * self.size.0 * self.size.1;
        let values = self.pinned.values()?;
        Ok((&values[..count], &values[count..count + self.raw_len]))
    }
}

/// What is asked of a photograph in strips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Y1 alone.
    Backbone,
    /// Y1 and the raw parameters.
    Parameters,
    /// Y and the raw parameters.
    Filtered,
}

/// Programs and memory.
pub(super) struct Worker {
    // Dropped before the memory their launches name.
    pub whole: BTreeMap<[usize; 3], Prediction>,
    pub strips: BTreeMap<(usize, usize), Strip>,
    /// Once a photograph came in strips.
    pub across: Option<Across>,
    pub arena: Arena,
    pub staging: Staging,
    /// Page-locked memory of the last result, for the next one.
    pub back: Option<Pinned<f32>>,
    pub config: ModelConfig,
    pub shared: Shared,
    pub device: Device,
}

impl Worker {
    /// Copies the parameters of `model` to `device`.
    pub fn new(device: &Device, model: &Model, precision: Precision) -> Result<Self, CoreError> {
        let gpu = Arc::new(Gpu::new(device, &model.config().stack())?);
        let weights = Arc::new(Weights::new(device, model)?);
        let rounded = match precision {
            Precision::Bf16 => {
                let bytes = weights.layout().trained() * size_of::<bf16>();
                Some(Arc::new(Buffer::zeros(device, "rounded weights", bytes)?))
            }
            _ => None,
        };
        let shared = Shared { gpu, weights, rounded, gradients: None, precision };
        shared.round_weights()?;
        Ok(Self {
            device: device.clone(),
            arena: Arena::new(device, "a photograph"),
            staging: Staging::new(device)?,
            back: None,
            whole: BTreeMap::new(),
            strips: BTreeMap::new(),
            across: None,
            config: model.config().clone(),
            shared,
        })
    }

    fn prediction(&mut self, shape: [usize; 3]) -> Result<&mut Prediction, CudaError> {
        if !self.whole.contains_key(&shape) {
            if self.whole.len() == KEPT {
                // All at once: which shape comes again cannot be known.
                self.device.synchronize()?;
                self.whole.clear();
            }
            let prediction = Prediction::new(&self.shared, &self.config, shape)?;
            self.whole.insert(shape, prediction);
        }
        self.whole.get_mut(&shape).ok_or(CudaError::Argument {
            what: "shape",
            found: format!("{shape:?}"),
            expected: "a recorded one".into(),
        })
    }

    /// Whether the arena can hold `bytes`.
    pub fn fits(&self, bytes: usize) -> Result<bool, CudaError> {
        let (free, _) = self.device.memory()?;
        // Room for input, output and what the driver itself takes.
        Ok(bytes <= self.arena.bytes() || bytes < (free + self.arena.bytes()) / 10 * 9)
    }

    /// Queues a photograph and its way back; `None` if it does not fit at once.
    pub fn enhance_whole(
        &mut self,
        pixels: &[f32],
        (height, width): (usize, usize),
    ) -> Result<Option<Returning>, CudaError> {
        let shape = [1, height, width];
        let bytes = self.prediction(shape)?.arena_bytes();
        if !self.fits(bytes)? {
            self.whole.remove(&shape);
            return Ok(None);
        }
        let back = self.back.take();
        self.queue(0, pixels, (height, width), back).map(Some)
    }

    /// Queues a photograph and its way back.
    pub fn queue(
        &mut self,
        number: usize,
        pixels: &[f32],
        (height, width): (usize, usize),
        pinned: Option<Pinned<f32>>,
    ) -> Result<Returning, CudaError> {
        let shape = [1, height, width];
        let raw_len = self.config.stack().raw_len();
        let input = self.prediction(shape)?.input(pixels.len())?;
        self.staging.upload(&[(pixels, input)])?;
        let count = pixels.len() + raw_len;
        let mut pinned = match pinned {
            Some(pinned) if pinned.values()?.len() >= count => pinned,
            _ => Pinned::zeros(&self.device, count)?,
        };
        let Some(prediction) = self.whole.get_mut(&shape) else {
            return Err(CudaError::Argument {
                what: "shape",
                found: format!("{shape:?}"),
                expected: "a recorded one".into(),
            });
        };
        prediction.queue(&mut self.arena, execution(height * width), pinned.values_mut()?)?;
        let event = self.device.stream().record_event(None).doing("record an event")?;
        Ok(Returning { number, pinned, event, size: (height, width), raw_len })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Queued work names the buffers. An error at the end has nobody to go to.
        let _ = self.device.synchronize();
    }
}

/// Launch overhead counts for small pictures; a graph of a large one would be used once.
fn execution(pixels: usize) -> Execution {
    const SMALL: usize = 1 << 22;
    if pixels <= SMALL { Execution::Graph } else { Execution::Eager }
}
