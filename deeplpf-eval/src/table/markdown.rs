//! Tables in GitHub-flavoured Markdown.

use super::{Rank, Table};

impl Table {
    /// Markdown: heading, table, caption. Best in bold, second best in italics.
    pub fn to_markdown(&self) -> String {
        let mut lines = vec![format!("### {}", escape(&self.title)), String::new()];
        let headings = self.columns.iter().map(|column| escape(&column.heading()));
        lines.push(line(std::iter::once("Method".to_owned()).chain(headings)));
        lines.push(format!("|---|{}", "---:|".repeat(self.columns.len())));
        for (index, row) in self.rows.iter().enumerate() {
            let values = (0..self.columns.len()).map(|column| self.marked(index, column));
            lines.push(line(std::iter::once(escape(&row.method)).chain(values)));
        }
        for result in &self.published {
            let number = self.source_number(result).map_or(String::new(), |n| format!(" [{n}]"));
            let values = self
                .columns
                .iter()
                .map(|column| result.printed(&column.key).unwrap_or("–".to_owned()));
            let method = format!("{} (published{number})", escape(&result.method));
            lines.push(line(std::iter::once(method).chain(values)));
        }
        for text in self.caption_lines() {
            lines.extend([String::new(), escape(&text)]);
        }
        if self.has_marks() {
            lines.extend([String::new(), "Best in **bold**, second best in *italics*.".into()]);
        }
        for (index, source) in self.sources().iter().enumerate() {
            lines.extend([String::new(), format!("[{}] {}", index + 1, escape(source))]);
        }
        lines.join("\n") + "\n"
    }

    fn marked(&self, row: usize, column: usize) -> String {
        let Some(value) = self.rows[row].values[column] else { return "–".to_owned() };
        let text = self.columns[column].format(value);
        match self.rank(row, column) {
            Some(Rank::Best) => format!("**{text}**"),
            Some(Rank::Second) => format!("*{text}*"),
            None => text,
        }
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// Text in which nothing is markup: neither a cell's border, nor emphasis, nor HTML.
fn escape(text: &str) -> String {
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
    use crate::table::tests::example;

    #[test]
    fn markdown_is_as_expected() {
        let expected = "\
### Filters \\| one by one

| Method | PSNR (dB) ↑ | SSIM ↑ | ΔE 76 ↓ |
|---|---:|---:|---:|
| input | 17.50 | 0.8000 | 14.00 |
| all, \"fixed\" | **23.93** | **0.9030** | **8.00** |
| \\<cubic\\> \\| only | **23.93** | *0.8900* | – |
| DeepLPF (published [1]) | 24.48 | 0.887 | – |
| DPE (published [1]) | 22.15 | 0.850 | – |
| DeepUPE (published [1]) | 23.04 | 0.893 | – |

Protocol: DPE. Split: test. 498 images.

PSNR: PSNR float, peak 1; SSIM: SSIM gaussian 11, range 1; ΔE 76: Delta E CIE 1976, mean over pixels.

Seed 1.

Best in **bold**, second best in *italics*.

[1] authors' CVPR 2020 poster
";
        assert_eq!(example().to_markdown(), expected);
    }
}
