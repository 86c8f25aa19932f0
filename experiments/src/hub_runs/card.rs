//! The model card of a run: what its own files say, and nothing else.

use std::fmt::Write;

use deeplpf_core::Model;
use deeplpf_eval::Scores;
use deeplpf_train::{EpochRecord, Health, RunFolder, TrainConfig};
use serde::Serialize;

use super::HubRepository;
use crate::{
    ExperimentError, Result,
    fingerprint::read_json,
    record::{RunRecord, has_record},
};

/// Markdown with front matter, of a run with this configuration and model.
pub(super) fn card(
    repository: &HubRepository,
    run: &RunFolder,
    config: &TrainConfig,
    model: &Model,
) -> Result<String> {
    let epochs = if run.metrics().is_file() { run.records()? } else { Vec::new() };
    let record = if has_record(run.path()) { Some(RunRecord::read(run.path())?) } else { None };
    let health: Option<Health> = read_json(&run.health())?;
    let mut card = format!(
        "---\n{}---\n\n# {}\n\n",
        front_matter(repository, record.as_ref()),
        repository.name()
    );
    card += &format!(
        "A model of the DeepLPF architecture ([arXiv 2003.13985](https://arxiv.org/abs/2003.13985)), trained \
         with the program `deeplpf`. It is not the checkpoint of the paper's authors, and its numbers must \
         not be quoted as the paper's. This card was written by deeplpf {} from the files of the run; what they \
         do not say is not here.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    card += "```text\n";
    card += &format!("deeplpf weights pull {repository} -o {}\n", repository.name());
    card += &format!(
        "deeplpf enhance photo.jpg --weights {}/{}\n```\n\n",
        repository.name(),
        super::WEIGHTS
    );
    card += "## Model\n\n";
    card += &table(&[], &model_facts(model)?);
    card += "\n## Training\n\n";
    card += &table(&[], &training_facts(config, &epochs)?);
    card += "\nThe whole configuration is in `config.toml`, every epoch in `metrics.jsonl`.\n";
    if let Some(record) = &record {
        card += &evaluation(record);
    }
    if let Some(health) = &health {
        card += &stuck(health);
    }
    card += "\n## Not stated\n\nThe run's files say neither under what licence these weights are published nor \
             what the terms of the training photographs are. Whoever published them has to say so.\n";
    Ok(card)
}

fn front_matter(repository: &HubRepository, record: Option<&RunRecord>) -> String {
    let mut text = String::from(
        "library_name: deeplpf\npipeline_tag: image-to-image\ntags:\n- deeplpf\n- image-enhancement\n- photo-retouching\n",
    );
    let Some(record) = record else { return text };
    text += &format!("model-index:\n- name: {}\n  results:\n", quoted(repository.name()));
    text += "  - task:\n      type: image-to-image\n";
    text += &format!(
        "    dataset:\n      type: {}\n      name: {}\n    metrics:\n",
        quoted(&record.protocol),
        quoted(&format!("{}, {}", record.protocol, record.split))
    );
    for (metric, value) in means(&record.scores) {
        // Written out as it is in YAML; of equal pictures PSNR is infinite, which has no place here.
        if value.is_finite() {
            text += &format!(
                "    - type: {}\n      name: {}\n      value: {value:.prec$}\n",
                quoted(&metric.key),
                quoted(&metric.name),
                prec = metric.decimals
            );
        }
    }
    text
}

fn means(scores: &Scores) -> Vec<(&deeplpf_eval::Metric, f64)> {
    let means = scores.mean().unwrap_or_default();
    scores.metrics().iter().zip(means).collect()
}

fn model_facts(model: &Model) -> Result<Vec<[String; 2]>> {
    let config = model.config();
    Ok(vec![
        fact("filters", model.describe_filters()),
        fact("parameters", model.parameters().count()),
        fact("dialect", config.dialect),
        fact("fixes of the release", config.fixes),
        fact("input", word(&config.input)?),
    ])
}

