//! Photographs enhanced on the GPU against the CPU's engine.

use std::num::NonZeroUsize;

use candle_core::DType;
use deeplpf_core::{
    Checkpoint, Compute, EnhanceOptions, Enhancer, Fixes, GivenParameters, ModelConfig, Precision,
    cuda::{self, Device},
};
use deeplpf_filters::Dialect;
use ndarray::{Array3, s};

use crate::{
    common::Report,
    network::{images, small_config, small_model},
    stand_in,
};

fn photograph(height: usize, width: usize, stream: u64) -> Array3<f32> {
    Array3::from_shape_vec((3, height, width), images([1, height, width], stream)).unwrap()
}

/// The whole result, from its bands, and that the bands cover it from the top.
fn enhanced(enhancer: &Enhancer, image: &Array3<f32>, options: &EnhanceOptions) -> Array3<f32> {
    let mut out = Array3::from_elem(image.raw_dim(), f32::NAN);
    let mut next = 0;
    let mut shares = Vec::new();
    enhancer
        .enhance_rows(
            &image.view(),
            options,
            &mut |share| shares.push(share),
            &mut |first, band| {
                assert_eq!(first, next);
                next += band.dim().1;
                out.slice_mut(s![.., first..next, ..]).assign(&band);
            },
        )
        .unwrap();
    assert_eq!(next, image.dim().1);
    assert!(shares.is_sorted() && shares.last().is_some_and(|&last| last <= 1.0));
    out
}

/// All but one in a thousand within the bound: pixels on an ellipse's edge may fall to either side.
fn compare(report: &mut Report, what: &str, ours: &Array3<f32>, theirs: &Array3<f32>) {
    assert_eq!(ours.dim(), theirs.dim());
    let differences = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs()));
    let mut differences: Vec<f64> = differences.collect();
    differences.sort_by(f64::total_cmp);
    report.at_most(what, differences[differences.len() * 999 / 1000], 2e-5);
    report.at_most(
        &format!("{what}, mean"),
        differences.iter().sum::<f64>() / ours.len() as f64,
        2e-6,
    );
}

/// On the GPU and on the CPU.
fn both(config: &ModelConfig) -> (Enhancer, Enhancer) {
    let compute = Compute::Cuda(Device::open(0).unwrap());
    let model = small_model(config, DType::F32);
    let gpu = Enhancer::on(model.clone(), &compute, Precision::Fp32).unwrap();
    (gpu, Enhancer::new(model).unwrap())
}

#[test]
fn strips_and_whole_pictures_as_the_cpu() {
    if !stand_in::ready() {
        return;
    }
    let (gpu, cpu) = both(&small_config());
    let mut report = Report::default();
    for (height, width, tile) in
        [(32, 33, None), (45, 77, None), (431, 34, Some(16)), (389, 35, Some(100))]
    {
        let image = photograph(height, width, 3);
        let options =
            EnhanceOptions { tile: tile.and_then(NonZeroUsize::new), ..Default::default() };
        let expected = enhanced(&cpu, &image, &EnhanceOptions::default());
        let what = format!("{width}x{height}, strips {tile:?}");
        compare(&mut report, &what, &enhanced(&gpu, &image, &options), &expected);
    }
    report.finish();
}

/// Strips of two photographs, one after the other, beside each of them whole: in both kinds of numbers the
/// encoder's levels are gathered from the strips as from the whole.
#[test]
fn strips_as_the_whole() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let model = small_model(&small_config(), DType::F32);
    // cuDNN may choose other algorithms for strips, so a GPU need not be as exact as the stand-in.
    let on_stand_in = stand_in::stand_in_folder().is_some();
    let mut report = Report::default();
    for (precision, on_gpu) in [(Precision::Fp32, 2e-5), (Precision::Bf16, 2e-2)] {
        let gpu = Enhancer::on(model.clone(), &Compute::Cuda(device.clone()), precision).unwrap();
        for (height, width, tile) in [(389, 34, 32), (301, 51, 16)] {
            let image = photograph(height, width, 9);
            let options = EnhanceOptions { tile: NonZeroUsize::new(tile), ..Default::default() };
            let strips = enhanced(&gpu, &image, &options);
            let whole = enhanced(&gpu, &image, &EnhanceOptions::default());
            let differences = strips.iter().zip(&whole).map(|(a, b)| f64::from((a - b).abs()));
            let mut differences: Vec<f64> = differences.collect();
            differences.sort_by(f64::total_cmp);
            // On a GPU pixels on an ellipse's edge may fall to either side.
            let share =
                if on_stand_in { differences.len() } else { differences.len() * 999 / 1000 };
            let bound = if on_stand_in { 1e-6 } else { on_gpu };
            report.at_most(&format!("{precision} {width}x{height}"), differences[share - 1], bound);
        }
    }
    report.finish();
}

