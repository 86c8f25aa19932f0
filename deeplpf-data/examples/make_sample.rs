//! Makes the sample set of `deeplpf-data/sample` from its five photographs.
//!
//! `cargo run --release -p deeplpf-data --example make_sample -- PHOTOGRAPHS [OUT]`
//!
//! PHOTOGRAPHS is a folder with the files that `sample/CREDITS.md` names; OUT is the sample folder to
//! be written (`deeplpf-data/sample` if left out). The same photographs give the same bytes.

use std::error::Error;
use std::path::PathBuf;

use deeplpf_data::sample::{Part, Picture, Truth};
use deeplpf_data::synthetic::{Flattening, Look, pair};
use deeplpf_data::{OutputFormat, decode, encode};
use deeplpf_filters::{
    Dialect, EllipticalParams, FilterFixes, GraduatedParams, PolynomialKind, PolynomialParams,
    StackConfig, StackParams,
};
use image::{ImageBuffer, Rgb, imageops};
use ndarray::{Array3, s};

/// Dull and dark, as a careful exposure of a bright scene looks before it is developed.
const FLATTENING: Flattening = Flattening { black: 0.05, white: 0.75 };

const METHOD: &str = "input = round8(flattening(photograph, cropped and scaled)); \
    target = round8(Y), where Y is the look's filter stack applied to Y1 = input / 2 in double \
    precision. round8 rounds to the nearest of 256 levels. Input and target are stored as 8-bit \
    PNG, so each target can be computed again from its input. All pictures have the same look; \
    filter instances with scale 1 change nothing.";

/// Id, part, photograph, crop (left, top, width, height), size.
type Row = (&'static str, Part, &'static str, [u32; 4], [u32; 2]);

const ASTRONAUT: &str = "astronaut.png";
const CHELSEA: &str = "chelsea.png";
const COFFEE: &str = "coffee.png";
const ROCKET: &str = "rocket.jpg";
const SEEDING: &str = "seeding_by_Clements_Engelhardt.jpg";

