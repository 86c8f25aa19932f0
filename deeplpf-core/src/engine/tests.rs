//! The engine against the network's own forward pass.

use candle_core::{DType, Device, Tensor};
use deeplpf_filters::FusionRule;
use ndarray::Array3;

use super::*;
use crate::{
    BackboneKind, Fixes, Initialisation, Mode, ModelConfig, config::Polynomial, random::Generator,
};

fn photograph(height: usize, width: usize) -> Array3<f32> {
    let mut generator = Generator::for_parameter(5, "photograph");
    let mut phase = || generator.uniform() as f32 * 6.0;
    let waves: Vec<[f32; 3]> = (0..9).map(|_| [phase(), phase(), phase()]).collect();
    Array3::from_shape_fn((3, height, width), |(c, y, x)| {
        let (y, x) = (y as f32 / height as f32, x as f32 / width as f32);
        let sum: f32 = waves[3 * c..3 * c + 3]
            .iter()
            .map(|[a, b, p]| (a * 5.0 * x + b * 7.0 * y + p).sin())
            .sum();
        (0.5 + 0.15 * sum).clamp(0.0, 1.0)
    })
}

/// A model with every part at work: random weights, open gates and wiring.
fn model(config: &ModelConfig) -> Model {
    let model = Model::new(config, Initialisation::Release, 11, DType::F64, &Device::Cpu).unwrap();
    for (name, variable) in model.parameters().iter() {
        if name.contains("wiring_gate") || name.contains("gates") || name.contains("fc_colour") {
            let values = Tensor::ones(variable.shape(), DType::F64, &Device::Cpu).unwrap();
            variable.set(&(values * 0.02).unwrap()).unwrap();
        }
    }
    model
}

type Found = (PredictedParameters, Array3<f32>);

fn run(engine: &Engine, image: &Array3<f32>, tile: Option<usize>) -> Found {
    let tile = tile.and_then(NonZeroUsize::new);
    run_with(engine, image, &EnhanceOptions { tile, ..EnhanceOptions::default() })
}

fn run_with(engine: &Engine, image: &Array3<f32>, options: &EnhanceOptions) -> Found {
    let mut out = Array3::from_elem(image.raw_dim(), f32::NAN);
    let mut share = 0.0;
    let parameters = engine
        .run(
            &image.view(),
            (image.dim().1, image.dim().2),
            options,
            &mut |now| {
                assert!(now >= share && now <= 1.0);
                share = now;
            },
            &mut |first, band| out.slice_mut(s![.., first..first + band.dim().1, ..]).assign(&band),
        )
        .unwrap();
    assert_eq!(share, 1.0);
    (parameters, out)
}

/// Largest deviations of parameters and picture from the double-precision forward pass.
fn deviations(model: &Model, image: &Array3<f32>, found: &Found) -> [f64; 2] {
    let (_, height, width) = image.dim();
    let values = image.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let x = Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu).unwrap();
    let expected = model.forward(&x, Mode::Evaluate).unwrap();
    let largest = |expected: &Tensor, found: &mut dyn Iterator<Item = f32>| {
        let expected = expected.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let found: Vec<f32> = found.collect();
        assert_eq!(expected.len(), found.len());
        let differences = expected.iter().zip(&found).map(|(a, &b)| (a - f64::from(b)).abs());
        // Not f64::max, which would pass over NaN.
        differences.fold(0.0, |most, d| if d <= most { most } else { d })
    };
    let (parameters, out) = found;
    if let (Some(expected), Some(found)) = (&expected.colour, &parameters.colour) {
        assert!(largest(expected, &mut found.iter().copied()) < 1e-5);
    }
    assert_eq!(expected.colour.is_some(), parameters.colour.is_some());
    [
        largest(&expected.raw, &mut parameters.raw.iter().copied()),
        largest(&expected.output, &mut out.iter().copied()),
    ]
}

/// Parameters within 2e-6 and pictures within 2e-5 of double precision, the bounds of the golden
/// tests of the f32 network.
fn check(config: &ModelConfig, sizes: &[(usize, usize)]) {
    let model = model(config);
    for instructions in Instructions::available() {
        let engine = Engine::with_instructions(&model, instructions).unwrap();
        for &(height, width) in sizes {
            let image = photograph(height, width);
            let found = run(&engine, &image, None);
            let [raw, picture] = deviations(&model, &image, &found);
            assert!(
                raw <= 2e-6 && picture <= 2e-5,
                "{}, {height}x{width}: parameters {raw:.1e}, picture {picture:.1e}",
                instructions.name()
            );
        }
    }
}

