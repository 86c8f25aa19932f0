//! Compares folders of predictions with a folder of targets and leaves a table, scores, a contact
//! sheet and a report.
//!
//! ```text
//! cargo run --release -p deeplpf-eval --example compare_methods -- OUT TARGETS INPUTS METHOD...
//! ```
//!
//! Every folder holds pictures of the same stems; a method is called by its folder's name.

use std::error::Error;
use std::path::{Path, PathBuf};

use deeplpf_eval::metrics::{metrics_by_key, standard_metrics};
use deeplpf_eval::plot::{Bar, Bars, Plot};
use deeplpf_eval::{
    Caption, ContactSheet, GalleryItem, Report, Scores, SheetRow, Table, compare_folders,
};

/// Photographs on the contact sheet and in the gallery.
const SHOWN: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [out, targets, methods @ ..] = arguments.as_slice() else {
        return Err("usage: compare_methods OUT TARGETS INPUTS METHOD...".into());
    };
    let metrics = standard_metrics();
    let mut scores: Vec<(String, Scores)> = Vec::new();
    for folder in methods {
        let comparison = compare_folders(folder, targets, &metrics)?;
        if let Some(failure) = comparison.failures.first() {
            return Err(format!("{}: {}", folder.display(), failure.error).into());
        }
        let name = name(folder);
        comparison.scores.write_json(&out.join(format!("{name}.json")))?;
        comparison.scores.write_csv(&out.join(format!("{name}.csv")))?;
        scores.push((name, comparison.scores));
    }
    let images = scores.first().map_or(0, |(_, scores)| scores.len());
    let caption = Caption { split: name(targets), images, ..Caption::default() };
    let columns = metrics.iter().map(|metric| metric.metric()).collect();
    let mut table = Table::new("Methods", caption, columns);
    for (name, scores) in &scores {
        table.push_scores(name, scores)?;
    }
    table.write(&out.join("table.md"))?;
    table.write(&out.join("table.csv"))?;

    let psnr = metrics_by_key(&["psnr"])?.remove(0).metric();
    let bar = |(name, scores): &(String, Scores)| Some(Bar::new(name, scores.mean_of("psnr")?));
    let bars = Bars {
        title: "PSNR of each method".into(),
        metric: psnr,
        axis_from: None,
        bars: scores.iter().filter_map(bar).collect(),
    };
    bars.write(&out.join("psnr.png"))?;

    let mut labels: Vec<String> = methods.iter().map(|folder| name(folder)).collect();
    labels.push("target".into());
    let mut sheet = ContactSheet::new("Methods", labels);
    let mut gallery = Vec::new();
    for target in deeplpf_data::find_images(&[targets])?.iter().take(SHOWN) {
        let id = name(target);
        let mut pictures = Vec::new();
        for folder in methods {
            let files = deeplpf_data::find_images(&[folder])?;
            let file = files.iter().find(|file| name(file) == id).ok_or("compared above")?;
            pictures.push(deeplpf_data::decode(file)?.pixels);
        }
        let target = deeplpf_data::decode(target)?.pixels;
        if let [input, outputs @ ..] = pictures.as_slice() {
            let outputs: Vec<_> = outputs.iter().map(|output| output.view()).collect();
            sheet.rows.push(SheetRow::against_target(&id, input.view(), &outputs, target.view())?);
        }
        let mut item = GalleryItem::new(id);
        for ((name, scores), picture) in scores.iter().zip(pictures) {
            item = item.with_scored_picture(name, picture, scores);
        }
        gallery.push(item.with_picture("target", target));
    }
    sheet.write(&out.join("sheet.png"))?;
    let report = Report {
        facts: vec![("Targets".into(), name(targets)), ("Images".into(), images.to_string())],
        tables: vec![table],
        plots: vec![bars.to_svg()?],
        gallery,
        ..Report::new("Methods compared")
    };
    report.write(&out.join("report.html"))?;
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
