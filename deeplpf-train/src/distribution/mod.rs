//! One run computed by several processes, the ranks, each with a share of every step's batches.
//!
//! What passes between them goes through a [`Communicator`]: [`Alone`] for a single process, `Mpi`
//! (feature `mpi`) for those that mpirun or srun started. Batch k of a step is computed by rank
//! k mod N; the gradients are added in the order of the batches, whatever N is, so a run has the same
//! bits on any number of ranks of one kind of machine. Every rank takes the same Adam step. Rank 0
//! alone holds the run folder, validates and says anything.

mod agreement;
mod communicator;
mod gradients;
mod launcher;
#[cfg(feature = "mpi")]
mod mpi;
mod together;

pub use communicator::{Alone, Communicator};
pub use launcher::launched;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub(crate) use together::Together;

use crate::Result;

/// The result, if it is good on all ranks of `communicator`, each of which calls this.
///
/// # Errors
/// The rank's own, or [`crate::TrainError::OtherRank`] with that of the first that has one.
pub fn agree<T>(communicator: &dyn Communicator, result: Result<T>) -> Result<T> {
    Together::new(communicator).agree(result)
}
