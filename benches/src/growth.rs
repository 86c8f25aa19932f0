//! Plots of time and memory against pixels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use deeplpf_eval::plot::{Curves, Plot, Series};
use serde::Deserialize;

/// The part of the file of records that is drawn.
#[derive(Deserialize)]
struct File {
    measurements: Vec<Row>,
}

/// One process; several of one kind are several rounds.
#[derive(Deserialize)]
struct Row {
    side: String,
    what: String,
    height: f64,
    width: f64,
    threads: u32,
    median_s: Option<f64>,
    peak_bytes: Option<f64>,
}

/// Place in the legend and name of a curve.
type Curve = (usize, String);

/// Values of the rounds by number of pixels, by curve.
type Rounds = BTreeMap<Curve, BTreeMap<u64, Vec<f64>>>;

/// Draws `growth-time` and `growth-memory`.
///
/// # Errors
/// A file that cannot be read, no record that belongs to the growth, or a folder that cannot be
/// written.
pub fn plot(records: &[PathBuf], folder: &Path) -> anyhow::Result<()> {
    let (mut times, mut memory) = (Rounds::new(), Rounds::new());
    for path in records {
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(named)?;
        let file: File = serde_json::from_str(&text).with_context(named)?;
        for row in file.measurements {
            let Some(curve) = curve(&row) else { continue };
            let pixels = (row.height * row.width) as u64;
            let add = |to: &mut Rounds, value: Option<f64>| {
                if let Some(value) = value {
                    to.entry(curve.clone()).or_default().entry(pixels).or_default().push(value);
                }
            };
            add(&mut times, row.median_s);
            add(&mut memory, row.peak_bytes.map(|bytes| bytes / f64::from(1 << 30)));
        }
    }
    if times.is_empty() {
        bail!("no records of inference or enhance to draw; measure first");
    }
    write(folder, "growth-time", "Time of one photograph", "seconds", times)?;
    write(folder, "growth-memory", "Peak resident memory of the process", "GiB", memory)
}

/// The curve of a record that belongs to the growth. Of the peers only the fastest.
fn curve(row: &Row) -> Option<Curve> {
    let (place, who) = match (row.side.as_str(), row.what.as_str()) {
        ("deeplpf", "enhance") => (0, "deeplpf"),
        ("onnxruntime", "inference") if row.threads > 1 => (1, "ONNX Runtime"),
        ("pytorch", "inference") if row.threads > 1 => (2, "PyTorch"),
        _ => return None,
    };
    let plural = if row.threads == 1 { "" } else { "s" };
    Some((place, format!("{who}, {} thread{plural}", row.threads)))
}

fn write(folder: &Path, name: &str, title: &str, unit: &str, rounds: Rounds) -> anyhow::Result<()> {
    let series = rounds
        .into_iter()
        .map(|((_, label), points)| {
            let points = points
                .into_iter()
                .map(|(pixels, values)| {
                    (pixels as f64 / 1e6, crate::timing::quantile(&values, 0.5))
                })
                .collect();
            Series::new(label, points)
        })
        .collect();
    let curves = Curves {
        title: title.into(),
        x_label: "megapixels".into(),
        y_label: unit.into(),
        log_y: false,
        series,
    };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for extension in ["svg", "png"] {
        curves.write(&folder.join(name).with_extension(extension))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_plots_and_none_is_an_error() {
        let folder = std::env::temp_dir().join(format!("deeplpf-growth-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let records = folder.join("growth.json");
        std::fs::write(&records, r#"{"measurements": []}"#).unwrap();
        let message = plot(std::slice::from_ref(&records), &folder).unwrap_err().to_string();
        assert!(message.contains("measure first"), "{message}");
        let row = |height: u32, median: &str| {
            format!(
                r#"{{"side": "deeplpf", "what": "enhance", "height": {height}, "width": 1000,
                   "threads": 2, "peak_bytes": 1e9, "median_s": {median}}}"#
            )
        };
        let text = format!(r#"{{"measurements": [{}, {}]}}"#, row(1000, "0.5"), row(2000, "null"));
        std::fs::write(&records, text).unwrap();
        plot(std::slice::from_ref(&records), &folder).unwrap();
        for name in ["growth-time.svg", "growth-time.png", "growth-memory.svg"] {
            assert!(folder.join(name).is_file(), "{name}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
