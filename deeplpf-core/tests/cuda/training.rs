//! Training steps on the GPU: against the CPU's gradients and trajectory, launch by launch against one
//! graph, resident bytes against uploaded images, and exact resume.

use std::collections::BTreeMap;

use candle_core::{DType, Device as CandleDevice, Tensor, safetensors::load};
use deeplpf_core::{
    Checkpoint, Fixes, LossConfig, Mode, Model, ModelConfig, Precision,
    cuda::{
        BytePair, CudaError, Device, Execution, PairPick, ResidentPairs, StepReport, Training,
        TrainingOptions,
    },
    loss,
};

use crate::{
    common::{Report, golden_folder},
    network::{images, small_config, small_model, tensor},
    stand_in,
};

pub fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    tensor.to_vec1::<f64>().unwrap()
}

/// Loss and gradients on the CPU, by name.
pub fn cpu_gradients(
    model: &Model,
    (input, target): (&Tensor, &Tensor),
    (seed, step): (u64, u64),
) -> (f64, BTreeMap<String, Vec<f64>>) {
    let dtype = model.parameters().dtype();
    let (input, target) = (input.to_dtype(dtype).unwrap(), target.to_dtype(dtype).unwrap());
    let prediction = model.forward(&input, Mode::Train { seed, step }).unwrap();
    let output = prediction.output.clamp(0.0, 1.0).unwrap();
    let value = loss(&output, &target, &LossConfig::default(), model.config().fixes).unwrap();
    let gate = prediction.mean_gate(model.config()).unwrap();
    let total = gate.map_or(Ok(value.total.clone()), |gate| &value.total + (gate * GATE).unwrap());
    let value = total.unwrap();
    let gradients = value.backward().unwrap();
    let by_name = model.parameters().iter().filter_map(|(name, variable)| {
        gradients.get(variable).map(|gradient| (name.to_string(), flat(gradient)))
    });
    let total = value.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
    (total, by_name.collect())
}

pub fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Weight of the mean gate: large enough to be seen in a gradient.
const GATE: f64 = 0.05;

fn options(execution: Execution) -> TrainingOptions {
    TrainingOptions { execution, gate: GATE, seed: 5, ..Default::default() }
}

/// Every parameter's gradient, with dropout, of both dialects, at odd sizes and a batch of two.
#[test]
fn gradients_as_on_the_cpu() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let base = small_config();
    let release = ModelConfig { fixes: Fixes::NONE, ..base.clone() };
    let paper = ModelConfig { dialect: deeplpf_filters::Dialect::Paper, ..release.clone() };
    let cubic = ModelConfig { graduated: 0, elliptical: 0, ..base.clone() };
    let gates = ModelConfig { gates: true, ..base.clone() };
    let one = ModelConfig { graduated: 0, ..gates.clone() };
    let mut report = Report::default();
    for (name, config, shape) in [
        ("fixed", base, [2, 37, 51]),
        ("release", release, [1, 48, 32]),
        ("paper", paper, [1, 33, 36]),
        ("cubic only", cubic, [1, 32, 35]),
        ("gates", gates, [2, 37, 40]),
        ("gates of ellipses", one, [1, 35, 34]),
    ] {
        let model = small_model(&config, DType::F64);
        let (input, target) = (images(shape, 1), images(shape, 2));
        let tensors = (&tensor(&input, shape), &tensor(&target, shape));
        let (total, expected) = cpu_gradients(&model, tensors, (5, 0));
        let mut training = Training::new(&device, &model, &options(Execution::Eager)).unwrap();
        training.step(&input, &target, shape).unwrap();
        let reports = training.finish().unwrap();
        assert!(reports.len() == 1 && reports[0].finite && reports[0].step == 0);
        let relative = (f64::from(reports[0].loss) - total).abs() / total;
        report.at_most(&format!("{name}: loss"), relative, 1e-5);
        let gradients = training.gradients().unwrap();
        assert_eq!(gradients.len(), expected.len(), "{name}: parameters with a gradient");
        for (parameter, expected) in &expected {
            let ours = flat(&gradients[parameter]);
            let error = norm(ours.iter().zip(expected).map(|(a, b)| a - b));
            // Relative to the parameter's own gradient, with a floor: some are zero by symmetry.
            let scale = norm(expected.iter().copied()).max(1e-6);
            // Found on the stand-in: 2e-6 at worst. cuDNN may use Winograd, ten times less exact.
            report.at_most(&format!("{name}: {parameter}"), error / scale, 1e-4);
        }
    }
    report.finish();
}

