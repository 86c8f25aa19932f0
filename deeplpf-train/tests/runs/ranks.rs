//! One run computed by several ranks, here threads of this process that speak through memory.

use std::{
    fs,
    sync::{Arc, Barrier, Mutex},
    thread,
};

use deeplpf_train::{
    Communicator, GuardConfig, OnFailure, Result, RunFolder, RunSummary, StepLine, TrainConfig,
    TrainError, Watch, train, train_together,
};

use crate::{config, records, weights};

/// Ranks as threads: each writes on its own slot of a board, waits for the others, and reads theirs.
struct Threads {
    rank: usize,
    board: Arc<Vec<Mutex<Vec<u8>>>>,
    barrier: Arc<Barrier>,
}

impl Threads {
    fn swap(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        *self.board[self.rank].lock().unwrap() = bytes.to_vec();
        self.barrier.wait();
        let all = self.board.iter().map(|slot| slot.lock().unwrap().clone()).collect();
        self.barrier.wait();
        all
    }

    fn swap_numbers(&self, numbers: &[f32]) -> Vec<Vec<f32>> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let floats = |bytes: Vec<u8>| {
            bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        self.swap(&bytes).into_iter().map(floats).collect()
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.board.len()
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(self.swap(bytes))
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let sent = if self.rank == root { bytes.clone() } else { Vec::new() };
        *bytes = self.swap(&sent).swap_remove(root);
        Ok(())
    }

    fn exchange(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        let slice = send.len() / self.ranks();
        let own = self.rank * slice..(self.rank + 1) * slice;
        for (from, all) in receive.chunks_mut(slice).zip(self.swap_numbers(send)) {
            from.copy_from_slice(&all[own.clone()]);
        }
        Ok(())
    }

    fn concatenate(&self, send: &[f32], receive: &mut [f32]) -> Result<()> {
        receive.copy_from_slice(&self.swap_numbers(send).concat());
        Ok(())
    }

    fn abort(&self, reason: &str) -> ! {
        // The others wait for this one for ever: there is no test to go on with.
        eprintln!("rank {}: {reason}", self.rank);
        std::process::exit(1)
    }
}

