//! The fused passes against the scalar reference, at any size, layout and number of threads.

mod common;

use common::{Random, by_reference};
use deeplpf_filters::{Dialect, FilterFixes, FilterStack, Real, StackConfig};
use ndarray::Array3;

const SIZES: [(usize, usize); 9] =
    [(1, 1), (1, 7), (9, 1), (8, 64), (7, 63), (17, 65), (33, 129), (2, 1000), (250, 3)];

fn configs() -> Vec<StackConfig> {
    let base = StackConfig::default();
    vec![
        base.clone(),
        StackConfig { fixes: FilterFixes::ALL, gates: true, ..base.clone() },
        StackConfig { fixes: FilterFixes::ALL, graduated: 5, elliptical: 1, ..base.clone() },
        StackConfig { dialect: Dialect::Paper, gates: true, ..base.clone() },
        StackConfig { polynomial: None, graduated: 0, elliptical: 0, ..base },
    ]
}

/// Largest difference to the reference, and the number of entries beyond 1e-3: pixels on the
/// other side of an ellipse's edge.
fn against_reference<T: Real>(
    config: &StackConfig,
    size: (usize, usize),
    seed: u64,
) -> (f64, usize) {
    let mut random = Random(seed);
    let raw: Vec<T> = random.raw(config);
    let image = random.image::<T>(size.0, size.1, [0.0, 1.0]);
    let stack = FilterStack::from_raw(config, &raw).expect("valid");
    let found = stack.apply(image.view()).expect("Y").mapv(T::wide);
    let params = stack.params().map(T::wide);
    let expected = by_reference(config, &params, image.mapv(T::wide).view());
    let differences = (found - expected).mapv(f64::abs);
    assert!(differences.iter().all(|d| !d.is_nan()), "a NaN");
    let worst = differences.fold(0.0, |m, &d| f64::max(m, d));
    (worst, differences.iter().filter(|&&d| d > 1e-3).count())
}

#[test]
fn every_size_agrees_with_the_reference() {
    let mut failures = vec![];
    for (n, config) in configs().iter().enumerate() {
        for (m, &size) in SIZES.iter().enumerate() {
            for seed in 0..4 {
                let seed = (1000 * n + 10 * m + seed) as u64;
                let (f64_worst, _) = against_reference::<f64>(config, size, seed);
                let (f32_worst, _) = against_reference::<f32>(config, size, seed);
                // The arc cosine of the reference loses up to 1e-13 near ±1. The paper's ramps and
                // ellipses divide distances, of which f32 knows 6e-8, by lengths down to 0.05.
                if f64_worst > 1e-11 || f32_worst > 2e-5 {
                    failures.push(format!(
                        "config {n}, {size:?}, seed {seed}: f64 {f64_worst:.1e}, f32 {f32_worst:.1e}"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The edge of the release's ellipse is a jump. `f32` decides it again in `f64` where it is not
/// sure, so that with the same parameters no pixel falls on the other side.
#[test]
fn no_pixel_of_a_photograph_sized_image_flips_in_f32() {
    let config = StackConfig { polynomial: None, graduated: 0, ..StackConfig::default() };
    let mut pixels = 0;
    for seed in 0..12 {
        let (worst, flipped) = against_reference::<f32>(&config, (341, 512), seed);
        assert_eq!(flipped, 0, "seed {seed}, worst {worst:.1e}");
        pixels += 341 * 512;
    }
    eprintln!("{pixels} pixels, none flipped");
}

/// The same numbers, whatever the strides of the arrays.
#[test]
fn strides_do_not_matter() {
    let config = StackConfig { fixes: FilterFixes::ALL, gates: true, ..StackConfig::default() };
    let mut random = Random(3);
    let raw: Vec<f32> = random.raw(&config);
    let stack = FilterStack::from_raw(&config, &raw).expect("valid");
    let image = random.image::<f32>(19, 131, [0.0, 1.0]);
    let cotangent = random.image::<f32>(19, 131, [-1.0, 1.0]);
    // Interleaved memory, [H, W, 3], seen as [3, H, W].
    let interleaved =
        |a: &Array3<f32>| a.view().permuted_axes([1, 2, 0]).as_standard_layout().into_owned();
    let (i, c) = (interleaved(&image), interleaved(&cotangent));
    let (i, c) = (i.view().permuted_axes([2, 0, 1]), c.view().permuted_axes([2, 0, 1]));
    let mut out = Array3::zeros((19, 131, 3));
    stack.apply_into(i, out.view_mut().permuted_axes([2, 0, 1])).expect("Y");
    assert_eq!(out.permuted_axes([2, 0, 1]), stack.apply(image.view()).expect("Y"));
    assert_eq!(stack.vjp(i, c), stack.vjp(image.view(), cotangent.view()));

    let (image, cotangent) =
        (image.as_slice().expect("contiguous"), cotangent.as_slice().expect("contiguous"));
    let mut y = vec![0.0; image.len()];
    stack.apply_slice(image, 19, 131, &mut y).expect("Y");
    assert_eq!(y, stack.apply(i).expect("Y").as_slice().expect("contiguous"));
    let mut gradient = vec![0.0; image.len()];
    let params = stack.vjp_slice(image, cotangent, 19, 131, &mut gradient).expect("gradients");
    let vjp = stack.vjp(i, c).expect("gradients");
    assert_eq!(params.raw, vjp.raw);
    assert_eq!(gradient, vjp.image.as_slice().expect("contiguous"));
}

/// The same bits with one thread and with many.
#[cfg(feature = "rayon")]
#[test]
fn the_number_of_threads_does_not_matter() {
    let config = StackConfig { fixes: FilterFixes::ALL, gates: true, ..StackConfig::default() };
    let mut random = Random(4);
    let raw: Vec<f32> = random.raw(&config);
    let image = random.image::<f32>(203, 301, [0.0, 1.0]);
    let cotangent = random.image::<f32>(203, 301, [-1.0, 1.0]);
    let stack = FilterStack::from_raw(&config, &raw).expect("valid");
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let bits = |a: &Array3<f32>| a.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let vjp = stack.vjp(image.view(), cotangent.view()).expect("gradients");
            let raw: Vec<u32> = vjp.raw.expect("raw").iter().map(|v| v.to_bits()).collect();
            (bits(&stack.apply(image.view()).expect("Y")), bits(&vjp.image), raw)
        })
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads");
    }
}
