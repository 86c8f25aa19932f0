//! Raw files against LibRaw, which read the same files: see `fixtures/raw/make.py`.

use std::path::{Path, PathBuf};

use deeplpf_data::DecodeLimits;
use deeplpf_data::raw::{Cfa, Curve, Mosaic, RawError, RenderOptions, render, render_file};
use ndarray::{Array3, ArrayView3, s};
use sha2::{Digest, Sha256};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raw").join(name)
}

fn open(name: &str) -> Mosaic {
    Mosaic::open(fixture(name), &DecodeLimits::default()).unwrap()
}

/// What LibRaw says of a file.
fn expected(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(fixture("expected.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()[name].clone()
}

/// A rendering by LibRaw.
pub fn libraw(name: &str) -> Array3<f32> {
    deeplpf_data::decode(fixture(name)).unwrap().pixels
}

/// In decibels over values in [0, 1], without a border: there, each program does as it likes.
pub fn psnr(a: ArrayView3<'_, f32>, b: ArrayView3<'_, f32>, border: usize) -> f64 {
    assert_eq!(a.dim(), b.dim());
    let (_, height, width) = a.dim();
    let inner = s![.., border..height - border, border..width - border];
    let (a, b) = (a.slice(inner), b.slice(inner));
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    -10.0 * (sum / a.len() as f64).log10()
}

fn sha256(mosaic: &Mosaic, top: usize, left: usize) -> String {
    let mut hash = Sha256::new();
    for row in mosaic.samples.chunks_exact(mosaic.width).skip(top) {
        row[left..].iter().for_each(|sample| hash.update(sample.to_le_bytes()));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn colours(cfa: &Cfa) -> Vec<Vec<u64>> {
    (0..6).map(|r| (0..6).map(|c| cfa.colour(r, c) as u64).collect()).collect()
}

/// LibRaw's colours, where 3 is the second green.
fn libraw_colours(facts: &serde_json::Value) -> Vec<Vec<u64>> {
    let rows: Vec<Vec<u64>> = serde_json::from_value(facts["colours_top_left"].clone()).unwrap();
    rows.iter().map(|row| row.iter().map(|&c| if c == 3 { 1 } else { c }).collect()).collect()
}

#[test]
fn mosaics_are_those_of_libraw_golden() {
    // LibRaw begins at an even pixel: one further than the active area of this file.
    for (name, skipped) in [("bayer.dng", 0), ("xtrans.dng", 0), ("active-area.dng", 1)] {
        let (mosaic, facts) = (open(name), expected(name));
        let size = serde_json::json!([mosaic.width - skipped, mosaic.height - skipped]);
        assert_eq!(size, facts["size"], "{name}");
        assert_eq!(sha256(&mosaic, skipped, skipped), facts["sha256_of_mosaic_u16le"], "{name}");
        let cfa = mosaic.cfa.shifted(skipped, skipped);
        assert_eq!(colours(&cfa), libraw_colours(&facts), "{name}");
        assert_eq!(serde_json::json!(mosaic.white as u32), facts["white"], "{name}");
        let balance: Vec<f32> = serde_json::from_value(facts["white_balance"].clone()).unwrap();
        for (ours, theirs) in mosaic.white_balance.iter().zip(balance) {
            // AsShotNeutral is written with six decimals.
            assert!((ours - theirs).abs() < 2e-6, "{name} {ours} {theirs}");
        }
    }
}

#[test]
fn levels_belong_to_the_active_area() {
    let mosaic = open("active-area.dng");
    assert_eq!((mosaic.width, mosaic.height), (120, 94));
    assert_eq!(mosaic.cfa.to_string(), "BGGR");
    assert_eq!(
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(r, c)| mosaic.black.at(r, c)),
        [601.0, 600.0, 599.0, 602.0]
    );
    // The same sensor without borders: the sample of the active area's corner is at row 1, column 5.
    assert_eq!(mosaic.sample(0, 0), open("bayer.dng").sample(1, 5));
    assert_eq!(mosaic.baseline_exposure, 0.5);
    assert_eq!(open("bayer.dng").baseline_exposure, 0.0);
}

#[test]
fn renderings_are_close_to_libraw_golden() {
    let plain = RenderOptions { baseline_exposure: false, ..RenderOptions::default() };
    let mut low = Vec::new();
    for (name, reference, skipped, least) in [
        // rawler follows Lin's page on pattern grouping, LibRaw dcraw's variant of it. LibRaw's own
        // methods are 31.3 (linear) to 37.9 dB (AHD) from its pattern grouping on this file.
        ("bayer.dng", "bayer.libraw.tif", 0, 34.5),
        ("active-area.dng", "active-area.libraw.tif", 1, 34.5),
        // Markesteijn's three passes in both.
        ("xtrans.dng", "xtrans.libraw.tif", 0, 36.0),
    ] {
        let picture = render(&open(name), &plain).unwrap();
        let theirs = libraw(reference);
        let ours = picture.slice(s![.., skipped.., skipped..]);
        let value = psnr(ours, theirs.view(), 8);
        println!("{name}: {value:.2} dB to LibRaw");
        if value < least {
            low.push((name, value));
        }
    }
    assert!(low.is_empty(), "{low:?}");
}

#[test]
fn baseline_exposure_is_a_factor_on_light() {
    let mosaic = open("active-area.dng");
    let plain = RenderOptions { baseline_exposure: false, ..RenderOptions::default() };
    let brightened = render(&mosaic, &RenderOptions::default()).unwrap();
    let gained = render(&mosaic, &RenderOptions { gain: 0.5f32.exp2(), ..plain }).unwrap();
    assert_eq!(brightened, gained);
    assert!(brightened.mean() > render(&mosaic, &plain).unwrap().mean());
}

#[test]
fn a_grey_card_is_grey_and_as_bright_as_the_curve_says() {
    let mut mosaic = open("bayer.dng");
    // A card that reflects 18% of what saturates the channel that is weakest.
    let gains = mosaic.white_balance;
    for row in 0..mosaic.height {
        for column in 0..mosaic.width {
            let light = 0.18 / gains[mosaic.cfa.colour(row, column)];
            let level = mosaic.black.at(row, column) + light * (mosaic.white - 600.0);
            mosaic.samples[row * mosaic.width + column] = level.round() as u16;
        }
    }
    let picture = render(&mosaic, &RenderOptions::default()).unwrap();
    for &value in &picture {
        // One of the mosaic's 15783 levels at 18% is 1.3e-4 of the curve.
        assert!((value - Curve::Srgb.encode(0.18)).abs() < 3e-4, "{value}");
    }
}

#[test]
fn saturation_is_white_not_tinted() {
    let mut mosaic = open("xtrans.dng");
    mosaic.samples.fill(16383);
    let picture = render(&mosaic, &RenderOptions::default()).unwrap();
    assert!(picture.iter().all(|&value| value > 0.9999), "{:?}", picture.slice(s![.., 20, 20]));
}

#[test]
fn renderings_are_turned_upright() {
    let mut mosaic = open("bayer.dng");
    let flat = render(&mosaic, &RenderOptions::default()).unwrap();
    mosaic.orientation = 6;
    let turned = render(&mosaic, &RenderOptions::default()).unwrap();
    let (_, height, width) = flat.dim();
    assert_eq!(turned.dim(), (3, width, height));
    // Turned clockwise: the left bottom corner goes to the left top.
    assert_eq!(turned[[1, 0, 0]], flat[[1, height - 1, 0]]);
    assert_eq!(turned[[1, 0, height - 1]], flat[[1, 0, 0]]);
}

#[test]
fn the_same_file_is_the_same_picture_whatever_the_threads() {
    let limits = DecodeLimits::default();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| render_file(fixture("xtrans.dng"), &limits).unwrap().pixels)
    };
    assert_eq!(with(1), with(3));
}

/// Where the value of a tag of the only directory is (little endian, as pidng writes).
fn tag(bytes: &[u8], tag: u16) -> usize {
    let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let count =
        usize::from(u16::from_le_bytes(bytes[directory..directory + 2].try_into().unwrap()));
    (0..count)
        .map(|k| directory + 2 + 12 * k)
        .find(|&entry| bytes[entry..entry + 2] == tag.to_le_bytes())
        .map(|entry| entry + 8)
        .unwrap()
}

fn refused(bytes: Vec<u8>) -> RawError {
    let error =
        Mosaic::from_bytes(bytes, Path::new("x.dng"), &DecodeLimits::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("x.dng ") && !text.contains('\n'), "{text}");
    println!("{text}");
    error
}

const WIDTH: u16 = 256;
const BLACK: u16 = 50714;
const WHITE: u16 = 50717;
const ACTIVE_AREA: u16 = 50829;
const PATTERN: u16 = 33422;

#[test]
fn truncated_mosaics_are_refused() {
    for name in ["bayer.dng", "xtrans.dng"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for part in [2, 3, 10] {
            let cut = bytes[..bytes.len() - bytes.len() / part].to_vec();
            assert!(matches!(refused(cut), RawError::Truncated { .. }), "{name} {part}");
        }
    }
    // Compressed: the end of the data is not told from damage.
    let bytes = std::fs::read(fixture("active-area.dng")).unwrap();
    refused(bytes[..bytes.len() / 2].to_vec());
    refused(Vec::new());
    refused(b"II*\0".to_vec());
    refused(b"not a raw file at all, but of some length".to_vec());
}

#[test]
fn absurd_numbers_are_refused() {
    let bytes = std::fs::read(fixture("bayer.dng")).unwrap();
    let with = |number: u16, value: u32| {
        let mut changed = bytes.clone();
        let at = tag(&bytes, number);
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        changed
    };
    assert!(matches!(refused(with(WIDTH, 4_000_000_000)), RawError::TooManyPixels { .. }));
    refused(with(WIDTH, 0));
    refused(with(WIDTH, 100_000));
    assert!(matches!(refused(with(WHITE, 100)), RawError::Levels { .. }));
    assert!(matches!(refused(with(WHITE, 0)), RawError::Levels { .. }));
    // Cyan, magenta and yellow.
    assert!(matches!(refused(with(PATTERN, 0x0501_0403)), RawError::Unsupported { .. }));
    let mut black = bytes.clone();
    // Four levels lie outside of the entry, which points to them.
    let at = u32::from_le_bytes(bytes[tag(&bytes, BLACK)..][..4].try_into().unwrap()) as usize;
    black[at..at + 2].copy_from_slice(&65535u16.to_le_bytes());
    assert!(matches!(refused(black), RawError::Levels { .. }));
    // One level for a pattern of four: an assertion in the decoder, which nobody wants to read.
    let mut one = bytes.clone();
    let count = tag(&bytes, BLACK) - 4;
    one[count..count + 4].copy_from_slice(&1u32.to_le_bytes());
    let error = refused(one).to_string();
    assert!(error.contains("contradict each other") && !error.contains("assert"), "{error}");

    let bytes = std::fs::read(fixture("active-area.dng")).unwrap();
    let at = tag(&bytes, ACTIVE_AREA);
    let at = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    for area in [[0u32, 0, 4_000_000_000, 10], [90, 90, 10, 10], [0, 0, 97, 129], [5, 5, 5, 5]] {
        let mut changed = bytes.clone();
        for (k, value) in area.iter().enumerate() {
            changed[at + 4 * k..at + 4 * k + 4].copy_from_slice(&value.to_le_bytes());
        }
        refused(changed);
    }
}

#[test]
fn limits_are_kept() {
    let error =
        Mosaic::open(fixture("bayer.dng"), &DecodeLimits { max_pixels: 10_000 }).unwrap_err();
    assert!(error.to_string().contains("128x96"), "{error}");
}

#[test]
fn unknown_cameras_are_named() {
    // An ARW is a TIFF by its maker: a plain one by another is no raw file.
    let mut bytes = std::fs::read(fixture("bayer.dng")).unwrap();
    let at = tag(&bytes, 50706) - 8;
    bytes[at..at + 2].copy_from_slice(&50999u16.to_le_bytes());
    let error = refused(bytes);
    assert!(matches!(error, RawError::Unsupported { .. }), "{error:?}");
}

/// Damage anywhere in a file is an error or a picture, never a panic.
#[test]
fn flipped_bytes_never_panic() {
    for name in ["bayer.dng", "active-area.dng"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        // Directory and tags lie before the mosaic in these files, or after it.
        for k in 0..400 {
            let mut changed = bytes.clone();
            let at = (k * 7919) % if k % 2 == 0 { 700 } else { bytes.len() };
            changed[at] ^= 1 << (k % 8);
            if let Ok(mosaic) = Mosaic::from_bytes(
                changed,
                Path::new("x.dng"),
                &DecodeLimits { max_pixels: 1 << 20 },
            ) && let Ok(picture) = render(&mosaic, &RenderOptions::default())
            {
                assert!(picture.iter().all(|value| (0.0..=1.0).contains(value)), "{name} {at}");
            }
        }
    }
}

/// `decode` knows a raw file by its content, whatever it is called.
#[test]
fn raw_files_are_pictures_too() {
    let bytes = std::fs::read(fixture("active-area.dng")).unwrap();
    let image = deeplpf_data::decode_bytes(&bytes, Path::new("x.tif")).unwrap();
    let rendered = render_file(fixture("active-area.dng"), &DecodeLimits::default()).unwrap();
    assert_eq!(image.pixels.dim(), rendered.pixels.dim());
    for (a, b) in image.pixels.iter().zip(&rendered.pixels) {
        // Half a level of 65535.
        assert!((a - b).abs() < 0.51 / 65535.0, "{a} {b}");
    }
}
