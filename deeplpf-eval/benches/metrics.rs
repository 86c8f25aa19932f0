//! Time of each metric for one image of 341x512, the size of the common protocols.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use deeplpf_eval::ImagePair;
use deeplpf_eval::metrics::all_metrics;
use ndarray::Array3;

fn metrics(criterion: &mut Criterion) {
    let image = |seed: usize| {
        Array3::from_shape_fn((3, 341, 512), |(c, y, x)| {
            ((c * 31 + y * 7 + x * 3 + seed * (x % 11)) % 256) as f32 / 255.0
        })
    };
    let (prediction, target) = (image(5), image(0));
    let mut group = criterion.benchmark_group("341x512");
    group.sample_size(20);
    group.bench_function("check", |bencher| {
        bencher
            .iter(|| ImagePair::new(black_box(prediction.view()), target.view()).unwrap().size());
    });
    let pair = ImagePair::new(prediction.view(), target.view()).unwrap();
    for metric in all_metrics() {
        group.bench_function(metric.metric().key.as_ref(), |bencher| {
            bencher.iter(|| metric.score(black_box(&pair)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, metrics);
criterion_main!(benches);
