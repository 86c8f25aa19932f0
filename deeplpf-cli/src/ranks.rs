//! The processes that a launcher (mpirun, srun) started together with this one.

use anyhow::bail;
use deeplpf_train::distribution::{Alone, Communicator, launched};

/// All ranks of this program, or it alone.
///
/// # Errors
/// Several processes were started, and this program cannot speak to the others.
pub fn communicator() -> anyhow::Result<Box<dyn Communicator>> {
    match launched() {
        None => Ok(Box::new(Alone)),
        Some(ranks) => connect(ranks),
    }
}

/// Refuses to run beside copies of itself that would all do the same.
///
/// # Errors
/// A launcher started several processes.
pub fn require_alone(command: &str) -> anyhow::Result<()> {
    match launched() {
        None => Ok(()),
        Some(ranks) => bail!(
            "`deeplpf {command}` was started {ranks} times by mpirun or srun, and would do the same \
             work in each; start it once: only `deeplpf train` is shared out"
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
         MPI; build it with `--features mpi`, or start it once"
    )
}
