//! Whole runs on the embedded sample set with a tiny model.

mod interruption;
mod ranks;
#[cfg(feature = "nccl")]
mod sockets;
mod steps;
mod tensorboard;

use std::{fs, path::Path};

use deeplpf_core::{Checkpoint, Initialisation, Input, ModelConfig};
use deeplpf_train::{
    AdamConfig, DataConfig, GuardConfig, OnFailure, RunFolder, ScheduleConfig, ScheduleKind,
    TrainConfig, TrainError, TrainingData, Watch, train, train_watched,
};

/// Ten crops of 48 pixels an epoch on a very narrow model: a fraction of a second.
fn config(run: &Path) -> TrainConfig {
    TrainConfig {
        run: run.into(),
        seed: 3,
        epochs: 4,
        validate_every: 1,
        initialisation: Initialisation::Identity,
        data: DataConfig { crop: 48, batch: 2, ..DataConfig::default() },
        model: ModelConfig {
            widths: [3, 4, 4, 4, 4],
            features: 5,
            head_width: 4,
            head_size: 43,
            ..ModelConfig::small()
        },
        adam: AdamConfig { learning_rate: 1e-3, ..AdamConfig::default() },
        ..TrainConfig::default()
    }
}

/// Trains and returns the sentences for the user.
fn notes_of(config: &TrainConfig, resume: bool) -> Vec<String> {
    struct Notes(Vec<String>);
    impl Watch for Notes {
        fn note(&mut self, sentence: &str) {
            self.0.push(sentence.into());
        }
    }
    let mut notes = Notes(Vec::new());
    train_watched(config, resume, &mut notes).unwrap();
    notes.0
}

fn weights(folder: &RunFolder) -> Vec<u8> {
    fs::read(folder.last()).unwrap()
}

/// Records without the seconds, which differ from run to run.
fn records(folder: &RunFolder) -> Vec<(u64, u64, f64, Option<f64>)> {
    let records = folder.records().unwrap();
    records.iter().map(|r| (r.epoch, r.step, r.loss, r.valid_psnr)).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let scratch = tempfile::tempdir().unwrap();
    let run = |name: &str, threads: usize, seed: u64| {
        let config = TrainConfig { seed, ..config(&scratch.path().join(name)) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&config, false)).unwrap();
        RunFolder::new(config.run)
    };
    let (first, second) = (run("a", 1, 3), run("b", 4, 3));
    assert_eq!(weights(&first), weights(&second));
    assert_eq!(records(&first), records(&second));
    assert_ne!(weights(&first), weights(&run("c", 2, 4)), "another seed is another run");
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_bit() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = config(&scratch.path().join("whole"));
    let summary = train(&whole, false).unwrap();
    assert_eq!((summary.epochs, summary.steps), (4, 20));

    let split = TrainConfig { epochs: 2, ..config(&scratch.path().join("split")) };
    train(&split, false).unwrap();
    // A crash may leave records beyond the saved state, and half a line.
    let folder = RunFolder::new(&split.run);
    let mut metrics = fs::read_to_string(folder.metrics()).unwrap();
    metrics += &metrics.lines().last().unwrap().replace("\"epoch\":2", "\"epoch\":3");
    metrics += "\n{\"epoch\":4,\"st";
    fs::write(folder.metrics(), metrics).unwrap();
    let resumed = train(&TrainConfig { epochs: 4, ..split.clone() }, true).unwrap();
    let whole_folder = RunFolder::new(&whole.run);
    assert_eq!(weights(&folder), weights(&whole_folder));
    assert_eq!(fs::read(folder.best()).unwrap(), fs::read(whole_folder.best()).unwrap());
    assert_eq!(records(&folder), records(&whole_folder));
    assert_eq!(resumed, summary);

    // Finished: nothing to do, nothing changed.
    let before = weights(&folder);
    assert_eq!(train(&TrainConfig { epochs: 4, ..split }, true).unwrap().epochs, 4);
    assert_eq!(weights(&folder), before);
}

#[test]
fn a_lost_newest_state_falls_back_to_the_one_before() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    train(&config, false).unwrap();
    let folder = RunFolder::new(&config.run);
    let finished = weights(&folder);
    fs::remove_file(folder.state()).unwrap();
    train(&config, true).unwrap();
    assert_eq!(weights(&folder), finished);
}

