//! What ranks say to each other.

use crate::Result;

/// Ranks that work on one run. Every method but the first three is called by all ranks in the same
/// order.
pub trait Communicator {
    /// The number of this one, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// The number of this one among those of its machine, from 0, as its launcher says: which GPU is
    /// its own.
    fn local_rank(&self) -> usize {
        0
    }

    /// The bytes of every rank, in the order of the ranks; they may differ in length.
    ///
    /// # Errors
    /// A connection that fails.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The bytes of rank `root` on every rank.
    ///
    /// # Errors
    /// A connection that fails.
    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()>;

    /// `send` and `receive` are one slice for every rank, all of one length, one after the other:
    /// slice r of `send` goes to rank r, slice r of `receive` comes from it.
    ///
    /// # Errors
    /// A connection that fails.
    fn exchange(&self, send: &[f32], receive: &mut [f32]) -> Result<()>;

    /// `send` of every rank, all of one length, one after the other.
    ///
    /// # Errors
    /// A connection that fails.
    fn concatenate(&self, send: &[f32], receive: &mut [f32]) -> Result<()>;

    /// Ends all ranks at once, with exit status 1, where they cannot agree on it any more.
    fn abort(&self, reason: &str) -> !;
}

/// A single process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn broadcast(&self, _: usize, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn exchange(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        receive.copy_from_slice(send);
        Ok(())
    }

    fn concatenate(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        receive.copy_from_slice(send);
        Ok(())
    }

    fn abort(&self, reason: &str) -> ! {
        eprintln!("error: {reason}");
        std::process::exit(1)
    }
}
