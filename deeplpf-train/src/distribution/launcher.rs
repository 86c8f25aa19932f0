//! Who started this process, told from its environment without opening anything.

use crate::{Result, TrainError};

/// Where processes meet that were started with torchrun's variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// This one's number, from 0.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
    /// Name or address of rank 0's machine, on which that one listens.
    pub address: String,
    /// Where.
    pub port: u16,
}

/// The port where none is said, as in PyTorch.
const PORT: u16 = 29_500;

/// How many ranks the launcher (mpirun, mpiexec, srun) started together with this process, if one did
/// and there are several.
///
/// Told from OpenMPI's, MPICH's and Intel's own variables. Slurm's count its tasks, of which a batch
/// script itself, outside of `srun`, is none.
pub fn launched() -> Option<usize> {
    ranks_of(&|name| std::env::var(name).ok())
}

/// Where this process meets the others, if it is one of several that were told: by `MASTER_ADDR` and
/// `MASTER_PORT` where, and by `RANK` and `WORLD_SIZE`, or the variables of Slurm's tasks, who they are
/// (<https://docs.pytorch.org/docs/stable/elastic/run.html>).
///
/// # Errors
/// [`TrainError::Ranks`] for variables that say no number, or one that does not fit the others.
pub fn meeting() -> Result<Option<Meeting>> {
    meeting_of(&|name| std::env::var(name).ok())
}

/// The number of this process among those of its machine, from 0, as its launcher says.
#[cfg(any(feature = "mpi", feature = "nccl"))]
pub fn local_rank() -> usize {
    let variables =
        ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];
    let number = |name: &str| std::env::var(name).ok()?.trim().parse().ok();
    variables.into_iter().find_map(number).unwrap_or(0)
}

fn ranks_of(variable: &dyn Fn(&str) -> Option<String>) -> Option<usize> {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    let own = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"];
    let slurm = || {
        // Set for the tasks of `srun` and not for the script around it, whose step has no number.
        number("SLURM_STEP_ID")?;
        number("SLURM_STEP_NUM_TASKS")
    };
    own.into_iter().find_map(number).or_else(slurm).filter(|&ranks| ranks > 1)
}

fn meeting_of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Meeting>> {
    let Some(address) = variable("MASTER_ADDR").filter(|address| !address.is_empty()) else {
        return Ok(None);
    };
    let task = variable("SLURM_STEP_ID").is_some();
    let (rank, ranks) = match (variable("RANK"), variable("SLURM_PROCID")) {
        (Some(_), _) => ("RANK", "WORLD_SIZE"),
        (None, Some(_)) if task => ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
        _ => return Ok(None),
    };
    let refuse = |reason: String| Err(TrainError::Ranks { reason });
    let number = |name: &str| match variable(name) {
        None => Err(format!("{name} is not set")),
        Some(text) => text
            .trim()
            .parse::<usize>()
            .map_err(|_| format!("{name} is `{text}`, which is not a number")),
    };
    let (rank, ranks) = match (number(rank), number(ranks)) {
        (Ok(rank), Ok(ranks)) if rank < ranks => (rank, ranks),
        (Ok(rank), Ok(ranks)) => {
            return refuse(format!(
                "the launcher's variables say rank {rank} of {ranks}; ranks count from 0"
            ));
        }
        (Err(reason), _) | (_, Err(reason)) => {
            return refuse(format!(
                "MASTER_ADDR is set, but {reason}: start all ranks with torchrun or srun, or unset \
                 RANK and MASTER_ADDR for a single process"
            ));
        }
    };
    if ranks == 1 {
        return Ok(None);
    }
    let said = variable("MASTER_PORT");
    let port = said.as_deref().map_or(Ok(PORT), |port| port.trim().parse::<u16>());
    // At the port it names, torchrun itself may listen, for programs of PyTorch.
    let taken = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|taken| taken == "True");
    match port.ok().and_then(|port| port.checked_add(u16::from(taken))) {
        Some(port) if port > 0 => Ok(Some(Meeting { rank, ranks, address, port })),
        _ => refuse(format!(
            "MASTER_PORT is `{}`, which is not a port; set it to a free one, like {PORT}",
            said.unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_up(set: &[(&str, &str)], name: &str) -> Option<String> {
        set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    }

    #[test]
    fn launchers_are_told_by_their_variables() {
        let of = |set: &[(&str, &str)]| ranks_of(&|name| looked_up(set, name));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some(4));
        assert_eq!(of(&[("PMI_SIZE", "2")]), Some(2));
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "1")]), None, "a process of its own");
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_STEP_ID", "0")]), Some(3));
        assert_eq!(of(&[("SLURM_NTASKS", "3"), ("SLURM_JOB_ID", "7")]), None, "a batch script");
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "many")]), None);
    }

    #[test]
    fn torchruns_variables_say_where_to_meet() {
        let of = |set: &[(&str, &str)]| {
            meeting_of(&|name| looked_up(set, name)).map_err(|error| error.to_string())
        };
        let at =
            |rank, ranks, port| Ok(Some(Meeting { rank, ranks, address: "node7".into(), port }));
        let master = ("MASTER_ADDR", "node7");
        let world = ("WORLD_SIZE", "4");
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("RANK", "3"), world]), Ok(None), "nowhere to meet");
        assert_eq!(of(&[master]), Ok(None), "nobody to meet");
        assert_eq!(of(&[("RANK", "3"), world, master]), at(3, 4, 29_500));
        let port = ("MASTER_PORT", "1234");
        assert_eq!(of(&[("RANK", "0"), world, master, port]), at(0, 4, 1234));
        let agent = ("TORCHELASTIC_USE_AGENT_STORE", "True");
        assert_eq!(of(&[("RANK", "0"), world, master, port, agent]), at(0, 4, 1235));
        assert_eq!(of(&[("RANK", "0"), ("WORLD_SIZE", "1"), master]), Ok(None));
        let slurm = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_STEP_ID", "0")];
        assert_eq!(of(&[&slurm[..], &[master, port]].concat()), at(1, 2, 1234));
        assert_eq!(of(&[slurm[0], slurm[1], master]), Ok(None), "a batch script");
        let other = [("RANK", "3"), world, master];
        assert_eq!(of(&[&slurm[..], &other].concat()), at(3, 4, 29_500), "torchrun under Slurm");
        for (set, part) in [
            (vec![("RANK", "4"), world, master], "rank 4 of 4; ranks count from 0"),
            (vec![("RANK", "1"), master], "WORLD_SIZE is not set"),
            (vec![("RANK", "x"), world, master], "RANK is `x`"),
            (vec![("RANK", "1"), world, master, ("MASTER_PORT", "0")], "MASTER_PORT is `0`"),
            (vec![("RANK", "1"), world, master, ("MASTER_PORT", "70000")], "not a port"),
        ] {
            let error = of(&set).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
