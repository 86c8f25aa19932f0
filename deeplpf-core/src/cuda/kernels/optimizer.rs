//! Adam over one flat range, and what a step keeps in GPU memory.

use super::*;

pub(super) const SOURCE: module::Source = module::Source {
    name: "optimizer.cu",
    text: include_str!("optimizer.cu"),
    kernels: &["check_finite", "adam"],
};

/// What changes from step to step; lies in GPU memory so that a replayed graph reads and advances it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StepState {
    /// Number of the step, from 0: which dropout masks.
    pub step: u64,
    /// Updates Adam has made.
    pub updates: u64,
    /// Steps whose gradient was not finite: parameters and moments were left alone.
    pub skipped: u64,
    /// Not zero where [`Kernels::check_finite`] found a number that is not finite in this step.
    pub not_finite: u64,
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CheckFinite {
    gradients: u64,
    count: u64,
    loss: u64,
    loss_count: u64,
    state: u64,
}

// SAFETY: numbers and addresses, as `CheckFinite` in optimizer.cu.
unsafe impl Argument for CheckFinite {}

#[repr(C)]
#[derive(Clone, Copy)]
struct Adam {
    parameters: u64,
    gradients: u64,
    first: u64,
    second: u64,
    rounded: u64,
    count: u64,
    state: u64,
    counters: u64,
}

// SAFETY: as above.
unsafe impl Argument for Adam {}

impl Kernels {
    /// Sets `state`'s `not_finite` if a gradient or a part of the loss is not a finite number.
    pub fn check_finite(
        &self,
        stream: &CudaStream,
        gradients: Span<f32>,
        loss: Span<LossTerms>,
        state: Span<StepState>,
    ) -> Result<(), CudaError> {
        enough("state of the step", state, 1)?;
        let argument = CheckFinite {
            gradients: gradients.address(),
            count: gradients.len() as u64,
            loss: loss.address(),
            loss_count: loss.cast::<f32>().len() as u64,
            state: state.address(),
        };
        let grid = [blocks(gradients.len().max(1), 4096), 1, 1];
        self.optimizer.launch(stream, "check_finite", grid, [256, 1], argument)
    }

    /// One update of all parameters with the numbers in `state`, and on to the next step:
    /// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
    /// p <- p - rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps). Where `not_finite` is set
    /// nothing but the step's number and `skipped` changes, and it is cleared.
    ///
    /// All ranges have one length; `rounded` gets the new parameters as bfloat16.
    #[allow(clippy::too_many_arguments)]
    pub fn adam(
        &self,
        stream: &CudaStream,
        parameters: Span<f32>,
        gradients: Span<f32>,
        [first, second]: [Span<f32>; 2],
        rounded: Option<Span<half::bf16>>,
        state: Span<StepState>,
        scratch: Scratch,
    ) -> Result<(), CudaError> {
        scratch.check()?;
        enough("state of the step", state, 1)?;
        let count = parameters.len();
        for (what, span) in [
            ("gradients of Adam", gradients),
            ("first moments of Adam", first),
            ("second moments of Adam", second),
        ] {
            require(
                span.len() == count,
                what,
                || span.len().to_string(),
                || format!("{count}, one for each parameter"),
            )?;
        }
        if let Some(rounded) = rounded {
            enough("rounded parameters", rounded, count)?;
        }
        let argument = Adam {
            parameters: parameters.address(),
            gradients: gradients.address(),
            first: first.address(),
            second: second.address(),
            rounded: rounded.map_or(0, Span::address),
            count: count as u64,
            state: state.address(),
            counters: scratch.counters.address(),
        };
        let grid = [blocks(count.max(1), 1024), 1, 1];
        self.optimizer.launch(stream, "adam", grid, [256, 1], argument)
    }
}
