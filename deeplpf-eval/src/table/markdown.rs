//! Tables in GitHub-flavoured Markdown.

use super::{Rank, Row, Table, short_count};
use crate::published::PublishedResult;

impl Table {
    /// Markdown: heading, table, caption. Best in bold, second best in italics.
    pub fn to_markdown(&self) -> String {
        let mut lines = vec![format!("### {}", escape(&self.title)), String::new()];
        let headings = self.columns.iter().map(|column| escape(&column.heading()));
        let extra = self.extra_headings();
        let columns = self.columns.len() + extra.len();
        let all = std::iter::once("Method".to_owned()).chain(headings);
        lines.push(line(all.chain(extra.iter().map(|heading| (*heading).to_owned()))));
        lines.push(format!("|---|{}", "---:|".repeat(columns)));
        for (index, row) in self.rows.iter().enumerate() {
            let values = (0..self.columns.len()).map(|column| self.marked(index, column));
            let method = std::iter::once(escape(&row.method));
            lines.push(line(method.chain(values).chain(self.extra_cells(row))));
        }
        for result in &self.published {
            let values = self
                .columns
                .iter()
                .map(|column| result.printed(&column.key).unwrap_or("–".to_owned()));
            let label = escape(&self.published_label(result)).replace("\\[", "[");
            let method = format!("{} ({})", escape(&result.method), label.replace("\\]", "]"));
            let extra = self.extra_published(result);
            lines.push(line(std::iter::once(method).chain(values).chain(extra)));
        }
        for text in self.caption_lines() {
            lines.extend([String::new(), escape(&text)]);
        }
        if let Some(marks) = self.marks_line("**bold**", "in *italics*") {
            lines.extend([String::new(), marks]);
        }
        for (index, source) in self.sources().iter().enumerate() {
            lines.extend([String::new(), format!("[{}] {}", index + 1, escape(source))]);
        }
        lines.join("\n") + "\n"
    }

    fn marked(&self, row: usize, column: usize) -> String {
        let Some((text, spread)) = self.value_and_spread(row, column) else {
            return "–".to_owned();
        };
        let sign = self.standing_sign(row, column);
        match self.rank(row, column) {
            Some(Rank::Best) => format!("**{text}**{spread}{sign}"),
            Some(Rank::Second) => format!("*{text}*{spread}{sign}"),
            None => format!("{text}{spread}{sign}"),
        }
    }

    /// Headings after the metrics.
    pub(super) fn extra_headings(&self) -> Vec<&'static str> {
        let parameters = self.has_parameters().then_some("Parameters");
        parameters.into_iter().chain(self.has_times().then_some("Time (ms)")).collect()
    }

    /// The cells under [`Table::extra_headings`].
    pub(super) fn extra_cells(&self, row: &Row) -> Vec<String> {
        let parameters = row.parameters.map_or("–".to_owned(), short_count);
        let time =
            row.seconds_per_image.map_or("–".to_owned(), |time| format!("{:.0}", 1e3 * time));
        let parameters = self.has_parameters().then_some(parameters);
        parameters.into_iter().chain(self.has_times().then_some(time)).collect()
    }

    pub(super) fn extra_published(&self, result: &PublishedResult) -> Vec<String> {
        let weights = result.weights.clone().unwrap_or("–".to_owned());
        let weights = self.has_parameters().then_some(weights);
        weights.into_iter().chain(self.has_times().then_some("–".to_owned())).collect()
    }
}

pub(super) fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// Text in which nothing is markup: neither a cell's border, nor emphasis, nor HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '*' | '_' | '`' | '\\' | '[' | ']' | '<' | '>' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use crate::table::tests::{example, tested};

    #[test]
    fn markdown_is_as_expected() {
        let expected = "\
### Filters \\| one by one

| Method | PSNR (dB) ↑ | SSIM ↑ | ΔE 76 ↓ | Parameters |
|---|---:|---:|---:|---:|
| input | 17.50 | 0.8000 | 14.00 | – |
| all, \"fixed\" | **23.93** | **0.9030** | **8.00** | – |
| \\<cubic\\> \\| only | **23.93** | *0.8900* | – | – |
| DeepLPF (published [1]) | 23.93 | 0.903 | – | 1.8M |
| DeepLPF (published [1]; not comparable: UPE) | 24.48 | 0.887 | – | 800K |
| DPE (published [1]; not comparable: UPE) | 22.15 | 0.850 | – | 3.3M |
| DeepUPE (published [1]; not comparable: UPE) | 23.04 | 0.893 | – | 1.0M |

Protocol: DPE. Split: test. 498 images. Resolution: 512x341 pixels.

PSNR: PSNR float, peak 1; SSIM: SSIM gaussian 11, range 1; ΔE 76: Delta E CIE 1976, mean over pixels.

No differences were tested, for lack of values per image: they may be chance.

The definition of published SSIM is its source's.

Seed 1.

Best in **bold**, second best in *italics*.

[1] authors' CVPR 2020 poster
";
        assert_eq!(example().to_markdown(), expected);
    }

    #[test]
    fn intervals_and_standings_are_printed() {
        let markdown = tested().to_markdown();
        let line = |name: &str| {
            let start = format!("| {name} |");
            markdown.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
        };
        let first = line("first");
        assert!(first.starts_with("| first | **24.") && first.contains("** [23."), "{first}");
        assert!(first.ends_with("] | 1.77M | 52 |"), "{first}");
        assert!(line("near").contains("] ≈ | – | – |"), "{markdown}");
        assert!(!line("worse").contains('≈'), "{markdown}");
        assert!(markdown.contains("Values without ≈ differ from the best."), "{markdown}");
        assert!(markdown.contains("95% bootstrap interval"), "{markdown}");
    }
}
