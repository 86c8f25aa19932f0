//! 24 steps of training against the authors' program.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use candle_core::{DType, Device, Tensor, safetensors::load};
use deeplpf_core::{
    Checkpoint, Fixes, Initialisation, LossConfig, Mode, Model, ModelConfig, StepSettings,
    TrainingStep, loss,
};
use deeplpf_train::{AdamConfig, Batch, StepEngine, Trainer};

fn golden_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("DEEPLPF_GOLDEN").map(PathBuf::from);
    match &folder {
        // Straight to stderr: the test runner would keep a macro's output of passing tests.
        None => std::io::stderr()
            .write_all(
                b"NOTE: DEEPLPF_GOLDEN is not set: only golden_training_subset checks the training\n",
            )
            .unwrap(),
        Some(folder) => assert!(folder.is_dir(), "{} is not a folder", folder.display()),
    }
    folder
}

struct Bounds {
    loss: f64,
    gradient_worst: f64,
    gradient_median: f64,
    norm: f64,
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Gradients by name of the first step without the clamp before the loss, or with it: the golden
/// output lies inside.
fn gradients(model: &Model, batch: &Batch, engine: StepEngine) -> BTreeMap<String, Tensor> {
    match engine {
        StepEngine::Graph => {
            let prediction = model.forward(&batch.input, Mode::Train { seed: 0, step: 0 }).unwrap();
            let (output, weights) = (&prediction.output, LossConfig::default());
            let value = loss(output, &batch.target, &weights, Fixes::NONE).unwrap();
            let gradients = value.total.backward().unwrap();
            let named = model.parameters().iter().filter_map(|(name, parameter)| {
                Some((name.to_string(), gradients.get(parameter)?.clone()))
            });
            named.collect()
        }
        StepEngine::Direct => {
            let settings =
                StepSettings { loss: LossConfig::default(), gate: 0.0, seed: 0, step: 0 };
            let mut step = TrainingStep::new(model).unwrap();
            step.run(model, &batch.input, &batch.target, &settings).unwrap();
            step.gradients().unwrap()
        }
    }
}

fn compare(dtype: DType, bounds: &Bounds) {
    for engine in [StepEngine::Graph, StepEngine::Direct] {
        compare_engine(dtype, bounds, engine);
    }
}

fn compare_engine(dtype: DType, bounds: &Bounds, engine: StepEngine) {
    let Some(folder) = golden_folder() else { return };
    let golden = load(folder.join("training_f64.safetensors"), &Device::Cpu).unwrap();
    let config = ModelConfig { dropout: 0.0, ..ModelConfig::default() };
    let checkpoint = Checkpoint::read(&folder.join("network_state_dict.pt")).unwrap();
    let model = checkpoint.model(Some(&config), dtype, &Device::Cpu).unwrap();
    let batches: Vec<Batch> = (0..4)
        .map(|pair| {
            let get = |what: &str| golden[&format!("pair{pair}.{what}")].to_dtype(dtype).unwrap();
            Batch { ids: vec![pair.to_string()], input: get("input"), target: get("target") }
        })
        .collect();

    let mut failures = Vec::new();
    let gradients = gradients(&model, &batches[0], engine);
    let mut relative = Vec::new();
    for (key, expected) in &golden {
        let Some(name) = key.strip_prefix("step0.grad_sample.") else { continue };
        let ours = flat(&gradients[name]);
        let expected = flat(expected);
        let stride = (ours.len() / 4096).max(1);
        let largest = expected.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
        let worst = ours
            .iter()
            .step_by(stride)
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |worst, d| if d <= worst { worst } else { d });
        assert_eq!(ours.iter().step_by(stride).count(), expected.len());
        relative.push(worst / largest);
        let norm = ours.iter().map(|v| v * v).sum::<f64>().sqrt();
        let expected_norm = flat(&golden[&format!("step0.grad_norm.{name}")])[0];
        let norm_error = (norm / expected_norm - 1.0).abs();
        // Written so that NaN fails.
        let good = worst / largest <= bounds.gradient_worst && norm_error <= bounds.norm;
        if !good {
            failures
                .push(format!("{name}: gradient {:.2e}, norm {norm_error:.2e}", worst / largest));
        }
    }
    assert!(relative.len() > 50, "only {} gradients compared", relative.len());
    relative.sort_by(f64::total_cmp);
    let median = relative[relative.len() / 2];
    println!(
        "{engine:?}, {dtype:?} gradients: median {median:.2e}, worst {:.2e}",
        relative[relative.len() - 1]
    );
    if median > bounds.gradient_median {
        failures.push(format!("median gradient {median:.2e}"));
    }

