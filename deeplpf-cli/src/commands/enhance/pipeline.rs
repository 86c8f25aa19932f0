//! Decoding, computing and encoding of successive pictures at the same time.

use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;

/// What is done with every picture, one step after the other.
pub struct Steps<Decode, Compute, Encode, Finish> {
    /// Reads the picture.
    pub decode: Decode,
    /// Makes the result; runs on the calling thread.
    pub compute: Compute,
    /// Writes the result.
    pub encode: Encode,
    /// Is told how the job ended; in the order of the jobs, whichever step failed.
    pub finish: Finish,
}

impl<Decode, Compute, Encode, Finish> Steps<Decode, Compute, Encode, Finish> {
    /// Takes the jobs one by one.
    pub fn one_by_one<Job, Decoded, Computed>(mut self, jobs: &[Job])
    where
        Decode: FnMut(&Job) -> Result<Decoded>,
        Compute: FnMut(&Job, Decoded) -> Result<Computed>,
        Encode: FnMut(&Job, Computed) -> Result<()>,
        Finish: FnMut(&Job, Result<()>),
    {
        for job in jobs {
            let decoded = (self.decode)(job);
            let computed = decoded.and_then(|decoded| (self.compute)(job, decoded));
            let written = computed.and_then(|computed| (self.encode)(job, computed));
            (self.finish)(job, written);
        }
    }

    /// Decodes the next picture and encodes the one before while one is computed, each on a thread
    /// of its own. Nothing queues up: at most one decoded picture waits, one is computed, and one
    /// result is written.
    pub fn overlapped<Job, Decoded, Computed>(self, jobs: &[Job])
    where
        Job: Sync,
        Decoded: Send,
        Computed: Send,
        Decode: FnMut(&Job) -> Result<Decoded> + Send,
        Compute: FnMut(&Job, Decoded) -> Result<Computed>,
        Encode: FnMut(&Job, Computed) -> Result<()> + Send,
        Finish: FnMut(&Job, Result<()>) + Send,
    {
        let Self { mut decode, mut compute, mut encode, mut finish } = self;
        // Channels without room: a step keeps what it has made until the next one takes it.
        let (hand_decoded, decoded) = sync_channel(0);
        let (hand_computed, computed) = sync_channel::<(&Job, Result<Computed>)>(0);
        thread::scope(|scope| {
            scope.spawn(move || {
                for job in jobs {
                    if hand_decoded.send((job, decode(job))).is_err() {
                        break;
                    }
                }
            });
            scope.spawn(move || {
                for (job, result) in computed {
                    finish(job, result.and_then(|computed| encode(job, computed)));
                }
            });
            // A channel closes early only where its thread panicked, which the scope passes on.
            for (job, result) in decoded {
                let result = result.and_then(|decoded| compute(job, decoded));
                if hand_computed.send((job, result)).is_err() {
                    break;
                }
            }
            drop(hand_computed);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use anyhow::bail;

    use super::*;

    /// Every third job fails, in each of the steps in turn.
    fn run(overlapped: bool) -> Vec<String> {
        let jobs: Vec<usize> = (0..20).collect();
        let mut told = Vec::new();
        let fails = |job: usize, step: usize| job.is_multiple_of(3) && job / 3 % 3 == step;
        let steps = Steps {
            decode: |&job: &usize| if fails(job, 0) { bail!("decode {job}") } else { Ok(job * 10) },
            compute: |&job: &usize, decoded: usize| {
                if fails(job, 1) { bail!("compute {job}") } else { Ok(decoded + 1) }
            },
            encode: |&job: &usize, computed: usize| {
                assert_eq!(computed, job * 10 + 1);
                if fails(job, 2) { bail!("encode {job}") } else { Ok(()) }
            },
            finish: |job: &usize, result: Result<()>| {
                let error = result.err().map(|error| error.to_string());
                told.push(format!("{job} {error:?}"));
            },
        };
        if overlapped {
            steps.overlapped(&jobs)
        } else {
            steps.one_by_one(&jobs)
        }
        told
    }

    #[test]
    fn overlapping_changes_nothing_that_is_told() {
        let expected = run(false);
        assert_eq!(expected.len(), 20);
        assert!(expected[3].contains("compute 3"), "{expected:?}");
        for _ in 0..20 {
            assert_eq!(run(true), expected);
        }
    }

    /// One waiting, one computed, one written: never more pictures in memory.
    #[test]
    fn pictures_do_not_queue_up() {
        struct Picture<'a>(&'a AtomicUsize);
        impl Drop for Picture<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        let (alive, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let pause = || thread::sleep(std::time::Duration::from_millis(3));
        let steps = Steps {
            decode: |_: &usize| {
                most.fetch_max(alive.fetch_add(1, SeqCst) + 1, SeqCst);
                Ok(Picture(&alive))
            },
            compute: |_: &usize, picture| {
                pause();
                Ok(picture)
            },
            encode: |_: &usize, picture| {
                pause();
                drop(picture);
                Ok(())
            },
            finish: |_: &usize, result: Result<()>| assert!(result.is_ok()),
        };
        steps.overlapped(&(0..30).collect::<Vec<usize>>());
        assert_eq!(alive.load(SeqCst), 0);
        assert!((2..=3).contains(&most.load(SeqCst)), "{}", most.load(SeqCst));
    }
}
