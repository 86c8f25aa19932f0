//! Who started this process, told from its environment without opening anything.

/// How many ranks the launcher (mpirun, mpiexec, srun) started together with this process, if one did
/// and there are several.
///
/// Told from OpenMPI's, MPICH's and Intel's own variables. Slurm's count its tasks, of which a batch
/// script itself, outside of `srun`, is none.
pub fn launched() -> Option<usize> {
    ranks_of(&|name| std::env::var(name).ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_told_by_their_variables() {
        let of = |set: &[(&str, &str)]| {
            ranks_of(&|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some(4));
        assert_eq!(of(&[("PMI_SIZE", "2")]), Some(2));
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "1")]), None, "a process of its own");
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_STEP_ID", "0")]), Some(3));
        assert_eq!(of(&[("SLURM_NTASKS", "3"), ("SLURM_JOB_ID", "7")]), None, "a batch script");
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "many")]), None);
    }
}
