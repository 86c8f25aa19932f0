//! What a user reads where something is missing: each fault in a process of its own on the stand-in.

use std::{path::Path, process::Command};

use candle_core::DType;
use deeplpf_core::cuda::{Device, Training, TrainingOptions};

use crate::{
    network::{images, small_config, small_model},
    stand_in,
};

/// Opens GPU `STAND_IN_TEST_GPU` and makes a step; what was said goes to standard output.
#[test]
#[ignore = "the other half of faults_are_one_sentence"]
fn child() {
    let index = std::env::var("STAND_IN_TEST_GPU").map_or(0, |text| text.parse().unwrap());
    let said = Device::open(index).map_err(deeplpf_core::CoreError::from).and_then(|device| {
        let model = small_model(&small_config(), DType::F32);
        let mut training = Training::new(&device, &model, &TrainingOptions::default())?;
        let shape = [1, 64, 64];
        training.step(&images(shape, 0), &images(shape, 1), shape)?;
        training.finish()
    });
    match said {
        Ok(_) => println!("SAID: nothing"),
        Err(error) => println!("SAID: {error}"),
    }
}

fn said(folder: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::child", "--ignored", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{words}");
    let line = text.lines().find_map(|line| line.split_once("SAID: "));
    line.unwrap_or_else(|| panic!("nothing was said: {text}{words}")).1.to_string()
}

/// Where the libraries lie, what is set, and what must be said.
type Case<'a> = (&'a Path, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn faults_are_one_sentence() {
    if !stand_in::ready() {
        return;
    }
    let Some(whole) = stand_in::stand_in_folder() else {
        println!("SKIPPED faults_are_one_sentence: faults are made by the stand-in only");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let without =
        |missing: &str| stand_in::folder_without(missing, &scratch.path().join(missing)).unwrap();
    assert_eq!(said(&whole, &[]), "nothing");
    let cases: [Case<'_>; 8] = [
        (&without("cuda"), &[], &["no NVIDIA driver", "--device cpu"]),
        (&without("nvrtc"), &[], &["nvrtc", "LD_LIBRARY_PATH"]),
        (&without("cudnn"), &[], &["cuDNN 9 was not found", "LD_LIBRARY_PATH"]),
        (&whole, &[("STAND_IN_CUDNN_VERSION", "8907")], &["cuDNN 8.9.7", "version 9"]),
        (&whole, &[("STAND_IN_DRIVER_VERSION", "11080")], &["CUDA 11.8", "newer driver"]),
        (&whole, &[("STAND_IN_DEVICES", "0")], &["the driver lists none"]),
        (&whole, &[("STAND_IN_TEST_GPU", "3")], &["no GPU number 3", "cuda:0"]),
        (&whole, &[("STAND_IN_MEMORY", "3000000")], &["MiB of GPU memory", "are free"]),
    ];
    for (folder, variables, parts) in cases {
        let said = said(folder, variables);
        for part in parts {
            assert!(said.contains(part), "{variables:?}: `{part}` is not in: {said}");
        }
        assert!(!said.contains('\n') && said.len() < 300, "{said}");
    }
}
