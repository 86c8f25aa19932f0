//! The filters against the CPU's, in double precision and in single, and against golden vectors.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device as Processor, Tensor, Var};
use deeplpf_filters::{Dialect, FilterFixes, FilterStack, FusionRule, PolynomialKind, StackConfig};
use half::bf16;
use ndarray::Array3;

use super::*;
use crate::ops::{filter_stack::polynomial, resize::bilinear_resize};

fn configurations() -> Vec<(&'static str, StackConfig)> {
    let release = StackConfig::default();
    let fixes = |ellipse, fusion, ste, blend| FilterFixes { ellipse, fusion, ste, blend };
    let with = |fixes| StackConfig { fixes, ..StackConfig::default() };
    let product = |config| StackConfig { fusion: FusionRule::Product, ..config };
    let paper = StackConfig { dialect: Dialect::Paper, ..release.clone() };
    vec![
        ("release", release.clone()),
        ("fixed", with(FilterFixes::ALL)),
        ("ellipse", with(fixes(true, false, false, false))),
        ("fusion and blend", with(fixes(false, true, false, true))),
        ("gates", StackConfig { gates: true, ..with(FilterFixes::ALL) }),
        ("product", product(with(FilterFixes::ALL))),
        ("paper by product", product(paper.clone())),
        ("paper", paper.clone()),
        ("paper with gates", StackConfig { gates: true, ..paper.clone() }),
        ("cubic10", StackConfig { polynomial: Some(PolynomialKind::Cubic10), ..release.clone() }),
        ("no polynomial", StackConfig { polynomial: None, graduated: 2, ..release.clone() }),
        ("graduated alone", StackConfig { polynomial: None, elliptical: 0, ..release.clone() }),
        ("elliptical alone", StackConfig { graduated: 0, elliptical: 1, ..paper }),
        ("polynomial alone", StackConfig { graduated: 0, elliptical: 0, ..release.clone() }),
        ("nothing", StackConfig { polynomial: None, graduated: 0, elliptical: 0, ..release }),
    ]
}

fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Output, gradient of the image, gradient of the raw parameters.
struct Result3 {
    output: Vec<f64>,
    image: Vec<f64>,
    raw: Vec<f64>,
}

/// By the CPU's scalar arithmetic of either precision.
fn on_cpu<T: deeplpf_filters::Real>(
    config: &StackConfig,
    [height, width]: [usize; 2],
    raw: &[f32],
    image: &[f32],
    cotangent: &[f32],
) -> Result3 {
    let narrow =
        |values: &[f32]| -> Vec<T> { values.iter().map(|v| T::narrow(f64::from(*v))).collect() };
    let planes = |values| Array3::from_shape_vec((3, height, width), narrow(values)).unwrap();
    let stack = FilterStack::from_raw(config, &narrow(raw)).unwrap();
    let (image, cotangent) = (planes(image), planes(cotangent));
    let output = stack.apply(image.view()).unwrap();
    let vjp = stack.vjp(image.view(), cotangent.view()).unwrap();
    let wide = |values: &mut dyn Iterator<Item = T>| values.map(|v| v.wide()).collect();
    Result3 {
        output: wide(&mut output.iter().copied()),
        image: wide(&mut vjp.image.iter().copied()),
        raw: wide(&mut vjp.raw.unwrap().into_iter()),
    }
}

fn on_cuda(
    bench: &Bench,
    filters: &FilterKernels,
    shape: [usize; 4],
    raw: &[f32],
    image: &[f32],
    cotangent: &[f32],
) -> Result3 {
    let [batch, ..] = shape;
    let stream = bench.stream();
    let raw = bench.numbers(raw);
    let constants = bench.numbers(&vec![0xffu8; filters.constants_len(batch)]);
    let workspace = bench.numbers(&vec![f32::NAN; filters.workspace_len(shape)]);
    let of_raw = bench.numbers(&vec![f32::NAN; raw.len]);
    let source = bench.planes::<f32>(image, shape, 0);
    let out = bench.empty::<f32>(shape, 0);
    // The gradient takes the cotangent's place.
    let gradient = bench.planes::<f32>(cotangent, shape, 0);
    filters.prepare(stream, raw.span(), batch, constants.span()).unwrap();
    filters.apply(stream, constants.span(), source.planes(), out.planes(), None).unwrap();
    filters
        .vjp(
            stream,
            raw.span(),
            constants.span(),
            source.planes(),
            gradient.planes(),
            gradient.planes(),
            of_raw.span(),
            workspace.span(),
        )
        .unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&source.read()), bits(image), "the image is only read");
    Result3 {
        output: to_f64(&out.read()),
        image: to_f64(&gradient.read()),
        raw: to_f64(&of_raw.read()),
    }
}

