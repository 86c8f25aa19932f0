//! Whole runs on a GPU, or on the stand-in driver where there is none, beside the same runs on the CPU.

#[path = "../../deeplpf-core/tests/cuda/stand_in.rs"]
mod stand_in;

use std::{fs, path::Path};

use deeplpf_core::{Initialisation, ModelConfig, Precision};
use deeplpf_data::augment::ColourAugmentation;
use deeplpf_train::{AdamConfig, DataConfig, RunFolder, TrainConfig, TrainError, train};

/// Crops of 48 pixels, two a step, on a very narrow model.
fn config(run: &Path, device: &str) -> TrainConfig {
    TrainConfig {
        run: run.into(),
        seed: 3,
        epochs: 2,
        device: device.into(),
        initialisation: Initialisation::Release,
        data: DataConfig { crop: 48, batch: 2, ..DataConfig::default() },
        model: ModelConfig {
            fixes: "ellipse,fusion,ste,blend,msssim".parse().unwrap(),
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

/// Loss and validation PSNR of every epoch.
fn records(config: &TrainConfig) -> Vec<(f64, f64)> {
    train(config, false).unwrap();
    let records = RunFolder::new(&config.run).records().unwrap();
    records.iter().map(|r| (r.loss, r.valid_psnr.unwrap())).collect()
}

fn beside_the_cpu(change: impl Fn(&mut TrainConfig)) {
    let scratch = tempfile::tempdir().unwrap();
    let run = |device: &str| {
        let mut config = config(&scratch.path().join(device.replace(':', "-")), device);
        change(&mut config);
        records(&config)
    };
    let (gpu, cpu) = (run("cuda:0"), run("cpu"));
    assert_eq!(gpu.len(), cpu.len());
    for ((loss, psnr), (cpu_loss, cpu_psnr)) in gpu.into_iter().zip(cpu) {
        // The same draws of order, crops, flips and dropout; sums differ in their order.
        assert!((loss / cpu_loss - 1.0).abs() < 1e-3, "{loss} on the GPU, {cpu_loss} on the CPU");
        assert!((psnr - cpu_psnr).abs() < 0.02, "{psnr} dB on the GPU, {cpu_psnr} dB on the CPU");
    }
}

#[test]
fn epochs_of_resident_pairs_are_the_cpus() {
    if stand_in::ready() {
        beside_the_cpu(|_| {});
    }
}

/// Colours are changed on the CPU, so the pairs are uploaded step by step.
#[test]
fn epochs_of_uploaded_pairs_are_the_cpus() {
    if stand_in::ready() {
        beside_the_cpu(|config| {
            config.data.augment = ColourAugmentation { exposure: 0.5, ..Default::default() };
        });
    }
}

#[test]
fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    if !stand_in::ready() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let whole = config(&scratch.path().join("whole"), "cuda:0");
    train(&whole, false).unwrap();
    let mut parts = TrainConfig { run: scratch.path().join("parts"), epochs: 1, ..whole.clone() };
    train(&parts, false).unwrap();
    parts.epochs = 2;
    train(&parts, true).unwrap();
    let state = |config: &TrainConfig| fs::read(RunFolder::new(&config.run).last()).unwrap();
    assert!(state(&whole) == state(&parts), "weights differ after a resume");
}

/// What the GPU's trainer lacks is refused by name, not left out.
#[test]
fn settings_the_gpu_lacks_are_refused() {
    if !stand_in::ready() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    type Setting = (&'static str, fn(&mut TrainConfig));
    let settings: [Setting; 3] = [
        ("average", |config| config.average = 0.99),
        ("adam.clip_norm", |config| config.adam.clip_norm = 1.0),
        ("guard.max_loss", |config| config.guard.max_loss = 1.0),
    ];
    for (name, set) in settings {
        let mut config = config(&scratch.path().join("run"), "cuda:0");
        set(&mut config);
        let error = train(&config, false).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("cpu"), "{error}");
    }
}

#[test]
fn another_precision_is_refused_on_the_cpu() {
    let scratch = tempfile::tempdir().unwrap();
    let config =
        TrainConfig { precision: Precision::Bf16, ..config(&scratch.path().join("run"), "cpu") };
    let error = train(&config, false).unwrap_err();
    assert!(matches!(error, TrainError::Device { .. }), "{error}");
    assert!(error.to_string().contains("cuda:0"), "{error}");
}
