//! The whole training step (forward, loss, backward, Adam) and the forward pass of the release's
//! model, batch 1, f32, for 1 and 2 threads.
//!
//! `cargo bench -p deeplpf-train`

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use deeplpf_core::{Initialisation, LossConfig, Mode, Model, ModelConfig};
use deeplpf_train::{AdamConfig, Batch, Trainer};

/// The program's allocator: the system's returns the pages of every freed tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn image(height: usize, width: usize, phase: f32) -> Tensor {
    let values: Vec<f32> =
        (0..3 * height * width).map(|i| 0.5 + 0.4 * (i as f32 * 0.013 + phase).sin()).collect();
    Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu).unwrap()
}

fn benches(criterion: &mut Criterion) {
    for (height, width) in [(128, 192), (341, 512), (1000, 1600)] {
        let mut group = criterion.benchmark_group(format!("network {height}x{width}"));
        group.sample_size(10);
        let config = ModelConfig::default();
        let model =
            Model::new(&config, Initialisation::Identity, 1, DType::F32, &Device::Cpu).unwrap();
        let batch = Batch {
            ids: vec!["bench".into()],
            input: image(height, width, 0.0),
            target: image(height, width, 0.3),
        };
        let mut trainer =
            Trainer::new(model.clone(), AdamConfig::default(), LossConfig::default(), 1);
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            group.bench_function(BenchmarkId::new("forward", threads), |bencher| {
                pool.install(|| {
                    bencher.iter(|| model.forward(&batch.input, Mode::Evaluate).unwrap())
                });
            });
            group.bench_function(BenchmarkId::new("step", threads), |bencher| {
                pool.install(|| bencher.iter(|| trainer.step(&batch, 0).unwrap()));
            });
        }
        group.finish();
    }
}

criterion_group!(step, benches);
criterion_main!(step);