fn training_facts(config: &TrainConfig, epochs: &[EpochRecord]) -> Result<Vec<[String; 2]>> {
    let data = &config.data;
    let mut facts = vec![fact("data", plain(&data.source))];
    if !data.protocol.is_empty() {
        facts.push(fact("protocol", plain(&data.protocol)));
    }
    let start = if config.weights.as_os_str().is_empty() {
        format!("initialisation {}", word(&config.initialisation)?)
    } else {
        format!("the weights {}", plain(&config.weights.display().to_string()))
    };
    let pictures = match (&data.crops[..], data.crop) {
        ([], 0) => "whole".into(),
        ([], side) => format!("random crops of {side} pixels"),
        (sides, _) => format!("random crops of {sides:?} pixels"),
    };
    facts.push(fact("start", start));
    facts.push(fact("seed", config.seed));
    facts.push(fact("batch", data.batch * data.accumulate.max(1)));
    facts.push(fact("pictures", pictures));
    facts.push(fact("learning rate (Adam)", config.adam.learning_rate));
    facts.push(fact("schedule", word(&config.schedule.kind)?));
    facts.push(fact(
        "loss weights",
        format!("Lab {}, MS-SSIM {}", config.loss.lab, config.loss.ms_ssim),
    ));
    if config.average > 0.0 {
        facts.push(fact("moving average of the weights", config.average));
    }
    if let Some(last) = epochs.last() {
        let asked = config.epochs;
        facts.push(fact("epochs", format!("{} of {asked}, {} steps", last.epoch, last.step)));
    }
    let best = epochs
        .iter()
        .filter_map(|record| record.valid_psnr.map(|psnr| (record.epoch, psnr)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((epoch, psnr)) = best {
        let words = format!("{psnr:.2} dB, after epoch {epoch} (the weights were chosen by it)");
        facts.push(fact("best validation PSNR", words));
    }
    Ok(facts)
}

fn evaluation(record: &RunRecord) -> String {
    let mut text = format!(
        "\n## Evaluation\n\n{} photographs: {}, {}. Means over the photographs, by deeplpf {}.\n\n",
        record.scores.len(),
        plain(&record.protocol),
        plain(&record.split),
        plain(&record.version)
    );
    let rows: Vec<[String; 3]> = means(&record.scores)
        .into_iter()
        .map(|(metric, ours)| {
            let unit =
                if metric.unit.is_empty() { String::new() } else { format!(" ({})", metric.unit) };
            let input = record.input_scores.mean_of(&metric.key);
            let number = |value: f64| format!("{value:.prec$}", prec = metric.decimals);
            let unchanged = input.map(number).unwrap_or_default();
            [format!("{}{unit}", plain(&metric.name)), unchanged, number(ours)]
        })
        .collect();
    text += &table(&["metric", "input, unchanged", "this model"], &rows);
    text
}

fn stuck(health: &Health) -> String {
    let complaints = health.complaints();
    if complaints.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## What is stuck\n\nAs of the last validation:\n\n");
    for complaint in complaints {
        // A string takes whatever is written.
        let _ = writeln!(text, "- {}", plain(&complaint));
    }
    text
}

fn fact(name: &str, value: impl ToString) -> [String; 2] {
    [name.into(), value.to_string()]
}

/// A table; without headings, of facts.
fn table<const N: usize>(headings: &[&str], rows: &[[String; N]]) -> String {
    let head = if headings.is_empty() { vec![""; N] } else { headings.to_vec() };
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

/// How a value is written in `config.toml`.
fn word(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_value(value).map_err(|error| ExperimentError::Record {
        path: "config.toml".into(),
        reason: error.to_string(),
    })?;
    Ok(json.as_str().map_or_else(|| json.to_string(), str::to_owned))
}

/// Words of others on one line, without what Markdown or HTML would take for its own.
fn plain(text: &str) -> String {
    let kept = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut plain = String::new();
    for c in kept {
        match c {
            '<' => plain.push_str("&lt;"),
            '|' | '`' | '*' | '[' | ']' | '\\' => plain.extend(['\\', c]),
            _ => plain.push(c),
        }
    }
    plain
}

/// A string in YAML: JSON's strings are YAML's with double quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