#[test]
fn a_damaged_newest_state_falls_back_and_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    train(&config, false).unwrap();
    let folder = RunFolder::new(&config.run);
    let finished = weights(&folder);
    let state = fs::read(folder.state()).unwrap();
    fs::write(folder.state(), &state[..state.len() / 2]).unwrap();
    let notes = notes_of(&config, true);
    assert_eq!(weights(&folder), finished);
    assert!(notes[0].contains("previous.safetensors instead"), "{notes:?}");
}

#[test]
fn two_damaged_states_say_what_is_left() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    train(&config, false).unwrap();
    let folder = RunFolder::new(&config.run);
    for state in [folder.state(), folder.previous_state()] {
        let bytes = fs::read(&state).unwrap();
        fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    }
    let error = train(&config, true).unwrap_err().to_string();
    assert!(error.contains("neither") && error.contains("last.safetensors"), "{error}");
}

/// The sample set as files, of which some are then changed.
#[test]
fn a_run_does_not_go_on_with_other_pairs() {
    let scratch = tempfile::tempdir().unwrap();
    let set = scratch.path().join("set");
    deeplpf_data::sample::write_to(&set).unwrap();
    let mut config = TrainConfig { epochs: 1, ..config(&scratch.path().join("run")) };
    config.data.source = set.display().to_string();
    train(&config, false).unwrap();
    config.epochs = 2;
    let trained = fs::read_to_string(config.run.join("splits/train.txt")).unwrap();
    let id = trained.lines().next().unwrap();
    let file = |folder: &str| {
        let files = fs::read_dir(set.join(folder)).unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|file| file.file_stem().unwrap() == id).unwrap()
    };
    let (input, target) = (file("input"), file("target"));
    let kept = fs::read(&target).unwrap();
    fs::copy(&input, &target).unwrap();
    let refused = || train(&config, true).unwrap_err().to_string();
    let error = refused();
    assert!(
        error.contains("training pairs have the same names, but files of other sizes"),
        "{error}"
    );
    let aside = scratch.path().join("aside.png");
    fs::rename(&input, &aside).unwrap();
    fs::remove_file(&target).unwrap();
    let error = refused();
    assert!(error.contains(&format!("training pair `{id}` is not there any more")), "{error}");
    fs::rename(&aside, &input).unwrap();
    fs::write(&target, kept).unwrap();
    train(&config, true).unwrap();
}

#[test]
fn a_run_is_neither_shortened_nor_shared() {
    let scratch = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 2, ..config(scratch.path()) };
    train(&config, false).unwrap();
    let shorter = TrainConfig { epochs: 1, ..config.clone() };
    let error = train(&shorter, true).unwrap_err().to_string();
    assert!(error.contains("has 2 epochs and cannot be shortened to 1"), "{error}");
    assert_eq!(TrainConfig::read(&RunFolder::new(&config.run).config(), &[]).unwrap(), config);

    let path = config.run.join("lock");
    assert!(fs::read_to_string(&path).unwrap().starts_with("process "));
    fs::write(&path, "process 7 on mars\n").unwrap();
    let lock = fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let longer = TrainConfig { epochs: 3, ..config };
    let error = train(&longer, true).unwrap_err().to_string();
    assert!(error.contains("another process (process 7 on mars)"), "{error}");
    drop(lock);
    train(&longer, true).unwrap();
}

