//! Forward and backward of the release's full stack in f32, beside copying the image.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use deeplpf_filters::{Dialect, FilterFixes, FilterStack, StackConfig};
use ndarray::Array3;

const SIZES: [(usize, usize); 2] = [(341, 512), (1000, 1600)];

fn stack(config: &StackConfig) -> FilterStack<f32> {
    let raw: Vec<f32> = (0..config.raw_len()).map(|i| 0.6 * (i as f32 * 1.7 + 0.3).sin()).collect();
    FilterStack::from_raw(config, &raw).expect("a valid stack")
}

fn bench(c: &mut Criterion) {
    let release = StackConfig::default();
    let configs = [
        ("release", release.clone()),
        ("fixed", StackConfig { fixes: FilterFixes::ALL, ..release.clone() }),
        ("paper", StackConfig { dialect: Dialect::Paper, ..release }),
    ];
    for (height, width) in SIZES {
        let mut group = c.benchmark_group(format!("{height}x{width}"));
        group.measurement_time(Duration::from_secs(3)).sample_size(20);
        group.throughput(Throughput::Elements((height * width) as u64));
        let image = Array3::from_shape_fn((3, height, width), |(ch, r, c)| {
            ((ch * 7 + r * 3 + c) % 251) as f32 / 250.0
        });
        let cotangent = image.mapv(|v| v - 0.5);
        let mut out = Array3::zeros(image.raw_dim());
        group.bench_function("memcpy", |b| b.iter(|| out.assign(black_box(&image))));
        for (name, config) in &configs {
            let stack = stack(config);
            group.bench_function(BenchmarkId::new("apply", name), |b| {
                b.iter(|| stack.apply_into(black_box(image.view()), out.view_mut()));
            });
            group.bench_function(BenchmarkId::new("vjp", name), |b| {
                b.iter(|| {
                    stack.vjp_into(black_box(image.view()), cotangent.view(), out.view_mut())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