/// Share of entries that differ by more than `bound` times the largest (at least 1).
fn off(found: &[f64], expected: &[f64], bound: f64) -> (usize, f64) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let differences = found.iter().zip(expected).map(|(f, e)| (f - e).abs() / largest);
    let bad = differences.clone().filter(|d| *d > bound || d.is_nan()).count();
    (bad, differences.fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m }))
}

/// Bound of values and gradients against the definition in double precision, relative to the largest.
/// The constants, which are formed in double precision, come from parameters rounded to f32.
const BOUND: f64 = 2e-5;

#[track_caller]
fn compare(label: &str, found: &Result3, expected: &Result3, pixels_may_flip: bool) {
    // A pixel within a rounding of a limit or an edge takes another branch.
    let allowed = if pixels_may_flip { 2 + found.output.len() / 5000 } else { 0 };
    for (what, found, expected, allowed) in [
        ("output", &found.output, &expected.output, allowed),
        ("image gradient", &found.image, &expected.image, allowed),
    ] {
        let (bad, worst) = off(found, expected, BOUND);
        assert!(
            bad <= allowed,
            "{label}, {what}: {bad} of {} beyond {BOUND}, worst {worst}",
            found.len()
        );
    }
    let (bad, worst) = off(&found.raw, &expected.raw, if pixels_may_flip { 2e-3 } else { 2e-4 });
    assert!(bad == 0, "{label}, raw gradient: worst {worst}");
}

#[test]
fn random_filters_of_every_configuration() {
    let Some(bench) = bench() else { return };
    // Several blocks of columns and rows; one pixel; odd.
    let sizes = [[1, 1], [37, 131], [9, 260]];
    let mut all = configurations();
    if stand_in::stand_in_folder().is_some() && std::env::var_os("DEEPLPF_CUDA_ALL").is_none() {
        println!(
            "filters on CUDA: some configurations; DEEPLPF_CUDA_ALL=1 for all (a minute more)"
        );
        all.retain(|(name, _)| {
            ["release", "gates", "paper with gates", "no polynomial"].contains(name)
        });
    }
    for (label, config) in all {
        let filters = FilterKernels::new(&bench.device, &config).unwrap();
        for (seed, [height, width]) in sizes.into_iter().enumerate() {
            let shape = [2, 3, height, width];
            let (count, one) = (shape.iter().product::<usize>(), 3 * height * width);
            let image = random(seed as u64, count, -0.1, 1.1);
            let cotangent = random(10 + seed as u64, count, -1.0, 1.0);
            let mut raw = random(20 + seed as u64, 2 * config.raw_len(), -1.0, 1.0);
            for image in raw.chunks_exact_mut(config.raw_len().max(1)) {
                image[config.polynomial_range()].iter_mut().for_each(|c| *c *= 0.1);
            }
            let found = on_cuda(&bench, &filters, shape, &raw, &image, &cotangent);
            let mut expected = Result3 { output: vec![], image: vec![], raw: vec![] };
            for n in 0..2 {
                let raw = &raw[n * config.raw_len()..][..config.raw_len()];
                let part = n * one..(n + 1) * one;
                let size = [height, width];
                // Parameters that are f32 numbers, as a network's: the decisions are those of f32.
                let own = on_cpu::<f32>(&config, size, raw, &image[part.clone()], &cotangent[part]);
                expected.output.extend(own.output);
                expected.image.extend(own.image);
                expected.raw.extend(own.raw);
            }
            compare(&format!("{label} {width}x{height}"), &found, &expected, true);
        }
    }
}