/// What a refused training made goes again; what was there before stays.
#[test]
fn a_refused_training_leaves_no_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let pairs = scratch.path().join("pairs");
    deeplpf_data::sample::write_to(&pairs).unwrap();
    let base = config(&scratch.path().join("runs/a"));
    let data = DataConfig { source: pairs.display().to_string(), ..base.data.clone() };
    let base = TrainConfig { data, ..base };
    let left = || -> Vec<_> {
        let entries = fs::read_dir(scratch.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let unknown = TrainConfig { weights: scratch.path().join("none.safetensors"), ..base.clone() };
    train(&unknown, false).unwrap_err();
    assert_eq!(left(), ["pairs"]);
    // All training pairs damaged: refused by the cache, or in the first step.
    for entry in fs::read_dir(pairs.join("input")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let no_validation = DataConfig { valid_fraction: 0.0, ..base.data.clone() };
    for cache in ["", "auto"] {
        let data = DataConfig { cache: cache.into(), ..no_validation.clone() };
        let error = train(&TrainConfig { data, ..base.clone() }, false).unwrap_err().to_string();
        assert!(error.contains("truncated"), "{error}");
        assert_eq!(left(), ["pairs"]);
    }
    // A folder with a file of somebody's, or one that was there already, is left alone.
    fs::create_dir_all(&base.run).unwrap();
    train(&unknown, false).unwrap_err();
    assert!(base.run.exists());
}

#[test]
fn without_validation_pairs_the_best_weights_are_the_last() {
    let scratch = tempfile::tempdir().unwrap();
    let pairs = scratch.path().join("pairs");
    deeplpf_data::sample::write_to(&pairs).unwrap();
    let base = config(&scratch.path().join("run"));
    let data = DataConfig {
        source: pairs.display().to_string(),
        valid_fraction: 0.0,
        ..base.data.clone()
    };
    let folder = RunFolder::new(&base.run);
    for epochs in [1, 2] {
        let config = TrainConfig { epochs, data: data.clone(), ..base.clone() };
        train(&config, true).unwrap();
        assert_eq!(fs::read(folder.best()).unwrap(), weights(&folder), "{epochs} epochs");
    }
}

#[test]
fn a_validation_picture_that_cannot_be_read_is_found_before_the_first_step() {
    let scratch = tempfile::tempdir().unwrap();
    let pairs = scratch.path().join("pairs");
    deeplpf_data::sample::write_to(&pairs).unwrap();
    fs::write(pairs.join("target/rocket-1.png"), b"broken").unwrap();
    let base = config(&scratch.path().join("run"));
    let data = DataConfig {
        source: pairs.display().to_string(),
        valid: pairs.join("valid.txt"),
        ..base.data.clone()
    };
    let error = train(&TrainConfig { data, ..base.clone() }, false).unwrap_err().to_string();
    assert!(error.contains("rocket-1.png"), "{error}");
    assert!(!base.run.exists());
}

#[test]
fn training_improves_and_the_run_folder_describes_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 8, ..config(&scratch.path().join("run")) };
    train(&config, false).unwrap();
    let folder = RunFolder::new(&config.run);
    let records = folder.records().unwrap();
    assert_eq!(records.len(), 8);
    let valid = |epoch: usize| records[epoch].valid_psnr.unwrap();
    assert!(valid(7) > valid(0) + 2.0, "two decibels in 40 steps: {records:?}");
    assert_eq!(TrainConfig::read(&folder.config(), &[]).unwrap(), config);
    let best = Checkpoint::read(&folder.best()).unwrap();
    assert_eq!(best.config, Some(config.model.clone()));
    let train_ids = fs::read_to_string(config.run.join("splits/train.txt")).unwrap();
    let valid_ids = fs::read_to_string(config.run.join("splits/valid.txt")).unwrap();
    assert!(train_ids.lines().count() > valid_ids.lines().count());
    assert!(valid_ids.lines().all(|id| !train_ids.lines().any(|other| other == id)));
}

#[test]
fn a_run_folder_is_not_overwritten_or_continued_under_another_configuration() {
    let scratch = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 1, ..config(scratch.path()) };
    train(&config, false).unwrap();
    assert!(matches!(train(&config, false), Err(TrainError::RunExists { .. })));
    let other = TrainConfig { seed: 99, ..config };
    let error = train(&other, true).unwrap_err().to_string();
    assert!(error.contains("seed was 3, now 99"), "{error}");
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_state() {
    let scratch = tempfile::tempdir().unwrap();
    let good = TrainConfig { epochs: 1, ..config(&scratch.path().join("good")) };
    train(&good, false).unwrap();
    let bad = TrainConfig {
        adam: AdamConfig { learning_rate: 1e30, ..AdamConfig::default() },
        ..config(&scratch.path().join("bad"))
    };
    let error = train(&bad, false).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { step: 1.., .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("learning_rate") && text.contains("step"), "{text}");
    assert!(!RunFolder::new(&bad.run).last().exists());
    // Nothing was saved, so the folder is free for a better configuration.
    train(&TrainConfig { epochs: 1, adam: good.adam, ..bad }, false).unwrap();
}