const PICTURES: [Row; 16] = [
    ("astronaut-1", Part::Train, ASTRONAUT, [0, 0, 510, 340], [192, 128]),
    ("astronaut-2", Part::Train, ASTRONAUT, [80, 0, 340, 510], [128, 192]),
    ("astronaut-3", Part::Train, ASTRONAUT, [140, 0, 372, 248], [192, 128]),
    ("chelsea-1", Part::Train, CHELSEA, [0, 0, 450, 300], [192, 128]),
    ("chelsea-2", Part::Train, CHELSEA, [95, 0, 200, 300], [128, 192]),
    ("chelsea-3", Part::Train, CHELSEA, [180, 60, 228, 172], [171, 129]),
    ("seeding-1", Part::Train, SEEDING, [0, 0, 4482, 2988], [192, 128]),
    ("seeding-2", Part::Train, SEEDING, [600, 0, 1992, 2988], [128, 192]),
    ("seeding-3", Part::Train, SEEDING, [2300, 0, 3012, 2008], [192, 128]),
    ("seeding-4", Part::Train, SEEDING, [2650, 1100, 2512, 1884], [160, 120]),
    ("rocket-1", Part::Valid, ROCKET, [0, 0, 639, 426], [192, 128]),
    ("rocket-2", Part::Valid, ROCKET, [178, 0, 284, 426], [128, 192]),
    ("coffee-1", Part::Test, COFFEE, [0, 0, 600, 400], [192, 128]),
    ("coffee-2", Part::Test, COFFEE, [150, 0, 266, 400], [128, 192]),
    ("coffee-3", Part::Test, COFFEE, [250, 20, 350, 264], [171, 129]),
    ("coffee-4", Part::Test, COFFEE, [150, 10, 360, 240], [192, 128]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let photographs = arguments.next().ok_or("usage: make_sample PHOTOGRAPHS [OUT]")?;
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sample");
    let out = arguments.next().unwrap_or(default);
    for folder in ["input", "target"] {
        std::fs::create_dir_all(out.join(folder))?;
    }
    let look = look();
    let mut pictures = Vec::new();
    for (id, part, file, crop, size) in PICTURES {
        let photograph = decode(photographs.join(file))?.pixels;
        let scaled = crop_and_scale(&photograph, crop, size)?;
        let made = pair(id, scaled.view(), FLATTENING, &look)?;
        for (folder, pixels) in [("input", &made.input), ("target", &made.target)] {
            let path = out.join(folder).join(id).with_extension("png");
            encode(path, pixels.view(), OutputFormat::Png, None)?;
        }
        pictures.push(Picture { id: id.into(), part, photograph: file.into(), crop, size });
    }
    let truth = Truth { method: METHOD.into(), flattening: FLATTENING, look, pictures };
    std::fs::write(out.join("truth.json"), serde_json::to_string_pretty(&truth)? + "\n")?;
    Ok(())
}

/// One local filter that does nothing in each of the two unused instances; a polynomial that
/// restores black and white, adds contrast and warmth; a darker, bluer sky from the top left; a
/// brighter, warmer middle.
fn look() -> Look {
    let config = StackConfig {
        dialect: Dialect::Release,
        fixes: FilterFixes::ALL,
        polynomial: Some(PolynomialKind::Cubic20),
        graduated: 3,
        elliptical: 3,
        gates: false,
    };
    // How much each channel's middle tones are raised: warm.
    let coefficients = [0.10, 0.06, 0.0].map(polynomial);
    let graduated = |scale| GraduatedParams {
        // Positive: full effect before the line, none behind it.
        inversion: 1.0,
        // The line y = 0.95 - 3 x runs from the top right corner to the left edge at a third of the
        // height, so the ramp falls mostly downwards.
        slope: -3.0,
        offset: 0.95,
        o1: 0.2,
        o2: 0.5,
        scale,
    };
    let elliptical = |scale| EllipticalParams {
        center_x: 0.5,
        center_y: 0.45,
        // Equal axes: a circle of the unit square, without the release's seams where they differ.
        semi_axis_a: 0.6,
        semi_axis_b: 0.6,
        angle: 0.5,
        scale,
    };
    let neutral = [1.0; 3];
    let params = StackParams {
        polynomial: Some(PolynomialParams { kind: PolynomialKind::Cubic20, coefficients }),
        graduated: vec![graduated([0.30, 0.38, 0.52]), graduated(neutral), graduated(neutral)],
        elliptical: vec![elliptical([1.34, 1.28, 1.20]), elliptical(neutral), elliptical(neutral)],
        gates: None,
    };
    Look { config, params }
}

/// Coefficients of one channel.
///
/// With p = (2 i - black) / (white - black), the photograph's value behind the halved input i, the
/// wanted result is h = p + lift p (1 - p) + contrast p (1 - p) (2 p - 1). The stack adds Y3 and i,
/// and Y2 = i + f, so f = h - 2 i: a cubic in i. Rounded to four digits, and one term in x i makes
/// the lower part of the picture a little brighter.
fn polynomial(lift: f64) -> Vec<f64> {
    const CONTRAST: f64 = 0.12;
    const TOWARDS_THE_BOTTOM: f64 = 0.08;
    let range = FLATTENING.white - FLATTENING.black;
    // p = a + b i, and h in powers of p.
    let (a, b) = (-FLATTENING.black / range, 2.0 / range);
    let (h1, h2, h3) = (1.0 + lift - CONTRAST, 3.0 * CONTRAST - lift, -2.0 * CONTRAST);
    let round = |v: f64| (v * 1e4).round() / 1e4;
    let mut coefficients = vec![0.0; PolynomialKind::Cubic20.terms()];
    // Indices of the paper's letters: I is x i, Q to T are i^3, i^2, i, 1.
    coefficients[8] = TOWARDS_THE_BOTTOM;
    coefficients[16] = round(h3 * b.powi(3));
    coefficients[17] = round(h2 * b.powi(2) + 3.0 * h3 * a * b.powi(2));
    coefficients[18] = round(h1 * b + 2.0 * h2 * a * b + 3.0 * h3 * a * a * b - 2.0);
    coefficients[19] = round(h1 * a + h2 * a * a + h3 * a.powi(3));
    coefficients
}

/// Cuts and scales with Lanczos' filter on the encoded values.
fn crop_and_scale(
    photograph: &Array3<f32>,
    [left, top, width, height]: [u32; 4],
    [to_width, to_height]: [u32; 2],
) -> Result<Array3<f32>, Box<dyn Error>> {
    let (x, y) = (left as usize, top as usize);
    let cut = photograph.slice(s![.., y..y + height as usize, x..x + width as usize]);
    let interleaved: Vec<f32> = cut.permuted_axes([1, 2, 0]).iter().copied().collect();
    let buffer: ImageBuffer<Rgb<f32>, _> =
        ImageBuffer::from_raw(width, height, interleaved).ok_or("a crop of another size")?;
    let scaled = imageops::resize(&buffer, to_width, to_height, imageops::FilterType::Lanczos3);
    let shape = (to_height as usize, to_width as usize, 3);
    let planes = Array3::from_shape_vec(shape, scaled.into_raw())?.permuted_axes([2, 0, 1]);
    Ok(planes.mapv(|v| v.clamp(0.0, 1.0)))
}
