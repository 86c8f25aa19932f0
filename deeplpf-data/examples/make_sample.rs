//! Makes the sample set of `deeplpf-data/sample` from its five photographs.
//!
//! `cargo run --release -p deeplpf-data --example make_sample -- PHOTOGRAPHS [OUT]`
//!
//! PHOTOGRAPHS is a folder with the files that `sample/CREDITS.md` names; OUT is the sample folder to
//! be written (`deeplpf-data/sample` if left out). The same photographs give the same bytes.

use std::error::Error;
use std::path::PathBuf;

use deeplpf_data::sample::{Part, Picture, Truth};
use deeplpf_data::synthetic::{Flattening, Look, Tone, crop_and_scale, pair};
use deeplpf_data::{OutputFormat, decode, encode};
use deeplpf_filters::{
    Dialect, EllipticalParams, FilterFixes, GraduatedParams, PolynomialKind, PolynomialParams,
    StackConfig, StackParams,
};

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
        let scaled = crop_and_scale(photograph.view(), crop, size);
        let made = pair(id, scaled.view(), FLATTENING, &look)?;
        for (folder, pixels) in [("input", &made.input), ("target", &made.target)] {
            let path = out.join(folder).join(id).with_extension("png");
            encode(path, pixels.view(), OutputFormat::Png, None)?;
        }
        pictures.push(Picture {
            id: id.into(),
            part,
            photograph: file.into(),
            crop,
            size,
            params: None,
        });
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
        ..StackConfig::default()
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

/// Coefficients of one channel, rounded to four digits.
fn polynomial(lift: f64) -> Vec<f64> {
    let tone = Tone { lift, contrast: 0.12, downwards: 0.08 };
    let round = |v: f64| (v * 1e4).round() / 1e4;
    tone.coefficients(FLATTENING).into_iter().map(round).collect()
}
