//! Whole inference with the release's model, f32: time against size and threads.
//!
//! `cargo bench -p deeplpf-core --bench inference`

use std::hint::black_box;

use candle_core::{DType, Device};
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use deeplpf_core::{EnhanceOptions, Enhancer, Initialisation, Model, ModelConfig, RowSource};

/// Height and width: 0.17, 1.6, 6.3 and 24 megapixels.
const SIZES: [(usize, usize); 4] = [(341, 512), (1000, 1600), (2048, 3072), (4000, 6000)];

/// A pattern made row by row, so that no picture of three numbers a pixel is in memory beside.
struct Pattern(usize, usize);

impl RowSource for Pattern {
    fn size(&self) -> (usize, usize) {
        (self.0, self.1)
    }

    fn read_row(&self, row: usize, planes: [&mut [f32]; 3]) {
        for (channel, plane) in planes.into_iter().enumerate() {
            for (column, value) in plane.iter_mut().enumerate() {
                *value = ((channel * 31 + row * 17 + column * 7) % 256) as f32 / 255.0;
            }
        }
    }
}

fn inference(criterion: &mut Criterion) {
    let config = ModelConfig::default();
    let model = Model::new(&config, Initialisation::Identity, 1, DType::F32, &Device::Cpu).unwrap();
    let enhancer = Enhancer::new(model).unwrap();
    let mut group = criterion.benchmark_group("inference");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (height, width) in SIZES {
        group.throughput(Throughput::Elements((height * width) as u64));
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let name = BenchmarkId::new(format!("{height}x{width}"), format!("{threads} threads"));
            group.bench_function(name, |bencher| {
                let photograph = Pattern(height, width);
                bencher.iter(|| {
                    pool.install(|| {
                        enhancer.enhance_rows(
                            &photograph,
                            &EnhanceOptions::default(),
                            &mut |_| {},
                            &mut |_, band| _ = black_box(band[[0, 0, 0]]),
                        )
                    })
                    .unwrap()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, inference);
criterion_main!(benches);