#[test]
fn weights_to_start_from_must_be_of_the_same_model() {
    let scratch = tempfile::tempdir().unwrap();
    let first = TrainConfig { epochs: 1, ..config(&scratch.path().join("first")) };
    train(&first, false).unwrap();
    let weights = RunFolder::new(&first.run).last();
    let second = TrainConfig { weights: weights.clone(), ..config(&scratch.path().join("second")) };
    train(&second, false).unwrap();
    let other = TrainConfig {
        model: ModelConfig { graduated: 1, ..first.model },
        ..TrainConfig { weights, ..config(&scratch.path().join("third")) }
    };
    let error = train(&other, false).unwrap_err().to_string();
    assert!(error.contains("graduated is 3 in the file, asked for 1"), "{error}");
}

/// Dropout has no parameters, so any weights may go on under another; what is saved names the new one.
#[test]
fn weights_go_on_under_another_dropout() {
    let scratch = tempfile::tempdir().unwrap();
    let first = TrainConfig { epochs: 1, ..config(&scratch.path().join("first")) };
    train(&first, false).unwrap();
    let weights = RunFolder::new(&first.run).last();
    let dropout = first.model.dropout / 2.0 + 0.01;
    let second = TrainConfig {
        weights,
        model: ModelConfig { dropout, ..first.model },
        ..TrainConfig { epochs: 1, ..config(&scratch.path().join("second")) }
    };
    train(&second, false).unwrap();
    let saved = Checkpoint::read(&RunFolder::new(&second.run).last()).unwrap();
    assert_eq!(saved.config.unwrap().dropout, dropout);
}

#[test]
fn lists_choose_the_pairs_and_must_not_overlap() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("pairs");
    deeplpf_data::sample::write_to(&folder).unwrap();
    let list = |name: &str, ids: &[&str]| {
        let path = scratch.path().join(name);
        fs::write(&path, ids.join("\n")).unwrap();
        path
    };
    let ids = deeplpf_data::sample::truth().unwrap();
    let ids: Vec<&str> = ids.pictures.iter().map(|picture| picture.id.as_str()).collect();
    let base = DataConfig { source: folder.display().to_string(), ..DataConfig::default() };
    let config = DataConfig {
        valid: list("valid.txt", &ids[..2]),
        exclude: list("test.txt", &ids[2..5]),
        ..base.clone()
    };
    let data = TrainingData::from_config(&config, 1).unwrap();
    assert_eq!((data.train.len(), data.valid.len()), (ids.len() - 5, 2));
    assert!((0..data.train.len()).all(|i| !ids[..5].contains(&data.train.id(i))));

    // Without lists, a tenth (rounded up) is drawn for validation.
    let drawn = TrainingData::from_config(&base, 1).unwrap();
    assert_eq!(drawn.valid.len(), ids.len().div_ceil(10));
    assert_eq!(drawn.train.len() + drawn.valid.len(), ids.len());

    let overlapping = DataConfig { train: list("train.txt", &ids[1..4]), ..config };
    assert!(TrainingData::from_config(&overlapping, 1).is_err());
    let unknown = DataConfig { valid: list("unknown.txt", &["a9999"]), ..base };
    let error = TrainingData::from_config(&unknown, 1).unwrap_err().to_string();
    assert!(error.contains("a9999") && error.contains("unknown.txt"), "{error}");
}

