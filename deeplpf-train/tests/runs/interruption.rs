//! Runs that are stopped between two steps and go on.

use std::fs;

use deeplpf_train::{RunFolder, StepLine, TrainConfig, Watch, train, train_watched};

use crate::{config, records, weights};

/// Stops the run once it has made `after` steps in all.
struct StopAfter {
    after: u64,
    made: u64,
    lines: Vec<StepLine>,
    epochs: Vec<u64>,
}

impl StopAfter {
    fn steps(after: u64) -> Self {
        Self { after, made: 0, lines: Vec::new(), epochs: Vec::new() }
    }
}

impl Watch for StopAfter {
    fn stop(&self) -> bool {
        self.made >= self.after
    }

    fn step(&mut self, line: &StepLine) {
        self.made += 1;
        self.lines.push(line.clone());
    }

    fn epoch(&mut self, record: &deeplpf_train::EpochRecord) {
        self.epochs.push(record.epoch);
    }
}

/// Stopped after every third step, whatever lies in between: epochs of five steps, validations, a
/// moving average, accumulated gradients, sides of crops that differ from batch to batch.
#[test]
fn a_run_stopped_again_and_again_is_the_uninterrupted_one_to_the_bit() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, accumulate, crops) in [("plain", 1, vec![]), ("mixed", 2, vec![40, 48, 64])] {
        let of = |part: &str| {
            let mut config = config(&scratch.path().join(format!("{name}-{part}")));
            config.average = 0.9;
            config.data.accumulate = accumulate;
            config.data.crop = if crops.is_empty() { 48 } else { 0 };
            config.data.crops = crops.clone();
            config
        };
        let (whole, parts) = (of("whole"), of("parts"));
        let summary = train(&whole, false).unwrap();
        let mut stops = 0;
        loop {
            let mut watch = StopAfter::steps(3);
            let part = train_watched(&parts, true, &mut watch).unwrap();
            assert!(watch.made <= 3);
            if !part.interrupted {
                assert_eq!(part, summary, "{name}");
                break;
            }
            stops += 1;
        }
        assert!(stops >= 3, "{name}: {stops}");
        let (whole, parts) = (RunFolder::new(whole.run), RunFolder::new(parts.run));
        assert_eq!(weights(&parts), weights(&whole), "{name}");
        assert_eq!(fs::read(parts.best()).unwrap(), fs::read(whole.best()).unwrap(), "{name}");
        assert_eq!(records(&parts), records(&whole), "{name}");
    }
}

/// A state between validations loses no more than `save_every` steps, and changes nothing.
#[test]
fn states_between_validations_are_saved_as_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let plain = config(&scratch.path().join("plain"));
    train(&plain, false).unwrap();
    let saving = TrainConfig { save_every: 2, ..config(&scratch.path().join("saving")) };
    train(&saving, false).unwrap();
    let [plain, saving] = [plain, saving].map(|config| RunFolder::new(config.run));
    assert_eq!(weights(&saving), weights(&plain));
    assert_eq!(records(&saving), records(&plain));

    struct CrashAfter(u64, u64);
    impl Watch for CrashAfter {
        fn step(&mut self, _: &StepLine) {
            self.1 += 1;
            assert!(self.1 <= self.0, "crash");
        }
    }
    let config = TrainConfig { save_every: 2, ..config(&scratch.path().join("crashed")) };
    let crashed = std::panic::catch_unwind(|| train_watched(&config, false, &mut CrashAfter(3, 0)));
    assert!(crashed.is_err());
    let folder = RunFolder::new(&config.run);
    assert!(folder.state().exists(), "saved after the second of five steps");
    let mut rest = StopAfter::steps(u64::MAX);
    train_watched(&config, true, &mut rest).unwrap();
    assert_eq!((rest.made, rest.lines[0].step), (18, 3));
    assert_eq!(weights(&folder), weights(&plain));
}

#[test]
fn who_looks_on_is_told_of_every_step_and_epoch() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let mut watch = StopAfter::steps(u64::MAX);
    train_watched(&config, false, &mut watch).unwrap();
    let steps: Vec<u64> = watch.lines.iter().map(|line| line.step).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
    assert!(watch.lines.iter().all(|line| line.steps == 20 && line.loss > 0.0));
    assert_eq!(watch.epochs, [1, 2, 3, 4]);
    assert!(watch.lines[4].best_psnr.is_none() && watch.lines[5].best_psnr.is_some());
}