/// In the precisions that round, gradients of the whole, of the encoder's projections and of their gate
/// point where the CPU's do.
#[test]
fn rounded_gradients_stay_near() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let model = small_model(&small_config(), DType::F64);
    let shape = [2, 37, 51];
    let (input, target) = (images(shape, 1), images(shape, 2));
    let tensors = (&tensor(&input, shape), &tensor(&target, shape));
    let (_, expected) = cpu_gradients(&model, tensors, (5, 0));
    let mut report = Report::default();
    // Found on the stand-in: 0.063 and 0.094 at worst.
    for (precision, bound) in [(Precision::Tf32, 0.2), (Precision::Bf16, 0.3)] {
        let options = TrainingOptions { precision, ..options(Execution::Eager) };
        let mut training = Training::new(&device, &model, &options).unwrap();
        training.step(&input, &target, shape).unwrap();
        assert!(training.finish().unwrap()[0].finite);
        let gradients = training.gradients().unwrap();
        for part in ["", "unet.conv1.weight", "unet.conv3.weight", "unet.conv2.bias", "gate"] {
            let names = || expected.keys().filter(|name| name.ends_with(part));
            let theirs: Vec<f64> = names().flat_map(|name| expected[name].clone()).collect();
            let ours: Vec<f64> = names().flat_map(|name| flat(&gradients[name])).collect();
            let error = norm(ours.iter().zip(&theirs).map(|(a, b)| a - b)) / norm(theirs);
            report.at_most(&format!("{precision}: ...{part}"), error, bound);
        }
    }
    report.finish();
}

/// A plain Adam in double precision: what the CPU's trainer does.
pub struct PlainAdam {
    pub moments: BTreeMap<String, (Vec<f64>, Vec<f64>)>,
    pub updates: i32,
    pub clip_norm: f64,
    /// Of the backbone and of the heads.
    pub rates: [f64; 2],
}

impl PlainAdam {
    pub fn step(&mut self, model: &Model, gradients: &BTreeMap<String, Vec<f64>>, rate: f64) {
        self.updates += 1;
        let (b1, b2) = (0.9f64, 0.999f64);
        let norm = norm(gradients.values().flatten().copied());
        let scale = if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 };
        for (name, gradient) in gradients {
            let rate = rate * self.rates[usize::from(!name.starts_with("backbonenet."))];
            let variable = model.parameters().get(name).unwrap();
            let zeros = || vec![0.0; gradient.len()];
            let (m, v) = self.moments.entry(name.clone()).or_insert_with(|| (zeros(), zeros()));
            let mut values = flat(variable.as_tensor());
            for (i, g) in gradient.iter().map(|g| scale * g).enumerate() {
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                let root = v[i].sqrt() / (1.0 - b2.powi(self.updates)).sqrt() + 1e-8;
                values[i] -= rate / (1.0 - b1.powi(self.updates)) * m[i] / root;
            }
            let tensor = Tensor::from_vec(values, variable.shape(), &CandleDevice::Cpu).unwrap();
            variable.set(&tensor.to_dtype(variable.dtype()).unwrap()).unwrap();
        }
    }
}