/// Every rank trains with its own configuration and watch; what came of each.
fn run_with(
    configs: &[TrainConfig],
    resume: bool,
    stop_after: impl Fn(usize) -> u64 + Sync,
) -> Vec<Result<RunSummary>> {
    let ranks = configs.len();
    let board = Arc::new((0..ranks).map(|_| Mutex::default()).collect::<Vec<_>>());
    let barrier = Arc::new(Barrier::new(ranks));
    thread::scope(|scope| {
        let started: Vec<_> = configs
            .iter()
            .enumerate()
            .map(|(rank, config)| {
                let threads = Threads { rank, board: board.clone(), barrier: barrier.clone() };
                let stop_after = &stop_after;
                scope.spawn(move || {
                    let mut watch = StopAfter { after: stop_after(rank), made: 0 };
                    train_together(config, resume, &mut watch, &threads)
                })
            })
            .collect();
        started.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn run(config: &TrainConfig, ranks: usize, resume: bool) -> Vec<Result<RunSummary>> {
    run_with(&vec![config.clone(); ranks], resume, |_| u64::MAX)
}

pub struct StopAfter {
    pub after: u64,
    pub made: u64,
}

impl Watch for StopAfter {
    fn stop(&self) -> bool {
        self.made >= self.after
    }

    fn step(&mut self, _: &StepLine) {
        self.made += 1;
    }
}

/// Five batches an epoch, in steps of four and one: the second step has less than most have ranks.
pub fn shared(run: &std::path::Path) -> TrainConfig {
    let mut config = TrainConfig { average: 0.9, save_every: 1, ..config(run) };
    config.data.accumulate = 4;
    config
}

pub fn is_the_same_run(one: &TrainConfig, other: &TrainConfig, name: &str) {
    let [one, other] = [one, other].map(|config| RunFolder::new(&config.run));
    assert_eq!(weights(&one), weights(&other), "{name}");
    assert_eq!(fs::read(one.best()).unwrap(), fs::read(other.best()).unwrap(), "{name}");
    assert_eq!(records(&one), records(&other), "{name}");
}

#[test]
fn any_number_of_ranks_gives_the_same_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let alone = shared(&scratch.path().join("alone"));
    let summary = train(&alone, false).unwrap();
    assert_eq!(summary.steps, 8);
    for ranks in 2..=4 {
        let config = shared(&scratch.path().join(ranks.to_string()));
        for (rank, result) in run(&config, ranks, false).into_iter().enumerate() {
            assert_eq!(result.unwrap(), summary, "rank {rank} of {ranks}");
        }
        is_the_same_run(&config, &alone, &format!("{ranks} ranks"));
    }
}

/// Whole images of several sizes, clipped gradients, a frozen backbone, whose parameters then have
/// gradients that nobody uses.
#[test]
fn what_an_optimiser_can_be_told_is_the_same_on_ranks() {
    let scratch = tempfile::tempdir().unwrap();
    let of = |name: &str| {
        let mut config = TrainConfig { epochs: 1, ..shared(&scratch.path().join(name)) };
        (config.data.batch, config.data.crop) = (1, 0);
        (config.adam.clip_norm, config.adam.backbone_rate) = (0.01, 0.0);
        config
    };
    let (alone, ranks) = (of("alone"), of("ranks"));
    let summary = train(&alone, false).unwrap();
    assert_eq!(run(&ranks, 3, false).remove(2).unwrap(), summary);
    is_the_same_run(&ranks, &alone, "3 ranks");
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = shared(&scratch.path().join("whole"));
    train(&whole, false).unwrap();
    let parts = shared(&scratch.path().join("parts"));
    // Told to stop on one rank only, and not on the first.
    for (ranks, steps) in [(3, 3), (1, 2), (2, 1), (4, u64::MAX)] {
        let configs = vec![parts.clone(); ranks];
        let stop = |rank| if rank == ranks - 1 { steps } else { u64::MAX };
        for result in run_with(&configs, true, stop) {
            assert_eq!(result.unwrap().interrupted, steps != u64::MAX);
        }
    }
    is_the_same_run(&parts, &whole, "3, 1, 2 and 4 ranks");
}

#[test]
fn ranks_that_differ_are_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("run");
    let refused = |ranks: usize, change: fn(&mut TrainConfig), part: &str| {
        let mut configs = vec![shared(&folder); ranks];
        change(&mut configs[ranks - 1]);
        for result in run_with(&configs, false, |_| u64::MAX) {
            let error = result.unwrap_err();
            assert!(matches!(error, TrainError::Ranks { .. }), "{error}");
            let error = error.to_string();
            assert!(error.starts_with(&format!("rank {} on ", ranks - 1)), "{error}");
            assert!(error.contains(part), "{error}");
        }
        assert!(!folder.exists(), "{part}");
    };
    refused(2, |c| c.seed = 4, "seed is 3 there, here 4; start all ranks");
    refused(3, |c| c.data.flips = false, "data.flips is true there, here false");
    // What is a rank's own.
    let mut configs = vec![TrainConfig { epochs: 1, ..shared(&folder) }; 2];
    configs[1].data.threads = 0;
    configs[1].run = "elsewhere".into();
    assert!(run_with(&configs, false, |_| u64::MAX).iter().all(|result| result.is_ok()));
    assert!(!std::path::Path::new("elsewhere").exists());
}

#[test]
fn data_that_differ_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let pairs = deeplpf_data::sample::pairs().unwrap();
    let write = |place: &str, count: usize, quality: u8| {
        for side in ["input", "target"] {
            let folder = scratch.path().join(place).join(side);
            fs::create_dir_all(&folder).unwrap();
            for pair in &pairs[..count] {
                let side = if side == "input" { &pair.input } else { &pair.target };
                let (_, height, width) = side.dim();
                let picture = image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
                    let level = |c| (side[[c, y as usize, x as usize]] * f32::from(quality)) as u8;
                    image::Rgb([level(0), level(1), level(2)])
                });
                picture.save(folder.join(format!("{}.png", pair.id))).unwrap();
            }
        }
    };
    write("a", 9, 255);
    write("b", 8, 255);
    write("c", 9, 200);
    let of = |place: &str| {
        let mut config = shared(&scratch.path().join("run"));
        config.data.source = scratch.path().join(place).display().to_string();
        config.data.valid_fraction = 0.0;
        config
    };
    let told = |place: &str| {
        let results = run_with(&[of("a"), of(place)], false, |_| u64::MAX);
        results.into_iter().map(|result| result.unwrap_err().to_string()).collect::<Vec<_>>()
    };
    for error in told("b") {
        assert!(error.contains("has 8 training pairs and rank 0 has 9"), "{error}");
    }
    for error in told("c") {
        assert!(error.contains("other names or file sizes"), "{error}");
    }

    // A picture that one rank cannot read ends all, with its name.
    let broken = scratch.path().join("a/input").join(format!("{}.png", pairs[2].id));
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, vec![7; bytes.len()]).unwrap();
    let errors = run(&of("a"), 2, false);
    let errors: Vec<_> = errors.into_iter().map(|result| result.unwrap_err().to_string()).collect();
    assert!(errors.iter().all(|error| error.contains(&pairs[2].id)), "{errors:?}");
    assert!(errors.iter().any(|error| error.starts_with("rank ")), "{errors:?}");
}

