//! Steps over the GPUs of several processes: each computes a batch of the step, all make the same
//! update.

#[cfg(feature = "nccl")]
use super::super::tape::Tape;
use super::*;

impl Training {
    /// From the next step on, every step is one of all `ranks`, each of which calls the same methods in
    /// the same order, but for the batches and for [`Training::step_idle`] in place of a step. Loss and
    /// gradient are the means over the images of the step on all ranks, so reports and updates are the
    /// same everywhere. Weights and moments must be the same when they begin.
    ///
    /// # Errors
    /// Not enough memory, or the GPU refuses.
    #[cfg(feature = "nccl")]
    pub fn join(&mut self, ranks: Ranks) -> Result<()> {
        // What is recorded already has Adam's part in it.
        self.device.synchronize()?;
        self.steps.clear();
        let mut tape = Tape::default();
        self.record_update(&mut tape);
        self.said.place = ranks.rank() as u64;
        self.said.batches = ranks.ranks() as u64;
        self.said.share = 1.0 / ranks.ranks() as f64;
        self.together = Some(Together { ranks, update: tape.compile(&self.device) });
        Ok(())
    }

    /// From the next step on: how many batches a step is over on all ranks, and which `share` of its
    /// images is in this rank's. At first every rank has a batch, all of one size. Dropout is drawn for
    /// the number of the batch in the run: step x `batches` + rank.
    pub fn set_share(&mut self, batches: u64, share: f64) {
        self.said.batches = batches;
        self.said.share = share;
    }

    /// Queues a step of which this rank computes nothing, and the update of all.
    ///
    /// # Errors
    /// As [`Training::step`].
    pub fn step_idle(&mut self) -> Result<()> {
        self.device.bind()?;
        self.begin()?;
        let (gradients, terms) = flat_gradients(&self.shared, &self.terms);
        for part in [gradients, terms.cast()] {
            let bytes = part.len() * size_of::<f32>();
            let stream = self.device.stream().cu_stream();
            // SAFETY: the part is memory of this GPU, written in the order of the stream.
            unsafe { result::memset_d8_async(part.address(), 0, bytes, stream) }
                .doing("clear memory")?;
        }
        self.end()
    }

    /// Waits for the steps before number `step`; the reports that were not fetched yet. Unlike
    /// [`Training::reports`] this gives the same ones on all ranks.
    ///
    /// # Errors
    /// A queued step failed.
    pub fn reports_before(&mut self, step: u64) -> Result<Vec<StepReport>> {
        while self.pending.front().is_some_and(|pending| pending.step < step) {
            self.take_report(true)?;
        }
        let ready = self.reports.partition_point(|report| report.step < step);
        Ok(self.reports.drain(..ready).collect())
    }
}
