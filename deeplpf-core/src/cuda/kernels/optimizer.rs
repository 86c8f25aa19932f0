//! Adam over one flat range, and what a step keeps in GPU memory.

use super::*;

pub(super) const SOURCE: module::Source = module::Source {
    name: "optimizer.cu",
    text: include_str!("optimizer.cu"),
    kernels: &["weigh", "check_finite", "adam"],
};

/// What changes from step to step; lies in GPU memory so that a replayed graph reads and advances it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepState {
    /// Number of the step, from 0.
    pub step: u64,
    /// Batches of the step, on all ranks together.
    pub batches: u64,
    /// Which of them is computed here, from 0. Dropout masks are drawn for `step * batches + place`.
    pub place: u64,
    /// Step size.
    pub learning_rate: f64,
    /// Of the step's images those of the batch computed here.
    pub share: f64,
    /// Updates Adam has made.
    pub updates: u64,
    /// Steps whose gradient was not finite: parameters and moments were left alone.
    pub skipped: u64,
    /// Not zero where [`Kernels::check_finite`] found a number that is not finite in this step, or a
    /// loss above `max_loss`.
    pub not_finite: u64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Most that the L2 norm of the gradient may be; 0: no limit.
    pub clip_norm: f64,
    /// What the gradient is multiplied with, where there is a limit.
    pub scale: f64,
    /// Times the step size for the backbone; 0: frozen.
    pub backbone_rate: f64,
    /// Times the step size for the heads; 0: frozen.
    pub heads_rate: f64,
    /// Largest loss that changes anything.
    pub max_loss: f64,
    /// Decay of the moving average of the parameters, where there is one.
    pub average: f64,
}

impl Default for StepState {
    /// No limits, one group, one batch, nothing done.
    fn default() -> Self {
        Self {
            step: 0,
            batches: 1,
            place: 0,
            share: 1.0,
            updates: 0,
            skipped: 0,
            not_finite: 0,
            learning_rate: 0.0,
            beta1: 0.0,
            beta2: 0.0,
            epsilon: 0.0,
            clip_norm: 0.0,
            scale: 1.0,
            backbone_rate: 1.0,
            heads_rate: 1.0,
            max_loss: f64::INFINITY,
            average: 0.0,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Weigh {
    gradients: u64,
    count: u64,
    loss: u64,
    loss_count: u64,
    state: u64,
}

// SAFETY: numbers and addresses, as `Weigh` in optimizer.cu.
unsafe impl Argument for Weigh {}

#[repr(C)]
#[derive(Clone, Copy)]
struct CheckFinite {
    gradients: u64,
    count: u64,
    heads_first: u64,
    loss: u64,
    loss_count: u64,
    state: u64,
    sums: u64,
    counters: u64,
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
    average: u64,
    count: u64,
    heads_first: u64,
    state: u64,
    counters: u64,
}

// SAFETY: as above.
unsafe impl Argument for Adam {}

impl Kernels {
    /// Gradients and loss times `share`: what is added over all ranks is then the mean over the images
    /// of the step.
    pub fn weigh(
        &self,
        stream: &CudaStream,
        gradients: Span<f32>,
        loss: Span<LossTerms>,
        state: Span<StepState>,
    ) -> Result<(), CudaError> {
        enough("state of the step", state, 1)?;
        let argument = Weigh {
            gradients: gradients.address(),
            count: gradients.len() as u64,
            loss: loss.address(),
            loss_count: loss.cast::<f32>().len() as u64,
            state: state.address(),
        };
        let grid = [blocks(gradients.len().max(1), 1024), 1, 1];
        self.optimizer.launch(stream, "weigh", grid, [256, 1], argument)
    }

    /// Sets `state`'s `not_finite` if a gradient or a part of the loss is not a finite number or the
    /// loss above `max_loss`, and its `scale` so that the gradient's norm is at most `clip_norm`.
    /// `heads_first`: the first number of the heads' group, which the backbone's lies before.
    pub fn check_finite(
        &self,
        stream: &CudaStream,
        gradients: Span<f32>,
        heads_first: usize,
        loss: Span<LossTerms>,
        state: Span<StepState>,
        scratch: Scratch,
    ) -> Result<(), CudaError> {
        scratch.check()?;
        enough("state of the step", state, 1)?;
        let grid = [blocks(gradients.len().max(1), 4096), 1, 1];
        enough("sums of the gradient", scratch.sums.cast::<f64>(), grid[0] as usize)?;
        let argument = CheckFinite {
            gradients: gradients.address(),
            count: gradients.len() as u64,
            heads_first: heads_first as u64,
            loss: loss.address(),
            loss_count: loss.cast::<f32>().len() as u64,
            state: state.address(),
            sums: scratch.sums.address(),
            counters: scratch.counters.address(),
        };
        self.optimizer.launch(stream, "check_finite", grid, [256, 1], argument)
    }

    /// One update of all parameters with the numbers in `state`, and on to the next step:
    /// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
    /// p <- p - rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps). Where `not_finite` is set
    /// nothing but the step's number and `skipped` changes, and it is cleared.
    ///
    /// g is scaled by `scale` and the rate by its group's; a group of rate 0 is left alone. Then
    /// a <- d a + (1 - d) p with d = min(`average`, (1 + t) / (10 + t)).
    ///
    /// All ranges have one length; `rounded` gets the new parameters as bfloat16, `average` is a.
    #[allow(clippy::too_many_arguments)]
    pub fn adam(
        &self,
        stream: &CudaStream,
        parameters: Span<f32>,
        gradients: Span<f32>,
        [first, second]: [Span<f32>; 2],
        rounded: Option<Span<half::bf16>>,
        average: Option<Span<f32>>,
        heads_first: usize,
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
        if let Some(average) = average {
            enough("average of the parameters", average, count)?;
        }
        let argument = Adam {
            parameters: parameters.address(),
            gradients: gradients.address(),
            first: first.address(),
            second: second.address(),
            rounded: rounded.map_or(0, Span::address),
            average: average.map_or(0, Span::address),
            count: count as u64,
            heads_first: heads_first as u64,
            state: state.address(),
            counters: scratch.counters.address(),
        };
        let grid = [blocks(count.max(1), 1024), 1, 1];
        self.optimizer.launch(stream, "adam", grid, [256, 1], argument)
    }
}
