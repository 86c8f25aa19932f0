//! Steps shared out over processes, each with a GPU of its own, against one process on the CPU.
//!
//! On a machine with GPUs these run where there are two; else on the stand-in, which plays two.

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use candle_core::DType;
use deeplpf_core::cuda::{Device, Execution, Ranks, Training, TrainingOptions, device_count};

use crate::{
    common::Report,
    network::{images, small_config, small_model, tensor},
    stand_in,
    training::{PlainAdam, bits, cpu_gradients, flat, norm},
};

const RANKS: usize = 2;
const SEED: u64 = 5;
/// A rank's images are broken in this step.
const BROKEN: u64 = 7;

/// What a rank computes in a step: images of a shape, or nothing.
struct Part {
    /// Number of the images.
    images: u64,
    /// (N, H, W).
    shape: [usize; 3],
}

/// The ranks' shapes differ in most steps; every sixth step is over one batch only, and the one before
/// over batches of one and of two images.
fn parts(step: u64) -> Vec<Part> {
    let part = |rank: u64| {
        let images = 2 * (step % 4) + rank;
        let [height, width] = [[36, 40], [40, 36], [36, 36]][(step + rank) as usize % 3];
        let count = if step % 6 == 4 { 1 + rank as usize } else { 1 };
        Part { images, shape: [count, height, width] }
    };
    (0..if step % 6 == 5 { 1 } else { RANKS as u64 }).map(part).collect()
}

fn share(parts: &[Part], rank: usize) -> f64 {
    let images = parts.iter().map(|part| part.shape[0]).sum::<usize>() as f64;
    parts.get(rank).map_or(0.0, |part| part.shape[0] as f64 / images)
}

fn rate(step: u64) -> f64 {
    if step < 12 { 1e-4 } else { 5e-5 }
}

fn pair(part: &Part, broken: bool) -> (Vec<f32>, Vec<f32>) {
    let (mut input, mut target) =
        (images(part.shape, 2 * part.images), images(part.shape, 2 * part.images + 1));
    if broken {
        (input[17], target[100]) = (f32::NAN, f32::INFINITY);
    }
    (input, target)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A rank. Losses and weights go to files.
#[test]
#[ignore = "a process of the tests below"]
fn rank() {
    assert!(stand_in::ready());
    let rank: usize = variable("RANKS_TEST_RANK").parse().unwrap();
    let steps: u64 = variable("RANKS_TEST_STEPS").parse().unwrap();
    let to = variable("RANKS_TEST_TO");
    let id = variable("RANKS_TEST_ID");
    let byte = |at: usize| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap();
    let execution = match variable("RANKS_TEST_EXECUTION").as_str() {
        "eager" => Execution::Eager,
        _ => Execution::Graph,
    };
    let device = Device::open(rank).unwrap();
    let options = TrainingOptions { execution, seed: SEED, ..Default::default() };
    let model = small_model(&small_config(), DType::F32);
    let mut training = Training::new(&device, &model, &options).unwrap();
    let ranks = Ranks::connect(&device, std::array::from_fn(byte), rank, RANKS).unwrap();
    assert_eq!((ranks.rank(), ranks.ranks()), (rank, RANKS));
    training.join(ranks).unwrap();
    let mut reports = Vec::new();
    for step in 0..steps {
        let parts = parts(step);
        training.set_learning_rate(rate(step));
        training.set_share(parts.len() as u64, share(&parts, rank));
        match parts.get(rank) {
            None => training.step_idle().unwrap(),
            Some(part) => {
                let (input, target) = pair(part, step == BROKEN && rank == 1);
                training.step(&input, &target, part.shape).unwrap();
            }
        }
        let known = training.reports_before((step + 1).saturating_sub(5)).unwrap();
        assert_eq!(known.len(), usize::from(step >= 5), "the same reports on all ranks");
        reports.extend(known);
    }
    reports.extend(training.finish().unwrap());
    let lines = reports.iter().map(|r| {
        assert_eq!(r.finite, r.step != BROKEN, "{r:?}");
        format!("{:08x} {:08x} {:08x}\n", r.loss.to_bits(), r.lab.to_bits(), r.ms_ssim.to_bits())
    });
    fs::write(format!("{to}.reports"), lines.collect::<String>()).unwrap();
    training.store(&model).unwrap();
    let weights: Vec<u8> = bits(&model).into_iter().flat_map(u32::to_le_bytes).collect();
    fs::write(format!("{to}.weights"), weights).unwrap();
}

/// Losses and weights of all ranks, which are the same.
fn train(at: &Path, execution: &str, steps: u64) -> (Vec<[f32; 3]>, Vec<f32>) {
    let id: String = Ranks::new_id().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let started = (0..RANKS).map(|rank| {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "ranks::rank", "--ignored", "--nocapture"])
            .env("STAND_IN_DEVICES", RANKS.to_string())
            .env("RANKS_TEST_RANK", rank.to_string())
            .env("RANKS_TEST_STEPS", steps.to_string())
            .env("RANKS_TEST_TO", at.join(rank.to_string()))
            .env("RANKS_TEST_EXECUTION", execution)
            .env("RANKS_TEST_ID", &id);
        command.spawn().unwrap()
    });
    for mut child in started.collect::<Vec<_>>() {
        assert!(child.wait().unwrap().success());
    }
    let read = |rank: usize, what: &str| fs::read(at.join(format!("{rank}.{what}"))).unwrap();
    let [reports, weights] = ["reports", "weights"].map(|what| {
        let first = read(0, what);
        (1..RANKS).for_each(|rank| assert!(read(rank, what) == first, "{what} of rank {rank}"));
        first
    });
    let float = |word: &str| f32::from_bits(u32::from_str_radix(word, 16).unwrap());
    let reports = String::from_utf8(reports).unwrap();
    let losses = reports.lines().map(|line| {
        let numbers: Vec<f32> = line.split(' ').map(float).collect();
        numbers.try_into().unwrap()
    });
    let weights = weights.chunks(4).map(|w| f32::from_le_bytes(w.try_into().unwrap()));
    (losses.collect(), weights.collect())
}