/// 24 steps with dropout and a rate that changes: losses within 1e-3 of the CPU's.
#[test]
fn a_trajectory_as_on_the_cpu() {
    if stand_in::ready() {
        trajectory(&options(Execution::Graph));
    }
}

/// The same with every gradient clipped, groups of their own rates and an average of the weights.
#[test]
fn a_trajectory_with_clipping_rates_and_average_as_on_the_cpu() {
    if stand_in::ready() {
        trajectory(&TrainingOptions {
            clip_norm: 0.01,
            backbone_rate: 0.5,
            heads_rate: 3.0,
            average: 0.8,
            ..options(Execution::Graph)
        });
    }
}

fn trajectory(options: &TrainingOptions) {
    let device = Device::open(0).unwrap();
    let config = small_config();
    let model = small_model(&config, DType::F64);
    let mut training = Training::new(&device, &model, options).unwrap();
    let clip_norm = if options.clip_norm > 0.0 { options.clip_norm } else { f64::INFINITY };
    let rates = [options.backbone_rate, options.heads_rate];
    let mut adam = PlainAdam { moments: BTreeMap::new(), updates: 0, clip_norm, rates };
    let all = |model: &Model| -> Vec<f64> {
        model.parameters().iter().flat_map(|(_, v)| flat(v.as_tensor())).collect()
    };
    let start = all(&model);
    let mut average = start.clone();
    let shapes = [[1, 36, 40], [1, 40, 36]];
    let mut report = Report::default();
    let mut expected = Vec::new();
    for step in 0..24u64 {
        let shape = shapes[step as usize % 2];
        let rate = if step < 12 { 1e-4 } else { 5e-5 };
        let (input, target) = (images(shape, 2 * (step % 4)), images(shape, 2 * (step % 4) + 1));
        training.set_learning_rate(rate);
        training.step(&input, &target, shape).unwrap();
        let tensors = (&tensor(&input, shape), &tensor(&target, shape));
        let (total, gradients) = cpu_gradients(&model, tensors, (5, step));
        adam.step(&model, &gradients, rate);
        let t = step as f64 + 1.0;
        let decay = options.average.min((1.0 + t) / (10.0 + t));
        let values = all(&model);
        average.iter_mut().zip(values).for_each(|(a, w)| *a = decay * *a + (1.0 - decay) * w);
        expected.push(total);
    }
    if options.average > 0.0 {
        // The norm of how far it went: the average lies well behind the weights themselves.
        let ours = small_model(&config, DType::F32);
        training.store_average(&ours).unwrap();
        let away = norm(all(&ours).iter().zip(&average).map(|(a, b)| a - b));
        let way = norm(start.iter().zip(&average).map(|(a, b)| a - b));
        assert!(away < 2e-2 * way, "the average is {away} away, after a way of {way}");
    }
    let reports = training.finish().unwrap();
    assert_eq!(reports.len(), 24);
    for (ours, expected) in reports.iter().zip(&expected) {
        let relative = (f64::from(ours.loss) - expected).abs() / expected;
        report.at_most(&format!("step {}", ours.step), relative, 1e-3);
    }
    report.finish();
}

pub fn bits(model: &Model) -> Vec<u32> {
    let all = model.parameters().iter();
    all.flat_map(|(_, v)| v.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        .map(f32::to_bits)
        .collect()
}

/// Losses and parameters after some steps on the pairs 0, 1, 2, ... of `shape`.
fn run(training: &mut Training, model: &Model, steps: std::ops::Range<u64>) -> Vec<StepReport> {
    for step in steps {
        let shape = [1, 32 + 4 * (step as usize % 2), 36];
        let (input, target) = (images(shape, step), images(shape, step + 100));
        training.step(&input, &target, shape).unwrap();
    }
    let reports = training.finish().unwrap();
    training.store(model).unwrap();
    reports
}

#[test]
fn a_graph_has_the_bits_of_single_launches() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    for precision in [Precision::Fp32, Precision::Bf16] {
        let [eager, graph] = [Execution::Eager, Execution::Graph].map(|execution| {
            let model = small_model(&small_config(), DType::F32);
            let options = TrainingOptions { precision, ..options(execution) };
            let mut training = Training::new(&device, &model, &options).unwrap();
            let reports = run(&mut training, &model, 0..6);
            (reports, bits(&model))
        });
        assert_eq!(eager.0, graph.0, "{precision}");
        assert!(eager.1 == graph.1, "{precision}: parameters differ");
        // Other masks in every step, so the losses of equal images differ between steps.
        assert!(eager.0.iter().all(|report| report.finite));
    }
}

