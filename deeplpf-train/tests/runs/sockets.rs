//! Ranks that speak through TCP on this machine, here threads of this process.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use deeplpf_train::{
    Communicator, Result, RunSummary, TrainConfig, TrainError,
    distribution::{Meeting, Sockets},
    train, train_together,
};

use crate::ranks::{StopAfter, is_the_same_run, shared};

const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn place(rank: usize, ranks: usize, port: u16) -> Meeting {
    Meeting { rank, ranks, address: "127.0.0.1".into(), port }
}

/// What every rank has to say.
fn with<T: Send>(ranks: usize, work: impl Fn(Sockets) -> T + Sync) -> Vec<T> {
    let port = port();
    thread::scope(|scope| {
        let started: Vec<_> = (0..ranks)
            .map(|rank| {
                let work = &work;
                scope.spawn(move || {
                    work(Sockets::meet(&place(rank, ranks, port), PATIENCE).unwrap())
                })
            })
            .collect();
        started.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn what_is_passed_on_arrives() {
    let ranks = 3;
    let said = |rank: usize| vec![rank as u8; 1000 * rank];
    for (rank, (gathered, told)) in with(ranks, |sockets| {
        let rank = sockets.rank();
        assert_eq!(sockets.ranks(), ranks);
        let gathered = sockets.all_gather(&said(rank)).unwrap();
        let told: Vec<Vec<u8>> = (0..ranks)
            .map(|root| {
                let mut bytes = if rank == root { vec![root as u8; 5] } else { vec![9] };
                sockets.broadcast(root, &mut bytes).unwrap();
                bytes
            })
            .collect();
        let send: Vec<f32> = (0..2 * ranks).map(|i| (10 * rank + i) as f32).collect();
        let mut receive = vec![0.0; 2 * ranks];
        sockets.exchange(&send, &mut receive).unwrap();
        let of = |from: usize| [10 * from + 2 * rank, 10 * from + 2 * rank + 1];
        let expected: Vec<f32> = (0..ranks).flat_map(of).map(|n| n as f32).collect();
        assert_eq!(receive, expected);
        let mut all = vec![0.0; 2 * ranks];
        sockets.concatenate(&[rank as f32, -1.0], &mut all).unwrap();
        assert_eq!(all, [0.0, -1.0, 1.0, -1.0, 2.0, -1.0]);
        (gathered, told)
    })
    .into_iter()
    .enumerate()
    {
        assert_eq!(gathered, (0..ranks).map(said).collect::<Vec<_>>(), "rank {rank}");
        assert_eq!(told, (0..ranks).map(|root| vec![root as u8; 5]).collect::<Vec<_>>());
    }
}

fn run(config: &TrainConfig, ranks: usize, stop_after: u64) -> Vec<Result<RunSummary>> {
    with(ranks, |sockets| {
        // One rank alone is told to stop.
        let after = if sockets.rank() + 1 == ranks { stop_after } else { u64::MAX };
        train_together(config, true, &mut StopAfter { after, made: 0 }, &sockets)
    })
}

/// Broken off after three steps on three ranks, and gone on with on two.
#[test]
fn a_run_on_sockets_has_the_bits_of_one_process() {
    let scratch = tempfile::tempdir().unwrap();
    let alone = shared(&scratch.path().join("alone"));
    let summary = train(&alone, false).unwrap();
    let ranks = shared(&scratch.path().join("ranks"));
    assert!(run(&ranks, 3, 3).into_iter().all(|result| result.unwrap().interrupted));
    for result in run(&ranks, 2, u64::MAX) {
        assert_eq!(result.unwrap(), summary);
    }
    is_the_same_run(&ranks, &alone, "3 and 2 ranks");
}

fn refused(meetings: &[Meeting], patience: Duration) -> Vec<TrainError> {
    thread::scope(|scope| {
        let started: Vec<_> = meetings
            .iter()
            .map(|meeting| scope.spawn(move || Sockets::meet(meeting, patience).err().unwrap()))
            .collect();
        started.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn ranks_that_do_not_fit_are_told_so_on_both_sides() {
    let at = port();
    for (meetings, part) in [
        (
            [place(0, 2, at), place(1, 3, at)],
            "rank 1 was started as one of 3 and rank 0 as one of 2",
        ),
        ([place(0, 2, at), place(2, 3, at)], "rank 2 was started as one of 3"),
        ([place(0, 2, at), place(2, 2, at)], "there is no rank 2 of 2"),
    ] {
        for error in refused(&meetings, PATIENCE) {
            assert!(matches!(error, TrainError::Ranks { .. }), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    let meetings = [place(0, 3, at), place(1, 3, at), place(1, 3, at)];
    let errors: Vec<_> =
        refused(&meetings, PATIENCE).into_iter().map(|error| error.to_string()).collect();
    assert!(errors[0].contains("two processes came as rank 1"), "{errors:?}");
    assert!(errors[1..].iter().any(|error| *error == errors[0]), "{errors:?}");
}

#[test]
fn ranks_that_do_not_come_are_named() {
    let at = port();
    let patience = Duration::from_secs(1);
    let begun = Instant::now();
    let errors = refused(&[place(0, 4, at), place(2, 4, at)], patience);
    for error in errors {
        assert!(error.to_string().contains("within 1 seconds, missing: 1, 3"), "{error}");
    }
    let errors = refused(&[place(1, 2, at)], patience);
    let error = errors[0].to_string();
    assert!(error.contains("rank 1 did not reach rank 0 at 127.0.0.1"), "{error}");
    assert!(error.contains("MASTER_ADDR"), "{error}");
    // Not the patience of a user; far above what a loaded machine adds.
    assert!(begun.elapsed() < Duration::from_secs(30));
    // A port that somebody has, and an address that is not this machine's.
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let meeting = place(0, 2, taken.local_addr().unwrap().port());
    let elsewhere = Meeting { address: "192.0.2.1".into(), ..place(0, 2, at) };
    for meeting in [meeting, elsewhere] {
        let error = refused(&[meeting], patience).remove(0).to_string();
        assert!(
            error.contains("rank 0 cannot listen at") && error.contains("MASTER_PORT"),
            "{error}"
        );
    }
}

/// Somebody else knocks at the port, says nothing or nonsense, and changes nothing.
#[test]
fn strangers_are_not_ranks() {
    let at = port();
    thread::scope(|scope| {
        let first = scope.spawn(move || Sockets::meet(&place(0, 2, at), PATIENCE));
        let knock = || loop {
            match TcpStream::connect(("127.0.0.1", at)) {
                Ok(stream) => return stream,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let silent = knock();
        let mut other = knock();
        other.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let second = scope.spawn(move || Sockets::meet(&place(1, 2, at), PATIENCE));
        let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap().unwrap());
        drop((silent, other));
        let gather = scope.spawn(move || second.all_gather(b"second").unwrap());
        assert_eq!(first.all_gather(b"first").unwrap(), [b"first".to_vec(), b"second".to_vec()]);
        gather.join().unwrap();
    });
}
