//! Comparing predictions and targets on disk.

use std::path::Path;

use deeplpf_eval::metrics::metrics_by_key;
use deeplpf_eval::{Comparison, EvalError, ImageMetric, compare_folders};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

fn metrics() -> Vec<Box<dyn ImageMetric>> {
    metrics_by_key(&["psnr", "ssim"]).unwrap()
}

fn save(folder: &TempDir, name: &str, width: u32, level: u8) {
    let picture = RgbImage::from_fn(width, 16, |x, y| Rgb([level, (x * 3) as u8, (y * 5) as u8]));
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

fn compare(folder: &TempDir) -> Result<Comparison, EvalError> {
    let at = |name: &str| folder.path().join(name);
    compare_folders(&at("predictions"), &at("targets"), &metrics())
}

#[test]
fn files_are_matched_by_stem_across_formats() {
    let folder = tempfile::tempdir().unwrap();
    for (name, level) in [("a", 100), ("b", 110)] {
        save(&folder, &format!("predictions/{name}.png"), 20, level);
        save(&folder, &format!("targets/{name}.tif"), 20, 100);
    }
    save(&folder, "predictions/extra.png", 20, 0);
    let comparison = compare(&folder).unwrap();
    assert!(comparison.failures.is_empty());
    assert_eq!(comparison.predictions_without_target, ["extra"]);
    assert_eq!(comparison.scores.get("a", "psnr"), Some(f64::INFINITY));
    // A third of the values is 10/255 away.
    let expected = -10.0 * ((10.0f64 / 255.0).powi(2) / 3.0).log10();
    let found = comparison.scores.get("b", "psnr").unwrap();
    assert!((found - expected).abs() < 1e-4, "{found}");
    let json: serde_json::Value = serde_json::from_str(&comparison.to_json().unwrap()).unwrap();
    assert_eq!(json["images"]["b"]["psnr"].as_f64(), Some(found));
    assert!(json["mean"]["ssim"].is_f64() && json.get("failures").is_none());
}

#[test]
fn missing_predictions_are_named() {
    let folder = tempfile::tempdir().unwrap();
    save(&folder, "predictions/a.png", 20, 1);
    for name in ["a", "b", "c"] {
        save(&folder, &format!("targets/{name}.png"), 20, 1);
    }
    let message = compare(&folder).unwrap_err().to_string();
    assert!(message.contains("2 of 3 targets") && message.contains("b, c"), "{message}");
}

#[test]
fn failures_are_counted_and_forbid_a_mean() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["good", "other-size", "damaged", "small"] {
        save(&folder, &format!("predictions/{name}.png"), 20, 1);
        save(&folder, &format!("targets/{name}.png"), 20, 1);
    }
    save(&folder, "targets/other-size.png", 21, 1);
    save(&folder, "predictions/small.png", 5, 1);
    save(&folder, "targets/small.png", 5, 1);
    std::fs::write(folder.path().join("predictions/damaged.png"), b"no picture").unwrap();
    let comparison = compare(&folder).unwrap();
    assert_eq!(comparison.scores.len(), 1);
    assert_eq!(comparison.mean(), None);
    let json: serde_json::Value = serde_json::from_str(&comparison.to_json().unwrap()).unwrap();
    assert!(json["mean"].is_null());
    let reason = |name: &str| json["failures"][name].as_str().unwrap().to_owned();
    assert!(reason("other-size").contains("20x16") && reason("other-size").contains("21x16"));
    assert!(reason("damaged").contains("damaged.png"));
    assert!(reason("small").contains("at least 11"));
}

#[test]
fn two_files_need_no_common_stem_and_kinds_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    save(&folder, "predictions/a.png", 20, 1);
    save(&folder, "targets/b.png", 20, 1);
    let at = |name: &str| folder.path().join(name);
    let comparison =
        compare_folders(&at("predictions/a.png"), &at("targets/b.png"), &metrics()).unwrap();
    assert_eq!(comparison.scores.get("b", "ssim"), Some(1.0));
    let error = compare_folders(&at("predictions"), &at("targets/b.png"), &metrics()).unwrap_err();
    assert!(matches!(error, EvalError::FolderAndFile { .. }), "{error}");
    let error = compare_folders(Path::new("nowhere"), &at("targets"), &metrics()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_folder_without_pictures_and_two_of_one_stem_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    save(&folder, "predictions/a.png", 20, 1);
    std::fs::create_dir(folder.path().join("targets")).unwrap();
    assert!(matches!(compare(&folder), Err(EvalError::Data(_))));
    save(&folder, "targets/a.png", 20, 1);
    save(&folder, "targets/a.tif", 20, 1);
    let message = compare(&folder).unwrap_err().to_string();
    assert!(message.contains("a.png") && message.contains("a.tif"), "{message}");
}

/// The colours of a transparent pixel depend on what lies behind it; an opaque alpha says nothing.
#[test]
fn transparent_pixels_are_refused_and_opaque_alpha_is_not() {
    use image::{Rgba, RgbaImage};
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        save(&folder, &format!("targets/{name}.png"), 20, 100);
        save(&folder, &format!("predictions/{name}.png"), 20, 100);
    }
    let with_alpha = |name: &str, alpha: fn(u32) -> u8| {
        let level = |x: u32, y: u32| [100, (x * 3) as u8, (y * 5) as u8];
        let pixel = |x: u32, y: u32| {
            let [red, green, blue] = level(x, y);
            Rgba([red, green, blue, alpha(x)])
        };
        RgbaImage::from_fn(20, 16, pixel).save(folder.path().join(name)).unwrap();
    };
    with_alpha("predictions/a.png", |_| 255);
    with_alpha("predictions/b.png", |x| if x == 3 { 254 } else { 255 });
    with_alpha("targets/c.png", |_| 0);
    let comparison = compare(&folder).unwrap();
    assert_eq!(comparison.scores.get("a", "psnr"), Some(f64::INFINITY));
    assert!(comparison.mean().is_none());
    let failures: Vec<_> = comparison.failures.iter().map(|f| f.error.to_string()).collect();
    assert_eq!(failures.len(), 2);
    assert!(failures[0].contains("b.png has 16 pixels"), "{failures:?}");
    assert!(failures[0].contains("prediction") && failures[1].contains("target"), "{failures:?}");
    assert!(failures[1].contains("c.png has 320 pixels"), "{failures:?}");
}

#[test]
fn pairs_of_unequal_depth_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        save(&folder, &format!("predictions/{name}.png"), 20, 100);
        save(&folder, &format!("targets/{name}.png"), 20, 100);
    }
    assert!(compare(&folder).unwrap().mixed_depths.is_empty());
    image::ImageBuffer::from_pixel(20, 16, Rgb([25_700u16, 0, 0]))
        .save(folder.path().join("targets/b.png"))
        .unwrap();
    let comparison = compare(&folder).unwrap();
    assert_eq!(
        (comparison.mixed_depths.as_slice(), comparison.scores.len()),
        (&["b".into()][..], 2)
    );
}