/// The tree that Image-Adaptive-3DLUT distributes, with two experts and the long form of FiveK's names.
#[test]
fn every_layout_is_a_source_and_ids_have_two_forms() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("fivek_dataset");
    let pictures: Vec<_> = fs::read_dir({
        deeplpf_data::sample::write_to(scratch.path().join("sample")).unwrap();
        scratch.path().join("sample/input")
    })
    .unwrap()
    .map(|entry| entry.unwrap().path())
    .collect();
    for side in ["input", "expertA", "expertC"] {
        let folder = root.join(side).join("JPG/480p");
        fs::create_dir_all(&folder).unwrap();
        for (number, picture) in (1..=5).zip(&pictures) {
            fs::copy(picture, folder.join(format!("a{number:04}-x.png"))).unwrap();
        }
    }
    let list = |name: &str, ids: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, ids).unwrap();
        path
    };
    let config = DataConfig {
        source: scratch.path().display().to_string(),
        target: "expertC".into(),
        exclude: list("exclude.txt", "a0001-x\r\na0003\r\n"),
        valid: list("valid.txt", "a0005-x\n"),
        ..DataConfig::default()
    };
    let ids = |config: &DataConfig| {
        let data = TrainingData::from_config(config, 1).unwrap();
        (0..data.train.len()).map(|i| data.train.id(i).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&config), ["a0002", "a0004"]);
    let url = format!("file://{}", scratch.path().display());
    assert_eq!(ids(&DataConfig { source: url, ..config.clone() }), ["a0002", "a0004"]);

    let refused =
        |config: DataConfig| TrainingData::from_config(&config, 1).unwrap_err().to_string();
    // One pair in its two forms.
    let train = list("train.txt", "a0002\na0001\n");
    let error = refused(DataConfig { train, ..config.clone() });
    assert!(error.contains("`a0001` is for training and also in another list"), "{error}");
    let twice = list("twice.txt", "a0002\na0002-x\n");
    let error = refused(DataConfig { train: twice, ..config.clone() });
    assert!(error.contains("twice.txt:2") && error.contains("listed already"), "{error}");
    let error = refused(DataConfig { target: String::new(), ..config.clone() });
    assert!(error.contains("expertA") && error.contains("data.target"), "{error}");
    let error = refused(DataConfig { source: "ftp://host/set".into(), ..config });
    assert!(error.contains("ftp:// is none of file, s3"), "{error}");
}

/// Pairs as a folder of files.
fn with_files(base: &TrainConfig, pairs: &Path) -> TrainConfig {
    deeplpf_data::sample::write_to(pairs).unwrap();
    let data = DataConfig {
        source: pairs.display().to_string(),
        valid: pairs.join("valid.txt"),
        exclude: pairs.join("test.txt"),
        ..base.data.clone()
    };
    TrainConfig { data, ..base.clone() }
}

/// A set that comes with a list of test pairs is not trained on wholly without a word.
#[test]
fn a_forgotten_list_of_test_pairs_is_mentioned() {
    let scratch = tempfile::tempdir().unwrap();
    let pairs = scratch.path().join("pairs");
    let base = TrainConfig { epochs: 1, ..config(&scratch.path().join("run")) };
    let named = with_files(&base, &pairs);
    assert!(notes_of(&named, false).iter().all(|note| !note.contains("data.exclude")));
    let mut forgotten = named;
    forgotten.run = scratch.path().join("other");
    forgotten.data.exclude = "".into();
    let notes = notes_of(&forgotten, false);
    assert!(
        notes.iter().any(|n| n.contains("test.txt") && n.contains("data.exclude")),
        "{notes:?}"
    );
}

#[test]
fn cache_and_threads_change_nothing_and_may_change_on_resume() {
    let scratch = tempfile::tempdir().unwrap();
    let pairs = scratch.path().join("pairs");
    let plain = with_files(&config(&scratch.path().join("plain")), &pairs);
    let with = |name: &str, cache: &str, threads: usize, epochs: u64| {
        let data = DataConfig { cache: cache.into(), threads, ..plain.data.clone() };
        TrainConfig { run: scratch.path().join(name), data, epochs, ..plain.clone() }
    };
    let expected = {
        let config = with("plain", "", 0, 4);
        train(&config, false).unwrap();
        RunFolder::new(config.run)
    };
    let caches = scratch.path().join("caches").display().to_string();
    for (name, cache, threads) in
        [("prefetched", "", 3), ("cached", "auto", 0), ("both", caches.as_str(), 2)]
    {
        let config = with(name, cache, threads, 4);
        let notes = notes_of(&config, false);
        let folder = RunFolder::new(config.run);
        assert_eq!(weights(&folder), weights(&expected), "{name}");
        assert_eq!(records(&folder), records(&expected), "{name}");
        assert_eq!(notes.iter().any(|note| note.contains("12 pairs")), !cache.is_empty());
    }
    assert!(pairs.join(".deeplpf-cache").is_dir());
    assert!(!pairs.join("input/.deeplpf-cache").exists());

    // Begun with one, gone on with another, and without.
    train(&with("resumed", &caches, 2, 1), false).unwrap();
    let notes = notes_of(&with("resumed", "auto", 0, 2), true);
    assert!(notes.is_empty(), "found, not made: {notes:?}");
    train(&with("resumed", "", 1, 4), true).unwrap();
    let resumed = RunFolder::new(scratch.path().join("resumed"));
    assert_eq!(weights(&resumed), weights(&expected));
}