#[test]
fn edited_filters_as_the_cpu() {
    if !stand_in::ready() {
        return;
    }
    let release = ModelConfig { fixes: Fixes::NONE, ..small_config() };
    let paper = ModelConfig { dialect: Dialect::Paper, ..release.clone() };
    let mut report = Report::default();
    for (name, config) in [("release", release), ("paper", paper)] {
        let (gpu, cpu) = both(&config);
        let image = photograph(40, 44, 5);
        let filters = cpu.enhance(photograph(36, 36, 6).view()).unwrap().parameters.filters;
        let given = Some(GivenParameters { filters, colour: None });
        for (what, options) in [
            ("strength", EnhanceOptions { strength: 0.6, ..Default::default() }),
            ("given", EnhanceOptions { given: given.clone(), ..Default::default() }),
            ("both", EnhanceOptions { given, strength: 1.4, ..Default::default() }),
        ] {
            let what = format!("{name}, {what}");
            let (ours, theirs) =
                (enhanced(&gpu, &image, &options), enhanced(&cpu, &image, &options));
            compare(&mut report, &what, &ours, &theirs);
        }
    }
    report.finish();
}

#[test]
fn a_stream_of_photographs_as_one_by_one() {
    if !stand_in::ready() {
        return;
    }
    let device = Device::open(0).unwrap();
    let model = small_model(&small_config(), DType::F32);
    let gpu = cuda::Enhancer::new(&device, &model, Precision::Fp32).unwrap();
    let sizes = [(36, 40), (40, 36), (36, 40), (36, 40), (33, 32), (36, 40), (36, 40)];
    let photographs: Vec<Array3<f32>> =
        sizes.iter().zip(0..).map(|(&(h, w), stream)| photograph(h, w, stream)).collect();
    let mut seen = 0;
    gpu.enhance_stream(&mut photographs.iter().cloned(), &mut |number, result| {
        assert_eq!(number, seen);
        seen += 1;
        let alone = gpu_alone(&device, &photographs[number]);
        assert!(result.image.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(result.parameters.raw.len(), model.config().stack().raw_len());
    })
    .unwrap();
    assert_eq!(seen, sizes.len());
}

fn gpu_alone(device: &Device, photograph: &Array3<f32>) -> Array3<f32> {
    let model = small_model(&small_config(), DType::F32);
    let gpu = cuda::Enhancer::new(device, &model, Precision::Fp32).unwrap();
    gpu.enhance(photograph.view()).unwrap().image
}

#[test]
fn bad_pictures_are_refused_in_words() {
    if !stand_in::ready() {
        return;
    }
    let (gpu, _) = both(&small_config());
    let error = gpu.enhance(photograph(31, 64, 0).view()).err().unwrap().to_string();
    assert!(error.contains("64x31"), "{error}");
    let mut broken = photograph(36, 36, 0);
    broken[[1, 4, 5]] = f32::NAN;
    assert!(gpu.enhance(broken.view()).is_err());
}

/// Enhancers and trainers may move between threads, and enhancers be shared.
#[test]
fn types_cross_threads() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    send::<cuda::Training>();
    shared::<cuda::Enhancer>();
    shared::<Enhancer>();
    shared::<cuda::ResidentPairs>();
}

/// The weights inside the program, which have all fixes, whole and in strips.
#[test]
fn the_default_weights_as_on_the_cpu() {
    if !stand_in::ready() {
        return;
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../weights/default.safetensors");
    let checkpoint = Checkpoint::read(file.as_ref()).unwrap();
    let model = checkpoint.model(None, DType::F32, &candle_core::Device::Cpu).unwrap();
    assert!(model.config().fixes == Fixes::ALL);
    let compute = Compute::Cuda(Device::open(0).unwrap());
    let gpu = Enhancer::on(model.clone(), &compute, Precision::Fp32).unwrap();
    let image = photograph(290, 36, 8);
    let cpu = Enhancer::new(model).unwrap();
    let expected = enhanced(&cpu, &image, &EnhanceOptions::default());
    let mut report = Report::default();
    for tile in [None, NonZeroUsize::new(32)] {
        let options = EnhanceOptions { tile, ..Default::default() };
        let ours = enhanced(&gpu, &image, &options);
        compare(&mut report, &format!("strips {tile:?}"), &ours, &expected);
    }
    report.finish();
}
