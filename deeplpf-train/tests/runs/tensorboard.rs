//! Event files hold what TensorBoard's own reader, and one written from the format's description,
//! find in them; a run computes the same with and without.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use deeplpf_train::{RunFolder, TrainConfig, train};

use crate::{config, records, weights};

fn watched(run: &Path) -> TrainConfig {
    TrainConfig { tensorboard: 2, ..config(run) }
}

fn files(folder: &RunFolder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.tensorboard()).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The messages of a file, by the lengths alone.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        messages.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length + 4..];
    }
    messages
}

fn contains(messages: &[Vec<u8>], text: &str) -> bool {
    messages.iter().any(|m| m.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[test]
fn a_run_computes_the_same_with_event_files_and_without() {
    let scratch = tempfile::tempdir().unwrap();
    let (plain, seen) = (scratch.path().join("plain"), scratch.path().join("seen"));
    train(&config(&plain), false).unwrap();
    train(&watched(&seen), false).unwrap();
    let (plain, seen) = (RunFolder::new(&plain), RunFolder::new(&seen));
    assert_eq!(weights(&plain), weights(&seen));
    assert_eq!(records(&plain), records(&seen));
    assert!(!plain.tensorboard().exists());
    let files = files(&seen);
    assert_eq!(files.len(), 1);
    let messages = messages(&files[0]);
    // Version and beginning; 20 steps, a point for every two; four epochs and their validations.
    assert_eq!(messages.len(), 2 + 10 + 2 * 4);
    for text in ["brain.Event:2", "train/loss", "validation/psnr", "filters/elliptical-3/center_x"]
    {
        assert!(contains(&messages, text), "{text}");
    }
    // Pictures: input, output and target of two photographs.
    assert!(contains(&messages, "PNG"));
}

/// What `event_accumulator` of the Python package `tensorboard` makes of a folder: lines `tag step
/// value`. None, said loudly, where there is no such package. `DEEPLPF_PYTHON` names the interpreter.
fn read_by_tensorboard(folder: &Path) -> Option<String> {
    const READ: &str = "
import sys
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    sys.exit(42)
a = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'images': 0, 'histograms': 0})
a.Reload()
t = a.Tags()
for tag in t['scalars']:
    for e in a.Scalars(tag): print('scalar', tag, e.step, repr(e.value))
for tag in t['images']:
    for e in a.Images(tag):
        assert e.encoded_image_string[:8] == b'\\x89PNG\\r\\n\\x1a\\n'
        print('image', tag, e.step, f'{e.width}x{e.height}')
for tag in t['histograms']:
    for e in a.Histograms(tag):
        v = e.histogram_value
        assert abs(sum(v.bucket) - v.num) < 1e-9 and len(v.bucket) == len(v.bucket_limit)
        print('histogram', tag, e.step, v.num)
";
    let python = std::env::var("DEEPLPF_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).arg("-c").arg(READ).arg(folder).output();
    let why = match &output {
        Err(error) => format!("{python}: {error}"),
        Ok(output) if output.status.code() == Some(42) => format!("{python} has no tensorboard"),
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}");
            return Some(String::from_utf8_lossy(&output.stdout).into_owned());
        }
    };
    eprintln!(
        "NOTE: event files were not read by TensorBoard itself ({why}); set DEEPLPF_PYTHON to an \
         interpreter that has the package"
    );
    None
}

#[test]
fn tensorboard_reads_curves_pictures_and_distributions_of_a_resumed_run() {
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    // Two processes, the second of which goes on where the state of the first ends, although the
    // first wrote further.
    let short = TrainConfig { epochs: 2, ..watched(&run) };
    train(&short, false).unwrap();
    let folder = RunFolder::new(&run);
    let state = fs::read(folder.state()).unwrap();
    train(&TrainConfig { epochs: 3, ..watched(&run) }, true).unwrap();
    fs::write(folder.state(), state).unwrap();
    train(&watched(&run), true).unwrap();
    assert_eq!(files(&folder).len(), 3);

    let Some(read) = read_by_tensorboard(&folder.tensorboard()) else { return };
    let mut found: BTreeMap<(&str, &str), Vec<(u64, &str)>> = BTreeMap::new();
    for line in read.lines() {
        let [kind, tag, step, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        found.entry((kind, tag)).or_default().push((step.parse().unwrap(), value));
    }
    let steps = |kind: &'static str, tag: &'static str| -> Vec<u64> {
        found[&(kind, tag)].iter().map(|(step, _)| *step).collect()
    };
    // The third epoch once, though it was written twice.
    assert_eq!(steps("scalar", "validation/psnr"), [5, 10, 15, 20]);
    assert_eq!(steps("scalar", "train/loss"), [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
    assert_eq!(steps("histogram", "filters/graduated-1/scale"), [5, 10, 15, 20]);
    for ((_, value), record) in
        found[&("scalar", "epoch/loss")].iter().zip(folder.records().unwrap())
    {
        // Single precision.
        assert!((value.parse::<f64>().unwrap() - record.loss).abs() < 1e-6 * record.loss);
    }
    let images = found.keys().filter(|(kind, _)| *kind == "image").count();
    assert_eq!(images, 2, "one for each validation photograph");
    // Two photographs, three channels each.
    assert!(found[&("histogram", "filters/elliptical-2/scale")].iter().all(|(_, n)| *n == "6.0"));
}
