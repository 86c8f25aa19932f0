//! The training loss with its gradient, f32, for 1 and 2 threads.
//!
//! `cargo bench -p deeplpf-core --bench loss`

use candle_core::{DType, Device, Var};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use deeplpf_core::{Fixes, LossConfig, loss};

/// The program's allocator: the system's returns the pages of every freed tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loss and gradient");
    group.sample_size(20);
    for (height, width) in [(128, 192), (341, 512), (1000, 1600)] {
        let image =
            || Var::rand_f64(0.0, 1.0, (1, 3, height, width), DType::F32, &Device::Cpu).unwrap();
        let (prediction, target) = (image(), image().as_detached_tensor());
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let name = BenchmarkId::new(format!("{height}x{width}"), threads);
            group.bench_function(name, |bencher| {
                pool.install(|| {
                    bencher.iter(|| {
                        let value = loss(&prediction, &target, &LossConfig::default(), Fixes::NONE)
                            .unwrap();
                        value.total.backward().unwrap()
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(losses, benches);
criterion_main!(losses);
