//! A communicator, and what ranks do together with it: agree, follow rank 0, add gradients.

use std::cell::Cell;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Communicator, Result, TrainError, run_lock::machine};

/// See the module.
pub(crate) struct Together<'a> {
    communicator: &'a dyn Communicator,
    /// Whether all ranks know of the error that ends the run.
    all_know: Cell<bool>,
}

impl<'a> Together<'a> {
    /// The ranks of `communicator`.
    pub fn new(communicator: &'a dyn Communicator) -> Self {
        Self { communicator, all_know: Cell::new(false) }
    }

    pub fn communicator(&self) -> &dyn Communicator {
        self.communicator
    }

    pub fn rank(&self) -> usize {
        self.communicator.rank()
    }

    pub fn ranks(&self) -> usize {
        self.communicator.ranks()
    }

    /// Whether there is a single process.
    pub fn is_alone(&self) -> bool {
        self.ranks() == 1
    }

    /// Whether this is rank 0.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The end of a run: an error that the other ranks do not know of ends them, because they would
    /// wait for this one.
    pub fn end<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && !self.is_alone()
            && !self.all_know.get()
        {
            self.communicator.abort(&error.to_string());
        }
        result
    }

    /// The result, if it is good on all ranks.
    ///
    /// # Errors
    /// The rank's own, or [`TrainError::OtherRank`] with that of the first that has one.
    pub fn agree<T>(&self, result: Result<T>) -> Result<T> {
        if self.is_alone() {
            return result;
        }
        let said = result.as_ref().err().map_or(String::new(), ToString::to_string);
        let said = if said.is_empty() { said } else { format!("{}\n{said}", machine()) };
        let all = self.communicator.all_gather(said.as_bytes())?;
        let Some(rank) = all.iter().position(|said| !said.is_empty()) else { return result };
        self.all_know.set(true);
        let said = String::from_utf8_lossy(&all[rank]).into_owned();
        let (machine, reason) = said.split_once('\n').unwrap_or(("", &said));
        result.and_then(|_| {
            Err(TrainError::OtherRank {
                rank,
                reason: format!("rank {rank} on {machine}: {reason}"),
                bad_step: false,
            })
        })
    }

    /// An error that every rank has in this moment.
    pub fn all_have(&self, error: TrainError) -> TrainError {
        self.all_know.set(true);
        error
    }

    /// The run goes on after an error that every rank had.
    pub fn go_on(&self) {
        self.all_know.set(false);
    }

    /// Whether it is so on any rank.
    pub fn any(&self, here: bool) -> Result<bool> {
        if self.is_alone() {
            return Ok(here);
        }
        let all = self.communicator.all_gather(&[u8::from(here)])?;
        Ok(all.iter().any(|said| said.first() == Some(&1)))
    }

    /// What `work` gives on rank 0, on all ranks. The others only wait.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn first<T: Serialize + DeserializeOwned>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.is_alone() {
            return work();
        }
        let own = self.agree(if self.is_first() { work().map(Some) } else { Ok(None) })?;
        let json = |error: serde_json::Error| TrainError::Communication {
            reason: format!("what rank 0 said cannot be passed on: {error}"),
        };
        let text = own.as_ref().map(serde_json::to_vec).transpose().map_err(json)?;
        let mut text = text.unwrap_or_default();
        self.communicator.broadcast(0, &mut text)?;
        match own {
            Some(own) => Ok(own),
            None => serde_json::from_slice(&text).map_err(json),
        }
    }
}
