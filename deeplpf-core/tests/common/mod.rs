//! Where golden data is found, and comparisons that report the worst entry.
#![allow(dead_code)]

use std::{io::Write, path::PathBuf};

use candle_core::{DType, Device, Tensor};

/// The folder named by `DEEPLPF_GOLDEN`, if it is set; then it must be readable.
pub fn golden_folder() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("DEEPLPF_GOLDEN") else {
        // Straight to stderr: the test runner would keep a macro's output of passing tests.
        let note: &[u8] =
            b"NOTE: DEEPLPF_GOLDEN is not set: only the committed subset of golden data is checked\n";
        std::io::stderr().write_all(note).unwrap();
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(folder.is_dir(), "DEEPLPF_GOLDEN={} is not a folder", folder.display());
    Some(folder)
}

/// Largest and mean absolute difference.
pub fn differences(ours: &Tensor, golden: &Tensor) -> (f64, f64) {
    assert_eq!(ours.dims(), golden.dims());
    let flat = |tensor: &Tensor| {
        let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let (ours, golden) = (flat(ours), flat(golden));
    let differences: Vec<f64> = ours.iter().zip(&golden).map(|(a, b)| (a - b).abs()).collect();
    assert!(differences.iter().all(|d| !d.is_nan()), "NaN in the result");
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    (differences.iter().copied().fold(0.0, f64::max), mean)
}

/// Checks collected so that all failures are shown at once.
#[derive(Default)]
pub struct Report(Vec<String>);

impl Report {
    pub fn at_most(&mut self, what: &str, found: f64, bound: f64) {
        println!("{what}: {found:.3e} (bound {bound:.1e})");
        if found.is_nan() || found > bound {
            self.0.push(format!("{what}: {found:.3e} exceeds {bound:.1e}"));
        }
    }

    pub fn finish(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}
