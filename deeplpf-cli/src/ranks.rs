//! The processes that a launcher (mpirun, srun, torchrun) started together with this one.

use anyhow::bail;
use deeplpf_train::distribution::{Alone, Communicator, Meeting, launched, meeting};

/// How long ranks wait for each other before the first step.
#[cfg(feature = "nccl")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// All ranks of this program, or it alone.
///
/// # Errors
/// Several processes were started, and this program cannot speak to the others.
pub fn communicator() -> anyhow::Result<Box<dyn Communicator>> {
    match (meeting()?, launched()) {
        (Some(meeting), launched) => meet(meeting, launched),
        (None, Some(ranks)) => connect(ranks),
        (None, None) => Ok(Box::new(Alone)),
    }
}

/// Refuses to run beside copies of itself that would all do the same.
///
/// # Errors
/// A launcher started several processes.
pub fn require_alone(command: &str) -> anyhow::Result<()> {
    match meeting()?.map(|meeting| meeting.ranks).or_else(launched) {
        None => Ok(()),
        Some(ranks) => bail!(
            "`deeplpf {command}` was started {ranks} times by mpirun, srun or torchrun, and would do the \
             same work in each; start it once: only `deeplpf train` is shared out"
        ),
    }
}

#[cfg(feature = "nccl")]
fn meet(meeting: Meeting, _: Option<usize>) -> anyhow::Result<Box<dyn Communicator>> {
    use deeplpf_train::distribution::Sockets;

    Ok(Box::new(Sockets::meet(&meeting, PATIENCE)?))
}

/// What a launcher of MPI's says as well goes on to MPI.
#[cfg(not(feature = "nccl"))]
fn meet(meeting: Meeting, launched: Option<usize>) -> anyhow::Result<Box<dyn Communicator>> {
    match launched {
        Some(ranks) => connect(ranks),
        None => bail!(
            "{} processes were started together (RANK, WORLD_SIZE and MASTER_ADDR are set), but this \
             program is built without NCCL; build it with `--features nccl`, or start it once",
            meeting.ranks
        ),
    }
}

#[cfg(feature = "mpi")]
fn connect(ranks: usize) -> anyhow::Result<Box<dyn Communicator>> {
    let mpi = deeplpf_train::distribution::Mpi::start()?;
    if mpi.ranks() != ranks {
        bail!(
            "{ranks} processes were started together, but MPI connects {}; start them with the mpirun \
             of the MPI library that the program was built with, or with `srun --mpi=pmix`",
            mpi.ranks()
        );
    }
    Ok(Box::new(mpi))
}

#[cfg(not(feature = "mpi"))]
fn connect(ranks: usize) -> anyhow::Result<Box<dyn Communicator>> {
    bail!(
        "{ranks} processes were started together by mpirun or srun, but this program is built without \
         MPI; build it with `--features mpi`, {}or start it once",
        match cfg!(feature = "nccl") {
            true => "set MASTER_ADDR to the machine of rank 0 (under srun), ",
            false => "",
        }
    )
}