#[test]
fn a_cache_that_cannot_be_made_stops_the_run_before_the_first_step() {
    let scratch = tempfile::tempdir().unwrap();
    let base = with_files(&config(&scratch.path().join("run")), &scratch.path().join("pairs"));
    let file = scratch.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    let data = DataConfig { cache: file.display().to_string(), ..base.data.clone() };
    let error = train(&TrainConfig { data, ..base.clone() }, false).unwrap_err().to_string();
    assert!(error.contains("cannot be used") && error.contains("data.cache"), "{error}");
    // Nothing was trained, so the folder is free.
    train(&base, false).unwrap();
}

/// Augmentation is drawn from the seed as well, and it is part of the configuration.
#[test]
fn augmentation_is_repeatable_and_makes_another_run() {
    let scratch = tempfile::tempdir().unwrap();
    let with = |name: &str, exposure: f64, threads: usize| {
        let mut config = TrainConfig { epochs: 2, ..config(&scratch.path().join(name)) };
        config.data.augment.exposure = exposure;
        config.data.threads = threads;
        train(&config, false).unwrap();
        config
    };
    let (first, second, without) = (with("a", 0.5, 0), with("b", 0.5, 3), with("c", 0.0, 2));
    let bits = |config: &TrainConfig| weights(&RunFolder::new(&config.run));
    assert_eq!(bits(&first), bits(&second));
    assert_ne!(bits(&first), bits(&without));
    let mut other = TrainConfig { epochs: 3, ..first };
    other.data.augment.saturation = 0.5;
    let error = train(&other, true).unwrap_err().to_string();
    assert!(error.contains("data.augment.saturation was 0"), "{error}");
    other.data.augment.saturation = 2.0;
    let error = train(&other, true).unwrap_err().to_string();
    assert!(error.contains("data.augment.saturation must be at least 0 and at most 1"), "{error}");
}

/// Everything that departs from the release at once.
fn tuned(run: &Path) -> TrainConfig {
    let adam = AdamConfig { clip_norm: 0.5, heads_rate: 0.5, ..config(run).adam };
    TrainConfig {
        average: 0.9,
        schedule: ScheduleConfig { kind: ScheduleKind::Cosine, warm_up: 3, floor: 0.1 },
        adam,
        ..config(run)
    }
}

/// Ends by itself once the state of the second of four epochs is saved, as a kill would.
fn interrupted(config: &TrainConfig) {
    let folder = RunFolder::new(&config.run);
    let kept = config.run.join("kept");
    train(config, false).unwrap();
    // The state before the last is that of the third epoch; records beyond it are cut off.
    fs::rename(folder.previous_state(), &kept).unwrap();
    fs::remove_file(folder.state()).unwrap();
    fs::rename(kept, folder.state()).unwrap();
}

#[test]
fn schedule_average_and_clipping_resume_to_the_bit() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = tuned(&scratch.path().join("whole"));
    train(&whole, false).unwrap();
    let split = tuned(&scratch.path().join("split"));
    interrupted(&split);
    train(&split, true).unwrap();
    let [whole_folder, split_folder] = [&whole, &split].map(|c| RunFolder::new(&c.run));
    assert_eq!(weights(&split_folder), weights(&whole_folder));
    assert_eq!(fs::read(split_folder.state()).unwrap(), fs::read(whole_folder.state()).unwrap());
    assert_eq!(records(&split_folder), records(&whole_folder));
    // What is shipped is the average, not the last step's weights.
    let state = Checkpoint::read(&whole_folder.state()).unwrap();
    let shipped = Checkpoint::read(&whole_folder.last()).unwrap();
    let name = "backbonenet.final_conv.weight";
    let numbers =
        |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let last = numbers(&shipped.tensors[name]);
    assert_eq!(last, numbers(&state.tensors[&format!("average.{name}")]));
    assert_ne!(last, numbers(&state.tensors[&format!("weight.{name}")]));
}

