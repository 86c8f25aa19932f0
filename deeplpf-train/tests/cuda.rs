//! Whole runs on a GPU, or on the stand-in driver where there is none, beside the same runs on the CPU.

#[path = "../../deeplpf-core/tests/cuda/stand_in.rs"]
mod stand_in;

#[cfg(feature = "nccl")]
#[path = "cuda/ranks.rs"]
mod ranks;

use std::{fs, path::Path};

use deeplpf_core::{Fixes, Initialisation, ModelConfig, Precision};
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
            fixes: Fixes::ALL,
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

/// Gates, and their penalty beside the loss.
#[test]
fn epochs_of_gates_are_the_cpus() {
    if stand_in::ready() {
        beside_the_cpu(|config| config.model.gates = true);
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

/// What the default weights' recipe uses: a gradient that is always clipped, groups of their own rates,
/// and validation of the average.
#[test]
fn clipping_rates_and_average_are_the_cpus() {
    if stand_in::ready() {
        beside_the_cpu(|config| {
            config.average = 0.99;
            config.adam.clip_norm = 0.01;
            config.adam.backbone_rate = 0.25;
            config.adam.heads_rate = 2.0;
        });
    }
}

/// Heads on a frozen backbone: its parameters keep their bits, and it has no moments.
#[test]
fn a_frozen_backbone_stays_as_it_was() {
    if !stand_in::ready() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let weights = |epochs: u64| {
        let mut config = config(&scratch.path().join(epochs.to_string()), "cuda:0");
        config.epochs = epochs;
        config.adam.backbone_rate = 0.0;
        train(&config, false).unwrap();
        candle_core::safetensors::load(
            RunFolder::new(&config.run).last(),
            &candle_core::Device::Cpu,
        )
        .unwrap()
    };
    let (one, two) = (weights(1), weights(2));
    let bits = |tensor: &candle_core::Tensor| -> Vec<u32> {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let mut moved = 0;
    for (name, tensor) in &one {
        let same = bits(tensor) == bits(&two[name]);
        assert!(same || !name.starts_with("backbonenet."), "{name} moved");
        moved += usize::from(!same);
    }
    assert!(moved > 0, "the heads did not move");
}

/// Every loss is above the limit: the run ends at the first step and says why.
#[test]
fn a_loss_above_its_limit_ends_the_run() {
    if !stand_in::ready() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(&scratch.path().join("run"), "cuda:0");
    config.guard.max_loss = 1e-6;
    let error = train(&config, false).unwrap_err();
    assert!(matches!(error, TrainError::Exploding { step: 0, .. }), "{error}");
}

#[test]
fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    if !stand_in::ready() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    // The average is resumed as well.
    let whole = TrainConfig { average: 0.9, ..config(&scratch.path().join("whole"), "cuda:0") };
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
    let settings: [Setting; 2] = [
        ("data.accumulate", |config| config.data.accumulate = 2),
        ("colour", |config| config.model.colour = true),
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