#[test]
fn too_few_batches_for_the_ranks_are_refused_with_what_to_set() {
    let scratch = tempfile::tempdir().unwrap();
    let told = |ranks: usize, change: fn(&mut TrainConfig)| {
        let mut config = shared(&scratch.path().join("run"));
        change(&mut config);
        let mut errors: Vec<_> =
            run(&config, ranks, false).into_iter().map(|r| r.unwrap_err().to_string()).collect();
        errors.dedup();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    };
    let error = told(4, |config| config.data.accumulate = 1);
    assert!(error.contains("a step is over 1 batch (data.accumulate = 1)"), "{error}");
    assert!(error.contains("set data.accumulate to 4 or more and data.batch to 1"), "{error}");
    let error = told(2, |config| (config.data.batch, config.data.accumulate) = (1, 1));
    assert!(error.contains("set data.accumulate to 2 or more, or start fewer ranks"), "{error}");
    let error = told(3, |config| config.data.batch = 8);
    assert!(error.contains("an epoch has 2 batches for 3 ranks"), "{error}");
    assert!(!scratch.path().join("run").exists());
}

/// A run folder that is taken, or holds a run, ends all ranks with rank 0's sentence.
#[test]
fn what_rank_0_cannot_do_ends_all() {
    let scratch = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 1, ..shared(scratch.path()) };
    assert!(run(&config, 2, false).iter().all(|result| result.is_ok()));
    let mut results = run(&config, 2, false).into_iter();
    assert!(matches!(results.next(), Some(Err(TrainError::RunExists { .. }))));
    let error = results.next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("rank 0 on ") && error.contains("already holds a run"), "{error}");
}

/// Steps that go wrong on one rank: the same sentence, count and files as on one.
#[test]
fn a_bad_step_is_the_same_on_ranks() {
    let scratch = tempfile::tempdir().unwrap();
    // Between the losses of the first steps: some batches are above it.
    let of = |name: &str, on_failure, limit: f64| TrainConfig {
        epochs: 2,
        guard: GuardConfig { on_failure, max_loss: limit },
        ..shared(&scratch.path().join(name))
    };
    let losses = of("losses", OnFailure::Stop, 0.0);
    train(&losses, false).unwrap();
    let mean = RunFolder::new(&losses.run).records().unwrap()[0].loss;

    let (alone, ranks) = (of("a", OnFailure::Stop, mean), of("b", OnFailure::Stop, mean));
    let expected = train(&alone, false).unwrap_err().to_string();
    for result in run(&ranks, 3, false) {
        let error = result.unwrap_err();
        assert!(error.to_string().contains(&expected), "{error}\n{expected}");
    }
    let left = |config: &TrainConfig| {
        let mut names: Vec<_> = fs::read_dir(config.run.join("failure"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left(&ranks), left(&alone));
    let name = left(&ranks).into_iter().find(|name| name.ends_with(".json")).unwrap();
    let read = |config: &TrainConfig| {
        let text = fs::read_to_string(config.run.join("failure").join(&name)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(read(&ranks)["error"], read(&alone)["error"]);
    assert_eq!(read(&ranks)["weights"], read(&alone)["weights"]);

    let (alone, ranks) = (of("c", OnFailure::Skip, mean), of("d", OnFailure::Skip, mean));
    let expected = train(&alone, false);
    let results = run(&ranks, 3, false);
    match expected {
        Ok(summary) => {
            assert!(results.iter().all(|result| result.as_ref().unwrap() == &summary));
            is_the_same_run(&ranks, &alone, "skipped");
            let records = RunFolder::new(&ranks.run).records().unwrap();
            assert!(records.iter().any(|record| record.skipped > 0));
        }
        Err(error) => {
            let told = results[0].as_ref().unwrap_err().to_string();
            assert_eq!(told, error.to_string());
        }
    }
}