#[test]
fn a_resumed_run_has_the_bits_of_an_unbroken_one() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let options = options(Execution::Graph);
    let whole = small_model(&small_config(), DType::F32);
    let mut training = Training::new(&device, &whole, &options).unwrap();
    let expected = run(&mut training, &whole, 0..7);

    let halved = small_model(&small_config(), DType::F32);
    let mut first = Training::new(&device, &halved, &options).unwrap();
    run(&mut first, &halved, 0..3);
    let moments = first.moments().unwrap();
    assert_eq!(moments.updates, 3);
    drop(first);
    let mut second = Training::new(&device, &halved, &options).unwrap();
    second.restore(3, &moments).unwrap();
    let reports = run(&mut second, &halved, 3..7);
    assert_eq!(reports, expected[3..]);
    assert!(bits(&halved) == bits(&whole));
}

#[test]
fn pairs_in_gpu_memory_are_those_of_the_cpu() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let model = small_model(&small_config(), DType::F32);
    let sizes = [(40, 52), (48, 44)];
    let byte = |number: usize, kind: u64, index: usize| -> u8 {
        let mixed = (number as u64 * 977 + kind * 131 + index as u64).wrapping_mul(2_654_435_761);
        (mixed >> 24) as u8
    };
    let image = |number: usize, kind: u64| -> Vec<u8> {
        let (height, width) = sizes[number];
        (0..3 * height * width).map(|index| byte(number, kind, index)).collect()
    };
    let pairs = ResidentPairs::upload::<CudaError>(&device, &sizes, |number, put| {
        let (height, width) = sizes[number];
        put(BytePair { input: &image(number, 0), target: &image(number, 1), height, width })
    })
    .unwrap();
    assert_eq!((pairs.len(), pairs.size(1)), (2, Some((48, 44))));
    let picks = [
        PairPick { pair: 1, top: 7, left: 3, horizontal: true, vertical: false },
        PairPick { pair: 0, top: 2, left: 11, horizontal: false, vertical: true },
    ];
    let (height, width) = (36, 40);
    let cut = |kind: u64| -> Vec<f32> {
        let mut out = Vec::new();
        for pick in &picks {
            let stored = image(pick.pair, kind);
            let stored_width = sizes[pick.pair].1;
            for channel in 0..3 {
                for y in 0..height {
                    for x in 0..width {
                        let row = pick.top + if pick.vertical { height - 1 - y } else { y };
                        let column = pick.left + if pick.horizontal { width - 1 - x } else { x };
                        let value = stored[3 * (row * stored_width + column) + channel];
                        out.push(f32::from(value) / 255.0);
                    }
                }
            }
        }
        out
    };
    let shape = [2, height, width];
    let mut uploaded = Training::new(&device, &model, &options(Execution::Graph)).unwrap();
    let mut resident = Training::new(&device, &model, &options(Execution::Graph)).unwrap();
    for _ in 0..3 {
        uploaded.step(&cut(0), &cut(1), shape).unwrap();
        resident.step_resident(&pairs, &picks, (height, width)).unwrap();
    }
    assert_eq!(uploaded.finish().unwrap(), resident.finish().unwrap());
    let beyond = [PairPick { pair: 0, top: 5, ..PairPick::default() }];
    let error = resident.step_resident(&pairs, &beyond, (36, 40)).unwrap_err().to_string();
    assert!(error.contains("52x40"), "{error}");
}

