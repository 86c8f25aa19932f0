//! How ranks that know an address find each other.
//!
//! Every rank opens two connections to rank 0 and says on each which program and rank it is. When all
//! are there rank 0 welcomes them, or says to all of them why not.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    thread,
    time::{Duration, Instant},
};

use super::Meeting;
use crate::{Result, TrainError};

/// What the program says first, and the version of what follows.
const NAME: [u8; 7] = *b"DeepLPF";
const VERSION: u8 = 1;
/// How long rank 0 listens to somebody who says nothing.
const HEARING: Duration = Duration::from_secs(2);
/// Between two attempts to reach rank 0, and two looks for somebody new.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest reading of a thread that has other things to do.
const GLANCE: Duration = Duration::from_millis(500);
/// Most bytes of a refusal.
const MOST_WORDS: u64 = 4096;

/// A rank's connections with another: what they talk on, and what shows that they live.
pub(super) type Pair = [TcpStream; 2];

/// What a rank says when it connects.
#[derive(Clone, Copy)]
struct Hello {
    ranks: u32,
    rank: u32,
    /// Which of the two connections.
    which: u8,
}

/// The connections of rank 0 with all others, in their order, or of another one with rank 0.
pub(super) fn meet(meeting: &Meeting, patience: Duration) -> Result<Vec<Pair>> {
    let deadline = Instant::now() + patience;
    let pairs = match meeting.rank {
        0 => receive(meeting, deadline, patience)?,
        _ => vec![connect(meeting, deadline, patience)?],
    };
    for [talk, life] in &pairs {
        let set = talk
            .set_nodelay(true)
            .and_then(|()| talk.set_read_timeout(None))
            .and_then(|()| life.set_read_timeout(Some(GLANCE)));
        set.map_err(|error| failed(format!("a connection cannot be set up: {error}")))?;
    }
    Ok(pairs)
}

/// Whether nothing has come yet.
pub(super) fn is_for_later(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn failed(reason: String) -> TrainError {
    TrainError::Communication { reason }
}

/// Rank 0: waits for all others.
fn receive(meeting: &Meeting, deadline: Instant, patience: Duration) -> Result<Vec<Pair>> {
    let Meeting { ranks, address, port, .. } = meeting;
    let cannot = |error: io::Error| {
        failed(format!(
            "rank 0 cannot listen at {address}:{port} ({error}); set MASTER_ADDR to an address of its \
             machine that the others reach, and MASTER_PORT to a free port"
        ))
    };
    let listener = TcpListener::bind((address.as_str(), *port)).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let mut seats: Vec<[Option<TcpStream>; 2]> = (1..*ranks).map(|_| [None, None]).collect();
    let came = |seats: &[[Option<TcpStream>; 2]]| seats.iter().flatten().all(Option::is_some);
    while !came(&seats) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if is_for_later(&error) => {
                if Instant::now() > deadline {
                    let missing = seats.iter().enumerate().filter(|(_, seat)| seat[0].is_none());
                    let missing: Vec<_> =
                        missing.map(|(number, _)| (number + 1).to_string()).collect();
                    return Err(refuse(
                        &seats,
                        failed(format!(
                            "not all of {ranks} ranks came to {address}:{port} within {} seconds, \
                             missing: {}; start them all, with an address they can reach",
                            patience.as_secs(),
                            missing.join(", ")
                        )),
                    ));
                }
                thread::sleep(PAUSE);
                continue;
            }
            // Somebody who was gone again.
            Err(_) => continue,
        };
        // Others than ranks may knock at an open port.
        let Ok(Some((version, hello))) = Hello::read(&stream) else { continue };
        let seat = (hello.rank as usize).checked_sub(1);
        let place = seat.and_then(|seat| seats.get_mut(seat)?.get_mut(usize::from(hello.which)));
        let reason = if version != VERSION {
            Some(
                "another version of the program came as a rank; use the same file everywhere"
                    .into(),
            )
        } else if hello.ranks as usize != *ranks {
            Some(format!(
                "rank {} was started as one of {} and rank 0 as one of {ranks}; start all with the \
                 same number (WORLD_SIZE)",
                hello.rank, hello.ranks
            ))
        } else {
            match place {
                Some(place @ None) => {
                    *place = Some(stream);
                    continue;
                }
                Some(Some(_)) => Some(format!(
                    "two processes came as rank {}; give each a number of its own (RANK)",
                    hello.rank
                )),
                None => Some(format!("there is no rank {} of {ranks}", hello.rank)),
            }
        };
        if let Some(reason) = reason {
            let _ = say(&stream, &reason);
            return Err(refuse(&seats, TrainError::Ranks { reason }));
        }
    }
    let pairs = seats.into_iter().filter_map(|[talk, life]| Some([talk?, life?]));
    let pairs: Vec<Pair> = pairs.collect();
    for (number, [talk, _]) in pairs.iter().enumerate() {
        say(talk, "").map_err(|error| {
            failed(format!("rank {} of {ranks} was lost at once: {error}", number + 1))
        })?;
    }
    Ok(pairs)
}