    let mut trainer = Trainer::new(model, AdamConfig::default(), LossConfig::default(), 0);
    trainer.engine = engine;
    let expected = flat(&golden["losses"]);
    let mut worst = 0.0f64;
    for (step, expected) in expected.iter().enumerate() {
        let report = trainer.step(&batches[step % 4], 0).unwrap();
        let error = (report.loss / expected - 1.0).abs();
        worst = worst.max(error);
        if error.is_nan() || error > bounds.loss {
            failures.push(format!("loss of step {step}: {} for {expected}", report.loss));
        }
    }
    println!("{engine:?}, {dtype:?} losses: worst {worst:.2e} relative");

    // Pixels on an ellipse's edge may flip: all but one in a thousand must agree.
    let output = trainer.model.forward(&batches[0].input, Mode::Evaluate).unwrap().output;
    let mut errors: Vec<f64> = flat(&output)
        .iter()
        .zip(&flat(&golden["final.output.pair0"]))
        .map(|(a, b)| (a - b).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    let quantile = errors[errors.len() * 999 / 1000];
    println!("{engine:?}, {dtype:?} final output: 99.9% within {quantile:.2e}");
    let bound = if dtype == DType::F64 { 1e-8 } else { 5e-3 };
    if quantile.is_nan() || quantile > bound {
        failures.push(format!("final output: {quantile:.2e}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn golden_training_f64() {
    compare(
        DType::F64,
        &Bounds { loss: 1e-8, gradient_worst: 1e-7, gradient_median: 1e-7, norm: 1e-7 },
    );
}

/// Single precision moves the authors' own run by 4.6e-5 in the losses, 8e-6 (median) and 6.5e-3
/// (worst) in the gradients.
#[test]
fn golden_training_f32() {
    compare(
        DType::F32,
        &Bounds { loss: 1e-3, gradient_worst: 2e-2, gradient_median: 1e-4, norm: 2e-2 },
    );
}

/// Six steps of a narrow seeded model on two sample pairs, in f64. The losses are this program's
/// own, taken when it agreed with the authors' 24 steps to 2e-15: a regression check for machines
/// without the golden files. Rounding grows with the steps; 1e-8 leaves room for other CPUs.
#[test]
fn golden_training_subset() {
    const LOSSES: [f64; 6] = [
        0.05615057508331855,
        0.05605050750114149,
        0.05097882883572057,
        0.049997767913257,
        0.048481705751367316,
        0.04624886896019965,
    ];
    let config = ModelConfig { dropout: 0.0, ..ModelConfig::small() };
    let pairs = deeplpf_data::sample::pairs().unwrap();
    let batches: Vec<Batch> = pairs[..2]
        .iter()
        .map(|pair| Batch::stack(std::slice::from_ref(pair), DType::F64, &Device::Cpu).unwrap())
        .collect();
    let adam = AdamConfig { learning_rate: 1e-3, ..AdamConfig::default() };
    for engine in [StepEngine::Graph, StepEngine::Direct] {
        let model =
            Model::new(&config, Initialisation::Identity, 11, DType::F64, &Device::Cpu).unwrap();
        let mut trainer = Trainer::new(model, adam, LossConfig::default(), 0);
        trainer.engine = engine;
        let losses: Vec<f64> =
            (0..6).map(|step| trainer.step(&batches[step % 2], 0).unwrap().loss).collect();
        for (found, expected) in losses.iter().zip(LOSSES) {
            assert!((found / expected - 1.0).abs() < 1e-8, "{engine:?}: {losses:?}");
        }
    }
}