#[test]
fn extreme_parameters_stay_finite() {
    let Some(bench) = bench() else { return };
    let config = StackConfig::default();
    let filters = FilterKernels::new(&bench.device, &config).unwrap();
    let (height, width) = (33, 64);
    let (image, cotangent) =
        (random(1, 3 * height * width, 0.0, 1.0), random(2, 3 * height * width, -1.0, 1.0));
    for (seed, size) in [8.0, 30.0, 300.0].into_iter().enumerate() {
        let mut raw = random(seed as u64, config.raw_len(), -size, size);
        raw[config.polynomial_range()].fill(0.01);
        let found = on_cuda(&bench, &filters, [1, 3, height, width], &raw, &image, &cotangent);
        for values in [&found.output, &found.image, &found.raw] {
            assert!(values.iter().all(|v| v.is_finite()), "size {size}");
        }
        let expected = on_cpu::<f32>(&config, [height, width], &raw, &image, &cotangent);
        compare(&format!("size {size}"), &found, &expected, true);
    }
}

#[test]
fn numbers_that_are_not_finite_show() {
    let Some(bench) = bench() else { return };
    let config = StackConfig::default();
    let filters = FilterKernels::new(&bench.device, &config).unwrap();
    let shape = [1, 3, 4, 4];
    let (mut image, cotangent) = (vec![0.5; 48], vec![1.0; 48]);
    let mut raw = vec![0.1; config.raw_len()];
    raw[100] = f32::NAN;
    let found = on_cuda(&bench, &filters, shape, &raw, &image, &cotangent);
    assert!(found.output.iter().all(|v| v.is_nan()) && found.raw.iter().any(|v| v.is_nan()));
    raw[100] = 0.1;
    image[17] = f32::NAN;
    let found = on_cuda(&bench, &filters, shape, &raw, &image, &cotangent);
    assert!(found.output[17].is_nan() && found.output[16].is_finite());
}

fn golden_file() -> (PathBuf, usize) {
    match std::env::var_os("DEEPLPF_GOLDEN") {
        Some(folder) => (Path::new(&folder).join("filters_f64.safetensors"), 6),
        None => {
            println!("golden filters on CUDA: the committed subset; DEEPLPF_GOLDEN names more");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deeplpf-filters");
            (root.join("tests/fixtures/filters_f64.safetensors"), 6)
        }
    }
}

