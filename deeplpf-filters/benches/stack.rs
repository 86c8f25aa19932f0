//! Forward and backward of the full stack in f32, beside copying the image.
//!
//! `DEEPLPF_SIMD=portable|avx2|avx512` measures another path. A name on the command line chooses
//! among the benches, e.g. `cargo bench -p deeplpf-filters -- 24MP/apply`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use deeplpf_filters::{Dialect, FilterFixes, FilterStack, StackConfig};
use ndarray::Array3;

const SIZES: [(&str, usize, usize); 4] =
    [("0.17MP", 341, 512), ("1.6MP", 1000, 1600), ("6.3MP", 2048, 3072), ("24MP", 4000, 6000)];

const THREADS: [usize; 2] = [1, 2];

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
    eprintln!("instruction set: {}", stack(&configs[0].1).instructions());
    for (size, height, width) in SIZES {
        let mut group = c.benchmark_group(size);
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        group.sample_size(10);
        group.throughput(Throughput::Elements((height * width) as u64));
        let image = Array3::from_shape_fn((3, height, width), |(ch, r, c)| {
            ((ch * 7 + r * 3 + c) % 251) as f32 / 250.0
        });
        let cotangent = image.mapv(|v| v - 0.5);
        let mut out = Array3::ones(image.raw_dim());
        let (from, to) = (image.as_slice(), out.as_slice_mut());
        let (from, to) = (from.expect("contiguous"), to.expect("contiguous"));
        // One thread; the pages of both have been written to.
        group.bench_function("memcpy", |b| b.iter(|| to.copy_from_slice(black_box(from))));
        for threads in THREADS {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("a pool of threads");
            for (name, config) in &configs {
                let stack = stack(config);
                let id = |pass| BenchmarkId::new(format!("{pass}/{name}"), threads);
                group.bench_function(id("apply"), |b| {
                    let mut run = || stack.apply_into(black_box(image.view()), out.view_mut());
                    pool.install(|| b.iter(&mut run));
                });
                group.bench_function(id("vjp"), |b| {
                    let mut run = || {
                        stack.vjp_into(black_box(image.view()), cotangent.view(), out.view_mut())
                    };
                    pool.install(|| b.iter(&mut run));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
