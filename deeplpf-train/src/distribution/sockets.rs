//! Ranks connected by TCP, every one with rank 0: what they agree on, beside the sums of NCCL.
//!
//! Nothing is encrypted, as in PyTorch's store and in NCCL: it is for a network of one's own. Rank 0
//! listens only while the ranks meet, and only at the address they were told.

use std::{
    ffi::c_int,
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Meeting, launcher::local_rank, rendezvous};
use crate::{Communicator, Result, TrainError};

/// Most bytes of a message: states are some tens of megabytes.
const MOST_BYTES: u64 = 1 << 34;
/// How often a rank says that it lives.
const BEAT: Duration = Duration::from_secs(5);
/// After how long without a word a rank counts as lost, for machines that go down without closing
/// their connections.
const SILENCE: Duration = Duration::from_secs(120);
unsafe extern "C" {
    /// The C library's: ends the process without what libraries have registered for an exit. The GPU's
    /// would take down what another thread is using, or wait for a GPU that waits for a lost rank.
    safe fn _exit(status: c_int) -> !;
}

const ALIVE: u8 = b'.';
/// Of a rank that is done.
const BYE: u8 = b'b';
/// Of a rank that ends all, and has said why.
const ABORT: u8 = b'!';

/// All processes that were told to meet.
pub struct Sockets {
    rank: usize,
    ranks: usize,
    /// Of rank 0 to ranks 1, 2, ...; of the others to rank 0.
    peers: Vec<TcpStream>,
    life: Arc<Life>,
}

/// Over further connections, threads of their own see whether the others live, also while the rank
/// waits for its GPU.
struct Life {
    /// As `peers`.
    streams: Vec<TcpStream>,
    done: AtomicBool,
}

impl Sockets {
    /// Waits until all ranks of `meeting` are there, at most `patience`.
    ///
    /// # Errors
    /// [`TrainError::Communication`] for an address that cannot be used, ranks that did not come, and
    /// [`TrainError::Ranks`] for those that do not fit together.
    pub fn meet(meeting: &Meeting, patience: Duration) -> Result<Self> {
        let Meeting { rank, ranks, .. } = *meeting;
        let connections = rendezvous::meet(meeting, patience)?;
        let (peers, streams) = connections.into_iter().map(|[talk, life]| (talk, life)).unzip();
        let life = Arc::new(Life { streams, done: AtomicBool::new(false) });
        for number in 0..life.streams.len() {
            let peer = if rank == 0 { number + 1 } else { 0 };
            let life = life.clone();
            let watch = thread::Builder::new().name(format!("rank {peer}"));
            watch.spawn(move || life.watch(number, peer, ranks)).map_err(|error| {
                TrainError::Communication { reason: format!("cannot start a thread: {error}") }
            })?;
        }
        Ok(Self { rank, ranks, peers, life })
    }

    fn send(&self, peer: usize, bytes: &[u8]) -> Result<()> {
        let mut stream = &self.peers[peer];
        let length = (bytes.len() as u64).to_le_bytes();
        let sent = stream.write_all(&length).and_then(|()| stream.write_all(bytes));
        sent.map_err(|error| self.broken(peer, &error))
    }

