//! `docs/benchmarks-gpu.md`: the bars, met or not, then every measurement.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::record::{Line, Machine, Record};
use crate::timing::quantile;

/// Where the page comes from and goes to.
#[derive(Args)]
pub struct PageArgs {
    /// Files of lines, of one run on one GPU.
    #[arg(required = true)]
    lines: Vec<PathBuf>,
    /// Sentences about the checks that went before, one a line.
    #[arg(long)]
    notes: Option<PathBuf>,
    /// The page.
    #[arg(long)]
    out: PathBuf,
}

/// Writes it.
///
/// # Errors
/// A file that cannot be read or written.
pub fn write(args: &PageArgs) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for path in &args.lines {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line)
                .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
            lines.push(line);
        }
    }
    let notes = match &args.notes {
        Some(path) => fs::read_to_string(path).with_context(|| format!("{}", path.display()))?,
        None => String::new(),
    };
    let page = render(&lines, &notes);
    fs::write(&args.out, page).with_context(|| format!("{}", args.out.display()))
}

/// All measurements of one run.
struct Run<'a>(Vec<&'a Record>);

impl Run<'_> {
    /// Median seconds of one step or photograph.
    fn seconds(&self, side: &str, what: &str, mode: &str, batched: bool) -> Option<f64> {
        self.find(side, what, mode, batched).and_then(median)
    }

    fn find(&self, side: &str, what: &str, mode: &str, batched: bool) -> Option<&Record> {
        self.0.iter().copied().find(|r| {
            (r.side.as_str(), r.what.as_str(), r.mode.as_str()) == (side, what, mode)
                && r.precision == "fp32"
                && (r.batch > 1) == batched
                && r.skipped.is_none()
        })
    }
}

fn median(record: &Record) -> Option<f64> {
    (!record.seconds.is_empty()).then(|| quantile(&record.seconds, 0.5))
}

/// One bar: what both sides took, and how they must compare.
struct Bar {
    name: &'static str,
    ours: Option<f64>,
    peer: Option<f64>,
    /// Ours over the peer's is to be at most this.
    most: f64,
    /// How the numbers are shown.
    show: fn(f64) -> String,
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1e6)
}

fn per_second(seconds: f64) -> String {
    format!("{:.0} a second", 1.0 / seconds)
}

impl Bar {
    fn row(&self, judged: bool) -> String {
        let shown = |value: Option<f64>| value.map_or("not measured".into(), self.show);
        let (ratio, met) = match (self.ours, self.peer) {
            // Sizes and networks of a trial are not the same on both sides.
            (Some(_), Some(_)) if !judged => (String::new(), "trial"),
            (Some(ours), Some(peer)) if peer > 0.0 => {
                let ratio = ours / peer;
                let met = if ratio <= self.most { "met" } else { "**not met**" };
                (format!("{ratio:.2}"), met)
            }
            _ => ("".into(), "not measured"),
        };
        let (ours, peer) = (shown(self.ours), shown(self.peer));
        format!("| {} | {ours} | {peer} | {ratio} | {} | {met} |\n", self.name, self.most)
    }
}

fn bars(run: &Run<'_>) -> Vec<Bar> {
    let step = "training-step";
    let ours = run.seconds("deeplpf", step, "graph", false);
    let crops = run.seconds("deeplpf", step, "graph", true);
    let bytes = |side: &str, mode: &str| {
        run.find(side, step, mode, false).and_then(|r| r.bytes).map(|bytes| bytes as f64)
    };
    let compiled = run.seconds("pytorch", step, "compile+graph", false);
    let compiled_crops = run.seconds("pytorch", step, "compile+graph", true);
    let authors = run.seconds("authors", step, "eager", false);
    let authors_compiled = run.seconds("authors", step, "compile+graph", false);
    let eager = run.seconds("pytorch", step, "eager", false);
    let copy = run.seconds("deeplpf", "copy", "", false);
    let of = |what: &str| run.seconds("deeplpf", what, "", false);
    let bar = |name, ours, peer, most, show| Bar { name, ours, peer, most, show };
    // A photograph 512 pixels long at 300 a second, and 100 ms, as if they were peers.
    vec![
        bar(
            "step 341x512, batch 1, beside the authors' program, eager",
            ours,
            authors,
            0.5,
            milliseconds,
        ),
        bar("the same, CUDA graph and `torch.compile`", ours, authors_compiled, 0.8, milliseconds),
        bar("the same beside the twin, eager", ours, eager, 0.5, milliseconds),
        bar(
            "the same beside the twin, CUDA graph and `torch.compile`",
            ours,
            compiled,
            0.8,
            milliseconds,
        ),
        bar("step 256x256, batch 8, beside the same", crops, compiled_crops, 0.8, milliseconds),
        bar(
            "inference at 512 pixels; 300 a second",
            of("inference"),
            Some(1.0 / 300.0),
            1.0,
            per_second,
        ),
        bar(
            "inference at 24 megapixels; 100 ms",
            of("inference-large"),
            Some(0.1),
            1.0,
            milliseconds,
        ),
        bar(
            "filters at 24 megapixels, beside moving 24 bytes a pixel",
            of("filters-apply"),
            copy,
            2.0,
            milliseconds,
        ),
        bar(
            "their vjp, beside moving 36 bytes a pixel",
            of("filters-vjp"),
            copy.map(|s| 1.5 * s),
            2.0,
            milliseconds,
        ),
        bar(
            "GPU memory of the batch-1 step, beside the twin, eager",
            bytes("deeplpf", "graph"),
            bytes("pytorch", "eager"),
            1.0,
            megabytes,
        ),
    ]
}

