//! What deeplpf does on a GPU, timed.
//!
//! A round queues its steps one after the other and waits at its end, as training does, so that the time
//! of a step is the GPU's unless the CPU is slower.

use std::{io::Write, time::Instant};

use deeplpf_core::{
    DType,
    Device::Cpu,
    EnhanceOptions, Initialisation, Model, ModelConfig, Precision,
    cuda::{
        BytePair, CudaError, Device, Enhancer, Execution, FilterPass, PairPick, ResidentPairs,
        Training, TrainingOptions,
    },
};
use deeplpf_filters::StackConfig;
use ndarray::Array3;

use super::{
    RunArgs,
    record::{Line, Machine, Record},
};
use crate::{
    filters::raw_parameters,
    inference::read_model,
    photograph::{Photograph, Size},
};

/// Steps queued before a round waits; fewer than the reports that may be under way, so that queueing
/// never waits itself.
const STEPS: usize = 24;
/// Photographs of one round of inference.
const PHOTOGRAPHS: usize = 300;
/// Filter passes of one round.
const PASSES: usize = 20;

/// Sizes of everything.
struct Sizes {
    photograph: Size,
    crop: Size,
    crops: usize,
    large: Size,
    steps: usize,
    photographs: usize,
    passes: usize,
}

impl Sizes {
    fn new(tiny: bool) -> Self {
        let size = |height, width| Size { height, width };
        if tiny {
            return Self {
                photograph: size(45, 64),
                crop: size(32, 32),
                crops: 2,
                large: size(64, 96),
                steps: 1,
                photographs: 2,
                passes: 1,
            };
        }
        Self {
            photograph: size(341, 512),
            crop: size(256, 256),
            crops: 8,
            large: size(4000, 6000),
            steps: STEPS,
            photographs: PHOTOGRAPHS,
            passes: PASSES,
        }
    }
}

fn print(line: &Line) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(line)?)?;
    Ok(stdout.flush()?)
}

fn machine(device: &Device, trial: bool) -> anyhow::Result<Machine> {
    let versions = device.versions()?;
    let (major, minor) = device.capability();
    let named = [
        ("compute capability", format!("{major}.{minor}")),
        ("driver's CUDA", versions.driver),
        ("nvrtc", versions.nvrtc),
        ("cuDNN", versions.cudnn),
        ("memory", format!("{:.0} GB", device.memory()?.1 as f64 / 1e9)),
        ("deeplpf", env!("CARGO_PKG_VERSION").into()),
    ];
    Ok(Machine {
        side: "deeplpf".into(),
        device: device.name().into(),
        versions: named.into_iter().map(|(name, version)| (name.to_string(), version)).collect(),
        trial,
    })
}

/// Prints the device's line.
///
/// # Errors
/// No usable GPU.
pub fn print_device(index: usize) -> anyhow::Result<()> {
    print(&Line::Machine(machine(&Device::open(index)?, false)?))
}

/// Measures everything.
///
/// # Errors
/// No usable GPU, or unusable weights. What does not fit into memory is skipped with its reason.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let device = Device::open(args.device.device)?;
    let model = match args.tiny {
        true => narrow_model()?,
        false => read_model(&args.weights)?,
    };
    let sizes = Sizes::new(args.tiny);
    print(&Line::Machine(machine(&device, args.tiny)?))?;
    let bench = Bench { device, model, sizes, rounds: args.rounds.max(1) };
    for (size, batch) in [(bench.sizes.photograph, 1), (bench.sizes.crop, bench.sizes.crops)] {
        for precision in [Precision::Fp32, Precision::Tf32, Precision::Bf16] {
            for execution in [Execution::Eager, Execution::Graph] {
                bench.print(bench.training(size, batch, precision, execution))?;
            }
        }
    }
    for precision in [Precision::Fp32, Precision::Tf32, Precision::Bf16] {
        bench.print(bench.inference(precision))?;
        bench.print(bench.large(precision))?;
    }
    for record in bench.filters()? {
        bench.print(Ok(record))?;
    }
    Ok(())
}

/// Every layer of the release's network, but few channels: the stand-in is slow.
fn narrow_model() -> anyhow::Result<Model> {
    let config = ModelConfig {
        widths: [3, 4, 4, 4, 4],
        features: 5,
        head_width: 4,
        head_size: 43,
        ..ModelConfig::default()
    };
    Ok(Model::new(&config, Initialisation::Release, 1, DType::F32, &Cpu)?)
}

struct Bench {
    device: Device,
    model: Model,
    sizes: Sizes,
    rounds: usize,
}

impl Bench {
    fn print(&self, record: anyhow::Result<Record>) -> anyhow::Result<()> {
        print(&Line::Record(record?))
    }

    fn record(&self, what: &str, size: Size, batch: usize, precision: Precision) -> Record {
        Record {
            side: "deeplpf".into(),
            what: what.into(),
            precision: precision.to_string(),
            batch,
            height: size.height,
            width: size.width,
            ..Record::default()
        }
    }

    fn free(&self) -> anyhow::Result<usize> {
        self.device.synchronize()?;
        Ok(self.device.memory()?.0)
    }

