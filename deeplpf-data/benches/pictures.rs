//! What stands around the network: decoding, rows to values, values to levels, encoding.
//!
//! `cargo bench -p deeplpf-data`; DEEPLPF_BENCH_MEGAPIXELS sets the size (default 6, 3:2).

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deeplpf_data::{DecodeLimits, EncodeOptions, OutputFormat, Picture, Rendering};
use ndarray::Array3;

/// Structure at all scales: what a codec meets in a photograph, without being one.
fn photograph(height: usize, width: usize) -> Array3<f32> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as f32 / 65536.0 - 0.5
    };
    Array3::from_shape_fn((3, height, width), |(c, y, x)| {
        let (y, x) = (y as f32 / height as f32, x as f32 / width as f32);
        let large = (7.0 * x + 3.0 * y + c as f32).sin();
        let fine = (171.0 * x * (1.0 + y)).sin() * (93.0 * y).cos();
        (0.5 + 0.25 * large + 0.1 * fine + 0.03 * noise()).clamp(0.0, 1.0)
    })
}

fn pictures(criterion: &mut Criterion) {
    let megapixels = std::env::var("DEEPLPF_BENCH_MEGAPIXELS").ok().and_then(|v| v.parse().ok());
    let megapixels: f64 = megapixels.unwrap_or(6.0);
    let height = (megapixels * 1e6 / 1.5).sqrt() as usize;
    let width = height * 3 / 2;
    let pixels = photograph(height, width);
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut group = criterion.benchmark_group(format!("{width}x{height}"));
    group.sample_size(10).throughput(Throughput::Elements((width * height) as u64));
    for format in [
        OutputFormat::Jpeg,
        OutputFormat::Png,
        OutputFormat::Png16,
        OutputFormat::Tiff16,
        OutputFormat::Npy,
    ] {
        let path = folder.path().join(format!("x.{}", format.extension()));
        let options = EncodeOptions::default();
        let mut rendering =
            Rendering::new(&path, (width, height), format, None, &options).expect("a rendering");
        group.bench_function(format!("{format}: values to levels"), |b| {
            b.iter(|| rendering.put_rows(0, pixels.view()));
        });
        group.bench_function(format!("{format}: encode and write"), |b| {
            b.iter(|| rendering.write().expect("written"));
        });
        if format == OutputFormat::Npy {
            continue;
        }
        let file = std::fs::read(&path).expect("written");
        let limits = DecodeLimits::default();
        let open = || Picture::from_bytes(&file, Path::new("x"), &limits).expect("decodes");
        group.bench_function(format!("{format}: decode"), |b| b.iter(open));
        let picture = open();
        let mut row = vec![0.0; 3 * width];
        group.bench_function(format!("{format}: levels to values"), |b| {
            b.iter(|| {
                for y in 0..height {
                    let (red, rest) = row.split_at_mut(width);
                    let (green, blue) = rest.split_at_mut(width);
                    picture.read_row(y, [red, green, blue]);
                }
            });
        });
    }
}

criterion_group!(benches, pictures);
criterion_main!(benches);