fn render(lines: &[Line], notes: &str) -> String {
    let records = |lines: &[Line]| -> Vec<Record> {
        let records = lines.iter().filter_map(|line| match line {
            Line::Record(record) => Some(record.clone()),
            Line::Machine(_) => None,
        });
        records.collect()
    };
    let machines: Vec<&Machine> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Machine(machine) => Some(machine),
            Line::Record(_) => None,
        })
        .collect();
    let records = records(lines);
    let trial = machines.iter().any(|machine| machine.trial);
    let mut page = String::from(
        "# Benchmarks on a GPU\n\n<!-- Written by scripts/gpu-check.sh; changes are lost. -->\n\n",
    );
    if trial {
        page += "**A trial of the programs at tiny sizes or without a GPU: none of these numbers is a \
                 measurement, and no GPU has confirmed any.**\n\n";
    }
    page += "Medians over rounds, all of one run on one machine. Ours waits at the end of a round, as \
             training does; its steps fetch their pairs from GPU memory. The twin is \
             our own PyTorch program of the release's network \
             (`benches/peers/twin`), TF32 off, cuDNN's fastest algorithms, fused Adam.\n\n";
    for machine in &machines {
        let versions = machine.versions.iter().map(|(name, version)| format!("{name} {version}"));
        let versions = versions.collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "- {}: {}, {versions}", machine.side, machine.device);
    }
    for note in notes.lines().filter(|note| !note.is_empty()) {
        let _ = writeln!(page, "- {note}");
    }
    page += "\n## Bars\n\nThe bars are for one H200. Ratio: ours over the other's, to be at most the bar.\n\n\
             | | ours | other | ratio | bar | |\n|---|---|---|---|---|---|\n";
    let run = Run(records.iter().collect());
    bars(&run).iter().for_each(|bar| page += &bar.row(!trial));
    page += "\n## Everything\n\nQuartiles over rounds. Queueing: what the CPU takes to queue one step; where \
             it is less than the step, the GPU never waits for it.\n\n\
             | | | precision | mode | batch | size | median | quartiles | queueing | GPU memory |\n\
             |---|---|---|---|---|---|---|---|---|---|\n";
    for r in &records {
        let [low, high] = [0.25, 0.75].map(|q| quantile(&r.seconds, q) * 1e3);
        let (time, quartiles) = match (&r.skipped, median(r)) {
            (Some(reason), _) => (format!("not measured: {reason}"), String::new()),
            (None, Some(median)) => (milliseconds(median), format!("{low:.3} to {high:.3}")),
            (None, None) => ("not measured".into(), String::new()),
        };
        let queue = r.queue_s.map(milliseconds).unwrap_or_default();
        let bytes = r.bytes.map(|bytes| megabytes(bytes as f64)).unwrap_or_default();
        let size = if r.height > 0 { format!("{}x{}", r.height, r.width) } else { String::new() };
        let batch = if r.batch > 0 { r.batch.to_string() } else { String::new() };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {batch} | {size} | {time} | {quartiles} | {queue} | {bytes} |",
            r.side, r.what, r.precision, r.mode,
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(side: &str, mode: &str, seconds: f64) -> Line {
        Line::Record(Record {
            side: side.into(),
            what: "training-step".into(),
            mode: mode.into(),
            precision: "fp32".into(),
            batch: 1,
            height: 341,
            width: 512,
            seconds: vec![seconds],
            ..Record::default()
        })
    }

    fn machine(trial: bool) -> Line {
        let device = "NVIDIA H200".into();
        Line::Machine(Machine { side: "deeplpf".into(), device, versions: Vec::new(), trial })
    }

    fn row<'a>(page: &'a str, name: &str) -> &'a str {
        page.lines().find(|line| line.contains(name)).unwrap()
    }

    #[test]
    fn bars_are_judged_on_a_gpu_and_absent_peers_are_said() {
        let lines = [
            machine(false),
            step("deeplpf", "graph", 0.004),
            step("pytorch", "eager", 0.010),
            step("pytorch", "compile+graph", 0.0045),
        ];
        let page = render(&lines, "golden tests: passed\n");
        assert!(row(&page, "the twin, eager | 4.000 ms").ends_with("| 0.40 | 0.5 | met |"));
        assert!(row(&page, "the twin, CUDA graph").ends_with("| 0.89 | 0.8 | **not met** |"));
        assert!(row(&page, "the authors' program").contains("not measured"));
        assert!(page.contains("- golden tests: passed"));
    }

    #[test]
    fn a_trial_is_never_judged() {
        let lines = [machine(true), step("deeplpf", "graph", 0.1), step("pytorch", "eager", 1.0)];
        let page = render(&lines, "");
        assert!(page.contains("no GPU has confirmed") && !page.contains("| met |"));
    }

    #[test]
    fn lines_are_read_back() {
        for line in [machine(true), step("pytorch", "graph", 0.5)] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
        let skipped = r#"{"side":"pytorch","what":"training-step","skipped":"no torch"}"#;
        let page = render(&[serde_json::from_str(skipped).unwrap()], "");
        assert!(page.contains("not measured: no torch"));
    }
}
