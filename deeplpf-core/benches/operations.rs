//! Convolutions, forward and with both gradients, and resizes at the sizes the network meets them
//! in, f32, for 1 and 2 threads. Rates are in floating-point operations, two per multiply-add.
//!
//! `cargo bench -p deeplpf-core --bench operations`

use candle_core::{DType, Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use deeplpf_core::ops::{
    conv::{Activation, Conv2d, Padding},
    max_pool::max_pool2,
    patches::resized_patches,
    resize::bilinear_resize,
};

/// The program's allocator: the system's returns the pages of every freed tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: [usize; 2] = [1, 2];

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn uniform(shape: &[usize]) -> Var {
    Var::rand_f64(-1.0, 1.0, shape, DType::F32, &Device::Cpu).unwrap()
}

/// Name, kind, kernel, input channels, output channels, height, width.
type Case = (&'static str, Conv2d, usize, [usize; 4]);

fn cases() -> Vec<Case> {
    let conv = |padding, stride| Conv2d { padding, stride, activation: Activation::LeakyRelu };
    let reflect = conv(Padding::Reflect, 1);
    vec![
        ("3x3 full size", reflect, 3, [16, 16, 341, 512]),
        ("3x3 at 1.6 MP", reflect, 3, [16, 16, 1000, 1600]),
        ("3x3 at 6.3 MP", reflect, 3, [16, 16, 2048, 3072]),
        ("3x3 joint, full size", reflect, 3, [48, 16, 341, 512]),
        ("3x3 quarter", reflect, 3, [192, 64, 85, 128]),
        ("3x3 eighth", reflect, 3, [256, 128, 42, 64]),
        ("3x3 bottom", reflect, 3, [128, 128, 21, 32]),
        ("3x3 to the image", reflect, 3, [16, 3, 341, 512]),
        ("3x3 stride 2", conv(Padding::Zero, 2), 3, [31, 64, 300, 300]),
        ("1x1", reflect, 1, [64, 64, 85, 128]),
    ]
}

fn convolutions(criterion: &mut Criterion) {
    for (name, conv, kernel, [inputs, outputs, height, width]) in cases() {
        let (x, weight) =
            (uniform(&[1, inputs, height, width]), uniform(&[outputs, inputs, kernel, kernel]));
        let bias = uniform(&[outputs]);
        let out = conv.apply(&x, &weight, &bias).unwrap();
        let operations = 2 * out.elem_count() * inputs * kernel * kernel;
        let mut group = criterion.benchmark_group(format!("convolution {name}"));
        group.sample_size(10);
        for threads in THREADS {
            let pool = pool(threads);
            group.throughput(Throughput::Elements(operations as u64));
            group.bench_function(BenchmarkId::new("forward", threads), |bencher| {
                let (x, weight, bias) = (
                    x.as_detached_tensor(),
                    weight.as_detached_tensor(),
                    bias.as_detached_tensor(),
                );
                pool.install(|| bencher.iter(|| conv.apply(&x, &weight, &bias).unwrap()));
            });
            group.throughput(Throughput::Elements(3 * operations as u64));
            group.bench_function(BenchmarkId::new("forward and gradients", threads), |bencher| {
                pool.install(|| {
                    bencher.iter(|| {
                        conv.apply(&x, &weight, &bias)
                            .unwrap()
                            .sum_all()
                            .unwrap()
                            .backward()
                            .unwrap()
                    })
                });
            });
        }
        group.finish();
    }
}

fn resizes(criterion: &mut Criterion) {
    type Operation = fn(&Tensor) -> candle_core::Result<Tensor>;
    let image = uniform(&[1, 3, 341, 512]);
    let [medium, large] = [[1, 3, 1000, 1600], [1, 3, 2048, 3072]].map(|shape| uniform(&shape));
    let level = uniform(&[1, 16, 341, 512]);
    let operations: [(&str, &Var, Operation); 5] = [
        ("resize of an image, 1.6 MP", &medium, |x| bilinear_resize(x, 300, 300)),
        ("resize of an image, 6.3 MP", &large, |x| bilinear_resize(x, 300, 300)),
        ("resize of an image", &image, |x| bilinear_resize(x, 300, 300)),
        ("resized patches", &image, |x| resized_patches(x, 300, 300)),
        ("max-pooling of 16 channels", &level, max_pool2),
    ];
    for (name, x, operation) in operations {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for threads in THREADS {
            let pool = pool(threads);
            group.bench_function(BenchmarkId::new("forward", threads), |bencher| {
                let x = x.as_detached_tensor();
                pool.install(|| bencher.iter(|| operation(&x).unwrap()));
            });
            group.bench_function(BenchmarkId::new("forward and gradient", threads), |bencher| {
                pool.install(|| {
                    bencher.iter(|| operation(x).unwrap().sum_all().unwrap().backward().unwrap())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(operations, convolutions, resizes);
criterion_main!(operations);
