//! What ranks must have in common before the first step: the program, the configuration, the pairs.

use std::path::PathBuf;

use candle_core::DType;
use deeplpf_core::Compute;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::Together;
use crate::{
    DataConfig, Result, TrainConfig, TrainError, Trainer, TrainingData,
    config::first_difference,
    origin::{CRC, Origin},
    run_lock::machine,
};

/// What a rank has.
#[derive(Serialize, Deserialize)]
struct Outfit {
    machine: String,
    /// Without what ranks may differ in.
    config: Table,
    origin: Origin,
}

impl Together<'_> {
    /// Refuses ranks that would not compute the same run.
    ///
    /// # Errors
    /// [`TrainError::Ranks`] on every rank, naming the first that differs from rank 0, and in what.
    pub fn require_same(&self, config: &TrainConfig, data: &TrainingData) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let own = self.agree(Outfit::of(config, data))?;
        let json = serde_json::to_vec(&own).map_err(|error| unreadable(0, &error))?;
        let all = self.communicator().all_gather(&json)?;
        let outfits = all.iter().enumerate().map(|(rank, bytes)| {
            serde_json::from_slice::<Outfit>(bytes).map_err(|error| unreadable(rank, &error))
        });
        let outfits = outfits.collect::<Result<Vec<_>>>().map_err(|error| self.all_have(error))?;
        let differs = outfits.iter().enumerate().find_map(|(rank, outfit)| {
            let what = outfit.difference(&outfits[0])?;
            Some(format!("rank {rank} on {} {what}", outfit.machine))
        });
        match differs {
            None => Ok(()),
            Some(reason) => Err(self.all_have(TrainError::Ranks { reason })),
        }
    }
}

impl Together<'_> {
    /// Refuses what several ranks cannot do. A sentence for the user, if there is something to know.
    ///
    /// # Errors
    /// [`TrainError::Ranks`], on every rank.
    pub fn require_fit(
        &self,
        config: &TrainConfig,
        compute: &Compute,
        batches: u64,
    ) -> Result<Option<String>> {
        let ranks = self.ranks();
        if self.is_alone() {
            return Ok(None);
        }
        let DataConfig { batch, accumulate, .. } = config.data;
        let refuse = |reason| Err(self.all_have(TrainError::Ranks { reason }));
        let gpu = !matches!(compute, Compute::Cpu);
        let kinds = self.communicator().all_gather(&[u8::from(gpu)])?;
        if let Some(other) = kinds.iter().position(|kind| *kind != kinds[0]) {
            let on = |rank: usize| if kinds[rank] == [1] { "a GPU" } else { "its CPU" };
            return refuse(format!(
                "rank 0 computes on {} and rank {other} on {}; set device = \"cuda\" for a GPU of each, \
                 or \"cpu\"",
                on(0),
                on(other)
            ));
        }
        if gpu && !cfg!(feature = "nccl") {
            return refuse(format!(
                "{ranks} ranks compute on CPUs only, and device = \"{}\" is a GPU here; build with \
                 `--features nccl`, set device = \"cpu\", or start one process without mpirun",
                config.device
            ));
        }
        if gpu && accumulate != ranks {
            return refuse(format!(
                "on a GPU every rank computes one batch of a step, and a step is over {} \
                 (data.accumulate = {accumulate}) for {ranks} ranks; set data.accumulate to {ranks} \
                 for a run that begins, or start as many ranks",
                count_of(accumulate as u64)
            ));
        }
        if accumulate < ranks {
            let smaller = match batch {
                1 => String::new(),
                _ => {
                    let each = (batch * accumulate).div_ceil(ranks);
                    format!(" and data.batch to {each}, for about as many pairs a step")
                }
            };
            return refuse(format!(
                "a step is over {} (data.accumulate = {accumulate}), which {ranks} ranks cannot \
                 share; set data.accumulate to {ranks} or more{smaller}, or start fewer ranks",
                count_of(accumulate as u64)
            ));
        }
        if batches < ranks as u64 {
            return refuse(format!(
                "an epoch has {} for {ranks} ranks; start fewer ranks, or lower data.batch",
                count_of(batches)
            ));
        }
        Ok((!accumulate.is_multiple_of(ranks)).then(|| {
            format!(
                "the {accumulate} batches of a step are not a multiple of {ranks} ranks: some wait \
                 for others in every step"
            )
        }))
    }

    /// Fails where the weights of ranks have parted, which nothing but broken memory or a different
    /// processor's arithmetic can bring about.
    ///
    /// # Errors
    /// [`TrainError::Ranks`], on every rank.
    pub fn require_same_weights(&self, trainer: &Trainer) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let checksum = self.agree(weights(trainer))?.to_le_bytes();
        let all = self.communicator().all_gather(&checksum)?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => {
                let reason = format!(
                    "the weights of rank {rank} are not those of rank 0 after step {}; the last \
                     saved state is good: go on with --resume, without that machine if it \
                     happens again",
                    trainer.adam.steps()
                );
                Err(self.all_have(TrainError::Ranks { reason }))
            }
        }
    }
}

fn count_of(batches: u64) -> String {
    if batches == 1 { "1 batch".into() } else { format!("{batches} batches") }
}

/// Checksum of the weights.
fn weights(trainer: &Trainer) -> Result<u64> {
    let mut digest = CRC.digest();
    for (_, parameter) in trainer.model.parameters().iter() {
        let values = parameter.as_tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        values.iter().for_each(|value| digest.update(&value.to_le_bytes()));
    }
    Ok(digest.finalize())
}

/// What another version of the program says.
fn unreadable(rank: usize, error: &serde_json::Error) -> TrainError {
    TrainError::Ranks {
        reason: format!(
            "what rank {rank} says of itself cannot be read ({error}); start the same program on \
             all machines"
        ),
    }
}

impl Outfit {
    fn of(config: &TrainConfig, data: &TrainingData) -> Result<Self> {
        // Places, and what decides how fast a rank is, are its own.
        let alike = TrainConfig {
            run: PathBuf::new(),
            weights: PathBuf::new(),
            data: DataConfig {
                threads: 0,
                cache: String::new(),
                source: String::new(),
                train: PathBuf::new(),
                valid: PathBuf::new(),
                exclude: PathBuf::new(),
                ..config.data.clone()
            },
            ..config.clone()
        };
        Ok(Self {
            machine: machine(),
            config: Table::try_from(alike).unwrap_or_default(),
            origin: Origin::of(data)?,
        })
    }

    /// In what this differs from rank 0.
    fn difference(&self, first: &Self) -> Option<String> {
        let (own, before) = (&self.origin, &first.origin);
        if own.program != before.program {
            return Some(
                "runs another version of the program than rank 0; use the same file on all \
                 machines"
                    .into(),
            );
        }
        if let Some(difference) = first_difference(&first.config, &self.config, "") {
            return Some(format!(
                "has another configuration than rank 0: {}; start all ranks with the same one",
                difference.replace(" was ", " is ").replace(", now ", " there, here ")
            ));
        }
        for (name, own, first) in
            [("training", &own.train, &before.train), ("validation", &own.valid, &before.valid)]
        {
            if own.count != first.count {
                return Some(format!(
                    "has {} {name} pairs and rank 0 has {}; give all ranks the same data",
                    own.count, first.count
                ));
            }
            if own != first {
                return Some(format!(
                    "has as many {name} pairs as rank 0, but other names or file sizes; give all \
                     ranks the same data"
                ));
            }
        }
        None
    }
}