    fn receive(&self, peer: usize) -> Result<Vec<u8>> {
        let mut stream = &self.peers[peer];
        let mut receive = || -> io::Result<Vec<u8>> {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            let length = u64::from_le_bytes(length);
            if length > MOST_BYTES {
                return Err(io::Error::other(format!("a message of {length} bytes")));
            }
            // Grows as the bytes come.
            let mut bytes = Vec::new();
            stream.take(length).read_to_end(&mut bytes)?;
            match bytes.len() as u64 == length {
                true => Ok(bytes),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        receive().map_err(|error| self.broken(peer, &error))
    }

    fn broken(&self, peer: usize, error: &io::Error) -> TrainError {
        // The thread that watches the peer ends this process with a sentence that says more.
        thread::sleep(Duration::from_secs(2));
        let rank = if self.rank == 0 { peer + 1 } else { 0 };
        TrainError::Communication {
            reason: format!("the connection to rank {rank} of {} is broken: {error}", self.ranks),
        }
    }

    /// On rank 0 the bytes of all, in the order of the ranks.
    fn gather(&self, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        if self.rank > 0 {
            self.send(0, bytes)?;
            return Ok(None);
        }
        let mut all = vec![bytes.to_vec()];
        for peer in 0..self.peers.len() {
            all.push(self.receive(peer)?);
        }
        Ok(Some(all))
    }

    /// The parts of `all` that `of` gives for a rank, from rank 0.
    fn scatter<'a>(
        &self,
        all: Option<&'a [Vec<u8>]>,
        of: impl Fn(&'a [Vec<u8>], usize) -> Vec<&'a [u8]>,
    ) -> Result<Vec<Vec<u8>>> {
        let Some(all) = all else {
            return (0..self.ranks).map(|_| self.receive(0)).collect();
        };
        for peer in 0..self.peers.len() {
            of(all, peer + 1).into_iter().try_for_each(|part| self.send(peer, part))?;
        }
        Ok(of(all, 0).into_iter().map(<[u8]>::to_vec).collect())
    }
}

impl Communicator for Sockets {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn local_rank(&self) -> usize {
        local_rank()
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let all = self.gather(bytes)?;
        self.scatter(all.as_deref(), |all, _| all.iter().map(Vec::as_slice).collect())
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        if root > 0 && self.rank == root {
            self.send(0, bytes)?;
        }
        if self.rank == 0 {
            if root > 0 {
                *bytes = self.receive(root - 1)?;
            }
            let others = (0..self.peers.len()).filter(|peer| peer + 1 != root);
            return others.into_iter().try_for_each(|peer| self.send(peer, bytes));
        }
        if self.rank != root {
            *bytes = self.receive(0)?;
        }
        Ok(())
    }

    fn exchange(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        let all = self.gather(&bytes_of(send))?;
        let slice = size_of_val(send) / self.ranks;
        let parts = self.scatter(all.as_deref(), |all, rank| {
            all.iter()
                .map(|sent| sent.get(rank * slice..(rank + 1) * slice).unwrap_or(&[]))
                .collect()
        })?;
        put_together(&parts, receive)
    }

    fn concatenate(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        put_together(&self.all_gather(&bytes_of(send))?, receive)
    }

    fn abort(&self, reason: &str) -> ! {
        eprintln!("error on rank {} of {}: {reason}", self.rank, self.ranks);
        self.life.end_all()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.life.done.store(true, Ordering::SeqCst);
        // A rank that panics would leave the others waiting.
        self.life.say(if thread::panicking() { ABORT } else { BYE });
    }
}

impl Life {
    /// To all; who does not hear it any more needs no word.
    fn say(&self, word: u8) {
        for mut stream in &self.streams {
            let _ = stream.write_all(&[word]);
        }
    }

    /// Ends this process and the others.
    fn end_all(&self) -> ! {
        self.done.store(true, Ordering::SeqCst);
        self.say(ABORT);
        _exit(1)
    }

    /// Until rank `peer`, at the other end of stream `number`, says goodbye.
    fn watch(&self, number: usize, peer: usize, ranks: usize) {
        let mut stream = &self.streams[number];
        let (mut said, mut heard) = (Instant::now(), Instant::now());
        let mut word = [0];
        loop {
            let lost = match stream.read(&mut word) {
                Ok(1) if word[0] == BYE => return,
                Ok(1) if word[0] == ABORT => break,
                Ok(1) => {
                    heard = Instant::now();
                    None
                }
                Ok(_) => Some("its connection closed".into()),
                Err(error) if rendezvous::is_for_later(&error) => (heard.elapsed() > SILENCE)
                    .then(|| format!("it was silent for {} seconds", SILENCE.as_secs())),
                Err(error) => Some(error.to_string()),
            };
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            if let Some(why) = lost {
                eprintln!(
                    "error: rank {peer} of {ranks} was lost: {why}; what was saved last is whole, go on \
                     with --resume"
                );
                break;
            }
            if said.elapsed() >= BEAT {
                // Whether it is heard, the next reading tells.
                let _ = stream.write_all(&[ALIVE]);
                said = Instant::now();
            }
        }
        if !self.done.load(Ordering::SeqCst) {
            self.end_all();
        }
    }
}

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The numbers of all parts, one after the other.
fn put_together(parts: &[Vec<u8>], numbers: &mut [f32]) -> Result<()> {
    if parts.iter().map(Vec::len).sum::<usize>() != size_of_val(numbers) {
        let reason = "a rank sent numbers of another count; start the same program everywhere";
        return Err(TrainError::Communication { reason: reason.into() });
    }
    let words = parts.iter().flat_map(|part| part.chunks_exact(size_of::<f32>()));
    for (number, word) in numbers.iter_mut().zip(words) {
        let mut bytes = [0; size_of::<f32>()];
        bytes.copy_from_slice(word);
        *number = f32::from_le_bytes(bytes);
    }
    Ok(())
}