/// A cosine ends with the run: its length cannot change on the way.
#[test]
fn a_run_under_a_cosine_cannot_be_made_longer() {
    let scratch = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 2, ..tuned(&scratch.path().join("run")) };
    train(&config, false).unwrap();
    let error = train(&TrainConfig { epochs: 3, ..config }, true).unwrap_err().to_string();
    assert!(error.contains("epochs was 2, now 3"), "{error}");
}

#[test]
fn a_frozen_group_keeps_its_weights() {
    let scratch = tempfile::tempdir().unwrap();
    let base = config(&scratch.path().join("run"));
    let adam = AdamConfig { backbone_rate: 0.0, ..base.adam };
    let config = TrainConfig { epochs: 1, adam, ..base };
    train(&config, false).unwrap();
    let start = deeplpf_core::Model::new(
        &config.model,
        config.initialisation,
        config.seed,
        deeplpf_core::DType::F32,
        &deeplpf_core::Device::Cpu,
    )
    .unwrap();
    let after = Checkpoint::read(&RunFolder::new(&config.run).last()).unwrap();
    let mut moved = 0;
    for (name, before) in start.parameters().iter() {
        let numbers = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let same = numbers(before.as_tensor()) == numbers(&after.tensors[name]);
        assert!(same || !name.starts_with("backbonenet."), "{name}");
        moved += usize::from(!same);
    }
    assert!(moved > 5, "{moved}");
}

#[test]
fn a_loss_that_explodes_stops_the_run_or_is_skipped_and_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let guard = |on_failure, max_loss| GuardConfig { on_failure, max_loss };
    let with = |name: &str, guard| TrainConfig { guard, ..config(&scratch.path().join(name)) };
    let losses: Vec<f64> = {
        train(&with("free", guard(OnFailure::Stop, 0.0)), false).unwrap();
        let records = RunFolder::new(scratch.path().join("free")).records().unwrap();
        records.iter().map(|record| record.loss).collect()
    };
    // Some steps of the first epoch lie above its mean.
    let error = train(&with("stop", guard(OnFailure::Stop, losses[0])), false).unwrap_err();
    assert!(matches!(error, TrainError::Exploding { .. }), "{error}");
    assert!(error.to_string().contains("guard.max_loss"), "{error}");
    // A limit that some steps of every epoch are below, and some step above.
    let found = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6].iter().find_map(|times| {
        let skip = with(&format!("skip{times}"), guard(OnFailure::Skip, times * losses[0]));
        let summary = train(&skip, false).ok()?;
        let records = RunFolder::new(&skip.run).records().unwrap();
        let skipped: u64 = records.iter().map(|record| record.skipped).sum();
        assert_eq!(summary.steps, 20 - skipped);
        (skipped > 0).then_some(skipped)
    });
    assert!(found.is_some(), "no limit skipped some steps and not all of an epoch");
    let all = with("all", guard(OnFailure::Skip, 1e-9));
    let error = train(&all, false).unwrap_err();
    assert!(matches!(error, TrainError::AllSkipped { epoch: 1, .. }), "{error}");
}

#[test]
fn a_run_ends_when_validation_no_longer_improves() {
    let scratch = tempfile::tempdir().unwrap();
    // From the identity every step at this rate makes the picture worse.
    let base = config(&scratch.path().join("run"));
    let adam = AdamConfig { learning_rate: 0.05, ..base.adam };
    let config = TrainConfig { epochs: 50, patience: 2, adam, ..base };
    let summary = train(&config, false).unwrap();
    let (_, best) = summary.best.unwrap();
    assert!(summary.epochs < 50, "{summary:?}");
    assert_eq!(summary.epochs, best + 2, "{summary:?}");
    // Resuming does not begin again.
    assert_eq!(train(&config, true).unwrap().epochs, summary.epochs);
}

