//! What a step is made of: accumulated gradients, crops of several sides, and what a failed one leaves.

use std::fs;

use candle_core::{DType, Device};
use deeplpf_core::{Checkpoint, Initialisation, LossConfig, Model, ModelConfig};
use deeplpf_data::sample;
use deeplpf_train::{
    AdamConfig, Batch, Health, RunFolder, TrainConfig, TrainError, Trainer, train,
};

use crate::config;

/// Four crops of 64 pixels.
fn crops() -> Vec<deeplpf_data::Pair> {
    let cut = |image: &ndarray::Array3<f32>| image.slice(ndarray::s![.., ..64, ..64]).to_owned();
    let pairs = sample::pairs().unwrap().into_iter().take(4);
    pairs
        .map(|pair| deeplpf_data::Pair {
            id: pair.id,
            input: cut(&pair.input),
            target: cut(&pair.target),
        })
        .collect()
}

/// Batches of one, two or four images are one step of the same images: in double precision to
/// rounding, dropout aside, which is drawn for every batch.
#[test]
fn accumulated_gradients_are_those_of_one_large_batch() {
    let pairs = crops();
    let model_config = ModelConfig { dropout: 0.0, ..config("".as_ref()).model };
    let step = |sizes: &[usize]| {
        let model =
            Model::new(&model_config, Initialisation::Identity, 3, DType::F64, &Device::Cpu)
                .unwrap();
        let adam = AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() };
        let mut trainer = Trainer::new(model, adam, LossConfig::default(), 1);
        let mut rest = &pairs[..];
        let mut batches = Vec::new();
        for &size in sizes {
            let (now, later) = rest.split_at(size);
            batches.push(Batch::stack(now, DType::F64, &Device::Cpu).unwrap());
            rest = later;
        }
        let report = trainer.step_over(&batches, 0).unwrap();
        let moments = trainer
            .adam
            .moments()
            .values()
            .flat_map(|moments| moments.first.flatten_all().unwrap().to_vec1::<f64>().unwrap());
        (report.loss, moments.collect::<Vec<f64>>())
    };
    let (loss, gradient) = step(&[4]);
    let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!(size > 0.0);
    for sizes in [&[2, 2][..], &[1, 1, 1, 1], &[3, 1]] {
        let (other_loss, other) = step(sizes);
        assert!((other_loss - loss).abs() < 1e-12 * loss, "{sizes:?}: {other_loss} {loss}");
        let distance =
            gradient.iter().zip(&other).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        // Sums in another order.
        assert!(distance < 1e-10 * size, "{sizes:?}: {distance:e} of {size:e}");
    }
}

#[test]
fn an_epoch_whose_batches_do_not_divide_ends_with_a_shorter_step() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = TrainConfig { epochs: 2, ..config(scratch.path()) };
    // Ten images, one a batch, four batches a step: 4 + 4 + 2.
    (config.data.batch, config.data.accumulate) = (1, 4);
    assert_eq!(train(&config, false).unwrap().steps, 6);
}

/// Whole images of several sizes make one step, which a batch cannot.
#[test]
fn whole_images_of_several_sizes_are_accumulated() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = TrainConfig { epochs: 1, ..config(scratch.path()) };
    (config.data.batch, config.data.crop, config.data.accumulate) = (1, 0, 5);
    assert_eq!(train(&config, false).unwrap().steps, 2);
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let error = |change: fn(&mut TrainConfig)| {
        let mut config = config("run".as_ref());
        change(&mut config);
        config.validate("x").unwrap_err().to_string()
    };
    assert!(error(|c| c.data.crops = vec![64]).contains("data.crop and data.crops"));
    assert!(error(|c| (c.data.crop, c.data.crops) = (0, vec![16])).contains("at least 32"));
    assert!(error(|c| c.data.accumulate = 0).contains("data.accumulate"));
    assert!(error(|c| c.data.crop = 0).contains("or set data.accumulate"));
}

/// The step, its pictures and their statistics, and the weights it did not change.
#[test]
fn a_step_that_stops_a_run_leaves_what_made_it_fail() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(scratch.path());
    config.guard.max_loss = 1e-6;
    let error = train(&config, false).unwrap_err();
    let TrainError::Exploding { step: 0, ids, .. } = &error else { panic!("{error}") };
    let text = fs::read_to_string(config.run.join("failure/step-0.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["error"], error.to_string());
    let named: Vec<&str> =
        told["ids"].as_array().unwrap().iter().flat_map(|v| v.as_str()).collect();
    assert_eq!(named.join(", "), *ids);
    for picture in ["input.0.0", "input.0.1", "target.0.0", "target.0.1"] {
        let numbers = &told["pictures"][picture];
        let [min, mean, max] = ["min", "mean", "max"].map(|key| numbers[key].as_f64().unwrap());
        assert!(0.0 <= min && min < mean && mean < max && max <= 1.0, "{picture}: {numbers}");
    }
    assert!(told["weights"]["backbonenet.final_conv.weight"]["max"].as_f64().unwrap() > 0.0);
    let pictures = Checkpoint::read(&config.run.join("failure/step-0.safetensors")).unwrap();
    assert_eq!(pictures.tensors["input.0"].dims(), [2, 3, 48, 48]);
}

/// Without the fix `ste` the three inversion numbers of the graduated filters, the first rows of their
/// last layer, have no gradient; with it they have, and nothing else is without.
#[test]
fn numbers_that_no_gradient_reaches_are_found() {
    let scratch = tempfile::tempdir().unwrap();
    let layer = "deeplpfnet.graduated_filter.fc_graduated";
    let rows = |kind: &str| format!("{layer}.{kind}, rows 0, 1, 2");
    for (name, fixes, expected) in [
        ("without", "ellipse,fusion,blend,msssim,wiring", vec![rows("bias"), rows("weight")]),
        ("with", "all", vec![]),
    ] {
        let mut config = TrainConfig { epochs: 10, ..config(&scratch.path().join(name)) };
        config.model.fixes = fixes.parse().unwrap();
        train(&config, false).unwrap();
        let path = RunFolder::new(&config.run).health();
        let health: Health = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(health.without_gradient, expected, "{name}");
        assert_eq!((health.steps, health.inversion_trains), (50, expected.is_empty()));
        let filters = &health.filters;
        assert_eq!((filters.graduated.len(), filters.elliptical.len()), (3, 3));
        assert!(filters.photographs > 0);
        for filter in filters.graduated.iter().chain(&filters.elliptical) {
            let within = |low: f32, high: f32| (0.0..=2.0).contains(&low) && low <= high;
            assert!(filter.least.iter().zip(&filter.most).all(|(&l, &m)| within(l, m)));
        }
        // Fifty steps are too few to complain of.
        assert!(!health.complaints().iter().any(|line| line.contains("no gradient")));
    }
}