    /// Whole steps on pairs in GPU memory: fetch, forward, loss, backward, Adam.
    fn training(
        &self,
        size: Size,
        batch: usize,
        precision: Precision,
        execution: Execution,
    ) -> anyhow::Result<Record> {
        let mut record = self.record("training-step", size, batch, precision);
        record.mode = match execution {
            Execution::Eager => "eager".into(),
            Execution::Graph => "graph".into(),
        };
        let free = self.free()?;
        let options = TrainingOptions { precision, execution, ..TrainingOptions::default() };
        let mut training = Training::new(&self.device, &self.model, &options)?;
        let input = Photograph::new(size).into_bytes();
        // As `training::batch`: the photograph a little brighter.
        let brighter = |v: &u8| ((f32::from(*v) + 25.5) / 1.1).round() as u8;
        let target: Vec<u8> = input.iter().map(brighter).collect();
        let (height, width) = (size.height, size.width);
        let sizes = [(height, width)];
        let pairs = ResidentPairs::upload::<CudaError>(&self.device, &sizes, |_, put| {
            put(BytePair { input: &input, target: &target, height, width })
        })?;
        let picks = vec![PairPick::default(); batch];
        let mut queue = Vec::new();
        for round in 0..=self.rounds {
            let begin = Instant::now();
            for _ in 0..self.sizes.steps {
                training.step_resident(&pairs, &picks, (height, width))?;
            }
            let queued = begin.elapsed();
            let reports = training.finish()?;
            let all = begin.elapsed();
            anyhow::ensure!(
                reports.iter().all(|report| report.finite),
                "a step's loss is not a finite number"
            );
            // The first round records, chooses algorithms and captures.
            if round > 0 {
                record.seconds.push(all.as_secs_f64() / self.sizes.steps as f64);
                queue.push(queued.as_secs_f64() / self.sizes.steps as f64);
            }
        }
        record.queue_s = Some(crate::timing::quantile(&queue, 0.5));
        record.bytes = Some(free.saturating_sub(self.free()?) as u64);
        Ok(record)
    }

    /// Photographs of 512 pixels from memory to memory, several under way.
    fn inference(&self, precision: Precision) -> anyhow::Result<Record> {
        let size = self.sizes.photograph;
        let mut record = self.record("inference", size, 1, precision);
        let free = self.free()?;
        let enhancer = Enhancer::new(&self.device, &self.model, precision)?;
        let photograph = Photograph::new(size).to_floats();
        for round in 0..=self.rounds {
            // Made before the clock starts: photographs that lie in memory.
            let photographs = vec![photograph.clone(); self.sizes.photographs];
            let begin = Instant::now();
            let mut count = 0;
            enhancer.enhance_stream(&mut photographs.into_iter(), &mut |_, _| count += 1)?;
            let seconds = begin.elapsed().as_secs_f64() / f64::from(count);
            if round > 0 {
                record.seconds.push(seconds);
            }
        }
        record.bytes = Some(free.saturating_sub(self.free()?) as u64);
        Ok(record)
    }

    /// One large photograph from memory to memory.
    fn large(&self, precision: Precision) -> anyhow::Result<Record> {
        let size = self.sizes.large;
        let mut record = self.record("inference-large", size, 1, precision);
        let free = self.free()?;
        let enhancer = Enhancer::new(&self.device, &self.model, precision)?;
        let photograph = Photograph::new(size).to_floats();
        let mut result = Array3::<f32>::zeros(photograph.raw_dim());
        for round in 0..=self.rounds {
            let begin = Instant::now();
            let done = enhancer.enhance_rows(
                &photograph.view(),
                &EnhanceOptions::default(),
                &mut |_| {},
                &mut |first, band| {
                    let rows = first..first + band.dim().1;
                    result.slice_mut(ndarray::s![.., rows, ..]).assign(&band);
                },
            );
            if let Err(error) = done {
                record.skipped = Some(error.to_string());
                return Ok(record);
            }
            if round > 0 {
                record.seconds.push(begin.elapsed().as_secs_f64());
            }
        }
        record.bytes = Some(free.saturating_sub(self.free()?) as u64);
        Ok(record)
    }

    /// The filters alone on a large photograph, and the driver's copy of it, in turn.
    fn filters(&self) -> anyhow::Result<Vec<Record>> {
        let size = self.sizes.large;
        let config = StackConfig::default();
        let raw = raw_parameters(&config);
        let image = Photograph::new(size).to_floats();
        let cotangent = image.mapv(|value| value - 0.5);
        let parts =
            (image.as_slice().unwrap_or_default(), cotangent.as_slice().unwrap_or_default());
        let shape = [1, size.height, size.width];
        let pass = FilterPass::new(&self.device, &config, &raw, parts, shape)?;
        type Queue = fn(&FilterPass) -> Result<(), CudaError>;
        let works: [(&str, Queue); 3] = [
            ("filters-apply", FilterPass::apply),
            ("filters-vjp", FilterPass::vjp),
            ("copy", FilterPass::copy),
        ];
        let mut records = works.map(|(what, _)| self.record(what, size, 1, Precision::Fp32));
        for round in 0..=self.rounds {
            for ((_, queue), record) in works.iter().zip(&mut records) {
                self.device.synchronize()?;
                let begin = Instant::now();
                for _ in 0..self.sizes.passes {
                    queue(&pass)?;
                }
                self.device.synchronize()?;
                if round > 0 {
                    record.seconds.push(begin.elapsed().as_secs_f64() / self.sizes.passes as f64);
                }
            }
        }
        Ok(records.into())
    }
}
