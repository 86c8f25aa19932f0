//! Every kind of picture the crate draws, written to the build's temporary folder, where a reader
//! can look at them; the tests check what can be checked without eyes.

use std::path::PathBuf;

use deeplpf_eval::maps::{ERROR_SCALE, error_map, filter_effects};
use deeplpf_eval::metrics::{ImageMetric, Psnr};
use deeplpf_eval::plot::{
    Bar, Bars, Curves, HeatMap, Histogram, Plot, Sample, Scatter, ScatterPoint, Series,
};
use deeplpf_eval::{FilterDrawing, Metric};
use deeplpf_filters::{Dialect, FilterFixes, FilterStack, StackConfig};
use ndarray::Array3;

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("drawings");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes both formats and checks that the SVG needs nothing from the machine.
fn write(name: &str, plot: &dyn Plot) {
    for extension in ["svg", "png"] {
        plot.write(&folder().join(format!("{name}.{extension}"))).unwrap();
    }
    let svg = std::fs::read_to_string(folder().join(format!("{name}.svg"))).unwrap();
    assert!(!svg.contains("<text") && !svg.contains("font-family"), "{name}: text is outlined");
    assert!(svg.contains("<use href=\"#t") && svg.trim_end().ends_with("</svg>"), "{name}");
    let links = svg.matches("href=\"").count();
    let inside = svg.matches("href=\"#").count() + svg.matches("href=\"data:image/png").count();
    assert_eq!(links, inside, "{name} refers to nothing outside");
}

fn psnr() -> Metric {
    Psnr.metric()
}

/// A repeatable number in [-1, 1].
fn noise(index: u64) -> f64 {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[test]
fn curves_over_seeds() {
    let run = |seed: u64, reached: f64| -> Vec<(f64, f64)> {
        (1..=40)
            .map(|epoch| {
                let learned = 1.0 - (-f64::from(epoch) / 9.0).exp();
                let wobble = 0.6 * noise(seed * 1000 + epoch as u64);
                (f64::from(epoch), 17.5 + (reached - 17.5) * learned + wobble)
            })
            .collect()
    };
    let runs = |reached: f64| [run(1, reached), run(2, reached + 0.5), run(3, reached - 0.4)];
    let curves = Curves {
        title: "Validation PSNR, mean and one deviation over 3 seeds".into(),
        x_label: "epoch".into(),
        y_label: "PSNR (dB)".into(),
        log_y: false,
        series: vec![
            Series::over_seeds("DeepLPF", &runs(23.9)),
            Series::over_seeds("U-Net alone", &runs(21.6)),
        ],
    };
    write("curves", &curves);
}

#[test]
fn bars_with_intervals() {
    let bars = Bars {
        title: "Ablation".into(),
        metric: psnr(),
        axis_from: Some(18.0),
        bars: vec![
            Bar::new("U-Net", 21.57).with_interval(21.1, 22.0),
            Bar::new("U-Net + elliptical", 22.56).with_interval(22.1, 23.1),
            Bar::new("U-Net + graduated", 22.64).with_interval(22.0, 23.2),
            Bar::new("all three", 23.93).with_interval(23.4, 24.4).with_emphasis(),
        ],
    };
    write("bars", &bars);
}

#[test]
fn scatter_and_histogram() {
    let value = |image: u64, method: u64| {
        23.0 + 4.0 * noise(image) + (0.8 + noise(9000 + image * 3 + method)) * method as f64
    };
    let points = (0..120).map(|image| ScatterPoint {
        id: format!("a{image:04}"),
        x: value(image, 0),
        y: value(image, 1),
    });
    let scatter = Scatter {
        title: "DeepLPF against U-Net, image by image".into(),
        metric: psnr(),
        x_label: "U-Net".into(),
        y_label: "DeepLPF".into(),
        points: points.collect(),
    };
    write("scatter", &scatter);
    let sample = |label: &str, method| Sample {
        label: label.into(),
        values: (0..120).map(|image| value(image, method)).collect(),
    };
    let histogram = Histogram {
        title: "PSNR of 120 images".into(),
        metric: psnr(),
        samples: vec![sample("U-Net", 0), sample("DeepLPF", 1)],
    };
    write("histogram", &histogram);
}

/// Strong filters, under the release and under the paper.
fn stacks() -> [(&'static str, FilterStack<f32>); 2] {
    let release = StackConfig {
        fixes: FilterFixes { fusion: true, ..FilterFixes::NONE },
        ..StackConfig::default()
    };
    let paper = StackConfig { dialect: Dialect::Paper, ..StackConfig::default() };
    [("release", release), ("paper", paper)].map(|(name, config)| {
        let mut raw = vec![0.0f32; config.raw_len()];
        for (index, value) in raw.iter_mut().enumerate() {
            *value = 0.8 * noise(index as u64 + 40) as f32;
        }
        // A polynomial of strong numbers would leave nothing to see.
        raw[config.polynomial_range()].iter_mut().for_each(|value| *value *= 0.06);
        (name, FilterStack::from_raw(&config, &raw).unwrap())
    })
}

fn photograph() -> Array3<f32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pairs/coffee/target.png");
    deeplpf_data::decode(path).unwrap().pixels
}

#[test]
fn filters_over_a_photograph_and_their_maps() {
    let photograph = photograph();
    let (_, height, width) = photograph.dim();
    let scale = 10;
    for (name, stack) in stacks() {
        let drawing = FilterDrawing::new(stack.config(), stack.params(), (width, height));
        let mut picture =
            image::RgbImage::from_fn((scale * width) as u32, (scale * height) as u32, |x, y| {
                let value = |c| photograph[[c, y as usize / scale, x as usize / scale]];
                image::Rgb([0, 1, 2].map(|c| (value(c) * 255.0) as u8))
            });
        let plain = picture.clone();
        drawing.draw_onto(&mut picture).unwrap();
        assert_ne!(picture, plain);
        picture.save(folder().join(format!("filters_{name}.png"))).unwrap();
        for effect in filter_effects(&stack, photograph.view()).unwrap() {
            let title = format!("coffee: {} filters, {name}", effect.filter);
            let file = format!("effect_{name}_{}", effect.filter);
            write(&file, &HeatMap::of_effect(title, effect));
        }
    }
}

#[test]
fn an_error_map() {
    let target = photograph();
    let prediction = target.mapv(|value| (value * 1.1 - 0.03).clamp(0.0, 1.0).powf(1.15));
    let map = HeatMap {
        title: "coffee: error".into(),
        quantity: "absolute difference, mean of red, green and blue".into(),
        map: error_map(prediction.view(), target.view()).unwrap(),
        scale: ERROR_SCALE,
    };
    write("error", &map);
}