fn small() -> ModelConfig {
    ModelConfig { head_size: 47, ..ModelConfig::small() }
}

#[test]
fn equals_the_network_at_even_and_odd_sizes() {
    check(&small(), &[(32, 32), (33, 47), (63, 65), (50, 37), (131, 96), (64, 33), (47, 111)]);
}

#[test]
fn equals_the_network_at_the_release_widths() {
    check(&ModelConfig { head_size: 64, ..ModelConfig::default() }, &[(61, 83), (96, 64)]);
}

#[test]
fn equals_the_network_at_widths_that_fill_no_vector() {
    let config = ModelConfig { widths: [5, 18, 7, 33, 20], features: 13, head_width: 9, ..small() };
    check(&config, &[(45, 50), (67, 34)]);
}

#[test]
fn equals_the_network_with_everything_switched_on() {
    let config = ModelConfig { fixes: Fixes::ALL, gates: true, colour: true, ..small() };
    check(&config, &[(48, 64), (51, 39)]);
}

#[test]
fn equals_the_network_with_any_filters() {
    let none = ModelConfig { polynomial: Polynomial::None, graduated: 0, elliptical: 0, ..small() };
    check(&none, &[(40, 51)]);
    check(&ModelConfig { polynomial: Polynomial::Cubic10, ..none.clone() }, &[(40, 51)]);
    check(&ModelConfig { elliptical: 2, ..none.clone() }, &[(40, 51)]);
    check(&ModelConfig { graduated: 1, fixes: Fixes::ALL, ..none }, &[(40, 51)]);
}

fn resnet() -> ModelConfig {
    let fixes = Fix::ALL.into_iter().filter(|&fix| fix != Fix::Wiring).collect();
    ModelConfig { backbone: BackboneKind::ResNet, fixes, ..small() }
}

#[test]
fn equals_the_network_on_residual_blocks() {
    check(&resnet(), &[(32, 32), (33, 47), (131, 96), (32, 600), (600, 32)]);
    let wide = ModelConfig { blocks: 8, block_width: 19, colour: true, gates: true, ..resnet() };
    check(&wide, &[(45, 50)]);
}

/// To the bit: every number is summed in one order.
#[test]
fn strips_and_threads_do_not_change_the_result() {
    for config in [ModelConfig { fixes: Fixes::ALL, ..small() }, resnet()] {
        strips_and_threads_do_not_change(&model(&config));
    }
}

fn strips_and_threads_do_not_change(model: &Model) {
    for (image, instructions) in
        [photograph(203, 77), photograph(99, 2301)].iter().flat_map(|image| {
            Instructions::available().into_iter().map(move |instructions| (image, instructions))
        })
    {
        let engine = Engine::with_instructions(model, instructions).unwrap();
        let whole = run(&engine, image, Some(1000));
        for (tile, threads) in [(1, 3), (16, 1), (37, 2)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| run(&engine, image, Some(tile)));
            assert_eq!(found.0.raw, whole.0.raw);
            assert_eq!(found.1, whole.1);
        }
    }
}

#[test]
fn extreme_shapes() {
    check(&small(), &[(32, 1500), (1500, 32)]);
}

#[test]
fn memory_does_not_grow_with_the_height_but_for_the_image() {
    let model = model(&ModelConfig::default());
    let engine = Engine::new(&model).unwrap();
    let grown = engine.bytes((8000, 6000), None) - engine.bytes((4000, 6000), None);
    assert!(grown <= 4000 * 6000 * 3 * 4 * 101 / 100, "{grown}");
    // A 24-megapixel photograph, whose image is 288 MB.
    assert!(engine.bytes((4000, 6000), None) < 800 << 20);
}

/// A source whose size grows once it has been asked.
struct Liar(std::sync::atomic::AtomicUsize);

impl RowSource for Liar {
    fn size(&self) -> (usize, usize) {
        let times = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (40 << times, 50 << times)
    }

    fn read_row(&self, _: usize, planes: [&mut [f32]; 3]) {
        planes.into_iter().for_each(|plane| plane.fill(0.5));
    }
}

#[test]
fn the_size_is_asked_once() {
    let enhancer = crate::Enhancer::new(model(&small())).unwrap();
    let mut rows = 0;
    enhancer
        .enhance_rows(
            &Liar(Default::default()),
            &Default::default(),
            &mut |_| {},
            &mut |_, band| {
                assert_eq!(band.dim().2, 50);
                rows += band.dim().1;
            },
        )
        .unwrap();
    assert_eq!(rows, 40);
}