fn two_gpus() -> bool {
    if !stand_in::ready() {
        return false;
    }
    if stand_in::stand_in_folder().is_none() && device_count().unwrap() < RANKS {
        stand_in::skipped("this machine has one GPU");
        return false;
    }
    true
}

/// 24 steps with dropout on two ranks: losses as of one process on the CPU that takes both batches of a
/// step, and so the weights. One step is not finite on rank 1 and changes nothing on either.
#[test]
fn two_ranks_are_one_process_on_the_cpu() {
    if !two_gpus() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (losses, weights) = train(scratch.path(), "graph", 24);
    assert_eq!(losses.len(), 24);
    let model = small_model(&small_config(), DType::F64);
    let all = || model.parameters().iter().flat_map(|(_, v)| flat(v.as_tensor()));
    let start: Vec<f64> = all().collect();
    let mut adam =
        PlainAdam { moments: BTreeMap::new(), updates: 0, clip_norm: 1e9, rates: [1.0; 2] };
    let mut report = Report::default();
    // Found on the stand-in: 2e-7 at worst. Convolutions on a GPU are less exact.
    let bound = if stand_in::stand_in_folder().is_some() { 1e-5 } else { 1e-3 };
    for step in 0..24u64 {
        if step == BROKEN {
            continue;
        }
        let parts = parts(step);
        let mut mean = 0.0;
        let mut sum: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (rank, part) in parts.iter().enumerate() {
            let (input, target) = pair(part, false);
            let tensors = (&tensor(&input, part.shape), &tensor(&target, part.shape));
            let draw = step * parts.len() as u64 + rank as u64;
            let (total, gradients) = cpu_gradients(&model, tensors, (SEED, draw));
            let share = share(&parts, rank);
            mean += share * total;
            for (name, gradient) in gradients {
                let of = sum.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
                of.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += share * g);
            }
        }
        adam.step(&model, &sum, rate(step));
        let relative = (f64::from(losses[step as usize][0]) - mean).abs() / mean;
        report.at_most(&format!("step {step}"), relative, bound);
    }
    report.finish();
    let away = norm(all().zip(&weights).map(|(a, b)| a - f64::from(*b)));
    let way = norm(all().zip(&start).map(|(a, b)| a - b));
    assert!(away < 2e-2 * way, "the weights are {away} away, after a way of {way}");
}

/// With the sums beside the graphs, and shapes that a rank captures while another replays its own.
#[test]
fn graphs_of_ranks_have_the_bits_of_single_launches() {
    if !two_gpus() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let [graph, eager] = ["graph", "eager"].map(|execution| {
        let (losses, weights) = train(scratch.path(), execution, 12);
        let losses: Vec<u32> = losses.into_iter().flatten().map(f32::to_bits).collect();
        (losses, weights.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    });
    assert!(graph == eager);
}

/// Says what connecting as rank `RANKS_TEST_RANK` on GPU 0 came to.
#[test]
#[ignore = "a process of refusals_are_one_sentence"]
fn connecting() {
    let rank: usize = variable("RANKS_TEST_RANK").parse().unwrap();
    let device = Device::open(0).unwrap();
    let id = match env::var("RANKS_TEST_ID") {
        Ok(id) => {
            Ok(std::array::from_fn(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()))
        }
        Err(_) => Ranks::new_id(),
    };
    match id.and_then(|id| Ranks::connect(&device, id, rank, RANKS)) {
        Ok(_) => println!("SAID: nothing"),
        Err(error) => println!("SAID: {error}"),
    }
}

#[test]
fn refusals_are_one_sentence() {
    if !stand_in::ready() {
        return;
    }
    let Some(whole) = stand_in::stand_in_folder() else {
        return stand_in::skipped("faults are made by the stand-in only");
    };
    let scratch = tempfile::tempdir().unwrap();
    let without = stand_in::folder_without("nccl", scratch.path()).unwrap();
    let start = |folder: &Path, rank: usize, id: Option<&str>| {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "ranks::connecting", "--ignored", "--nocapture"])
            .env("LD_LIBRARY_PATH", folder)
            .env("RANKS_TEST_RANK", rank.to_string());
        id.map(|id| command.env("RANKS_TEST_ID", id));
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let said = |child: Child, parts: &[&str]| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.split_once("SAID: "));
        let line = line.unwrap_or_else(|| panic!("nothing was said: {text}")).1;
        parts.iter().for_each(|part| assert!(line.contains(part), "`{part}` is not in: {line}"));
        assert!(line.len() < 300, "{line}");
    };
    let remedy = ["NCCL", "libnccl.so.2", "pip install nvidia-nccl", "LD_LIBRARY_PATH"];
    said(start(&without, 0, None), &remedy);
    let id: String = Ranks::new_id().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let children = [0, 1].map(|rank| start(&whole, rank, Some(&id)));
    let parts = ["failed to connect the GPUs of the ranks: invalid usage", "Duplicate GPU"];
    children.into_iter().for_each(|child| said(child, &parts));
    said(start(&whole, 0, Some(&"61".repeat(128))), &["nobody made this id"]);
}