/// Says to all that came why they cannot begin.
fn refuse(seats: &[[Option<TcpStream>; 2]], error: TrainError) -> TrainError {
    for stream in seats.iter().filter_map(|[talk, _]| talk.as_ref()) {
        // Who is gone again needs no answer.
        let _ = say(stream, &error.to_string());
    }
    error
}

/// Another rank: goes to rank 0.
fn connect(meeting: &Meeting, deadline: Instant, patience: Duration) -> Result<Pair> {
    let Meeting { rank, ranks, address, port } = meeting;
    let reach = |which: u8| -> Result<TcpStream> {
        let mut stream = open(address, *port, deadline).map_err(|error| {
            failed(format!(
                "rank {rank} did not reach rank 0 at {address}:{port} within {} seconds ({error}); \
                 MASTER_ADDR and MASTER_PORT must be those of rank 0's machine",
                patience.as_secs()
            ))
        })?;
        let hello = Hello { ranks: *ranks as u32, rank: *rank as u32, which };
        let said = stream.write_all(&hello.bytes());
        said.map_err(|error| failed(format!("rank 0 at {address}:{port} hung up: {error}")))?;
        Ok(stream)
    };
    let (talk, life) = (reach(0)?, reach(1)?);
    // Rank 0 began later than this one, or a little earlier: it is the first to lose patience.
    let rest = deadline.saturating_duration_since(Instant::now()) + patience;
    let answer = talk
        .set_read_timeout(Some(rest.max(GLANCE)))
        .and_then(|()| heard(&talk))
        .map_err(|error| {
            failed(format!(
                "what answers at {address}:{port} is no rank 0 of this program, or it ended before all \
                 ranks were there ({error})"
            ))
        })?;
    match answer.is_empty() {
        true => Ok([talk, life]),
        false => Err(TrainError::Ranks { reason: answer }),
    }
}

/// Tries until the deadline: rank 0 may begin later than this one.
fn open(address: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    loop {
        let attempt = || -> io::Result<TcpStream> {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for place in (address, port).to_socket_addrs()? {
                let rest = deadline.saturating_duration_since(Instant::now()).max(GLANCE);
                match TcpStream::connect_timeout(&place, rest) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match attempt() {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// A sentence; nothing means welcome.
fn say(mut stream: &TcpStream, words: &str) -> io::Result<()> {
    stream.write_all(&(words.len() as u64).to_le_bytes())?;
    stream.write_all(words.as_bytes())
}

fn heard(mut stream: &TcpStream) -> io::Result<String> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MOST_WORDS {
        return Err(io::Error::other("it speaks otherwise"));
    }
    let mut words = vec![0; length as usize];
    stream.read_exact(&mut words)?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

impl Hello {
    const BYTES: usize = NAME.len() + 1 + 4 + 4 + 1;

    fn bytes(self) -> Vec<u8> {
        let mut bytes = NAME.to_vec();
        bytes.push(VERSION);
        bytes.extend(self.ranks.to_le_bytes());
        bytes.extend(self.rank.to_le_bytes());
        bytes.push(self.which);
        bytes
    }

    /// With the version; `None` for somebody else.
    fn read(mut stream: &TcpStream) -> io::Result<Option<(u8, Self)>> {
        // Of the listener, on some systems.
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(HEARING))?;
        let mut bytes = [0; Self::BYTES];
        stream.read_exact(&mut bytes)?;
        let Some([version, rest @ ..]) = bytes.strip_prefix(&NAME) else { return Ok(None) };
        let word =
            |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        Ok(Some((*version, Self { ranks: word(0), rank: word(4), which: rest[8] })))
    }
}