/// Every way of fusing, with and without the optional parts.
fn every_fusion() -> Vec<ModelConfig> {
    let none = ModelConfig { polynomial: Polynomial::None, graduated: 0, elliptical: 0, ..small() };
    let release = [
        small(),
        ModelConfig { fixes: Fixes::ALL, gates: true, colour: true, ..small() },
        ModelConfig { fusion: FusionRule::Product, ..small() },
        ModelConfig { polynomial: Polynomial::Cubic10, ..none.clone() },
        ModelConfig { elliptical: 2, ..none.clone() },
        ModelConfig { graduated: 1, polynomial: Polynomial::Cubic20, ..none.clone() },
        none,
    ];
    let paper = |config: &ModelConfig| ModelConfig {
        dialect: deeplpf_filters::Dialect::Paper,
        fixes: Fixes::NONE,
        gates: false,
        ..config.clone()
    };
    let of_paper: Vec<_> = release.iter().map(paper).collect();
    release.into_iter().chain(of_paper).collect()
}

fn largest_difference(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    // Not f32::max, which would pass over NaN.
    a.iter()
        .zip(b)
        .fold(0.0, |most, (a, b)| if (a - b).abs() <= most { most } else { (a - b).abs() })
}

#[test]
fn predicted_filters_given_back_are_the_same_picture() {
    let image = photograph(50, 61);
    for config in every_fusion() {
        let engine = Engine::new(&model(&config)).unwrap();
        for strength in [1.0, 0.6] {
            let options = EnhanceOptions { strength, ..EnhanceOptions::default() };
            let (predicted, expected) = run_with(&engine, &image, &options);
            let given = GivenParameters { filters: predicted.filters, colour: predicted.colour };
            let options = EnhanceOptions { given: Some(given), ..options };
            let (parameters, found) = run_with(&engine, &image, &options);
            assert_eq!(found, expected, "{config:?}");
            assert_eq!(parameters.raw, [0.0f32; 0]);
        }
    }
}

/// Without strength the photograph, with nearly all of it nearly the whole result, with half of it
/// something between: 3e-7 is the rounding of a third and its double.
#[test]
fn strength_leads_from_the_photograph_to_the_result() {
    let image = photograph(50, 61);
    for config in every_fusion() {
        let engine = Engine::new(&model(&config)).unwrap();
        let at = |strength| {
            run_with(&engine, &image, &EnhanceOptions { strength, ..EnhanceOptions::default() }).1
        };
        assert!(largest_difference(&at(0.0), &image) <= 3e-7, "{config:?}");
        let whole = at(1.0);
        let change = largest_difference(&whole, &image);
        assert!(change > 1e-3, "{config:?}: the test would not see anything");
        assert!(largest_difference(&at(0.999), &whole) < 0.01 * change.max(0.1), "{config:?}");
        // In the mean, because these random weights drive many pixels to their limits.
        let mean = |picture: &Array3<f32>| (picture - &image).mapv(f32::abs).mean().unwrap();
        let (half, whole) = (mean(&at(0.5)), mean(&whole));
        assert!(half > 0.1 * whole && half < 0.9 * whole, "{half} of {whole}: {config:?}");
    }
}

#[test]
fn strengths_and_filters_that_cannot_be() {
    let enhancer = crate::Enhancer::new(model(&small())).unwrap();
    let image = photograph(40, 40);
    let refused = |options: EnhanceOptions| {
        let view = image.view();
        let mut sink = |_: usize, _: ArrayView3<'_, f32>| panic!("nothing should be written");
        enhancer.enhance_rows(&view, &options, &mut |_| {}, &mut sink).unwrap_err().to_string()
    };
    for strength in [-0.1, 1.6, f32::NAN] {
        let text = refused(EnhanceOptions { strength, ..EnhanceOptions::default() });
        assert!(text.contains("strength"), "{text}");
    }
    let filters = enhancer.enhance(image.view()).unwrap().parameters.filters;
    let with = |given| EnhanceOptions { given: Some(given), ..EnhanceOptions::default() };
    let mut fewer = filters.clone();
    fewer.graduated.pop();
    let text = refused(with(GivenParameters { filters: fewer, colour: None }));
    assert!(text.contains("graduated"), "{text}");
    let text = refused(with(GivenParameters { filters, colour: Some(vec![0.0; 3]) }));
    assert!(text.contains("colour stage"), "{text}");
}
