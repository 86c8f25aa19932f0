//! Ranks connected by MPI (MPI Forum 2015, version 3.1, chapter 5: collective communication).

use std::{
    thread,
    time::{Duration, Instant},
};

use mpi::{
    Count, Threading,
    datatype::PartitionMut,
    environment::Universe,
    topology::SimpleCommunicator,
    traits::{Communicator as _, CommunicatorCollectives, Root},
};

use crate::{Communicator, Result, TrainError};

/// Most bytes in one broadcast: MPI counts them in 32 bits.
const MOST_BYTES: usize = 1 << 30;
/// How long a rank that waits for others asks again and again before it begins to sleep in between.
const EAGER: Duration = Duration::from_micros(200);
/// Longest sleep: little beside a step, and long enough to leave the core to those that work.
const LONGEST_SLEEP: Duration = Duration::from_millis(1);

/// All processes that mpirun or srun started together. Dropping it closes MPI for this process.
pub struct Mpi {
    world: SimpleCommunicator,
    _universe: Universe,
}

impl Mpi {
    /// Opens MPI, which a process can do once.
    ///
    /// # Errors
    /// [`TrainError::Communication`] if it was open before, or is built for a single thread: pictures
    /// are prepared on threads of their own.
    pub fn start() -> Result<Self> {
        let refuse = |reason: &str| TrainError::Communication { reason: reason.into() };
        let (universe, provided) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| refuse("MPI was opened before in this process"))?;
        if provided < Threading::Funneled {
            return Err(refuse(
                "this MPI library is built without threads (MPI_THREAD_FUNNELED is needed); \
                 install one that has them",
            ));
        }
        Ok(Self { world: universe.world(), _universe: universe })
    }

    /// Waits until all ranks are here. MPI's own waiting takes the whole core, which ranks that still
    /// work may need, so this sleeps between its questions.
    fn meet(&self) {
        let mut request = self.world.immediate_barrier();
        let begin = Instant::now();
        let mut sleep = Duration::from_micros(20);
        while let Err(still) = request.test() {
            request = still;
            if begin.elapsed() < EAGER {
                thread::yield_now();
            } else {
                thread::sleep(sleep);
                sleep = (2 * sleep).min(LONGEST_SLEEP);
            }
        }
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.world.rank().unsigned_abs() as usize
    }

    fn ranks(&self) -> usize {
        self.world.size().unsigned_abs() as usize
    }

    fn local_rank(&self) -> usize {
        super::launcher::local_rank()
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.meet();
        let mut counts: Vec<Count> = vec![0; self.ranks()];
        let length = Count::try_from(bytes.len()).map_err(|_| too_large(bytes.len()))?;
        self.world.all_gather_into(&length, &mut counts[..]);
        let mut starts: Vec<Count> = Vec::with_capacity(counts.len());
        let mut total: Count = 0;
        for &count in &counts {
            starts.push(total);
            total = total.checked_add(count).ok_or_else(|| too_large(bytes.len()))?;
        }
        // Room for one more: the address of an empty slice is 1, which OpenMPI takes for MPI_IN_PLACE.
        let mut own = Vec::with_capacity(bytes.len() + 1);
        own.extend_from_slice(bytes);
        let total = total.unsigned_abs() as usize;
        let mut all = Vec::with_capacity(total + 1);
        all.resize(total, 0u8);
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        self.world.all_gather_varcount_into(&own[..], &mut parts);
        let mut rest = &all[..];
        let parts = counts.iter().map(|count| {
            let (part, later) = rest.split_at(count.unsigned_abs() as usize);
            rest = later;
            part.to_vec()
        });
        Ok(parts.collect())
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        self.meet();
        let process = Count::try_from(root).map_err(|_| too_large(root))?;
        let process = self.world.process_at_rank(process);
        let mut length = bytes.len() as u64;
        process.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for part in bytes.chunks_mut(MOST_BYTES) {
            process.broadcast_into(part);
        }
        Ok(())
    }

    fn exchange(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        self.meet();
        self.world.all_to_all_into(send, receive);
        Ok(())
    }

    fn concatenate(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        self.meet();
        self.world.all_gather_into(send, receive);
        Ok(())
    }

    fn abort(&self, reason: &str) -> ! {
        eprintln!("error on rank {} of {}: {reason}", self.rank(), self.ranks());
        self.world.abort(1)
    }
}

impl Drop for Mpi {
    /// A rank that panics would otherwise wait for the others to close MPI, and they for it.
    fn drop(&mut self) {
        if thread::panicking() {
            self.world.abort(101);
        }
    }
}

fn too_large(length: usize) -> TrainError {
    TrainError::Communication { reason: format!("{length} is more than MPI can count") }
}
