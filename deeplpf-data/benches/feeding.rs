//! Pairs of 341 x 512 pixels a second, for one thread: decoded from PNG, and out of a warm cache as
//! whole pictures, with flips and as crops.
//!
//! `cargo bench -p deeplpf-data --bench feeding`. The throughput is pairs a second.

use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deeplpf_data::augment::ColourAugmentation;
use deeplpf_data::cache::PairCache;
use deeplpf_data::feed::{PairView, PlanarBatch, Preparation};
use deeplpf_data::{OutputFormat, PairPaths, PairedFolder, encode};
use ndarray::Array3;
use rand_core::{Infallible, TryRng};

const PAIRS: usize = 32;
const HEIGHT: usize = 341;
const WIDTH: usize = 512;

/// A counter that is well mixed: which flips are drawn must not be a pattern.
struct Mixed(u64);

impl TryRng for Mixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|v| (v >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Ok(mixed ^ (mixed >> 27))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.try_next_u64()? as u8);
        Ok(())
    }
}

fn photograph(number: usize) -> Array3<f32> {
    Array3::from_shape_fn((3, HEIGHT, WIDTH), |(c, y, x)| {
        let (y, x) = (y as f32 / HEIGHT as f32, x as f32 / WIDTH as f32);
        let large = (7.0 * x + 3.0 * y + c as f32 + number as f32).sin();
        let fine = (171.0 * x * (1.0 + y)).sin() * (93.0 * y).cos();
        (0.5 + 0.25 * large + 0.1 * fine).clamp(0.0, 1.0)
    })
}

fn feeding(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let path = |folder: &str, number: usize| -> PathBuf {
        scratch.path().join("pairs").join(folder).join(format!("{number}.png"))
    };
    for (shift, folder) in [(0, "input"), (1, "target")] {
        std::fs::create_dir_all(scratch.path().join("pairs").join(folder)).expect("made");
        for number in 0..PAIRS {
            let pixels = photograph(number + shift);
            encode(path(folder, number), pixels.view(), OutputFormat::Png, None).expect("written");
        }
    }
    let pairs: Vec<PairPaths> =
        PairedFolder::open(scratch.path().join("pairs")).expect("opens").pairs;
    let cache = PairCache::open_or_make(&scratch.path().join("cache"), &pairs, 2, &|_, _, _| {});
    let cache = cache.expect("a cache");

    let mut group = criterion.benchmark_group(format!("pairs of {HEIGHT}x{WIDTH}"));
    group.sample_size(10).throughput(Throughput::Elements(PAIRS as u64));
    let whole = Preparation::default();
    let flipped = Preparation { flips: true, ..whole };
    let colour = ColourAugmentation { exposure: 1.0, white_balance: 0.3, saturation: 0.2 };
    let preparations = [
        ("whole", whole),
        ("whole, flips", flipped),
        ("crops of 256, flips", Preparation { crop: 256, ..flipped }),
        ("whole, flips, all augmentation", Preparation { colour, ..flipped }),
    ];
    for (name, preparation) in preparations {
        let mut rng = Mixed(1);
        group.bench_function(format!("cached: {name}"), |bencher| {
            bencher.iter(|| {
                for number in 0..PAIRS {
                    let view = [cache.pair(number)];
                    PlanarBatch::prepare(view, &preparation, &mut rng).expect("prepared");
                }
            });
        });
    }
    group.throughput(Throughput::Elements(8));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    group.bench_function("PNG files: whole, flips", |bencher| {
        pool.install(|| {
            bencher.iter(|| {
                for pair in &pairs[..8] {
                    let pair = pair.load().expect("loads");
                    PlanarBatch::prepare([PairView::of(&pair)], &flipped, &mut Mixed(1))
                        .expect("prepared");
                }
            });
        });
    });
}

criterion_group!(benches, feeding);
criterion_main!(benches);