#[test]
fn golden_filters() {
    let Some(bench) = bench() else { return };
    let (file, cases) = golden_file();
    let golden = candle_core::safetensors::load(file, &Processor::Cpu).unwrap();
    let mut compared = 0;
    for (name, fixes) in [("release", FilterFixes::NONE), ("fixed", FilterFixes::ALL)] {
        let config = StackConfig { fixes, ..StackConfig::default() };
        let filters = FilterKernels::new(&bench.device, &config).unwrap();
        for case in 0..cases {
            let get = |key: &str| golden.get(&format!("{name}.{case}.{key}"));
            let Some(image) = get("image") else { continue };
            let single = |t: &Tensor| -> Vec<f32> {
                t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            let keys = ["cubic_params", "graduated_params", "elliptical_params"];
            let raw: Vec<_> = keys.iter().map(|key| get(key).unwrap().clone()).collect();
            let raw = single(&Tensor::cat(&raw, 1).unwrap());
            let shape: [usize; 4] = image.dims().try_into().unwrap();
            let cotangent = single(get("output.cotangent").unwrap());
            let found = on_cuda(&bench, &filters, shape, &raw, &single(image), &cotangent);
            let value = to_f64(&single(get("output.value").unwrap()));
            let (bad, worst) = off(&found.output, &value, 2e-4);
            assert!(bad <= found.output.len() / 5000, "{name} {case}: {bad}, worst {worst}");
            compared += 1;
            let Some(of_image) = get("output.grad.image") else { continue };
            let (bad, worst) = off(&found.image, &to_f64(&single(of_image)), 2e-4);
            assert!(bad <= found.image.len() / 2000, "{name} {case} image: {bad}, worst {worst}");
        }
    }
    assert!(compared >= 2, "{compared} golden cases");
    println!("golden filters on CUDA: {compared} cases");
}

fn resized<T: Number>(config: &StackConfig) {
    let Some(bench) = bench() else { return };
    let filters = FilterKernels::new(&bench.device, config).unwrap();
    let stream = bench.stream();
    for ([height, width], [h, w]) in [([37, 140], [20, 30]), ([6, 5], [15, 131]), ([8, 9], [8, 9])]
    {
        let (shape, small) = ([2, 3, height, width], [2, 3, h, w]);
        let image = random(1, shape.iter().product(), -0.1, 1.1);
        let cotangent = random(2, small.iter().product(), -1.0, 1.0);
        let cotangent: Vec<f32> = cotangent.iter().map(|v| T::of(*v).wide()).collect();
        let raw = random(3, 2 * config.raw_len(), -0.1, 0.1);
        // By candle's tensors.
        let cpu = Processor::Cpu;
        let x = Var::from_vec(image.clone(), &shape, &cpu).unwrap();
        let numbers = Var::from_vec(raw.clone(), (2, config.raw_len()), &cpu).unwrap();
        let y2 = polynomial(config, &x, &numbers).unwrap();
        let out = bilinear_resize(&y2, h, w).unwrap();
        let weights = Tensor::from_vec(cotangent.clone(), &small, &cpu).unwrap();
        let gradients = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // Both gradients are added to what is there.
        let mut of_image = flat(gradients.get(&x).unwrap());
        of_image.iter_mut().for_each(|v| *v += 0.25);
        let mut of_raw = flat(gradients.get(&numbers).unwrap());
        of_raw.iter_mut().for_each(|v| *v += 0.5);

        let source = bench.planes::<f32>(&image, shape, 0);
        let result = bench.empty::<T>(small, 0);
        let gradient = bench.planes::<T>(&cotangent, small, 0);
        let back = bench.planes::<f32>(&vec![0.25; image.len()], shape, 0);
        let raw = bench.numbers(&raw);
        let raw_back = bench.numbers(&vec![0.5f32; of_raw.len()]);
        let workspace = bench.numbers(&vec![f32::NAN; filters.workspace_len(shape)]);
        filters.polynomial_resized(stream, raw.span(), source.planes(), result.planes()).unwrap();
        close("resized", &result.read(), &flat(&out), 2e-6 + T::ROUNDING);
        filters
            .polynomial_resized_vjp(
                stream,
                raw.span(),
                source.planes(),
                gradient.planes(),
                back.planes(),
                raw_back.span(),
                workspace.span(),
            )
            .unwrap();
        close("image gradient", &back.read(), &of_image, 5e-6);
        close("raw gradient", &raw_back.read(), &of_raw, 5e-6);
    }
}

#[test]
fn the_resized_polynomial_and_its_gradient() {
    resized::<f32>(&StackConfig::default());
    resized::<bf16>(&StackConfig::default());
    let paper = StackConfig {
        dialect: Dialect::Paper,
        polynomial: Some(PolynomialKind::Cubic10),
        ..StackConfig::default()
    };
    resized::<f32>(&paper);
}

#[test]
fn strips_are_parts_of_the_whole() {
    let Some(bench) = bench() else { return };
    let config = StackConfig::default();
    let filters = FilterKernels::new(&bench.device, &config).unwrap();
    let (height, width) = (29, 40);
    let image = random(1, 3 * height * width, 0.0, 1.0);
    let raw = bench.numbers(&random(2, config.raw_len(), -0.5, 0.5));
    let constants = bench.numbers(&vec![0u8; filters.constants_len(1)]);
    let stream = bench.stream();
    filters.prepare(stream, raw.span(), 1, constants.span()).unwrap();
    let run = |first: usize, rows: usize| {
        let strip: Vec<f32> = image
            .chunks_exact(height * width)
            .flat_map(|plane| plane[first * width..][..rows * width].to_vec())
            .collect();
        let shape = [1, 3, rows, width];
        let (source, out) = (bench.planes::<f32>(&strip, shape, 0), bench.empty::<f32>(shape, 0));
        let strip = Some([first, height]);
        filters.apply(stream, constants.span(), source.planes(), out.planes(), strip).unwrap();
        out.read()
    };
    let whole = run(0, height);
    for (first, rows) in [(0, 11), (11, 1), (12, 17)] {
        let strip = run(first, rows);
        for channel in 0..3 {
            let expected = &whole[(channel * height + first) * width..][..rows * width];
            assert_eq!(&strip[channel * rows * width..][..rows * width], expected);
        }
    }
}