/// A step whose numbers run away leaves parameters and moments alone and says so.
#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let model = small_model(&small_config(), DType::F32);
    let mut training = Training::new(&device, &model, &options(Execution::Graph)).unwrap();
    let shape = [1, 32, 32];
    let (input, target) = (images(shape, 0), images(shape, 1));
    let mut broken = target.clone();
    broken[100] = f32::INFINITY;
    training.step(&input, &target, shape).unwrap();
    assert!(training.finish().unwrap()[0].finite);
    training.store(&model).unwrap();
    let before = bits(&model);
    let mut nan = input.clone();
    nan[17] = f32::NAN;
    training.step(&nan, &broken, shape).unwrap();
    let reports = training.finish().unwrap();
    assert!(!reports[0].finite, "{reports:?}");
    training.store(&model).unwrap();
    assert!(bits(&model) == before, "a step that is not finite changed the parameters");
    assert_eq!(training.moments().unwrap().updates, 1);
    training.step(&input, &target, shape).unwrap();
    assert!(training.finish().unwrap()[0].finite);
}

/// The authors' first 24 steps in double precision: losses within 2e-4.
#[test]
fn golden_training_on_cuda() {
    if !stand_in::ready() {
        return;
    }
    let Some(folder) = golden_folder() else {
        return stand_in::skipped("DEEPLPF_GOLDEN is not set");
    };
    let all =
        stand_in::stand_in_folder().is_none() || std::env::var_os("DEEPLPF_CUDA_ALL").is_some();
    if !all {
        eprintln!(
            "NOTE: golden_training_on_cuda: two steps on the stand-in; DEEPLPF_CUDA_ALL=1: 24"
        );
    }
    let device = Device::open(0).unwrap();
    let checkpoint = Checkpoint::read(&folder.join("network_state_dict.pt")).unwrap();
    let config = ModelConfig { dropout: 0.0, ..Default::default() };
    let cpu = CandleDevice::Cpu;
    let model = checkpoint.model(Some(&config), DType::F32, &cpu).unwrap();
    let golden = load(folder.join("training_f64.safetensors"), &cpu).unwrap();
    let losses = flat(&golden["losses"]);
    let mut training = Training::new(&device, &model, &options(Execution::Graph)).unwrap();
    let mut report = Report::default();
    let mut reports = Vec::new();
    for step in 0..if all { 24 } else { 2 } {
        let get = |kind: &str| golden[&format!("pair{}.{kind}", step % 4)].clone();
        let (input, target) = (get("input"), get("target"));
        let (batch, _, height, width) = input.dims4().unwrap();
        let values = |t: &Tensor| {
            t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        training.step(&values(&input), &values(&target), [batch, height, width]).unwrap();
        reports.extend(training.finish().unwrap());
        if step == 0 {
            for (name, gradient) in training.gradients().unwrap() {
                let Some(sample) = golden.get(&format!("step0.grad_sample.{name}")) else {
                    continue;
                };
                let (ours, sample) = (flat(&gradient), flat(sample));
                let stride = (ours.len() / 4096).max(1);
                let ours: Vec<f64> = ours.into_iter().step_by(stride).collect();
                let error = norm(ours.iter().zip(&sample).map(|(a, b)| a - b));
                let scale = norm(sample.iter().copied()).max(1e-9);
                // The authors' own single precision is 6.5e-3 away at worst; the stand-in 1.3e-4.
                report.at_most(&format!("step 0: {name}"), error / scale, 6.5e-3);
            }
        }
    }
    for (ours, expected) in reports.iter().zip(&losses) {
        let relative = (f64::from(ours.loss) / expected - 1.0).abs();
        report.at_most(&format!("loss of step {}", ours.step), relative, 2e-4);
    }
    report.finish();
}
