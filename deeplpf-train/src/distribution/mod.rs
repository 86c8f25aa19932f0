//! One run computed by several processes, the ranks, each with a share of every step's batches.
//!
//! What passes between them goes through a [`Communicator`]: [`Alone`] for a single process, `Mpi`
//! (feature `mpi`) for those that mpirun or srun started, `Sockets` (feature `nccl`) for those that were
//! told where to meet. Batch k of a step is computed by rank
//! k mod N; the gradients are added in the order of the batches, whatever N is, so a run has the same
//! bits on any number of ranks of one kind of machine. Every rank takes the same Adam step. Rank 0
//! alone holds the run folder, validates and says anything.
//!
//! On GPUs (feature `nccl`) a rank computes one batch of every step, and NCCL adds the gradients, in an
//! order of its own; all else is the same.

mod agreement;
mod communicator;
mod gradients;
mod launcher;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod rendezvous;
#[cfg(feature = "nccl")]
mod sockets;
mod together;

pub use communicator::{Alone, Communicator};
pub use launcher::{Meeting, launched, meeting};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use sockets::Sockets;
pub(crate) use together::Together;

use crate::Result;

/// The result, if it is good on all ranks of `communicator`, each of which calls this.
///
/// # Errors
/// The rank's own, or [`crate::TrainError::OtherRank`] with that of the first that has one.
pub fn agree<T>(communicator: &dyn Communicator, result: Result<T>) -> Result<T> {
    Together::new(communicator).agree(result)
}
