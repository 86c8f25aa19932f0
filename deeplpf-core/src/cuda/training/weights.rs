//! Parameters, moments and gradients to and from the GPU.

use std::collections::BTreeMap;

use candle_core::Tensor as CandleTensor;

use super::{
    super::{memory::Buffer, network::Shared},
    Moments, Result, Training,
};
use crate::Model;

impl Training {
    /// Copies the parameters into `model`, which has the same configuration. Waits for queued steps.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn store(&self, model: &Model) -> Result<()> {
        self.shared.weights.layout().store(&self.shared.weights.read()?, model)
    }

    /// Copies the parameters of `model`, which has the same configuration, to the GPU.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn load(&mut self, model: &Model) -> Result<()> {
        let flat = self.shared.weights.layout().flatten(model)?;
        self.shared.weights.buffer().write(0, &flat)?;
        Ok(self.shared.round_weights()?)
    }

    /// As [`Training::store`], of the averaged parameters; nothing where there are none.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn store_average(&self, model: &Model) -> Result<()> {
        let Some(Shared { weights, .. }) = &self.average else { return Ok(()) };
        weights.layout().store(&weights.read()?, model)
    }

    /// As [`Training::load`], of the averaged parameters; nothing where there are none.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn load_average(&mut self, model: &Model) -> Result<()> {
        let Some(Shared { weights, .. }) = &self.average else { return Ok(()) };
        Ok(weights.buffer().write(0, &weights.layout().flatten(model)?)?)
    }

    /// Adam's moments. Waits for queued steps.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn moments(&self) -> Result<Moments> {
        let layout = self.shared.weights.layout();
        let read = |buffer: &Buffer| {
            let mut flat = vec![0.0; layout.trained()];
            buffer.read(0, &mut flat)?;
            layout.tensors(&flat)
        };
        let updates = self.read_state()?.updates;
        Ok(Moments { updates, first: read(&self.moments[0])?, second: read(&self.moments[1])? })
    }

    /// Goes on from saved moments after `step` steps: with the parameters of that moment loaded, the
    /// next steps have the bits they would have had.
    ///
    /// # Errors
    /// A moment of another shape than its parameter, or the GPU refuses.
    pub fn restore(&mut self, step: u64, moments: &Moments) -> Result<()> {
        let layout = self.shared.weights.layout();
        self.moments[0].write(0, &layout.flatten_tensors(&moments.first)?)?;
        self.moments[1].write(0, &layout.flatten_tensors(&moments.second)?)?;
        while self.take_report(true)? {}
        self.step = step;
        self.sent = self.said;
        Ok(self.write_state(moments.updates)?)
    }

    /// Gradients of the last step by parameter name. Waits for queued steps.
    ///
    /// # Errors
    /// The GPU refuses.
    pub fn gradients(&self) -> Result<BTreeMap<String, CandleTensor>> {
        let layout = self.shared.weights.layout();
        let mut flat = vec![0.0; layout.trained()];
        if let Some(gradients) = &self.shared.gradients {
            gradients.read(0, &mut flat)?;
        }
        layout.tensors(&flat)
    }
}