#[test]
fn settings_of_the_optimiser_that_cannot_be() {
    let base = TrainConfig::default();
    let adam = |change: fn(&mut AdamConfig)| {
        let mut config = base.clone();
        change(&mut config.adam);
        config
    };
    for (config, key) in [
        (adam(|adam| adam.clip_norm = -1.0), "adam.clip_norm"),
        (adam(|adam| (adam.backbone_rate, adam.heads_rate) = (0.0, 0.0)), "nothing would train"),
        (TrainConfig { average: 1.0, ..base.clone() }, "average"),
        (
            TrainConfig {
                schedule: ScheduleConfig { floor: 2.0, ..ScheduleConfig::default() },
                ..base.clone()
            },
            "schedule.floor",
        ),
    ] {
        let error = config.validate("x.toml").unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("x.toml"), "{error}");
    }
}

#[test]
fn models_and_protocols_of_see_in_the_dark_must_fit() {
    let base = config(Path::new("nowhere"));
    let with = |protocol: &str, input: Input, source: &str| {
        let data =
            DataConfig { protocol: protocol.into(), source: source.into(), ..base.data.clone() };
        let model = ModelConfig { input, ..base.model.clone() };
        TrainConfig { data, model, ..base.clone() }
    };
    for (config, expected) in [
        (with("", Input::Bayer, "folder"), "needs raw files: set data.protocol"),
        (with("sid-nikon", Input::Bayer, "folder"), "use sid-sony or sid-fuji"),
        (with("sid-fuji", Input::Bayer, "folder"), "use \"xtrans\", or"),
        (with("sid-sony", Input::Bayer, "sample"), "data.protocol needs data.source"),
    ] {
        let error = train(&config, false).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut lists = with("sid-sony", Input::Bayer, "folder");
    lists.data.valid = "valid.txt".into();
    let error = train(&lists, false).unwrap_err().to_string();
    assert!(error.contains("has its own lists"), "{error}");
}

/// Both sensors and both representations, on the data crate's fixtures.
#[cfg(feature = "raw")]
#[test]
fn see_in_the_dark_trains_validates_and_resumes() {
    let scratch = tempfile::tempdir().unwrap();
    let fixtures =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deeplpf-data/tests/fixtures/raw/sid");
    let source = scratch.path().join("sid");
    copy_folder(&fixtures, &source);
    for camera in ["Sony", "Fuji"] {
        let list = |part: &str| source.join(format!("{camera}_{part}_list.txt"));
        fs::copy(list("train"), list("val")).unwrap();
    }
    for (protocol, input) in
        [("sid-sony", Input::Bayer), ("sid-fuji", Input::Xtrans), ("sid-sony", Input::Rgb)]
    {
        let run = |name: &str, epochs: u64, threads: usize| {
            let base = config(&scratch.path().join(format!("{protocol}-{}-{name}", input.name())));
            let data = DataConfig {
                source: source.display().to_string(),
                protocol: protocol.into(),
                crop: 32,
                batch: 1,
                threads,
                ..base.data.clone()
            };
            let model = ModelConfig { input, ..base.model.clone() };
            TrainConfig { data, model, epochs, ..base }
        };
        let whole = run("whole", 12, 2);
        train(&whole, false).unwrap();
        let whole = RunFolder::new(whole.run);
        let losses: Vec<f64> = whole.records().unwrap().iter().map(|r| r.loss).collect();
        let (first, last) = (losses[..3].iter().sum::<f64>(), losses[9..].iter().sum::<f64>());
        assert!(last < first, "{protocol} {input:?}: {losses:?}");
        assert!(whole.records().unwrap().iter().all(|record| record.valid_psnr.is_some()));

        train(&run("resumed", 5, 0), false).unwrap();
        let resumed = run("resumed", 12, 1);
        train(&resumed, true).unwrap();
        assert_eq!(weights(&RunFolder::new(resumed.run)), weights(&whole), "{protocol} {input:?}");
    }
}

#[cfg(feature = "raw")]
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
